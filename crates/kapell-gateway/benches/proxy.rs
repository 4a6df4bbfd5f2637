//! What a request costs through the gateway: 64 keep-alive connections against a trivial backend, directly and through.
//!
//! Client, gateway and backend share this process and its two cores, so each figure of processor time is for all of them;
//! the gateway's own share is the difference between the two rows. `cargo bench -p kapell-gateway [-- SECONDS]`.

#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kapell_client::ObjectKey;
use kapell_gateway::table::{EndpointRoute, EndpointState, PortRoute, Protocol, Route, Transport};
use kapell_gateway::{Gateway, GatewayConfig};
use tokio::net::{TcpListener, TcpStream};

const CONNECTIONS: usize = 64;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let seconds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(3);
    let duration = Duration::from_secs(seconds);
    let backend = backend().await;
    let gateway = gateway();
    let through = route(&gateway, backend);
    println!("{:10} {:>12} {:>16} {:>10} {:>10}", "", "requests/s", "cpu µs/request", "p50 µs", "p99 µs");
    for _ in 0..2 {
        for (name, address) in [("direct", backend), ("gateway", through)] {
            let run = load(address, duration).await;
            println!("{name:10} {:12.0} {:16.2} {:10} {:10}", run.rate, run.cpu_per_request, run.p50, run.p99);
        }
    }
}

async fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.88.128.1:0").await.expect("a loopback address");
    let address = listener.local_addr().expect("a bound socket");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let service = service_fn(|_| async {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello world"))))
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

fn gateway() -> Gateway {
    let silent = tower::service_fn(|_: Request<kube::client::Body>| {
        std::future::pending::<Result<Response<kube::client::Body>, Infallible>>()
    });
    Gateway::new(GatewayConfig::default(), kube::Client::new(silent, "default"))
}

fn route(gateway: &Gateway, backend: SocketAddr) -> SocketAddr {
    let key = ObjectKey::new("bench", "web");
    let listen: SocketAddr = "127.88.0.2:0".parse().expect("an address");
    let port = PortRoute {
        name: "http".to_owned(),
        port: 80,
        transport: Transport::Tcp,
        protocol: Protocol::Http,
        listen: vec![listen],
        node_listen: Vec::new(),
        endpoints: vec![EndpointRoute { address: backend, pod: String::new(), state: EndpointState::Ready }],
    };
    let route = Route { key: key.clone(), cluster_ip: Some(listen.ip()), client_affinity: false, ports: vec![port] };
    gateway.apply_route(&key, Some(&route))[0].1
}

struct Run {
    rate: f64,
    cpu_per_request: f64,
    p50: u64,
    p99: u64,
}

async fn load(address: SocketAddr, duration: Duration) -> Run {
    let requests = Arc::new(AtomicU64::new(0));
    let (started, cpu) = (Instant::now(), cpu_microseconds());
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| tokio::spawn(client(address, duration, requests.clone()))).collect();
    let mut latencies = Vec::new();
    for client in clients {
        latencies.extend(client.await.expect("a client that ends"));
    }
    let (elapsed, cpu) = (started.elapsed(), cpu_microseconds() - cpu);
    let requests = requests.load(Relaxed) as f64;
    latencies.sort_unstable();
    let quantile = |q: f64| latencies.get((latencies.len() as f64 * q) as usize).copied().unwrap_or_default();
    Run {
        rate: requests / elapsed.as_secs_f64(),
        cpu_per_request: cpu as f64 / requests,
        p50: quantile(0.5),
        p99: quantile(0.99),
    }
}

/// Sends one request after the other; returns the latencies in microseconds.
async fn client(address: SocketAddr, duration: Duration, requests: Arc<AtomicU64>) -> Vec<u64> {
    let stream = TcpStream::connect(address).await.expect("a listening server");
    stream.set_nodelay(true).expect("a TCP socket");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
    tokio::spawn(connection);
    let end = Instant::now() + duration;
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let started = Instant::now();
        sender.ready().await.expect("a connection that stays");
        let request = Request::get("/").header("host", "web").body(Empty::<Bytes>::new()).expect("a request");
        let response = sender.send_request(request).await.expect("a response");
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.expect("a whole body");
        latencies.push(started.elapsed().as_micros() as u64);
        requests.fetch_add(1, Relaxed);
    }
    latencies
}

/// Processor time of this process, user and system, from `/proc/self/stat` (fields 14 and 15, in hundredths of a second).
fn cpu_microseconds() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields = after_name.split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * 10_000
}
