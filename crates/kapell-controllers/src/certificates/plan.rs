//! What to do about one CertificateSigningRequest.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

/// The one signer that is ours.
pub(super) const API_CLIENT: &str = "kubernetes.io/kube-apiserver-client";

const CLIENT_AUTH: &str = "client auth";
const KEY_ENCIPHERMENT: &str = "key encipherment";
const ALLOWED: [&str; 3] = [CLIENT_AUTH, "digital signature", KEY_ENCIPHERMENT];

/// As upstream's `--cluster-signing-duration`: nobody gets a longer one.
const LONGEST: SignedDuration = SignedDuration::from_hours(365 * 24);
/// Clocks that are a little behind accept a new certificate at once, as upstream.
const BACKDATED: SignedDuration = SignedDuration::from_mins(5);
/// How long requests stay to be looked at, as upstream: undecided ones, and those about which all is said.
const UNDECIDED: SignedDuration = SignedDuration::from_hours(24);
const DECIDED: SignedDuration = SignedDuration::from_hours(1);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    Sign {
        encipherment: bool,
        from: Timestamp,
        until: Timestamp,
    },
    /// Will never be signed, and why.
    Fail(String),
    Delete,
}

/// What to do now, and when to look again although nothing has changed.
pub(super) fn plan(request: &CertificateSigningRequest, now: Timestamp) -> (Action, Option<Duration>) {
    if request.metadata.deletion_timestamp.is_some() {
        return (Action::Nothing, None);
    }
    let status = request.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let has = |type_: &str| conditions.iter().any(|condition| condition.type_ == type_);
    let issued = status.certificate.is_some_and(|certificate| !certificate.0.is_empty());
    let decided = conditions.iter().filter(|c| matches!(c.type_.as_str(), "Approved" | "Denied" | "Failed"));
    let last = decided.filter_map(|condition| condition.last_update_time.as_ref()).map(|time| time.0).max();
    let created = request.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let awaits_signature = has("Approved") && !has("Denied") && !has("Failed") && !issued;
    if awaits_signature && request.spec.signer_name == API_CLIENT {
        return (sign(request, now), None);
    }
    let ends = match last {
        Some(last) => last.saturating_add(DECIDED),
        None => created.saturating_add(UNDECIDED),
    };
    let left = ends.unwrap_or(Timestamp::MAX).duration_since(now);
    if left.is_positive() { (Action::Nothing, Some(left.unsigned_abs())) } else { (Action::Delete, None) }
}

fn sign(request: &CertificateSigningRequest, now: Timestamp) -> Action {
    let usages = request.spec.usages.clone().unwrap_or_default();
    let has = |usage: &str| usages.iter().any(|found| found == usage);
    if let Some(other) = usages.iter().find(|usage| !ALLOWED.contains(&usage.as_str())) {
        return Action::Fail(format!(
            "usage {other:?} is not allowed for {API_CLIENT}; it signs {}",
            ALLOWED.join(", ")
        ));
    }
    if !has(CLIENT_AUTH) {
        return Action::Fail(format!("usage {CLIENT_AUTH:?} is needed for {API_CLIENT}"));
    }
    let wanted = request.spec.expiration_seconds.map(|seconds| SignedDuration::from_secs(seconds.into()));
    let life = wanted.unwrap_or(LONGEST).min(LONGEST);
    Action::Sign {
        encipherment: has(KEY_ENCIPHERMENT),
        from: now.saturating_sub(BACKDATED).unwrap_or(Timestamp::MIN),
        until: now.saturating_add(life).unwrap_or(Timestamp::MAX),
    }
}
