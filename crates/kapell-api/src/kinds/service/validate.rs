//! Validation of Services, and warnings about what no gateway does yet.

use std::net::Ipv4Addr;

use serde_json::Value;

use crate::kinds::field::{Field, int, is_set, items, text};
use crate::kinds::meta::{self, Names};
use crate::names;
use crate::problem::Problem;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
/// A day: the longest that upstream lets a session stick.
const MAX_STICKY_SECONDS: i64 = 86_400;

pub(super) fn validate_service(service: &Value) -> Vec<Problem> {
    let root = Field::root(service);
    let mut problems = meta::validate(&root, Names::Label1035);
    let spec = root.field("spec");
    let type_ = spec.field("type");
    if type_.text().is_empty() {
        problems.push(type_.required(""));
    } else {
        type_.one_of(TYPES, &mut problems);
    }
    check_ports(&spec, &mut problems);
    meta::check_labels(&spec.field("selector"), &mut problems);
    check_affinity(&spec, &mut problems);
    check_addresses(&spec, &mut problems);
    check_policies(&spec, &mut problems);
    problems
}

fn check_ports(spec: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let ports = spec.field("ports");
    let type_ = spec.field("type").text();
    let headless = spec.field("clusterIP").text() == "None";
    if ports.len() == 0 && !headless && type_ != "ExternalName" {
        problems.push(ports.required(""));
    }
    let mut names_seen = Vec::new();
    let mut numbers_seen = Vec::new();
    let mut node_ports_seen = Vec::new();
    for port in ports.items() {
        let (name, number, protocol) = (port.field("name"), port.field("port"), port.field("protocol"));
        if !name.text().is_empty() {
            meta::check(&name, names::dns1123_label, problems);
            if names_seen.contains(&name.text()) {
                problems.push(name.duplicate());
            }
            names_seen.push(name.text());
        } else if ports.len() > 1 {
            problems.push(name.required(""));
        }
        meta::check_port(&number, problems);
        protocol.one_of(PROTOCOLS, problems);
        check_target(&port.field("targetPort"), problems);
        if numbers_seen.contains(&(number.int(), protocol.text())) {
            problems.push(port.duplicate());
        }
        numbers_seen.push((number.int(), protocol.text()));
        let node_port = port.field("nodePort");
        let Some(wanted) = node_port.int().filter(|wanted| *wanted != 0) else { continue };
        if !matches!(type_, "NodePort" | "LoadBalancer") {
            problems.push(node_port.forbidden(&format!("may not be used when `type` is '{type_}'")));
        }
        meta::check_port(&node_port, problems);
        if node_ports_seen.contains(&(wanted, protocol.text())) {
            problems.push(node_port.duplicate());
        }
        node_ports_seen.push((wanted, protocol.text()));
    }
}

fn check_target(target: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    if target.value.is_string() {
        meta::check(target, names::port_name, problems);
    } else if target.is_set() {
        meta::check_port(target, problems);
    }
}

fn check_affinity(spec: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let affinity = spec.field("sessionAffinity");
    if affinity.text().is_empty() {
        problems.push(affinity.required(""));
    } else {
        affinity.one_of(&["ClientIP", "None"], problems);
    }
    let config = spec.field("sessionAffinityConfig");
    if affinity.text() == "None" && config.is_set() {
        problems.push(config.forbidden("must not be set when session affinity is None"));
    }
    let client_ip = config.field("clientIP");
    let timeout = client_ip.field("timeoutSeconds");
    if timeout.int().is_some_and(|seconds| !(1..=MAX_STICKY_SECONDS).contains(&seconds)) {
        problems.push(timeout.invalid(&format!("must be greater than 0 and less than {MAX_STICKY_SECONDS}")));
    }
}

