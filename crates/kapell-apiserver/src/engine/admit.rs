//! Admission's reading and writing: the rules of a namespace as they stand, and the quotas' usage with each change.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use kapell_api::kind::Kind;
use kapell_api::kinds::KINDS;
use kapell_api::status::Status;
use kapell_store::{Expect, Revision, Write};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::OwnedMutexGuard;

use super::{ATTEMPTS, Committed, Engine, decode, name_of, read_failed};
use crate::admission::priority::Class;
use crate::admission::quota::{self, Verdict};
use crate::admission::{Amounts, add, amounts, limits, priority, runtime_class};
use crate::resources::Resource;
use crate::{key, stored};

/// One lock for each namespace that has quotas: whoever changes something there charges it alone.
#[derive(Default)]
pub(crate) struct QuotaLocks(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl QuotaLocks {
    async fn lock(&self, namespace: &str) -> OwnedMutexGuard<()> {
        let lock = self.0.lock().entry(namespace.to_owned()).or_default().clone();
        lock.lock_owned().await
    }
}

/// One change of an object, as its store key sees it.
pub(super) struct Change<'a> {
    pub(super) key: Bytes,
    pub(super) expect: Expect,
    pub(super) value: Option<Bytes>,
    /// The object before and after; absent where there is none.
    pub(super) old: Option<&'a Value>,
    pub(super) new: Option<&'a Value>,
}

impl Engine {
    /// Account, runtime class, priority, and the defaults and bounds of LimitRanges.
    pub(super) async fn admit(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        object: &mut Value,
    ) -> Result<(), Status> {
        let Some(namespace) = namespace else { return Ok(()) };
        let is_pod = resource.is_core("Pod");
        let violations = if is_pod {
            self.admit_service_account(object, namespace).await?;
            self.admit_runtime_class(object).await.map_err(|refusal| match refusal {
                Ok(why) => {
                    self.metrics.refused("RuntimeClass");
                    Status::forbidden(resource.kind, name_of(object), &why)
                }
                Err(status) => status,
            })?;
            let class = self.priority_class(object).await?;
            priority::admit(object, class).map_err(|why| {
                self.metrics.refused("Priority");
                Status::forbidden(resource.kind, name_of(object), &why)
            })?;
            let ranges = self.objects_of("", "limitranges", Some(namespace)).await?;
            limits::apply_defaults(object, &ranges);
            limits::pod_violations(object, &ranges)
        } else if resource.is_core("PersistentVolumeClaim") {
            limits::claim_violations(object, &self.objects_of("", "limitranges", Some(namespace)).await?)
        } else {
            Vec::new()
        };
        let why = match violations.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        self.metrics.refused("LimitRanger");
        Err(Status::forbidden(resource.kind, name_of(object), &why))
    }

    /// The class that a pod names has to be there, and says what its pods cost beyond their containers and where they run.
    async fn admit_runtime_class(&self, pod: &mut Value) -> Result<(), Result<String, Status>> {
        let Some(name) = runtime_class::wanted(pod) else { return runtime_class::admit(pod, None).map_err(Ok) };
        let Some(resource) = self.resources.find("node.k8s.io", "v1", "runtimeclasses") else { return Ok(()) };
        let key = key::of_object(resource.kind, None, name);
        let entry = self.store.get(key.as_bytes()).await.map_err(|error| Err(read_failed(error)))?;
        let class = entry.map(|entry| decode(resource.kind, &entry)).transpose().map_err(Err)?;
        runtime_class::admit(pod, class.as_ref()).map_err(Ok)
    }

    async fn priority_class(&self, pod: &Value) -> Result<Option<Class>, Status> {
        let Some(resource) = self.resources.find("scheduling.k8s.io", "v1", "priorityclasses") else { return Ok(None) };
        let named = pod["spec"]["priorityClassName"].as_str().unwrap_or_default();
        if !named.is_empty() {
            let key = key::of_object(resource.kind, None, named);
            let entry = self.store.get(key.as_bytes()).await.map_err(read_failed)?;
            return entry.map(|entry| Ok(Class::read(&decode(resource.kind, &entry)?))).transpose();
        }
        let page = self.store.list(key::of_kind(resource.kind).as_bytes(), None, 0, None).await.map_err(read_failed)?;
        // Most servers have no default: a look at the bytes saves parsing every class for every pod.
        const DEFAULT: &[u8] = b"\"globalDefault\":true";
        let candidates = page.entries.iter().filter(|e| e.value.windows(DEFAULT.len()).any(|bytes| bytes == DEFAULT));
        let classes: Result<Vec<Class>, Status> =
            candidates.map(|entry| Ok(Class::read(&decode(resource.kind, entry)?))).collect();
        Ok(priority::global_default(classes?.into_iter()))
    }

