use serde_json::json;

use super::*;

#[test]
fn what_is_decided_by_is_read_as_a_whole_pod_has_it() {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "7", "labels": {"app": "web"},
            "annotations": {"x": "y"}, "creationTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["f"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "o", "uid": "o", "controller": true}]},
        "spec": {"nodeName": "n", "nodeSelector": {"disk": "fast"}, "hostname": "h", "subdomain": "s", "priority": 3,
            "schedulerName": "mine", "schedulingGates": [{"name": "g"}], "overhead": {"cpu": "1"},
            "tolerations": [{"key": "k", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]}}},
            "initContainers": [{"name": "i", "restartPolicy": "Always"}],
            "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 80}],
                "resources": {"requests": {"cpu": "1"}}}]},
        "status": {"phase": "Running", "podIP": "127.0.0.9",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    });
    let whole: Pod = serde_json::from_value(pod.clone()).unwrap();
    let LeanPod(lean) = serde_json::from_value(pod.clone()).unwrap();
    assert_eq!(lean, whole);
    let LeanMetadata(metadata) = serde_json::from_value(pod.clone()).unwrap();
    assert_eq!(metadata, whole.metadata);

    // What nobody decides by is not read, whatever it is.
    let mut more = pod;
    more["metadata"]["managedFields"] = json!([{"manager": "m", "fieldsV1": {"f:spec": {}}}]);
    more["spec"]["containers"][0]["image"] = json!("registry.example.com/web");
    more["spec"]["volumes"] = json!([{"name": "v"}]);
    let LeanPod(lean) = serde_json::from_value(more).unwrap();
    assert_eq!(lean, whole);
}

#[test]
fn restarts_are_read_and_nothing_need_be_there() {
    let pod = json!({"metadata": {"name": "a"}, "status": {"containerStatuses": [
        {"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 3}]}});
    let LeanPod(pod) = serde_json::from_value(pod).unwrap();
    assert_eq!(pod.status.unwrap().container_statuses.unwrap()[0].restart_count, 3);
    let LeanPod(bare) = serde_json::from_value(json!({"metadata": {}, "spec": null})).unwrap();
    assert_eq!(bare, Pod::default());
}
