//! `POST serviceaccounts/NAME/token`: a signed token for the account, bound to it and, if asked, to a pod or secret.

use axum::body::Body;
use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use kapell_api::problem::Problem;
use kapell_api::service_account::{LEAST_TOKEN_SECONDS, MOST_TOKEN_SECONDS};
use kapell_api::status::{About, Status};
use kapell_api::time;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Call, Engine, Target, decode, name_of};
use crate::auth::account_user;
use crate::auth::token::{AUDIENCE, Bound, Claims, ISSUER, Reference};
use crate::{body, reply};

/// As upstream.
const DEFAULT_SECONDS: i64 = 3_600;

/// `authentication.k8s.io/v1 TokenRequest`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct TokenRequest {
    api_version: String,
    kind: String,
    #[serde(rename = "metadata")]
    _metadata: Value,
    spec: Specification,
    #[serde(rename = "status")]
    _status: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Specification {
    audiences: Option<Vec<String>>,
    bound_object_ref: Option<BoundObject>,
    expiration_seconds: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct BoundObject {
    api_version: String,
    kind: String,
    name: String,
    uid: String,
}

impl Engine {
    pub(super) async fn create_token(&self, call: &Call, target: Target<'_>) -> Result<Response<Body>, Status> {
        let dry_run = body::dry_run(&call.query)?;
        let request = parse(call)?;
        let seconds = lifetime(target, request.spec.expiration_seconds)?;
        let audiences = request.spec.audiences.filter(|list| !list.is_empty());
        let audiences = audiences.unwrap_or_else(|| vec![AUDIENCE.to_owned()]);
        let account = decode(target.resource.kind, &*self.fetch(target).await?)?;
        let now = Timestamp::now();
        let mut bound = Bound {
            namespace: target.namespace.unwrap_or_default().to_owned(),
            serviceaccount: reference_to(&account),
            pod: None,
            secret: None,
        };
        if let Some(object) = &request.spec.bound_object_ref {
            self.bind_token(target, object, &mut bound).await?;
        }
        let claims = Claims {
            aud: audiences.clone(),
            exp: now.as_second() + seconds,
            iat: now.as_second(),
            iss: ISSUER.to_owned(),
            jti: Uuid::new_v4().to_string(),
            nbf: now.as_second(),
            sub: account_user(&bound.namespace, target.name),
            kubernetes: bound,
        };
        // A dry run leaves nothing behind, and a token is something.
        let token = match dry_run {
            true => String::new(),
            false => self.authenticator.accounts().sign(&claims).map_err(|e| Status::internal(e.to_string()))?,
        };
        let expiration = now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
        let mut spec = json!({"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": null});
        if let Some(BoundObject { api_version, kind, name, uid }) = &request.spec.bound_object_ref {
            spec["boundObjectRef"] = json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": uid});
        }
        let answer = json!({
            "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                "name": target.name, "namespace": target.namespace, "creationTimestamp": time::format_time(now),
            },
            "spec": spec,
            "status": {"token": token, "expirationTimestamp": time::format_time(expiration)},
        });
        Ok(reply::value(StatusCode::CREATED, &answer, &[]))
    }

    /// Binds to a pod that runs as the account, or to a secret.
    async fn bind_token(&self, target: Target<'_>, object: &BoundObject, bound: &mut Bound) -> Result<(), Status> {
        let core = matches!(object.api_version.as_str(), "v1" | "");
        let plural = match object.kind.as_str() {
            "Pod" if core => "pods",
            "Secret" if core => "secrets",
            kind => {
                let message = format!("cannot bind token for serviceaccount {:?} to type {kind}", target.name);
                return Err(Status::bad_request(message));
            }
        };
        let resource = self.resources.find("", "v1", plural).ok_or_else(Status::no_such_resource)?;
        let found = Target { resource, namespace: target.namespace, name: &object.name };
        let present = decode(resource.kind, &*self.fetch(found).await?)?;
        let reference = reference_to(&present);
        if !object.uid.is_empty() && object.uid != reference.uid {
            let why = format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The object might have been \
                 deleted and then recreated",
                object.uid
            );
            return Err(Status::conflict(resource.kind, &object.name, &why));
        }
        if plural == "secrets" {
            bound.secret = Some(reference);
            return Ok(());
        }
        if present["spec"]["serviceAccountName"] != target.name {
            let message = format!(
                "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                target.name
            );
            return Err(Status::bad_request(message));
        }
        bound.pod = Some(reference);
        Ok(())
    }
}

fn parse(call: &Call) -> Result<TokenRequest, Status> {
    let refused = |why: String| Status::bad_request(format!("the token request cannot be decoded: {why}"));
    let (value, duplicates) = body::parse(&call.headers, &call.body)?;
    if let Some(duplicate) = duplicates.into_iter().next() {
        return Err(refused(duplicate));
    }
    let request: TokenRequest = serde_json::from_value(value).map_err(|error| refused(error.to_string()))?;
    let known = matches!(request.kind.as_str(), "" | "TokenRequest")
        && matches!(request.api_version.as_str(), "" | "authentication.k8s.io/v1");
    if known { Ok(request) } else { Err(refused(format!("a {} is not a TokenRequest", request.kind))) }
}

fn lifetime(target: Target<'_>, wanted: Option<i64>) -> Result<i64, Status> {
    let seconds = wanted.unwrap_or(DEFAULT_SECONDS);
    let detail = match seconds {
        ..LEAST_TOKEN_SECONDS => "may not specify a duration less than 10 minutes",
        seconds if seconds > MOST_TOKEN_SECONDS => "may not specify a duration larger than 2^32 seconds",
        _ => return Ok(seconds),
    };
    let about = About { group: "authentication.k8s.io", plural: "tokenrequests", kind: "TokenRequest" };
    let problem = Problem::invalid("spec.expirationSeconds", seconds, detail);
    Err(Status::invalid(about, target.name, &[problem]))
}

fn reference_to(object: &Value) -> Reference {
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    Reference { name: name_of(object).to_owned(), uid: uid.to_owned() }
}
