//! NetworkPolicies: their row, defaults and validation.

use serde_json::{Value, json};

use crate::kind::{Column, Kind};
use crate::kinds::cells::{AGE, NAME, label_selector};
use crate::kinds::field::{Field, at, drop_key, each, fill, fill_text, items, part, part_or_new};
use crate::kinds::meta::{self, Names};
use crate::kinds::{PLAIN, schema_of};
use crate::names;
use crate::problem::Problem;

pub(in crate::kinds) const NETWORK_POLICY: Kind = Kind {
    group: "networking.k8s.io",
    kind: "NetworkPolicy",
    plural: "networkpolicies",
    singular: "networkpolicy",
    short_names: &["netpol"],
    columns: &[
        NAME,
        Column::new("Pod-Selector", "string", "Pods that it is about.", |policy, _| {
            label_selector(at(policy, "/spec/podSelector"))
        }),
        AGE,
    ],
    schema: || schema_of("io.k8s.api.networking.v1.NetworkPolicy"),
    has_generation: true,
    default: default_policy,
    validate: validate_policy,
    warnings: |_| {
        vec!["network policies are stored but not enforced: process pods share the host's network".to_owned()]
    },
    ..PLAIN
};

fn default_policy(policy: &mut Value) {
    let Some(spec) = part(policy, "spec") else { return };
    part_or_new(spec, "podSelector");
    if items(spec, "/policyTypes").is_empty() {
        let types = if items(spec, "/egress").is_empty() { json!(["Ingress"]) } else { json!(["Ingress", "Egress"]) };
        drop_key(spec, "policyTypes");
        fill(spec, "policyTypes", types);
    }
    for direction in ["ingress", "egress"] {
        for rule in each(spec, direction) {
            for port in each(rule, "ports") {
                fill_text(port, "protocol", "TCP");
            }
        }
    }
}

fn validate_policy(policy: &Value) -> Vec<Problem> {
    let root = Field::root(policy);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let spec = root.field("spec");
    meta::check_label_selector(&spec.field("podSelector"), &mut problems);
    for type_ in spec.field("policyTypes").items() {
        type_.one_of(&["Egress", "Ingress"], &mut problems);
    }
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.field(direction).items() {
            for port in rule.field("ports").items() {
                check_port(&port, &mut problems);
            }
            for peer in rule.field(peers).items() {
                check_peer(&peer, &mut problems);
            }
        }
    }
    problems
}

fn check_port(port: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    port.field("protocol").one_of(&["SCTP", "TCP", "UDP"], problems);
    let (first, last) = (port.field("port"), port.field("endPort"));
    if first.value.is_string() {
        meta::check(&first, names::port_name, problems);
    } else if first.is_set() {
        meta::check_port(&first, problems);
    }
    if last.is_set() {
        match first.int() {
            None => problems.push(last.invalid("may not be specified when `port` is not a number")),
            Some(number) if last.int().is_some_and(|end| end < number) => {
                problems.push(last.invalid("must be greater than or equal to `port`"));
            }
            Some(_) => meta::check_port(&last, problems),
        }
    }
}

fn check_peer(peer: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let (pods, namespaces, block) = (peer.field("podSelector"), peer.field("namespaceSelector"), peer.field("ipBlock"));
    meta::check_label_selector(&pods, problems);
    meta::check_label_selector(&namespaces, problems);
    if !pods.is_set() && !namespaces.is_set() && !block.is_set() {
        problems.push(peer.required("must specify a peer"));
    } else if block.is_set() && (pods.is_set() || namespaces.is_set()) {
        problems.push(block.forbidden("may not specify both ipBlock and another peer"));
    }
    if block.is_set() {
        check_cidr(&block.field("cidr"), problems);
        for except in block.field("except").items() {
            check_cidr(&except, problems);
        }
    }
}

fn check_cidr(cidr: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let parsed = cidr.text().split_once('/').and_then(|(address, length)| {
        let address: std::net::IpAddr = address.parse().ok()?;
        let length: u8 = length.parse().ok()?;
        (length <= if address.is_ipv4() { 32 } else { 128 }).then_some(())
    });
    if parsed.is_none() {
        problems.push(cidr.invalid("must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"));
    }
}
