//! JSON Schemas as the rows give them, turned into the dialect of Kubernetes' OpenAPI documents: definitions moved to
//! components, nullable types, and the facts about merging that clients need to compute patches.

use kapell_api::kind::Kind;
use kapell_api::schema::{Field, ListType, Node, NodeId, PatchStrategy, Schema};
use serde_json::{Map, Value, json};

use crate::resources::Resource;

/// The name of a kind's own schema, e.g. `io.k8s.api.apps.v1.Deployment`.
pub(super) fn name_of(kind: &Kind) -> String {
    let package = match kind.group {
        "" => "io.k8s.api.core".to_owned(),
        // `apps`, and `coordination.k8s.io`, whose package is named by its first part.
        group if !group.contains('.') || group.ends_with(".k8s.io") => {
            format!("io.k8s.api.{}", group.split('.').next().unwrap_or_default())
        }
        group => group.rsplit('.').collect::<Vec<_>>().join("."),
    };
    format!("{package}.{}.{}", kind.version, kind.kind)
}

/// The schema of a kind and of all types that it uses, by name; references begin with `prefix`.
pub(super) fn of(resource: &Resource, prefix: &str) -> Map<String, Value> {
    let kind = resource.kind;
    let mut root = (kind.schema)();
    let definitions = ["$defs", "definitions"]
        .iter()
        .find_map(|key| root.as_object_mut().and_then(|fields| fields.shift_remove(*key)))
        .and_then(|value| value.as_object().cloned())
        .unwrap_or_default();
    let mut converter = Converter { schema: resource.schema(), definitions: &definitions, prefix, done: Map::new() };
    let mut own = converter.convert(&root, Some(resource.schema().root()));
    own["x-kubernetes-group-version-kind"] = json!([{"group": kind.group, "version": kind.version, "kind": kind.kind}]);
    if own.get("type").is_none() {
        own["type"] = json!("object");
    }
    let mut done = converter.done;
    done.insert(name_of(kind), own);
    done
}

/// Walks a JSON Schema and the compiled schema side by side: the first has the descriptions, the second the facts.
struct Converter<'a> {
    schema: &'a Schema,
    definitions: &'a Map<String, Value>,
    prefix: &'a str,
    done: Map<String, Value>,
}

