//! SIG Node: nodes, leases, configuration and pods as objects.

use kapell_e2e::conformance::{Case, Operations, STRATEGIC, idle_pod_spec, running_pod_spec};
use serde_json::{Value, json};

/// Conformance: [sig-node] ConfigMap should run through a ConfigMap lifecycle
#[tokio::test]
async fn config_maps_live_as_other_objects_do() {
    let case = Case::new().await;
    let operations = Operations {
        group_version: "v1",
        plural: "configmaps",
        namespaced: true,
        object: json!({"data": {"valueName": "value"}}),
        status: None,
    };
    operations.check(&case).await;
}

/// Conformance: [sig-node] ConfigMap should fail to create ConfigMap with empty key
/// Conformance: [sig-node] Secrets should fail to create secret due to empty secret key
#[tokio::test]
async fn keys_are_not_empty() {
    let case = Case::new().await;
    for plural in ["configmaps", "secrets"] {
        let object = json!({"metadata": {"name": "x"}, "data": {"": "dmFsdWU="}});
        let refused = case.post(&case.path("v1", plural), &object).await.expect(422);
        assert_eq!(refused["reason"], "Invalid");
    }
}

/// Conformance: [sig-node] Secrets should patch a secret
#[tokio::test]
async fn secrets_live_as_other_objects_do() {
    let case = Case::new().await;
    let operations = Operations {
        group_version: "v1",
        plural: "secrets",
        namespaced: true,
        object: json!({"type": "Opaque", "data": {"key": "dmFsdWU="}}),
        status: None,
    };
    operations.check(&case).await;
    let secrets = case.path("v1", "secrets");
    case.post(&secrets, &json!({"metadata": {"name": "s"}, "data": {"key": "dmFsdWU="}})).await.expect(201);
    let patch = json!({"metadata": {"labels": {"patched": "yes"}}, "data": {"key": "dmFsdWUx"}});
    let patched = case.patch(&format!("{secrets}/s"), STRATEGIC, &patch).await.expect(200);
    assert_eq!(
        (&patched["data"]["key"], &patched["metadata"]["labels"]["patched"]),
        (&json!("dmFsdWUx"), &json!("yes"))
    );
}

/// Conformance: [sig-node] Lease lease API should be available
#[tokio::test]
async fn leases_live_as_other_objects_do() {
    let case = Case::new().await;
    let spec = json!({
        "holderIdentity": "holder", "leaseDurationSeconds": 30, "leaseTransitions": 0,
        "acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": "2026-01-01T00:00:05.000000Z",
    });
    let operations = Operations {
        group_version: "coordination.k8s.io/v1",
        plural: "leases",
        namespaced: true,
        object: json!({"spec": spec}),
        status: None,
    };
    operations.check(&case).await;
    let leases = case.path("coordination.k8s.io/v1", "leases");
    let mut lease = case.post(&leases, &json!({"metadata": {"name": "l"}, "spec": spec})).await.expect(201);
    lease["spec"]["holderIdentity"] = json!("holder2");
    lease["spec"]["leaseTransitions"] = json!(1);
    let updated = case.put(&format!("{leases}/l"), &lease).await.expect(200);
    assert_eq!(updated["spec"], lease["spec"]);
}

/// Conformance: [sig-node] Node Lifecycle should run through the lifecycle of a node
#[tokio::test]
async fn nodes_live_as_other_objects_do() {
    let case = Case::new().await;
    let operations = Operations {
        group_version: "v1",
        plural: "nodes",
        namespaced: false,
        object: json!({"spec": {"unschedulable": true}}),
        status: Some(json!({"capacity": {"example.com/things": "3"}})),
    };
    operations.check(&case).await;
}

/// Conformance: [sig-node] PodTemplates should run the lifecycle of PodTemplates
/// Conformance: [sig-node] PodTemplates should delete a collection of pod templates
/// Conformance: [sig-node] PodTemplates should replace a pod template
#[tokio::test]
async fn pod_templates_live_as_other_objects_do() {
    let case = Case::new().await;
    let operations = Operations {
        group_version: "v1",
        plural: "podtemplates",
        namespaced: true,
        object: json!({"template": {"spec": idle_pod_spec()}}),
        status: None,
    };
    operations.check(&case).await;
}

