//! Bodies of responses on their way through the gateway: streamed, never collected.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::endpoint::Lease;
use crate::link::Link;
use crate::tasks::Tasks;

pub(crate) struct ResponseBody {
    source: Source,
    /// Made when a body has to wait for its endpoint: the end of an endpoint that has left.
    gone: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

enum Source {
    /// A message of the gateway's own.
    Text(Bytes),
    Http1(Http1Body),
    /// From a connection that has a task of its own: HTTP/2, or an upgrade that the endpoint declined.
    Driven(Incoming, Lease),
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error(transparent)]
    Endpoint(#[from] hyper::Error),
    #[error("the endpoint has left the service and did not finish the answer in time")]
    Departed,
}

impl ResponseBody {
    pub(crate) fn text(text: Bytes) -> Self {
        Self { source: Source::Text(text), gone: None }
    }

    pub(crate) fn http1(body: Http1Body) -> Self {
        Self { source: Source::Http1(body), gone: None }
    }

    pub(crate) fn driven(body: Incoming, lease: Lease) -> Self {
        Self { source: Source::Driven(body, lease), gone: None }
    }

    /// Ready when the endpoint that the rest of the body should come from has had its time.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let lease = match &self.source {
            Source::Text(_) => return Poll::Pending,
            Source::Http1(body) => body.upstream.as_ref().map(|upstream| &upstream.lease),
            Source::Driven(_, lease) => Some(lease),
        };
        let Some(lease) = lease else { return Poll::Pending };
        let gone = self.gone.get_or_insert_with(|| Box::pin(lease.0.gone.clone().cancelled_owned()));
        gone.as_mut().poll(cx)
    }
}

/// The rest of an HTTP/1.1 response with the connection that it comes on. At its end the connection goes back to the
/// endpoint's pool; dropped before, it is closed.
pub(crate) struct Http1Body {
    body: Incoming,
    upstream: Option<Box<Upstream>>,
}

struct Upstream {
    link: Link,
    lease: Lease,
    tasks: Tasks,
}

impl Http1Body {
    pub(crate) fn new(body: Incoming, link: Link, lease: Lease, tasks: Tasks) -> Self {
        let mut this = Self { body, upstream: Some(Box::new(Upstream { link, lease, tasks })) };
        this.release_if_ended();
        this
    }

    /// A receiver that knows the length does not ask for the end, so it is looked for after each frame.
    fn release_if_ended(&mut self) {
        if self.body.is_end_stream() {
            self.release();
        }
    }

    fn release(&mut self) {
        if let Some(upstream) = self.upstream.take() {
            let Upstream { link, lease, tasks } = *upstream;
            lease.0.put_idle(link, &tasks);
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(upstream) = &mut self.upstream else { return Poll::Ready(None) };
        let polled = upstream.link.poll_body(&mut self.body, cx);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(None) => self.release(),
            Poll::Ready(Some(Ok(_))) => self.release_if_ended(),
            Poll::Ready(Some(Err(_))) => self.upstream = None,
        }
        polled
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = match &mut self.source {
            Source::Text(text) if text.is_empty() => Poll::Ready(None),
            Source::Text(text) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
            Source::Http1(body) => body.poll_frame(cx),
            Source::Driven(body, _) => Pin::new(body).poll_frame(cx),
        };
        if polled.is_pending() && self.poll_gone(cx).is_ready() {
            self.source = Source::Text(Bytes::new());
            return Poll::Ready(Some(Err(BodyError::Departed)));
        }
        polled.map_err(BodyError::from)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Text(text) => text.is_empty(),
            Source::Http1(body) => body.upstream.is_none(),
            Source::Driven(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Text(text) => SizeHint::with_exact(text.len() as u64),
            Source::Http1(body) => body.body.size_hint(),
            Source::Driven(body, _) => body.size_hint(),
        }
    }
}
