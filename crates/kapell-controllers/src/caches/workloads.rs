//! The copies that only some controllers need: sets, budgets, autoscalers, and what is made for every namespace.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, ReplicationController};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kapell_client::{Change, Informer, ObjectKey};
use kube::runtime::watcher;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{Queues, follow, wake_controller};
use crate::autoscale::{self, History};
use crate::pods::expectations::Expectations;
use crate::rootca;

#[derive(Clone)]
pub(crate) struct Workloads {
    pub(crate) stateful_sets: Informer<StatefulSet>,
    pub(crate) daemon_sets: Informer<DaemonSet>,
    pub(crate) revisions: Informer<ControllerRevision>,
    pub(crate) replication_controllers: Informer<ReplicationController>,
    pub(crate) budgets: Informer<PodDisruptionBudget>,
    pub(crate) autoscalers: Informer<HorizontalPodAutoscaler>,
    pub(crate) endpoints: Informer<Endpoints>,
    pub(crate) root_certificates: Informer<ConfigMap>,
}

impl Workloads {
    pub(super) fn start(
        client: &Client,
        queues: &Queues,
        expectations: &Expectations,
        histories: &Arc<Mutex<HashMap<String, History>>>,
        shutdown: &CancellationToken,
    ) -> Self {
        let queue = queues.stateful_set.clone();
        let stateful_sets = follow(client, shutdown, move |change| queue.add(change.key()));

        let (queue, forget) = (queues.daemon_set.clone(), expectations.clone());
        let daemon_sets = follow(client, shutdown, move |change: Change<DaemonSet>| {
            if let Change::Deleted(set) = &change {
                forget.forget(set.metadata.uid.as_deref().unwrap_or_default());
            }
            queue.add(change.key());
        });

        let q = queues.clone();
        let on_revision = move |change: Change<ControllerRevision>| {
            let meta = &change.object().metadata;
            wake_controller(&q.stateful_set, "StatefulSet", meta);
            wake_controller(&q.daemon_set, "DaemonSet", meta);
        };
        let revisions = follow(client, shutdown, on_revision);

        let (queue, forget) = (queues.replication_controller.clone(), expectations.clone());
        let on_rc = move |change: Change<ReplicationController>| {
            if let Change::Deleted(rc) = &change {
                forget.forget(rc.metadata.uid.as_deref().unwrap_or_default());
            }
            queue.add(change.key());
        };
        let replication_controllers = follow(client, shutdown, on_rc);

        let queue = queues.disruption.clone();
        let budgets = follow(client, shutdown, move |change| queue.add(change.key()));

        let (queue, histories) = (queues.autoscaler.clone(), histories.clone());
        let autoscalers = follow(client, shutdown, move |change| {
            autoscale::on_change(&queue, &histories, &change);
        });

        let queue = queues.endpoints.clone();
        let endpoints = follow(client, shutdown, move |change| queue.add(change.key()));

        let queue = queues.root_certificate.clone();
        let only = watcher::Config::default().fields(&format!("metadata.name={}", rootca::NAME));
        let on_certificate = move |change: Change<ConfigMap>| queue.add(ObjectKey::new("", change.key().namespace));
        let root_certificates = Informer::start(Api::all(client.clone()), only, shutdown.clone(), on_certificate);

        Self {
            stateful_sets,
            daemon_sets,
            revisions,
            replication_controllers,
            budgets,
            autoscalers,
            endpoints,
            root_certificates,
        }
    }

    pub(super) async fn synced(&self) {
        self.stateful_sets.synced().await;
        self.daemon_sets.synced().await;
        self.revisions.synced().await;
        self.replication_controllers.synced().await;
        self.budgets.synced().await;
        self.autoscalers.synced().await;
        self.endpoints.synced().await;
        self.root_certificates.synced().await;
    }
}
