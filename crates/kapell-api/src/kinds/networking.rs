//! Ingresses and their classes, and NetworkPolicies, as objects: the gateway does not act on them yet.

mod policy;

use serde_json::Value;

pub(super) use policy::NETWORK_POLICY;

use super::cells::{AGE, NAME, NONE, or_none};
use super::field::{Field, at, int, is_set, items, text};
use super::meta::{self, Names};
use super::{PLAIN, empty_status, keep_status, schema_of};
use crate::kind::{Column, Kind, Now, Subresource};
use crate::names;
use crate::problem::Problem;

/// How many hosts a column shows before it counts the rest.
const SHOWN: usize = 3;

pub(super) const INGRESS: Kind = Kind {
    group: "networking.k8s.io",
    kind: "Ingress",
    plural: "ingresses",
    singular: "ingress",
    short_names: &["ing"],
    subresources: &[Subresource::Status],
    columns: &[
        NAME,
        Column::new("Class", "string", "The class that serves it.", |ingress, _| {
            match text(ingress, "/spec/ingressClassName") {
                "" => or_none(text(ingress, "/metadata/annotations/kubernetes.io~1ingress.class")),
                class => class.into(),
            }
        }),
        Column::new("Hosts", "string", "Hosts that it answers for.", |ingress, _| hosts(ingress).into()),
        Column::new("Address", "string", "Where it is reached.", address),
        Column::new("Ports", "string", "Its ports.", |ingress, _| {
            if items(ingress, "/spec/tls").is_empty() { "80".into() } else { "80, 443".into() }
        }),
        AGE,
    ],
    schema: || schema_of("io.k8s.api.networking.v1.Ingress"),
    has_generation: true,
    prepare_create: empty_status,
    prepare_update: keep_status,
    validate: validate_ingress,
    warnings: |_| vec!["ingresses are stored but nothing serves them yet".to_owned()],
    ..PLAIN
};

pub(super) const INGRESS_CLASS: Kind = Kind {
    group: "networking.k8s.io",
    kind: "IngressClass",
    plural: "ingressclasses",
    singular: "ingressclass",
    namespaced: false,
    columns: &[
        NAME,
        Column::new("Controller", "string", "Who serves its ingresses.", |class, _| {
            text(class, "/spec/controller").into()
        }),
        Column::new("Parameters", "string", "Where its settings are.", |class, _| parameters(class)),
        AGE,
    ],
    schema: || schema_of("io.k8s.api.networking.v1.IngressClass"),
    has_generation: true,
    validate: |class| {
        let root = Field::root(class);
        let mut problems = meta::validate(&root, Names::Subdomain);
        let spec = root.field("spec");
        let controller = spec.field("controller");
        meta::check_required(&controller, domain_prefixed_path, &mut problems);
        let parameters = spec.field("parameters");
        if parameters.is_set() {
            for name in ["kind", "name"] {
                meta::require(&parameters.field(name), &mut problems);
            }
            let scope = parameters.field("scope");
            if scope.is_set() {
                scope.one_of(&["Cluster", "Namespace"], &mut problems);
            }
        }
        problems
    },
    validate_update: |new, old| {
        let root = Field::root(new);
        let spec = root.field("spec");
        let mut problems = Vec::new();
        meta::immutable(&spec.field("controller"), at(old, "/spec/controller"), &mut problems);
        problems
    },
    warnings: |_| vec!["ingress classes are stored but nothing serves their ingresses yet".to_owned()],
    ..PLAIN
};

/// `example.com/path`, with any number of steps.
fn domain_prefixed_path(v: &str) -> Vec<String> {
    match v.split_once('/') {
        Some((domain, path)) if !path.is_empty() => names::dns1123_subdomain(domain),
        _ => vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned()],
    }
}

fn hosts(ingress: &Value) -> String {
    let mut hosts: Vec<&str> =
        items(ingress, "/spec/rules").iter().map(|rule| text(rule, "/host")).filter(|host| !host.is_empty()).collect();
    hosts.dedup();
    match hosts.len() {
        0 => "*".to_owned(),
        count if count > SHOWN => format!("{} + {} more...", hosts[..SHOWN].join(","), count - SHOWN),
        _ => hosts.join(","),
    }
}

