//! Label and field selectors. (Bodies follow.)
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A selector that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unable to parse requirement: {message} (at character {position})")]
pub struct SelectorError {
    pub message: String,
    /// Characters before the offending one, from 0.
    pub position: usize,
}

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Gt,
    Lt,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: BTreeSet<String>,
}

/// A conjunction of requirements; the empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    pub requirements: Vec<Requirement>,
}

impl Selector {
    /// The string form, as in `?labelSelector=`.
    pub fn parse(_text: &str) -> Result<Selector, SelectorError> {
        unimplemented!()
    }
    /// From a `metav1.LabelSelector`; null selects nothing upstream and is `None` here.
    pub fn from_label_selector(_value: &Value) -> Result<Option<Selector>, SelectorError> {
        unimplemented!()
    }
    /// From plain equality pairs (`Service.spec.selector`).
    pub fn from_labels(_labels: &BTreeMap<String, String>) -> Selector {
        unimplemented!()
    }
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }
    pub fn matches(&self, _labels: &BTreeMap<String, String>) -> bool {
        unimplemented!()
    }
    pub fn matches_by<'a>(&self, _label: impl Fn(&str) -> Option<&'a str>) -> bool {
        unimplemented!()
    }
}
impl fmt::Display for Selector {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        unimplemented!()
    }
}

/// One condition on one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    pub path: String,
    pub equal: bool,
    pub value: String,
}

/// A conjunction of (in)equalities of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    pub requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    /// The string form, as in `?fieldSelector=`.
    pub fn parse(_text: &str) -> Result<FieldSelector, SelectorError> {
        unimplemented!()
    }
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }
    /// `field` gives a field's value, empty when absent.
    pub fn matches_by(&self, _field: impl Fn(&str) -> String) -> bool {
        unimplemented!()
    }
}
impl fmt::Display for FieldSelector {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        unimplemented!()
    }
}
