//! Defaults of Services.

use serde_json::{Value, json};

use crate::kinds::field::{at, drop_key, each, fill, fill_text, items, part, text};

pub(super) fn default_service(service: &mut Value) {
    let Some(spec) = part(service, "spec") else { return };
    fill_text(spec, "type", "ClusterIP");
    fill_text(spec, "sessionAffinity", "None");
    let type_ = text(spec, "/type").to_owned();
    if text(spec, "/sessionAffinity") == "ClientIP" {
        // Three hours, as upstream.
        fill(spec, "sessionAffinityConfig", json!({ "clientIP": { "timeoutSeconds": 10_800 } }));
    }
    for port in each(spec, "ports") {
        fill_text(port, "protocol", "TCP");
        let number = at(port, "/port").clone();
        let target = at(port, "/targetPort");
        if number.is_i64() && (target.is_null() || target == 0 || target == "") {
            drop_key(port, "targetPort");
            fill(port, "targetPort", number);
        }
    }
    if type_ == "ExternalName" {
        return;
    }
    fill(spec, "internalTrafficPolicy", "Cluster");
    let external = matches!(type_.as_str(), "NodePort" | "LoadBalancer")
        || type_ == "ClusterIP" && !items(spec, "/externalIPs").is_empty();
    if external {
        fill_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if type_ == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", true);
    }
    fill(spec, "ipFamilyPolicy", "SingleStack");
    if items(spec, "/ipFamilies").is_empty() {
        drop_key(spec, "ipFamilies");
        fill(spec, "ipFamilies", json!(["IPv4"]));
    }
    mirror_cluster_ip(spec);
}

/// `clusterIP` and the first of `clusterIPs` are the same thing; clients that know only the former set it alone.
fn mirror_cluster_ip(spec: &mut Value) {
    let single = text(spec, "/clusterIP").to_owned();
    let first = text(spec, "/clusterIPs/0").to_owned();
    if !single.is_empty() && first.is_empty() {
        drop_key(spec, "clusterIPs");
        fill(spec, "clusterIPs", json!([single]));
    } else if single.is_empty() && !first.is_empty() {
        fill_text(spec, "clusterIP", &first);
    }
}
