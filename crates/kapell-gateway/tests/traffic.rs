//! Traffic through a gateway whose routes are given as values: real sockets on loopback, no API server.

#[path = "traffic/stage.rs"]
mod stage;

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use kapell_gateway::table::{EndpointState, Protocol};
use kapell_gateway::{CallError, CallOptions, GatewayConfig, ServiceTarget, pass};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use stage::{Backend, Stage, get, http_client, send};

#[tokio::test]
async fn requests_are_spread_over_kept_connections() {
    let (stage, backends) = Stage::with_backends(Protocol::Http, 2).await;
    let client = http_client();
    for _ in 0..200 {
        assert_eq!(get(&client, stage.address, "/").await.0, StatusCode::OK);
    }
    for backend in &backends {
        assert!(backend.requests.load(Relaxed) > 50, "both get their share");
        assert_eq!(backend.connections.load(Relaxed), 1, "one client at a time needs one connection");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_instance_costs_no_request() {
    let (stage, mut backends) = Stage::with_backends(Protocol::Detect, 3).await;
    let victim = backends.remove(0);
    let address = stage.address;
    let clients: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn(async move {
                let client = http_client();
                for _ in 0..200 {
                    assert_eq!(get(&client, address, "/").await.0, StatusCode::OK);
                }
            })
        })
        .collect();
    while victim.requests.load(Relaxed) < 100 {
        tokio::task::yield_now().await;
    }
    victim.kill().await;
    for client in clients {
        client.await.unwrap();
    }
}

#[tokio::test]
async fn a_request_under_way_at_a_killed_instance_is_repeated() {
    let mut stage = Stage::new(Protocol::Http);
    let (victim, heir) = (Backend::http().await, Backend::http().await);
    // The heir only drains, so that the first choice is certain.
    stage.route([(victim.address, EndpointState::Ready), (heir.address, EndpointState::Draining)]);
    let address = stage.address;
    let held = tokio::spawn(async move { get(&http_client(), address, "/hold-first").await });
    victim.reached(1).await;
    heir.release_holds();
    victim.kill().await;
    assert_eq!(held.await.unwrap().0, StatusCode::OK);
    assert_eq!(heir.requests.load(Relaxed), 1);
}

#[tokio::test]
async fn a_post_is_repeated_only_with_a_key() {
    for (key, body, expected, repeated) in [
        (None, "x", StatusCode::BAD_GATEWAY, 0),
        (Some("k1"), "x", StatusCode::OK, 1),
        (Some("k2"), "", StatusCode::OK, 1),
    ] {
        let mut stage = Stage::new(Protocol::Http);
        let (mute, heir) = (Backend::mute().await, Backend::http().await);
        stage.route([(mute.address, EndpointState::Ready), (heir.address, EndpointState::Draining)]);
        let mut request = Request::builder().method(Method::POST).uri(format!("http://{}/", stage.address));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        assert_eq!(send(&http_client(), request).await.0, expected, "{key:?}");
        assert_eq!(mute.requests.load(Relaxed), 1);
        assert_eq!(heir.requests.load(Relaxed), repeated, "{key:?}");
    }
}

#[tokio::test]
async fn a_post_goes_elsewhere_when_the_connection_is_refused() {
    let mut stage = Stage::new(Protocol::Http);
    let (gone, heir) = (Backend::http().await, Backend::http().await);
    stage.route([(gone.address, EndpointState::Ready), (heir.address, EndpointState::Draining)]);
    gone.kill().await;
    // Too large to be kept: nothing of it has been read when the connection is refused.
    let body = Full::new(Bytes::from(vec![b'x'; 200_000]));
    let request = Request::post(format!("http://{}/echo", stage.address)).body(body).unwrap();
    let (status, body) = send(&http_client(), request).await;
    assert_eq!((status, body.len()), (StatusCode::OK, 200_000));
}

