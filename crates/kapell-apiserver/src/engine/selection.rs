//! Which objects of a collection a list, a watch or a collective deletion is about.

use kapell_api::kind::Kind;
use kapell_api::metadata::Metadata;
use kapell_api::selector::{FieldRequirement, FieldSelector, Selector};
use kapell_api::status::Status;
use kapell_store::Entry;
use serde_json::Value;

use super::undecodable;
use crate::key;
use crate::path::Query;

/// Label and field selectors of a request, checked against what the kind can be selected by.
pub(super) struct Selection {
    kind: &'static Kind,
    labels: Selector,
    /// Conditions on name and namespace, which the key answers.
    identity: FieldSelector,
    /// Conditions on other fields, which need the whole object.
    fields: FieldSelector,
}

impl Selection {
    /// `name` restricts to one object, besides the query.
    pub(super) fn from_query(kind: &'static Kind, query: &Query, name: Option<&str>) -> Result<Self, Status> {
        let refused = |message: String| Status::bad_request(message);
        let labels = query.get("labelSelector").map(Selector::parse).transpose();
        let labels = labels.map_err(|error| refused(error.to_string()))?.unwrap_or_default();
        let fields = query.get("fieldSelector").map(FieldSelector::parse).transpose();
        let fields = fields.map_err(|error| refused(error.to_string()))?.unwrap_or_default();
        let mut selection = Self { kind, labels, identity: FieldSelector::default(), fields: FieldSelector::default() };
        for requirement in fields.requirements {
            match requirement.path.as_str() {
                "metadata.name" | "metadata.namespace" => selection.identity.requirements.push(requirement),
                path if kind.selectable_fields.iter().any(|field| field.path == path) => {
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

    pub(super) fn matches(&self, entry: &Entry) -> Result<bool, Status> {
        if !self.identity.is_empty() {
            let (namespace, name) = key::namespace_and_name(&entry.key).unwrap_or_default();
            let namespace = if namespace == "-" { "" } else { namespace };
            let value = |path: &str| if path == "metadata.name" { name.to_owned() } else { namespace.to_owned() };
            if !self.identity.matches_by(value) {
                return Ok(false);
            }
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
