//! What holds for every row, and the vocabulary in which the kinds' own tests are written.

use serde_json::{Value, json};

use super::field::same;
use super::{KINDS, by_kind, find};
use crate::kind::{Kind, Now};
use crate::schema::{Findings, Schema};

pub(super) fn row(kind: &str) -> &'static Kind {
    KINDS.iter().find(|row| row.kind == kind).expect("a kind of the table")
}

/// The object after defaulting.
pub(super) fn defaulted(kind: &str, mut object: Value) -> Value {
    (row(kind).default)(&mut object);
    object
}

/// `base` with a JSON merge patch applied.
pub(super) fn with(base: &Value, patch: Value) -> Value {
    let mut object = base.clone();
    json_patch::merge(&mut object, &patch);
    object
}

/// Complaints about an object as it would be created.
pub(super) fn problems(kind: &str, object: Value) -> Vec<String> {
    (row(kind).validate)(&defaulted(kind, object)).iter().map(ToString::to_string).collect()
}

/// Complaints about a change, after what the writer may not change was carried over.
pub(super) fn update_problems(kind: &str, new: Value, old: &Value) -> Vec<String> {
    let (old, mut new) = (defaulted(kind, old.clone()), new);
    (row(kind).prepare_update)(&mut new, &old);
    (row(kind).default)(&mut new);
    (row(kind).validate_update)(&new, &old).iter().map(ToString::to_string).collect()
}

/// Requires exactly these complaints about each patched object.
pub(super) fn check_problems(kind: &str, base: &Value, cases: &[(Value, &[&str])]) {
    for (patch, expected) in cases {
        assert_eq!(&problems(kind, with(base, patch.clone())), expected, "patch: {patch}");
    }
}

/// Requires that each patch yields exactly these complaints as an update of the base.
pub(super) fn check_updates(kind: &str, base: &Value, cases: &[(Value, &[&str])]) {
    let base = defaulted(kind, base.clone());
    for (patch, expected) in cases {
        let new = with(&base, patch.clone());
        assert_eq!(&update_problems(kind, new, &base), expected, "patch: {patch}");
    }
}

pub(super) fn warnings(kind: &str, object: Value) -> Vec<String> {
    (row(kind).warnings)(&defaulted(kind, object))
}

/// 2026-01-01T01:00:00Z.
pub(super) const NOW: Now = Now(1_767_229_200);

/// The cells as `kubectl get -o wide` prints them.
pub(super) fn cells(kind: &str, object: &Value) -> Vec<String> {
    let text = |cell: Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
    row(kind).columns.iter().map(|column| text((column.cell)(object, NOW))).collect()
}

pub(super) fn selectable(kind: &str, path: &str, object: &Value) -> String {
    let field = row(kind).selectable_fields.iter().find(|field| field.path == path).expect("a selectable field");
    (field.value)(object)
}

