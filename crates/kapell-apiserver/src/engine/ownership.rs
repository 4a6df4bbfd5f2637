//! `metadata.managedFields` of what is written: whose a change is, and what that makes of the owners of fields.

use http::header;
use jiff::Timestamp;
use kapell_api::kind::Subresource;
use kapell_api::managed::{self, Owner, Owners};
use kapell_api::problem::{Problem, Reason};
use kapell_api::status::{About, Status};
use kapell_api::time;
use serde_json::{Map, Value};

use super::{Call, metadata};
use crate::resources::Resource;

/// Longest name of a field manager, as upstream.
const LONGEST_NAME: usize = 128;
/// The server itself, in what it creates and keeps for its own use.
pub(crate) const SERVER: &str = "kapell";

/// Whose a write is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ownership<'a> {
    /// Who wrote owns what changed; `subresource` is empty for the object itself.
    Changed { by: &'a str, subresource: &'static str },
    /// Server-side apply has decided already; the object carries the result.
    Applied,
    /// The server's own doing: it belongs to nobody.
    Nobody,
}

/// The name under which a request owns fields: its `fieldManager`, or the program that its `User-Agent` names, or its user.
pub(super) fn manager(call: &Call) -> Result<String, Status> {
    if let Some(name) = call.query.get("fieldManager") {
        check_name(name)?;
        return Ok(name.to_owned());
    }
    let agent = call.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let program = agent.split('/').next().unwrap_or_default();
    let name = if program.is_empty() { call.identity.user.as_str() } else { program };
    Ok(name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect())
}

/// As `manager`, for a request that has to say it.
pub(super) fn applier(call: &Call) -> Result<String, Status> {
    match call.query.get("fieldManager") {
        Some(_) => manager(call),
        None => Err(wrong_option(Problem::required("fieldManager", "is required for apply patch"))),
    }
}

fn check_name(name: &str) -> Result<(), Status> {
    let detail = if name.len() > LONGEST_NAME {
        format!("may not be more than {LONGEST_NAME} bytes")
    } else if name.chars().any(char::is_control) {
        "should only contain printable characters".to_owned()
    } else {
        return Ok(());
    };
    Err(wrong_option(Problem::new("fieldManager", Reason::Invalid, format!("Invalid value: {name:?}: {detail}"))))
}

/// 422 for a query parameter of a patch.
pub(super) fn wrong_option(problem: Problem) -> Status {
    Status::invalid(About { group: "meta.k8s.io", plural: "", kind: "PatchOptions" }, "", &[problem])
}

impl Ownership<'_> {
    /// Notes the owners of a new object.
    pub(super) fn of_new(self, resource: &Resource, object: &mut Value, given: Option<Value>) {
        let owners = match self {
            Ownership::Applied => given,
            Ownership::Nobody => None,
            Ownership::Changed { by, subresource } => {
                let schema = resource.schema();
                let mut owners = Owners::default();
                let owner = Owner::updater(by, resource.kind.api_version(), subresource);
                let nothing = managed::empty(schema);
                managed::update(schema, &nothing, object, &mut owners, owner, &now(), ignored(resource, subresource));
                Some(owners.to_managed_fields())
            }
        };
        set(object, owners);
    }

    /// Notes the owners of a changed object, of which everything else is final; `given` are those that the request brought.
    ///
    /// Times alone are no change: then the old notes stay as they are, and nothing has to be written.
    pub(super) fn of_changed(self, resource: &Resource, new: &mut Value, old: &Value, given: Option<Value>) {
        let before = old["metadata"].get("managedFields");
        let owners = match self {
            Ownership::Nobody => before.cloned(),
            Ownership::Applied => {
                let applied = given.as_ref().unwrap_or(&Value::Null);
                let same = before == given.as_ref() || (same_otherwise(new, old) && same_owners(before, applied));
                if same { before.cloned() } else { given }
            }
            Ownership::Changed { by, subresource } => {
                // Notes are changed through the object itself only.
                let given = given.filter(|given| subresource.is_empty() && Some(given) != before);
                changed(resource, new, old, given, by, subresource)
            }
        };
        set(new, owners.filter(|owners| owners.as_array().is_some_and(|list| !list.is_empty())));
    }
}

fn changed(
    resource: &Resource,
    new: &Value,
    old: &Value,
    given: Option<Value>,
    by: &str,
    subresource: &str,
) -> Option<Value> {
    let schema = resource.schema();
    let before = old["metadata"].get("managedFields");
    if given.is_none() && (before.is_none() || same_otherwise(new, old)) {
        // Of an object that nobody took notes of, notes of one change would say little: apply begins with all of it.
        return before.cloned();
    }
    if given.as_ref().is_some_and(asks_for_reset) {
        return None;
    }
    // Clients that do not know the notes leave them out or send what they cannot mean.
    let mut owners = given
        .and_then(|given| Owners::from_managed_fields(&given).ok())
        .filter(|owners| !owners.is_empty())
        .or_else(|| Owners::from_managed_fields(before?).ok())
        .unwrap_or_default();
    if owners.is_empty() {
        return before.cloned();
    }
    let owner = Owner::updater(by, resource.kind.api_version(), subresource);
    managed::update(schema, old, new, &mut owners, owner, &now(), ignored(resource, subresource));
    let after = owners.to_managed_fields();
    let only_times = same_otherwise(new, old) && same_owners(before, &after);
    if only_times { before.cloned() } else { Some(after) }
}

/// `[{}]` clears the notes; an empty list does not.
fn asks_for_reset(given: &Value) -> bool {
    given.as_array().is_some_and(|list| matches!(list.as_slice(), [Value::Object(only)] if only.is_empty()))
}

fn same_owners(before: Option<&Value>, after: &Value) -> bool {
    let read = |value: &Value| Owners::from_managed_fields(value).ok();
    match (read(before.unwrap_or(&Value::Null)), read(after)) {
        (Some(before), Some(after)) => before.same_but_times(&after),
        _ => false,
    }
}

/// Whether two objects are equal but for their notes and revisions.
fn same_otherwise(new: &Value, old: &Value) -> bool {
    let fields = |map: &Map<String, Value>, names: &[&str]| map.keys().filter(|k| !names.contains(&k.as_str())).count();
    let equal = |a: &Value, b: &Value, except: &[&str]| match (a.as_object(), b.as_object()) {
        (Some(a), Some(b)) => {
            fields(a, except) == fields(b, except)
                && a.iter().filter(|(name, _)| !except.contains(&name.as_str())).all(|(name, v)| b.get(name) == Some(v))
        }
        _ => a == b,
    };
    equal(new, old, &["metadata"]) && equal(&new["metadata"], &old["metadata"], &["managedFields", "resourceVersion"])
}

/// What the main endpoint does not touch is not its author's, even where the server begins it.
fn ignored(resource: &Resource, subresource: &str) -> &'static [&'static str] {
    let separate = resource.kind.subresources.contains(&Subresource::Status);
    if separate && subresource.is_empty() { &["status"] } else { &[] }
}

pub(super) fn now() -> String {
    time::format_time(Timestamp::now())
}

fn set(object: &mut Value, owners: Option<Value>) {
    let metadata = metadata::of(object);
    match owners {
        Some(owners) => drop(metadata.insert("managedFields".to_owned(), owners)),
        None => drop(metadata.shift_remove("managedFields")),
    }
}
