//! One address behind a Service's port: how busy it is, whether it answers, and its open connections.
//!
//! An endpoint that fails is *ejected* at once and gets no request until a probe connection has succeeded or its
//! EndpointSlice calls it ready anew. Its state outlives table updates, see [`crate::balance`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::link::{Link, RequestBody};
use crate::tasks::Tasks;

/// A connection on loopback or in one rack takes microseconds; after a second the endpoint is as good as dead, and the
/// client has waited long enough for the next one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Shorter than the shortest idle timeout that servers commonly have (Node.js: 5 s), so that it is the gateway that
/// closes first and a request is not sent into a connection that is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Idle connections kept for each endpoint. More were open at once only in a burst; the rest is closed after use.
const IDLE_CONNECTIONS: usize = 128;

/// First probe of an ejected endpoint; doubles with each failure in a row. Long enough for a restarting process not to be
/// hammered, short enough that a single replica is missed only briefly.
const FIRST_PROBE: Duration = Duration::from_millis(100);

/// Longest pause between probes. Where there is no readiness probe, this is how late a recovered endpoint is noticed.
const LONGEST_PROBE: Duration = Duration::from_millis(1600);

pub(crate) type Http2Sender = http2::SendRequest<RequestBody>;

pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// UID of the pod, empty when the slice names none.
    pub(crate) pod: String,
    /// Requests, or connections of a TCP port, under way.
    outstanding: AtomicUsize,
    ejected: AtomicBool,
    /// Ejections since the last success.
    failures: AtomicU32,
    /// Whether new requests may come, and so whether idle connections are worth keeping.
    in_use: AtomicBool,
    /// Cancelled when the endpoint has left the table.
    left: CancellationToken,
    idle: Mutex<Idle>,
    http2: tokio::sync::Mutex<Option<Http2Sender>>,
}

#[derive(Default)]
struct Idle {
    /// The most recently used is last and taken first: what a burst opened ages at the front.
    links: Vec<(Link, Instant)>,
    sweeping: bool,
}

/// A request under way at an endpoint; counted until dropped.
pub(crate) struct Lease(pub(crate) Arc<Endpoint>);

impl Lease {
    pub(crate) fn new(endpoint: Arc<Endpoint>) -> Self {
        endpoint.outstanding.fetch_add(1, Relaxed);
        Self(endpoint)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Relaxed);
    }
}

impl Endpoint {
    pub(crate) fn new(address: SocketAddr, pod: String) -> Self {
        Self {
            address,
            pod,
            outstanding: AtomicUsize::new(0),
            ejected: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            in_use: AtomicBool::new(true),
            left: CancellationToken::new(),
            idle: Mutex::default(),
            http2: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.load(Relaxed)
    }

    pub(crate) fn is_ejected(&self) -> bool {
        self.ejected.load(Relaxed)
    }

    /// A response came: the row of failures is over.
    pub(crate) fn succeeded(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// The EndpointSlice says that it is ready, having said otherwise before.
    pub(crate) fn restore(&self) {
        self.failures.store(0, Relaxed);
        self.ejected.store(false, Relaxed);
    }

    pub(crate) fn set_in_use(&self, in_use: bool) {
        self.in_use.store(in_use, Relaxed);
        if !in_use {
            self.forget_connections();
        }
    }

    /// The endpoint is in no table any more. Requests under way finish, everything else ends.
    pub(crate) fn leave(&self) {
        self.left.cancel();
        self.set_in_use(false);
    }

    /// Closes the idle connections: if one was found dead, the others are no better.
    pub(crate) fn forget_connections(&self) {
        let links = std::mem::take(&mut self.idle.lock().links);
        drop(links);
        if let Ok(mut http2) = self.http2.try_lock() {
            *http2 = None;
        }
    }

    /// Takes the endpoint out of use until a probe succeeds; `restored` is called then.
    pub(crate) fn eject(self: &Arc<Self>, tasks: &Tasks, restored: impl Fn() + Send + 'static) {
        if self.ejected.swap(true, Relaxed) {
            return;
        }
        let failures = self.failures.fetch_add(1, Relaxed);
        self.forget_connections();
        tracing::info!(endpoint = %self.address, "endpoint ejected");
        let endpoint = self.clone();
        tasks.spawn_background(async move {
            let mut pauses = probe_pauses(failures);
            while endpoint.is_ejected() {
                let pause = pauses.next().unwrap_or(LONGEST_PROBE);
                tokio::select! {
                    () = endpoint.left.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                if endpoint.is_ejected() && connect(endpoint.address).await.is_ok() {
                    endpoint.ejected.store(false, Relaxed);
                    tracing::info!(endpoint = %endpoint.address, "endpoint answers again");
                    restored();
                }
            }
        });
    }

    /// An idle connection that is still open, if there is one.
    pub(crate) fn take_idle(&self) -> Option<Link> {
        let now = Instant::now();
        loop {
            let (mut link, since) = self.idle.lock().links.pop()?;
            if now.duration_since(since) < IDLE_TIMEOUT && link.is_idle() {
                return Some(link);
            }
        }
    }

    /// Keeps a connection whose exchange has ended, unless it cannot be used again.
    pub(crate) fn put_idle(self: &Arc<Self>, mut link: Link, tasks: &Tasks) {
        if !self.in_use.load(Relaxed) || self.is_ejected() || !link.is_idle() {
            return;
        }
        let mut idle = self.idle.lock();
        if idle.links.len() < IDLE_CONNECTIONS {
            idle.links.push((link, Instant::now()));
        }
        if !std::mem::replace(&mut idle.sweeping, true) {
            drop(idle);
            tasks.spawn_background(sweep(self.clone()));
        }
    }

    pub(crate) async fn open(&self) -> io::Result<Link> {
        let stream = connect(self.address).await?;
        Link::open(stream).await.map_err(io::Error::other)
    }

    /// The endpoint's HTTP/2 connection, which all requests share. `true`: it was open before.
    pub(crate) async fn http2(&self, tasks: &Tasks) -> io::Result<(Http2Sender, bool)> {
        let mut shared = self.http2.lock().await;
        if let Some(sender) = shared.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok((sender.clone(), true));
        }
        let stream = connect(self.address).await?;
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(io::Error::other)?;
        tasks.spawn_background(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = &error as &dyn std::error::Error, "HTTP/2 connection to an endpoint ended");
            }
        });
        *shared = Some(sender.clone());
        Ok((sender, false))
    }
}

/// Connects within [`CONNECT_TIMEOUT`].
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let stream = stream.map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The pauses before the probes of an endpoint that had failed `failures` times in a row before.
fn probe_pauses(failures: u32) -> impl Iterator<Item = Duration> {
    (failures..).map(|failures| FIRST_PROBE.saturating_mul(1 << failures.min(16)).min(LONGEST_PROBE))
}

/// Closes connections that nobody has used for a while; ends when none is left.
async fn sweep(endpoint: Arc<Endpoint>) {
    loop {
        tokio::time::sleep(IDLE_TIMEOUT).await;
        let now = Instant::now();
        let mut idle = endpoint.idle.lock();
        idle.links.retain(|(_, since)| now.duration_since(*since) < IDLE_TIMEOUT);
        if idle.links.is_empty() {
            idle.sweeping = false;
            return;
        }
    }
}

#[cfg(test)]
mod tests;
