use std::os::unix::net::UnixListener;

use kapell_shim::cgroup::Backend;
use kapell_shim::proc::ProcessId;
use kapell_shim::protocol::{ContainerState, PodState, Running};

use super::*;

/// On one thread: whoever blocks it waits for ever.
#[tokio::test]
async fn a_shim_that_takes_no_connection_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let pod = dir.path().join("pods/u");
    std::fs::create_dir_all(&pod).unwrap();
    let process = ProcessId::own().unwrap();
    let running = Running { process, started_at: 0, stopping: false, cgroups: Vec::new() };
    let main = ContainerState { attempt: 1, running: Some(running), ..Default::default() };
    let state = PodState {
        version: VERSION,
        boot_id: String::new(),
        shim: process,
        cgroup: Backend::None,
        identities: true,
        containers: [("main".to_owned(), main)].into(),
    };
    std::fs::write(layout::state_file(&pod), serde_json::to_vec(&state).unwrap()).unwrap();
    let listener = UnixListener::bind(Address::of(&pod).unwrap().path()).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let options = ExecOptions { command: vec!["true".to_owned()], stdout: true, ..Default::default() };
    let sessions = Sessions::new(dir.path());
    let mut waiting = Vec::new();
    let refused = loop {
        match sessions.exec("u", "main", &options).await {
            Ok(session) => waiting.push(session),
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, SessionError::Shim(error) if error.kind() == io::ErrorKind::WouldBlock), "{refused}");
    assert!(!waiting.is_empty(), "the queue has room for one");
}
