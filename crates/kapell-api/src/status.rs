//! `metav1.Status`: the answer to every request that does not return an object.
//!
//! Clients decide by `reason` and `code` and show `message`, so each constructor fixes all three for one situation.
//! Building only: which situation it is, is for the API server to say.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::kind::Kind;
use crate::problem::Problem;

/// What a status talks about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    pub group: &'a str,
    pub plural: &'a str,
    pub kind: &'a str,
}

impl<'a> From<&'a Kind> for About<'a> {
    fn from(kind: &'a Kind) -> Self {
        About { group: kind.group, plural: kind.plural, kind: kind.kind }
    }
}

impl About<'_> {
    /// `pods` or `deployments.apps`.
    fn resource(&self) -> String {
        qualified(self.plural, self.group)
    }

    fn details(&self, name: &str) -> Details {
        Details {
            name: name.to_owned(),
            group: self.group.to_owned(),
            kind: self.plural.to_owned(),
            ..Details::default()
        }
    }
}

fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// `metav1.Status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub kind: String,
    pub api_version: String,
    #[serde(default)]
    pub metadata: ListMeta,
    /// `Success` or `Failure`.
    pub status: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    /// The HTTP status code.
    pub code: u16,
}

/// `metav1.ListMeta` of a Status: always `{}`, and always there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListMeta {}

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
    /// A failure; `reason` is one of `metav1.StatusReason`.
    pub fn failure(code: u16, reason: &str, message: impl Into<String>) -> Status {
        Status {
            kind: "Status".to_owned(),
            api_version: "v1".to_owned(),
            metadata: ListMeta {},
            status: "Failure".to_owned(),
            message: message.into(),
            reason: reason.to_owned(),
            details: None,
            code,
        }
    }

    /// The same with `details`.
    pub fn with_details(mut self, details: Details) -> Status {
        self.details = Some(details);
        self
    }

    /// 200: a deletion is complete.
    pub fn deleted<'a>(about: impl Into<About<'a>>, name: &str, uid: &str) -> Status {
        let details = Details { uid: uid.to_owned(), ..about.into().details(name) };
        Status { status: "Success".to_owned(), ..Status::failure(200, "", "") }.with_details(details)
    }

    /// 404 for one object.
    pub fn not_found<'a>(about: impl Into<About<'a>>, name: &str) -> Status {
        let about = about.into();
        Status::failure(404, "NotFound", format!("{} \"{name}\" not found", about.resource()))
            .with_details(about.details(name))
    }

    /// 404 for a path or a resource type that does not exist.
    pub fn no_such_resource() -> Status {
        Status::failure(404, "NotFound", "the server could not find the requested resource")
            .with_details(Details::default())
    }

    /// 409 on create.
    pub fn already_exists<'a>(about: impl Into<About<'a>>, name: &str) -> Status {
        let about = about.into();
        Status::failure(409, "AlreadyExists", format!("{} \"{name}\" already exists", about.resource()))
            .with_details(about.details(name))
    }

    /// 409: the request collides with the object's present state; `why` is a clause.
    pub fn conflict<'a>(about: impl Into<About<'a>>, name: &str, why: &str) -> Status {
        let about = about.into();
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", about.resource());
        Status::failure(409, "Conflict", message).with_details(about.details(name))
    }

    /// 409: the `resourceVersion` in the request is not the current one.
    pub fn modified<'a>(about: impl Into<About<'a>>, name: &str) -> Status {
        Status::conflict(
            about,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 422: the object is well formed, but may not be as it is. One cause per problem.
    pub fn invalid<'a>(about: impl Into<About<'a>>, name: &str, problems: &[Problem]) -> Status {
        let about = about.into();
        let list = problems.iter().map(Problem::to_string).collect::<Vec<_>>().join(", ");
        let list = if problems.len() > 1 { format!("[{list}]") } else { list };
        let message = format!("{} \"{name}\" is invalid: {list}", qualified(about.kind, about.group));
        let causes = problems.iter().map(Cause::from).collect();
        let details = Details { kind: about.kind.to_owned(), causes, ..about.details(name) };
        Status::failure(422, "Invalid", message).with_details(details)
    }

    /// 422: a patch that does not fit the object. Clients know it by the same reason as other invalid input.
    pub fn unprocessable<'a>(about: impl Into<About<'a>>, name: &str, message: &str) -> Status {
        let about = about.into();
        let cause = Cause { message: message.to_owned(), ..Cause::default() };
        let details = Details { causes: vec![cause], ..about.details(name) };
        let message = format!("the patch of {} \"{name}\" cannot be applied: {message}", about.resource());
        Status::failure(422, "Invalid", message).with_details(details)
    }

    /// 400: what was sent cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::failure(400, "BadRequest", message)
    }

    /// 401: nobody knows who is asking.
    pub fn unauthorized(message: impl Into<String>) -> Status {
        Status::failure(401, "Unauthorized", message)
    }

    /// 403; an empty `name` means the whole collection.
    pub fn forbidden<'a>(about: impl Into<About<'a>>, name: &str, why: &str) -> Status {
        let about = about.into();
        let what = if name.is_empty() { about.resource() } else { format!("{} \"{name}\"", about.resource()) };
        Status::failure(403, "Forbidden", format!("{what} is forbidden: {why}")).with_details(about.details(name))
    }

    /// 410: the resource version (or the continue token made from it) is compacted.
    pub fn expired(message: impl Into<String>) -> Status {
        Status::failure(410, "Expired", message)
    }

    /// 410: the thing has moved away for good.
    pub fn gone(message: impl Into<String>) -> Status {
        Status::failure(410, "Gone", message)
    }

    /// 405.
    pub fn method_not_allowed<'a>(about: impl Into<About<'a>>, verb: &str) -> Status {
        let about = about.into();
        let message = format!("{verb} is not supported on resources of kind \"{}\"", about.resource());
        Status::failure(405, "MethodNotAllowed", message).with_details(about.details(""))
    }

    /// 406; `accepted` are the media types that could be sent.
    pub fn not_acceptable(accepted: &[&str]) -> Status {
        let message = format!("only the following media types are accepted: {}", accepted.join(", "));
        Status::failure(406, "NotAcceptable", message)
    }

    /// 415; `accepted` are the media types that could be read.
    pub fn unsupported_media_type(accepted: &[&str]) -> Status {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Status::failure(415, "UnsupportedMediaType", message)
    }

    /// 413.
    pub fn too_large(message: impl Into<String>) -> Status {
        Status::failure(413, "RequestEntityTooLarge", format!("Request entity is too large: {}", message.into()))
    }

    /// 504: it may work later.
    pub fn timeout(message: impl Into<String>, retry_after_seconds: u32) -> Status {
        Status::failure(504, "Timeout", format!("Timeout: {}", message.into()))
            .with_details(Details { retry_after_seconds, ..Details::default() })
    }

    /// 504 for a resource version that has not happened yet. Reflectors know it by its cause and list anew.
    pub fn resource_version_too_large(asked: u64, current: u64) -> Status {
        let mut status = Status::timeout(format!("Too large resource version: {asked}, current: {current}"), 1);
        if let Some(details) = &mut status.details {
            details.causes.push(Cause {
                reason: "ResourceVersionTooLarge".to_owned(),
                message: "Too large resource version".to_owned(),
                field: String::new(),
            });
        }
        status
    }

    /// 500.
    pub fn internal(message: impl Into<String>) -> Status {
        let message = message.into();
        let cause = Cause { message: message.clone(), ..Cause::default() };
        Status::failure(500, "InternalError", format!("Internal error occurred: {message}"))
            .with_details(Details { causes: vec![cause], ..Details::default() })
    }

    /// 429.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Status {
        Status::failure(429, "TooManyRequests", message)
            .with_details(Details { retry_after_seconds, ..Details::default() })
    }

    /// 503.
    pub fn service_unavailable(message: impl Into<String>) -> Status {
        Status::failure(503, "ServiceUnavailable", message)
    }
}

impl From<&Problem> for Cause {
    fn from(problem: &Problem) -> Self {
        Cause {
            reason: problem.reason.as_str().to_owned(),
            message: problem.message.clone(),
            field: problem.field.clone(),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.message.is_empty() { &self.status } else { &self.message })
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests;
