use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

fn service(changes: Value) -> Service {
    let mut object = json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "0a1b2c3d", "labels": {"tier": "front"}},
        "spec": {"selector": {"app": "web"}, "clusterIP": "127.9.0.4",
            "ports": [{"name": "http", "port": 80, "targetPort": "web"}]},
    });
    json_patch::merge(&mut object, &changes);
    serde_json::from_value(object).unwrap()
}

fn pod(name: &str, changes: Value) -> Arc<KnownPod> {
    let mut object = json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name, "labels": {"app": "web"}},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": format!("127.9.128.{}", name.len()),
            "conditions": [{"type": "Ready", "status": "True"}]},
    });
    json_patch::merge(&mut object, &changes);
    crate::pod::known(object)
}

/// Carries the plan out on `slices`; the number of writes.
fn settle(service: &Service, pods: &[Arc<KnownPod>], slices: &mut Vec<Arc<EndpointSlice>>) -> usize {
    let actions = plan::plan(service, pods, slices);
    let writes = actions.len();
    for action in actions {
        match action {
            Action::Create(slice) => {
                assert!(slices.iter().all(|present| present.metadata.name != slice.metadata.name));
                slices.push(Arc::new(*slice));
            }
            Action::Update(slice) => {
                let present = slices.iter_mut().find(|present| present.metadata.name == slice.metadata.name);
                *present.unwrap() = Arc::new(*slice);
            }
            Action::Delete(slice) => slices.retain(|present| present.metadata.name != slice.metadata.name),
        }
    }
    writes
}

fn conditions(service: &Service, pod: Arc<KnownPod>) -> Option<(bool, bool, bool)> {
    let mut slices = Vec::new();
    settle(service, &[pod], &mut slices);
    let conditions = slices[0].endpoints.first()?.conditions.clone()?;
    Some((conditions.ready?, conditions.serving?, conditions.terminating?))
}

#[test]
fn conditions_follow_readiness_and_termination() {
    let not_ready = json!({"status": {"conditions": []}});
    let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let usual = service(json!({}));
    assert_eq!(conditions(&usual, pod("a", json!({}))), Some((true, true, false)));
    assert_eq!(conditions(&usual, pod("a", not_ready.clone())), Some((false, false, false)));
    assert_eq!(conditions(&usual, pod("a", going)), Some((false, true, true)));
    assert_eq!(conditions(&usual, pod("a", json!({"status": {"podIP": null}}))), None);
    assert_eq!(conditions(&usual, pod("a", json!({"status": {"phase": "Failed"}}))), None);
    assert_eq!(conditions(&usual, pod("a", json!({"metadata": {"labels": {"app": "x"}}}))), None);
    let eager = service(json!({"spec": {"publishNotReadyAddresses": true}}));
    assert_eq!(conditions(&eager, pod("a", not_ready)), Some((true, false, false)));
}

#[test]
fn ports_are_resolved_on_each_pod() {
    let other = json!({"spec": {"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 9090}]}]}});
    let pods = [pod("a", json!({})), pod("bb", other)];
    let mut slices = Vec::new();
    settle(&service(json!({})), &pods, &mut slices);
    let mut ports: Vec<_> = slices.iter().map(|slice| slice.ports.as_ref().unwrap()[0].port).collect();
    ports.sort_unstable();
    assert_eq!(ports, [Some(8080), Some(9090)], "pods with different numbers need different slices");

    let by_number = service(json!({"spec": {"ports": [{"port": 80, "targetPort": 3000, "protocol": "UDP"}]}}));
    let mut slices = Vec::new();
    settle(&by_number, &pods, &mut slices);
    assert_eq!(slices.len(), 1);
    let port = slices[0].ports.as_ref().unwrap()[0].clone();
    assert_eq!((port.port, port.protocol.as_deref(), port.name.as_deref()), (Some(3000), Some("UDP"), Some("")));
}

#[test]
fn slices_carry_labels_and_owner() {
    let mut slices = Vec::new();
    settle(&service(json!({"spec": {"clusterIP": "None"}})), &[], &mut slices);
    let meta = &slices[0].metadata;
    let labels = meta.labels.as_ref().unwrap();
    assert_eq!(labels["kubernetes.io/service-name"], "web");
    assert_eq!(labels["endpointslice.kubernetes.io/managed-by"], "endpointslice-controller.k8s.io");
    assert_eq!(labels["tier"], "front");
    assert!(labels.contains_key("service.kubernetes.io/headless"));
    assert_eq!(meta.owner_references.as_ref().unwrap()[0].uid, "0a1b2c3d");
    assert!(slices[0].endpoints.is_empty());
}

#[test]
fn nothing_is_written_when_nothing_has_changed() {
    let pods: Vec<_> =
        (0..230).map(|i| pod(&format!("p{i:03}"), json!({"status": {"podIP": format!("127.9.129.{i}")}}))).collect();
    let (service, mut slices) = (service(json!({})), Vec::new());
    assert_eq!(settle(&service, &pods, &mut slices), 3);
    assert!(slices.iter().all(|slice| slice.endpoints.len() <= 100));
    assert_eq!(slices.iter().map(|slice| slice.endpoints.len()).sum::<usize>(), 230);
    assert_eq!(settle(&service, &pods, &mut slices), 0);
    let mut reversed = pods.clone();
    reversed.reverse();
    assert_eq!(settle(&service, &reversed, &mut slices), 0, "the order of pods does not matter");
    // One pod changes: one slice is written.
    let mut changed = pods.clone();
    changed[7] = pod("p007", json!({"status": {"podIP": "127.9.129.7", "conditions": []}}));
    assert_eq!(settle(&service, &changed, &mut slices), 1);
    // All but one go: one slice is left.
    settle(&service, &pods[..1], &mut slices);
    assert_eq!((slices.len(), slices[0].endpoints.len()), (1, 1));
    settle(&service, &[], &mut slices);
    assert_eq!((slices.len(), slices[0].endpoints.len()), (1, 0));
}

#[test]
fn services_without_selector_are_left_alone_and_external_names_have_none() {
    let mut slices = Vec::new();
    settle(&service(json!({})), &[pod("a", json!({}))], &mut slices);
    assert_eq!(plan::plan(&service(json!({"spec": {"selector": null}})), &[], &slices), []);
    settle(&service(json!({"spec": {"type": "ExternalName"}})), &[], &mut slices);
    assert!(slices.is_empty());
}
