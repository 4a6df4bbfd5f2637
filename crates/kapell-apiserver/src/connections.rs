//! The open connections, and which of them has done nothing for the longest time.
//!
//! Somebody who opens thousands of connections and lets them lie must not keep others out: when there is no more room, the
//! one that has been idle longest is asked to go. A connection is busy from the arrival of a request until the last byte of
//! its answer has been taken, so watches and downloads are never cut. That holds for those who have said who they are:
//! a stranger's connection is idle as soon as the answer is there, or it would be enough not to read it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower::Service;

/// How busy one connection is.
struct Activity {
    /// Requests whose answers are under way.
    requests: AtomicUsize,
    /// When it last became idle, by the clock of [`OpenConnections`].
    idle_since: AtomicU64,
    /// Whether somebody has proved on it who he is.
    known: AtomicBool,
    unwanted: CancellationToken,
}

/// All of them. Time is the number of events so far: only the order matters.
#[derive(Default)]
pub(crate) struct OpenConnections {
    open: Mutex<BTreeMap<u64, Arc<Activity>>>,
    clock: AtomicU64,
    left: Notify,
}

impl OpenConnections {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// Registers a connection until it is dropped; `shutdown` makes it unwanted too.
    pub(crate) fn add(self: &Arc<Self>, shutdown: &CancellationToken) -> OpenConnection {
        let id = self.tick();
        let activity = Arc::new(Activity {
            requests: AtomicUsize::new(0),
            idle_since: AtomicU64::new(id),
            known: AtomicBool::new(false),
            unwanted: shutdown.child_token(),
        });
        self.open.lock().insert(id, activity.clone());
        OpenConnection(Arc::new(Registered { all: self.clone(), id, activity }))
    }

    /// Returns when fewer than `most` are open. If need be it asks the longest idle one to go; when all are busy it waits.
    pub(crate) async fn make_room(&self, most: usize) {
        loop {
            let left = self.left.notified();
            {
                let open = self.open.lock();
                if open.len() < most {
                    return;
                }
                let staying = || open.values().filter(|activity| !activity.unwanted.is_cancelled());
                let idle = staying().filter(|activity| activity.requests.load(Ordering::Relaxed) == 0);
                // Those that were asked to go already will make room, if only one waits for them.
                if staying().count() >= most
                    && let Some(longest) = idle.min_by_key(|activity| activity.idle_since.load(Ordering::Relaxed))
                {
                    longest.unwanted.cancel();
                }
            }
            left.await;
        }
    }
}

struct Registered {
    all: Arc<OpenConnections>,
    id: u64,
    activity: Arc<Activity>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.all.open.lock().remove(&self.id);
        self.all.left.notify_one();
    }
}

/// One open connection.
#[derive(Clone)]
pub(crate) struct OpenConnection(Arc<Registered>);

impl OpenConnection {
    /// Cancelled when it should go.
    pub(crate) fn unwanted(&self) -> CancellationToken {
        self.0.activity.unwanted.clone()
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.0.activity.requests.load(Ordering::Relaxed) > 0
    }

    /// Whether any of its requests was somebody's.
    pub(crate) fn is_known(&self) -> bool {
        self.0.activity.known.load(Ordering::Relaxed)
    }

    fn busy(&self) -> Busy {
        self.0.activity.requests.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }
}

/// A request under way.
struct Busy(OpenConnection);

impl Busy {
    fn of_somebody(&self) {
        self.0.0.activity.known.store(true, Ordering::Relaxed);
    }

    /// The session that begins with this answer takes the whole connection until it ends.
    fn for_good(&self) {
        self.0.0.activity.requests.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let Registered { all, activity, .. } = &*self.0.0;
        activity.idle_since.store(all.tick(), Ordering::Relaxed);
        if activity.requests.fetch_sub(1, Ordering::Relaxed) == 1 {
            // Whoever waits for room may have been waiting for this.
            all.left.notify_one();
        }
    }
}

/// Marks the answer to a request that has proved who sends it.
#[derive(Clone, Copy)]
pub(crate) struct ToSomebody;

/// A service that notes when its connection is busy.
#[derive(Clone)]
pub(crate) struct Watched<S> {
    service: S,
    connection: OpenConnection,
}

impl<S> Watched<S> {
    pub(crate) fn new(service: S, connection: OpenConnection) -> Self {
        Self { service, connection }
    }
}

impl<S, B> Service<Request<B>> for Watched<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let busy = self.connection.busy();
        let answer = self.service.call(request);
        Box::pin(async move {
            let response = answer.await?;
            if response.extensions().get::<ToSomebody>().is_none() {
                return Ok(response);
            }
            busy.of_somebody();
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                busy.for_good();
                return Ok(response);
            }
            Ok(response.map(|body| Body::new(BusyBody { body, _busy: busy })))
        })
    }
}

/// An answer that keeps its connection busy until it has been sent or given up.
struct BusyBody {
    body: Body,
    _busy: Busy,
}

impl http_body::Body for BusyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(ready!(Pin::new(&mut self.body).poll_frame(context)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
