//! Endpoints: the older form of EndpointSlices, which clients still read.

use std::net::IpAddr;

use serde_json::Value;

use super::cells::{AGE, NAME, NONE};
use super::field::{Field, each, fill_text, int, items, text};
use super::meta::{self, Names};
use super::{PLAIN, schema_of};
use crate::kind::{Column, Kind, Now};
use crate::names;
use crate::problem::Problem;

/// How many addresses a column shows before it counts the rest.
const SHOWN: usize = 3;

pub(super) const ENDPOINTS: Kind = Kind {
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    columns: &[NAME, Column::new("Endpoints", "string", "Addresses and ports that are ready.", endpoints), AGE],
    schema: || schema_of("io.k8s.api.core.v1.Endpoints"),
    default: |object| {
        for subset in each(object, "subsets") {
            for port in each(subset, "ports") {
                fill_text(port, "protocol", "TCP");
            }
        }
    },
    validate: validate_endpoints,
    ..PLAIN
};

fn endpoints(object: &Value, _: Now) -> Value {
    let mut shown = Vec::new();
    for subset in items(object, "/subsets") {
        let addresses = items(subset, "/addresses").iter().map(|address| text(address, "/ip"));
        let ports = items(subset, "/ports");
        for address in addresses {
            if ports.is_empty() {
                shown.push(address.to_owned());
            }
            let with_port = |port: &Value| format!("{address}:{}", int(port, "/port").unwrap_or_default());
            shown.extend(ports.iter().map(with_port));
        }
    }
    match shown.len() {
        0 => NONE.into(),
        count if count > SHOWN => format!("{} + {} more...", shown[..SHOWN].join(","), count - SHOWN).into(),
        _ => shown.join(",").into(),
    }
}

/// Unlike upstream, loopback addresses are welcome: that is where process pods listen.
fn validate_endpoints(object: &Value) -> Vec<Problem> {
    let root = Field::root(object);
    let mut problems = meta::validate(&root, Names::Subdomain);
    for subset in root.field("subsets").items() {
        let (ready, waiting) = (subset.field("addresses"), subset.field("notReadyAddresses"));
        if ready.len() + waiting.len() == 0 {
            problems.push(subset.required("must specify `addresses` or `notReadyAddresses`"));
        }
        for address in ready.items().chain(waiting.items()) {
            let ip = address.field("ip");
            if ip.text().parse::<IpAddr>().is_err() {
                problems.push(ip.invalid("must be a valid IP address"));
            }
            meta::check_if_set(&address.field("hostname"), names::dns1123_label, &mut problems);
            meta::check_if_set(&address.field("nodeName"), names::dns1123_subdomain, &mut problems);
        }
        let ports = subset.field("ports");
        for port in ports.items() {
            let name = port.field("name");
            if ports.len() > 1 {
                meta::require(&name, &mut problems);
            }
            meta::check_if_set(&name, names::dns1123_label, &mut problems);
            meta::check_port(&port.field("port"), &mut problems);
            port.field("protocol").one_of(&["SCTP", "TCP", "UDP"], &mut problems);
        }
    }
    problems
}
