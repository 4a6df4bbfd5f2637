//! ClusterRoles that take their rules from others: written anew when those change, so that readers see what holds.

use kapell_api::status::Status;
use serde_json::{Value, json};

use super::{Engine, Mode, Ownership, SERVER, Target};
use crate::auth::Identity;
use crate::authorize::index::Aggregated;

impl Engine {
    /// Writes the rules of every aggregating role whose stored ones are out of date.
    pub(crate) async fn aggregate_roles(&self) {
        for role in &self.authorizer.index().stale {
            match self.aggregate_role(role).await {
                Ok(()) => {}
                // Deleted meanwhile, or changed: then its change brings us here again.
                Err(status) if status.code == 404 || status.code == 409 => {}
                Err(status) => tracing::warn!(role = role.name, %status, "an aggregated role cannot be written"),
            }
        }
    }

    async fn aggregate_role(&self, role: &Aggregated) -> Result<(), Status> {
        let Some(resource) = self.resources.find("rbac.authorization.k8s.io", "v1", "clusterroles") else {
            return Ok(());
        };
        let target = Target { resource, namespace: None, name: &role.name };
        let ownership = Ownership::Changed { by: SERVER, subresource: "" };
        let rules = json!(role.rules);
        let aggregate = |old: &Value| {
            let mut new = old.clone();
            // Somebody may have made it say its rules itself meanwhile.
            if !old["aggregationRule"].is_null() {
                new["rules"] = rules.clone();
            }
            Ok((new, Vec::new()))
        };
        self.update(&Identity::internal(SERVER), target, Mode::Own, ownership, false, aggregate).await.map(drop)
    }
}
