use std::convert::Infallible;

use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use tokio::net::TcpListener;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(10);

/// What a server answers: the HTTP status, a message if there is one, and what follows it.
#[derive(Clone, Copy)]
struct Answer {
    http: u16,
    message: Option<&'static [u8]>,
    grpc: &'static [(&'static str, &'static str)],
}

/// Serves until the test ends; the service that it was asked for must be `shop`.
async fn serve(answer: Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |request: http::Request<Incoming>| async move {
                assert_eq!(
                    (request.uri().path(), request.headers()["content-type"].as_bytes()),
                    (METHOD, &b"application/grpc"[..])
                );
                let asked = request.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(asked, &b"\0\0\0\0\x06\x0a\x04shop"[..]);
                let mut head = http::Response::builder().status(answer.http);
                let mut frames = Vec::new();
                let mut fields = http::HeaderMap::new();
                for (name, value) in answer.grpc {
                    fields.insert(*name, value.parse().unwrap());
                }
                match answer.message {
                    Some(message) => {
                        frames.push(Ok::<_, Infallible>(Frame::data(Bytes::from_static(message))));
                        frames.push(Ok(Frame::trailers(fields)));
                    }
                    None => head.headers_mut().unwrap().extend(fields),
                }
                head.body(StreamBody::new(futures::stream::iter(frames)))
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

#[tokio::test]
async fn only_who_serves_is_healthy() {
    let ok = &[("grpc-status", "0")];
    let rpc = "error: health rpc probe failed: rpc error: code = ";
    let unimplemented = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): ";
    for (http, message, grpc, expected) in [
        (200, Some(&b"\0\0\0\0\x02\x08\x01"[..]), &ok[..], Ok(())),
        (200, Some(b"\0\0\0\0\x02\x08\x02"), ok, Err("service unhealthy (responded with \"NOT_SERVING\")".to_owned())),
        (200, Some(b"\0\0\0\0\x00"), ok, Err("service unhealthy (responded with \"UNKNOWN\")".to_owned())),
        (200, Some(b"\0\0\0\0\x02\x08\x09"), ok, Err("service unhealthy (responded with \"9\")".to_owned())),
        (200, Some(b"\0\0\0\0\x02\x08"), ok, Err(format!("{rpc}Internal desc = the answer is no HealthCheckResponse"))),
        (200, Some(b""), &[], Err(format!("{rpc}Internal desc = the answer has no grpc-status"))),
        (404, None, &[], Err(format!("{rpc}Internal desc = unexpected HTTP status code 404"))),
        (
            200,
            None,
            &[("grpc-status", "5"), ("grpc-message", "no%20such 100%")],
            Err(format!("{rpc}NotFound desc = no such 100%")),
        ),
        (200, None, &[("grpc-status", "12"), ("grpc-message", "no")], Err(format!("{unimplemented}no"))),
    ] {
        let address = serve(Answer { http, message, grpc }).await;
        assert_eq!(check(&address, "shop", TIMEOUT).await, expected);
    }
}

#[tokio::test]
async fn who_is_not_there_or_says_nothing_is_unhealthy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // It accepts, and that is all.
    let late = check(&address, "", Duration::from_millis(1)).await.unwrap_err();
    assert_eq!(late, "timeout: health rpc did not complete within 1ms");
    drop(listener);
    let refused = check(&address, "", TIMEOUT).await.unwrap_err();
    assert!(refused.starts_with(&format!("error: failed to connect service at \"{address}\": ")), "{refused}");
}

#[test]
fn messages_are_read_with_fields_of_later_versions() {
    let with = |message: &[u8]| serving_status(&[&[0, 0, 0, 0, message.len() as u8], message].concat());
    assert_eq!(with(b"\x08\x01\x12\x02hi\x1d\0\0\0\0\x21\0\0\0\0\0\0\0\0"), Some(1));
    assert_eq!(with(b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"), None);
    assert_eq!(with(b"\x0f"), None);
    assert_eq!(serving_status(b"\x01\0\0\0\0"), None, "compressed");
    let long = "x".repeat(300);
    assert_eq!(request(&long)[..8], [0, 0, 0, 1, 47, 10, 0xac, 2]);
    assert_eq!(request(""), [0; 5]);
}
