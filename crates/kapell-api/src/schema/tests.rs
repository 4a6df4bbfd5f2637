use std::path::Path;

use serde_json::json;

use super::*;

fn of(group: &str, kind: &str) -> Schema {
    Schema::compile(&schema_of(&format!("io.k8s.api.{group}.v1.{kind}")))
}

fn at(schema: &Schema, path: &[&str]) -> Field {
    let mut field = Field { node: schema.root(), merge: MergeFacts::default() };
    for name in path {
        let inside = match schema.node(field.node) {
            Node::Array(items) => *items,
            _ => field.node,
        };
        field = schema.field(inside, name).unwrap_or_else(|| panic!("no field {name} in {path:?}"));
    }
    field
}

#[test]
fn types_of_kubernetes_are_recognised() {
    let deployment = of("apps", "Deployment");
    let container = |rest: &[&'static str]| {
        let path = [&["spec", "template", "spec", "containers"], rest].concat();
        deployment.node(at(&deployment, &path).node).clone()
    };
    assert_eq!(container(&["image"]), Node::String);
    assert_eq!(container(&["stdin"]), Node::Boolean);
    assert_eq!(container(&["ports", "containerPort"]), Node::Integer(32));
    assert_eq!(container(&["livenessProbe", "httpGet", "port"]), Node::IntOrString);
    assert_eq!(container(&["resources", "limits", "cpu"]), Node::Quantity);
    let node = |path: &[&str]| deployment.node(at(&deployment, path).node).clone();
    assert_eq!(node(&["metadata", "creationTimestamp"]), Node::Time);
    assert_eq!(node(&["metadata", "labels", "x"]), Node::String);
    assert_eq!(node(&["metadata", "managedFields", "fieldsV1", "f:x"]), Node::Any);
    assert_eq!(node(&["metadata", "generation"]), Node::Integer(64));
    let lease = of("coordination", "Lease");
    assert_eq!(lease.node(at(&lease, &["spec", "renewTime"]).node), &Node::MicroTime);
    let secret = of("core", "Secret");
    assert_eq!(secret.node(at(&secret, &["data", "x"]).node), &Node::Bytes);
}

/// `cargo xtask schemas` after an upgrade, or the server does not know the fields that its types have.
#[test]
fn stored_schemas_are_of_the_version_that_is_built() {
    let version = |file: &str, before: &str| {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file)).unwrap();
        text.split_once(before).unwrap().1.split('"').next().unwrap().to_owned()
    };
    let printed = version("schemas/Cargo.toml", "k8s-openapi = { version = \"=");
    assert_eq!(printed, version("Cargo.lock", "name = \"k8s-openapi\"\nversion = \""));
}

#[test]
fn every_merge_fact_belongs_to_a_field_that_exists() {
    let property = |definition: &str, field: &str| {
        let mut named = stored::DEFINITIONS.iter().filter(|(name, _)| name.ends_with(&format!(".{definition}")));
        named.find_map(|(_, text)| {
            let schema: Value = serde_json::from_str(text).unwrap();
            schema["properties"].get(field).cloned()
        })
    };
    for (definition, field, ..) in facts::LISTS {
        let found = property(definition, field).unwrap_or_else(|| panic!("{definition} has no field {field}"));
        assert_eq!(found["type"], "array", "{definition}.{field}");
    }
    for (definition, field) in facts::RETAIN_KEYS {
        assert!(property(definition, field).is_some(), "{definition}.{field}");
    }
    for (definition, field) in facts::ATOMIC_MAPS {
        let found = property(definition, field).unwrap_or_else(|| panic!("{definition} has no field {field}"));
        assert!(found["additionalProperties"].is_object(), "{definition}.{field}");
    }
    for (definition, fields) in facts::ALWAYS_PRESENT {
        for field in *fields {
            assert!(property(definition, field).is_some(), "{definition}.{field}");
        }
    }
    for definition in facts::ATOMIC_TYPES {
        let known = stored::DEFINITIONS.keys().any(|name| name.ends_with(&format!(".{definition}")));
        assert!(known, "{definition}");
    }
    let pod = of("core", "Pod");
    let ports = at(&pod, &["spec", "containers", "ports"]).merge;
    assert_eq!(ports.patch, PatchStrategy::MergeByKey("containerPort"));
    assert_eq!(ports.list, ListType::Map(&["containerPort", "protocol"]));
    assert!(at(&pod, &["spec", "volumes"]).merge.retain_keys);
    assert_eq!(at(&pod, &["spec", "tolerations"]).merge, MergeFacts::default());
}

