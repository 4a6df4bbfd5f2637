//! One watch per kind for all controllers, and the table of which change wakes whom.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kapell_client::lean::LeanPod;
use kapell_client::{Change, Informer, ObjectKey, Queue};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::autoscale::History;
use crate::node::{Heartbeats, Residents};
use crate::pod::{KnownPod, Labels, PodReader};
use crate::pods::expectations::Expectations;
use crate::{daemonset, disruption, endpoints, endpointslice, ownership, pods, serviceaccount};

mod workloads;

use self::workloads::Workloads;

/// Where nodes' heartbeats are.
const NODE_LEASES: &str = "kube-node-lease";

#[derive(Clone)]
pub(crate) struct Caches {
    pub(crate) deployments: Informer<Deployment>,
    pub(crate) replica_sets: Informer<ReplicaSet>,
    pub(crate) services: Informer<Service>,
    pub(crate) endpoint_slices: Informer<EndpointSlice>,
    pub(crate) namespaces: Informer<Namespace>,
    pub(crate) service_accounts: Informer<ServiceAccount>,
    pub(crate) nodes: Informer<Node>,
    leases: Informer<Lease>,
    pub(crate) pods: Informer<KnownPod>,
    pub(crate) residents: Residents,
    pub(crate) workloads: Workloads,
}

/// The keys that each controller has to look at.
#[derive(Clone, Default)]
pub(crate) struct Queues {
    pub(crate) deployment: Queue<ObjectKey>,
    pub(crate) replica_set: Queue<ObjectKey>,
    pub(crate) endpoint_slice: Queue<ObjectKey>,
    pub(crate) namespace: Queue<ObjectKey>,
    pub(crate) service_account: Queue<ObjectKey>,
    pub(crate) node: Queue<ObjectKey>,
    pub(crate) stateful_set: Queue<ObjectKey>,
    pub(crate) daemon_set: Queue<ObjectKey>,
    pub(crate) replication_controller: Queue<ObjectKey>,
    pub(crate) disruption: Queue<ObjectKey>,
    pub(crate) autoscaler: Queue<ObjectKey>,
    pub(crate) endpoints: Queue<ObjectKey>,
    pub(crate) root_certificate: Queue<ObjectKey>,
    pub(crate) certificate: Queue<ObjectKey>,
}

impl Caches {
    pub(crate) fn start(
        client: &Client,
        queues: &Queues,
        expectations: &Expectations,
        heartbeats: &Heartbeats,
        histories: &Arc<Mutex<HashMap<String, History>>>,
        shutdown: &CancellationToken,
    ) -> Self {
        let workloads = Workloads::start(client, queues, expectations, histories, shutdown);

        let queue = queues.deployment.clone();
        let deployments = follow(client, shutdown, move |change: Change<Deployment>| queue.add(change.key()));

        let (q, cache, forget) = (queues.clone(), deployments.clone(), expectations.clone());
        let replica_sets = follow(client, shutdown, move |change| on_replica_set(&q, &cache, &forget, &change));

        let q = queues.clone();
        let services = follow(client, shutdown, move |change: Change<Service>| {
            q.endpoint_slice.add(change.key());
            q.endpoints.add(change.key());
        });

        let q = queues.clone();
        let endpoint_slices = follow(client, shutdown, move |change| {
            endpointslice::on_slice(&q.endpoint_slice, &change);
            endpoints::on_slice(&q.endpoints, &change);
        });

        let q = queues.clone();
        let namespaces = follow(client, shutdown, move |change: Change<Namespace>| {
            q.namespace.add(change.key());
            q.service_account.add(change.key());
            q.root_certificate.add(change.key());
        });

        let queue = queues.service_account.clone();
        let only_default = watcher::Config::default().fields(&format!("metadata.name={}", serviceaccount::NAME));
        let on_account = move |change: Change<ServiceAccount>| queue.add(ObjectKey::new("", change.key().namespace));
        let service_accounts = Informer::start(Api::all(client.clone()), only_default, shutdown.clone(), on_account);

        let (q, sets) = (queues.clone(), workloads.daemon_sets.clone());
        let nodes = follow(client, shutdown, move |change: Change<Node>| {
            q.node.add(change.key());
            daemonset::on_node(&sets, &q.daemon_set, &change);
        });

        let (queue, heartbeats) = (queues.node.clone(), heartbeats.clone());
        let on_lease = move |change: Change<Lease>| heartbeats.observe(&queue, &change);
        let in_their_namespace = Api::namespaced(client.clone(), NODE_LEASES);
        let leases = Informer::start(in_their_namespace, watcher::Config::default(), shutdown.clone(), on_lease);

        let wakes = PodWakes {
            queues: queues.clone(),
            expectations: expectations.clone(),
            replica_sets: replica_sets.clone(),
            services: services.clone(),
            workloads: workloads.clone(),
            residents: Residents::default(),
        };
        let residents = wakes.residents.clone();
        let pods = wakes.follow_pods(client, shutdown);

        Self {
            deployments,
            replica_sets,
            services,
            endpoint_slices,
            namespaces,
            service_accounts,
            nodes,
            leases,
            pods,
            residents,
            workloads,
        }
    }

