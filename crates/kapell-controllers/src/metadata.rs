//! The metadata of every object of every kind that can be deleted, for those controllers that care about all of them.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kapell_client::lean::LeanMetadata;
use kapell_client::{Change, Informer};
use kube::api::DynamicObject;
use kube::core::{ApiResource, PartialObjectMeta};
use kube::discovery::{Discovery, Scope, verbs};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use crate::garbage::graph::{Node, NodeReader};

/// One object's metadata.
pub(crate) type Metadata = PartialObjectMeta<DynamicObject>;

/// A kind as discovery tells of it.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
}

impl Kind {
    /// Whether an owner reference speaks of this kind, in whichever version.
    pub(crate) fn is_meant_by(&self, owner: &OwnerReference) -> bool {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        self.resource.kind == owner.kind && self.resource.group == group
    }

    /// The objects of this kind, in one namespace if it has any.
    pub(crate) fn api(&self, client: &Client, namespace: &str) -> Api<Metadata> {
        if self.namespaced {
            Api::namespaced_with(client.clone(), namespace, &self.resource)
        } else {
            Api::all_with(client.clone(), &self.resource)
        }
    }
}

/// Kinds whose objects come and go by themselves and are never owned: not worth a watch.
fn is_ephemeral(resource: &ApiResource) -> bool {
    resource.kind == "Event"
}

/// Asks the server for its kinds until it answers. A server that is only starting is no error.
pub(crate) async fn discover(client: &Client, shutdown: &CancellationToken) -> Option<Vec<Kind>> {
    // The only retry by time in this crate: before the first answer there is nothing to be woken by.
    let mut delay = Duration::from_millis(20);
    loop {
        match Discovery::new(client.clone()).run().await {
            Ok(discovery) => return Some(kinds_of(&discovery)),
            Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "discovery failed, retrying"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = tokio::time::sleep(delay) => {}
        }
        delay = (delay * 2).min(Duration::from_secs(5));
    }
}

fn kinds_of(discovery: &Discovery) -> Vec<Kind> {
    let resources = discovery.groups().flat_map(|group| group.recommended_resources());
    // A view shows objects that are watched as what they are kept as.
    let kept = |resource: &ApiResource| {
        let row = kapell_api::kinds::find(&resource.group, &resource.version, &resource.plural);
        row.is_none_or(|row| row.view.is_none())
    };
    resources
        .filter(|(resource, _)| kept(resource))
        .filter(|(_, can)| [verbs::LIST, verbs::WATCH, verbs::DELETE].iter().all(|verb| can.supports_operation(verb)))
        .map(|(resource, can)| Kind { resource, namespaced: can.scope == Scope::Namespaced })
        .collect()
}

/// Follows the metadata of all kinds. Gives the informers in the order of the kinds; those that are not worth it have none.
pub(crate) fn watch(
    client: &Client,
    kinds: &[Kind],
    shutdown: &CancellationToken,
    on_change: impl Fn(Change<Node>) + Clone + Send + 'static,
) -> Vec<Option<Informer<Node>>> {
    let follow = |(i, kind): (usize, &Kind)| {
        if is_ephemeral(&kind.resource) {
            return None;
        }
        let mut reader = NodeReader::new(i);
        let api: Api<LeanMetadata> = Api::all_with(client.clone(), &kind.resource);
        let keep = move |LeanMetadata(meta)| reader.read(meta);
        Some(Informer::start_keeping(api, watcher::Config::default(), shutdown.clone(), keep, on_change.clone()))
    };
    kinds.iter().enumerate().map(follow).collect()
}
