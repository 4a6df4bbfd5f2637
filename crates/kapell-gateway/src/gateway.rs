//! The service around the core: informers in, patches of Services out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kapell_client::reconcile::{self, Next};
use kapell_client::{Change, Informer, ObjectKey, Queue};
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt as _};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::balance::Patience;
use crate::call::{self, CallError, CallOptions};
use crate::core::{Core, Report};
use crate::forward;
use crate::metrics;
use crate::pass::{EndpointConnection, EndpointLease};
use crate::status::compute_patches;
use crate::table::{Route, SERVICE_NAME_LABEL, compute_route};
use crate::target::{ServiceTarget, resolve_host};

/// Services brought up to date at once. Applying takes microseconds; what takes time is telling the API.
const WORKERS: usize = 4;

#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// How long requests under way may take to finish when the gateway shuts down.
    pub drain: Duration,
    /// An endpoint that has begun no answer for this long while a request waited for one is taken out of use, as long as
    /// there are others, and a request that may be repeated is sent to one of these, too.
    pub silence: Duration,
    /// A request whose answer has not begun after this time is given up with 504.
    pub answer: Duration,
    /// How long requests under way may go on at an endpoint that is in no EndpointSlice any more.
    pub departed: Duration,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(30),
            // Longer than the pauses of common garbage collectors, shorter than people's patience.
            silence: Duration::from_secs(2),
            // Long polls and reports have their time; what takes longer begins to answer before it is done.
            answer: Duration::from_secs(300),
            // A pod's usual grace period.
            departed: Duration::from_secs(30),
        }
    }
}

/// The gateway of one node. Clones are handles to the same.
#[derive(Clone)]
pub struct Gateway {
    config: GatewayConfig,
    client: kube::Client,
    core: Arc<Core>,
    synced: Arc<watch::Sender<bool>>,
}

impl Gateway {
    /// Nothing is opened before [`Gateway::run`].
    pub fn new(config: GatewayConfig, client: kube::Client) -> Self {
        let GatewayConfig { silence, answer, departed, .. } = config;
        let core = Arc::new(Core::new(Patience { silence, answer, departed }));
        Self { config, client, core, synced: Arc::new(watch::Sender::new(false)) }
    }

    /// Follows Services and EndpointSlices until `shutdown`, then drains.
    pub async fn run(&self, shutdown: CancellationToken) {
        let queue = Queue::new();
        let services = self.watch_services(&queue, &shutdown);
        let slices = self.watch_slices(&queue, &shutdown);
        tokio::select! {
            () = async { tokio::join!(services.synced(), slices.synced()); } => {}
            () = shutdown.cancelled() => {}
        }
        if !shutdown.is_cancelled() {
            for service in services.list() {
                self.apply(&ObjectKey::of(service.as_ref()), &services, &slices);
            }
            self.synced.send_replace(true);
            let gateway = self.clone();
            reconcile::run("gateway", queue, WORKERS, shutdown, move |key| {
                let (gateway, services, slices) = (gateway.clone(), services.clone(), slices.clone());
                async move { gateway.reconcile(&key, &services, &slices).await }
            })
            .await;
        }
        self.core.close(self.config.drain).await;
    }

