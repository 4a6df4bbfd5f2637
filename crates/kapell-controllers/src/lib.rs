//! Kubernetes' controllers: each looks at the objects, decides what is missing, and asks the API for it.
//!
//! One module per controller: a pure `plan` over a snapshot, and a thin module around it that fills the snapshot from the
//! shared [`caches`] and carries the plan out. Controllers never call one another; they meet through objects. Nothing here
//! polls: every reconcile is woken by a change, or by a time that an object itself names.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kapell_client::reconcile;
use kapell_client::{Change, Informer, ObjectKey, Queue, Recorder};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use crate::autoscale::Autoscaler;
use crate::caches::{Caches, Queues};
use crate::certificates::Certificates;
pub use crate::certificates::ClientSigner;
use crate::daemonset::DaemonSetController;
use crate::deployment::DeploymentController;
use crate::endpointslice::EndpointSliceController;
use crate::garbage::GarbageCollector;
use crate::metadata::Kind;
use crate::namespace::NamespaceController;
use crate::node::{Heartbeats, NodeController};
use crate::pods::PodControl;
use crate::pods::expectations::Expectations;
use crate::replicaset::ReplicaSetController;
use crate::replicationcontroller::ReplicationControllers;
use crate::statefulset::StatefulSetController;

mod autoscale;
mod caches;
mod certificates;
mod daemonset;
mod deployment;
mod disruption;
mod endpoints;
mod endpointslice;
mod garbage;
mod metadata;
mod namespace;
mod node;
mod ownership;
mod pod;
mod pods;
mod replicaset;
mod replicationcontroller;
mod retention;
mod revision;
mod rootca;
mod serviceaccount;
mod statefulset;

/// Objects of one kind that are worked on at a time: enough to keep the server busy while answers are awaited.
const WORKERS: usize = 4;

#[derive(Clone, Debug)]
pub struct ControllersConfig {
    /// How long a node may be silent before it counts as unreachable.
    pub node_grace: Duration,
    /// The certificate (PEM) of the API server's authority, which each namespace gets as `kube-root-ca.crt`.
    pub root_certificate: Option<String>,
    /// Signs certificates of clients that were approved. Without it their requests wait.
    pub client_signer: Option<Arc<dyn ClientSigner>>,
    /// How long an Event is kept after it last happened.
    pub event_ttl: Duration,
}

impl Default for ControllersConfig {
    /// As upstream: 40 s are four missed heartbeats of 10 s; Events are kept for an hour.
    fn default() -> Self {
        Self {
            node_grace: Duration::from_secs(40),
            root_certificate: None,
            client_signer: None,
            event_ttl: Duration::from_secs(3600),
        }
    }
}