    /// Waits until each copy is complete: a plan made from half of the objects would undo the other half.
    pub(crate) async fn synced(&self) {
        self.deployments.synced().await;
        self.replica_sets.synced().await;
        self.services.synced().await;
        self.endpoint_slices.synced().await;
        self.namespaces.synced().await;
        self.service_accounts.synced().await;
        self.nodes.synced().await;
        self.leases.synced().await;
        self.pods.synced().await;
        self.workloads.synced().await;
    }
}

/// All objects of a kind, whole.
fn follow<K>(
    client: &Client,
    shutdown: &CancellationToken,
    on_change: impl FnMut(Change<K>) + Send + 'static,
) -> Informer<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
{
    Informer::start(Api::all(client.clone()), watcher::Config::default(), shutdown.clone(), on_change)
}

fn on_replica_set(
    queues: &Queues,
    deployments: &Informer<Deployment>,
    expectations: &Expectations,
    change: &Change<ReplicaSet>,
) {
    queues.replica_set.add(change.key());
    let (now, before) = match change {
        Change::Applied { old, new } => (new, old.as_ref()),
        Change::Deleted(rs) => {
            expectations.forget(rs.metadata.uid.as_deref().unwrap_or_default());
            (rs, None)
        }
    };
    for rs in [Some(now), before].into_iter().flatten() {
        wake_controller(&queues.deployment, "Deployment", &rs.metadata);
    }
    if ownership::controller_of(&now.metadata).is_none() {
        // Nobody's: whoever selects it may adopt it.
        for deployment in deployments.list_in(now.metadata.namespace.as_deref().unwrap_or_default()) {
            let selector = deployment.spec.as_ref().and_then(|spec| ownership::selector(&spec.selector));
            if selector.is_some_and(|selector| ownership::matches(&selector, now.metadata.labels.as_ref())) {
                queues.deployment.add(ObjectKey::of(deployment.as_ref()));
            }
        }
    }
}

/// Queues the controller of an object if it is of this kind.
fn wake_controller(queue: &Queue<ObjectKey>, kind: &str, meta: &ObjectMeta) {
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    wake_owner(queue, kind, namespace, ownership::controller_of(meta));
}

fn wake_owner(queue: &Queue<ObjectKey>, kind: &str, namespace: &str, owner: Option<&OwnerReference>) {
    if let Some(owner) = owner.filter(|owner| owner.kind == kind) {
        queue.add(ObjectKey::new(namespace, &*owner.name));
    }
}

/// Who is concerned by a pod.
struct PodWakes {
    queues: Queues,
    expectations: Expectations,
    replica_sets: Informer<ReplicaSet>,
    services: Informer<Service>,
    workloads: Workloads,
    residents: Residents,
}

