use serde_json::{Value, json};

use super::{container, process, spec};
use crate::kinds::tests::problems;

fn check(cases: &[(Value, &[&str])]) {
    for (pod, expected) in cases {
        assert_eq!(&problems("Pod", pod.clone()), expected, "{}", pod["spec"]);
    }
}

#[test]
fn containers() {
    check(&[
        (spec(json!({ "containers": [] })), &["spec.containers: Required value"]),
        (container(json!({ "name": null })), &["spec.containers[0].name: Required value"]),
        (container(json!({ "image": null })), &["spec.containers[0].image: Required value"]),
        (
            spec(json!({ "initContainers": [{ "name": "web", "image": "x" }] })),
            &["spec.initContainers[0].name: Duplicate value: \"web\""],
        ),
        (
            container(json!({ "imagePullPolicy": "Sometimes" })),
            &["spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \
             \"IfNotPresent\", \"Never\""],
        ),
        (process(json!({})), &[]),
        (
            process(json!({ "command": null, "image": "web" })),
            &["spec.containers[0].command: Required value: a process pod has no image whose entry point could run"],
        ),
        (
            container(json!({ "restartPolicy": "Always" })),
            &["spec.containers[0].restartPolicy: Forbidden: may not be set for non-init containers"],
        ),
        (
            spec(
                json!({ "initContainers": [{ "name": "i", "image": "x", "livenessProbe": { "exec": { "command": ["x"] } } }] }),
            ),
            &["spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without \
             restartPolicy=Always"],
        ),
    ]);
}

