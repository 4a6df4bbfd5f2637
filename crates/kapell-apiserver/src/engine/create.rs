//! `POST` to a collection.

use axum::body::Body;
use http::{Response, StatusCode};
use jiff::Timestamp;
use kapell_api::metadata::Metadata;
use kapell_api::names;
use kapell_api::problem::Problem;
use kapell_api::status::{Cause, Status};
use kapell_api::workflow::GROUP;
use kapell_store::Expect;
use serde_json::{Value, json};
use tokio::sync::{RwLockReadGuard, RwLockWriteGuard};

use super::admit::Change;
use super::{
    Call, Engine, Ownership, Target, Written, certificates, decode, metadata, name_of, ownership, read_failed,
    undecodable,
};
use crate::admission::service_account;
use crate::audit::ObjectName;
use crate::auth::Identity;
use crate::authorize::escalation;
use crate::body::{self, FieldValidation};
use crate::form::Form;
use crate::resources::Resource;
use crate::stored;

/// How often another name is tried when a generated one is taken, as upstream does.
const NAME_ATTEMPTS: usize = 8;

/// Held while something is written, see [`Engine::steady`].
pub(super) enum Steady<'a> {
    Shared(#[expect(dead_code, reason = "held, not read")] RwLockReadGuard<'a, ()>),
    Alone(#[expect(dead_code, reason = "held, not read")] RwLockWriteGuard<'a, ()>),
}

impl Engine {
    pub(super) async fn create(&self, call: &Call, resource: &Resource) -> Result<Response<Body>, Status> {
        let namespace = call.path.namespace.as_deref();
        let validation = FieldValidation::from_query(&call.query)?;
        let dry_run = body::dry_run(&call.query)?;
        let served = self.served(call)?;
        let (mut object, mut warnings) = body::object(served, &call.headers, &call.body, validation)?;
        Form::of(served.kind).keep(resource, &mut object);
        let manager = ownership::manager(call)?;
        let ownership = Ownership::Changed { by: &manager, subresource: "" };
        let mut written = self.create_object(&call.identity, resource, namespace, object, ownership, dry_run).await?;
        self.follow_create(resource, &written, dry_run).await?;
        warnings.append(&mut written.warnings);
        written.warnings = warnings;
        let mut response = self.answer(call, resource, StatusCode::CREATED, &written)?;
        // The URL of a create names nobody; whoever records it wants to know.
        if let Ok(metadata) = Metadata::from_json(&written.stored) {
            response.extensions_mut().insert(ObjectName(metadata.name));
        }
        Ok(response)
    }

    /// What the server itself adds to a new object: a namespace has an account.
    pub(super) async fn follow_create(
        &self,
        resource: &Resource,
        written: &Written,
        dry_run: bool,
    ) -> Result<(), Status> {
        if !resource.is_core("Namespace") || dry_run {
            return Ok(());
        }
        let object: Value = serde_json::from_slice(&written.stored).map_err(|e| undecodable(resource.kind, &e))?;
        self.ensure_account(name_of(&object)).await
    }

    /// Creates an object that has been decoded; also used for what the server itself needs to exist.
    pub(crate) async fn create_object(
        &self,
        by: &Identity,
        resource: &Resource,
        namespace: Option<&str>,
        mut object: Value,
        ownership: Ownership<'_>,
        dry_run: bool,
    ) -> Result<Written, Status> {
        let namespace = settle_namespace(resource, namespace, &object)?;
        let namespace = namespace.as_deref();
        if object["metadata"]["resourceVersion"].as_str().is_some_and(|rv| !rv.is_empty()) {
            return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
        }
        self.admit_more(by, resource, namespace)?;
        let _no_namespace_is_deleted = self.steady(resource).await;
        if let Some(namespace) = namespace {
            self.admit_into_namespace(resource, namespace, &object).await?;
        }
        let given = metadata::of(&mut object).shift_remove("managedFields");
        metadata::begin(resource, &mut object, namespace, Timestamp::now());
        (resource.kind.prepare_create)(&mut object);
        certificates::begin(resource, by, &mut object)?;
        let generated = metadata::wants_generated_name(&object);
        let mut taken = String::new();
        for _ in 0..NAME_ATTEMPTS {
            if generated {
                metadata::generate_name(&mut object, rand::random());
            }
            // After the name, which some defaults repeat in a label.
            (resource.kind.default)(&mut object);
            // Defaults are the creator's; what is allocated from here on is nobody's.
            ownership.of_new(resource, &mut object, given.clone());
            self.admit(resource, namespace, &mut object).await?;
            escalation::check(&self.authorizer, by, &object, None)?;
            let name = name_of(&object).to_owned();
            // Only one whose name can be another is needed again.
            let attempt = if generated { object.clone() } else { std::mem::take(&mut object) };
            if let Some(written) = self.try_create(resource, namespace, attempt, dry_run).await? {
                return Ok(written);
            }
            taken = name;
            if !generated {
                break;
            }
        }
        Err(Status::already_exists(resource.kind, &taken))
    }

    /// Asks whoever works off objects of this kind whether there is room for one more.
    fn admit_more(&self, by: &Identity, resource: &Resource, namespace: Option<&str>) -> Result<(), Status> {
        // Only kinds of our own have such a service.
        if by.internal || resource.kind.group != GROUP {
            return Ok(());
        }
        let name = (resource.kind.group.to_owned(), resource.kind.plural.to_owned());
        let intake = self.intakes.read().get(&name).cloned();
        intake.map_or(Ok(()), |intake| intake.admit(namespace.unwrap_or_default()))
    }

    /// `None` when the name is taken.
    async fn try_create(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        mut object: Value,
        dry_run: bool,
    ) -> Result<Option<Written>, Status> {
        self.validate(resource, &object, (resource.kind.validate_create)(&object))?;
        let claims = self.claim_addresses(resource, &mut object, None)?;
        let warnings = (resource.kind.warnings)(&object);
        let name = name_of(&object).to_owned();
        let target = Target { resource, namespace, name: &name };
        if resource.is_core("ResourceQuota") {
            self.count_usage(namespace, &mut object).await?;
        }
        let stored = stored::encode(&object);
        let (key, value) = (target.key(), Some(stored.clone()));
        let change = Change { key, expect: Expect::Absent, value, old: None, new: Some(&object) };
        if dry_run {
            let taken = self.store.get(&target.key()).await.map_err(read_failed)?.is_some();
            if !taken {
                self.check_quotas(resource, namespace, &change).await?;
            }
            return Ok((!taken).then_some(Written { stored, revision: None, warnings }));
        }
        let Some(revision) = self.commit_charged(resource, namespace, change).await? else { return Ok(None) };
        if let Some(claims) = claims {
            claims.keep();
        }
        Ok(Some(Written { stored, revision: Some(revision), warnings }))
    }

    /// Keeps namespaces and quotas as they are while something is written; a quota keeps everybody else from writing
    /// while it counts.
    pub(super) async fn steady(&self, resource: &Resource) -> Steady<'_> {
        match resource.is_core("ResourceQuota") {
            true => Steady::Alone(self.namespaces.write().await),
            false => Steady::Shared(self.namespaces.read().await),
        }
    }

    /// 404 for a namespace that does not exist, 403 for one that is being emptied.
    async fn admit_into_namespace(&self, resource: &Resource, name: &str, object: &Value) -> Result<(), Status> {
        let Some(namespaces) = self.resources.find("", "v1", "namespaces") else { return Ok(()) };
        let target = Target { resource: namespaces, namespace: None, name };
        let entry = self.fetch(target).await?;
        let meta = Metadata::from_json(&entry.value).map_err(|error| undecodable(namespaces.kind, &error))?;
        if meta.deletion_timestamp.is_none() {
            return Ok(());
        }
        let why = format!("unable to create new content in namespace {name} because it is being terminated");
        let mut status = Status::forbidden(resource.kind, name_of(object), &why);
        status.details.get_or_insert_default().causes.push(Cause {
            reason: "NamespaceTerminating".to_owned(),
            message: format!("namespace {name} is being terminated"),
            field: "metadata.namespace".to_owned(),
        });
        Err(status)
    }

    /// A pod without an account runs as `default`; an account that it names must exist. Its token is mounted.
    pub(super) async fn admit_service_account(&self, pod: &mut Value, namespace: &str) -> Result<(), Status> {
        let named = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default().to_owned();
        let account = if named.is_empty() { "default" } else { named.as_str() };
        let mut found = None;
        if let Some(resource) = self.resources.find("", "v1", "serviceaccounts") {
            let target = Target { resource, namespace: Some(namespace), name: account };
            let entry = self.store.get(&target.key()).await.map_err(read_failed)?;
            found = entry.map(|entry| decode(resource.kind, &entry)).transpose()?;
            if found.is_none() && account != "default" {
                let why = format!(
                    "error looking up service account {namespace}/{account}: serviceaccount {account:?} not found"
                );
                let pods = self.resources.find("", "v1", "pods").map_or(resource, |pods| pods);
                return Err(Status::forbidden(pods.kind, name_of(pod), &why));
            }
        }
        if let Some(spec) = pod["spec"].as_object_mut() {
            spec.insert("serviceAccountName".to_owned(), json!(account));
            spec.insert("serviceAccount".to_owned(), json!(account));
        }
        service_account::mount_token(pod, found.as_ref(), || names::generate_name("kube-api-access-", rand::random()));
        Ok(())
    }
}

/// The namespace of the URL, which the object may repeat but not contradict.
fn settle_namespace(resource: &Resource, url: Option<&str>, object: &Value) -> Result<Option<String>, Status> {
    let own = object["metadata"]["namespace"].as_str().unwrap_or_default();
    if !resource.kind.namespaced {
        if own.is_empty() {
            return Ok(None);
        }
        let problem = Problem::forbidden("metadata.namespace", "not allowed on this type");
        return Err(Status::invalid(resource.kind, name_of(object), &[problem]));
    }
    match (url, own) {
        (Some(url), own) if own.is_empty() || own == url => Ok(Some(url.to_owned())),
        (Some(_), _) => Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
        (None, _) => Err(Status::bad_request("an empty namespace may not be set during creation")),
    }
}
