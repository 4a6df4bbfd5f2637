use serde_json::{Value, json};

use super::*;

fn service(spec: Value, annotations: Value) -> Service {
    let object = json!({"metadata": {"namespace": "shop", "name": "order", "annotations": annotations}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

fn slice(ports: Value, endpoints: Value) -> Arc<EndpointSlice> {
    let object =
        json!({"metadata": {"name": "order-x"}, "addressType": "IPv4", "ports": ports, "endpoints": endpoints});
    Arc::new(serde_json::from_value(object).unwrap())
}

fn addresses(list: &[&str]) -> Vec<SocketAddr> {
    list.iter().map(|address| address.parse().unwrap()).collect()
}

#[test]
fn a_service_becomes_listeners_and_endpoints() {
    let service = service(
        json!({"type": "NodePort", "clusterIP": "127.9.0.4", "sessionAffinity": "ClientIP", "ports": [
            {"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"},
            {"name": "dns", "port": 53, "protocol": "UDP"},
        ]}),
        json!({}),
    );
    let slice = slice(
        json!([{"name": "http", "port": 8080}, {"name": "dns", "port": 53}]),
        json!([
            {"addresses": ["127.9.128.2"], "conditions": {"ready": true}, "targetRef": {"uid": "u2"}},
            {"addresses": ["127.9.128.1"], "conditions": {"ready": false, "serving": true, "terminating": true}},
            {"addresses": ["127.9.128.3"], "conditions": {"ready": false, "serving": false, "terminating": false}},
            {"addresses": ["127.9.128.4"]},
        ]),
    );
    let route = compute_route(&service, &[slice]).unwrap();
    assert!(route.client_affinity);
    let http = &route.ports[0];
    assert_eq!(http.listen, addresses(&["127.9.0.4:80", "127.9.0.4:0", "127.0.0.1:0"]));
    let node: Vec<SocketAddr> = ["127.0.0.1:30080", "127.0.0.1:0"].map(|address| address.parse().unwrap()).into();
    assert_eq!(http.node_listen, node);
    let seen: Vec<_> = http.endpoints.iter().map(|e| (e.address.to_string(), e.pod.as_str(), e.state)).collect();
    assert_eq!(
        seen,
        [
            ("127.9.128.1:8080".to_owned(), "", EndpointState::Draining),
            ("127.9.128.2:8080".to_owned(), "u2", EndpointState::Ready),
            ("127.9.128.3:8080".to_owned(), "", EndpointState::NotReady),
            ("127.9.128.4:8080".to_owned(), "", EndpointState::Ready),
        ]
    );
    assert_eq!(route.ports[1].transport, Transport::Unsupported("UDP"));
}

#[test]
fn an_announced_fallback_is_tried_again_before_a_new_one() {
    let service = service(
        json!({"clusterIP": "127.9.0.4", "ports": [{"port": 80}]}),
        json!({"kapell.dev/listen": "80=127.9.0.4:41234,broken"}),
    );
    let route = compute_route(&service, &[]).unwrap();
    assert_eq!(route.ports[0].listen, addresses(&["127.9.0.4:80", "127.9.0.4:41234", "127.9.0.4:0", "127.0.0.1:0"]));
}

#[test]
fn an_address_in_two_slices_has_its_better_state() {
    let ports = json!([{"name": null, "port": 8080}]);
    let stale = slice(ports.clone(), json!([{"addresses": ["127.9.128.1"], "conditions": {"ready": false}}]));
    let fresh = slice(ports, json!([{"addresses": ["127.9.128.1"], "conditions": {"ready": true}}]));
    let service = service(json!({"clusterIP": "127.9.0.4", "ports": [{"port": 80}]}), json!({}));
    for slices in [[stale.clone(), fresh.clone()], [fresh, stale]] {
        let route = compute_route(&service, &slices).unwrap();
        assert_eq!(route.ports[0].endpoints.len(), 1);
        assert_eq!(route.ports[0].endpoints[0].state, EndpointState::Ready);
    }
}

#[test]
fn headless_services_have_no_listener_and_external_names_no_route() {
    let headless = service(json!({"clusterIP": "None", "ports": [{"port": 80}]}), json!({}));
    assert_eq!(compute_route(&headless, &[]).unwrap().ports[0].listen, []);
    let external = service(json!({"type": "ExternalName", "externalName": "example.org"}), json!({}));
    assert_eq!(compute_route(&external, &[]), None);
}

#[test]
fn protocols_are_declared_or_detected() {
    let cases = [
        (json!({"port": 1, "appProtocol": "http"}), Protocol::Http),
        (json!({"port": 1, "appProtocol": "kubernetes.io/h2c"}), Protocol::H2c),
        (json!({"port": 1, "appProtocol": "https"}), Protocol::Tcp),
        (json!({"port": 1, "appProtocol": "example.org/own", "name": "http"}), Protocol::Tcp),
        (json!({"port": 1, "name": "http"}), Protocol::Http),
        (json!({"port": 1, "name": "http-admin"}), Protocol::Http),
        (json!({"port": 1, "name": "grpc-api"}), Protocol::H2c),
        (json!({"port": 1, "name": "https"}), Protocol::Tcp),
        (json!({"port": 1, "name": "httpd"}), Protocol::Detect),
        (json!({"port": 1}), Protocol::Detect),
    ];
    for (port, expected) in cases {
        assert_eq!(protocol(&serde_json::from_value(port.clone()).unwrap()), expected, "{port}");
    }
}