#[test]
fn the_life_of_a_pod() {
    check(&[
        (
            spec(json!({ "restartPolicy": "Sometimes" })),
            &["spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \
             \"OnFailure\""],
        ),
        (
            spec(json!({ "terminationGracePeriodSeconds": -1 })),
            &["spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            spec(json!({ "activeDeadlineSeconds": 0 })),
            &["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
        ),
        (
            spec(json!({ "dnsPolicy": "None" })),
            &[
                "spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is \
             None",
            ],
        ),
    ]);
}

#[test]
fn ports() {
    let ports = |ports: Value| container(json!({ "ports": ports }));
    check(&[
        (
            ports(json!([{ "containerPort": 80, "name": "a" }, { "containerPort": 81, "name": "a" }])),
            &["spec.containers[0].ports[1].name: Duplicate value: \"a\""],
        ),
        (
            ports(json!([{ "containerPort": 70000 }])),
            &[
                "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ],
        ),
        (ports(json!([{ "containerPort": 0 }])), &["spec.containers[0].ports[0].containerPort: Required value"]),
        (
            ports(json!([{ "containerPort": 1, "hostPort": 9 }, { "containerPort": 2, "hostPort": 9 }])),
            &["spec.containers[0].ports[1].hostPort: Duplicate value: 9"],
        ),
        (
            ports(json!([{ "containerPort": 1, "protocol": "ICMP" }])),
            &[
                "spec.containers[0].ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \
             \"UDP\"",
            ],
        ),
    ]);
}

#[test]
fn environment() {
    let env = |variable: Value| container(json!({ "env": [variable] }));
    let from = |source: Value| env(json!({ "name": "A", "valueFrom": source }));
    check(&[
        (env(json!({ "value": "x" })), &["spec.containers[0].env[0].name: Required value"]),
        (
            env(json!({ "name": "A", "value": "x", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } })),
            &["spec.containers[0].env[0].valueFrom: Invalid value: \
             {\"fieldRef\":{\"fieldPath\":\"metadata.name\",\"apiVersion\":\"v1\"}}: may not be specified when `value` is \
             not empty"],
        ),
        (
            from(json!({})),
            &["spec.containers[0].env[0].valueFrom: Invalid value: {}: must specify one of: `fieldRef`, \
             `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"],
        ),
        (from(json!({ "fieldRef": { "fieldPath": "metadata.labels['app']" } })), &[]),
        (
            from(json!({ "fieldRef": { "fieldPath": "spec.hostname" } })),
            &[
                "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"spec.hostname\": supported \
             values: \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \
             \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\"",
            ],
        ),
        (
            from(json!({ "secretKeyRef": { "name": "s" } })),
            &["spec.containers[0].env[0].valueFrom.secretKeyRef.key: Required value"],
        ),
        (
            container(json!({ "envFrom": [{}] })),
            &["spec.containers[0].envFrom[0]: Invalid value: {}: must specify one of: `configMapRef` or `secretRef`"],
        ),
    ]);
}

#[test]
fn volumes_and_mounts() {
    let mounted = |volume: Value, mount: Value| {
        spec(json!({
            "volumes": [volume],
            "containers": [{ "name": "web", "image": "web:1", "volumeMounts": [mount] }],
        }))
    };
    let data = json!({ "name": "data" });
    check(&[
        (mounted(data.clone(), json!({ "name": "data", "mountPath": "/data" })), &[]),
        (
            mounted(data.clone(), json!({ "name": "other", "mountPath": "/data" })),
            &["spec.containers[0].volumeMounts[0].name: Not found: \"other\""],
        ),
        (
            mounted(data.clone(), json!({ "name": "data" })),
            &["spec.containers[0].volumeMounts[0].mountPath: Required value"],
        ),
        (
            mounted(data.clone(), json!({ "name": "data", "mountPath": "/d", "subPath": "../x" })),
            &["spec.containers[0].volumeMounts[0].subPath: Invalid value: \"../x\": must not contain '..'"],
        ),
        (spec(json!({ "volumes": [data, data] })), &["spec.volumes[1].name: Duplicate value: \"data\""]),
        (
            spec(json!({ "volumes": [{ "name": "a", "emptyDir": {}, "hostPath": { "path": "/x" } }] })),
            &["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            spec(json!({ "volumes": [{ "name": "a", "hostPath": { "path": "/a/../b", "type": "Disk" } }] })),
            &[
                "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
                "spec.volumes[0].hostPath.type: Unsupported value: \"Disk\": supported values: \"\", \"BlockDevice\", \
             \"CharDevice\", \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\"",
            ],
        ),
        (
            spec(json!({ "volumes": [{ "name": "a", "configMap": { "defaultMode": 512 } }] })),
            &[
                "spec.volumes[0].configMap.name: Required value",
                "spec.volumes[0].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), \
             both inclusive",
            ],
        ),
        (
            spec(
                json!({ "volumes": [{ "name": "a", "secret": { "secretName": "s", "items": [{ "key": "k", "path": "/p" }] } }] }),
            ),
            &["spec.volumes[0].secret.items[0].path: Invalid value: \"/p\": must be a relative path"],
        ),
    ]);
}

#[test]
fn probes() {
    let liveness = |probe: Value| container(json!({ "livenessProbe": probe }));
    check(&[
        (liveness(json!({})), &["spec.containers[0].livenessProbe: Required value: must specify a handler type"]),
        (
            liveness(json!({ "exec": { "command": ["x"] }, "tcpSocket": { "port": 1 } })),
            &["spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"],
        ),
        (liveness(json!({ "exec": {} })), &["spec.containers[0].livenessProbe.exec.command: Required value"]),
        (liveness(json!({ "httpGet": { "port": "http" } })), &[]),
        (liveness(json!({ "grpc": { "port": 1, "service": "s" } })), &[]),
        (
            liveness(json!({ "grpc": { "port": 65536 }, "httpGet": { "port": 1 } })),
            &[
                "spec.containers[0].livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type",
                "spec.containers[0].livenessProbe.grpc.port: Invalid value: 65536: must be between 1 and 65535, inclusive",
            ],
        ),
        (
            liveness(json!({ "tcpSocket": { "port": 0 } })),
            &[
                "spec.containers[0].livenessProbe.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive",
            ],
        ),
        (
            liveness(json!({ "tcpSocket": { "port": 1 }, "successThreshold": 2, "periodSeconds": -1 })),
            &[
                "spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
                "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
            ],
        ),
        (container(json!({ "readinessProbe": { "tcpSocket": { "port": 1 }, "successThreshold": 2 } })), &[]),
    ]);
}

#[test]
fn resources() {
    let resources = |resources: Value| container(json!({ "resources": resources }));
    check(&[
        (
            resources(json!({ "requests": { "cpu": "2" }, "limits": { "cpu": "1" } })),
            &[
                "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            ],
        ),
        (
            resources(json!({ "requests": { "memory": "lots" } })),
            &[
                "spec.containers[0].resources.requests[memory]: Invalid value: \"lots\": must be a quantity such as `500m`, \
             `2` or `1Gi`",
            ],
        ),
        (
            resources(json!({ "limits": { "memory": -1 } })),
            &[
                "spec.containers[0].resources.limits[memory]: Invalid value: -1: must be greater than or equal to 0",
                "spec.containers[0].resources.requests[memory]: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
        (
            resources(json!({ "requests": { "ram": "1" } })),
            &["spec.containers[0].resources.requests[ram]: Invalid value: \"ram\": must be a standard resource for \
             containers"],
        ),
        (resources(json!({ "limits": { "example.com/gpu": 1, "cpu": 0.5 } })), &[]),
    ]);
}

#[test]
fn placement() {
    let toleration = |toleration: Value| spec(json!({ "tolerations": [toleration, { "operator": "Exists" }] }));
    let term = |term: Value| {
        let required = json!({ "nodeSelectorTerms": [term] });
        spec(json!({ "affinity": {
            "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": required },
        } }))
    };
    let path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]";
    check(&[
        (
            toleration(json!({ "key": "a", "operator": "Maybe" })),
            &["spec.tolerations[0].operator: Unsupported value: \"Maybe\": supported values: \"Equal\", \"Exists\""],
        ),
        (
            toleration(json!({ "key": "a", "operator": "Exists", "value": "b" })),
            &["spec.tolerations[0].value: Invalid value: \"b\": value must be empty when `operator` is 'Exists'"],
        ),
        (
            toleration(json!({ "key": "a", "effect": "NoSchedule", "tolerationSeconds": 3 })),
            &["spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when \
             `tolerationSeconds` is set"],
        ),
        (term(json!({ "matchExpressions": [{ "key": "zone", "operator": "In", "values": ["a"] }] })), &[]),
        (
            term(json!({ "matchExpressions": [{ "key": "zone", "operator": "In" }] })),
            &[&format!(
                "{path}.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or \
                      'NotIn'"
            )],
        ),
        (
            term(json!({ "matchExpressions": [{ "key": "size", "operator": "Gt", "values": ["x"] }] })),
            &[&format!(
                "{path}.matchExpressions[0].values[0]: Invalid value: \"x\": must be an integer when `operator` is \
                      'Lt' or 'Gt'"
            )],
        ),
    ]);
}