fn address(ingress: &Value, _: Now) -> Value {
    let addresses = items(ingress, "/status/loadBalancer/ingress").iter().map(|at| match text(at, "/ip") {
        "" => text(at, "/hostname"),
        ip => ip,
    });
    addresses.collect::<Vec<_>>().join(",").into()
}

fn parameters(class: &Value) -> Value {
    let parameters = at(class, "/spec/parameters");
    if parameters.is_null() {
        return NONE.into();
    }
    let kind = match text(parameters, "/apiGroup") {
        "" => text(parameters, "/kind").to_owned(),
        group => format!("{}.{group}", text(parameters, "/kind")),
    };
    format!("{kind}/{}", text(parameters, "/name")).into()
}

fn validate_ingress(ingress: &Value) -> Vec<Problem> {
    let root = Field::root(ingress);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let spec = root.field("spec");
    let backend = spec.field("defaultBackend");
    if !backend.is_set() && spec.field("rules").len() == 0 {
        problems.push(spec.invalid("either `defaultBackend` or `rules` must be specified"));
    }
    if backend.is_set() {
        check_backend(&backend, &mut problems);
    }
    meta::check_if_set(&spec.field("ingressClassName"), names::dns1123_subdomain, &mut problems);
    for rule in spec.field("rules").items() {
        let host = rule.field("host");
        if !host.text().is_empty() {
            check_host(&host, &mut problems);
        }
        let http = rule.field("http");
        let paths = http.field("paths");
        if http.is_set() && paths.len() == 0 {
            problems.push(paths.required(""));
        }
        for path in paths.items() {
            check_path(&path, &mut problems);
        }
    }
    for tls in spec.field("tls").items() {
        for host in tls.field("hosts").items() {
            check_host(&host, &mut problems);
        }
        meta::check_if_set(&tls.field("secretName"), names::dns1123_subdomain, &mut problems);
    }
    if is_set(ingress, "/metadata/annotations/kubernetes.io~1ingress.class") && spec.field("ingressClassName").is_set()
    {
        let detail = "can not be set when the class field is also set";
        problems.push(Problem::invalid("metadata.annotations.kubernetes.io/ingress.class", "", detail));
    }
    problems
}

/// A name, whose first part may be a star.
fn check_host(host: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    if host.text().parse::<std::net::IpAddr>().is_ok() {
        problems.push(host.invalid("must be a DNS name, not an IP address"));
    }
    let name = host.text().strip_prefix("*.").unwrap_or(host.text());
    problems.extend(names::dns1123_subdomain(name).iter().map(|fault| host.invalid(fault)));
}

fn check_path(path: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let (type_, text) = (path.field("pathType"), path.field("path"));
    if type_.is_set() {
        type_.one_of(&["Exact", "ImplementationSpecific", "Prefix"], problems);
    } else {
        problems.push(type_.required("pathType must be specified"));
    }
    let absolute = text.text().starts_with('/');
    match type_.text() {
        "Exact" | "Prefix" if !absolute => problems.push(text.invalid("must be an absolute path")),
        "Exact" | "Prefix" => {
            for part in ["//", "/./", "/../", "%2f", "%2F"] {
                if text.text().contains(part) {
                    problems.push(text.invalid(&format!("must not contain '{part}'")));
                }
            }
        }
        _ if !text.text().is_empty() && !absolute => problems.push(text.invalid("must be an absolute path")),
        _ => {}
    }
    check_backend(&path.field("backend"), problems);
}

fn check_backend(backend: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let (service, resource) = (backend.field("service"), backend.field("resource"));
    if service.is_set() && resource.is_set() {
        problems.push(backend.invalid("cannot set both resource and service backends"));
        return;
    }
    if resource.is_set() {
        for name in ["kind", "name"] {
            meta::require(&resource.field(name), problems);
        }
        return;
    }
    if !service.is_set() {
        problems.push(backend.required("resource or service backend is required"));
        return;
    }
    meta::check_required(&service.field("name"), names::dns1035_label, problems);
    let port = service.field("port");
    let (name, number) = (port.field("name"), port.field("number"));
    let numbered = int(port.value, "/number").is_some_and(|number| number != 0);
    match (name.text().is_empty(), numbered) {
        (false, true) => problems.push(port.invalid("cannot set both port name & port number")),
        (false, false) => meta::check(&name, names::port_name, problems),
        (true, true) => meta::check_port(&number, problems),
        (true, false) => problems.push(port.required("port name or number is required")),
    }
}

#[cfg(test)]
mod tests;