impl Converter<'_> {
    fn convert(&mut self, schema: &Value, node: Option<NodeId>) -> Value {
        let Some(fields) = schema.as_object() else {
            // `true`: anything.
            return json!({"x-kubernetes-preserve-unknown-fields": true});
        };
        if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
            return self.reference(fields, reference, node);
        }
        let mut out = Map::new();
        for (key, value) in fields {
            match key.as_str() {
                "$schema" | "title" | "$id" => {}
                "type" => set_type(&mut out, value),
                "properties" => drop(out.insert(key.clone(), self.properties(value, node))),
                "items" => drop(out.insert(key.clone(), self.convert(value, self.inner(node)))),
                "additionalProperties" if value.is_object() => {
                    out.insert(key.clone(), self.convert(value, self.inner(node)));
                }
                "allOf" | "anyOf" | "oneOf" => self.alternatives(&mut out, key, value, node),
                "const" => drop(out.insert("enum".to_owned(), json!([value]))),
                _ => drop(out.insert(key.clone(), value.clone())),
            }
        }
        Value::Object(out)
    }

    /// A reference with a description beside it needs `allOf` in OpenAPI 3.0, where siblings of `$ref` do not count.
    fn reference(&mut self, fields: &Map<String, Value>, reference: &str, node: Option<NodeId>) -> Value {
        let name = reference.rsplit('/').next().unwrap_or_default().to_owned();
        if !self.done.contains_key(&name)
            && let Some(definition) = self.definitions.get(&name).cloned()
        {
            // Marks it as begun: types may refer to themselves.
            self.done.insert(name.clone(), Value::Null);
            let converted = self.convert(&definition, node);
            self.done.insert(name.clone(), converted);
        }
        let target = json!({"$ref": format!("{}{name}", self.prefix)});
        let others: Map<String, Value> =
            fields.iter().filter(|(key, _)| *key != "$ref").map(|(k, v)| (k.clone(), v.clone())).collect();
        if others.is_empty() {
            return target;
        }
        let mut out = others;
        out.insert("allOf".to_owned(), json!([target]));
        Value::Object(out)
    }

    fn properties(&mut self, properties: &Value, node: Option<NodeId>) -> Value {
        let mut out = Map::new();
        for (name, property) in properties.as_object().into_iter().flatten() {
            let field = node.and_then(|id| match self.schema.node(id) {
                Node::Object { fields, .. } => fields.get(name).copied(),
                _ => None,
            });
            let mut converted = self.convert(property, field.map(|field| field.node));
            if let Some(field) = field {
                add_merge_facts(&mut converted, field);
            }
            out.insert(name.clone(), converted);
        }
        Value::Object(out)
    }

    /// `anyOf: [X, null]` is how an optional reference looks; in OpenAPI 3.0 that is a nullable X.
    fn alternatives(&mut self, out: &mut Map<String, Value>, key: &str, value: &Value, node: Option<NodeId>) {
        let all: Vec<&Value> = value.as_array().into_iter().flatten().collect();
        let some: Vec<&Value> = all.iter().copied().filter(|schema| schema["type"] != "null").collect();
        if some.len() < all.len() {
            out.insert("nullable".to_owned(), json!(true));
        }
        let converted: Vec<Value> = some.iter().map(|schema| self.convert(schema, node)).collect();
        let key = if converted.len() == 1 { "allOf" } else { key };
        out.insert(key.to_owned(), Value::Array(converted));
    }

    /// The node of a list's items or a map's values.
    fn inner(&self, node: Option<NodeId>) -> Option<NodeId> {
        match self.schema.node(node?) {
            Node::Array(inner) | Node::Map(inner) => Some(*inner),
            _ => None,
        }
    }
}

/// JSON Schema's `["string", "null"]` is OpenAPI's nullable string.
fn set_type(out: &mut Map<String, Value>, value: &Value) {
    match value {
        Value::Array(types) => {
            let named: Vec<&Value> = types.iter().filter(|t| *t != "null").collect();
            if named.len() < types.len() {
                out.insert("nullable".to_owned(), json!(true));
            }
            match named.as_slice() {
                [one] => drop(out.insert("type".to_owned(), (*one).clone())),
                // Several types have no form in OpenAPI 3.0: anything goes, the server decides.
                _ => drop(out.insert("x-kubernetes-preserve-unknown-fields".to_owned(), json!(true))),
            }
        }
        other => drop(out.insert("type".to_owned(), other.clone())),
    }
}

fn add_merge_facts(property: &mut Value, field: Field) {
    let facts = field.merge;
    let strategy = match facts.patch {
        PatchStrategy::Replace => None,
        PatchStrategy::MergeSet => Some("merge"),
        PatchStrategy::MergeByKey(key) => {
            property["x-kubernetes-patch-merge-key"] = json!(key);
            Some("merge")
        }
    };
    let strategy = match (strategy, facts.retain_keys) {
        (Some(strategy), true) => Some(format!("{strategy},retainKeys")),
        (Some(strategy), false) => Some(strategy.to_owned()),
        (None, true) => Some("retainKeys".to_owned()),
        (None, false) => None,
    };
    if let Some(strategy) = strategy {
        property["x-kubernetes-patch-strategy"] = json!(strategy);
    }
    match facts.list {
        ListType::Atomic => {}
        ListType::Set => property["x-kubernetes-list-type"] = json!("set"),
        ListType::Map(keys) => {
            property["x-kubernetes-list-type"] = json!("map");
            property["x-kubernetes-list-map-keys"] = json!(keys);
        }
    }
}
