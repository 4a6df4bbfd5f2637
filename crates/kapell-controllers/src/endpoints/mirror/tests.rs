use serde_json::{Value, json};

use super::*;

fn service() -> Service {
    serde_json::from_value(json!({"metadata": {"name": "db", "namespace": "ns"}, "spec": {}})).unwrap()
}

fn endpoints(metadata: Value, ip: &str) -> Endpoints {
    let mut object = json!({
        "metadata": {"name": "db", "namespace": "ns", "uid": "12345678"},
        "subsets": [{
            "addresses": [{"ip": ip}, {"ip": "fd00::1"}], "notReadyAddresses": [{"ip": "10.0.0.9"}],
            "ports": [{"name": "sql", "port": 5432}],
        }],
    });
    json_patch::merge(&mut object["metadata"], &metadata);
    serde_json::from_value(object).unwrap()
}

fn created(actions: Vec<Action>) -> Vec<EndpointSlice> {
    let one = |action| match action {
        Action::Create(slice) => *slice,
        other => panic!("{other:?}"),
    };
    actions.into_iter().map(one).collect()
}

#[test]
fn a_mirror_says_what_the_endpoints_say() {
    let slices = created(plan(Some(&service()), Some(&endpoints(json!({}), "10.0.0.1")), &[]));
    let told: Vec<String> = slices
        .iter()
        .map(|slice| {
            let ready = |e: &Endpoint| e.conditions.as_ref().and_then(|c| c.ready) == Some(true);
            let one = |e: &Endpoint| format!("{}{}", e.addresses[0], if ready(e) { "" } else { "?" });
            let endpoints: Vec<String> = slice.endpoints.iter().map(one).collect();
            format!("{} {}", slice.address_type, endpoints.join(" "))
        })
        .collect();
    assert_eq!(told, ["IPv4 10.0.0.1 10.0.0.9?", "IPv6 fd00::1"]);
    let labels = slices[0].metadata.labels.as_ref().unwrap();
    assert_eq!((labels[SERVICE_NAME].as_str(), labels[MANAGED_BY].as_str()), ("db", OURSELVES));
    assert_eq!(slices[0].ports.as_ref().unwrap()[0].port, Some(5432));
}

#[test]
fn mirrors_follow_and_go() {
    let before: Vec<_> = created(plan(Some(&service()), Some(&endpoints(json!({}), "10.0.0.1")), &[]));
    let present: Vec<Arc<EndpointSlice>> = before.into_iter().map(Arc::new).collect();
    let same = plan(Some(&service()), Some(&endpoints(json!({}), "10.0.0.1")), &present);
    assert_eq!(same, []);
    let moved = plan(Some(&service()), Some(&endpoints(json!({}), "10.0.0.2")), &present);
    assert!(matches!(&moved[..], [Action::Update(slice)] if slice.endpoints[0].addresses == ["10.0.0.2"]), "{moved:?}");
    let skipped = endpoints(json!({"labels": {SKIP: "true"}}), "10.0.0.1");
    let elects = endpoints(json!({"annotations": {ELECTION: "{}"}}), "10.0.0.1");
    for (service, endpoints) in [
        (None, Some(&endpoints(json!({}), "10.0.0.1"))),
        (Some(&service()), None),
        (Some(&service()), Some(&skipped)),
        (Some(&service()), Some(&elects)),
    ] {
        let actions = plan(service, endpoints, &present);
        assert!(actions.iter().all(|action| matches!(action, Action::Delete(_))) && actions.len() == 2, "{actions:?}");
    }
}
