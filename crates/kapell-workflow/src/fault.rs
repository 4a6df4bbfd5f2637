//! Errors of workflows: problem details (RFC 7807) with the DSL's standard types.

use serde::{Deserialize, Serialize};

use crate::expression::Datum;

/// What a task or a run faults with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    #[serde(rename = "type")]
    pub type_: String,
    pub status: u16,
    /// JSON pointer to the task that raised it, e.g. `/do/0/reserve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The standard types with their default status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standard {
    Configuration,
    Validation,
    Expression,
    Authentication,
    Authorization,
    Timeout,
    Communication,
    Runtime,
}

const TYPES: &str = "https://serverlessworkflow.io/spec/1.0.0/errors/";

/// Where the specification and its conformance kit have put the standard types over time.
const KNOWN_TYPES: [&str; 4] = [
    TYPES,
    "https://serverlessworkflow.io/dsl/errors/types/",
    "https://open-workflow-specification.org/spec/1.0.0/errors/",
    "https://open-workflow-specification.org/dsl/errors/types/",
];

impl Standard {
    fn parts(self) -> (&'static str, u16, &'static str) {
        match self {
            Standard::Configuration => ("configuration", 400, "Configuration error"),
            Standard::Validation => ("validation", 400, "Validation error"),
            Standard::Expression => ("expression", 400, "Expression error"),
            Standard::Authentication => ("authentication", 401, "Authentication error"),
            Standard::Authorization => ("authorization", 403, "Authorization error"),
            Standard::Timeout => ("timeout", 408, "Timeout"),
            Standard::Communication => ("communication", 500, "Communication error"),
            Standard::Runtime => ("runtime", 500, "Runtime error"),
        }
    }
}

impl Fault {
    pub(crate) fn new(kind: Standard, instance: &str, detail: impl Into<String>) -> Self {
        let (name, status, title) = kind.parts();
        Self {
            type_: format!("{TYPES}{name}"),
            status,
            instance: Some(instance.to_owned()),
            title: Some(title.to_owned()),
            detail: Some(detail.into()),
        }
    }

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The error as expressions see it.
    pub(crate) fn to_datum(&self) -> Datum {
        let text = |text: &Option<String>| text.as_ref().map(|text| Datum::string(text.as_str()));
        let members = [
            ("type", Some(Datum::string(self.type_.as_str()))),
            ("status", Some(Datum::Int(i64::from(self.status)))),
            ("instance", text(&self.instance)),
            ("title", text(&self.title)),
            ("detail", text(&self.detail)),
        ];
        // Six short texts cannot exceed the bounds on data.
        Datum::object(members.into_iter().filter_map(|(key, value)| Some((key, value?)))).unwrap_or_default()
    }
}

/// Whether two types are the same; a standard type is known by its last segment under any of its addresses.
pub(crate) fn same_type(a: &str, b: &str) -> bool {
    a == b || matches!((standard_name(a), standard_name(b)), (Some(a), Some(b)) if a == b)
}

fn standard_name(type_: &str) -> Option<&str> {
    KNOWN_TYPES.iter().find_map(|prefix| type_.strip_prefix(prefix))
}
