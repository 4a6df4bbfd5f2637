use std::net::Ipv4Addr;

use kapell_shim::proc::ProcessId;
use kapell_shim::protocol::{ContainerState, Running};
use serde_json::{Value, json};

use super::*;
use crate::observed::Seen;

fn pod(ephemeral: Value) -> Pod {
    let spec = json!({
        "containers": [{
            "name": "main", "command": ["serve"], "workingDir": "data",
            "env": [{"name": "A", "value": "target's"}, {"name": "B", "value": "target's"}],
            "volumeMounts": [{"name": "v", "mountPath": "v"}],
        }],
        "ephemeralContainers": [ephemeral],
    });
    serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
}

fn started(ephemeral: Value) -> Value {
    let pod = pod(ephemeral);
    let process = ProcessId { pid: 42, start_time: 7 };
    let running = Running { process, started_at: 0, stopping: false, cgroups: Vec::new() };
    let seen = Seen { state: ContainerState { running: Some(running), ..Default::default() }, ..Default::default() };
    let observed = Observed { containers: [("main".to_owned(), seen)].into(), ..Observed::default() };
    let mut record = PodRecord::new("default".into(), "p".into(), Ipv4Addr::LOCALHOST, 30, 1);
    record.ports.insert("main".into(), 4000);
    let container = to_start(&pod, &ephemeral_containers(&pod)[0], &observed, &record, Path::new("/pods/u"));
    serde_json::to_value(container).unwrap()
}

#[test]
fn without_a_target_it_is_a_container_like_others() {
    let container = started(json!({"name": "d", "image": "none", "command": ["sh"], "stdin": true}));
    assert_eq!(container, json!({"name": "d", "image": "none", "command": ["sh"], "stdin": true}));
}

#[test]
fn beside_its_target_it_stands_where_that_stands() {
    let container = started(json!({
        "name": "d", "command": ["sh"], "targetContainerName": "main", "env": [{"name": "B", "value": "own"}],
    }));
    assert_eq!(container["workingDir"], "/pods/u/containers/main/work/data");
    let env: Vec<_> = container["env"].as_array().unwrap().iter().map(|v| (&v["name"], &v["value"])).collect();
    let expected = [(TARGET_PID, "42"), ("A", "target's"), ("B", "target's"), ("B", "own")];
    assert_eq!(env, expected.map(|(name, value)| (json!(name), json!(value))).each_ref().map(|(n, v)| (n, v)));
    assert_eq!(container["volumeMounts"][0]["name"], "v");
    assert_eq!(container["ports"][0]["containerPort"], 4000, "its PORT is the target's");
    assert_eq!(container["command"], json!(["sh"]));

    let elsewhere = json!({"name": "d", "command": ["sh"], "targetContainerName": "main", "workingDir": "/tmp"});
    assert_eq!(started(elsewhere)["workingDir"], "/tmp");
}

#[test]
fn without_a_command_it_says_where_to_put_one() {
    let pod = pod(json!({"name": "d", "image": "busybox"}));
    let trouble = lacks_command(&ephemeral_containers(&pod)[0]).unwrap();
    assert!(trouble.message.contains("\"d\" has no command"), "{}", trouble.message);
}
