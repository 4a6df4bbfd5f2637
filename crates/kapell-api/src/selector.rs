//! Label selectors and field selectors: which objects a list, a watch or a controller means.
//!
//! A selector is parsed once and matched often. Both kinds are conjunctions; the empty one selects everything. What
//! fields a kind can be selected by is the table's business, so field selectors are matched through a function.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

use crate::names;
use crate::problem::{Problem, Reason};

mod field;
mod parse;

pub use field::{FieldRequirement, FieldSelector};

/// A selector that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unable to parse the selector: {message} (at character {position})")]
pub struct SelectorError {
    pub message: String,
    /// Characters before the offending one, plus 1.
    pub position: usize,
}

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    In,
    /// True also where the label is absent.
    NotIn,
    Exists,
    DoesNotExist,
    /// Both sides are integers; the requirement has one value.
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

/// A conjunction of requirements on labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    pub requirements: Vec<Requirement>,
}

impl Requirement {
    /// Whether the operator, key and values go together; the message is a clause.
    pub fn new(key: String, operator: Operator, values: BTreeSet<String>) -> Result<Requirement, String> {
        if let Some(wrong) = names::qualified_name(&key).into_iter().next() {
            return Err(format!("invalid label key {key:?}: {wrong}"));
        }
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                return Err("for 'in' and 'notin' operators, values set can't be empty".to_owned());
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                return Err("values set must be empty for exists and does not exist".to_owned());
            }
            Operator::Gt | Operator::Lt if values.len() != 1 || !values.iter().all(|v| v.parse::<i64>().is_ok()) => {
                return Err("for 'Gt' and 'Lt' operators, exactly one integer is required".to_owned());
            }
            _ => {}
        }
        for value in &values {
            // Node selectors compare with negative numbers, which are no label values.
            if let (Operator::In | Operator::NotIn, Some(wrong)) = (operator, names::label_value(value).first()) {
                return Err(format!("invalid label value {value:?}: {wrong}"));
            }
        }
        Ok(Requirement { key, operator, values })
    }

    /// Whether a label with this value (`None`: no such label) fulfils the requirement.
    pub fn matches(&self, label: Option<&str>) -> bool {
        let compared = || Some((label?.parse::<i64>().ok()?, self.values.first()?.parse::<i64>().ok()?));
        match self.operator {
            Operator::In => label.is_some_and(|v| self.values.contains(v)),
            Operator::NotIn => !label.is_some_and(|v| self.values.contains(v)),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::Gt => compared().is_some_and(|(label, bound)| label > bound),
            Operator::Lt => compared().is_some_and(|(label, bound)| label < bound),
        }
    }
}

impl Selector {
    /// The string form, as in `?labelSelector=`: `a=b,c!=d,e in (x,y),f notin (z),g,!h,i>1`.
    pub fn parse(text: &str) -> Result<Selector, SelectorError> {
        parse::label_selector(text)
    }

    /// From a `metav1.LabelSelector`. Absent (null) selects nothing and is `None`; empty selects everything. A problem's
    /// field is relative to the selector.
    pub fn from_label_selector(value: &Value) -> Result<Option<Selector>, Problem> {
        // A selector that is misread selects too much, so nothing of a wrong type is passed over.
        let wrong_type = |field: &str, what: &str| Problem::new(field, Reason::TypeInvalid, format!("must be {what}"));
        let selector = match value {
            Value::Null => return Ok(None),
            Value::Object(selector) => selector,
            _ => return Err(wrong_type("", "an object")),
        };
        let mut requirements = Vec::new();
        let labels = match selector.get("matchLabels") {
            None | Some(Value::Null) => &Map::new(),
            Some(Value::Object(labels)) => labels,
            Some(_) => return Err(wrong_type("matchLabels", "an object")),
        };
        for (key, label) in labels {
            let field = format!("matchLabels[{key}]");
            let label = label.as_str().ok_or_else(|| wrong_type(&field, "a string"))?;
            let values = BTreeSet::from([label.to_owned()]);
            let requirement = Requirement::new(key.clone(), Operator::In, values);
            requirements.push(requirement.map_err(|why| Problem::invalid(field, label, &why))?);
        }
        let expressions = match selector.get("matchExpressions") {
            None | Some(Value::Null) => &[],
            Some(Value::Array(expressions)) => expressions.as_slice(),
            Some(_) => return Err(wrong_type("matchExpressions", "a list")),
        };
        for (index, expression) in expressions.iter().enumerate() {
            let field = format!("matchExpressions[{index}]");
            let requirement = expression_requirement(expression, &field)?;
            if let Operator::Gt | Operator::Lt = requirement.operator {
                let operator = &expression["operator"];
                return Err(Problem::invalid(
                    format!("{field}.operator"),
                    operator,
                    "only node selectors compare numbers",
                ));
            }
            requirements.push(requirement);
        }
        Ok(Some(Selector { requirements }))
    }

    /// From plain equalities (`Service.spec.selector`, `nodeSelector`).
    pub fn from_labels(labels: &BTreeMap<String, String>) -> Selector {
        let requirement = |(key, value): (&String, &String)| Requirement {
            key: key.clone(),
            operator: Operator::In,
            values: BTreeSet::from([value.clone()]),
        };
        Selector { requirements: labels.iter().map(requirement).collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|r| r.matches(labels.get(&r.key).map(String::as_str)))
    }

    /// Matches labels kept in any form; `label` looks one up.
    pub fn matches_by<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|r| r.matches(label(&r.key)))
    }

    /// Matches an object's `metadata.labels`.
    pub fn matches_object(&self, object: &Value) -> bool {
        let labels = object.get("metadata").and_then(|m| m.get("labels"));
        self.requirements.iter().all(|r| r.matches(labels.and_then(|l| l.get(&r.key)).and_then(Value::as_str)))
    }
}

/// A `metav1.LabelSelectorRequirement` (or a `NodeSelectorRequirement`, which also has `Gt` and `Lt`) at `field`.
pub fn expression_requirement(expression: &Value, field: &str) -> Result<Requirement, Problem> {
    let text = |name: &str| expression.get(name).and_then(Value::as_str).unwrap_or_default();
    let operator = match text("operator") {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::Gt,
        "Lt" => Operator::Lt,
        other => return Err(Problem::invalid(format!("{field}.operator"), other, "not a valid selector operator")),
    };
    let mut values = BTreeSet::new();
    let wrong = || Problem::new(format!("{field}.values"), Reason::TypeInvalid, "must be a list of strings");
    let list = match expression.get("values") {
        None | Some(Value::Null) => &[],
        Some(list) => list.as_array().ok_or_else(wrong)?.as_slice(),
    };
    for value in list {
        values.insert(value.as_str().ok_or_else(wrong)?.to_owned());
    }
    let key = text("key").to_owned();
    Requirement::new(key, operator, values).map_err(|why| Problem::new(field, Reason::Invalid, why))
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let only = self.values.first().filter(|_| self.values.len() == 1);
        let all = || self.values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        match (self.operator, only) {
            (Operator::Exists, _) => write!(f, "{key}"),
            (Operator::DoesNotExist, _) => write!(f, "!{key}"),
            (Operator::In, Some(value)) => write!(f, "{key}={value}"),
            (Operator::In, None) => write!(f, "{key} in ({})", all()),
            (Operator::NotIn, Some(value)) => write!(f, "{key}!={value}"),
            (Operator::NotIn, None) => write!(f, "{key} notin ({})", all()),
            (Operator::Gt, _) => write!(f, "{key}>{}", all()),
            (Operator::Lt, _) => write!(f, "{key}<{}", all()),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            write!(f, "{}{requirement}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
