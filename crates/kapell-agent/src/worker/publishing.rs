//! Telling the API what has become of the pod.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};

use super::Worker;
use crate::status::{self, OUR_CONDITIONS};

impl Worker {
    pub(super) fn api(&self) -> Api<Pod> {
        Api::namespaced(self.context.client.clone(), self.pod.namespace().as_deref().unwrap_or("default"))
    }

    /// Writes the status unless it is what was written last, or what the object says anyway.
    pub(super) async fn publish(&mut self) {
        let ended = self.pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(ended, Some("Succeeded" | "Failed")) && self.observed.containers.is_empty() {
            return;
        }
        let ip = self.record.as_ref().map(|record| record.pod_ip);
        let base = self.with_published_times();
        let status = status::compute(&base, &self.observed, ip, self.context.config.host_ip, Timestamp::now());
        if self.published.as_ref() == Some(&status)
            || (self.published.is_none() && self.pod.status.as_ref() == Some(&status))
        {
            self.published = Some(status);
            return;
        }
        let mut body = serde_json::json!({ "status": status });
        // A merge patch removes what is null; what is not there it leaves alone.
        for field in ["reason", "message"] {
            if body["status"].get(field).is_none() {
                body["status"][field] = serde_json::Value::Null;
            }
        }
        match self.api().patch_status(&self.pod.name_any(), &PatchParams::default(), &Patch::Merge(&body)).await {
            Ok(_) => self.published = Some(status),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "status not written yet");
                self.retry();
            }
        }
    }

    /// The object with the times that were written last: the informer's copy may not show them yet, and a time that is
    /// made up anew would be a change of its own.
    fn with_published_times(&self) -> Pod {
        let mut pod = Pod::clone(&self.pod);
        if let Some(published) = &self.published {
            let status = pod.status.get_or_insert_default();
            status.start_time = published.start_time.clone();
            let ours =
                published.conditions.iter().flatten().filter(|condition| OUR_CONDITIONS.contains(&&*condition.type_));
            let mut conditions: Vec<_> = ours.cloned().collect();
            let others = status.conditions.take().into_iter().flatten();
            conditions.extend(others.filter(|condition| !OUR_CONDITIONS.contains(&&*condition.type_)));
            status.conditions = Some(conditions);
        }
        pod
    }
}