#[tokio::test]
async fn a_kept_connection_that_the_peer_closed_is_not_noticed_by_clients() {
    let mut stage = Stage::new(Protocol::Http);
    let backend = Backend::closing().await;
    stage.route([(backend.address, EndpointState::Ready)]);
    let client = http_client();
    for _ in 0..50 {
        assert_eq!(get(&client, stage.address, "/").await.0, StatusCode::OK);
    }
}

#[tokio::test]
async fn an_endpoint_that_leaves_finishes_what_it_has() {
    let mut stage = Stage::new(Protocol::Http);
    let (leaving, staying) = (Backend::http().await, Backend::http().await);
    stage.route([(leaving.address, EndpointState::Ready)]);
    let address = stage.address;
    let held = tokio::spawn(async move { get(&http_client(), address, "/hold").await });
    leaving.reached(1).await;
    stage.route([(staying.address, EndpointState::Ready)]);
    for _ in 0..10 {
        assert_eq!(get(&http_client(), address, "/").await.0, StatusCode::OK);
    }
    leaving.release_holds();
    assert_eq!(held.await.unwrap().0, StatusCode::OK);
    assert_eq!((leaving.requests.load(Relaxed), staying.requests.load(Relaxed)), (1, 10));
}

#[tokio::test]
async fn shutdown_finishes_requests_and_refuses_connections() {
    let (stage, backends) = Stage::with_backends(Protocol::Http, 1).await;
    let address = stage.address;
    let running = stage.run();
    let held = tokio::spawn(async move { get(&http_client(), address, "/hold").await });
    backends[0].reached(1).await;
    let stopped = running.stop();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    backends[0].release_holds();
    assert_eq!(held.await.unwrap().0, StatusCode::OK);
    stopped.await.unwrap();
}

#[tokio::test]
async fn a_removed_service_frees_its_address_at_once() {
    let (mut stage, _backends) = Stage::with_backends(Protocol::Http, 1).await;
    stage.remove();
    std::net::TcpListener::bind(stage.address).unwrap();
}

#[tokio::test]
async fn a_busy_port_is_replaced_on_the_same_address() {
    let holder = std::net::TcpListener::bind("127.88.0.4:0").unwrap();
    let mut stage = Stage::new(Protocol::Http);
    stage.listen = vec![holder.local_addr().unwrap(), "127.88.0.4:0".parse().unwrap()];
    let backend = Backend::http().await;
    stage.route([(backend.address, EndpointState::Ready)]);
    assert_eq!(stage.address.ip(), holder.local_addr().unwrap().ip());
    assert_ne!(stage.address.port(), holder.local_addr().unwrap().port());
    let before = stage.address;
    stage.route([(backend.address, EndpointState::Ready)]);
    assert_eq!(stage.address, before, "updates leave a listener where it is");
    assert_eq!(get(&http_client(), stage.address, "/").await.0, StatusCode::OK);
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel() {
    let mut stage = Stage::new(Protocol::Http);
    let backend = Backend::switching().await;
    stage.route([(backend.address, EndpointState::Ready)]);
    let mut client = TcpStream::connect(stage.address).await.unwrap();
    client.write_all(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n").await.unwrap();
    let head = stage::read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.to_ascii_lowercase().contains("upgrade: echo"), "{head}");
    client.write_all(b"ping").await.unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"ping");
}

#[tokio::test]
async fn a_server_may_speak_first_and_each_side_closes_for_itself() {
    let mut stage = Stage::new(Protocol::Detect);
    let backend = Backend::greeting().await;
    stage.route([(backend.address, EndpointState::Ready)]);
    let mut client = TcpStream::connect(stage.address).await.unwrap();
    let mut greeting = [0; 7];
    client.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"hello\r\n");
    client.write_all(b"bye").await.unwrap();
    client.shutdown().await.unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "got bye");
}

