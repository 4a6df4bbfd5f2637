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
fn identities_are_numbers_and_their_nodes_business() {
    let context = json!({ "runAsUser": 0, "runAsGroup": 1073741823, "runAsNonRoot": true });
    let hardened = json!({ "allowPrivilegeEscalation": false, "privileged": false, "capabilities": { "drop": ["ALL"], "add": ["KILL"] } });
    for pod in [
        process_spec(json!({ "securityContext": context })),
        process_spec(json!({ "securityContext": { "fsGroup": 0, "supplementalGroups": [1] } })),
        process(json!({ "securityContext": context })),
        process(json!({ "securityContext": hardened })),
    ] {
        assert_eq!((problems("Pod", pod.clone()), warnings("Pod", pod)), (vec![], vec![]));
    }
    let range = "must be between 0 and 2147483647, inclusive";
    for (context, path) in [
        (json!({ "runAsUser": -1 }), "runAsUser"),
        (json!({ "runAsGroup": 2147483648_i64 }), "runAsGroup"),
        (json!({ "fsGroup": -1 }), "fsGroup"),
        (json!({ "supplementalGroups": [1, -1] }), "supplementalGroups[1]"),
    ] {
        let found = problems("Pod", process_spec(json!({ "securityContext": context })));
        assert_eq!(paths(&found), [format!("spec.securityContext.{path}")]);
        assert!(found[0].contains(range), "{found:?}");
    }
    for (context, path) in [
        (json!({ "runAsGroup": 2147483647 }), "runAsGroup"),
        (json!({ "fsGroup": 1073741824 }), "fsGroup"),
        (json!({ "supplementalGroups": [1, 2131329025] }), "supplementalGroups[1]"),
    ] {
        let found = problems("Pod", process_spec(json!({ "securityContext": context })));
        assert_eq!(paths(&found), [format!("spec.securityContext.{path}")]);
        assert!(
            found[0].contains("must not be from 1073741824 to 2147483647: these are pods' own groups"),
            "{found:?}"
        );
    }
    let found = problems("Pod", process(json!({ "securityContext": { "runAsGroup": 1073741824 } })));
    assert_eq!(paths(&found), ["spec.containers[0].securityContext.runAsGroup"]);
    for more in [json!({ "privileged": true }), json!({ "capabilities": { "add": ["SYS_ADMIN"] } })] {
        let context = with(&json!({ "allowPrivilegeEscalation": false }), more);
        let found = problems("Pod", process(json!({ "securityContext": context })));
        assert_eq!(paths(&found), ["spec.containers[0].securityContext.allowPrivilegeEscalation"]);
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
            "terminationMessagePath": "last-words",
            "terminationMessagePolicy": "FallbackToLogsOnError",
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
        (json!({ "securityContext": { "fsGroupChangePolicy": "Always" } }), "spec.securityContext.fsGroupChangePolicy"),
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
            json!({ "volumes": [{ "name": "a", "emptyDir": { "medium": "HugePages" } }] }),
            "spec.volumes[0].emptyDir.medium",
        ),
    ] {
        assert_eq!(paths(&warnings("Pod", process_spec(patch))), [path]);
    }
    for (patch, path) in [
        (json!({ "image": "web" }), "image"),
        (json!({ "lifecycle": { "preStop": { "tcpSocket": { "port": 1 } } } }), "lifecycle.preStop.tcpSocket"),
        (json!({ "securityContext": { "capabilities": { "add": ["KILL"] } } }), "securityContext.capabilities.add"),
        (json!({ "securityContext": { "privileged": true } }), "securityContext.privileged"),
        (json!({ "ports": [{ "containerPort": 1, "hostPort": 2 }] }), "ports[0].hostPort"),
        (json!({ "terminationMessagePath": "/dev/other" }), "terminationMessagePath"),
        (json!({ "env": [{ "name": "A" }, { "name": "A" }] }), "env[1]"),
        (json!({ "volumeMounts": [{ "name": "my-data", "mountPath": "/data" }] }), "volumeMounts[0].mountPath"),
        (json!({ "volumeMounts": [{ "name": "a", "mountPath": "d", "readOnly": true }] }), "volumeMounts[0].readOnly"),
    ] {
        assert_eq!(paths(&warnings("Pod", process(patch))), [format!("spec.containers[0].{path}")]);
    }
    let absolute = process(json!({ "volumeMounts": [{ "name": "my-data", "mountPath": "/data" }] }));
    assert!(warnings("Pod", absolute)[0].contains("$KAPELL_VOLUME_MY_DATA"));
}
