use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Answers every request with this status line, until the test ends.
async fn http(status: &'static str, tls: Option<rustls::ServerConfig>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = tls.map(|config| tokio_rustls::TlsAcceptor::from(Arc::new(config)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            match &acceptor {
                None => answer(stream, status).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        answer(stream, status).await;
                    }
                }
            }
        }
    });
    port
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, status: &str) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
            return;
        }
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).unwrap();
    // Says what was asked for, so that a probe that asks for something else fails.
    let status = if request.starts_with("GET /healthz?full HTTP/1.1\r\n") && request.contains("x-probe: yes\r\n") {
        status
    } else {
        "400 Bad Request"
    };
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\nLocation: /elsewhere\r\n\r\nhello");
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// Nobody vouches for this certificate, and it is for another name.
fn self_signed() -> rustls::ServerConfig {
    let issued = rcgen::generate_simple_self_signed(["elsewhere.example".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    builder.with_no_client_auth().with_single_cert(vec![issued.cert.der().clone()], key).unwrap()
}

async fn check(probe: serde_json::Value, timeout: Duration) -> Result<(), String> {
    let probe: Probe = serde_json::from_value(probe).unwrap();
    let endpoint = Endpoint { ip: Ipv4Addr::LOCALHOST, ports: BTreeMap::new() };
    endpoint.check(&probe, timeout).await
}

fn get(port: u16, scheme: &str) -> serde_json::Value {
    let headers = json!([{ "name": "x-probe", "value": "yes" }]);
    json!({ "httpGet": { "port": port, "scheme": scheme, "path": "/healthz?full", "httpHeaders": headers } })
}

#[tokio::test]
async fn the_status_of_an_answer_decides() {
    for (status, tls, failure) in [
        ("200 OK", false, None),
        ("204 No Content", false, None),
        ("302 Found", false, None),
        ("400 Bad Request", false, Some("statuscode: 400")),
        ("503 Service Unavailable", false, Some("statuscode: 503")),
        ("200 OK", true, None),
        ("500 Internal Server Error", true, Some("statuscode: 500")),
    ] {
        let port = http(status, tls.then(self_signed)).await;
        let result = check(get(port, if tls { "HTTPS" } else { "HTTP" }), TIMEOUT).await;
        match failure {
            None => assert_eq!(result, Ok(()), "{status}, TLS {tls}"),
            Some(text) => assert!(result.as_ref().is_err_and(|e| e.contains(text)), "{status}, TLS {tls}: {result:?}"),
        }
    }
}

#[tokio::test]
async fn what_does_not_answer_fails_and_says_how() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let short = Duration::from_millis(50);
    for (probe, timeout, text) in [
        (get(free, "HTTP"), TIMEOUT, "refused"),
        (json!({ "tcpSocket": { "port": free } }), TIMEOUT, "refused"),
        (get(silent_port, "HTTP"), short, "no answer within 50ms"),
        (get(silent_port, "HTTPS"), short, "no answer within 50ms"),
        (json!({ "tcpSocket": { "port": "unnamed" } }), TIMEOUT, "no port named \"unnamed\""),
        (json!({ "tcpSocket": { "port": 70000 } }), TIMEOUT, "70000 is not a port"),
        (json!({}), TIMEOUT, "no supported handler"),
    ] {
        let result = check(probe.clone(), timeout).await;
        assert!(result.as_ref().is_err_and(|error| error.contains(text)), "{probe}: {result:?}");
    }
    // A listener is enough for TCP, whether or not it ever answers.
    assert_eq!(check(json!({ "tcpSocket": { "port": silent_port } }), TIMEOUT).await, Ok(()));
}
