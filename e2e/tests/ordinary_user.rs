//! Show 9 of First light: everything works without privileges, and without cgroups.

use kapell_e2e::shop::{self, order_input};
use kapell_e2e::{Caller, Kapell, eventually};
use serde_json::Value;

fn condition<'a>(object: &'a Value, type_: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array().expect("conditions");
    conditions.iter().find(|condition| condition["type"] == type_).unwrap_or(&Value::Null)
}

fn order(kapell: &Kapell, name: &str) {
    let input = order_input(name, "ann", "lamp", 1).to_string();
    kapell.cli(&["workflow", "run", "order", "-n", "shop", "--name", name, "--input", &input, "--wait"]).ok();
}

fn process_ids(kapell: &Kapell) -> Vec<(String, String, i64)> {
    let pods = kapell.cli(&["get", "pods", "-n", "shop", "-o", "json"]).ok().json();
    let mut ids: Vec<_> = pods["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|pod| {
            let status = &pod["status"]["containerStatuses"][0];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let restarts = status["restartCount"].as_i64().unwrap_or(-1);
            (text(&pod["metadata"]["name"]), text(&status["containerID"]), restarts)
        })
        .collect();
    ids.sort();
    ids
}

#[test]
fn the_shop_runs_is_killed_and_goes_on_without_privileges() {
    let mut kapell = Kapell::start_by_ordinary_user();
    let up = shop::up(&kapell);
    assert!(up.stdout.contains("http://127."), "an entry address is printed\n{up}");
    order(&kapell, "before");

    let before = process_ids(&kapell);
    assert!(before.len() >= 8 && before.iter().all(|(_, id, restarts)| !id.is_empty() && *restarts == 0), "{before:?}");
    kapell.kill();
    kapell.restart();
    order(&kapell, "after");
    assert_eq!(process_ids(&kapell), before, "adopted: same processes, no restart");

    // The data directory that such a user has by default is the one that is used without being named.
    let found = kapell_e2e::run(
        {
            let mut command = kapell.command();
            command.args(["get", "nodes", "-o", "name"]);
            command
        },
        None,
    );
    assert!(found.ok().stdout.starts_with("node/"));
}

#[test]
fn a_port_that_needs_a_privilege_is_replaced_and_says_so() {
    let kapell = Kapell::start_by_ordinary_user();
    let limit = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if limit.trim().parse::<u16>().is_ok_and(|first| first <= 80) {
        kapell_e2e::skip!("this machine lets everybody listen on port 80");
    }
    let manifest = "apiVersion: v1\nkind: Service\nmetadata: {name: low}\nspec: {selector: {app: none}, ports: [{name: http, port: 80}]}\n";
    kapell.cli_with_input(&["apply", "-f", "-"], manifest).ok();
    let service = eventually("the gateway says where it listens", || {
        let service = kapell.object("default", "service/low");
        service["metadata"]["annotations"]["kapell.dev/listen"].is_string().then_some(service)
    });
    let listen = service["metadata"]["annotations"]["kapell.dev/listen"].as_str().unwrap();
    let ip = service["spec"]["clusterIP"].as_str().unwrap();
    assert!(listen.starts_with(&format!("http={ip}:")) && !listen.ends_with(":80"), "{listen}");
    let condition = eventually("a condition explains it", || {
        let service = kapell.object("default", "service/low");
        let conditions = service["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|condition| condition["type"] == "kapell.dev/Listening")
    });
    let message = condition["message"].as_str().unwrap();
    assert!(message.contains(":80 ") && message.contains("privilege"), "{message}");
}

#[test]
fn a_user_cannot_be_granted_by_somebody_without_privileges() {
    let kapell = Kapell::start_by_ordinary_user();
    let pod = |name: &str, context: &str| {
        let manifest = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{runtimeClassName: process, restartPolicy: Never, \
             securityContext: {context}, containers: [{{name: main, command: [sh, -c, 'grep CapBnd /proc/self/status; exit 0'], \
             securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}}}]}}\n"
        );
        kapell.cli_with_input(&["apply", "-f", "-"], &manifest).ok();
    };
    pod("other", "{runAsUser: 12345}");
    pod("itself", "{runAsNonRoot: false}");
    let message = eventually("it waits", || {
        let pod = kapell.object("default", "pod/other");
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        (waiting["reason"] == "CreateContainerConfigError").then(|| waiting["message"].as_str().unwrap().to_owned())
    });
    let expected = "spec.securityContext.runAsUser: 12345 is not the server's own";
    assert!(message.starts_with(expected) && message.contains("leave the field out"), "{message}");
    eventually("it has run", || {
        (kapell.object("default", "pod/itself")["status"]["phase"] == "Succeeded").then_some(())
    });
}

/// Root has cgroups on most machines; `KAPELL_CGROUPS=off` is how to do without them.
#[test]
fn without_cgroups_pods_run_and_the_node_says_that_it_is_degraded() {
    let kapell = Kapell::start_by(Caller::default().with("KAPELL_CGROUPS", "off"));
    shop::up(&kapell);
    order(&kapell, "first");
    let nodes = kapell.cli(&["get", "nodes", "-o", "json"]).ok().json();
    let node = &nodes["items"][0];
    assert!(node["metadata"]["annotations"]["kapell.dev/cgroups"].as_str().unwrap().contains("degraded"), "{node:#}");
    let ready = condition(node, "Ready");
    assert_eq!(ready["status"], "True");
    assert!(ready["message"].as_str().unwrap().contains("degraded"), "{ready:#}");
    // No group was made for any container either.
    let state = std::fs::read_dir(kapell.data().join("pods")).unwrap().flatten().next().unwrap().path();
    let state: Value = serde_json::from_slice(&std::fs::read(state.join("state.json")).unwrap()).unwrap();
    assert_eq!(state["cgroup"], "None");
}
