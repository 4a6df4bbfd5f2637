//! What is refused because ignoring it would be dangerous, and what is warned about because it is ignored.

use serde_json::{Value, json};

use super::{container, process, spec};
use crate::kinds::tests::{problems, sample, warnings, with};

fn refused(pod: Value) -> Vec<String> {
    let found = problems("Pod", pod);
    assert!(found.iter().all(|problem| problem.contains(": Forbidden: not supported yet: ")), "{found:?}");
    paths(&found)
}

fn paths(sentences: &[String]) -> Vec<String> {
    sentences.iter().map(|sentence| sentence.split(": ").next().unwrap_or_default().to_owned()).collect()
}

fn process_spec(patch: Value) -> Value {
    with(&process(json!({})), json!({ "spec": patch }))
}

#[test]
fn dangerous_to_ignore_on_any_pod() {
    let affinity = |kind: &str| {
        let term = json!({ "topologyKey": "kubernetes.io/hostname" });
        spec(json!({ "affinity": { kind: { "requiredDuringSchedulingIgnoredDuringExecution": [term] } } }))
    };
    for (pod, path) in [
        (
            spec(json!({ "volumes": [{ "name": "a", "persistentVolumeClaim": { "claimName": "a" } }] })),
            "spec.volumes[0].persistentVolumeClaim",
        ),
        (
            spec(json!({ "volumes": [{ "name": "a", "projected": { "sources": [
                { "clusterTrustBundle": { "path": "t" } },
            ] } }] })),
            "spec.volumes[0].projected.sources[0].clusterTrustBundle",
        ),
        (affinity("podAntiAffinity"), "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution"),
        (affinity("podAffinity"), "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution"),
        (spec(json!({ "readinessGates": [{ "conditionType": "a" }] })), "spec.readinessGates"),
        (container(json!({ "readinessProbe": { "grpc": { "port": 1 } } })), "spec.containers[0].readinessProbe.grpc"),
        (
            container(json!({ "volumeDevices": [{ "name": "a", "devicePath": "/dev/a" }] })),
            "spec.containers[0].volumeDevices",
        ),
    ] {
        assert_eq!(refused(pod), [path]);
    }
}

#[test]
fn volumes_of_csi_drivers_are_kept_and_warned_about() {
    let pod = |csi: Value| process_spec(json!({ "volumes": [{ "name": "a", "csi": csi }] }));
    let path = "spec.volumes[0].csi";
    for (csi, expected) in [
        (json!({ "driver": "e2e.example.com", "volumeAttributes": { "a": "b" } }), vec![]),
        (json!({ "driver": "e2e.example.com", "nodePublishSecretRef": { "name": "s" } }), vec![]),
        (json!({ "driver": "" }), vec![format!("{path}.driver: Required value")]),
        (
            json!({ "driver": "e2e.example.com", "nodePublishSecretRef": {} }),
            vec![format!("{path}.nodePublishSecretRef.name: Required value")],
        ),
    ] {
        assert_eq!(problems("Pod", pod(csi.clone())), expected, "{csi}");
    }
    let told = warnings("Pod", pod(json!({ "driver": "e2e.example.com" })));
    assert!(told.iter().any(|told| told.starts_with(path) && told.contains("e2e.example.com")), "{told:?}");
}

#[test]
fn another_identity_is_refused_for_processes() {
    for (name, value) in [("runAsUser", json!(0)), ("runAsGroup", json!(1000)), ("runAsNonRoot", json!(true))] {
        let context = json!({ "securityContext": { name: value } });
        assert_eq!(refused(process_spec(context.clone())), [format!("spec.securityContext.{name}")]);
        assert_eq!(refused(process(context.clone())), [format!("spec.containers[0].securityContext.{name}")]);
        // A container runtime will know how.
        assert_eq!(refused(container(context)), [""; 0]);
    }
}