/// Conformance: [sig-node] Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests and limits for memory and cpu
#[tokio::test]
async fn pods_have_their_quality_of_service() {
    let case = Case::new().await;
    let same = json!({"cpu": "100m", "memory": "100Mi"});
    for (name, resources, class) in [
        ("guaranteed", json!({"requests": same, "limits": same}), "Guaranteed"),
        ("burstable", json!({"requests": same}), "Burstable"),
        ("best-effort", json!({}), "BestEffort"),
    ] {
        let mut spec = idle_pod_spec();
        spec["containers"][0]["resources"] = resources;
        let pod = json!({"metadata": {"name": name}, "spec": spec});
        let made = case.post(&case.path("v1", "pods"), &pod).await.expect(201);
        assert_eq!(made["status"]["qosClass"], class);
    }
}

/// Conformance: [sig-node] Sysctls [LinuxOnly] [NodeConformance] should reject invalid sysctls [MinimumKubeletVersion:1.21]
#[tokio::test]
async fn invalid_sysctls_are_refused() {
    let case = Case::new().await;
    let mut spec = idle_pod_spec();
    let names = ["foo-", "kernel.shmmax", "safe-and-unsafe", "bar.."];
    spec["securityContext"] =
        json!({"sysctls": names.iter().map(|name| json!({"name": name, "value": "1"})).collect::<Vec<_>>()});
    let refused = case.post(&case.path("v1", "pods"), &json!({"metadata": {"name": "p"}, "spec": spec})).await;
    let refused = refused.expect(422);
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains(r#"Invalid value: "foo-""#) && message.contains(r#"Invalid value: "bar..""#), "{message}");
    assert!(!message.contains("safe-and-unsafe") && !message.contains("kernel.shmmax"), "{message}");
}

/// Conformance: [sig-node] RuntimeClass should support RuntimeClasses API operations
#[tokio::test]
async fn runtime_classes_live_as_other_objects_do() {
    let case = Case::new().await;
    let operations = Operations {
        group_version: "node.k8s.io/v1",
        plural: "runtimeclasses",
        namespaced: false,
        object: json!({"handler": "handler"}),
        status: None,
    };
    operations.check(&case).await;
}

/// Conformance: [sig-node] RuntimeClass should reject a Pod requesting a non-existent RuntimeClass [NodeConformance]
/// Conformance: [sig-node] RuntimeClass should reject a Pod requesting a deleted RuntimeClass [NodeConformance]
/// Conformance: [sig-node] RuntimeClass should schedule a Pod requesting a RuntimeClass and initialize its Overhead [NodeConformance]
/// Conformance: [sig-node] RuntimeClass should schedule a Pod requesting a RuntimeClass without PodOverhead [NodeConformance]
#[tokio::test]
async fn a_pod_asks_for_a_runtime_class_that_is_there() {
    let case = Case::new().await;
    let (classes, pods) = ("/apis/node.k8s.io/v1/runtimeclasses", case.path("v1", "pods"));
    let pod = |name: &str, class: &str| {
        let mut spec = idle_pod_spec();
        spec["runtimeClassName"] = json!(class);
        json!({"metadata": {"name": name}, "spec": spec})
    };
    let refused = case.post(&pods, &pod("p", "none")).await;
    assert!((400..500).contains(&refused.code) && refused.text.contains("none"), "{refused:?}");

    let class = |name: &str| format!("{name}-{}", case.namespace);
    let heavy = json!({"metadata": {"name": class("heavy")}, "handler": "h", "overhead": {"podFixed": {"cpu": "10m", "memory": "1Mi"}}});
    case.post(classes, &heavy).await.expect(201);
    case.post(classes, &json!({"metadata": {"name": class("light")}, "handler": "h"})).await.expect(201);
    let made = case.post(&pods, &pod("heavy", &class("heavy"))).await.expect(201);
    assert_eq!(made["spec"]["overhead"], json!({"cpu": "10m", "memory": "1Mi"}));
    let made = case.post(&pods, &pod("light", &class("light"))).await.expect(201);
    assert!(made["spec"]["overhead"].is_null(), "{made}");
    case.delete(&format!("{classes}/{}", class("light"))).await.ok();
    let refused = case.post(&pods, &pod("late", &class("light"))).await;
    assert!((400..500).contains(&refused.code), "{refused:?}");
}

/// Conformance: [sig-node] Pods should delete a collection of pods
/// Conformance: [sig-node] Pods should be submitted and removed [NodeConformance]
/// Conformance: [sig-node] Pods should be updated [NodeConformance]
#[tokio::test]
async fn pods_are_submitted_updated_and_removed() {
    let case = Case::new().await;
    let pods = case.path("v1", "pods");
    let mut watch = case.watch(&pods, "&labelSelector=time%3Dnow").await;
    for name in ["a", "b", "c"] {
        let pod = json!({"metadata": {"name": name, "labels": {"time": "now"}}, "spec": running_pod_spec()});
        case.post(&pods, &pod).await.expect(201);
        watch.until(&format!("ADDED {name}")).await;
        case.until("it runs", &format!("{pods}/{name}"), |pod| pod["status"]["phase"] == "Running").await;
    }
    let updated = case.merge(&format!("{pods}/a"), &json!({"metadata": {"labels": {"more": "yes"}}})).await.expect(200);
    assert_eq!(updated["metadata"]["labels"], json!({"time": "now", "more": "yes"}));
    case.delete(&format!("{pods}/a")).await.ok();
    watch.until("DELETED a").await;
    case.delete(&format!("{pods}?labelSelector=time%3Dnow")).await.expect(200);
    kapell_e2e::eventually_async("the pods are gone", || async { case.list(&pods).await.is_empty().then_some(()) })
        .await;
}

/// Conformance: [sig-node] Pods should patch a pod status
/// Conformance: [sig-node] Pods should run through the lifecycle of Pods and PodStatus
#[tokio::test]
async fn the_status_of_a_pod_is_patched_and_updated() {
    let case = Case::new().await;
    let pods = case.path("v1", "pods");
    let pod = json!({"metadata": {"name": "p", "labels": {"test": "yes"}}, "spec": idle_pod_spec()});
    case.post(&pods, &pod).await.expect(201);
    let status = format!("{pods}/p/status");
    let message = json!({"status": {"message": "Patched by e2e test", "reason": "E2E"}});
    let patched = case.patch(&status, STRATEGIC, &message).await.expect(200);
    assert_eq!(
        (&patched["status"]["message"], &patched["status"]["reason"]),
        (&json!("Patched by e2e test"), &json!("E2E"))
    );
    let image = json!({"spec": {"containers": [{"name": "idle", "image": "registry.k8s.io/pause:3.9"}]}});
    let changed = case.patch(&format!("{pods}/p"), STRATEGIC, &image).await.expect(200);
    assert_eq!(changed["spec"]["containers"][0]["image"], "registry.k8s.io/pause:3.9");
    let conditions = json!([{"type": "Ready", "status": "False"}]);
    let updated = case.update(&status, |found| found["status"]["conditions"] = conditions.clone()).await;
    assert_eq!(updated["status"]["conditions"][0]["type"], "Ready");
    case.delete(&format!("{pods}?labelSelector=test%3Dyes")).await.expect(200);
    kapell_e2e::eventually_async("the pod is gone", || async { case.list(&pods).await.is_empty().then_some(()) }).await;
}

/// Conformance: [sig-node] Pods should allow activeDeadlineSeconds to be updated [NodeConformance]
#[tokio::test]
async fn a_deadline_can_be_set_and_ends_the_pod() {
    let case = Case::new().await;
    let path = format!("{}/p", case.path("v1", "pods"));
    let pod = json!({"metadata": {"name": "p"}, "spec": running_pod_spec()});
    case.post(&case.path("v1", "pods"), &pod).await.expect(201);
    case.until("it runs", &path, |pod| pod["status"]["phase"] == "Running").await;
    case.merge(&path, &json!({"spec": {"activeDeadlineSeconds": 1}})).await.expect(200);
    let ended = |pod: &Value| pod["status"]["phase"] == "Failed" && pod["status"]["reason"] == "DeadlineExceeded";
    case.until("the deadline ends it", &path, ended).await;
}
