//! Bodies of responses on their way through the gateway: streamed, never collected.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::endpoint::Lease;
use crate::link::Link;
use crate::tasks::Tasks;

pub(crate) enum ResponseBody {
    /// A message of the gateway's own.
    Text(Bytes),
    Http1(Http1Body),
    /// From a connection that has a task of its own: HTTP/2, or an upgrade that the endpoint declined.
    Driven(Incoming, #[expect(dead_code, reason = "counts until dropped")] Lease),
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
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Text(text) if text.is_empty() => Poll::Ready(None),
            Self::Text(text) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
            Self::Http1(body) => body.poll_frame(cx),
            Self::Driven(body, _) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Http1(body) => body.upstream.is_none(),
            Self::Driven(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => SizeHint::with_exact(text.len() as u64),
            Self::Http1(body) => body.body.size_hint(),
            Self::Driven(body, _) => body.size_hint(),
        }
    }
}