#[test]
fn findings_name_the_place_and_what_was_meant() {
    let findings = of("apps", "Deployment").check(&json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "creationTimestamp": null, "lables": {}, "annotations": {"a.b/c": 1, "d": null}},
        "spec": {
            "replica": 2,
            "replicas": "2",
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"spec": {"containers": [{
                "name": "c", "imgae": "x", "zzzzzz": 1, "stdin": "yes",
                "ports": [{"containerPort": 4294967296i64}],
                "resources": {"limits": {"cpu": 0.5, "memory": "1gb"}},
                "livenessProbe": {"httpGet": {"port": "http"}},
                "command": "sh", "args": [null],
            }]}},
        },
        "status": {"conditions": [{"type": "A", "status": "True", "lastUpdateTime": "yesterday"}]},
    }));
    let unknown: Vec<_> = findings.unknown.iter().map(|u| (u.path.as_str(), u.suggestion.as_deref())).collect();
    assert_eq!(
        unknown,
        [
            ("metadata.lables", Some("labels")),
            ("spec.replica", Some("replicas")),
            ("spec.template.spec.containers[0].imgae", Some("image")),
            ("spec.template.spec.containers[0].zzzzzz", None),
        ]
    );
    assert_eq!(findings.unknown[1].to_string(), "unknown field \"spec.replica\"");
    let fields: Vec<_> = findings.problems.iter().map(|p| p.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "metadata.annotations[a.b/c]",
            "spec.replicas",
            "spec.template.spec.containers[0].stdin",
            "spec.template.spec.containers[0].ports[0].containerPort",
            "spec.template.spec.containers[0].resources.limits.memory",
            "spec.template.spec.containers[0].command",
            "spec.template.spec.containers[0].args[0]",
            "status.conditions[0].lastUpdateTime",
        ]
    );
    assert_eq!(findings.problems[1].message, "Invalid value: expected a 32-bit integer, found the string \"2\"");
    assert_eq!(of("core", "Secret").check(&json!({"data": {"a": "aGk=", "b": "no!"}})).problems.len(), 1);
    assert_eq!(of("core", "Secret").check(&json!([])).problems.len(), 1);
}

#[test]
fn open_parts_are_left_alone() {
    let schema = Schema::compile(&json!({
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "string"}}},
            "input": true,
            "phase": {"oneOf": [{"const": "A", "description": "first"}, {"const": "B"}]},
            "maybe": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}]},
            "count": {"type": ["integer", "null"], "format": "uint32"},
        },
        "$defs": {"Tree": {
            "type": "object", "required": ["name"],
            "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
        }},
    }));
    let mut value = json!({
        "spec": {"a": 1, "b": {"c": null}}, "input": [1, null], "phase": "A", "count": null,
        "maybe": {"name": "r", "children": [{"name": "x", "odd": 1, "children": []}]},
        "extra": 1,
    });
    let findings = schema.check(&value);
    let unknown: Vec<_> = findings.unknown.iter().map(|u| u.path.as_str()).collect();
    assert_eq!((unknown, findings.problems), (vec!["maybe.children[0].odd", "extra"], vec![]));
    schema.prune_unknown(&mut value);
    schema.normalise(&mut value);
    assert_eq!(
        value,
        json!({
            "spec": {"a": 1, "b": {"c": null}}, "input": [1, null], "phase": "A",
            "maybe": {"name": "r", "children": [{"name": "x", "children": []}]},
        })
    );
    let missing = schema.missing(&json!({"spec": null, "maybe": {"children": [{}]}}));
    let fields: Vec<_> = missing.iter().map(|p| p.field.as_str()).collect();
    assert_eq!(fields, ["spec", "maybe.name", "maybe.children[0].name"]);
}

#[test]
fn values_are_stored_in_one_form() {
    let mut pod = json!({
        "metadata": {"name": "a", "creationTimestamp": null, "deletionTimestamp": "2026-01-02T03:04:05.5+01:00", "labels": {"x": null}},
        "spec": {"nodeName": null, "containers": [{"name": "c", "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}]},
    });
    let schema = of("core", "Pod");
    schema.normalise(&mut pod);
    assert_eq!(
        pod,
        json!({
            "metadata": {"name": "a", "deletionTimestamp": "2026-01-02T02:04:05Z", "labels": {"x": ""}},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}}]},
        })
    );
    let once = pod.clone();
    schema.normalise(&mut pod);
    assert_eq!(pod, once);
}
