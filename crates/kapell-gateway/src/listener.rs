//! Sockets that clients connect to. A port that cannot be had is replaced by the next candidate, and the reason is kept
//! for the Service's status.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::balance::Backend;
use crate::serve::serve;

/// Connections open at one listener. A process may have far more descriptors, but one Service must not take them all;
/// further clients wait in the kernel's queue, whose length bounds them.
const CONNECTIONS: usize = 8192;

/// After an accept that failed for want of descriptors: trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An open socket; dropped, it accepts no more and its connections drain.
pub(crate) struct Listener {
    /// Where it belongs.
    pub(crate) wanted: SocketAddr,
    /// Where it is.
    pub(crate) bound: SocketAddr,
    /// Why these differ.
    pub(crate) cause: Option<String>,
    socket: Arc<TcpListener>,
    drain: CancellationToken,
}

impl Drop for Listener {
    /// Frees the address at once: a Service that is made anew may get it before the accepting task has run again.
    fn drop(&mut self) {
        self.drain.cancel();
        refuse_connections(&self.socket);
    }
}

impl Listener {
    /// Opens the first of `candidates` that can be had.
    ///
    /// # Errors
    /// The reason why the first could not, when none could.
    pub(crate) fn open(candidates: &[SocketAddr], backend: &Arc<Backend>) -> Result<Self, String> {
        let mut cause = None;
        for &candidate in candidates {
            match bind(candidate) {
                Ok((socket, bound)) => {
                    let socket = Arc::new(socket);
                    let drain = backend.tasks.drain.child_token();
                    backend.tasks.spawn_draining(accept(socket.clone(), backend.clone(), drain.clone()));
                    return Ok(Self { wanted: candidates[0], bound, cause, socket, drain });
                }
                Err(error) => {
                    cause.get_or_insert_with(|| reason(candidate, &error));
                }
            }
        }
        Err(cause.unwrap_or_else(|| "there is no address to listen on".to_owned()))
    }
}

fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    Ok((TcpListener::from_std(listener)?, bound))
}

/// The kernel stops listening while the socket still exists. An error says that it had stopped before.
fn refuse_connections(socket: &TcpListener) {
    let _ = socket2::SockRef::from(socket).shutdown(std::net::Shutdown::Both);
}

/// The cause in words that say what to do.
fn reason(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("{address} needs a privilege (ports below 1024 belong to root; CAP_NET_BIND_SERVICE lifts that)")
        }
        io::ErrorKind::AddrInUse => format!("{address} is in use by another process"),
        io::ErrorKind::AddrNotAvailable => format!("{address} is not an address of this machine"),
        _ => format!("{address} cannot be listened on: {error}"),
    }
}

async fn accept(listener: Arc<TcpListener>, backend: Arc<Backend>, drain: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = drain.cancelled() => return refuse_connections(&listener),
            accepted = async {
                // The semaphore is never closed; a place that could not be had would only mean one connection more.
                let place = places.clone().acquire_owned().await.ok();
                (listener.accept().await, place)
            } => accepted,
        };
        match accepted {
            (Ok((stream, peer)), place) => {
                let (backend, drain) = (backend.clone(), drain.clone());
                let tasks = backend.tasks.clone();
                tasks.spawn_draining(async move {
                    let _place = place;
                    if stream.set_nodelay(true).is_ok() {
                        serve(stream, peer.ip(), backend, drain).await;
                    }
                });
            }
            (Err(error), _) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
