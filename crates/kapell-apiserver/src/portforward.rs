//! `pods/portforward`: TCP connections to a pod's ports over one WebSocket, in either of the two ways that clients know.
//!
//! kubectl tunnels SPDY (`SPDY/3.1+portforward.k8s.io`), in which each connection is a pair of streams, one for its data and
//! one for what went wrong. Other clients name the ports beforehand and get a pair of channels for each (`v5.channel.k8s.io`,
//! `v4.channel.k8s.io`), which carry one connection each. How a port is reached is up to whoever answers the subresource.
//!
//! Neither way lets one connection wait without the others. So a client is not heard while a pod is slow to take what it
//! sent, which slows the client down, but a pod that takes nothing at all loses its connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::Response;
use kapell_api::status::Status;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::ConnectRequest;
use crate::channels::PROTOCOLS;
use crate::websocket::WebSocket;

mod ports;
mod tunnel;

const SPDY: &str = "SPDY/3.1+portforward.k8s.io";

/// Bytes of one connection that wait for the pod to take them, and pieces: small ones cost more than their bytes.
const ROOM: usize = 256 << 10;
const BACKLOG: usize = 64;

/// How long a pod may take nothing, beyond what the sockets and [`ROOM`] hold, while its client waits to say more.
const PATIENCE: Duration = Duration::from_secs(30);

const PIECE: usize = 32 << 10;

/// Connects to a port of the pod.
pub type Dial = Arc<dyn Fn(u16) -> BoxFuture<'static, io::Result<TcpStream>> + Send + Sync>;

/// Grants the WebSocket and forwards until the client leaves or the server stops.
///
/// # Errors
/// The client does not ask for a WebSocket, for none of our protocols, or without saying for which ports.
pub fn port_forward(request: &mut ConnectRequest, dial: Dial) -> Result<Response<Body>, Status> {
    let upgrade = request.upgrade.lock().take().ok_or_else(|| {
        Status::bad_request(format!(
            "Upgrade request required: this server speaks WebSocket ({SPDY} and v5, v4.channel.k8s.io)"
        ))
    })?;
    let protocol = upgrade.choose(&[SPDY, PROTOCOLS[0], PROTOCOLS[1]])?;
    let ports = if protocol == SPDY { Vec::new() } else { ports::named(&request.query)? };
    let (response, opened) = upgrade.accept(protocol);
    let shutdown = request.shutdown.clone();
    tokio::spawn(async move {
        let forwarding = async { forward(opened.await?, protocol, &ports, Pod { dial, patience: PATIENCE }).await };
        tokio::select! {
            () = shutdown.cancelled() => {}
            ended = forwarding => if let Err(error) = ended {
                tracing::debug!(error = &error as &dyn std::error::Error, "port-forward ended");
            }
        }
    });
    Ok(response)
}

async fn forward(socket: WebSocket, protocol: &str, ports: &[u16], pod: Pod) -> io::Result<()> {
    match protocol {
        SPDY => tunnel::forward(socket, pod).await,
        channel => ports::forward(socket, channel, ports, pod).await,
    }
}

/// Whom the connections go to.
#[derive(Clone)]
struct Pod {
    dial: Dial,
    patience: Duration,
}

impl Pod {
    /// Carries one connection to its end; what the pod says goes to `send`. The error is for the client to read.
    async fn connection<F: Future<Output = io::Result<()>>>(
        self,
        port: u16,
        pieces: Pieces,
        send: impl FnMut(Out) -> F,
    ) -> Result<(), String> {
        let copied = match (self.dial)(port).await {
            Ok(stream) => copy(stream, pieces, send).await,
            Err(failure) => Err(failure),
        };
        copied.map_err(|failure| format!("error forwarding port {port} to the pod: {failure}"))
    }

    fn input(&self) -> (Input, Pieces) {
        let (queue, pieces) = mpsc::channel(BACKLOG);
        let (quit, quitting) = oneshot::channel();
        let input = Input { queue, room: Arc::new(Semaphore::new(ROOM)), quit, patience: self.patience };
        (input, Pieces { queue: pieces, quitting })
    }
}

/// The client's side of one connection. When it is dropped, the client will send no more.
struct Input {
    queue: mpsc::Sender<(Bytes, OwnedSemaphorePermit)>,
    /// Bytes that still find room in the queue.
    room: Arc<Semaphore>,
    quit: oneshot::Sender<&'static str>,
    patience: Duration,
}

/// The other end of an [`Input`].
struct Pieces {
    queue: mpsc::Receiver<(Bytes, OwnedSemaphorePermit)>,
    quitting: oneshot::Receiver<&'static str>,
}

impl Input {
    /// Queues what the client says; `false` when the pod has not made room for it in time.
    async fn send(&self, data: Bytes) -> bool {
        let needed = data.len().min(ROOM) as u32;
        let queued = async {
            // A connection that has ended takes no more; it says so itself.
            if let Ok(room) = self.room.clone().acquire_many_owned(needed).await {
                let _ = self.queue.send((data, room)).await;
            }
        };
        tokio::time::timeout(self.patience, queued).await.is_ok()
    }

    /// Whether the pod would have to take something first.
    fn is_full(&self, data: &Bytes) -> bool {
        self.queue.capacity() == 0 || self.room.available_permits() < data.len().min(ROOM)
    }

    fn has_ended(&self) -> bool {
        self.queue.is_closed()
    }

    /// Ends the connection for this reason.
    fn quit(self, why: &'static str) {
        let _ = self.quit.send(why);
    }
}

/// What a connection sends to its client.
enum Out {
    Data(Bytes),
    /// The pod will send no more.
    End,
}

/// Copies one connection: pieces from the client to the pod until their queue ends, and the pod's to `send`.
async fn copy<F: Future<Output = io::Result<()>>>(
    stream: TcpStream,
    pieces: Pieces,
    mut send: impl FnMut(Out) -> F,
) -> io::Result<()> {
    let Pieces { mut queue, quitting } = pieces;
    let (mut from_pod, mut to_pod) = stream.into_split();
    let upward = async move {
        while let Some((piece, _room)) = queue.recv().await {
            to_pod.write_all(&piece).await?;
        }
        to_pod.shutdown().await
    };
    let downward = async {
        let mut buffer = vec![0; PIECE];
        loop {
            match from_pod.read(&mut buffer).await? {
                0 => return send(Out::End).await,
                length => send(Out::Data(Bytes::copy_from_slice(&buffer[..length]))).await?,
            }
        }
    };
    // A pod that has said everything and closed is done, whatever the client still wants to say.
    let both = async {
        let mut upward = std::pin::pin!(upward);
        let mut downward = std::pin::pin!(downward);
        tokio::select! {
            ended = downward.as_mut() => ended,
            ended = upward.as_mut() => match ended {
                Ok(()) => downward.await,
                Err(error) => Err(error),
            },
        }
    };
    tokio::select! {
        ended = both => ended,
        Ok(why) = quitting => Err(io::Error::other(why)),
    }
}

const TAKES_NOTHING: &str = "the pod does not take what is sent to it";

#[cfg(test)]
mod tests;
