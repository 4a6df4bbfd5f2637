//! Validation of containers, those of a process pod included: such a container is a command on the host.

use super::{env, probe, validate::check_security};
use crate::kinds::field::Field;
use crate::kinds::{meta, quantities};
use crate::names;
use crate::problem::Problem;

/// What containers refer to.
pub(super) struct Surroundings<'v> {
    pub(super) process: bool,
    /// A container without a command is let in: an ephemeral one waits then, and says for what.
    pub(super) may_lack_command: bool,
    /// Names of the pod's volumes.
    pub(super) volumes: Vec<&'v str>,
}

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

pub(super) fn validate_all(spec: &Field<'_, '_>, around: &Surroundings<'_>, problems: &mut Vec<Problem>) {
    let mut seen = Vec::new();
    let mut host_ports = Vec::new();
    let (containers, init_containers) = (spec.field("containers"), spec.field("initContainers"));
    if containers.len() == 0 {
        problems.push(containers.required(""));
    }
    for container in containers.items() {
        check_unique(&container, &mut seen, problems);
        check_container(&container, around, problems);
        let policy = container.field("restartPolicy");
        if policy.is_set() {
            problems.push(policy.forbidden("may not be set for non-init containers"));
        }
        check_host_ports(&container, &mut host_ports, problems);
    }
    for container in init_containers.items() {
        check_unique(&container, &mut seen, problems);
        check_container(&container, around, problems);
        check_init(&container, problems);
    }
}

fn check_unique<'v>(container: &Field<'v, '_>, seen: &mut Vec<&'v str>, problems: &mut Vec<Problem>) {
    let name = container.field("name");
    if !name.text().is_empty() && seen.contains(&name.text()) {
        problems.push(name.duplicate());
    }
    seen.push(name.text());
}

fn check_init(container: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let policy = container.field("restartPolicy");
    if policy.is_set() {
        policy.one_of(&["Always"], problems);
    }
    for name in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        let field = container.field(name);
        if field.is_set() && policy.text().is_empty() {
            problems.push(field.forbidden("may not be set for init containers without restartPolicy=Always"));
        }
    }
}

pub(super) fn check_container(container: &Field<'_, '_>, around: &Surroundings<'_>, problems: &mut Vec<Problem>) {
    meta::check_required(&container.field("name"), names::dns1123_label, problems);
    check_image(container, around, problems);
    let message_policy = container.field("terminationMessagePolicy");
    if !message_policy.text().is_empty() {
        message_policy.one_of(&["FallbackToLogsOnError", "File"], problems);
    }
    let message_path = container.field("terminationMessagePath");
    if around.process && message_path.text().split('/').any(|part| part == "..") {
        problems.push(message_path.invalid("must not contain '..'"));
    }
    check_ports(&container.field("ports"), problems);
    env::validate(container, problems);
    check_mounts(&container.field("volumeMounts"), around, problems);
    if container.field("volumeDevices").len() > 0 {
        problems.push(container.field("volumeDevices").unsupported_yet("block devices"));
    }
    for (name, kind) in [
        ("livenessProbe", probe::Kind::Liveness),
        ("readinessProbe", probe::Kind::Readiness),
        ("startupProbe", probe::Kind::Startup),
    ] {
        let field = container.field(name);
        if field.is_set() {
            probe::validate(&field, kind, problems);
        }
    }
    let lifecycle = container.field("lifecycle");
    for name in ["postStart", "preStop"] {
        let handler = lifecycle.field(name);
        if handler.is_set() {
            probe::check_handler(&handler, &["exec", "httpGet", "sleep", "tcpSocket"], problems);
        }
    }
    check_resources(&container.field("resources"), problems);
    check_security(&container.field("securityContext"), around.process, problems);
}

fn check_image(container: &Field<'_, '_>, around: &Surroundings<'_>, problems: &mut Vec<Problem>) {
    let (image, command) = (container.field("image"), container.field("command"));
    if around.process {
        let program = command.items().next();
        if !around.may_lack_command && program.is_none_or(|program| program.text().is_empty()) {
            problems.push(command.required("a process pod has no image whose entry point could run"));
        }
    } else if image.text().is_empty() {
        problems.push(image.required(""));
    } else if image.text().trim() != image.text() {
        problems.push(image.invalid("must not have leading or trailing whitespace"));
    }
    let policy = container.field("imagePullPolicy");
    if !policy.text().is_empty() {
        policy.one_of(&["Always", "IfNotPresent", "Never"], problems);
    }
}

