//! The form in which a request sees objects: as they are kept, or through a [`View`] of another version.
//!
//! Only the edge converts: what comes in becomes the kept form before anything is decided on it, what goes out is
//! converted last. Objects that are served as they are kept are never touched.

use kapell_api::kind::{Kind, View};
use kapell_store::{Entry, Revision};
use serde_json::Value;

use crate::resources::Resource;
use crate::stored;

/// Cheap to copy.
#[derive(Clone, Copy)]
pub(crate) struct Form {
    served: &'static Kind,
    view: Option<View>,
}

impl Form {
    pub(crate) fn of(served: &'static Kind) -> Self {
        Self { served, view: served.view }
    }

    /// The row that the URL names: its `apiVersion` is what the client says and sees.
    pub(crate) fn kind(&self) -> &'static Kind {
        self.served
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.view.is_none()
    }

    /// From the kept form into the client's.
    pub(crate) fn show(&self, object: &mut Value) {
        let Some(view) = self.view else { return };
        (view.from_stored)(object);
        set_version(object, self.served.api_version());
    }

    /// Appends a stored object at a revision. One that is not JSON is written as it is: reading it fails elsewhere.
    pub(crate) fn write(&self, out: &mut Vec<u8>, entry: &Entry, revision: Revision) {
        if !self.is_kept()
            && let Ok(mut object) = stored::decode_at(entry, revision)
        {
            self.show(&mut object);
            return out.extend_from_slice(object.to_string().as_bytes());
        }
        stored::write_with_revision(out, &entry.value, revision);
    }

    /// From the client's form into that of `kept`.
    pub(crate) fn keep(&self, kept: &Resource, object: &mut Value) {
        let Some(view) = self.view else { return };
        (view.to_stored)(object);
        set_version(object, kept.kind.api_version());
    }

    /// What a client of a version that Kubernetes has removed is told.
    pub(crate) fn warning(&self) -> Option<String> {
        let view = self.view?;
        let Kind { kind, .. } = self.served;
        let (group, version) = view.of;
        let successor = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let release = view.gone?;
        Some(format!("{} {kind} is gone since Kubernetes {release}; use {successor} {kind}", self.served.api_version()))
    }
}

fn set_version(object: &mut Value, version: String) {
    if let Value::Object(object) = object {
        object.insert("apiVersion".to_owned(), Value::String(version));
    }
}
