//! Leases.

use serde_json::Value;

use super::cells::{AGE, NAME};
use super::field::{Field, text};
use super::meta::{self, Names};
use super::{PLAIN, schema_of};
use crate::kind::{Column, Kind};
use crate::problem::Problem;

pub(super) const LEASE: Kind = Kind {
    group: "coordination.k8s.io",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    columns: &[
        NAME,
        Column::new("Holder", "string", "Who holds it.", |lease, _| text(lease, "/spec/holderIdentity").into()),
        AGE,
    ],
    schema: || schema_of("io.k8s.api.coordination.v1.Lease"),
    // Two holders that overwrite each other would both believe that they lead.
    unconditional_update: false,
    validate: validate_lease,
    ..PLAIN
};

fn validate_lease(lease: &Value) -> Vec<Problem> {
    let root = Field::root(lease);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let spec = root.field("spec");
    let duration = spec.field("leaseDurationSeconds");
    if duration.int().is_some_and(|seconds| seconds <= 0) {
        problems.push(duration.invalid("must be greater than 0"));
    }
    spec.field("leaseTransitions").not_negative(&mut problems);
    if let Some("") = spec.field("holderIdentity").value.as_str()
        && spec.field("strategy").is_set()
    {
        problems.push(spec.field("holderIdentity").required("must be specified when `strategy` is set"));
    }
    let strategy = spec.field("strategy");
    if strategy.is_set() || spec.field("preferredHolder").is_set() {
        problems.push(strategy.unsupported_yet("coordinated leader election; drop `strategy` and `preferredHolder`"));
    }
    problems
}