/// A small valid object of each kind.
pub(super) fn sample(kind: &str) -> Value {
    let mut object = match kind {
        "Pod" => json!({ "spec": { "containers": [{ "name": "web", "image": "web:1" }] } }),
        "Service" => json!({ "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80 }] } }),
        "ConfigMap" => json!({ "data": { "key": "value" } }),
        "Secret" => json!({ "stringData": { "key": "value" } }),
        "Event" => json!({ "involvedObject": { "kind": "Pod", "name": "web", "namespace": "shop" } }),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => json!({ "spec": {
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": "web:1" }] },
            },
        } }),
        "Lease" => json!({ "spec": { "holderIdentity": "me", "leaseDurationSeconds": 15 } }),
        "EndpointSlice" => json!({
            "addressType": "IPv4",
            "ports": [{ "port": 80 }],
            "endpoints": [{ "addresses": ["127.9.128.1"] }],
        }),
        "ControllerRevision" => json!({ "revision": 1, "data": { "spec": {} } }),
        "ReplicationController" => json!({ "spec": { "template": {
            "metadata": { "labels": { "app": "web" } },
            "spec": { "containers": [{ "name": "web", "image": "web:1" }] },
        } } }),
        "PodTemplate" => json!({ "template": { "spec": { "containers": [{ "name": "web", "image": "web:1" }] } } }),
        "Job" => json!({ "spec": { "template": { "spec": {
            "restartPolicy": "Never",
            "containers": [{ "name": "web", "image": "web:1" }],
        } } } }),
        "CronJob" => json!({ "spec": { "schedule": "*/5 * * * *", "jobTemplate": { "spec": { "template": { "spec": {
            "restartPolicy": "Never",
            "containers": [{ "name": "web", "image": "web:1" }],
        } } } } } }),
        "HorizontalPodAutoscaler" => json!({ "spec": {
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
            "maxReplicas": 10,
        } }),
        "PersistentVolume" => json!({ "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": { "storage": "1Gi" },
            "hostPath": { "path": "/data" },
        } }),
        "PersistentVolumeClaim" => json!({ "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": "1Gi" } },
        } }),
        "Endpoints" => json!({ "subsets": [{ "addresses": [{ "ip": "127.9.128.1" }], "ports": [{ "port": 80 }] }] }),
        "Ingress" => json!({ "spec": { "rules": [{ "host": "shop.example", "http": { "paths": [{
            "path": "/",
            "pathType": "Prefix",
            "backend": { "service": { "name": "web", "port": { "number": 80 } } },
        }] } }] } }),
        "IngressClass" => json!({ "spec": { "controller": "kapell.dev/gateway" } }),
        "NetworkPolicy" => json!({ "spec": { "podSelector": {}, "ingress": [{ "ports": [{ "port": 80 }] }] } }),
        "RuntimeClass" => json!({ "handler": "runc" }),
        "CertificateSigningRequest" => json!({ "spec": {
            "request": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUE9PQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K",
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
        } }),
        "FlowSchema" => json!({ "spec": { "priorityLevelConfiguration": { "name": "web" } } }),
        "PriorityLevelConfiguration" => json!({ "spec": {
            "type": "Limited",
            "limited": { "limitResponse": { "type": "Queue", "queuing": {} } },
        } }),
        "StorageClass" => json!({ "provisioner": "kapell.dev/none" }),
        "CSIDriver" => json!({ "spec": {} }),
        "CSINode" => json!({ "spec": { "drivers": [{ "name": "d.example", "nodeID": "n" }] } }),
        "CSIStorageCapacity" => json!({ "storageClassName": "fast" }),
        "VolumeAttachment" => json!({ "spec": {
            "attacher": "kapell.dev/none",
            "nodeName": "n",
            "source": { "persistentVolumeName": "v" },
        } }),
        "RoleBinding" | "ClusterRoleBinding" => json!({ "roleRef": { "kind": "ClusterRole", "name": "view" } }),
        "LimitRange" => json!({ "spec": { "limits": [{ "type": "Container", "max": { "cpu": "2" } }] } }),
        "ResourceQuota" => json!({ "spec": { "hard": { "pods": "10" } } }),
        "PriorityClass" => json!({ "value": 1000 }),
        "PodDisruptionBudget" => json!({ "spec": {
            "minAvailable": 1,
            "selector": { "matchLabels": { "app": "web" } },
        } }),
        "Workflow" => json!({ "spec": {
            "document": { "dsl": "1.0.0", "namespace": "shop", "name": "order", "version": "0.1.0" },
            "do": [],
        } }),
        "EventSink" => json!({ "spec": { "uri": "http://billing/events" } }),
        "WorkflowRun" => json!({ "spec": { "workflow": "order", "input": { "amount": 3 } } }),
        _ => json!({}),
    };
    let row = row(kind);
    object["apiVersion"] = row.api_version().into();
    object["kind"] = kind.into();
    object["metadata"] = json!({ "name": "web" });
    if row.namespaced {
        object["metadata"]["namespace"] = "shop".into();
    }
    object
}

