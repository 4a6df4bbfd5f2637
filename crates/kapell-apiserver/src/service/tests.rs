use std::sync::Arc;

use kapell_store::memory::MemoryStore;
use tower::ServiceExt as _;

use super::*;
use crate::Config;

/// The code and headers that a request from outside gets.
async fn ask(max_in_flight: usize, path: &str, authorization: Option<&str>) -> (u16, http::HeaderMap) {
    let mut config = Config::new("secret-token");
    config.max_in_flight = max_in_flight;
    let server = ApiServer::new(config, Arc::new(MemoryStore::new())).await.unwrap();
    let mut request = Request::get(path);
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let service = server.remote_service(CancellationToken::new());
    let response = service.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    (response.status().as_u16(), response.headers().clone())
}

#[tokio::test]
async fn only_the_token_opens() {
    const PODS: &str = "/api/v1/pods";
    for (path, authorization, expected) in [
        (PODS, Some("Bearer secret-token"), 200),
        (PODS, Some("bearer secret-token"), 200),
        (PODS, Some("Bearer secret-toke"), 401),
        (PODS, Some("Bearer "), 401),
        (PODS, Some("Basic secret-token"), 401),
        (PODS, Some("secret-token"), 401),
        (PODS, None, 401),
        ("/apis", None, 401),
        ("/openapi/v3", None, 401),
        ("/nowhere", None, 401),
        ("/version", None, 200),
        ("/livez", None, 200),
        ("/readyz", None, 200),
        ("/healthz", None, 200),
    ] {
        assert_eq!(ask(10, path, authorization).await.0, expected, "{path} {authorization:?}");
    }
}

#[tokio::test]
async fn too_many_requests_are_sent_away_with_a_time_to_come_back() {
    let (code, headers) = ask(0, "/api/v1/pods", Some("Bearer secret-token")).await;
    assert_eq!((code, headers[header::RETRY_AFTER].to_str().unwrap()), (429, "1"));
}
