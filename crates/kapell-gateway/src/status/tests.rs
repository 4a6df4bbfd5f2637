use serde_json::from_value;

use super::*;

fn now() -> Time {
    from_value(json!("2026-01-02T03:04:05Z")).unwrap()
}

fn service(service_type: &str, status: Value) -> Service {
    from_value(json!({
        "metadata": {"namespace": "shop", "name": "order", "resourceVersion": "7", "generation": 1},
        "spec": {"type": service_type, "clusterIP": "127.9.0.4", "ports": [{"name": "http", "port": 80}]},
        "status": status,
    }))
    .unwrap()
}

fn report(listening: Option<&str>, cause: Option<&str>) -> Report {
    let port = PortReport {
        name: "http".to_owned(),
        number: 80,
        listening: listening.map(|address| address.parse().unwrap()),
        cause: cause.map(str::to_owned),
        node: None,
    };
    Report { ports: vec![port] }
}

/// The service as the API server has it after the patches.
fn patched(service: &Service, patches: &Patches) -> Service {
    let mut object = serde_json::to_value(service).unwrap();
    if let Some(patch) = &patches.object {
        object["metadata"]["annotations"] = patch["metadata"]["annotations"].clone();
    }
    for (field, value) in patches.status.iter().flat_map(|patch| patch["status"].as_object().unwrap()) {
        object["status"][field] = value.clone();
    }
    from_value(object).unwrap()
}

#[test]
fn a_fallback_is_said_once_in_three_places() {
    let service = service(
        "LoadBalancer",
        json!({"conditions": [
            {"type": "other", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ]}),
    );
    let report = report(Some("127.9.0.4:41234"), Some("127.9.0.4:80 is in use by another process"));
    let patches = compute_patches(&service, &report, now());

    let annotation = &patches.object.as_ref().unwrap()["metadata"]["annotations"]["kapell.dev/listen"];
    assert_eq!(annotation, "http=127.9.0.4:41234");
    let status = patches.status.as_ref().unwrap();
    assert_eq!(status["metadata"]["resourceVersion"], "7");
    assert_eq!(status["status"]["conditions"][0]["type"], "other");
    assert_eq!(
        status["status"]["conditions"][1],
        json!({
            "type": "kapell.dev/Listening", "status": "True", "reason": "FallbackPort", "observedGeneration": 1,
            "message": "127.9.0.4:80 is in use by another process; listening on 127.9.0.4:41234 instead",
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        })
    );
    assert_eq!(
        status["status"]["loadBalancer"]["ingress"],
        json!([{"ip": "127.9.0.4", "ports": [{"port": 80, "protocol": "TCP", "error": "kapell.dev/PortUnavailable"}]}])
    );

    let later: Time = from_value(json!("2027-01-01T00:00:00Z")).unwrap();
    assert_eq!(compute_patches(&patched(&service, &patches), &report, later), Patches::default(), "nothing changed");
}

#[test]
fn a_port_in_its_place_needs_no_explanation() {
    let service = service("LoadBalancer", json!({}));
    let patches = compute_patches(&service, &report(Some("127.9.0.4:80"), None), now());
    let status = &patches.status.unwrap()["status"];
    assert_eq!(status["conditions"][0]["reason"], "AllPorts");
    assert_eq!(status["loadBalancer"]["ingress"], json!([{"ip": "127.9.0.4"}]));
}

#[test]
fn a_silent_port_is_false_and_has_no_address() {
    let service = service("ClusterIP", json!({}));
    let patches = compute_patches(&service, &report(None, Some("port 53 is UDP, and only TCP is forwarded")), now());
    assert_eq!(patches.object, None);
    let status = &patches.status.unwrap()["status"];
    assert_eq!(status["conditions"][0]["status"], "False");
    assert!(status.get("loadBalancer").is_none());
}

#[test]
fn headless_services_are_left_alone_and_former_load_balancers_cleaned() {
    let headless = service("ClusterIP", json!({}));
    assert_eq!(compute_patches(&headless, &report(None, None), now()), Patches::default());
    let former = service("ClusterIP", json!({"loadBalancer": {"ingress": [{"ip": "127.9.0.4"}]}}));
    let patches = compute_patches(&former, &report(None, None), now());
    assert_eq!(patches.status.unwrap()["status"]["loadBalancer"]["ingress"], json!([]));
}

#[test]
fn a_node_port_that_is_taken_is_replaced_and_said() {
    let service = service("NodePort", json!({}));
    let mut report = report(Some("127.9.0.4:80"), None);
    let cause = "127.0.0.1:30080 is in use by another process";
    let node = |listening: Option<&str>| crate::core::NodePortReport {
        listening: listening.map(|address| address.parse().unwrap()),
        cause: Some(cause.to_owned()),
    };
    report.ports[0].node = Some(node(Some("127.0.0.1:41234")));
    let patches = compute_patches(&service, &report, now());
    let annotations = &patches.object.as_ref().unwrap()["metadata"]["annotations"];
    assert_eq!(annotations["kapell.dev/listen-node-ports"], "http=127.0.0.1:41234");
    let condition = &patches.status.as_ref().unwrap()["status"]["conditions"][0];
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("True"), &json!("FallbackPort")));
    assert_eq!(condition["message"], format!("node port: {cause}; listening on 127.0.0.1:41234 instead"));
    let told = patched(&service, &patches);
    assert_eq!(compute_patches(&told, &report, now()), Patches::default(), "said once");

    report.ports[0].node = Some(node(None));
    let patches = compute_patches(&told, &report, now());
    assert_eq!(patches.object.unwrap()["metadata"]["annotations"]["kapell.dev/listen-node-ports"], Value::Null);
    let condition = &patches.status.unwrap()["status"]["conditions"][0];
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("PortUnavailable")));
}
