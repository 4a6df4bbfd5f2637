//! Validation of probes and of the handlers that they share with lifecycle hooks.

use crate::kinds::field::Field;
use crate::kinds::meta;
use crate::names;
use crate::problem::{Problem, Reason};

/// What a probe decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Liveness,
    Readiness,
    Startup,
}

pub(super) fn validate(probe: &Field<'_, '_>, kind: Kind, problems: &mut Vec<Problem>) {
    check_handler(probe, &["exec", "grpc", "httpGet", "tcpSocket"], problems);
    for name in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        probe.field(name).not_negative(problems);
    }
    let threshold = probe.field("successThreshold");
    // Nothing that is alive gets more alive.
    if kind != Kind::Readiness && threshold.int().is_some_and(|times| times != 1 && times >= 0) {
        problems.push(threshold.invalid("must be 1"));
    }
    let grace = probe.field("terminationGracePeriodSeconds");
    if grace.is_set() && kind == Kind::Readiness {
        problems.push(grace.invalid("must not be set for readinessProbes"));
    } else if grace.int().is_some_and(|seconds| seconds <= 0) {
        problems.push(grace.invalid("must be greater than 0"));
    }
}

/// Exactly one of `types`, and that one in order.
pub(super) fn check_handler(handler: &Field<'_, '_>, types: &[&str], problems: &mut Vec<Problem>) {
    let mut given = types.iter().filter(|name| handler.field(name).is_set());
    if given.next().is_none() {
        problems.push(handler.required("must specify a handler type"));
    }
    for extra in given {
        problems.push(handler.field(extra).forbidden("may not specify more than 1 handler type"));
    }
    let (exec, http) = (handler.field("exec"), handler.field("httpGet"));
    let (tcp, sleep) = (handler.field("tcpSocket"), handler.field("sleep"));
    if exec.is_set() && exec.field("command").len() == 0 {
        problems.push(exec.field("command").required(""));
    }
    if http.is_set() {
        meta::require(&http.field("path"), problems);
        check_port(&http.field("port"), problems);
        http.field("scheme").one_of(&["HTTP", "HTTPS"], problems);
        for header in http.field("httpHeaders").items() {
            check_header(&header.field("name"), problems);
        }
    }
    if handler.field("grpc").is_set() && types.contains(&"grpc") {
        meta::check_port(&handler.field("grpc").field("port"), problems);
    }
    if tcp.is_set() {
        check_port(&tcp.field("port"), problems);
    }
    if sleep.is_set() {
        sleep.field("seconds").not_negative(problems);
    }
}

/// A number, or the name of one of the container's ports.
fn check_port(port: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    if port.value.is_string() {
        meta::check(port, names::port_name, problems);
    } else {
        meta::check_port(port, problems);
    }
}

fn check_header(name: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if name.text().is_empty() || !name.text().bytes().all(fine) {
        let message = format!(
            "Invalid value: {:?}: a valid HTTP header must consist of alphanumeric characters or '-' \
             (e.g. 'X-Header-Name')",
            name.text()
        );
        problems.push(Problem::new(name.path(), Reason::Invalid, message));
    }
}
