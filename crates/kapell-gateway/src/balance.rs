//! The choice of an endpoint for each request to one port of a Service.
//!
//! Requests read an immutable [`EndpointSet`] behind one pointer; a table update replaces the pointer and carries over
//! the endpoints (their load, ejection and connections) by address. Where no endpoint is ready a request waits for a
//! moment, in a bounded queue, instead of failing.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use kapell_client::ObjectKey;
use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::endpoint::{Endpoint, Failure, Lease};
use crate::forward::Version;
use crate::metrics::PortMetrics;
use crate::table::{EndpointRoute, EndpointState, PortRoute, Protocol};
use crate::tasks::Tasks;

/// How long a request waits for an endpoint to become ready. Covers the gap of a restart; a person or a caller's retry
/// should hear about a longer one.
const WAIT_FOR_READY: Duration = Duration::from_secs(2);

/// Requests that may wait at one port. At 200 requests/s two seconds' worth is 400; beyond this the callers are better
/// served with an error than with memory.
const WAITING_REQUESTS: usize = 1024;

/// How long an endpoint may take for what, see [`crate::GatewayConfig`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) silence: Duration,
    pub(crate) answer: Duration,
    pub(crate) departed: Duration,
}

/// One port of a Service as requests see it.
pub(crate) struct Backend {
    service: ObjectKey,
    set: RwLock<Arc<EndpointSet>>,
    /// Something became available.
    changed: Notify,
    waiting: AtomicUsize,
    pub(crate) patience: Patience,
    pub(crate) metrics: PortMetrics,
    pub(crate) tasks: Tasks,
}

pub(crate) struct EndpointSet {
    pub(crate) protocol: Protocol,
    client_affinity: bool,
    ready: Vec<Arc<Endpoint>>,
    /// Used while none of `ready` can be.
    draining: Vec<Arc<Endpoint>>,
    all: BTreeMap<SocketAddr, (Arc<Endpoint>, EndpointState)>,
}

/// Nothing to send a request to, for as long as it could wait.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct NoEndpoint {
    pub service: ObjectKey,
    /// Endpoints in any state.
    pub pods: usize,
    pub ready: usize,
    /// Ready, but refusing connections at the moment.
    pub unreachable: usize,
    /// The request did not wait, as too many others did.
    pub queue_full: bool,
}

impl std::fmt::Display for NoEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { service, pods, ready, unreachable, queue_full } = self;
        write!(f, "no ready endpoint of service {service}: {pods} pods, {ready} ready")?;
        if *unreachable > 0 {
            write!(f, ", {unreachable} of them unreachable")?;
        }
        if *queue_full {
            write!(f, "; {WAITING_REQUESTS} requests wait already")?;
        }
        Ok(())
    }
}

impl Backend {
    pub(crate) fn new(service: ObjectKey, patience: Patience, tasks: Tasks) -> Self {
        let empty = EndpointSet {
            protocol: Protocol::Detect,
            client_affinity: false,
            ready: Vec::new(),
            draining: Vec::new(),
            all: BTreeMap::new(),
        };
        let set = RwLock::new(Arc::new(empty));
        let (changed, waiting, metrics) = (Notify::new(), AtomicUsize::new(0), PortMetrics::default());
        Self { service, set, changed, waiting, patience, metrics, tasks }
    }

    pub(crate) fn set(&self) -> Arc<EndpointSet> {
        self.set.read().clone()
    }

    /// Takes in what the table says now. Called by one task at a time.
    pub(crate) fn update(&self, route: &PortRoute, client_affinity: bool) {
        let before = self.set();
        let after = Arc::new(before.updated(route, client_affinity));
        *self.set.write() = after.clone();
        for (address, (endpoint, _)) in &before.all {
            if !after.all.get(address).is_some_and(|(kept, _)| Arc::ptr_eq(kept, endpoint)) {
                endpoint.leave(&self.tasks, self.patience.departed);
            }
        }
        for (endpoint, state) in after.all.values() {
            endpoint.set_in_use(*state != EndpointState::NotReady);
        }
        self.changed.notify_waiters();
    }

    /// All endpoints leave: the port is gone.
    pub(crate) fn clear(&self) {
        for (endpoint, _) in self.set().all.values() {
            endpoint.leave(&self.tasks, self.patience.departed);
        }
    }

    /// An endpoint for one request (or connection, for TCP); waits for one to become ready.
    pub(crate) async fn acquire(&self, client: Option<IpAddr>) -> Result<Lease, NoEndpoint> {
        if let Some(endpoint) = self.set().pick(client, rand::random()) {
            return Ok(Lease::new(endpoint));
        }
        let Some(_place) = Place::take(&self.waiting) else { return Err(self.no_endpoint(true)) };
        let waiting = async {
            loop {
                let mut changed = pin!(self.changed.notified());
                changed.as_mut().enable();
                if let Some(endpoint) = self.set().pick(client, rand::random()) {
                    return Lease::new(endpoint);
                }
                changed.await;
            }
        };
        tokio::select! {
            lease = waiting => Ok(lease),
            () = tokio::time::sleep(WAIT_FOR_READY) => Err(self.no_endpoint(false)),
            () = self.tasks.drain.cancelled() => Err(self.no_endpoint(false)),
        }
    }

    /// Another endpoint than `besides` that can be used at once.
    pub(crate) fn other(&self, besides: &Arc<Endpoint>, client: Option<IpAddr>) -> Option<Lease> {
        let endpoint = self.set().pick(client, rand::random())?;
        (!Arc::ptr_eq(&endpoint, besides)).then(|| Lease::new(endpoint))
    }

    /// Takes an endpoint that refuses connections out of use.
    pub(crate) fn eject(self: &Arc<Self>, endpoint: &Arc<Endpoint>) {
        self.take_out(endpoint, Failure::Refused);
    }

