mod columns;
mod ephemeral;
mod refusals;
mod validation;

use serde_json::{Value, json};

use super::qos_class;
use crate::kinds::tests::{check_updates, defaulted, row, sample, with};
use crate::schema::{Findings, Schema};

/// A pod whose first container is patched.
fn container(patch: Value) -> Value {
    let base = json!({ "name": "web", "image": "web:1" });
    with(&sample("Pod"), json!({ "spec": { "containers": [with(&base, patch)] } }))
}

/// A pod with these fields in its specification.
fn spec(patch: Value) -> Value {
    with(&sample("Pod"), json!({ "spec": patch }))
}

/// The smallest process pod, its container patched.
fn process(patch: Value) -> Value {
    let base = json!({ "name": "web", "command": ["web"] });
    with(&sample("Pod"), json!({ "spec": { "runtimeClassName": "process", "containers": [with(&base, patch)] } }))
}

#[test]
fn pods_get_upstreams_defaults() {
    let pod = defaulted(
        "Pod",
        container(json!({
            "ports": [{ "containerPort": 80 }],
            "env": [{ "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } }],
            "readinessProbe": { "httpGet": { "port": 80 } },
            "livenessProbe": { "tcpSocket": { "port": 80 }, "periodSeconds": 1 },
            "resources": { "limits": { "cpu": "1", "memory": "1Gi" }, "requests": { "cpu": "500m" } },
        })),
    );
    assert_eq!(
        pod["spec"]["containers"][0],
        json!({
            "name": "web",
            "image": "web:1",
            "ports": [{ "containerPort": 80, "protocol": "TCP" }],
            "env": [{ "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP", "apiVersion": "v1" } } }],
            "readinessProbe": {
                "httpGet": { "port": 80, "path": "/", "scheme": "HTTP" },
                "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
            },
            "livenessProbe": {
                "tcpSocket": { "port": 80 },
                "timeoutSeconds": 1, "periodSeconds": 1, "successThreshold": 1, "failureThreshold": 3,
            },
            "resources": { "limits": { "cpu": "1", "memory": "1Gi" }, "requests": { "cpu": "500m", "memory": "1Gi" } },
            "imagePullPolicy": "IfNotPresent",
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
        })
    );
    let mut rest = pod["spec"].clone();
    rest["containers"].take();
    assert_eq!(
        rest,
        json!({
            "containers": null,
            "restartPolicy": "Always",
            "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler",
            "terminationGracePeriodSeconds": 30,
            "securityContext": {},
            "enableServiceLinks": true,
            "serviceAccountName": "default",
            "serviceAccount": "default",
            "tolerations": [
                { "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
                  "tolerationSeconds": 300 },
                { "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
                  "tolerationSeconds": 300 },
            ],
        })
    );
}

#[test]
fn the_pull_policy_follows_the_tag() {
    for (image, policy) in [
        ("web", "Always"),
        ("web:latest", "Always"),
        ("web:1", "IfNotPresent"),
        ("registry:5000/web", "Always"),
        ("registry:5000/web:1", "IfNotPresent"),
        ("web@sha256:00", "IfNotPresent"),
    ] {
        let pod = defaulted("Pod", container(json!({ "image": image })));
        assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], policy, "{image}");
    }
    let process = defaulted("Pod", process(json!({})));
    assert_eq!(process["spec"]["containers"][0].get("imagePullPolicy"), None);
}

#[test]
fn volumes_get_a_source_and_modes() {
    let volumes = json!([
        { "name": "a" },
        { "name": "b", "configMap": { "name": "c" } },
        { "name": "c", "hostPath": { "path": "x" } },
        { "name": "d", "downwardAPI": { "items": [{ "path": "p", "fieldRef": { "fieldPath": "metadata.name" } }] } },
    ]);
    let pod = defaulted("Pod", spec(json!({ "volumes": volumes })));
    assert_eq!(
        pod["spec"]["volumes"],
        json!([
            { "name": "a", "emptyDir": {} },
            { "name": "b", "configMap": { "name": "c", "defaultMode": 420 } },
            { "name": "c", "hostPath": { "path": "x", "type": "" } },
            { "name": "d", "downwardAPI": {
                "items": [{ "path": "p", "fieldRef": { "fieldPath": "metadata.name", "apiVersion": "v1" } }],
                "defaultMode": 420,
            } },
        ])
    );
}

