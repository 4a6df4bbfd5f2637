//! `metadata.managedFields`: who owns what, as a value and as upstream writes it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::set::Set;
use crate::time;

/// How somebody came to own fields. In the order in which upstream lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Server-side apply: what the applied configuration said.
    Apply,
    /// Every other write: what it changed.
    Update,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// Who owns fields. The same name owns separately by apply, by updates, and through each subresource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    pub operation: Operation,
    pub name: String,
    /// The version through which an update was made. Empty for [`Operation::Apply`]: an applier is the same in all versions.
    pub api_version: String,
    /// `status`, `scale`, …; empty for the object itself.
    pub subresource: String,
}

impl Owner {
    /// Somebody who applies; [`Owned::api_version`] keeps the version.
    pub fn applier(name: impl Into<String>, subresource: impl Into<String>) -> Self {
        Self {
            operation: Operation::Apply,
            name: name.into(),
            api_version: String::new(),
            subresource: subresource.into(),
        }
    }

    pub fn updater(name: impl Into<String>, api_version: impl Into<String>, subresource: impl Into<String>) -> Self {
        Self {
            operation: Operation::Update,
            name: name.into(),
            api_version: api_version.into(),
            subresource: subresource.into(),
        }
    }
}

/// What somebody owns, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    pub set: Set,
    pub api_version: String,
    /// RFC 3339; of the last change of the object or of the set by this owner.
    pub time: Option<String>,
}

/// All owners of an object's fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners(pub(super) BTreeMap<Owner, Owned>);

impl Owners {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, owner: &Owner) -> Option<&Owned> {
        self.0.get(owner)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Owner, &Owned)> {
        self.0.iter()
    }

    /// Whether the same owners own the same fields, whenever they came to.
    pub fn same_but_times(&self, other: &Owners) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|((owner, owned), (their_owner, theirs))| {
                owner == their_owner && owned.set == theirs.set && owned.api_version == theirs.api_version
            })
    }

    /// Reads `metadata.managedFields`. Entries of the same owner are united; entries without fields own nothing.
    ///
    /// # Errors
    /// A sentence, where something is not as upstream writes it.
    pub fn from_managed_fields(value: &Value) -> Result<Owners, String> {
        let mut owners = Owners::default();
        let list = match value {
            Value::Null => return Ok(owners),
            Value::Array(list) => list,
            other => return Err(format!("managedFields: {other} is not a list")),
        };
        for entry in list {
            let (owner, owned) = read(entry)?;
            if owned.set.is_empty() {
                continue;
            }
            match owners.0.get_mut(&owner) {
                Some(present) => present.set.union(&owned.set),
                None => drop(owners.0.insert(owner, owned)),
            }
        }
        Ok(owners)
    }

    /// Writes `metadata.managedFields` in upstream's order: appliers first, then by time, name, version and subresource.
    pub fn to_managed_fields(&self) -> Value {
        let mut entries: Vec<(&Owner, &Owned)> = self.0.iter().collect();
        entries.sort_by_key(|(owner, owned)| {
            (owner.operation, seconds(owned), &owner.name, &owned.api_version, &owner.subresource)
        });
        Value::Array(entries.into_iter().map(|(owner, owned)| write(owner, owned)).collect())
    }
}

/// Times are compared as upstream does, to the second; none is before all others.
pub(super) fn seconds(owned: &Owned) -> i64 {
    owned.time.as_deref().and_then(|text| time::parse(text).ok()).map_or(0, |time| time.as_second())
}

fn read(entry: &Value) -> Result<(Owner, Owned), String> {
    let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let operation = match text("operation").as_str() {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        other => return Err(format!("managedFields: the operation is {other:?}, neither Apply nor Update")),
    };
    if !matches!(text("fieldsType").as_str(), "" | "FieldsV1") {
        return Err(format!("managedFields: fieldsType {:?} is not FieldsV1", text("fieldsType")));
    }
    let set = match &entry["fieldsV1"] {
        Value::Null => Set::default(),
        fields => Set::from_fields_v1(fields)?,
    };
    let api_version = text("apiVersion");
    let owner = match operation {
        Operation::Apply => Owner::applier(text("manager"), text("subresource")),
        Operation::Update => Owner::updater(text("manager"), api_version.clone(), text("subresource")),
    };
    Ok((owner, Owned { set, api_version, time: entry["time"].as_str().map(str::to_owned) }))
}

fn write(owner: &Owner, owned: &Owned) -> Value {
    let mut entry = Map::with_capacity(7);
    entry.insert("manager".to_owned(), json!(owner.name));
    entry.insert("operation".to_owned(), json!(owner.operation.as_str()));
    entry.insert("apiVersion".to_owned(), json!(owned.api_version));
    if let Some(time) = &owned.time {
        entry.insert("time".to_owned(), json!(time));
    }
    entry.insert("fieldsType".to_owned(), json!("FieldsV1"));
    entry.insert("fieldsV1".to_owned(), owned.set.to_fields_v1());
    if !owner.subresource.is_empty() {
        entry.insert("subresource".to_owned(), json!(owner.subresource));
    }
    Value::Object(entry)
}
