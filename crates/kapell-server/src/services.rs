//! What runs in this process, on one screen, and in which order it stops.

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::wiring::{Wired, client};

/// The order of stopping: a stage is told to stop when all tasks of the stages before it have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Starts work: no new steps, placements or pods from here on. Running pods go on.
    Workers,
    /// Carries traffic that the workers may still need to finish.
    Traffic,
    /// Everybody's memory.
    Api,
}

const STAGES: [Stage; 3] = [Stage::Workers, Stage::Traffic, Stage::Api];

pub(crate) struct Services {
    stages: Vec<(CancellationToken, JoinSet<&'static str>)>,
    api: kapell_apiserver::ApiServer,
}

impl Services {
    pub(crate) fn start(wired: Wired, listener: TcpListener) -> Self {
        let Wired { api, tls, gateway, workflows, agent, scheduler, controllers, .. } = wired;
        let mut services =
            Self { stages: STAGES.map(|_| (CancellationToken::new(), JoinSet::new())).into(), api: api.clone() };

        let server = api.clone();
        services.spawn(Stage::Api, "API server", |stop| async move {
            if let Err(error) = server.serve(listener, tls, stop).await {
                tracing::error!(%error, "the API server has lost its listener");
            }
        });
        services.spawn(Stage::Traffic, "gateway", |stop| async move { gateway.run(stop).await });
        services.spawn(Stage::Workers, "workflow engine", |stop| async move { workflows.run(stop).await });
        let (controller, placer, node) = (
            client(&api, "system:kapell:controllers"),
            client(&api, "system:kube-scheduler"),
            client(&api, "system:node"),
        );
        services.spawn(Stage::Workers, "controllers", |stop| kapell_controllers::run(controllers, controller, stop));
        services.spawn(Stage::Workers, "scheduler", |stop| kapell_scheduler::run(scheduler, placer, stop));
        services.spawn(Stage::Workers, "agent", |stop| async move {
            if let Err(error) = kapell_agent::run(agent, node, stop).await {
                tracing::error!(error = &error as &dyn std::error::Error, "the agent cannot run pods");
            }
        });
        services
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        stage: Stage,
        name: &'static str,
        run: impl FnOnce(CancellationToken) -> F,
    ) {
        let (stop, tasks) = &mut self.stages[stage as usize];
        let running = run(stop.clone());
        tasks.spawn(async move {
            running.await;
            name
        });
    }

    /// Resolves when a service ends, or panics, that should go on until it is stopped.
    pub(crate) async fn failed(&mut self) -> String {
        let ends =
            self.stages.iter_mut().filter(|(_, tasks)| !tasks.is_empty()).map(|(_, tasks)| Box::pin(tasks.join_next()));
        match futures::future::select_all(ends).await.0 {
            Some(Ok(name)) => format!("the {name} has ended unexpectedly; see the log"),
            Some(Err(panic)) => {
                format!("a service has crashed: {panic}; what was acknowledged is kept, start the server again")
            }
            None => "no service runs".to_owned(),
        }
    }

    pub(crate) async fn stop(&mut self) {
        for (stop, tasks) in &mut self.stages {
            stop.cancel();
            while let Some(end) = tasks.join_next().await {
                if let Err(error) = end {
                    tracing::error!(%error, "a service crashed while it was stopping");
                }
            }
        }
        self.api.stop();
    }
}
