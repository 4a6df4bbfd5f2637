//! EndpointSlices.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use super::cells::{AGE, NAME};
use super::field::{Field, at, each, fill, fill_text, int, is_set, items, text};
use super::meta::{self, Names};
use super::{PLAIN, schema_of};
use crate::kind::{Column, Kind, Now};
use crate::names;
use crate::problem::Problem;

const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
/// How many ports or endpoints a column shows before it counts the rest.
const SHOWN: usize = 3;

pub(super) const ENDPOINT_SLICE: Kind = Kind {
    group: "discovery.k8s.io",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    columns: &[
        NAME,
        Column::new("AddressType", "string", "Kind of the addresses.", |slice, _| text(slice, "/addressType").into()),
        Column::new("Ports", "string", "Ports of the endpoints.", ports),
        Column::new("Endpoints", "string", "Addresses of the endpoints.", endpoints),
        AGE,
    ],
    schema: || schema_of("io.k8s.api.discovery.v1.EndpointSlice"),
    has_generation: true,
    default: |slice| {
        for port in each(slice, "ports") {
            fill(port, "name", "");
            fill_text(port, "protocol", "TCP");
        }
    },
    validate: validate_slice,
    validate_update: |new, old| {
        let mut problems = Vec::new();
        meta::immutable(&Field::root(new).field("addressType"), at(old, "/addressType"), &mut problems);
        problems
    },
    ..PLAIN
};

fn ports(slice: &Value, _: Now) -> Value {
    let ports = items(slice, "/ports").iter().map(|port| match int(port, "/port") {
        Some(number) => number.to_string(),
        None if is_set(port, "/name") && !text(port, "/name").is_empty() => text(port, "/name").to_owned(),
        None => "*".to_owned(),
    });
    shortened(ports.collect())
}

fn endpoints(slice: &Value, _: Now) -> Value {
    let addresses = items(slice, "/endpoints").iter().flat_map(|endpoint| items(endpoint, "/addresses"));
    shortened(addresses.filter_map(Value::as_str).map(str::to_owned).collect())
}

fn shortened(parts: Vec<String>) -> Value {
    let shown = parts[..parts.len().min(SHOWN)].join(",");
    match parts.len() {
        0 => "<unset>".into(),
        count if count > SHOWN => format!("{shown} + {} more...", count - SHOWN).into(),
        _ => shown.into(),
    }
}

fn validate_slice(slice: &Value) -> Vec<Problem> {
    let root = Field::root(slice);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let address_type = root.field("addressType");
    if address_type.text().is_empty() {
        problems.push(address_type.required(""));
    } else {
        address_type.one_of(&["FQDN", "IPv4", "IPv6"], &mut problems);
    }
    let endpoints = root.field("endpoints");
    if endpoints.len() > MAX_ENDPOINTS {
        problems.push(endpoints.too_many(MAX_ENDPOINTS));
    }
    for endpoint in endpoints.items() {
        check_endpoint(&endpoint, address_type.text(), &mut problems);
    }
    let ports = root.field("ports");
    if ports.len() > MAX_PORTS {
        problems.push(ports.too_many(MAX_PORTS));
    }
    let mut seen = Vec::new();
    for port in ports.items() {
        let name = port.field("name");
        meta::check_if_set(&name, names::dns1123_label, &mut problems);
        if seen.contains(&name.text()) {
            problems.push(name.duplicate());
        }
        seen.push(name.text());
        if port.field("port").is_set() {
            meta::check_port(&port.field("port"), &mut problems);
        }
        port.field("protocol").one_of(&["SCTP", "TCP", "UDP"], &mut problems);
    }
    problems
}

/// Unlike upstream, loopback addresses are welcome: that is where process pods listen.
fn check_endpoint(endpoint: &Field<'_, '_>, address_type: &str, problems: &mut Vec<Problem>) {
    let addresses = endpoint.field("addresses");
    if addresses.len() == 0 {
        problems.push(addresses.required("must contain at least 1 address"));
    } else if addresses.len() > MAX_ADDRESSES {
        problems.push(addresses.too_many(MAX_ADDRESSES));
    }
    for address in addresses.items() {
        match address_type {
            "IPv4" if address.text().parse::<Ipv4Addr>().is_err() => {
                problems.push(address.invalid("must be a valid IPv4 address"));
            }
            "IPv6" if address.text().parse::<Ipv6Addr>().is_err() => {
                problems.push(address.invalid("must be a valid IPv6 address"));
            }
            "FQDN" => meta::check(&address, names::dns1123_subdomain, problems),
            _ => {}
        }
    }
    meta::check_if_set(&endpoint.field("nodeName"), names::dns1123_subdomain, problems);
    meta::check_if_set(&endpoint.field("hostname"), names::dns1123_label, problems);
    let topology = endpoint.field("deprecatedTopology");
    if topology.field("kubernetes.io/hostname").is_set() {
        problems.push(topology.field("kubernetes.io/hostname").forbidden("may not be set; use `nodeName`"));
    }
    meta::check_labels(&topology, problems);
}