    /// Takes an endpoint that says nothing out of use, as long as there is another one: it may only be slow, and slow is
    /// better than nothing.
    pub(crate) fn suspect(self: &Arc<Self>, endpoint: &Arc<Endpoint>, version: Version) {
        let usable = |other: &&Arc<Endpoint>| !other.is_ejected() && !Arc::ptr_eq(other, endpoint);
        if self.set().ready.iter().any(|other| usable(&other)) {
            self.take_out(endpoint, Failure::Silent(version));
        }
    }

    fn take_out(self: &Arc<Self>, endpoint: &Arc<Endpoint>, failure: Failure) {
        let backend = Arc::downgrade(self);
        endpoint.eject(failure, &self.tasks, move || {
            if let Some(backend) = backend.upgrade() {
                backend.changed.notify_waiters();
            }
        });
    }

    /// An endpoint has begun to answer.
    pub(crate) fn answered(&self, endpoint: &Endpoint) {
        if endpoint.succeeded() {
            self.changed.notify_waiters();
        }
    }

    fn no_endpoint(&self, queue_full: bool) -> NoEndpoint {
        let set = self.set();
        NoEndpoint {
            service: self.service.clone(),
            pods: set.all.len(),
            ready: set.ready.len(),
            unreachable: set.ready.iter().filter(|endpoint| endpoint.is_ejected()).count(),
            queue_full,
        }
    }
}

/// A place in the bounded queue.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        // Dropping the place gives it back, also when it was one too many.
        (waiting.fetch_add(1, Relaxed) < WAITING_REQUESTS).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl EndpointSet {
    /// Endpoints with their state, in address order.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = (&Endpoint, EndpointState)> {
        self.all.values().map(|(endpoint, state)| (endpoint.as_ref(), *state))
    }

    /// The set after a table update. Endpoints stay the same by address and pod; one that becomes ready again starts
    /// with a clean record.
    fn updated(&self, route: &PortRoute, client_affinity: bool) -> Self {
        let mut all = BTreeMap::new();
        for EndpointRoute { address, pod, state } in &route.endpoints {
            let known = self.all.get(address).filter(|(endpoint, _)| endpoint.pod == *pod);
            let endpoint = match known {
                Some((endpoint, before)) => {
                    if *state == EndpointState::Ready && *before != EndpointState::Ready {
                        endpoint.restore();
                    }
                    endpoint.clone()
                }
                None => Arc::new(Endpoint::new(*address, pod.clone())),
            };
            all.insert(*address, (endpoint, *state));
        }
        let of_state = |wanted: EndpointState| -> Vec<_> {
            all.values().filter(|(_, state)| *state == wanted).map(|(endpoint, _)| endpoint.clone()).collect()
        };
        Self {
            protocol: route.protocol,
            client_affinity,
            ready: of_state(EndpointState::Ready),
            draining: of_state(EndpointState::Draining),
            all,
        }
    }

    /// The endpoint for a request of `client`; `random` decides between equals.
    fn pick(&self, client: Option<IpAddr>, random: u64) -> Option<Arc<Endpoint>> {
        let pick_from = |endpoints: &[Arc<Endpoint>]| {
            let load = |index: usize| {
                let endpoint = &endpoints[index];
                (!endpoint.is_ejected()).then(|| endpoint.outstanding())
            };
            let index = match client.filter(|_| self.client_affinity) {
                Some(client) => choose_for_client(endpoints.len(), load, |index| (client, endpoints[index].address)),
                None => choose_less_loaded(endpoints.len(), load, random),
            };
            index.map(|index| endpoints[index].clone())
        };
        pick_from(&self.ready).or_else(|| pick_from(&self.draining))
    }
}

/// Power of two choices (Mitzenmacher 2001): of two endpoints drawn at random the one with less under way. `load` is
/// `None` for an endpoint that cannot be used.
fn choose_less_loaded(count: usize, load: impl Fn(usize) -> Option<usize>, random: u64) -> Option<usize> {
    // The common case, in which all can be used, allocates nothing.
    if let Some((a, b)) = draw_two(count, random)
        && let (Some(load_a), Some(load_b)) = (load(a), load(b))
    {
        return Some(if load_b < load_a { b } else { a });
    }
    let usable: Vec<(usize, usize)> = (0..count).filter_map(|index| Some((index, load(index)?))).collect();
    let Some((a, b)) = draw_two(usable.len(), random) else { return usable.first().map(|(index, _)| *index) };
    let ((a, load_a), (b, load_b)) = (usable[a], usable[b]);
    Some(if load_b < load_a { b } else { a })
}

/// Two distinct numbers below `count`; none when there are no two.
fn draw_two(count: usize, random: u64) -> Option<(usize, usize)> {
    // The halves of the number are two independent draws.
    let draw = |of: usize, half: u64| (half % of as u64) as usize;
    (count > 1).then(|| {
        let a = draw(count, random >> 32);
        let b = (a + 1 + draw(count - 1, random & 0xffff_ffff)) % count;
        (a, b)
    })
}

/// Rendezvous hashing: a client stays where it is until its endpoint goes, and only the clients of that one move.
fn choose_for_client<H: std::hash::Hash>(
    count: usize,
    load: impl Fn(usize) -> Option<usize>,
    pair: impl Fn(usize) -> H,
) -> Option<usize> {
    let weight = |index: &usize| {
        let mut hasher = std::hash::DefaultHasher::new();
        pair(*index).hash(&mut hasher);
        std::hash::Hasher::finish(&hasher)
    };
    (0..count).filter(|index| load(*index).is_some()).max_by_key(weight)
}

#[cfg(test)]
mod tests;