#[test]
fn rows_are_found_by_url_and_by_kind() {
    assert_eq!(find("", "v1", "pods").map(|row| row.kind), Some("Pod"));
    assert_eq!(find("apps", "v1", "deployments").map(|row| row.kind), Some("Deployment"));
    assert_eq!(by_kind("kapell.dev", "v1alpha1", "WorkflowRun").map(|row| row.plural), Some("workflowruns"));
    assert!(find("", "v1", "deployments").is_none());
    assert!(find("apps", "v1beta1", "deployments").is_none());
    assert!(by_kind("apps", "v1", "Pod").is_none());
}

#[test]
fn no_name_is_taken_twice() {
    let mut taken = std::collections::BTreeSet::new();
    for row in KINDS {
        let names: std::collections::BTreeSet<_> = [row.plural, row.singular].into_iter().collect();
        for name in names.iter().chain(row.short_names) {
            assert!(taken.insert(*name), "{name}");
        }
        assert_eq!(row.singular, row.kind.to_lowercase());
    }
}

#[test]
fn samples_are_valid_and_defaults_idempotent() {
    for row in KINDS {
        assert_eq!(problems(row.kind, sample(row.kind)), [""; 0], "{}", row.kind);
        let once = defaulted(row.kind, sample(row.kind));
        assert_eq!(defaulted(row.kind, once.clone()), once, "{}", row.kind);
        let mut again = once.clone();
        (row.prepare_update)(&mut again, &once);
        assert!(same(&again, &once), "{}: a PUT of what was read changes nothing", row.kind);
        assert_eq!((row.validate_update)(&again, &once), [], "{}", row.kind);
    }
}

#[test]
fn metadata_is_checked_for_every_kind() {
    for row in KINDS {
        let nameless = with(&sample(row.kind), json!({ "metadata": { "name": null } }));
        assert_eq!(
            problems(row.kind, nameless),
            ["metadata.name: Required value: name or generateName is required"],
            "{}",
            row.kind
        );
        let bad = json!({ "metadata": { "labels": { "a b": "c" }, "finalizers": ["/x"] } });
        let found = problems(row.kind, with(&sample(row.kind), bad));
        assert!(
            found.iter().any(|problem| problem.starts_with("metadata.labels: Invalid value: \"a b\"")),
            "{found:?}"
        );
        assert!(found.iter().any(|problem| problem.starts_with("metadata.finalizers[0]: Invalid value")), "{found:?}");
    }
}

#[test]
fn names_follow_each_kinds_rule() {
    for (kind, name, valid) in [
        ("Pod", "a.b", true),
        ("Pod", "A", false),
        ("Namespace", "a.b", false),
        ("Namespace", "0a", true),
        ("Service", "0a", false),
        ("Service", "a-b", true),
        ("Node", "host.example", true),
    ] {
        let object = with(&sample(kind), json!({ "metadata": { "name": name } }));
        assert_eq!(problems(kind, object).is_empty(), valid, "{kind} {name}");
    }
}

#[test]
fn generated_names_may_end_in_a_dash() {
    let object = with(&sample("Pod"), json!({ "metadata": { "name": null, "generateName": "web-" } }));
    assert_eq!(problems("Pod", object), [""; 0]);
}