/// Runs all controllers until `shutdown`, and returns when each has finished what it had begun.
pub async fn run(config: ControllersConfig, client: Client, shutdown: CancellationToken) {
    let (queues, expectations, heartbeats) = (Queues::default(), Expectations::default(), Heartbeats::default());
    let events = Recorder::start(client.clone(), "kapell-controllers", shutdown.clone());
    let histories = Arc::default();
    let caches = Caches::start(&client, &queues, &expectations, &heartbeats, &histories, &shutdown);
    tokio::select! {
        () = shutdown.cancelled() => return,
        () = caches.synced() => {}
    }

    let deployment = DeploymentController { client: client.clone(), caches: caches.clone(), events: events.clone() };
    let pods = PodControl { client: client.clone(), events: events.clone(), expectations };
    let replica_set = ReplicaSetController { client: client.clone(), caches: caches.clone(), pods: pods.clone() };
    let replication_controller =
        ReplicationControllers { client: client.clone(), caches: caches.clone(), pods: pods.clone() };
    let daemon_set = DaemonSetController { client: client.clone(), caches: caches.clone(), pods };
    let stateful_set = StatefulSetController { client: client.clone(), caches: caches.clone(), events: events.clone() };
    let autoscaler = Autoscaler { client: client.clone(), caches: caches.clone(), events: events.clone(), histories };
    let endpoint_slice = EndpointSliceController { client: client.clone(), caches: caches.clone() };
    let node =
        NodeController { client: client.clone(), caches: caches.clone(), events, heartbeats, grace: config.node_grace };
    let (c, cs) = (client.clone(), caches.clone());
    let stop = || shutdown.clone();

    let company = keep_company(config, client.clone(), caches.clone(), queues.clone(), stop());
    tokio::join!(
        company,
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
        reconcile::run("replicationcontroller", queues.replication_controller, WORKERS, stop(), move |key| {
            replication_controller.clone().reconcile(key)
        }),
        reconcile::run("daemonset", queues.daemon_set, WORKERS, stop(), move |key| daemon_set.clone().reconcile(key)),
        reconcile::run("statefulset", queues.stateful_set, WORKERS, stop(), move |key| {
            stateful_set.clone().reconcile(key)
        }),
        reconcile::run("autoscaler", queues.autoscaler, WORKERS, stop(), move |key| autoscaler.clone().reconcile(key)),
        delete_what_has_to_go(client, caches, queues.namespace, stop()),
    );
}

/// What follows other objects without running anything: Endpoints, budgets, certificates, the end of Events.
async fn keep_company(
    config: ControllersConfig,
    client: Client,
    caches: Caches,
    queues: Queues,
    shutdown: CancellationToken,
) {
    let of = |client: &Client| (client.clone(), caches.clone());
    let (endpoints, budgets, certificates) = (of(&client), of(&client), of(&client));
    let stop = || shutdown.clone();
    let root = async {
        let Some(certificate) = config.root_certificate else { return };
        reconcile::run("rootca", queues.root_certificate, 1, stop(), move |key| {
            rootca::reconcile(certificates.0.clone(), certificates.1.clone(), certificate.clone(), key)
        })
        .await;
    };
    let signing = async {
        let Some(signer) = config.client_signer else { return };
        let queue = queues.certificate.clone();
        let on_request = move |change: Change<CertificateSigningRequest>| queue.add(change.key());
        let requests = Informer::start(Api::all(client.clone()), Default::default(), stop(), on_request);
        let certificates = Certificates { client: client.clone(), requests, signer };
        reconcile::run("certificate", queues.certificate, 1, stop(), move |key| certificates.clone().reconcile(key))
            .await;
    };
    let retention = retention::run(client.clone(), config.event_ttl, stop());
    tokio::join!(
        signing,
        reconcile::run("endpoints", queues.endpoints, WORKERS, stop(), move |key| {
            endpoints::reconcile(endpoints.0.clone(), endpoints.1.clone(), key)
        }),
        reconcile::run("disruption", queues.disruption, WORKERS, stop(), move |key| {
            disruption::reconcile(budgets.0.clone(), budgets.1.clone(), key)
        }),
        root,
        retention,
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
    let known = garbage::Known::default();
    let (followed, cache, queue) = (known.clone(), caches.namespaces.clone(), namespaces.clone());
    let informers = metadata::watch(&client, &kinds, &shutdown, move |change| {
        followed.observe(&change);
        namespace::on_content(&cache, &queue, &change);
    });
    for informer in informers.iter().flatten() {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = informer.synced() => {}
        }
    }
    let queue = known.queue.clone();
    let informers = Arc::new(informers);
    let garbage = GarbageCollector { client: client.clone(), kinds: kinds.clone(), known, informers };
    let namespace = NamespaceController { client, caches, kinds };
    tokio::join!(
        reconcile::run("garbage", queue, WORKERS, shutdown.clone(), move |uid| garbage.clone().reconcile(uid)),
        reconcile::run("namespace", namespaces, 1, shutdown.clone(), move |key| namespace.clone().reconcile(key)),
    );
}
