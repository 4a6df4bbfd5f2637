//! What a Service may become. What was allocated stays unless the new type has no use for it.

use serde_json::Value;

use crate::kinds::field::{Field, at, carry_over, drop_key, each, fill, int, is_set, items, part, same, text};
use crate::kinds::keep_status;
use crate::problem::Problem;

/// Types that have an address of their own.
fn has_cluster_ip(type_: &str) -> bool {
    matches!(type_, "" | "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn has_node_ports(type_: &str) -> bool {
    matches!(type_, "NodePort" | "LoadBalancer")
}

/// Carries over what the server had allocated and the writer left out, as a file that is applied again does; and lets
/// go of what only the old type had, unless the writer has changed it and so means it.
pub(super) fn prepare_update(new: &mut Value, old: &Value) {
    keep_status(new, old);
    let old_type = text(old, "/spec/type").to_owned();
    let Some(spec) = part(new, "spec") else { return };
    let type_ = text(spec, "/type").to_owned();
    if has_cluster_ip(&old_type) && has_cluster_ip(&type_) {
        if !is_set_text(spec, "/clusterIP") && items(spec, "/clusterIPs").is_empty() {
            carry_over(spec, at(old, "/spec"), "clusterIP");
            carry_over(spec, at(old, "/spec"), "clusterIPs");
        }
    } else if has_cluster_ip(&old_type)
        // Who takes the one address away means the list of them, too.
        && (!is_set_text(spec, "/clusterIP") || same(at(spec, "/clusterIP"), at(old, "/spec/clusterIP")))
    {
        release(spec, old, &["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]);
    }
    if has_node_ports(&old_type) && has_node_ports(&type_) {
        keep_node_ports(spec, old);
        if text(spec, "/externalTrafficPolicy") == "Local" && !is_set(spec, "/healthCheckNodePort") {
            carry_over(spec, at(old, "/spec"), "healthCheckNodePort");
        }
    } else if has_node_ports(&old_type) {
        release_node_ports(spec, old);
        release(spec, old, &["externalTrafficPolicy", "healthCheckNodePort"]);
    }
    if old_type == "LoadBalancer" && type_ != "LoadBalancer" {
        release(spec, old, &["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
        if let Some(status) = part(new, "status") {
            drop_key(status, "loadBalancer");
        }
    } else if old_type == "ExternalName" && type_ != "ExternalName" {
        release(spec, old, &["externalName"]);
    }
    let Some(spec) = part(new, "spec") else { return };
    if text(old, "/spec/sessionAffinity") == "ClientIP" && text(spec, "/sessionAffinity") != "ClientIP" {
        release(spec, old, &["sessionAffinityConfig"]);
    }
}

/// Drops those fields that are as they were.
fn release(spec: &mut Value, old: &Value, names: &[&str]) {
    for name in names {
        if same(spec.get(name).unwrap_or(&Value::Null), at(old, "/spec").get(name).unwrap_or(&Value::Null)) {
            drop_key(spec, name);
        }
    }
}

fn is_set_text(value: &Value, pointer: &str) -> bool {
    !text(value, pointer).is_empty()
}

/// A port that keeps its number and protocol keeps its node port.
fn keep_node_ports(spec: &mut Value, old: &Value) {
    for port in each(spec, "ports") {
        let allocated = items(old, "/spec/ports").iter().find(|before| same_port(before, port));
        if let Some(node_port) = allocated.and_then(|before| int(before, "/nodePort"))
            && int(port, "/nodePort").unwrap_or_default() == 0
        {
            drop_key(port, "nodePort");
            fill(port, "nodePort", node_port);
        }
    }
}

/// Node ports that are unchanged were not asked for by whoever turned the service into a plain one.
fn release_node_ports(spec: &mut Value, old: &Value) {
    for port in each(spec, "ports") {
        let before = items(old, "/spec/ports").iter().find(|before| same_port(before, port));
        if before.is_some_and(|before| at(before, "/nodePort") == at(port, "/nodePort")) {
            drop_key(port, "nodePort");
        }
    }
}

fn same_port(a: &Value, b: &Value) -> bool {
    let protocol = |port| match text(port, "/protocol") {
        "" => "TCP".to_owned(),
        protocol => protocol.to_owned(),
    };
    int(a, "/port") == int(b, "/port") && protocol(a) == protocol(b)
}

pub(super) fn validate_update(new: &Value, old: &Value) -> Vec<Problem> {
    let root = Field::root(new);
    let spec = root.field("spec");
    let mut problems = Vec::new();
    let both_have = has_cluster_ip(text(old, "/spec/type")) && has_cluster_ip(spec.field("type").text());
    let before = text(old, "/spec/clusterIP");
    // An address may be allocated where there was none, and goes when the service becomes an ExternalName.
    if both_have && !before.is_empty() {
        if spec.field("clusterIP").text() != before {
            problems.push(spec.field("clusterIP").invalid("field is immutable"));
        } else {
            let first = spec.field("clusterIPs");
            if let Some(first) = first.items().next()
                && first.text() != before
            {
                problems.push(first.invalid("may not change once set"));
            }
        }
    }
    let class = spec.field("loadBalancerClass");
    let old_class = at(old, "/spec/loadBalancerClass");
    let stays = text(old, "/spec/type") == "LoadBalancer" && spec.field("type").text() == "LoadBalancer";
    if stays && !same(class.value, old_class) {
        problems.push(class.invalid("may not change once set"));
    }
    problems
}
