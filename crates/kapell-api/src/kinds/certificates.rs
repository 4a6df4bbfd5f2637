//! CertificateSigningRequests. Whether a request can be decoded is the signer's to find out; here it is only text in its
//! envelope.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::cells::{AGE, NAME};
use super::field::{Field, at, carry_over, items, part, text};
use super::meta::{self, Names};
use super::{PLAIN, empty_status, schema_of};
use crate::kind::{Column, Kind, SelectableField, Subresource};
use crate::names;
use crate::problem::Problem;

/// As upstream: ten minutes.
const LEAST_SECONDS: i64 = 600;

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

pub(super) const CERTIFICATE_SIGNING_REQUEST: Kind = Kind {
    group: "certificates.k8s.io",
    kind: "CertificateSigningRequest",
    plural: "certificatesigningrequests",
    singular: "certificatesigningrequest",
    short_names: &["csr"],
    namespaced: false,
    subresources: &[Subresource::Status, Subresource::Approval],
    columns: &[
        NAME,
        AGE,
        Column::new("SignerName", "string", "Who is asked to sign.", |csr, _| text(csr, "/spec/signerName").into()),
        Column::new("Requestor", "string", "Who has asked.", |csr, _| text(csr, "/spec/username").into()),
        Column::new("RequestedDuration", "string", "How long it is to be valid.", |csr, _| {
            match at(csr, "/spec/expirationSeconds").as_i64() {
                Some(seconds) => crate::time::human_duration(seconds).into(),
                None => "<none>".into(),
            }
        }),
        Column::new("Condition", "string", "What has become of it.", |csr, _| condition(csr).into()),
    ],
    selectable_fields: &[SelectableField {
        path: "spec.signerName",
        value: |csr| text(csr, "/spec/signerName").to_owned(),
    }],
    schema: || schema_of("io.k8s.api.certificates.v1.CertificateSigningRequest"),
    prepare_create: empty_status,
    // Nothing of what was asked for changes; who asked is the server's to say.
    prepare_update: |new, old| {
        carry_over(new, old, "spec");
        carry_over(new, old, "status");
    },
    default: |csr| {
        for condition in part(csr, "status").into_iter().flat_map(|status| super::field::each(status, "conditions")) {
            super::field::fill_text(condition, "status", "True");
        }
    },
    validate,
    ..PLAIN
};

/// `Approved,Issued`, as `kubectl get` shows it.
fn condition(csr: &Value) -> String {
    let has = |type_: &str| items(csr, "/status/conditions").iter().any(|condition| condition["type"] == type_);
    let mut words: Vec<&str> = ["Approved", "Denied", "Failed"].into_iter().filter(|type_| has(type_)).collect();
    if words.is_empty() {
        words.push("Pending");
    }
    if !text(csr, "/status/certificate").is_empty() {
        words.push("Issued");
    }
    words.join(",")
}

fn validate(csr: &Value) -> Vec<Problem> {
    let root = Field::root(csr);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let spec = root.field("spec");
    let request = spec.field("request");
    if request.text().is_empty() {
        problems.push(request.required(""));
    } else if !is_pem_request(request.text()) {
        problems.push(request.invalid("PEM block type must be CERTIFICATE REQUEST"));
    }
    check_signer(&spec.field("signerName"), &mut problems);
    let usages = spec.field("usages");
    if usages.len() == 0 {
        problems.push(usages.required("usages is required"));
    }
    let mut seen = Vec::new();
    for usage in usages.items() {
        usage.one_of(USAGES, &mut problems);
        if seen.contains(&usage.text()) {
            problems.push(usage.duplicate());
        }
        seen.push(usage.text());
    }
    let seconds = spec.field("expirationSeconds");
    if seconds.int().is_some_and(|seconds| seconds < LEAST_SECONDS) {
        problems.push(seconds.invalid("may not specify a duration less than 600 seconds (10 minutes)"));
    }
    check_conditions(&root.field("status").field("conditions"), &mut problems);
    problems
}

fn is_pem_request(encoded: &str) -> bool {
    let Ok(bytes) = STANDARD.decode(encoded) else { return false };
    let text = String::from_utf8_lossy(&bytes);
    text.trim_start().starts_with("-----BEGIN CERTIFICATE REQUEST-----")
        && text.contains("-----END CERTIFICATE REQUEST-----")
}

/// `domain/path`.
fn check_signer(signer: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    if signer.text().is_empty() {
        return problems.push(signer.required(""));
    }
    match signer.text().split_once('/') {
        Some((domain, path)) if !path.is_empty() => {
            let wrong = names::dns1123_subdomain(domain);
            if !wrong.is_empty() {
                problems.extend(wrong.iter().map(|why| signer.invalid(why)));
            } else if !domain.contains('.') {
                problems.push(signer.invalid("should be a domain with at least two segments separated by dots"));
            }
        }
        _ => problems
            .push(signer.invalid("must be a fully qualified domain and path of the form 'example.com/signer-name'")),
    }
}

fn check_conditions(conditions: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let mut seen = Vec::new();
    for condition in conditions.items() {
        let type_ = condition.field("type");
        let decided = matches!(type_.text(), "Approved" | "Denied" | "Failed");
        if type_.text().is_empty() {
            problems.push(type_.required(""));
        } else if seen.contains(&type_.text()) {
            problems.push(condition.duplicate());
        }
        let opposite = if type_.text() == "Approved" { "Denied" } else { "Approved" };
        if matches!(type_.text(), "Approved" | "Denied") && seen.contains(&opposite) {
            problems.push(type_.invalid("Approved and Denied conditions are mutually exclusive"));
        }
        let status = condition.field("status");
        if decided && status.text() != "True" {
            problems.push(status.invalid("must be True: what is decided stays"));
        }
        seen.push(type_.text());
    }
}

#[cfg(test)]
mod tests;