fn check_addresses(spec: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let type_ = spec.field("type").text();
    let (single, list) = (spec.field("clusterIP"), spec.field("clusterIPs"));
    if type_ == "ExternalName" {
        for field in [&single, &list] {
            if field.is_set() && !field.text().is_empty() || field.len() > 0 {
                problems.push(field.forbidden("may not be set for ExternalName services"));
            }
        }
        meta::check_required(&spec.field("externalName"), names::dns1123_subdomain, problems);
        return;
    }
    if type_ != "ClusterIP" && single.text() == "None" {
        problems.push(single.invalid(&format!("may not be set to 'None' for {type_} services")));
    }
    if !matches!(single.text(), "" | "None") && single.text().parse::<Ipv4Addr>().is_err() {
        problems.push(single.invalid("must be empty, 'None', or a valid IPv4 address"));
    }
    if list.len() > 1 {
        problems.push(list.unsupported_yet("a second address; this server has IPv4 only"));
    }
    if let Some(first) = list.items().next()
        && first.text() != single.text()
    {
        problems.push(list.invalid("first value must match `clusterIP`"));
    }
    for family in spec.field("ipFamilies").items() {
        match family.text() {
            "IPv4" => {}
            "IPv6" => problems.push(family.unsupported_yet("this server has IPv4 addresses only")),
            _ => family.one_of(&["IPv4", "IPv6"], problems),
        }
    }
    let policy = spec.field("ipFamilyPolicy");
    match policy.text() {
        "RequireDualStack" => problems.push(policy.unsupported_yet("this server has IPv4 addresses only")),
        _ => policy.one_of(&["PreferDualStack", "RequireDualStack", "SingleStack"], problems),
    }
    for address in spec.field("externalIPs").items() {
        if address.text().parse::<std::net::IpAddr>().is_err() {
            problems.push(address.invalid("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"));
        }
    }
}

fn check_policies(spec: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let type_ = spec.field("type").text();
    let internal = spec.field("internalTrafficPolicy");
    if internal.is_set() {
        internal.one_of(&["Cluster", "Local"], problems);
    }
    let external = spec.field("externalTrafficPolicy");
    let exposed = matches!(type_, "NodePort" | "LoadBalancer") || spec.field("externalIPs").len() > 0;
    if !external.text().is_empty() {
        if exposed {
            external.one_of(&["Cluster", "Local"], problems);
        } else {
            problems.push(external.invalid("may only be set for externally-accessible services"));
        }
    }
    for name in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        let field = spec.field(name);
        if field.is_set() && type_ != "LoadBalancer" {
            problems.push(field.forbidden("may only be used when `type` is 'LoadBalancer'"));
        }
    }
    let ranges = spec.field("loadBalancerSourceRanges");
    if ranges.len() > 0 && type_ != "LoadBalancer" {
        problems.push(ranges.forbidden("may only be used when `type` is 'LoadBalancer'"));
    }
}

pub(super) fn warn_about_service(service: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut warn = |path: &str, effect: &str| warnings.push(format!("{path}: {effect}"));
    if !items(service, "/spec/externalIPs").is_empty() {
        warn("spec.externalIPs", "not supported yet; nothing listens on these addresses");
    }
    if !items(service, "/spec/loadBalancerSourceRanges").is_empty() {
        warn("spec.loadBalancerSourceRanges", "not enforced; the service answers on this machine's loopback only");
    }
    if is_set(service, "/spec/loadBalancerClass") {
        warn("spec.loadBalancerClass", "ignored; the built-in gateway serves the service");
    }
    if !text(service, "/spec/loadBalancerIP").is_empty() {
        warn("spec.loadBalancerIP", "ignored; the address is the cluster IP");
    }
    for name in ["externalTrafficPolicy", "internalTrafficPolicy"] {
        if text(service, &format!("/spec/{name}")) == "Local" {
            warn(&format!("spec.{name}"), "`Local` has no effect while there is one node");
        }
    }
    if is_set(service, "/spec/trafficDistribution") {
        warn("spec.trafficDistribution", "ignored while there is one node");
    }
    if text(service, "/spec/type") == "ExternalName" {
        warn("spec.externalName", "not supported yet; there is no cluster DNS, so nothing resolves to this name");
    }
    if int(service, "/spec/healthCheckNodePort").is_some_and(|port| port != 0) {
        warn("spec.healthCheckNodePort", "not supported yet; nothing listens on this port");
    }
    for (index, port) in items(service, "/spec/ports").iter().enumerate() {
        if !matches!(text(port, "/protocol"), "" | "TCP") {
            let protocol = text(port, "/protocol");
            warn(
                &format!("spec.ports[{index}].protocol"),
                &format!("{protocol} is not supported yet; nothing listens"),
            );
        }
    }
    warnings
}
