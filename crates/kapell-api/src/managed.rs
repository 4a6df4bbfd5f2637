//! Who owns which fields of an object, and server-side apply on top of that.
//!
//! [`apply`] lays a configuration over an object and gives its fields to the applier; what the applier said before and
//! says no longer goes, unless somebody else owns it too; what others own and the configuration changes is a conflict.
//! [`update`] notes for every other write that its author owns what it changed. Both are pure functions of the object,
//! its owners and the time, over the merge facts of a [`Schema`]. Defaults, validation, and whether anything is written
//! at all are for the caller; so is leaving out of a configuration what an endpoint does not touch.
//!
//! After <https://kubernetes.io/docs/reference/using-api/server-side-apply/> and the behaviour of upstream's
//! structured-merge-diff, whose sets (FieldsV1) and messages are reproduced exactly.

use serde_json::{Value, json};

use crate::schema::Schema;

mod compare;
mod element;
mod entries;
mod merge;
mod set;
mod typed;

pub use self::element::{Element, Scalar};
pub use self::entries::{Operation, Owned, Owner, Owners};
pub use self::set::Set;
use self::typed::Place;

/// More owners by update than this are united, the oldest first, as upstream does: objects do not grow without bound.
const MOST_UPDATERS: usize = 10;
/// The owner of fields that others changed too long ago.
const ANCIENT: &str = "ancient-changes";
/// The owner of what an object said before it was first applied, where nobody took notes until then.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// Where client-side apply keeps the configuration that it applied.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager whose conflicts with its own client-side past are none.
const KUBECTL: &str = "kubectl";

/// Fields that belong to nobody, as upstream: they identify the object or are the server's.
const NOBODYS: [&[&str]; 11] = [
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// Who applies.
#[derive(Clone, Copy, Debug)]
pub struct Applier<'a> {
    /// `fieldManager`.
    pub name: &'a str,
    pub api_version: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// Take what others own.
    pub force: bool,
}

/// Why a configuration is not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// 400 BadRequest.
    #[error("{0}")]
    Malformed(String),
    /// 409 Conflict, one cause each. Never empty.
    #[error("{}", conflicts_message(.0))]
    Conflicts(Vec<Conflict>),
}

/// A field that somebody else owns and that the configuration would change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    pub owner: Owner,
    /// `.spec.replicas`
    pub path: String,
}

impl Conflict {
    /// The owner as upstream names it in causes: `"kubectl" with subresource "status" using apps/v1`.
    pub fn with(&self) -> String {
        let mut text = format!("{:?}", self.owner.name);
        if !self.owner.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.owner.subresource));
        }
        if self.owner.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.owner.api_version));
        }
        text
    }
}

fn conflicts_message(conflicts: &[Conflict]) -> String {
    if let [only] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {}: {}", only.with(), only.path);
    }
    let mut lines = Vec::with_capacity(conflicts.len() + 1);
    for (index, conflict) in conflicts.iter().enumerate() {
        if index == 0 || conflicts[index - 1].owner != conflict.owner {
            lines.push(format!("conflicts with {}:", conflict.with()));
        }
        lines.push(format!("- {}", conflict.path));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}

/// What an object of this schema looks like before anybody has said anything: what a new one is compared with.
pub fn empty(schema: &Schema) -> Value {
    typed::empty(schema, schema.root())
}

/// The set of everything that an object says, what belongs to nobody apart.
pub fn set_of(schema: &Schema, object: &Value) -> Set {
    typed::set_of(Place::root(schema), object).difference(&nobodys())
}

fn nobodys() -> Set {
    NOBODYS.iter().map(|path| path.iter().map(|step| Element::field(*step)).collect()).collect()
}

/// Notes that `owner` made `new` of `old` at `now`: it owns what is new, and nobody owns what is gone. False when nothing
/// has changed.
///
/// `ignored` are top-level fields that this write does not touch, whatever `new` says (the server's own doing).
pub fn update(
    schema: &Schema,
    old: &Value,
    new: &Value,
    owners: &mut Owners,
    owner: Owner,
    now: &str,
    ignored: &[&str],
) -> bool {
    let mut compared = compare::compare(Place::root(schema), old, new);
    for field in ignored.iter().copied() {
        compared.forget(&Element::field(field));
    }
    for path in NOBODYS {
        if let ["metadata", field] = path {
            compared.forget_metadata(field);
        }
    }
    if compared.is_empty() {
        return false;
    }
    let touched = compared.touched();
    take_from_all(owners, &touched);
    take_from_all(owners, &compared.removed);
    let set = touched.difference(&nobodys());
    if !set.is_empty() {
        let api_version = owner.api_version.clone();
        let owned = owners.0.entry(owner).or_insert_with(|| Owned { set: Set::default(), api_version, time: None });
        owned.set.union(&set);
        owned.time = Some(now.to_owned());
    }
    unite_oldest(owners);
    true
}

fn take_from_all(owners: &mut Owners, set: &Set) {
    owners.0.retain(|_, owned| {
        owned.set.subtract(set);
        !owned.set.is_empty()
    });
}

