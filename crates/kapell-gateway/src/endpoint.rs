//! One address behind a Service's port: how busy it is, whether it answers, and its open connections.
//!
//! An endpoint that fails is *ejected* at once and gets no request until a probe has succeeded or its EndpointSlice calls
//! it ready anew. One that refuses connections is probed by connecting, one that takes requests and says nothing (a
//! process that is stopped or hangs) by a request that asks for nothing. Its state outlives table updates, see
//! [`crate::balance`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::forward::Version;
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

/// Probes of an endpoint that says nothing are further apart: while a process is stopped each of them stays in its
/// queue of connections. What it answers late to earlier requests brings it back at once.
const FIRST_SILENT_PROBE: Duration = Duration::from_secs(1);
const LONGEST_SILENT_PROBE: Duration = Duration::from_secs(30);

/// A process that can work at all answers a request for nothing within this time.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// What HTTP/1 endpoints are asked: options of the server as a whole (RFC 9110 §9.3.7), which changes nothing.
const HTTP1_PROBE: &[u8] = b"OPTIONS * HTTP/1.1\r\nHost: kapell-gateway\r\nConnection: close\r\n\r\n";

/// The preface and empty SETTINGS, which an HTTP/2 endpoint answers with its own (RFC 9113 §3.4).
const HTTP2_PROBE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Times are kept as milliseconds since then, to fit an atomic.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Why an endpoint is out of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection, or one that was closed at once.
    Refused,
    /// Connections, but no answer. What it speaks is needed to ask whether it is back.
    Silent(Version),
}

const IN_USE: u8 = 0;
const REFUSED: u8 = 1;
const SILENT: u8 = 2;

pub(crate) type Http2Sender = http2::SendRequest<RequestBody>;

pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// UID of the pod, empty when the slice names none.
    pub(crate) pod: String,
    /// Requests, or connections of a TCP port, under way.
    outstanding: AtomicUsize,
    /// One of [`IN_USE`], [`REFUSED`], [`SILENT`].
    ejected: AtomicU8,
    /// Ejections since the last success.
    failures: AtomicU32,
    /// When an answer began last, or the endpoint was made.
    heard: AtomicU64,
    /// Whether new requests may come, and so whether idle connections are worth keeping.
    in_use: AtomicBool,
    /// Cancelled when the endpoint has left the table.
    left: CancellationToken,
    /// Cancelled when what was under way then has had its time, too.
    pub(crate) gone: CancellationToken,
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
            ejected: AtomicU8::new(IN_USE),
            failures: AtomicU32::new(0),
            heard: AtomicU64::new(millis_now()),
            in_use: AtomicBool::new(true),
            left: CancellationToken::new(),
            gone: CancellationToken::new(),
            idle: Mutex::default(),
            http2: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.load(Relaxed)
    }

    pub(crate) fn is_ejected(&self) -> bool {
        self.ejected.load(Relaxed) != IN_USE
    }

    /// A response came: the row of failures is over. True if that brings a silent endpoint back.
    pub(crate) fn succeeded(&self) -> bool {
        self.heard.store(millis_now(), Relaxed);
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        self.ejected.load(Relaxed) == SILENT && self.readmit(SILENT)
    }

    /// For how long no answer has begun.
    pub(crate) fn silence(&self) -> Duration {
        Duration::from_millis(millis_now().saturating_sub(self.heard.load(Relaxed)))
    }

    fn readmit(&self, from: u8) -> bool {
        self.ejected.compare_exchange(from, IN_USE, Relaxed, Relaxed).is_ok()
    }

    /// The EndpointSlice says that it is ready, having said otherwise before.
    pub(crate) fn restore(&self) {
        self.failures.store(0, Relaxed);
        self.ejected.store(IN_USE, Relaxed);
    }

    pub(crate) fn set_in_use(&self, in_use: bool) {
        self.in_use.store(in_use, Relaxed);
        if !in_use {
            self.forget_connections();
        }
    }

    /// The endpoint is in no table any more. Requests under way have `grace` to finish, everything else ends.
    pub(crate) fn leave(self: &Arc<Self>, tasks: &Tasks, grace: Duration) {
        self.left.cancel();
        self.set_in_use(false);
        let endpoint = self.clone();
        tasks.spawn_background(async move {
            tokio::time::sleep(grace).await;
            endpoint.gone.cancel();
        });
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
    pub(crate) fn eject(self: &Arc<Self>, failure: Failure, tasks: &Tasks, restored: impl Fn() + Send + 'static) {
        let state = if failure == Failure::Refused { REFUSED } else { SILENT };
        if self.ejected.swap(state, Relaxed) != IN_USE {
            return;
        }
        let failures = self.failures.fetch_add(1, Relaxed);
        if failure == Failure::Refused {
            self.forget_connections();
        }
        tracing::info!(endpoint = %self.address, ?failure, "endpoint ejected");
        let endpoint = self.clone();
        tasks.spawn_background(async move {
            let mut pauses = failure.probe_pauses(failures);
            while endpoint.is_ejected() {
                tokio::select! {
                    () = endpoint.left.cancelled() => return,
                    () = tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PROBE)) => {}
                }
                if endpoint.is_ejected() && failure.probe(endpoint.address).await.is_ok() {
                    endpoint.ejected.store(IN_USE, Relaxed);
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

impl Failure {
    /// The pauses before the probes of an endpoint that had failed `failures` times in a row before.
    fn probe_pauses(self, failures: u32) -> impl Iterator<Item = Duration> + Send {
        let (first, longest) = match self {
            Self::Refused => (FIRST_PROBE, LONGEST_PROBE),
            Self::Silent(_) => (FIRST_SILENT_PROBE, LONGEST_SILENT_PROBE),
        };
        (failures..).map(move |failures| first.saturating_mul(1 << failures.min(16)).min(longest))
    }

    /// Whether the failure is over.
    async fn probe(self, address: SocketAddr) -> io::Result<()> {
        let mut stream = connect(address).await?;
        let question = match self {
            Self::Refused => return Ok(()),
            Self::Silent(Version::Http1) => HTTP1_PROBE,
            Self::Silent(Version::Http2) => HTTP2_PROBE,
        };
        let answer = async {
            stream.write_all(question).await?;
            // Any byte will do, also of a refusal: whoever says something is awake.
            stream.read_u8().await
        };
        tokio::time::timeout(PROBE_TIMEOUT, answer).await.map_err(io::Error::from)?.map(drop)
    }
}

fn millis_now() -> u64 {
    u64::try_from(EPOCH.elapsed().as_millis()).unwrap_or(u64::MAX)
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