    /// All objects of a kind, decoded; for kinds of which there are few.
    pub(super) async fn objects_of(
        &self,
        group: &str,
        plural: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, Status> {
        let Some(resource) = self.resources.find(group, "v1", plural) else { return Ok(Vec::new()) };
        let prefix = key::of_collection(resource.kind, namespace);
        let page = self.store.list(prefix.as_bytes(), None, 0, None).await.map_err(read_failed)?;
        page.entries.iter().map(|entry| decode(resource.kind, entry)).collect()
    }

    /// Commits a change together with what it does to the namespace's quotas. `Ok(None)` says that the object is no
    /// longer what was expected.
    pub(super) async fn commit_charged(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        change: Change<'_>,
    ) -> Result<Option<Revision>, Status> {
        for _ in 0..ATTEMPTS {
            // Held until the commit: without it, those who race would be refused by each other's expectations.
            let (writes, _alone) = self.charge(resource, namespace, &change).await?;
            // The object last: its revision is the transaction's.
            let own = Write { key: change.key.clone(), expect: change.expect, value: change.value.clone() };
            match self.commit_all(writes.into_iter().chain([own]).collect()).await? {
                Committed::At(revision) => return Ok(Some(revision)),
                Committed::Conflict(key) if key == change.key => return Ok(None),
                // Somebody has changed a quota's bounds meanwhile.
                Committed::Conflict(_) => {}
            }
        }
        Err(Status::conflict(
            resource.kind,
            name_of(change.new.or(change.old).unwrap_or(&Value::Null)),
            "the quota changes too fast, try again",
        ))
    }

    /// Says whether a change would fit, without making it.
    pub(super) async fn check_quotas(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        change: &Change<'_>,
    ) -> Result<(), Status> {
        self.charge(resource, namespace, change).await.map(drop)
    }

    async fn charge(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        change: &Change<'_>,
    ) -> Result<(Vec<Write>, Option<OwnedMutexGuard<()>>), Status> {
        let nothing = Ok((Vec::new(), None));
        let Some(namespace) = namespace else { return nothing };
        let Some(quotas) = self.resources.find("", "v1", "resourcequotas") else { return nothing };
        let prefix = key::of_collection(quotas.kind, Some(namespace));
        let present = self.store.list(prefix.as_bytes(), None, 1, None).await.map_err(read_failed)?;
        // A quota counts itself when it is made; charging it for its own write would never end.
        if present.entries.is_empty() || resource.is_core("ResourceQuota") {
            return nothing;
        }
        let alone = self.quota_locks.lock(namespace).await;
        let page = self.store.list(prefix.as_bytes(), None, 0, None).await.map_err(read_failed)?;
        let mut writes = Vec::new();
        for entry in &page.entries {
            let mut quota = decode(quotas.kind, entry)?;
            match quota::charge(&quota, resource.kind, change.old, change.new) {
                Verdict::Untouched => {}
                Verdict::Refused(why) => {
                    self.metrics.refused("ResourceQuota");
                    let name = name_of(change.new.unwrap_or(&Value::Null));
                    return Err(Status::forbidden(resource.kind, name, &why));
                }
                Verdict::Charged(used) => {
                    quota["status"]["used"] = Value::Object(used);
                    let value = Some(stored::encode(&quota));
                    writes.push(Write { key: entry.key.clone(), expect: Expect::Revision(entry.modified), value });
                }
            }
        }
        Ok((writes, Some(alone)))
    }

    /// Counts what a quota's namespace uses and writes it into its status. The caller keeps everybody else from
    /// writing meanwhile.
    pub(super) async fn count_usage(&self, namespace: Option<&str>, quota: &mut Value) -> Result<(), Status> {
        let hard = amounts(&quota["spec"]["hard"]);
        let mut used = Amounts::new();
        for kind in KINDS.iter().filter(|kind| kind.namespaced && concerns(kind, &hard)) {
            add(&mut used, self.usage_of(kind, namespace, quota).await?);
        }
        let (mut shown_hard, used) = (quota["spec"]["hard"].clone(), quota::shown(&used, &hard));
        if shown_hard.is_null() {
            shown_hard = json!({});
        }
        quota["status"] = json!({"hard": shown_hard, "used": used});
        Ok(())
    }

    async fn usage_of(&self, kind: &Kind, namespace: Option<&str>, quota: &Value) -> Result<Amounts, Status> {
        let prefix = key::of_collection(kind, namespace);
        let page = self.store.list(prefix.as_bytes(), None, 0, None).await.map_err(read_failed)?;
        let mut used = Amounts::new();
        for entry in &page.entries {
            let object = if quota::is_measured(kind) { decode(kind, entry)? } else { Value::Null };
            if quota::matches(quota, kind, &object) {
                add(&mut used, quota::usage(kind, &object));
            }
        }
        Ok(used)
    }
}

/// Whether a quota limits anything about a kind.
fn concerns(kind: &Kind, hard: &Amounts) -> bool {
    quota::is_measured(kind) || quota::existence(kind).keys().any(|name| hard.contains_key(name))
}
