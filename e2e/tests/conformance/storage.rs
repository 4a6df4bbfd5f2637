//! SIG Storage: volumes and their classes as objects; what cannot be changed.

use kapell_e2e::conformance::{Case, Operations, STRATEGIC, running_pod_spec};
use serde_json::{Value, json};

/// Conformance: [sig-storage] ConfigMap should be immutable if `immutable` field is set
/// Conformance: [sig-storage] Secrets should be immutable if `immutable` field is set
#[tokio::test]
async fn what_is_immutable_stays_so() {
    let case = Case::new().await;
    for plural in ["configmaps", "secrets"] {
        let collection = case.path("v1", plural);
        let path = format!("{collection}/x");
        case.post(&collection, &json!({"metadata": {"name": "x"}, "data": {"a": "YQ=="}})).await.expect(201);
        case.merge(&path, &json!({"data": {"b": "Yg=="}})).await.expect(200);
        case.merge(&path, &json!({"immutable": true})).await.expect(200);
        for change in [json!({"data": {"a": "Yw=="}}), json!({"immutable": null}), json!({"immutable": false})] {
            case.merge(&path, &change).await.expect(422);
        }
        case.merge(&path, &json!({"metadata": {"labels": {"changed": "yes"}}})).await.expect(200);
        case.delete(&path).await.ok();
    }
}

fn volume() -> Value {
    json!({"spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain",
        "hostPath": {"path": "/tmp/e2e"}, "storageClassName": "e2e",
    }})
}

fn claim() -> Value {
    json!({"spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "e2e",
    }})
}

/// Conformance: [sig-storage] PersistentVolumes CSI Conformance should run through the lifecycle of a PV and a PVC
/// Conformance: [sig-storage] PersistentVolumes CSI Conformance should apply changes to a pv/pvc status
#[tokio::test]
async fn volumes_and_claims_live_as_other_objects_do() {
    let case = Case::new().await;
    let condition = json!([{
        "type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]);
    for operations in [
        Operations {
            group_version: "v1",
            plural: "persistentvolumes",
            namespaced: false,
            object: volume(),
            status: Some(json!({"message": "set by a test", "reason": "E2E"})),
        },
        Operations {
            group_version: "v1",
            plural: "persistentvolumeclaims",
            namespaced: true,
            object: claim(),
            status: Some(json!({"conditions": condition})),
        },
    ] {
        operations.check(&case).await;
    }
}

/// Conformance: [sig-storage] StorageClasses CSI Conformance should run through the lifecycle of a StorageClass
/// Conformance: [sig-storage] CSIInlineVolumes should run through the lifecycle of a CSIDriver
/// Conformance: [sig-storage] CSINodes CSI Conformance should run through the lifecycle of a csinode
/// Conformance: [sig-storage] CSIStorageCapacity should support CSIStorageCapacities API operations
/// Conformance: [sig-storage] VolumeAttachment Conformance should run through the lifecycle of a VolumeAttachment
/// Conformance: [sig-storage] VolumeAttachment Conformance should apply changes to a volumeattachment status
#[tokio::test]
async fn classes_drivers_and_attachments_live_as_other_objects_do() {
    let case = Case::new().await;
    let group_version = "storage.k8s.io/v1";
    for (plural, namespaced, object, status) in [
        ("storageclasses", false, json!({"provisioner": "e2e.example.com/none"}), None),
        ("csidrivers", false, json!({"spec": {"volumeLifecycleModes": ["Ephemeral"]}}), None),
        ("csinodes", false, json!({"spec": {"drivers": []}}), None),
        ("csistoragecapacities", true, json!({"storageClassName": "e2e", "capacity": "1Gi"}), None),
        (
            "volumeattachments",
            false,
            json!({"spec": {"attacher": "e2e.example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}}}),
            Some(json!({"attached": true})),
        ),
    ] {
        Operations { group_version, plural, namespaced, object, status }.check(&case).await;
    }
}

/// Conformance: [sig-storage] CSIInlineVolumes should support CSIVolumeSource in Pod API
#[tokio::test]
async fn pods_have_inline_volumes() {
    let case = Case::new().await;
    let driver = format!("{}.example.com", case.namespace);
    let drivers = "/apis/storage.k8s.io/v1/csidrivers";
    let inline = json!({"metadata": {"name": driver}, "spec": {"volumeLifecycleModes": ["Ephemeral"]}});
    case.post(drivers, &inline).await.expect(201);
    let mut spec = running_pod_spec();
    let csi = json!({"driver": driver, "volumeAttributes": {"foo": "bar"}});
    spec["volumes"] = json!([{"name": "v", "csi": csi}]);
    spec["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "v"}]);
    let pods = case.path("v1", "pods");
    let pod = json!({"metadata": {"name": "p", "labels": {"inline": "yes"}}, "spec": spec});
    let made = case.post(&pods, &pod).await;
    assert_eq!(made.expect(201)["spec"]["volumes"][0]["csi"]["volumeAttributes"]["foo"], "bar");
    assert!(made.warnings().iter().any(|warning| warning.contains(&driver)), "{:?}", made.warnings());

    // It cannot have its volume, and says so.
    let path = format!("{pods}/p");
    let names_driver = |pod: &Value| {
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        waiting["reason"] == "ContainerCreating" && waiting["message"].to_string().contains(&driver)
    };
    case.until("it names the driver", &path, names_driver).await;
    let events = format!("{}?fieldSelector=reason%3DFailedMount", case.path("v1", "events"));
    kapell_e2e::eventually_async("an event says so", || async {
        case.list(&events).await.iter().any(|event| event["message"].to_string().contains(&driver)).then_some(())
    })
    .await;

    let labels = json!({"metadata": {"labels": {"patched": "yes"}}});
    assert_eq!(case.patch(&path, STRATEGIC, &labels).await.expect(200)["metadata"]["labels"]["inline"], "yes");
    assert_eq!(case.list(&format!("{pods}?labelSelector=patched%3Dyes")).await.len(), 1);
    case.delete(&path).await.ok();
    case.until_gone(&path).await;
    case.delete(&format!("{drivers}/{driver}")).await.ok();
}
