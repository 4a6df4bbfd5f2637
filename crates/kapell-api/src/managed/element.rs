//! One step of a path through an object, in the four forms that FieldsV1 knows.

use std::fmt;

use serde_json::Value;

/// A step: into a field, or to an item of a list.
///
/// The order is that in which upstream writes the elements of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// `f:replicas`
    Field(String),
    /// `k:{"port":80,"protocol":"TCP"}`: an item of a keyed list; sorted by the names of the keys.
    Key(Vec<(String, Scalar)>),
    /// `v:"example.com/finalizer"`: an item of a set.
    Value(Scalar),
    /// `i:0`: an item by its position. Read, never produced for values that have a key.
    Index(i64),
}

/// A value that identifies a list item. Ordered and comparable, which JSON values are not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scalar {
    Integer(i64),
    /// A number that is no 64-bit integer, as text.
    Number(String),
    String(String),
    Bool(bool),
    /// Anything else, as compact JSON; only wrong values of sets are like this.
    Other(String),
}

impl From<&Value> for Scalar {
    fn from(value: &Value) -> Self {
        match value {
            Value::Number(number) => match number.as_i64() {
                Some(integer) => Scalar::Integer(integer),
                None => Scalar::Number(number.to_string()),
            },
            Value::String(text) => Scalar::String(text.clone()),
            Value::Bool(bool) => Scalar::Bool(*bool),
            other => Scalar::Other(other.to_string()),
        }
    }
}

/// As JSON.
impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Integer(integer) => write!(f, "{integer}"),
            Scalar::String(text) => f.write_str(&quoted(text)),
            Scalar::Bool(bool) => write!(f, "{bool}"),
            Scalar::Number(text) | Scalar::Other(text) => f.write_str(text),
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string can always be written as JSON")
}

impl Element {
    pub fn field(name: impl Into<String>) -> Self {
        Element::Field(name.into())
    }

    /// An item of a keyed list, by its keys in any order.
    pub fn key(mut keys: Vec<(String, Scalar)>) -> Self {
        keys.sort();
        Element::Key(keys)
    }

    /// The form in FieldsV1.
    pub fn to_text(&self) -> String {
        match self {
            Element::Field(name) => format!("f:{name}"),
            Element::Key(keys) => {
                let pairs: Vec<String> = keys.iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
                format!("k:{{{}}}", pairs.join(","))
            }
            Element::Value(value) => format!("v:{value}"),
            Element::Index(index) => format!("i:{index}"),
        }
    }

    /// Reads the form in FieldsV1; the error is a sentence.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an element of a field path");
        let json = |rest: &str| serde_json::from_str::<Value>(rest).map_err(|_| wrong());
        match text.split_once(':').ok_or_else(wrong)? {
            ("f", name) => Ok(Element::field(name)),
            ("k", keys) => match json(keys)? {
                Value::Object(keys) => {
                    Ok(Element::key(keys.iter().map(|(name, value)| (name.clone(), Scalar::from(value))).collect()))
                }
                _ => Err(wrong()),
            },
            ("v", value) => Ok(Element::Value(Scalar::from(&json(value)?))),
            ("i", index) => index.parse().map(Element::Index).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

/// As conflicts name it: `.replicas`, `[name="web"]`, `[="v"]`, `[0]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Field(name) => write!(f, ".{name}"),
            Element::Key(keys) => {
                let pairs: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "[{}]", pairs.join(","))
            }
            Element::Value(value) => write!(f, "[={value}]"),
            Element::Index(index) => write!(f, "[{index}]"),
        }
    }
}
