//! JSON Schema into nodes.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Field, Node, NodeId, Schema, facts};

/// How JSON Schema combines schemas.
const COMBINATORS: [&str; 3] = ["anyOf", "oneOf", "allOf"];

pub(super) fn compile(root: &Value) -> Schema {
    let definitions = ["$defs", "definitions"].iter().find_map(|name| root.get(*name)?.as_object());
    let mut compiler = Compiler { definitions, known: BTreeMap::new(), nodes: Vec::new() };
    let title = root.get("title").and_then(Value::as_str).unwrap_or_default();
    let root = compiler.node(root, title);
    Schema { nodes: compiler.nodes, root }
}

struct Compiler<'a> {
    definitions: Option<&'a Map<String, Value>>,
    /// Definitions that have a node already, so that each is compiled once and may refer to itself.
    known: BTreeMap<&'a str, NodeId>,
    nodes: Vec<Node>,
}

impl<'a> Compiler<'a> {
    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(u32::try_from(self.nodes.len() - 1).expect("a schema has fewer than 2^32 nodes"))
    }

    fn reference(&mut self, target: &'a str) -> NodeId {
        let name = target.rsplit('/').next().unwrap_or(target);
        if let Some(&id) = self.known.get(name) {
            return id;
        }
        let schema = self.definitions.and_then(|d| d.get(name));
        let schema = schema.unwrap_or_else(|| panic!("the schema refers to {target}, which it does not define"));
        // Reserved first, filled in afterwards: the definition may contain itself.
        let id = self.push(Node::Any);
        self.known.insert(name, id);
        let node = self.shape(schema, name);
        self.nodes[id.0 as usize] = node;
        id
    }

    fn node(&mut self, schema: &'a Value, definition: &str) -> NodeId {
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            return self.reference(target);
        }
        if let Some(only) = only_alternative(schema) {
            return self.node(only, definition);
        }
        let node = self.shape(schema, definition);
        self.push(node)
    }

    fn shape(&mut self, schema: &'a Value, definition: &str) -> Node {
        match definition {
            "io.k8s.apimachinery.pkg.api.resource.Quantity" => return Node::Quantity,
            "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime" => return Node::MicroTime,
            _ => {}
        }
        let is_true = |key: &str| schema.get(key) == Some(&Value::Bool(true));
        if is_true("x-kubernetes-preserve-unknown-fields") {
            return Node::Any;
        }
        if is_true("x-kubernetes-int-or-string") {
            return Node::IntOrString;
        }
        if let Some(only) = only_alternative(schema).or_else(|| schema.get("$ref").map(|_| schema)) {
            let id = self.node(only, definition);
            return self.nodes[id.0 as usize].clone();
        }
        let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
        match (type_name(schema), format) {
            ("string", "date-time") => Node::Time,
            ("string", "byte") => Node::Bytes,
            ("string", _) => Node::String,
            ("integer", "int32" | "uint32" | "int16" | "uint16" | "int8" | "uint8") => Node::Integer(32),
            ("integer", _) => Node::Integer(64),
            ("number", _) => Node::Number,
            ("boolean", _) => Node::Boolean,
            ("array", _) => match schema.get("items") {
                Some(items) => Node::Array(self.node(items, "")),
                None => Node::Array(self.push(Node::Any)),
            },
            ("object", _) => self.object(schema, definition),
            _ => Node::Any,
        }
    }

    fn object(&mut self, schema: &'a Value, definition: &str) -> Node {
        let open = schema.get("additionalProperties").filter(|v| **v != Value::Bool(false));
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return match open {
                Some(values) => Node::Map(self.node(values, "")),
                None => Node::Map(self.push(Node::Any)),
            };
        };
        let alternatives = COMBINATORS.iter().filter_map(|name| schema.get(*name)?.as_array()).flatten();
        let adds_fields = |a: &Value| a.get("properties").is_some() || a.get("$ref").is_some();
        if open.is_some() || alternatives.into_iter().any(adds_fields) {
            // Named fields beside arbitrary or alternative ones: what cannot be said structurally is left open.
            return Node::Any;
        }
        let mut fields = BTreeMap::new();
        for (name, property) in properties {
            let merge = facts::merge_facts(definition, name);
            fields.insert(name.clone(), Field { node: self.node(property, ""), merge });
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let required = required.filter_map(|r| r.as_str().map(str::to_owned)).collect();
        Node::Object { fields, required, atomic: facts::atomic(definition) }
    }
}

/// The type, where null is not counted: optional fields of derived schemas allow it.
fn type_name(schema: &Value) -> &str {
    let of = |v: &'_ Value| v.as_str().is_some_and(|t| t != "null");
    match schema.get("type") {
        Some(Value::String(name)) => name,
        Some(Value::Array(names)) if names.iter().filter(|n| of(n)).count() == 1 => {
            names.iter().find(|n| of(n)).and_then(Value::as_str).unwrap_or_default()
        }
        // An enumeration may be written without a type.
        None if schema.get("enum").and_then(Value::as_array).is_some_and(|e| e.iter().all(Value::is_string)) => {
            "string"
        }
        None if schema.get("const").is_some_and(Value::is_string) => "string",
        None if schema.get("properties").is_some() => "object",
        _ => "",
    }
}

/// `anyOf`, `oneOf` and `allOf` with one alternative besides null are that alternative; so are enumerations of strings
/// whose members carry descriptions.
fn only_alternative(schema: &Value) -> Option<&Value> {
    if schema.get("properties").is_some() {
        return None;
    }
    let alternatives = COMBINATORS.iter().find_map(|name| schema.get(*name)?.as_array())?;
    let mut real = alternatives.iter().filter(|a| a.get("type").and_then(Value::as_str) != Some("null"));
    let first = real.next()?;
    let all_strings = type_name(first) == "string" && real.clone().all(|a| type_name(a) == "string");
    (all_strings || real.next().is_none()).then_some(first)
}
