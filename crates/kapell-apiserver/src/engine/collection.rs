//! `DELETE` of a collection: each selected object is deleted as if by name.

use axum::body::Body;
use http::{Response, StatusCode};
use kapell_api::status::Status;
use serde_json::{Map, Value};

use super::delete::DeleteOptions;
use super::list::list_body;
use super::selection::Selection;
use super::{Call, Engine, Target};
use crate::form::Form;
use crate::resources::Resource;
use crate::{key, reply};

impl Engine {
    pub(super) async fn delete_collection(&self, call: &Call, resource: &Resource) -> Result<Response<Body>, Status> {
        let options = DeleteOptions::from_call(call)?;
        let dry_run = options.dry_run(call)?;
        let form = Form::of(self.served(call)?.kind);
        let selection = Selection::from_query(form.kind(), &call.query, None)?;
        let prefix = key::of_collection(resource.kind, call.path.namespace.as_deref());
        let selected = self.select_all(&prefix, &selection).await?;
        for entry in &selected.entries {
            let Some((namespace, name)) = key::namespace_and_name(&entry.key) else { continue };
            let namespace = resource.kind.namespaced.then_some(namespace);
            match self.delete_object(Target { resource, namespace, name }, &options, dry_run).await {
                Ok(_) => {}
                // Somebody else was faster.
                Err(status) if status.code == StatusCode::NOT_FOUND.as_u16() => {}
                Err(status) => return Err(status),
            }
        }
        let mut metadata = Map::new();
        metadata.insert("resourceVersion".to_owned(), Value::String(self.store.revision().to_string()));
        let body = list_body(form, &metadata, &selected.entries);
        Ok(reply::compressed(&call.headers, reply::json(StatusCode::OK, Vec::new(), &[]), body))
    }
}
