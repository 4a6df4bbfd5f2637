//! `metav1.Status`: the answer to everything that went wrong. (Bodies follow.)
use crate::kind::Kind;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};

/// What a status talks about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    pub group: &'a str,
    pub plural: &'a str,
    pub kind: &'a str,
}
impl<'a> From<&'a Kind> for About<'a> {
    fn from(k: &'a Kind) -> Self {
        About { group: k.group, plural: k.plural, kind: k.kind }
    }
}

/// `metav1.Status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub kind: String,
    pub api_version: String,
    #[serde(default)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
    pub status: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    pub code: u16,
}

/// `metav1.StatusDetails`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Details {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

/// `metav1.StatusCause`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}
fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Status {
    /// `status: Success` for a deletion that is complete.
    pub fn deleted<'a>(_about: impl Into<About<'a>>, _name: &str, _uid: &str) -> Status {
        unimplemented!()
    }
    pub fn not_found<'a>(_about: impl Into<About<'a>>, _name: &str) -> Status {
        unimplemented!()
    }
    /// A path or resource type that does not exist.
    pub fn no_such_resource() -> Status {
        unimplemented!()
    }
    pub fn already_exists<'a>(_about: impl Into<About<'a>>, _name: &str) -> Status {
        unimplemented!()
    }
    pub fn conflict<'a>(_about: impl Into<About<'a>>, _name: &str, _why: &str) -> Status {
        unimplemented!()
    }
    /// 409: the resourceVersion in the request is not the current one.
    pub fn modified<'a>(_about: impl Into<About<'a>>, _name: &str) -> Status {
        unimplemented!()
    }
    pub fn invalid<'a>(_about: impl Into<About<'a>>, _name: &str, _problems: &[Problem]) -> Status {
        unimplemented!()
    }
    pub fn bad_request(_message: impl Into<String>) -> Status {
        unimplemented!()
    }
    pub fn unauthorized(_message: impl Into<String>) -> Status {
        unimplemented!()
    }
    pub fn forbidden<'a>(_about: impl Into<About<'a>>, _name: &str, _why: &str) -> Status {
        unimplemented!()
    }
    /// 410: the resource version is compacted (reason `Expired`).
    pub fn expired(_message: impl Into<String>) -> Status {
        unimplemented!()
    }
    pub fn method_not_allowed<'a>(_about: impl Into<About<'a>>, _verb: &str) -> Status {
        unimplemented!()
    }
    pub fn not_acceptable(_accepted: &[&str]) -> Status {
        unimplemented!()
    }
    pub fn unsupported_media_type(_accepted: &[&str]) -> Status {
        unimplemented!()
    }
    pub fn too_large(_message: impl Into<String>) -> Status {
        unimplemented!()
    }
    pub fn timeout(_message: impl Into<String>, _retry_after_seconds: u32) -> Status {
        unimplemented!()
    }
    /// 504 for a resource version that has not happened yet.
    pub fn resource_version_too_large(_asked: u64, _current: u64) -> Status {
        unimplemented!()
    }
    pub fn internal(_message: impl Into<String>) -> Status {
        unimplemented!()
    }
    pub fn too_many_requests(_message: impl Into<String>, _retry_after_seconds: u32) -> Status {
        unimplemented!()
    }
    pub fn service_unavailable(_message: impl Into<String>) -> Status {
        unimplemented!()
    }
    /// 422 for a patch that cannot be applied.
    pub fn unprocessable<'a>(_about: impl Into<About<'a>>, _name: &str, _message: &str) -> Status {
        unimplemented!()
    }
}