impl PodWakes {
    /// What the controllers read of each pod, all of them woken by one watch.
    fn follow_pods(self, client: &Client, shutdown: &CancellationToken) -> Informer<KnownPod> {
        let mut reader = PodReader::default();
        Informer::start_keeping(
            Api::<LeanPod>::all(client.clone()),
            watcher::Config::default(),
            shutdown.clone(),
            move |LeanPod(pod)| reader.read(pod),
            move |change| self.on_pod(&change),
        )
    }

    fn on_pod(&self, change: &Change<KnownPod>) {
        // Ticked off first, so that the reconcile woken next finds it so.
        pods::observe(&self.expectations, change);
        self.residents.observe(change);
        endpointslice::on_pod(&self.services, &self.queues.endpoint_slice, change);
        disruption::on_pod(&self.workloads.budgets, &self.queues.disruption, change);
        let (now, before) = match change {
            Change::Applied { old, new } => (new, old.as_ref()),
            Change::Deleted(pod) => (pod, None),
        };
        for pod in [Some(now), before].into_iter().flatten() {
            let (namespace, owner) = (&pod.id.namespace, pod.controller());
            wake_owner(&self.queues.replica_set, "ReplicaSet", namespace, owner);
            wake_owner(&self.queues.stateful_set, "StatefulSet", namespace, owner);
            wake_owner(&self.queues.daemon_set, "DaemonSet", namespace, owner);
            wake_owner(&self.queues.replication_controller, "ReplicationController", namespace, owner);
        }
        let namespace = &*now.id.namespace;
        match now.controller() {
            Some(owner) if matches!(change, Change::Deleted(_)) => {
                // A Deployment that recreates waits for the end of its last old pod.
                if let Some(rs) = self.replica_sets.get(&ObjectKey::new(namespace, &owner.name)) {
                    wake_controller(&self.queues.deployment, "Deployment", &rs.metadata);
                }
            }
            Some(_) => {}
            None => self.wake_adopters(namespace, &now.labels),
        }
        if let Some(node) = &now.node {
            let is_new = before.is_none_or(|before| {
                // Nearly always they share one; one of other tolerations leaves at another time.
                before.node.is_none()
                    || !Arc::ptr_eq(&before.template, &now.template)
                        && before.template.tolerations != now.template.tolerations
            });
            if is_new && matches!(change, Change::Applied { .. }) {
                self.queues.node.add(ObjectKey::new("", &**node));
            }
        }
    }

    /// A pod that is nobody's: whoever selects it may adopt it.
    fn wake_adopters(&self, namespace: &str, labels: &Labels) {
        let selects = |selector: Option<&LabelSelector>| {
            selector.and_then(ownership::selector).is_some_and(|selector| ownership::matches(&selector, Some(labels)))
        };
        for rs in self.replica_sets.list_in(namespace) {
            if selects(rs.spec.as_ref().map(|spec| &spec.selector)) {
                self.queues.replica_set.add(ObjectKey::of(rs.as_ref()));
            }
        }
        for set in self.workloads.stateful_sets.list_in(namespace) {
            if selects(set.spec.as_ref().map(|spec| &spec.selector)) {
                self.queues.stateful_set.add(ObjectKey::of(set.as_ref()));
            }
        }
        for set in self.workloads.daemon_sets.list_in(namespace) {
            if selects(set.spec.as_ref().map(|spec| &spec.selector)) {
                self.queues.daemon_set.add(ObjectKey::of(set.as_ref()));
            }
        }
        for rc in self.workloads.replication_controllers.list_in(namespace) {
            let match_labels = rc.spec.as_ref().and_then(|spec| spec.selector.clone());
            if selects(Some(&LabelSelector { match_labels, ..LabelSelector::default() })) {
                self.queues.replication_controller.add(ObjectKey::of(rc.as_ref()));
            }
        }
    }
}
