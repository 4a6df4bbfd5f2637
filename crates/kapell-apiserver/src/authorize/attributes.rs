//! What a request is about, in the words that rules speak of: a verb on a resource, or a verb on a path.

use http::Method;
use kapell_api::status::{About, Status};

use crate::path::{Query, ResourcePath};

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action<'a> {
    Resource(OnResource<'a>),
    /// A URL that names no resource, with the method in lower case.
    Path {
        verb: &'a str,
        path: &'a str,
    },
}

/// A verb on a resource; what is empty is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OnResource<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

impl<'a> OnResource<'a> {
    /// What a request does. A list or watch of one name by its field selector is about that name.
    pub(crate) fn of_request(method: &Method, path: &'a ResourcePath, query: &'a Query) -> Self {
        let verb = match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if path.name.is_some() => "delete",
            Method::DELETE => "deletecollection",
            Method::GET | Method::HEAD if query.flag("watch") && path.subresource.is_none() => "watch",
            Method::GET | Method::HEAD if path.name.is_some() => "get",
            Method::GET | Method::HEAD => "list",
            // As upstream: no rule names it, but one of all verbs covers it.
            _ => "",
        };
        let selected = || query.get("fieldSelector").and_then(|selector| selector.strip_prefix("metadata.name="));
        // The name of a Namespace is its scope too: a role in it may allow reading it.
        let own = (path.group.is_empty() && path.plural == "namespaces").then_some(path.name.as_deref()).flatten();
        Self {
            verb,
            group: &path.group,
            version: &path.version,
            resource: &path.plural,
            subresource: path.subresource.as_deref().unwrap_or_default(),
            namespace: path.namespace.as_deref().or(own).unwrap_or_default(),
            name: path
                .name
                .as_deref()
                .or_else(|| selected().filter(|name| !name.contains([',', '=', '!'])))
                .unwrap_or_default(),
        }
    }
}

impl Action<'_> {
    /// 403 in upstream's words; `reason` may be empty.
    pub(crate) fn forbidden(&self, user: &str, reason: &str) -> Status {
        let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        match self {
            Action::Resource(on) => {
                let about = About { group: on.group, plural: on.resource, kind: "" };
                let resource = match on.subresource {
                    "" => on.resource.to_owned(),
                    subresource => format!("{}/{subresource}", on.resource),
                };
                let place = match on.namespace {
                    "" => "at the cluster scope".to_owned(),
                    namespace => format!("in the namespace {namespace:?}"),
                };
                let why = format!(
                    "User {user:?} cannot {} resource {resource:?} in API group {:?} {place}{because}",
                    on.verb, on.group
                );
                Status::forbidden(about, on.name, &why)
            }
            Action::Path { verb, path } => {
                let message = format!("forbidden: User {user:?} cannot {verb} path {path:?}{because}");
                Status::failure(403, "Forbidden", message).with_details(Default::default())
            }
        }
    }
}
