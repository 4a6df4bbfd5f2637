//! Collections that are no sets of objects: what is in them, and what is added, is another service's affair.
//!
//! They have the path, the authentication and the verbs of any collection of a namespace, so `kubectl create --raw` and
//! roles work on them as on others.

use axum::body::Body;
use http::Response;
use kapell_api::status::Status;

use super::{Call, Engine, Target, decode, read_failed};
use crate::FeedRequest;

impl Engine {
    /// Answers a call about a collection that no kind stands behind, if there is such a one.
    pub(super) async fn feed(&self, call: &Call) -> Result<Response<Body>, Status> {
        let path = &call.path;
        let name = (path.group.clone(), path.version.clone(), path.plural.clone());
        let feed = self.feeds.read().get(&name).cloned().ok_or_else(Status::no_such_resource)?;
        let (Some(namespace), None) = (&path.namespace, &path.name) else { return Err(Status::no_such_resource()) };
        self.check_open(namespace).await?;
        let request = FeedRequest {
            method: call.method.clone(),
            namespace: namespace.clone(),
            query: call.query.clone(),
            headers: call.headers.clone(),
            body: call.body.clone(),
        };
        feed.answer(request).await
    }

    /// A namespace that does not exist, or is about to go, takes nothing.
    async fn check_open(&self, namespace: &str) -> Result<(), Status> {
        let Some(resource) = self.resources.find("", "v1", "namespaces") else { return Ok(()) };
        let target = Target { resource, namespace: None, name: namespace };
        let entry = self.store.get(&target.key()).await.map_err(read_failed)?.ok_or_else(|| target.not_found())?;
        let object = decode(resource.kind, &entry)?;
        if object["metadata"]["deletionTimestamp"].is_string() {
            return Err(Status::forbidden(resource.kind, namespace, "it is being terminated"));
        }
        Ok(())
    }
}
