//! `autoscaling/v1 Scale`: the replica count of any kind whose row says where it is.

use axum::body::Body;
use http::{Method, Response, StatusCode};
use kapell_api::kind::ScalePaths;
use kapell_api::problem::{Problem, Reason};
use kapell_api::selector::Selector;
use kapell_api::status::Status;
use serde_json::{Map, Value, json};

use super::apply::Application;
use super::patch::{self, Patch};
use super::{Call, Engine, Mode, Ownership, Target, Written, decode, ownership, undecodable};
use crate::body;
use crate::negotiate::PatchForm;
use crate::{reply, stored};

impl Engine {
    pub(super) async fn get_scale(
        &self,
        call: &Call,
        target: Target<'_>,
        paths: &ScalePaths,
    ) -> Result<Response<Body>, Status> {
        super::read::shape_of(call)?;
        let entry = self.fetch(target).await?;
        let object = decode(target.resource.kind, &entry)?;
        Ok(reply::value(StatusCode::OK, &scale_of(&object, paths), &[]))
    }

    pub(super) async fn set_scale(
        &self,
        call: &Call,
        target: Target<'_>,
        paths: &ScalePaths,
    ) -> Result<Response<Body>, Status> {
        let dry_run = body::dry_run(&call.query)?;
        let kind = target.resource.kind;
        let put = match call.method {
            Method::PUT => Some(body::parse(&call.headers, &call.body)?.0),
            _ => None,
        };
        if call.method == Method::PATCH && patch::form(call)? == PatchForm::Apply {
            return self.apply_scale(call, target, paths, dry_run).await;
        }
        let patch = match call.method {
            Method::PATCH => Some(Patch::parse(call)?),
            _ => None,
        };
        let manager = ownership::manager(call)?;
        let ownership = Ownership::Changed { by: &manager, subresource: "scale" };
        let written = self
            .update(&call.identity, target, Mode::Own, ownership, dry_run, |old| {
                let wanted = match (&put, &patch) {
                    (Some(scale), _) => scale.clone(),
                    (None, Some(patch)) => patch.apply_plainly(target.resource, target.name, &scale_of(old, paths))?,
                    (None, None) => return Err(Status::method_not_allowed(kind, call.method.as_str())),
                };
                let replicas = wanted_replicas(target, &wanted)?;
                let mut new = old.clone();
                for field in ["resourceVersion", "uid"] {
                    if let Some(given) =
                        wanted["metadata"].get(field).filter(|v| v.as_str().is_some_and(|s| !s.is_empty()))
                    {
                        new["metadata"][field] = given.clone();
                    }
                }
                set(&mut new, paths.spec_replicas, json!(replicas));
                Ok((new, Vec::new()))
            })
            .await?;
        scaled(target, paths, &written)
    }

    /// An applied `Scale` is an applied configuration of the object that says its replicas and nothing else.
    async fn apply_scale(
        &self,
        call: &Call,
        target: Target<'_>,
        paths: &ScalePaths,
        dry_run: bool,
    ) -> Result<Response<Body>, Status> {
        let mut application = Application::from_call(call, "scale")?;
        let scale = &application.config;
        let replicas = wanted_replicas(target, scale)?;
        let mut config = json!({"apiVersion": target.resource.kind.api_version(), "kind": target.resource.kind.kind});
        for field in ["resourceVersion", "uid", "managedFields"] {
            if let Some(given) = scale["metadata"].get(field).filter(|v| v.as_str() != Some("")) {
                config["metadata"][field] = given.clone();
            }
        }
        set(&mut config, paths.spec_replicas, json!(replicas));
        application.config = config;
        let written = self
            .update(&call.identity, target, Mode::Own, Ownership::Applied, dry_run, |old| {
                Ok((application.apply(target.resource, old)?, Vec::new()))
            })
            .await?;
        scaled(target, paths, &written)
    }
}

/// The answer: the `Scale` of an object as it was written.
fn scaled(target: Target<'_>, paths: &ScalePaths, written: &Written) -> Result<Response<Body>, Status> {
    let kind = target.resource.kind;
    let mut object: Value = serde_json::from_slice(&written.stored).map_err(|error| undecodable(kind, &error))?;
    if let Some(revision) = written.revision {
        stored::set_revision(&mut object, revision);
    }
    Ok(reply::value(StatusCode::OK, &scale_of(&object, paths), &written.warnings))
}

/// `spec.replicas` of a `Scale`; absent means none, as for Go clients that omit zeros.
fn wanted_replicas(target: Target<'_>, scale: &Value) -> Result<i64, Status> {
    let kind = scale["kind"].as_str().unwrap_or("Scale");
    if kind != "Scale" {
        return Err(Status::bad_request(format!("a {kind} is not a Scale")));
    }
    let invalid = |reason, message: String| {
        Err(Status::invalid(target.resource.kind, target.name, &[Problem::new("spec.replicas", reason, message)]))
    };
    match &scale["spec"]["replicas"] {
        Value::Null => Ok(0),
        value => match value.as_i64() {
            Some(replicas) if (0..=i64::from(i32::MAX)).contains(&replicas) => Ok(replicas),
            Some(replicas) => invalid(
                Reason::Invalid,
                format!("Invalid value: {replicas}: must be greater than or equal to 0 and fit 32 bits"),
            ),
            None => invalid(Reason::TypeInvalid, format!("Invalid value: {value}: must be an integer")),
        },
    }
}

fn scale_of(object: &Value, paths: &ScalePaths) -> Value {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let count = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let mut status = json!({"replicas": count(paths.status_replicas)});
    if let Some(selector) = object.pointer(paths.selector).and_then(selector_of) {
        status["selector"] = json!(selector.to_string());
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": count(paths.spec_replicas)}, "status": status,
    })
}

/// A `LabelSelector`, or the plain labels that a ReplicationController has: none of the former's members is a string.
fn selector_of(value: &Value) -> Option<Selector> {
    let plain = value.as_object().filter(|map| !map.is_empty() && map.values().all(Value::is_string));
    if plain.is_some() {
        return serde_json::from_value(value.clone()).ok().map(|labels| Selector::from_labels(&labels));
    }
    Selector::from_label_selector(value).ok().flatten()
}

/// Sets what a JSON pointer names, making objects on the way.
fn set(object: &mut Value, pointer: &str, value: Value) {
    let mut place = object;
    for step in pointer.split('/').skip(1) {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[step];
    }
    *place = value;
}