    /// Waits until the Services that existed at the start can be called.
    pub async fn synced(&self) {
        let mut synced = self.synced.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// What traffic there was and is, in Prometheus' text format (version 0.0.4).
    pub fn metrics(&self) -> String {
        metrics::text(&self.core)
    }

    /// The Service that a URL's host means to a caller in `default_namespace`; `None` for hosts that are not ours.
    pub fn resolve(&self, host: &str, port: Option<u16>, default_namespace: &str) -> Option<ServiceTarget> {
        resolve_host(host, port, default_namespace, |key| self.core.knows(key))
    }

    /// Sends a request to a Service through the balancer. Path and query are taken from the URI; its authority, if it
    /// has one, becomes the `Host`. Retried elsewhere as every request is, so a caller that sends an `Idempotency-Key`
    /// sees no failure of a single endpoint.
    pub async fn call(
        &self,
        target: &ServiceTarget,
        request: Request<Bytes>,
        options: CallOptions,
    ) -> Result<Response<Bytes>, CallError> {
        call::call(&self.core, target, request, options).await
    }

    /// A connection of its own to an endpoint of a Service, whatever it speaks.
    ///
    /// # Errors
    /// There is no such Service, port or endpoint.
    pub async fn connect(&self, target: &ServiceTarget) -> Result<EndpointConnection, CallError> {
        let backend = call::backend(&self.core, target)?;
        let (lease, stream) = forward::open_tunnel(&backend, None).await?;
        Ok(EndpointConnection { stream, lease: EndpointLease { _lease: lease } })
    }

    /// Makes one Service's listeners and endpoints as `route` says, without any API: for tests, benches and embedders that
    /// have their own source of routes. Calls for one key must not overlap. Returns the address of each port that listens.
    pub fn apply_route(&self, key: &ObjectKey, route: Option<&Route>) -> Vec<(u16, std::net::SocketAddr)> {
        let report = self.core.apply(key, route);
        report.ports.iter().filter_map(|port| Some((port.number, port.listening?))).collect()
    }

    fn watch_services(&self, queue: &Queue<ObjectKey>, shutdown: &CancellationToken) -> Informer<Service> {
        let queue = queue.clone();
        let on_change = move |change: Change<Service>| queue.add(change.key());
        Informer::start(Api::all(self.client.clone()), watcher::Config::default(), shutdown.clone(), on_change)
    }

    fn watch_slices(&self, queue: &Queue<ObjectKey>, shutdown: &CancellationToken) -> Informer<EndpointSlice> {
        let queue = queue.clone();
        let on_change = move |change: Change<EndpointSlice>| {
            if let Change::Applied { old: Some(old), .. } = &change {
                queue_service_of(old, &queue);
            }
            queue_service_of(change.object(), &queue);
        };
        Informer::start(Api::all(self.client.clone()), watcher::Config::default(), shutdown.clone(), on_change)
    }

    fn apply(&self, key: &ObjectKey, services: &Informer<Service>, slices: &Informer<EndpointSlice>) -> Report {
        let mut slices = slices.list_in(&key.namespace);
        slices.retain(|slice| slice.labels().get(SERVICE_NAME_LABEL) == Some(&key.name));
        let route = services.get(key).and_then(|service| compute_route(&service, &slices));
        self.core.apply(key, route.as_ref())
    }

    async fn reconcile(
        &self,
        key: &ObjectKey,
        services: &Informer<Service>,
        slices: &Informer<EndpointSlice>,
    ) -> Result<Next, kube::Error> {
        let report = self.apply(key, services, slices);
        let Some(service) = services.get(key) else { return Ok(Next::OnChange) };
        let patches = compute_patches(&service, &report, Time(k8s_openapi::jiff::Timestamp::now()));
        let api: Api<Service> = Api::namespaced(self.client.clone(), &key.namespace);
        let params = PatchParams { field_manager: Some("kapell-gateway".to_owned()), ..PatchParams::default() };
        // One write at a time: its own event brings the key back, with a copy that knows of it, for the other. The annotation
        // comes first, because pods that start now are told their environment from it.
        if let Some(patch) = &patches.object {
            gone_is_fine(api.patch(&key.name, &params, &Patch::<&Value>::Merge(patch)).await)?;
        } else if let Some(patch) = &patches.status {
            gone_is_fine(api.patch_status(&key.name, &params, &Patch::<&Value>::Merge(patch)).await)?;
        }
        Ok(Next::OnChange)
    }
}

/// A Service deleted meanwhile has nothing to be told; its deletion is on the way here.
fn gone_is_fine<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}

fn queue_service_of(slice: &EndpointSlice, queue: &Queue<ObjectKey>) {
    if let Some(name) = slice.labels().get(SERVICE_NAME_LABEL) {
        queue.add(ObjectKey::new(slice.namespace().unwrap_or_default(), name));
    }
}
