//! A compact structural schema, compiled from JSON Schema as `schemars` writes it. (Bodies follow.)
use crate::problem::Problem;
use serde_json::Value;
use std::collections::BTreeMap;

/// Index of a node in its [`Schema`]; recursive types refer back to an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeId(pub(crate) u32);

/// A compiled schema: immutable, cheap to share, compiled once per kind by the caller.
#[derive(Clone, Debug)]
pub struct Schema {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: NodeId,
}

/// What a value at some place may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Object {
        fields: BTreeMap<String, Field>,
        required: Vec<String>,
    },
    Map(NodeId),
    Array(NodeId),
    String,
    /// Width in bits, 32 or 64.
    Integer(u8),
    Number,
    Boolean,
    IntOrString,
    Quantity,
    Time,
    MicroTime,
    Bytes,
    Any,
}

/// A field of an object: its schema and how lists (or unions) in it merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub node: NodeId,
    pub merge: MergeFacts,
}

/// How strategic merge patch and server-side apply treat a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeFacts {
    pub patch: PatchStrategy,
    /// `patchStrategy: retainKeys`: a `$retainKeys` directive clears what it does not name.
    pub retain_keys: bool,
    pub list: ListType,
}

/// Strategic merge patch's treatment of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PatchStrategy {
    /// The patch's list replaces the current one.
    #[default]
    Replace,
    /// A list of scalars: union.
    MergeSet,
    /// A list of objects, identified by this field.
    MergeByKey(&'static str),
}

/// Server-side apply's treatment of a list (`x-kubernetes-list-type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    #[default]
    Atomic,
    Set,
    Map(&'static [&'static str]),
}

/// What [`Schema::check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub unknown: Vec<UnknownField>,
    pub problems: Vec<Problem>,
}

/// A field that the schema does not have. Displays as upstream's `unknown field "spec.foo"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField {
    pub path: String,
    /// The name of the sibling field that was probably meant.
    pub suggestion: Option<String>,
}

impl Schema {
    /// Compiles a root schema with its `$defs` (or `definitions`).
    pub fn compile(_root: &Value) -> Schema {
        unimplemented!()
    }
    pub fn root(&self) -> NodeId {
        self.root
    }
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }
    /// Unknown fields and type errors; a `null` is always fine (it means absent).
    pub fn check(&self, _value: &Value) -> Findings {
        unimplemented!()
    }
    /// Removes fields that the schema does not have.
    pub fn prune_unknown(&self, _value: &mut Value) {
        unimplemented!()
    }
    /// Required fields that are absent or null.
    pub fn missing(&self, _value: &Value) -> Vec<Problem> {
        unimplemented!()
    }
    /// What decoding into typed structs and encoding again does upstream: null fields disappear, times become UTC with `Z`,
    /// quantities canonical strings.
    pub fn normalise(&self, _value: &mut Value) {
        unimplemented!()
    }
}
