//! A compact structural schema: what fields a kind has, of which types, and how its lists merge.
//!
//! Compiled once per kind from JSON Schema as `schemars` writes it for `k8s-openapi`'s types ([`schema_of`]) and for Kapell's own;
//! descriptions and value constraints fall away, merge facts that JSON Schema does not carry are added from a table.
//! It answers structural questions only. Whether a value makes sense is for the kind's `validate`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::problem::Problem;

mod check;
mod compile;
mod facts;
mod normalise;
mod stored;

pub use stored::schema_of;
pub(crate) use stored::{object_meta, own_schema, time};

/// How deep values are looked at; the decoder refuses deeper ones, so only a patch could build one.
pub(crate) const MAX_DEPTH: usize = 128;

/// A compiled schema: immutable, to be kept by the caller in a `OnceLock` per kind.
#[derive(Clone, Debug)]
pub struct Schema {
    nodes: Vec<Node>,
    root: NodeId,
}

/// Index of a node in its [`Schema`]; recursive types refer back to an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeId(u32);

/// What a value at some place may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Object {
        fields: BTreeMap<String, Field>,
        required: Vec<String>,
        /// Server-side apply owns it as a whole (`x-kubernetes-map-type: atomic`).
        atomic: bool,
    },
    /// An object with any keys.
    Map(NodeId),
    Array(NodeId),
    String,
    /// Width in bits, 32 or 64.
    Integer(u8),
    Number,
    Boolean,
    IntOrString,
    Quantity,
    /// RFC 3339, kept to the second.
    Time,
    /// RFC 3339, kept to the microsecond.
    MicroTime,
    /// Base64.
    Bytes,
    /// Open: nothing below is looked at.
    Any,
}

/// A field of an object: its schema and how it merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub node: NodeId,
    pub merge: MergeFacts,
}

/// How strategic merge patch and server-side apply treat a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeFacts {
    pub patch: PatchStrategy,
    /// `patchStrategy: retainKeys`: clients send `$retainKeys`, which clears what it does not name.
    pub retain_keys: bool,
    pub list: ListType,
    /// The field is a map that server-side apply owns as a whole.
    pub atomic_map: bool,
    /// There even in an empty object of this type, as Go writes it.
    pub always_present: bool,
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
    /// Values of the wrong type.
    pub problems: Vec<Problem>,
}

/// A field that the schema does not have. Displays as `unknown field "spec.foo"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField {
    pub path: String,
    /// The sibling field that was probably meant.
    pub suggestion: Option<String>,
}

impl Schema {
    /// Compiles a root schema with its `$defs` (or `definitions`).
    ///
    /// # Panics
    /// On a reference to a definition that is not there: schemas are part of the program, not input.
    pub fn compile(root: &Value) -> Schema {
        compile::compile(root)
    }

    pub fn root(&self) -> NodeId {
        self.root
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// The field of an object node; `None` where the object is open or has no such field.
    pub fn field(&self, id: NodeId, name: &str) -> Option<Field> {
        match self.node(id) {
            Node::Object { fields, .. } => fields.get(name).copied(),
            Node::Map(node) => Some(Field { node: *node, merge: MergeFacts::default() }),
            _ => None,
        }
    }

    /// Unknown fields and values of the wrong type. Null fields are fine: they mean absent.
    pub fn check(&self, value: &Value) -> Findings {
        check::check(self, value)
    }

    /// Required fields that are absent or null. Kubernetes' own kinds are decoded without this (a missing field is
    /// its type's zero, and validation decides); custom kinds are held to it.
    pub fn missing(&self, value: &Value) -> Vec<Problem> {
        check::missing(self, value)
    }

    /// Removes fields that the schema does not have.
    pub fn prune_unknown(&self, value: &mut Value) {
        normalise::prune(self, self.root, value, 0);
    }

    /// What decoding into typed structs and encoding again does upstream: null fields disappear (in maps of strings
    /// they become empty), times become UTC with `Z`, quantities canonical strings. Values of a wrong type stay.
    pub fn normalise(&self, value: &mut Value) {
        normalise::normalise(self, self.root, value, 0);
    }
}

#[cfg(test)]
mod tests;