#[test]
fn defaults_of_everything_stay_within_the_schema() {
    let probe = json!({ "grpc": { "port": 1 } });
    let pod = defaulted(
        "Pod",
        with(
            &container(json!({
                "ports": [{ "containerPort": 80 }],
                "env": [{ "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } }],
                "livenessProbe": probe,
                "lifecycle": { "preStop": { "httpGet": { "port": 1 } } },
                "resources": { "limits": { "cpu": "1" } },
            })),
            json!({ "spec": {
                "hostNetwork": true,
                "serviceAccount": "own",
                "volumes": [{ "name": "a" }, { "name": "b", "hostPath": { "path": "x" } }, { "name": "c", "projected": {
                    "sources": [
                        { "downwardAPI": { "items": [{ "path": "p", "fieldRef": { "fieldPath": "metadata.name" } }] } },
                        { "serviceAccountToken": { "path": "t" } },
                    ],
                } }],
            } }),
        ),
    );
    let schema = Schema::compile(&(row("Pod").schema)());
    assert_eq!(schema.check(&pod), Findings::default());
    assert_eq!(pod["spec"]["serviceAccountName"], "own");
    assert_eq!(pod["spec"]["containers"][0]["ports"][0]["hostPort"], 80);
    assert_eq!(defaulted("Pod", pod.clone()), pod);
}

#[test]
fn own_tolerations_are_not_doubled() {
    for (own, count) in [
        (json!({ "operator": "Exists" }), 1),
        (json!({ "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute" }), 2),
        (json!({ "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoSchedule" }), 3),
    ] {
        let pod = defaulted("Pod", spec(json!({ "tolerations": [own] })));
        assert_eq!(pod["spec"]["tolerations"].as_array().map(Vec::len), Some(count), "{own}");
    }
}

#[test]
fn creation_starts_the_status_afresh() {
    let mut pod = with(
        &container(json!({ "resources": { "requests": { "cpu": 1 } } })),
        json!({
            "status": { "phase": "Running", "podIP": "127.9.128.1" },
        }),
    );
    (row("Pod").prepare_create)(&mut pod);
    assert_eq!(pod["status"], json!({ "phase": "Pending", "qosClass": "Burstable" }));
}

#[test]
fn the_quality_of_service_follows_from_requests_and_limits() {
    let both = json!({ "cpu": "1", "memory": "1Gi" });
    for (resources, class) in [
        (json!({}), "BestEffort"),
        (json!({ "requests": { "cpu": "0" } }), "BestEffort"),
        (json!({ "limits": both }), "Guaranteed"),
        (json!({ "limits": both, "requests": { "cpu": "1000m" } }), "Guaranteed"),
        (json!({ "limits": both, "requests": { "cpu": "500m" } }), "Burstable"),
        (json!({ "limits": { "cpu": "1" } }), "Burstable"),
        (json!({ "requests": both }), "Burstable"),
    ] {
        assert_eq!(qos_class(&container(json!({ "resources": resources }))), class, "{resources}");
    }
}

#[test]
fn little_may_change_in_a_pod() {
    let tolerations = json!([
        { "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5 },
        { "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
          "tolerationSeconds": 300 },
        { "key": "gpu", "operator": "Exists" },
    ]);
    let pod = defaulted("Pod", spec(json!({ "activeDeadlineSeconds": 10 })));
    let mut image = pod["spec"]["containers"].clone();
    image[0]["image"] = "web:2".into();
    image[0]["imagePullPolicy"] = "IfNotPresent".into();
    let mut command = image.clone();
    command[0]["command"] = json!(["other"]);
    let allowed = "pod updates may not change fields other than `spec.containers[*].image`";
    for (patch, expected) in [
        (json!({ "containers": image }), ""),
        (json!({ "tolerations": tolerations }), ""),
        (json!({ "activeDeadlineSeconds": 5 }), ""),
        (json!({ "containers": command }), allowed),
        (json!({ "nodeName": "other" }), allowed),
        (json!({ "terminationGracePeriodSeconds": 1 }), allowed),
        (json!({ "containers": [] }), "pod updates may not add or remove containers"),
        (json!({ "tolerations": [] }), ""),
        (json!({ "activeDeadlineSeconds": 20 }), "must be less than or equal to previous value"),
        (json!({ "activeDeadlineSeconds": null }), "must not update from a positive integer to nil value"),
    ] {
        let found = crate::kinds::tests::update_problems("Pod", with(&pod, json!({ "spec": patch })), &pod);
        let fits = if expected.is_empty() { found.is_empty() } else { found.len() == 1 && found[0].contains(expected) };
        assert!(fits, "{patch}: {found:?}");
    }
    let tolerant = spec(json!({ "tolerations": [{ "key": "gpu", "operator": "Exists" }] }));
    check_updates(
        "Pod",
        &tolerant,
        &[(
            json!({ "spec": { "tolerations": [] } }),
            &["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"],
        )],
    );
    let gated = spec(json!({ "schedulingGates": [{ "name": "a" }, { "name": "b" }] }));
    check_updates(
        "Pod",
        &gated,
        &[
            (json!({ "spec": { "schedulingGates": [{ "name": "b" }] } }), &[]),
            (
                json!({ "spec": { "schedulingGates": [{ "name": "b" }, { "name": "c" }] } }),
                &["spec.schedulingGates: Forbidden: only deletion is allowed, but found new scheduling gate 'c'"],
            ),
        ],
    );
    check_updates("Pod", &sample("Pod"), &[(json!({ "status": { "phase": "Failed" } }), &[])]);
}
