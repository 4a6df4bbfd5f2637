//! One HTTP/1.1 connection to an endpoint, driven by whoever uses it.
//!
//! hyper's connection is a future of its own. It is not spawned here: the task that waits for the response polls it, and
//! the response's body goes on polling it until it has ended. That saves two task switches for each request, leaves no
//! task without an owner, and a client that goes away takes its upstream connection with it.

use std::future::Future as _;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// What the gateway sends upstream. `Empty` and `Full` can be sent again, a stream cannot.
pub(crate) enum RequestBody {
    Empty,
    Full(Bytes),
    Stream(Incoming),
}

impl RequestBody {
    /// The same body once more, if it is still whole.
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Full(bytes) => Some(Self::Full(bytes.clone())),
            Self::Stream(_) => None,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Stream(incoming) => Pin::new(incoming).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Stream(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(incoming) => incoming.size_hint(),
        }
    }
}

/// Why an exchange gave no response; each calls for another reaction.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The connection was gone before a byte was sent: here is the request back.
    NotSent(Box<Request<RequestBody>>),
    /// Sent, at least in part, and the connection ended without an answer.
    NoAnswer(hyper::Error),
    /// The client's own body broke off.
    RequestBody(hyper::Error),
    /// The endpoint answered with something that is not HTTP.
    NotHttp(hyper::Error),
}

impl std::fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Full(_) => "Full",
            Self::Stream(_) => "Stream",
        })
    }
}

impl From<hyper::client::conn::TrySendError<Request<RequestBody>>> for Broken {
    fn from(mut error: hyper::client::conn::TrySendError<Request<RequestBody>>) -> Self {
        if let Some(request) = error.take_message() {
            return Self::NotSent(Box::new(request));
        }
        let error = error.into_error();
        match () {
            () if error.is_user() => Self::RequestBody(error),
            () if error.is_parse() => Self::NotHttp(error),
            () => Self::NoAnswer(error),
        }
    }
}

type DrivenConnection = Connection<TokioIo<TcpStream>, RequestBody>;

pub(crate) struct Link {
    sender: SendRequest<RequestBody>,
    /// `None` once hyper has finished with it.
    connection: Option<Pin<Box<DrivenConnection>>>,
}

impl Link {
    pub(crate) async fn open(stream: TcpStream) -> hyper::Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut link = Self { sender, connection: Some(Box::pin(connection)) };
        link.is_idle(); // The first poll makes the sender ready.
        Ok(link)
    }

    /// Sends a request and waits for the head of its response.
    pub(crate) async fn exchange(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, Broken> {
        let connection = &mut self.connection;
        let mut response = pin!(self.sender.try_send_request(request));
        let response = std::future::poll_fn(|cx| {
            drive(connection, cx);
            // All progress comes from the connection, which has just been polled with the real waker: a waker here
            // would only wake this task for what it sees anyway.
            response.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        });
        response.await.map_err(Broken::from)
    }

    /// Whether the connection can take a request now; notices a peer that has closed it.
    pub(crate) fn is_idle(&mut self) -> bool {
        drive(&mut self.connection, &mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.sender.is_ready()
    }

    /// Polls the body and, for as long as it waits, the connection that fills it.
    pub(crate) fn poll_body(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut quiet = Context::from_waker(Waker::noop());
        if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(&mut quiet) {
            return Poll::Ready(frame);
        }
        drive(&mut self.connection, cx);
        Pin::new(body).poll_frame(&mut quiet)
    }
}

/// An error of the connection itself also reaches the response or its body, where it is handled.
fn drive(connection: &mut Option<Pin<Box<DrivenConnection>>>, cx: &mut Context<'_>) {
    if let Some(running) = connection
        && running.as_mut().poll(cx).is_ready()
    {
        *connection = None;
    }
}
