//! Which objects of a collection a list, a watch or a collective deletion is about.

use kapell_api::kind::Kind;
use kapell_api::metadata::Metadata;
use kapell_api::selector::{FieldRequirement, FieldSelector, Operator, Requirement, Selector};
use kapell_api::status::Status;
use kapell_store::Entry;
use memchr::memmem::Finder;
use serde_json::Value;

use super::undecodable;
use crate::key;
use crate::path::Query;

/// Fields whose value stands in the object as it is: bytes that do not hold the wanted one need not be parsed. An agent
/// selects its own pods out of all of a cluster's.
const VERBATIM: [&str; 3] = ["spec.nodeName", "involvedObject.name", "involvedObject.uid"];

/// Label and field selectors of a request, checked against what the kind can be selected by.
pub(super) struct Selection {
    kind: &'static Kind,
    labels: Selector,
    /// Conditions on name and namespace, which the key answers.
    identity: FieldSelector,
    /// Conditions on other fields, which need the whole object.
    fields: FieldSelector,
    /// What the bytes of an object hold that fulfils these conditions.
    held: Vec<Finder<'static>>,
}

impl Selection {
    /// `name` restricts to one object, besides the query.
    pub(super) fn from_query(kind: &'static Kind, query: &Query, name: Option<&str>) -> Result<Self, Status> {
        let refused = |message: String| Status::bad_request(message);
        let labels = query.get("labelSelector").map(Selector::parse).transpose();
        let labels = labels.map_err(|error| refused(error.to_string()))?.unwrap_or_default();
        let fields = query.get("fieldSelector").map(FieldSelector::parse).transpose();
        let fields = fields.map_err(|error| refused(error.to_string()))?.unwrap_or_default();
        let (identity, rest) = (FieldSelector::default(), FieldSelector::default());
        let held = labels.requirements.iter().filter_map(labelled).collect();
        let mut selection = Self { kind, labels, identity, fields: rest, held };
        for requirement in fields.requirements {
            match requirement.path.as_str() {
                "metadata.name" | "metadata.namespace" => selection.identity.requirements.push(requirement),
                path if kind.selectable_fields.iter().any(|field| field.path == path) => {
                    selection.held.extend(verbatim(&requirement));
                    selection.fields.requirements.push(requirement);
                }
                path => {
                    return Err(refused(format!(
                        "Unable to find {:?} that match label selector {:?}, field selector {:?}: field label not supported: {path}",
                        format!("{}, Resource={}", kind.api_version(), kind.plural),
                        query.get("labelSelector").unwrap_or_default(),
                        query.get("fieldSelector").unwrap_or_default(),
                    )));
                }
            }
        }
        if let Some(name) = name {
            let path = "metadata.name".to_owned();
            selection.identity.requirements.push(FieldRequirement { path, equal: true, value: name.to_owned() });
        }
        Ok(selection)
    }

    pub(super) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.identity.is_empty() && self.fields.is_empty()
    }

    /// With what the keys begin of everything that it selects of a collection; `kept` is the kind as it is kept.
    pub(super) fn prefix(&self, kept: &Kind, namespace: Option<&str>) -> String {
        match (namespace, self.identity.exact("metadata.name")) {
            // Names that go on after it are told apart by the condition itself.
            (Some(namespace), Some(name)) => key::of_object(kept, Some(namespace), name),
            _ => key::of_collection(kept, namespace),
        }
    }

    pub(super) fn matches(&self, entry: &Entry) -> Result<bool, Status> {
        if !self.identity.is_empty() {
            let (namespace, name) = key::namespace_and_name(&entry.key).unwrap_or_default();
            let namespace = if namespace == "-" { "" } else { namespace };
            let value = |path: &str| if path == "metadata.name" { name.to_owned() } else { namespace.to_owned() };
            if !self.identity.matches_by(value) {
                return Ok(false);
            }
        }
        if self.held.iter().any(|finder| finder.find(&entry.value).is_none()) {
            return Ok(false);
        }
        if !self.labels.is_empty() {
            let metadata = Metadata::from_json(&entry.value).map_err(|error| undecodable(self.kind, &error))?;
            if !self.labels.matches(&metadata.labels) {
                return Ok(false);
            }
        }
        if self.fields.is_empty() {
            return Ok(true);
        }
        let object: Value = serde_json::from_slice(&entry.value).map_err(|error| undecodable(self.kind, &error))?;
        Ok(self.fields.matches_by(|path| {
            let field = self.kind.selectable_fields.iter().find(|field| field.path == path);
            field.map(|field| (field.value)(&object)).unwrap_or_default()
        }))
    }
}

/// What is found in the bytes of every object that fulfils a condition on a label, where that can be said. Neither keys nor values of
/// labels have characters that JSON escapes, and objects are kept without spaces.
fn labelled(requirement: &Requirement) -> Option<Finder<'static>> {
    let Requirement { key, operator, values } = requirement;
    let text = match (operator, values.first()) {
        (Operator::In, Some(value)) if values.len() == 1 => format!("\"{key}\":\"{value}\""),
        (Operator::In | Operator::Exists | Operator::Gt | Operator::Lt, _) => format!("\"{key}\":"),
        (Operator::NotIn | Operator::DoesNotExist, _) => return None,
    };
    Some(Finder::new(text.as_bytes()).into_owned())
}

/// What is found in the bytes of every object that fulfils the condition, where that can be said.
fn verbatim(requirement: &FieldRequirement) -> Option<Finder<'static>> {
    let FieldRequirement { path, equal, value } = requirement;
    // Other characters may be escaped.
    let is_plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    let applies = *equal && !value.is_empty() && is_plain && VERBATIM.contains(&path.as_str());
    applies.then(|| Finder::new(format!("\"{value}\"").as_bytes()).into_owned())
}
