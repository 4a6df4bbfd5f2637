//! The players of the traffic tests: a gateway with one Service, backends that behave in one way each, and clients.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kapell_client::ObjectKey;
use kapell_gateway::table::{EndpointRoute, EndpointState, PortRoute, Protocol, Route, Transport};
use kapell_gateway::{Gateway, GatewayConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// A gateway with the Service `shop/web`.
pub(crate) struct Stage {
    pub(crate) gateway: Gateway,
    pub(crate) address: SocketAddr,
    pub(crate) listen: Vec<SocketAddr>,
    protocol: Protocol,
}

impl Stage {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self::with_config(protocol, GatewayConfig::default())
    }

    pub(crate) fn with_config(protocol: Protocol, config: GatewayConfig) -> Self {
        let silent = tower::service_fn(|_: Request<kube::client::Body>| {
            std::future::pending::<Result<Response<kube::client::Body>, Infallible>>()
        });
        let client = kube::Client::new(silent, "default");
        let gateway = Gateway::new(config, client);
        let any: SocketAddr = "127.88.0.2:0".parse().unwrap();
        Self { gateway, address: any, listen: vec![any], protocol }
    }

    pub(crate) async fn with_backends(protocol: Protocol, count: usize) -> (Self, Vec<Backend>) {
        let mut stage = Self::new(protocol);
        let mut backends = Vec::new();
        for _ in 0..count {
            backends.push(Backend::http().await);
        }
        stage.route(backends.iter().map(|backend| (backend.address, EndpointState::Ready)));
        (stage, backends)
    }

    pub(crate) fn route(&mut self, endpoints: impl IntoIterator<Item = (SocketAddr, EndpointState)>) {
        let endpoints =
            endpoints.into_iter().map(|(address, state)| EndpointRoute { address, pod: String::new(), state });
        let port = PortRoute {
            name: "http".to_owned(),
            port: 80,
            transport: Transport::Tcp,
            protocol: self.protocol,
            listen: self.listen.clone(),
            node_listen: Vec::new(),
            endpoints: endpoints.collect(),
        };
        let key = ObjectKey::new("shop", "web");
        let route = Route {
            key: key.clone(),
            cluster_ip: Some(self.listen[0].ip()),
            client_affinity: false,
            ports: vec![port],
        };
        self.address = self.gateway.apply_route(&key, Some(&route))[0].1;
    }

    pub(crate) fn remove(&mut self) {
        self.gateway.apply_route(&ObjectKey::new("shop", "web"), None);
    }

    pub(crate) fn run(&self) -> Running {
        let (gateway, shutdown) = (self.gateway.clone(), CancellationToken::new());
        let token = shutdown.clone();
        Running { shutdown, task: tokio::spawn(async move { gateway.run(token).await }) }
    }
}

pub(crate) struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn stop(self) -> JoinHandle<()> {
        self.shutdown.cancel();
        self.task
    }
}

/// A server on an address of its own. Killed, all its sockets close at once, as those of a process do.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    pub(crate) requests: Arc<AtomicUsize>,
    pub(crate) connections: Arc<AtomicUsize>,
    holds: watch::Sender<bool>,
    reached: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Seen {
    requests: Arc<AtomicUsize>,
    reached: Arc<watch::Sender<usize>>,
    holds: watch::Receiver<bool>,
}

impl Seen {
    fn request(&self) {
        let requests = self.requests.fetch_add(1, Relaxed) + 1;
        self.reached.send_replace(requests);
    }
}

