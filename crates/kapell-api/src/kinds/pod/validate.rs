//! Validation of pods and of the specification that templates share with them.
//!
//! Fields that Kubernetes has and that would be dangerous to ignore are refused here (`not supported yet`); those
//! whose absence is merely felt get a warning in [`super::warnings`]. `docs/guide/supported.md` lists both.

use std::net::IpAddr;

use serde_json::Value;

use super::{affinity, container, ephemeral, is_process, volume};
use crate::kinds::field::Field;
use crate::kinds::meta::{self, Names};
use crate::names;
use crate::pod_groups::RESERVED;
use crate::problem::Problem;

const DNS_POLICIES: &[&str] = &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];

pub(super) fn validate_pod(pod: &Value) -> Vec<Problem> {
    let root = Field::root(pod);
    let mut problems = meta::validate(&root, Names::Subdomain);
    validate_spec(&root.field("spec"), &mut problems);
    problems
}

pub(super) fn validate_spec(spec: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let process = is_process(spec.value);
    let volumes = volume::validate(&spec.field("volumes"), problems);
    let mut around = container::Surroundings { process, may_lack_command: false, volumes };
    container::validate_all(spec, &around, problems);
    around.may_lack_command = true;
    ephemeral::validate(spec, &around, problems);
    check_life(spec, problems);
    check_names(spec, problems);
    check_dns(spec, problems);
    check_security(&spec.field("securityContext"), process, problems);
    affinity::validate(&spec.field("affinity"), problems);
    for toleration in spec.field("tolerations").items() {
        affinity::check_toleration(&toleration, problems);
    }
    meta::check_labels(&spec.field("nodeSelector"), problems);
    check_gates(spec, problems);
    refuse_unsupported(spec, problems);
}

fn check_gates(spec: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let gates = spec.field("schedulingGates");
    let mut seen = Vec::new();
    for gate in gates.items() {
        let name = gate.field("name");
        meta::check_required(&name, names::qualified_name, problems);
        if seen.contains(&name.text()) {
            problems.push(name.duplicate());
        }
        seen.push(name.text());
    }
    if gates.len() > 0 && !spec.field("nodeName").text().is_empty() {
        problems.push(spec.field("nodeName").forbidden("cannot be set until all schedulingGates have been cleared"));
    }
}

fn check_life(spec: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let restart_policy = spec.field("restartPolicy");
    if restart_policy.text().is_empty() {
        problems.push(restart_policy.required(""));
    } else {
        restart_policy.one_of(&["Always", "Never", "OnFailure"], problems);
    }
    spec.field("terminationGracePeriodSeconds").not_negative(problems);
    let deadline = spec.field("activeDeadlineSeconds");
    let longest = i64::from(i32::MAX);
    if deadline.int().is_some_and(|seconds| !(1..=longest).contains(&seconds)) {
        problems.push(deadline.invalid(&format!("must be between 1 and {longest}, inclusive")));
    }
}

fn check_names(spec: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    for name in ["serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName", "schedulerName"] {
        meta::check_if_set(&spec.field(name), names::dns1123_subdomain, problems);
    }
    for name in ["hostname", "subdomain"] {
        meta::check_if_set(&spec.field(name), names::dns1123_label, problems);
    }
    for secret in spec.field("imagePullSecrets").items() {
        meta::require(&secret.field("name"), problems);
    }
}

fn check_dns(spec: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let policy = spec.field("dnsPolicy");
    if !policy.text().is_empty() {
        policy.one_of(DNS_POLICIES, problems);
    }
    let config = spec.field("dnsConfig");
    let nameservers = config.field("nameservers");
    if policy.text() == "None" && nameservers.len() == 0 {
        problems.push(nameservers.required("must provide at least one DNS nameserver when `dnsPolicy` is None"));
    }
    for nameserver in nameservers.items() {
        check_ip(&nameserver, problems);
    }
    for alias in spec.field("hostAliases").items() {
        check_ip(&alias.field("ip"), problems);
        for hostname in alias.field("hostnames").items() {
            meta::check(&hostname, names::dns1123_subdomain, problems);
        }
    }
}

fn check_ip(address: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    if address.text().parse::<IpAddr>().is_err() {
        problems.push(address.invalid("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"));
    }
}

/// Whether a process may become who it asks to be, its node knows.
pub(super) fn check_security(context: &Field<'_, '_>, process: bool, problems: &mut Vec<Problem>) {
    check_id(&context.field("runAsUser"), problems);
    let own = ["runAsGroup", "fsGroup"].map(|name| context.field(name));
    for group in own.into_iter().chain(context.field("supplementalGroups").items()) {
        check_id(&group, problems);
        let is_reserved = |id: i64| u32::try_from(id).is_ok_and(|id| RESERVED.contains(&id));
        if process && group.int().is_some_and(is_reserved) {
            let (first, last) = (RESERVED.start(), RESERVED.end());
            problems.push(group.invalid(&format!("must not be from {first} to {last}: these are pods' own groups")));
        }
    }
    for sysctl in context.field("sysctls").items() {
        meta::check_required(&sysctl.field("name"), names::sysctl, problems);
    }
    let escalation = context.field("allowPrivilegeEscalation");
    if escalation.value == &Value::Bool(false) {
        let powerful = |name: &Field<'_, '_>| matches!(name.text(), "SYS_ADMIN" | "CAP_SYS_ADMIN");
        if context.field("privileged").truth() {
            problems
                .push(escalation.invalid("cannot set `allowPrivilegeEscalation` to false and `privileged` to true"));
        }
        if context.field("capabilities").field("add").items().any(|name| powerful(&name)) {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            problems.push(escalation.invalid(detail));
        }
    }
}

fn check_id(id: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let most = i64::from(i32::MAX);
    if id.int().is_some_and(|id| !(0..=most).contains(&id)) {
        problems.push(id.invalid(&format!("must be between 0 and {most}, inclusive")));
    }
}

/// What would do harm if it were accepted and ignored.
fn refuse_unsupported(spec: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    const REFUSED: &[(&str, &str)] = &[
        ("resourceClaims", "dynamic resource allocation; the pod would run without its devices"),
        ("readinessGates", "the pod would get traffic in spite of its gates"),
        ("resources", "limits of the pod as a whole; set them on its containers"),
    ];
    for (name, detail) in REFUSED {
        let field = spec.field(name);
        if field.len() > 0 {
            problems.push(field.unsupported_yet(detail));
        }
    }
}
