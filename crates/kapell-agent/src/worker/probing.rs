//! Which containers are probed, and what their answers change.

use kapell_client::Severity;

use super::{Background, Worker, target};
use crate::hooks;
use crate::observed::MustRestart;
use crate::probe::{self, Kind, Outcome, Verdict};

impl Worker {
    /// Probes exactly the current run of a container, as long as the pod is not ending.
    pub(super) fn keep_probing(&mut self, name: &str) {
        let Some(container) = self.container(name) else { return };
        let (Some(seen), Some(shim)) = (self.observed.containers.get_mut(name), &self.shim) else { return };
        if !seen.is_running() || self.observed.ending {
            self.probers.remove(name);
            return;
        }
        let attempt = seen.state.attempt;
        if self.probers.get(name).is_some_and(|(probed, _)| *probed == attempt) {
            return;
        }
        // A container that was up and ready before the agent went away stays so until a probe says otherwise: adoption
        // must not take working endpoints out of service.
        let before = self.pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let before = before.into_iter().find(|status| status.name == name).filter(|status| {
            i64::from(status.restart_count) == i64::from(attempt)
                && status.state.as_ref().is_some_and(|state| state.running.is_some())
        });
        let gated = container.startup_probe.is_some() || hooks::post_start(&container).is_some();
        let started = !gated || before.is_some_and(|status| status.started == Some(true));
        let was_ready = before.is_some_and(|status| status.ready) && !self.probers.contains_key(name);
        seen.probes.started |= started;
        seen.probes.ready =
            seen.probes.started && (container.readiness_probe.is_none() || was_ready || seen.probes.ready);
        let Some(record) = &self.record else { return };
        let target = target(record, &container, shim);
        let task = probe::run(container, attempt, target, seen.probes.started, self.verdicts.0.clone());
        self.probers.insert(name.to_owned(), (attempt, Background(tokio::spawn(task))));
    }

    /// Takes in what a prober has found out.
    pub(super) fn take(&mut self, verdict: Verdict) {
        let Some(container) = self.container(&verdict.container) else { return };
        let (has_startup, has_readiness) = (container.startup_probe.is_some(), container.readiness_probe.is_some());
        let Some(seen) = self.observed.containers.get_mut(&verdict.container) else { return };
        if seen.state.attempt != verdict.attempt || !seen.is_running() {
            return;
        }
        match (verdict.kind, verdict.outcome) {
            (kind, Outcome::Unhealthy { message }) => {
                let message = format!("{} probe failed: {message}", kind.name());
                self.context.events.record(&*self.pod, Severity::Warning, "Unhealthy", message);
            }
            (Kind::PostStart, Outcome::Passed) if has_startup => {}
            (Kind::PostStart | Kind::Startup, Outcome::Passed) => {
                seen.probes.started = true;
                seen.probes.ready |= !has_readiness;
            }
            (Kind::Readiness, Outcome::Passed) => seen.probes.ready = true,
            (Kind::Readiness, Outcome::Failed { .. }) => seen.probes.ready = false,
            (Kind::Liveness, Outcome::Passed) => {}
            (kind, Outcome::Failed { message, grace_seconds }) => {
                let name = &verdict.container;
                let what = if kind == Kind::PostStart {
                    let text = format!("PostStart hook of container {name} failed: {message}");
                    self.context.events.record(&*self.pod, Severity::Warning, "FailedPostStartHook", text);
                    "its postStart hook".to_owned()
                } else {
                    format!("{} probe", kind.name().to_lowercase())
                };
                let message = format!("Container {name} failed {what}, will be restarted: {message}");
                seen.probes.must_restart = Some(MustRestart { message, grace_seconds });
                seen.probes.ready = false;
            }
        }
    }
}