#[test]
fn at_most_one_owner_controls() {
    let owner = json!({ "apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "1", "controller": true });
    let object = with(&sample("Pod"), json!({ "metadata": { "ownerReferences": [owner, owner] } }));
    let found = problems("Pod", object);
    assert_eq!(found.len(), 1);
    assert!(found[0].ends_with("only one reference can have `controller` set to true"), "{found:?}");
}

/// Whatever was stored or slipped through, no function of a row may panic.
#[test]
fn rows_are_total() {
    let odd = [Value::Null, json!(true), json!(-1), json!("x"), json!([null, 1, "x", {}, []]), json!({ "a": [{}] })];
    for row in KINDS {
        for part in ["metadata", "spec", "status", "data", "stringData", "ports", "endpoints", "addressType"] {
            for value in &odd {
                let mut object = sample(row.kind);
                object[part] = value.clone();
                exercise(row, object);
            }
        }
        for value in &odd {
            exercise(row, value.clone());
            let mut object = sample(row.kind);
            if let Some(Value::Object(spec)) = object.get_mut("spec") {
                spec.values_mut().for_each(|field| *field = value.clone());
                spec.extend(["volumes", "affinity", "tolerations"].map(|name| (name.to_owned(), value.clone())));
            }
            exercise(row, object);
        }
    }
}

fn exercise(row: &Kind, mut object: Value) {
    let old = sample(row.kind);
    (row.prepare_create)(&mut object);
    (row.prepare_update)(&mut object, &old);
    (row.default)(&mut object);
    (row.validate)(&object);
    (row.validate_update)(&object, &old);
    (row.validate_update)(&old, &object);
    (row.warnings)(&object);
    row.columns.iter().for_each(|column| drop((column.cell)(&object, NOW)));
    row.selectable_fields.iter().for_each(|field| drop((field.value)(&object)));
}

#[test]
fn small_kinds_show_their_columns() {
    let created = json!({ "metadata": { "creationTimestamp": "2026-01-01T00:59:00Z" } });
    for (kind, patch, expected) in [
        ("ConfigMap", json!({ "binaryData": { "b": "AA==" } }), &["web", "2", "60s"][..]),
        ("Secret", json!({}), &["web", "Opaque", "1", "60s"]),
        ("ServiceAccount", json!({}), &["web", "0", "60s"]),
        ("Namespace", json!({}), &["web", "Active", "60s"]),
        ("Lease", json!({}), &["web", "me", "60s"]),
        (
            "EndpointSlice",
            json!({
                "ports": [{ "port": 80 }, { "port": 443 }],
                "endpoints": [{ "addresses": ["a", "b"] }, { "addresses": ["c", "d", "e"] }],
            }),
            &["web", "IPv4", "80,443", "a,b,c + 2 more...", "60s"],
        ),
        ("EndpointSlice", json!({ "ports": [], "endpoints": [] }), &["web", "IPv4", "<unset>", "<unset>", "60s"]),
        (
            "Node",
            json!({
                "metadata": { "labels": { "node-role.kubernetes.io/worker": "", "kubernetes.io/role": "edge" } },
                "spec": { "unschedulable": true },
                "status": {
                    "conditions": [{ "type": "Ready", "status": "True" }],
                    "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
                    "nodeInfo": { "kubeletVersion": "v1.33.0", "osImage": "Linux" },
                },
            }),
            &[
                "web",
                "Ready,SchedulingDisabled",
                "edge,worker",
                "60s",
                "v1.33.0",
                "127.0.0.1",
                "<none>",
                "Linux",
                "<unknown>",
                "<unknown>",
            ],
        ),
        (
            "Event",
            json!({
                "type": "Warning", "reason": "BackOff", "message": " again\n", "count": 3,
                "source": { "component": "agent", "host": "n1" },
                "firstTimestamp": "2026-01-01T00:50:00Z", "lastTimestamp": "2026-01-01T00:59:55Z",
            }),
            &["5s", "Warning", "BackOff", "pod/web", "", "agent, n1", "again", "10m", "3", "web"],
        ),
        (
            "Event",
            json!({ "eventTime": "2026-01-01T00:59:58.000001Z", "reportingComponent": "scheduler" }),
            &["2s", "", "", "pod/web", "", "scheduler", "", "2s", "1", "web"],
        ),
    ] {
        let object = with(&with(&defaulted(kind, sample(kind)), created.clone()), patch);
        assert_eq!(cells(kind, &object), expected, "{kind}");
    }
}

#[test]
fn selectable_fields_show_what_selectors_compare() {
    for (kind, path, expected) in [
        ("Pod", "spec.restartPolicy", "Always"),
        ("Pod", "spec.nodeName", ""),
        ("Pod", "spec.hostNetwork", "false"),
        ("Secret", "type", "Opaque"),
        ("Node", "spec.unschedulable", "false"),
        ("Event", "involvedObject.name", "web"),
        ("Service", "spec.type", "ClusterIP"),
        ("ReplicaSet", "status.replicas", "0"),
        ("Namespace", "status.phase", "Active"),
        ("WorkflowRun", "spec.workflow", "order"),
    ] {
        assert_eq!(selectable(kind, path, &defaulted(kind, sample(kind))), expected, "{kind} {path}");
    }
}

#[test]
fn a_namespace_is_labelled_and_finalized_once() {
    let mut namespace = with(&sample("Namespace"), json!({ "status": { "phase": "Terminating" } }));
    (row("Namespace").prepare_create)(&mut namespace);
    let namespace = defaulted("Namespace", namespace);
    assert_eq!(namespace["metadata"]["labels"], json!({ "kubernetes.io/metadata.name": "web" }));
    assert_eq!(namespace["spec"], json!({ "finalizers": ["kubernetes"] }));
    assert_eq!(namespace["status"], json!({ "phase": "Active" }));

    let finalized = with(&namespace, json!({ "spec": { "finalizers": [] } }));
    assert_eq!(defaulted("Namespace", finalized.clone())["spec"], json!({ "finalizers": [] }));
    // The main endpoint neither adds nor removes finalizers.
    let mut updated = finalized;
    (row("Namespace").prepare_update)(&mut updated, &namespace);
    assert_eq!(updated["spec"], namespace["spec"]);
}

#[test]
fn endpoints_and_leases_and_nodes_are_checked() {
    check_problems(
        "EndpointSlice",
        &sample("EndpointSlice"),
        &[
            (
                json!({ "addressType": "IPv5" }),
                &["addressType: Unsupported value: \"IPv5\": supported values: \"FQDN\", \"IPv4\", \"IPv6\""],
            ),
            (
                json!({ "endpoints": [{ "addresses": ["::1"] }, { "addresses": [] }] }),
                &[
                    "endpoints[0].addresses[0]: Invalid value: \"::1\": must be a valid IPv4 address",
                    "endpoints[1].addresses: Required value: must contain at least 1 address",
                ],
            ),
            (
                json!({ "ports": [{ "port": 0 }, { "port": 1 }] }),
                &[
                    "ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                    "ports[1].name: Duplicate value: \"\"",
                ],
            ),
        ],
    );
    check_updates(
        "EndpointSlice",
        &sample("EndpointSlice"),
        &[
            (json!({ "endpoints": [] }), &[]),
            (json!({ "addressType": "FQDN" }), &["addressType: Invalid value: \"FQDN\": field is immutable"]),
        ],
    );
    check_problems(
        "Lease",
        &sample("Lease"),
        &[
            (
                json!({ "spec": { "leaseDurationSeconds": 0 } }),
                &["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
            ),
            (
                json!({ "spec": { "leaseTransitions": -1 } }),
                &["spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0"],
            ),
        ],
    );
    let taint = json!({ "key": "gpu", "effect": "NoSchedule" });
    check_problems(
        "Node",
        &sample("Node"),
        &[
            (json!({ "spec": { "taints": [taint] } }), &[]),
            (
                json!({ "spec": { "taints": [{ "key": "gpu", "effect": "Never" }] } }),
                &["spec.taints[0].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \
             \"PreferNoSchedule\", \"NoExecute\""],
            ),
        ],
    );
    check_problems(
        "Event",
        &sample("Event"),
        &[(
            json!({ "involvedObject": { "namespace": "other" } }),
            &["involvedObject.namespace: Invalid value: \"other\": does not match event.namespace"],
        )],
    );
}

/// A default whose name or place is misspelt would be an unknown field.
#[test]
fn defaulted_samples_fit_their_schemas() {
    for row in KINDS {
        let schema = Schema::compile(&(row.schema)());
        let mut object = sample(row.kind);
        (row.prepare_create)(&mut object);
        (row.default)(&mut object);
        assert_eq!(schema.check(&object), Findings::default(), "{}", row.kind);
        assert_eq!(schema.missing(&object), [], "{}", row.kind);
        let mut stored = object.clone();
        schema.normalise(&mut stored);
        assert_eq!(stored, object, "{}: what is defaulted is already in its stored form", row.kind);
        let unknown = schema.check(&with(&object, json!({ "metadata": { "nmae": "x" }, "speck": {} }))).unknown;
        assert_eq!(unknown.iter().map(|field| field.path.as_str()).collect::<Vec<_>>(), ["metadata.nmae", "speck"]);
    }
}
