//! CertificateSigningRequests: who asks is written down by the server, and who decides or signs needs a right to do so for the signer
//! (upstream's admission plugins CertificateApproval, CertificateSigning and CertificateSubjectRestriction).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kapell_api::status::Status;
use serde_json::{Value, json};

use super::{Mode, name_of};
use crate::auth::{Identity, MASTERS};
use crate::authorize::Authorizer;
use crate::authorize::attributes::{Action, OnResource};
use crate::pki::requested_identity;
use crate::resources::Resource;

const GROUP: &str = "certificates.k8s.io";
/// Signs for clients of this server.
const API_CLIENT: &str = "kubernetes.io/kube-apiserver-client";

fn is_request(resource: &Resource) -> bool {
    resource.kind.group == GROUP && resource.kind.plural == "certificatesigningrequests"
}

/// Notes in a new request who asks. A client certificate of the masters would be a key to everything that nobody can take away: it is
/// refused.
pub(super) fn begin(resource: &Resource, by: &Identity, object: &mut Value) -> Result<(), Status> {
    if !is_request(resource) {
        return Ok(());
    }
    if let Some(spec) = object["spec"].as_object_mut() {
        let info = by.user_info();
        for field in ["username", "uid", "groups", "extra"] {
            match info.get(field) {
                Some(value) => drop(spec.insert(field.to_owned(), value.clone())),
                None => drop(spec.shift_remove(field)),
            }
        }
    }
    let encoded = object["spec"]["request"].as_str().unwrap_or_default();
    let named = STANDARD.decode(encoded).ok().and_then(|pem| requested_identity(&pem));
    let of_masters = named.is_some_and(|named| named.groups.iter().any(|group| group == MASTERS));
    if of_masters && object["spec"]["signerName"] == API_CLIENT {
        let why = format!("use of {API_CLIENT} signer with system:masters group is not allowed");
        return Err(Status::forbidden(resource.kind, name_of(object), &why));
    }
    Ok(())
}

/// What a change by way of `status` or `approval` leaves as it was: the first does not decide, the second does nothing else.
pub(super) fn settle(resource: &Resource, mode: Mode, new: &mut Value, old: &Value) {
    if !is_request(resource) || mode != Mode::Status {
        return;
    }
    let decides = |condition: &&Value| matches!(condition["type"].as_str(), Some("Approved" | "Denied"));
    let list = |object: &Value| object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let (before, after) = (list(old), list(new));
    let mut conditions: Vec<Value> = before.iter().filter(decides).cloned().collect();
    conditions.extend(after.iter().filter(|condition| !decides(condition)).cloned());
    if new["status"].is_object() || !conditions.is_empty() {
        new["status"]["conditions"] = json!(conditions);
    }
}

/// Insists on the right to approve or to sign for the signer.
pub(super) fn check(
    authorizer: &Authorizer,
    resource: &Resource,
    by: &Identity,
    mode: Mode,
    new: &Value,
    old: &Value,
) -> Result<(), Status> {
    let same = |field: &str| old["status"][field] == new["status"][field];
    let verb = match mode {
        Mode::Approval if is_request(resource) && !same("conditions") => "approve",
        Mode::Status if is_request(resource) && !(same("certificate") && same("conditions")) => "sign",
        _ => return Ok(()),
    };
    let signer = new["spec"]["signerName"].as_str().unwrap_or_default();
    let all = format!("{}/*", signer.split('/').next().unwrap_or_default());
    let may = |name: &str| {
        let on = OnResource { verb, group: GROUP, version: "*", resource: "signers", name, ..OnResource::default() };
        authorizer.decide(by, &Action::Resource(on)).is_allowed()
    };
    if may(signer) || may(&all) {
        return Ok(());
    }
    let why = format!("user not permitted to {verb} requests with signerName {signer:?}");
    Err(Status::forbidden(resource.kind, name_of(new), &why))
}