fn check_ports(ports: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let mut seen = Vec::new();
    for port in ports.items() {
        let name = port.field("name");
        if !name.text().is_empty() {
            meta::check(&name, names::port_name, problems);
            if seen.contains(&name.text()) {
                problems.push(name.duplicate());
            }
            seen.push(name.text());
        }
        let number = port.field("containerPort");
        if number.int() == Some(0) {
            problems.push(number.required(""));
        } else {
            meta::check_port(&number, problems);
        }
        if port.field("hostPort").int().is_some_and(|number| number != 0) {
            meta::check_port(&port.field("hostPort"), problems);
        }
        port.field("protocol").one_of(PROTOCOLS, problems);
    }
}

type HostPort<'v> = (i64, &'v str, &'v str);

fn check_host_ports<'v>(container: &Field<'v, '_>, seen: &mut Vec<HostPort<'v>>, problems: &mut Vec<Problem>) {
    for port in container.field("ports").items() {
        let host_port = port.field("hostPort");
        let Some(number) = host_port.int().filter(|number| *number != 0) else { continue };
        let claim = (number, port.field("protocol").text(), port.field("hostIP").text());
        if seen.contains(&claim) {
            problems.push(host_port.duplicate());
        }
        seen.push(claim);
    }
}

fn check_mounts(mounts: &Field<'_, '_>, around: &Surroundings<'_>, problems: &mut Vec<Problem>) {
    let mut paths = Vec::new();
    for mount in mounts.items() {
        let (name, path) = (mount.field("name"), mount.field("mountPath"));
        if name.text().is_empty() {
            problems.push(name.required(""));
        } else if !around.volumes.contains(&name.text()) {
            problems.push(name.not_found());
        }
        if path.text().is_empty() {
            problems.push(path.required(""));
        } else if paths.contains(&path.text()) {
            problems.push(path.invalid("must be unique"));
        }
        paths.push(path.text());
        if around.process && path.text().split('/').any(|part| part == "..") {
            problems.push(path.invalid("must not contain '..'"));
        }
        check_sub_path(&mount, problems);
    }
}

fn check_sub_path(mount: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    for name in ["subPath", "subPathExpr"] {
        let path = mount.field(name);
        if path.text().is_empty() {
            continue;
        }
        if path.text().starts_with('/') {
            problems.push(path.invalid("must be a relative path"));
        }
        if path.text().split('/').any(|part| part == "..") {
            problems.push(path.invalid("must not contain '..'"));
        }
    }
    if !mount.field("subPath").text().is_empty() && !mount.field("subPathExpr").text().is_empty() {
        problems.push(mount.field("subPathExpr").invalid("subPathExpr and subPath are mutually exclusive"));
    }
}

fn check_resources(resources: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let (limits, requests) = (resources.field("limits"), resources.field("requests"));
    for list in [&limits, &requests] {
        for (name, amount) in list.entries() {
            check_resource_name(&amount, name, problems);
            quantities::check(&amount, problems);
        }
    }
    for (name, amount) in requests.entries() {
        let limit = limits.field(name);
        if !limit.is_set() {
            continue;
        }
        if let (Some(requested), Some(limited)) = (quantities::parse(&amount), quantities::parse(&limit))
            && requested > limited
        {
            let shown = limit.value.as_str().map_or_else(|| limit.value.to_string(), str::to_owned);
            let detail = format!("must be less than or equal to {name} limit of {shown}");
            let value = amount.value.as_str().map_or_else(|| amount.value.to_string(), str::to_owned);
            problems.push(Problem::invalid(requests.path(), value, &detail));
        }
    }
    if resources.field("claims").len() > 0 {
        let detail = "dynamic resource allocation; the container would run without its devices";
        problems.push(resources.field("claims").unsupported_yet(detail));
    }
}

fn check_resource_name(amount: &Field<'_, '_>, name: &str, problems: &mut Vec<Problem>) {
    let standard = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    if name.contains('/') {
        let faults = names::qualified_name(name);
        problems.extend(faults.iter().map(|fault| Problem::invalid(amount.path(), name, fault)));
    } else if !standard {
        problems.push(Problem::invalid(amount.path(), name, "must be a standard resource for containers"));
    }
}
