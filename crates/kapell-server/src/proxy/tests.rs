use serde_json::json;

use super::*;

#[test]
fn a_pods_port_is_a_number_a_name_or_the_first_that_is_declared() {
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [
        {"name": "sidecar"},
        {"name": "web", "ports": [{"name": "http", "containerPort": 8080}, {"containerPort": 9090}]},
    ]}});
    for (wanted, expected) in
        [("", Some(8080)), ("http", Some(8080)), ("9999", Some(9999)), ("0", None), ("grpc", None)]
    {
        assert_eq!(pod_port(&pod, wanted).ok(), expected, "{wanted}");
    }
    assert_eq!(pod_port(&json!({"spec": {"containers": [{"name": "web"}]}}), "").ok(), Some(80));
}

#[test]
fn the_pod_sees_what_follows_proxy() {
    let uri: Uri = "https://kapell:6443/api/v1/namespaces/a/pods/p/proxy/x%2Fy?a=b&c".parse().unwrap();
    assert_eq!(within(&uri, "/x%2Fy").unwrap(), "https://kapell:6443/x%2Fy?a=b&c");
    let uri: Uri = "/api/v1/namespaces/a/pods/p/proxy".parse().unwrap();
    assert_eq!(within(&uri, "").unwrap(), "/");
}