#[tokio::test]
async fn bodies_stream_in_both_directions() {
    let (stage, _backends) = Stage::with_backends(Protocol::Http, 1).await;
    let mut client = TcpStream::connect(stage.address).await.unwrap();
    client.write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    for chunk in [&b"3\r\none\r\n"[..], b"3\r\ntwo\r\n"] {
        client.write_all(chunk).await.unwrap();
        let mut seen = Vec::new();
        // What was sent comes back before the rest is sent.
        while !seen.ends_with(chunk) {
            assert_ne!(client.read_buf(&mut seen).await.unwrap(), 0);
        }
    }
}

#[tokio::test]
async fn an_http_1_0_client_is_served() {
    let (stage, _backends) = Stage::with_backends(Protocol::Detect, 1).await;
    let mut client = TcpStream::connect(stage.address).await.unwrap();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("ok"), "{answer}");
}

#[tokio::test]
async fn an_http_1_0_endpoint_does_not_end_the_clients_connection() {
    let mut stage = Stage::new(Protocol::Http);
    let backend = Backend::old().await;
    stage.route([(backend.address, EndpointState::Ready)]);
    let mut client = TcpStream::connect(stage.address).await.unwrap();
    for _ in 0..2 {
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"0\r\n\r\n") {
            assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn http2_with_prior_knowledge_reaches_http2_endpoints_with_trailers() {
    for protocol in [Protocol::H2c, Protocol::Detect] {
        let mut stage = Stage::new(protocol);
        let backend = Backend::http2().await;
        stage.route([(backend.address, EndpointState::Ready)]);
        let response = stage::http2_request(stage.address).await;
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    }
}

#[tokio::test]
async fn calls_in_process_take_the_same_path() {
    let mut stage = Stage::new(Protocol::Http);
    let (gone, heir) = (Backend::http().await, Backend::http().await);
    stage.route([(gone.address, EndpointState::Ready), (heir.address, EndpointState::Draining)]);
    gone.kill().await;
    let target = stage.gateway.resolve("web", None, "shop").unwrap();
    assert_eq!(stage.gateway.resolve("example.org", None, "shop"), None);
    let request = Request::post("http://web/echo").body(Bytes::from("x")).unwrap();
    let response = stage.gateway.call(&target, request.clone(), CallOptions::default()).await.unwrap();
    assert_eq!(response.into_body(), "x");

    let tight = CallOptions { response_limit: 0, ..CallOptions::default() };
    let refused = stage.gateway.call(&target, request.clone(), tight).await;
    assert!(matches!(refused, Err(CallError::TooLarge { .. })), "{refused:?}");

    let hold = Request::get("/hold").body(Bytes::new()).unwrap();
    let hasty = CallOptions { deadline: Some(Duration::from_millis(20)), ..CallOptions::default() };
    let refused = stage.gateway.call(&target, hold, hasty).await;
    assert!(matches!(refused, Err(CallError::Deadline { .. })), "{refused:?}");

    let other = ServiceTarget { namespace: "shop".into(), name: "other".into(), port: None };
    let refused = stage.gateway.call(&other, request, CallOptions::default()).await;
    assert!(matches!(refused, Err(CallError::NoService(_))), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_service_without_endpoints_says_so() {
    let mut stage = Stage::new(Protocol::Http);
    let endpoint: SocketAddr = "127.88.0.9:1".parse().unwrap();
    stage.route([(endpoint, EndpointState::NotReady)]);
    let target = stage.gateway.resolve("web.shop", None, "default").unwrap();
    let request = Request::get("/").body(Bytes::new()).unwrap();
    let refused = stage.gateway.call(&target, request, CallOptions::default()).await.unwrap_err();
    assert_eq!(refused.to_string(), "no ready endpoint of service shop/web: 1 pods, 0 ready");
}

#[tokio::test]
async fn a_process_that_is_stopped_is_left_out_and_its_requests_go_elsewhere() {
    // Long enough that a busy machine is not taken for a silent endpoint.
    let config = GatewayConfig { silence: Duration::from_secs(3), ..GatewayConfig::default() };
    let mut stage = Stage::with_config(Protocol::Http, config);
    let (stopped, working) = (Backend::deaf().await, Backend::http().await);
    stage.route([(stopped.address, EndpointState::Ready), (working.address, EndpointState::Ready)]);
    let client = http_client();
    while stopped.requests.load(Relaxed) == 0 {
        assert_eq!(get(&client, stage.address, "/").await.0, StatusCode::OK, "repeatable, so answered elsewhere");
    }
    // Found silent by now: nothing goes there any more, not even what could not be repeated.
    for _ in 0..20 {
        let request = Request::post(format!("http://{}/", stage.address)).body(Full::new(Bytes::from("x"))).unwrap();
        assert_eq!(send(&client, request).await.0, StatusCode::OK);
    }
    let metrics = stage.gateway.metrics();
    let port = "namespace=\"shop\",service=\"web\",port=\"80\"";
    for line in [
        format!("kapell_gateway_endpoints_ejected{{{port}}} 1"),
        format!("kapell_gateway_endpoints{{{port},state=\"ready\"}} 2"),
        format!("kapell_gateway_request_duration_seconds_bucket{{{port},le=\"+Inf\"}} "),
        format!("kapell_gateway_requests_total{{{port},code=\"200\"}} "),
    ] {
        assert!(metrics.contains(&line), "{line} in\n{metrics}");
    }
}

#[tokio::test]
async fn the_only_endpoint_is_waited_for_and_given_up_in_the_end() {
    let (silence, answer) = (Duration::from_millis(20), Duration::from_millis(100));
    let mut stage = Stage::with_config(Protocol::Http, GatewayConfig { silence, answer, ..GatewayConfig::default() });
    let stopped = Backend::deaf().await;
    stage.route([(stopped.address, EndpointState::Ready)]);
    let (status, body) = get(&http_client(), stage.address, "/").await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    assert!(String::from_utf8_lossy(&body).contains("did not answer within 100ms"), "{body:?}");
    assert_eq!(stopped.requests.load(Relaxed), 1, "there is nobody else to ask");
    assert!(stage.gateway.metrics().contains("code=\"504\"} 1"));
}

#[tokio::test]
async fn an_endpoint_that_has_left_gets_its_time_and_no_more() {
    let (silence, departed) = (Duration::from_millis(20), Duration::from_millis(100));
    let mut stage = Stage::with_config(Protocol::Http, GatewayConfig { silence, departed, ..GatewayConfig::default() });
    let leaving = Backend::http().await;
    stage.route([(leaving.address, EndpointState::Ready)]);
    let address = stage.address;
    let held = tokio::spawn(async move { get(&http_client(), address, "/hold").await });
    leaving.reached(1).await;
    stage.route([]);
    let (status, body) = held.await.unwrap();
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    assert!(String::from_utf8_lossy(&body).contains("has left the service"), "{body:?}");
}

#[tokio::test]
async fn a_request_is_passed_on_to_one_address_upgrades_included() {
    let (plain, switching) = (Backend::http().await, Backend::switching().await);
    let (plain_at, switching_at) = (plain.address, switching.address);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| async move {
            let to = if request.uri().path() == "/ws" { switching_at } else { plain_at };
            let stream = TcpStream::connect(to).await.unwrap();
            let answered = pass(stream, request, None, (), CancellationToken::new()).await;
            answered.map(|(response, _)| response)
        });
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection.with_upgrades());
        }
    });
    let request = Request::post(format!("http://{address}/echo")).body(Full::new(Bytes::from("x".repeat(1 << 20))));
    let (status, body) = send(&http_client(), request.unwrap()).await;
    assert_eq!((status, body.len()), (StatusCode::OK, 1 << 20));

    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n").await.unwrap();
    let head = stage::read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 101") && head.to_ascii_lowercase().contains("upgrade: echo"), "{head}");
    client.write_all(b"ping").await.unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"ping");
    client.shutdown().await.unwrap();
    assert_eq!(client.read(&mut answer).await.unwrap(), 0, "the end of one side reaches the other, and comes back");
}
