//! What is wrong with a value, and where.

use std::fmt;

/// Why a field was not accepted; the names are those of Kubernetes' `StatusCause.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Required,
    Invalid,
    NotSupported,
    Duplicate,
    Forbidden,
    TypeInvalid,
    TooLong,
    TooMany,
    NotFound,
}

impl Reason {
    /// The wire form, as in `metav1.CauseType`.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Required => "FieldValueRequired",
            Reason::Invalid => "FieldValueInvalid",
            Reason::NotSupported => "FieldValueNotSupported",
            Reason::Duplicate => "FieldValueDuplicate",
            Reason::Forbidden => "FieldValueForbidden",
            Reason::TypeInvalid => "FieldValueTypeInvalid",
            Reason::TooLong => "FieldValueTooLong",
            Reason::TooMany => "FieldValueTooMany",
            Reason::NotFound => "FieldValueNotFound",
        }
    }
}

/// One complaint about one field. `field` is a Kubernetes field path: `spec.containers[0].name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub field: String,
    pub reason: Reason,
    /// A sentence without the path, e.g. `Required value` or `Invalid value: "x": must be …`.
    pub message: String,
}

impl Problem {
    pub fn new(field: impl Into<String>, reason: Reason, message: impl Into<String>) -> Self {
        Self { field: field.into(), reason, message: message.into() }
    }

    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        let message = if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        Self::new(field, Reason::Required, message)
    }

    pub fn invalid(field: impl Into<String>, value: impl fmt::Debug, detail: &str) -> Self {
        Self::new(field, Reason::Invalid, format!("Invalid value: {value:?}: {detail}"))
    }

    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::new(field, Reason::Forbidden, format!("Forbidden: {detail}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}