/// Unites the updaters that were last heard of longest ago, version by version, until few enough are left.
fn unite_oldest(owners: &mut Owners) {
    let mut updaters: Vec<(i64, Owner)> = owners
        .iter()
        .filter(|(owner, _)| owner.operation == Operation::Update)
        .map(|(owner, owned)| (entries::seconds(owned), owner.clone()))
        .collect();
    let mut left = updaters.len();
    if left <= MOST_UPDATERS {
        return;
    }
    updaters.sort();
    let mut first_of_version: Vec<Owner> = Vec::new();
    for (_, owner) in updaters {
        if left <= MOST_UPDATERS {
            return;
        }
        let Some(first) = first_of_version.iter().find(|first| first.api_version == owner.api_version).cloned() else {
            first_of_version.push(owner);
            continue;
        };
        let bucket = Owner::updater(ANCIENT, owner.api_version.clone(), "");
        if !owners.0.contains_key(&bucket)
            && let Some(owned) = owners.0.remove(&first)
        {
            owners.0.insert(bucket.clone(), owned);
        }
        if owner != bucket
            && let Some(owned) = owners.0.remove(&owner)
            && let Some(united) = owners.0.get_mut(&bucket)
        {
            united.set.union(&owned.set);
            united.time = owned.time;
            left -= 1;
        }
    }
}

/// Applies `config` to `live` (an empty object, if there is none yet) at `now` and returns the object that results,
/// before defaulting; `owners` are then its owners. On an error `owners` are as they were.
pub fn apply(
    schema: &Schema,
    live: &Value,
    config: &Value,
    owners: &mut Owners,
    applier: Applier<'_>,
    now: &str,
) -> Result<Value, ApplyError> {
    if !config["metadata"]["managedFields"].is_null() {
        return Err(ApplyError::Malformed("metadata.managedFields must be nil".to_owned()));
    }
    let place = Place::root(schema);
    let mut next = owners.clone();
    if next.is_empty() && !live["metadata"]["uid"].is_null() {
        let before = Owner::updater(BEFORE_FIRST_APPLY, applier.api_version, applier.subresource);
        update(schema, &empty(schema), live, &mut next, before, now, &[]);
    }
    let owner = Owner::applier(applier.name, applier.subresource);
    let merged = merge::merge(place, live, config)?;
    let set = set_of(schema, config);
    let last = next.0.remove(&owner);
    let mut result = match &last {
        Some(last) if !last.set.is_subset(&set) => prune(place, merged, &last.set, &set, &next),
        _ => merged,
    };
    let compared = compare::compare(place, live, &result);
    let touched = compared.touched();
    if !applier.force {
        let mut conflicts = conflicts(&next, &touched);
        if applier.name == KUBECTL && !conflicts.is_empty() {
            let own = from_client_side_apply(schema, live);
            conflicts.iter_mut().for_each(|(_, set)| set.subtract(&own));
        }
        let conflicts: Vec<Conflict> = conflicts
            .into_iter()
            .flat_map(|(owner, set)| set.paths().into_iter().map(move |path| Conflict { owner: owner.clone(), path }))
            .collect();
        if !conflicts.is_empty() {
            return Err(ApplyError::Conflicts(conflicts));
        }
    }
    take_from_all(&mut next, &touched);
    take_from_all(&mut next, &compared.removed);
    if !set.is_empty() {
        let kept =
            last.filter(|last| compared.is_empty() && last.set == set && last.api_version == applier.api_version);
        let fresh = || Owned { set, api_version: applier.api_version.to_owned(), time: Some(now.to_owned()) };
        next.0.insert(owner, kept.unwrap_or_else(fresh));
    }
    if applier.name == KUBECTL && applier.subresource.is_empty() {
        follow_last_applied(&mut result, config);
    }
    *owners = next;
    Ok(result)
}

/// What others own and a change touches.
fn conflicts(owners: &Owners, touched: &Set) -> Vec<(Owner, Set)> {
    let overlap = owners.iter().map(|(owner, owned)| (owner.clone(), owned.set.intersection(touched)));
    let mut conflicts: Vec<_> = overlap.filter(|(_, set)| !set.is_empty()).collect();
    conflicts.sort_by(|(a, _), (b, _)| (&a.name, a).cmp(&(&b.name, b)));
    conflicts
}

/// Takes out what an applier said the last time, but neither this time nor does anybody else.
///
/// The parents of owned fields count as owned here: what holds somebody's field must stay, and what held only fields
/// that go, goes with them.
fn prune(place: Place<'_>, merged: Value, last: &Set, now: &Set, others: &Owners) -> Value {
    let parents = |set: &Set| set.with_named_parents(place, &|at: Place<'_>, element| at.step(element));
    let last = parents(last);
    let mut owned = now.clone();
    for (_, other) in others.iter() {
        owned.union(&other.set);
    }
    let all = parents(&typed::set_of(place, &merged));
    let mut kept = parents(&typed::set_of(place, &merge::remove(place, &merged, &last)));
    kept.union(&parents(&owned));
    let without = merge::remove(place, &merged, &all.difference(&kept));
    // What the removal of a parent took along, though it was never the applier's, comes back.
    let left = parents(&typed::set_of(place, &without));
    merge::remove(place, &merged, &all.difference(&left).intersection(&last))
}

/// The fields that `kubectl apply` without `--server-side` set and nobody has changed since: going over to server-side
/// apply conflicts with nobody there.
fn from_client_side_apply(schema: &Schema, live: &Value) -> Set {
    let Some(config) = last_applied(live).and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return Set::default();
    };
    if config["apiVersion"] != live["apiVersion"] {
        return Set::default();
    }
    let place = Place::root(schema);
    let mut set = set_of(schema, &config);
    let compared = compare::compare(place, &config, live);
    for differing in [&compared.added, &compared.modified, &compared.removed] {
        set.subtract(differing);
    }
    set
}

fn last_applied(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][LAST_APPLIED].as_str().filter(|text| !text.is_empty())
}

/// An object that client-side apply knows stays usable for it: its annotation says what was applied last.
fn follow_last_applied(object: &mut Value, config: &Value) {
    if last_applied(object).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(LAST_APPLIED);
    }
    object["metadata"]["annotations"][LAST_APPLIED] = json!(format!("{config}\n"));
}

#[cfg(test)]
mod tests;
