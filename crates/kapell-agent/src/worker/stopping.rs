//! Ending a container, with its preStop hook first if it has one.

use std::time::Duration;

use kapell_client::Severity;

use super::{Background, Worker, target};
use crate::hooks::{self, Stopped};
use crate::shim_client::ShimError;

impl Worker {
    /// Begins to stop a container. With a preStop hook the signal follows when that has ended; a stop without grace does
    /// not wait for any hook.
    pub(super) async fn stop(&mut self, name: &str, grace: Duration, why: &str) -> Result<(), ShimError> {
        let Some(shim) = self.shim.clone() else { return Ok(()) };
        self.context.events.record(
            &*self.pod,
            Severity::Normal,
            "Killing",
            format!("Stopping container {name}: {why}"),
        );
        self.probers.remove(name);
        self.hooks.remove(name);
        let (Some(container), Some(record)) = (self.container(name), &self.record) else {
            return shim.stop(name, grace).await;
        };
        let Some(hook) = hooks::pre_stop(&container).filter(|_| !grace.is_zero()).cloned() else {
            return shim.stop(name, grace).await;
        };
        let (target, sender, name) = (target(record, &container, &shim), self.stops.0.clone(), name.to_owned());
        let attempt = self.observed.containers.get(&name).map_or(0, |seen| seen.state.attempt);
        let running = {
            let name = name.clone();
            async move {
                let stopped = hooks::stop_after(&hook, &name, &target, grace).await;
                // Nobody listens when the pod's object has gone, and nobody needs to know then.
                let _ = sender.send(stopped).await;
            }
        };
        self.hooks.insert(name, (attempt, Background(tokio::spawn(running))));
        Ok(())
    }

    /// A hook has ended, and with it the container's last respite.
    pub(super) fn stopped(&mut self, stopped: Stopped) {
        let name = stopped.container;
        if let Err(message) = stopped.hook {
            let message = format!("PreStop hook of container {name} failed: {message}");
            self.context.events.record(&*self.pod, Severity::Warning, "FailedPreStopHook", message);
        }
        if stopped.stop.is_err() {
            // The shim has died. With the hook forgotten the next round asks its successor.
            self.hooks.remove(&name);
        }
    }
}
