//! Kubernetes' controllers: each looks at the objects, decides what is missing, and asks the API for it.
//!
//! One module per controller: a pure `plan` over a snapshot, and a thin module around it that fills the snapshot from the
//! shared [`caches`] and carries the plan out. Controllers never call one another; they meet through objects. Nothing here
//! polls: every reconcile is woken by a change, or by a time that an object itself names.

use std::sync::Arc;
use std::time::Duration;

use kapell_client::reconcile;
use kapell_client::{ObjectKey, Queue, Recorder};
use kube::Client;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::caches::{Caches, Queues};
use crate::deployment::DeploymentController;
use crate::endpointslice::EndpointSliceController;
use crate::garbage::GarbageCollector;
use crate::metadata::Kind;
use crate::namespace::NamespaceController;
use crate::node::{Heartbeats, NodeController};
use crate::replicaset::ReplicaSetController;
use crate::replicaset::expectations::Expectations;

mod caches;
mod deployment;
mod endpointslice;
mod garbage;
mod metadata;
mod namespace;
mod node;
mod ownership;
mod pod;
mod replicaset;
mod serviceaccount;

/// Objects of one kind that are worked on at a time: enough to keep the server busy while answers are awaited.
const WORKERS: usize = 4;

#[derive(Clone, Debug)]
pub struct ControllersConfig {
    /// How long a node may be silent before it counts as unreachable.
    pub node_grace: Duration,
}

impl Default for ControllersConfig {
    /// 40 s, as upstream: four missed heartbeats of 10 s.
    fn default() -> Self {
        Self { node_grace: Duration::from_secs(40) }
    }
}

/// Runs all controllers until `shutdown`, and returns when each has finished what it had begun.
pub async fn run(config: ControllersConfig, client: Client, shutdown: CancellationToken) {
    let (queues, expectations, heartbeats) = (Queues::default(), Expectations::default(), Heartbeats::default());
    let events = Recorder::start(client.clone(), "kapell-controllers", shutdown.clone());
    let caches = Caches::start(&client, &queues, &expectations, &heartbeats, &shutdown);
    tokio::select! {
        () = shutdown.cancelled() => return,
        () = caches.synced() => {}
    }

    let deployment = DeploymentController { client: client.clone(), caches: caches.clone(), events: events.clone() };
    let replica_set =
        ReplicaSetController { client: client.clone(), caches: caches.clone(), events: events.clone(), expectations };
    let endpoint_slice = EndpointSliceController { client: client.clone(), caches: caches.clone() };
    let node =
        NodeController { client: client.clone(), caches: caches.clone(), events, heartbeats, grace: config.node_grace };
    let (c, cs) = (client.clone(), caches.clone());
    let stop = || shutdown.clone();

    tokio::join!(
        reconcile::run("deployment", queues.deployment, WORKERS, stop(), move |key| deployment.clone().reconcile(key)),
        reconcile::run("replicaset", queues.replica_set, WORKERS, stop(), move |key| {
            replica_set.clone().reconcile(key)
        }),
        reconcile::run("endpointslice", queues.endpoint_slice, WORKERS, stop(), move |key| {
            endpoint_slice.clone().reconcile(key)
        }),
        reconcile::run("nodelifecycle", queues.node, 1, stop(), move |key| node.clone().reconcile(key)),
        reconcile::run("serviceaccount", queues.service_account, 1, stop(), move |key| {
            serviceaccount::reconcile(c.clone(), cs.clone(), key)
        }),
        delete_what_has_to_go(client, caches, queues.namespace, stop()),
    );
}

/// Garbage collection and namespace deletion, which share the metadata of all kinds.
async fn delete_what_has_to_go(
    client: Client,
    caches: Caches,
    namespaces: Queue<ObjectKey>,
    shutdown: CancellationToken,
) {
    let Some(kinds) = metadata::discover(&client, &shutdown).await else { return };
    let kinds: Arc<Vec<Kind>> = Arc::new(kinds);
    let garbage = GarbageCollector {
        client: client.clone(),
        kinds: kinds.clone(),
        graph: Arc::new(Mutex::default()),
        queue: Queue::new(),
    };
    let (collector, cache, queue) = (garbage.clone(), caches.namespaces.clone(), namespaces.clone());
    let informers = metadata::watch(&client, &kinds, &shutdown, move |kind, change| {
        collector.observe(kind, &change);
        namespace::on_content(&cache, &queue, &change);
    });
    for informer in &informers {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = informer.synced() => {}
        }
    }
    let namespace = NamespaceController { client, caches, kinds };
    let queue = garbage.queue.clone();
    tokio::join!(
        reconcile::run("garbage", queue, WORKERS, shutdown.clone(), move |uid| garbage.clone().reconcile(uid)),
        reconcile::run("namespace", namespaces, 1, shutdown.clone(), move |key| namespace.clone().reconcile(key)),
    );
}