#[test]
fn an_ordinary_process_pod_has_no_warnings() {
    let pod = process_spec(json!({
        "volumes": [{ "name": "data", "emptyDir": {} }],
        "initContainers": [
            { "name": "init", "command": ["init"] },
            { "name": "side", "command": ["side"], "restartPolicy": "Always",
              "startupProbe": { "exec": { "command": ["true"] } } },
        ],
        "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
            { "weight": 1, "preference": { "matchExpressions": [{ "key": "ssd", "operator": "Exists" }] } },
        ] } },
        "activeDeadlineSeconds": 60,
        "containers": [{
            "name": "web",
            "command": ["web"],
            "workingDir": "/tmp",
            "env": [{ "name": "A", "value": "b" }],
            "ports": [{ "containerPort": 80 }],
            "readinessProbe": { "httpGet": { "port": 80 } },
            "resources": { "requests": { "cpu": "1" }, "limits": { "memory": "1Gi" } },
            "volumeMounts": [{ "name": "data", "mountPath": "data" }],
        }],
    }));
    assert_eq!(problems("Pod", pod.clone()), [""; 0]);
    assert_eq!(warnings("Pod", pod), [""; 0]);
}

#[test]
fn a_container_pod_is_told_to_wait_and_nothing_else() {
    let pod = container(json!({ "tty": true, "securityContext": { "privileged": true } }));
    assert_eq!(paths(&warnings("Pod", pod)), ["spec.runtimeClassName"]);
    assert_eq!(paths(&warnings("Pod", sample("Pod"))), ["spec.runtimeClassName"]);
}

#[test]
fn what_is_ignored_is_named() {
    for (patch, path) in [
        (json!({ "hostname": "x" }), "spec.hostname"),
        (json!({ "dnsConfig": { "nameservers": ["10.0.0.1"] } }), "spec.dnsConfig"),
        (json!({ "dnsPolicy": "ClusterFirstWithHostNet" }), "spec.dnsPolicy"),
        (json!({ "hostAliases": [{ "ip": "10.0.0.1" }] }), "spec.hostAliases"),
        (json!({ "hostPID": true }), "spec.hostPID"),
        (json!({ "hostNetwork": true }), "spec.hostNetwork"),
        (json!({ "priorityClassName": "high" }), "spec.priorityClassName"),
        (json!({ "securityContext": { "fsGroup": 0 } }), "spec.securityContext.fsGroup"),
        (
            json!({ "topologySpreadConstraints": [
                { "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway" },
            ] }),
            "spec.topologySpreadConstraints",
        ),
        (
            json!({ "affinity": { "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
                { "weight": 1, "podAffinityTerm": { "topologyKey": "zone" } },
            ] } } }),
            "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution",
        ),
        (
            json!({ "volumes": [{ "name": "a", "emptyDir": { "medium": "Memory" } }] }),
            "spec.volumes[0].emptyDir.medium",
        ),
    ] {
        assert_eq!(paths(&warnings("Pod", process_spec(patch))), [path]);
    }
    for (patch, path) in [
        (json!({ "image": "web" }), "image"),
        (json!({ "lifecycle": { "preStop": { "tcpSocket": { "port": 1 } } } }), "lifecycle.preStop.tcpSocket"),
        (json!({ "securityContext": { "capabilities": { "drop": ["ALL"] } } }), "securityContext.capabilities"),
        (
            json!({ "securityContext": { "allowPrivilegeEscalation": false } }),
            "securityContext.allowPrivilegeEscalation",
        ),
        (json!({ "ports": [{ "containerPort": 1, "hostPort": 2 }] }), "ports[0].hostPort"),
        (json!({ "env": [{ "name": "A" }, { "name": "A" }] }), "env[1]"),
        (json!({ "volumeMounts": [{ "name": "my-data", "mountPath": "/data" }] }), "volumeMounts[0].mountPath"),
        (json!({ "volumeMounts": [{ "name": "a", "mountPath": "d", "readOnly": true }] }), "volumeMounts[0].readOnly"),
    ] {
        assert_eq!(paths(&warnings("Pod", process(patch))), [format!("spec.containers[0].{path}")]);
    }
    let absolute = process(json!({ "volumeMounts": [{ "name": "my-data", "mountPath": "/data" }] }));
    assert!(warnings("Pod", absolute)[0].contains("$KAPELL_VOLUME_MY_DATA"));
    let sub_path = process(json!({ "volumeMounts": [{ "name": "a", "mountPath": "d", "subPath": "x" }] }));
    let found = problems("Pod", with(&sub_path, json!({ "spec": { "volumes": [{ "name": "a" }] } })));
    assert_eq!(paths(&found), ["spec.containers[0].volumeMounts[0].subPath"]);
}