impl Backend {
    async fn start<F, Fut>(serve: F) -> Self
    where
        F: Fn(TcpStream, Seen) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.88.128.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (reached_tx, reached) = watch::channel(0);
        let (holds, holds_rx) = watch::channel(false);
        let (requests, connections) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let seen = Seen { requests: requests.clone(), reached: Arc::new(reached_tx), holds: holds_rx };
        let accepted = connections.clone();
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Relaxed);
                open.spawn(serve(stream, seen.clone()));
            }
        });
        Self { address, requests, connections, holds, reached, task }
    }

    /// `/` answers, `/echo` streams back, `/hold` answers after [`Backend::release_holds`].
    pub(crate) async fn http() -> Self {
        Self::start(|stream, seen| async move {
            let service = service_fn(move |request| answer(request, seen.clone()));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        })
        .await
    }

    pub(crate) async fn http2() -> Self {
        Self::start(|stream, seen| async move {
            let service = service_fn(move |_: Request<Incoming>| {
                seen.request();
                async {
                    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
                    let body = Full::new(Bytes::from("x")).with_trailers(async { Some(Ok(trailers)) });
                    Ok::<_, Infallible>(Response::new(body))
                }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        })
        .await
    }

    /// Reads a request's head and closes without an answer.
    pub(crate) async fn mute() -> Self {
        Self::start(|mut stream, seen| async move {
            read_head(&mut stream).await;
            seen.request();
        })
        .await
    }

    /// Takes connections and never says a word, as a process that is stopped.
    pub(crate) async fn deaf() -> Self {
        Self::start(|mut stream, seen| async move {
            read_head(&mut stream).await;
            seen.request();
            std::future::pending().await
        })
        .await
    }

    /// Answers one request as if the connection would stay open, and closes it.
    pub(crate) async fn closing() -> Self {
        Self::start(|mut stream, seen| async move {
            read_head(&mut stream).await;
            seen.request();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        })
        .await
    }

    /// Speaks HTTP/1.0: the end of the connection is the end of the body.
    pub(crate) async fn old() -> Self {
        Self::start(|mut stream, seen| async move {
            read_head(&mut stream).await;
            seen.request();
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nok").await;
        })
        .await
    }

    /// Agrees to any upgrade and echoes from then on.
    pub(crate) async fn switching() -> Self {
        Self::start(|mut stream, seen| async move {
            read_head(&mut stream).await;
            seen.request();
            let head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
            stream.write_all(head).await.unwrap();
            let (mut from, mut to) = stream.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
        })
        .await
    }

    /// Speaks first, and answers once the client has closed its side.
    pub(crate) async fn greeting() -> Self {
        Self::start(|mut stream, _| async move {
            stream.write_all(b"hello\r\n").await.unwrap();
            let mut heard = String::new();
            stream.read_to_string(&mut heard).await.unwrap();
            stream.write_all(format!("got {heard}").as_bytes()).await.unwrap();
        })
        .await
    }

    pub(crate) async fn reached(&self, requests: usize) {
        self.reached.clone().wait_for(|reached| *reached >= requests).await.unwrap();
    }

    pub(crate) fn release_holds(&self) {
        self.holds.send_replace(true);
    }

    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn answer(
    request: Request<Incoming>,
    mut seen: Seen,
) -> Result<Response<BoxBody<Bytes, hyper::Error>>, Infallible> {
    seen.request();
    let ok = || Full::new(Bytes::from("ok")).map_err(|never| match never {}).boxed();
    Ok(Response::new(match request.uri().path() {
        "/echo" => request.into_body().boxed(),
        path if path.starts_with("/hold") => {
            let _ = seen.holds.wait_for(|released| *released).await;
            ok()
        }
        _ => ok(),
    }))
}

/// Reads to the end of an HTTP head, or of the stream.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

pub(crate) type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// A client that repeats nothing by itself.
pub(crate) fn http_client() -> HttpClient {
    Client::builder(TokioExecutor::new()).retry_canceled_requests(false).build_http()
}

pub(crate) async fn send(client: &HttpClient, request: Request<Full<Bytes>>) -> (StatusCode, Bytes) {
    let response = client.request(request).await.unwrap();
    let status = response.status();
    (status, response.into_body().collect().await.unwrap().to_bytes())
}

pub(crate) async fn get(client: &HttpClient, address: SocketAddr, path: &str) -> (StatusCode, Bytes) {
    let request = Request::get(format!("http://{address}{path}")).body(Full::default()).unwrap();
    send(client, request).await
}

pub(crate) async fn http2_request(address: SocketAddr) -> Response<Incoming> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://web/").header("te", "trailers").body(Empty::<Bytes>::new()).unwrap();
    sender.send_request(request).await.unwrap()
}
