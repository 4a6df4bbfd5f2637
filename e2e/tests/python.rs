//! The Python client `kubernetes`: each script in `files/python` is a case, and says itself what it expects.

use std::process::Command;

use kapell_e2e::{Kapell, skip, tool};

fn script(name: &str) {
    let Some(python) = tool("python") else {
        skip!("no Python with the package kubernetes: `cargo xtask test` installs it if python3 and pip are there");
    };
    let kapell = Kapell::start();
    let mut command = Command::new(python);
    command.arg(format!("{}/tests/files/python/{name}.py", env!("CARGO_MANIFEST_DIR")));
    command.env("KUBECONFIG", kapell.data().join("kubeconfig"));
    kapell_e2e::run(command, None).ok();
}

/// Row: python | typed objects
#[test]
fn typed_objects() {
    script("typed");
}

/// Row: python | the dynamic client
#[test]
fn dynamic_objects() {
    script("dynamic");
}

/// Row: python | watches that resume
#[test]
fn watches_resume_where_they_ended() {
    script("watches");
}

/// Row: python | watches over WebSocket, as browsers have them
#[test]
fn watches_over_web_sockets() {
    script("websocket_watch");
}

/// Row: python | logs over WebSocket
/// Conformance: [sig-node] Pods should support retrieving logs from the container over websockets [NodeConformance]
#[test]
fn logs_over_web_sockets() {
    script("websocket_logs");
}

/// Row: python | `exec` with input, output, errors and exit codes
/// Conformance: [sig-node] Pods should support remote command execution over websockets [NodeConformance]
#[test]
fn commands_run_in_pods() {
    script("exec");
}
