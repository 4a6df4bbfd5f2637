//! HTTPS: sockets, handshakes, limits and the drain at the end.
//!
//! Everything that a peer can send before it has proved who it is has a bound in size and in time. What a request
//! means is not known here.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::ApiServer;
use crate::auth::{Peer, certificate};
use crate::coalesce::{Coalesced, Turns};
use crate::connections::{OpenConnection, OpenConnections, Watched};
use crate::held::Held;
use crate::metrics::CountedConnection;
use crate::tls::Tls;

/// Open connections. A busy `kubectl` user holds a handful, so this is room for hundreds of them while the memory for
/// handshakes and buffers stays below 100 MB. When one more comes, the one that has been idle longest has to go.
const MAX_CONNECTIONS: usize = 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// As upstream: one client's watches all share one HTTP/2 connection.
const MAX_STREAMS: u32 = 250;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Requests that have not ended this long after shutdown are cut off.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that has to make room for another one has this long to agree.
const FAREWELL: Duration = Duration::from_secs(1);
/// Pause after `accept` failed, usually because file descriptors ran out: retrying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until `shutdown`, then ends watches, lets requests finish, and returns.
pub(crate) async fn run(
    server: ApiServer,
    listener: TcpListener,
    tls: Tls,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let open = Arc::new(OpenConnections::default());
    let mut connections = JoinSet::new();
    while let Some(stream) = accept(&listener, &open, &shutdown).await {
        let (server, tls, shutdown) = (server.clone(), tls.clone(), shutdown.clone());
        let connection = open.add(&shutdown);
        connections.spawn(async move {
            if let Err(error) = serve_connection(server, stream, tls, shutdown, connection).await {
                tracing::debug!(error, "connection ended");
            }
        });
        // Forget those that have ended, or the set would grow for ever.
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "some requests did not end in time and are cut off");
        connections.shutdown().await;
    }
    Ok(())
}

/// The next connection, for which there is room; `None` at shutdown.
async fn accept(listener: &TcpListener, open: &OpenConnections, shutdown: &CancellationToken) -> Option<TcpStream> {
    let next = async {
        loop {
            open.make_room(MAX_CONNECTIONS).await;
            match listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        stream = next => Some(stream),
    }
}

async fn serve_connection(
    server: ApiServer,
    stream: TcpStream,
    tls: Tls,
    shutdown: CancellationToken,
    connection: OpenConnection,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let unwanted = connection.unwanted();
    stream.set_nodelay(true)?;
    let counted = CountedConnection::begin(server.metrics());
    let acceptor = TlsAcceptor::from(tls.config.clone());
    let stream = tokio::select! {
        () = unwanted.cancelled() => return Ok(()),
        stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)) => stream??,
    };
    let (socket, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(|chain| certificate::identity(tls.trusted(chain)?));
    let (streams, turns) = (session.alpn_protocol() == Some(b"h2"), Turns::default());
    let peer = Peer { address: socket.peer_addr().ok(), certificate };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(Some(KEEP_ALIVE));
    let service = hyper_util::service::TowerToHyperService::new(Watched::new(
        server.remote_service(peer, shutdown.clone()),
        connection.clone(),
    ));
    let place = connection.clone();
    // Sessions that a request was upgraded to outlive this function; what holds their place goes along with the socket.
    let stream = Coalesced::new(Held::new(stream, (connection, counted)), streams.then(|| turns.clone()));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = turns.drive(connection.as_mut()) => return result,
        // At shutdown, or to make room.
        () = unwanted.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    if shutdown.is_cancelled() {
        return turns.drive(connection).await;
    }
    // Whoever waits for the place does not wait for a client that is silent; a request that came just now is answered.
    while place.is_known() {
        match tokio::time::timeout(FAREWELL, turns.drive(connection.as_mut())).await {
            Ok(result) => return result,
            Err(_) if place.is_busy() => {}
            Err(_) => break,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
