//! SIG Node: how containers end and are started again, hooks that call somebody, and what they are told of their node.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use kapell_e2e::conformance::{Case, running_pod_spec};
use kapell_e2e::eventually_async;
use serde_json::{Value, json};

/// Counts its starts in a file that stays, and ends well or badly depending on the count.
fn counting(ends: &str) -> Value {
    json!({
        "runtimeClassName": "process", "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "command": ["sh", "-c", format!("echo >> starts; n=$(wc -l < starts); {ends}")]}],
    })
}

/// Conformance: [sig-node] Container Runtime blackbox test when starting a container that exits should run with the expected status [NodeConformance]
#[tokio::test]
async fn an_exit_is_dealt_with_as_the_policy_says() {
    let case = Case::new().await;
    let pods = case.path("v1", "pods");
    for (policy, ends, phase, state, restarts, ready) in [
        ("Always", "[ $n -eq 1 ] && exit 1; [ $n -eq 2 ] && exit 0; sleep 1000", "Running", "running", 2, true),
        ("OnFailure", "[ $n -eq 1 ] && exit 1; exit 0", "Succeeded", "terminated", 1, false),
        ("Never", "exit 1", "Failed", "terminated", 0, false),
    ] {
        let name = policy.to_lowercase();
        let mut spec = counting(ends);
        spec["restartPolicy"] = json!(policy);
        case.post(&pods, &json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
        let as_expected = |pod: &Value| {
            let container = &pod["status"]["containerStatuses"][0];
            pod["status"]["phase"] == phase
                && container["restartCount"] == restarts
                && container["ready"] == ready
                && container["state"][state].is_object()
        };
        case.until(&format!("{policy} is {phase}"), &format!("{pods}/{name}"), as_expected).await;
        case.delete(&format!("{pods}/{name}")).await.ok();
        case.until_gone(&format!("{pods}/{name}")).await;
    }
}

/// What a pod that serves has counted.
fn hits(address: &str) -> Option<u32> {
    let mut stream = TcpStream::connect((address, 8080)).ok()?;
    stream.write_all(b"GET /hits HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.lines().last()?.trim().parse().ok()
}

/// Conformance: [sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute poststart http hook properly [NodeConformance]
/// Conformance: [sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute prestop http hook properly [NodeConformance]
/// Conformance: [sig-node] PreStop should call prestop when killing a pod
#[tokio::test]
async fn hooks_call_over_http() {
    let case = Case::new().await;
    let pods = case.path("v1", "pods");
    let mut server = running_pod_spec();
    server["containers"][0]["command"] = json!(["kapell-e2e-pod"]);
    server["containers"][0]["ports"] = json!([{"containerPort": 8080}]);
    server["containers"][0]["readinessProbe"] = json!({"httpGet": {"port": 8080}, "periodSeconds": 1});
    case.post(&pods, &json!({"metadata": {"name": "server"}, "spec": server})).await.expect(201);
    let is_ready = |pod: &Value| pod["status"]["containerStatuses"][0]["ready"] == true;
    let server = case.until("it serves", &format!("{pods}/server"), is_ready).await;
    let address = server["status"]["podIP"].as_str().unwrap();

    let hook = json!({"httpGet": {"host": address, "port": 8080, "path": "/hit"}});
    let mut spec = running_pod_spec();
    spec["containers"][0]["lifecycle"] = json!({"postStart": hook, "preStop": hook});
    case.post(&pods, &json!({"metadata": {"name": "p"}, "spec": spec})).await.expect(201);
    case.until("it runs", &format!("{pods}/p"), |pod| pod["status"]["phase"] == "Running").await;
    eventually_async("the first hook has called", || async { (hits(address) == Some(1)).then_some(()) }).await;
    case.delete(&format!("{pods}/p")).await.ok();
    case.until_gone(&format!("{pods}/p")).await;
    assert_eq!(hits(address), Some(2));
}

/// Conformance: [sig-node] Downward API should provide hostIPs as an env var [NodeConformance]
/// Conformance: [sig-node] Downward API should provide default limits.cpu/memory from node allocatable [NodeConformance]
/// Conformance: [sig-storage] Downward API volume should provide node allocatable (cpu) as default cpu limit if the limit is not set [NodeConformance]
/// Conformance: [sig-storage] Downward API volume should provide node allocatable (memory) as default memory limit if the limit is not set [NodeConformance]
/// Conformance: [sig-storage] Projected downwardAPI should provide node allocatable (cpu) as default cpu limit if the limit is not set [NodeConformance]
/// Conformance: [sig-storage] Projected downwardAPI should provide node allocatable (memory) as default memory limit if the limit is not set [NodeConformance]
#[tokio::test]
async fn who_has_no_limit_has_that_of_the_node() {
    let case = Case::new().await;
    let pods = case.path("v1", "pods");
    let file = |path: &str, resource: &str, divisor: &str| json!({"path": path, "resourceFieldRef": {"containerName": "main", "resource": resource, "divisor": divisor}});
    let items = json!([file("cpu", "limits.cpu", "1"), file("memory", "limits.memory", "1Ki")]);
    let of = |resource: &str, divisor: &str| json!({"resourceFieldRef": {"resource": resource, "divisor": divisor}});
    let spec = json!({
        "runtimeClassName": "process", "restartPolicy": "Never",
        "volumes": [
            {"name": "own", "downwardAPI": {"items": items}},
            {"name": "projected", "projected": {"sources": [{"downwardAPI": {"items": items}}]}},
        ],
        "containers": [{
            "name": "main",
            "command": ["sh", "-c", "echo $CPU $MEMORY $HOST_IPS; for v in own projected; do echo $(cat $v/cpu) $(cat $v/memory); done"],
            "volumeMounts": [{"name": "own", "mountPath": "own"}, {"name": "projected", "mountPath": "projected"}],
            "env": [
                {"name": "CPU", "valueFrom": of("limits.cpu", "1")},
                {"name": "MEMORY", "valueFrom": of("limits.memory", "1Ki")},
                {"name": "HOST_IPS", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIPs"}}},
            ],
        }],
    });
    case.post(&pods, &json!({"metadata": {"name": "p"}, "spec": spec})).await.expect(201);
    let pod = case.until("it is done", &format!("{pods}/p"), |pod| pod["status"]["phase"] == "Succeeded").await;
    let allocatable = case.list("/api/v1/nodes").await[0]["status"]["allocatable"].clone();
    let (cpu, memory) = (allocatable["cpu"].as_str().unwrap(), allocatable["memory"].as_str().unwrap());
    let memory = memory.strip_suffix("Ki").unwrap();
    let host = pod["status"]["hostIPs"][0]["ip"].as_str().unwrap();
    let said = case.get(&format!("{pods}/p/log")).await.text;
    assert_eq!(said, format!("{cpu} {memory} {host}\n{cpu} {memory}\n{cpu} {memory}\n"));
}

/// What the one container of a pod that has ended says of its end.
async fn last_words(case: &Case, name: &str, container: Value) -> Value {
    let mut spec = json!({"runtimeClassName": "process", "restartPolicy": "Never", "containers": [container]});
    spec["containers"][0]["name"] = json!("main");
    let pods = case.path("v1", "pods");
    case.post(&pods, &json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
    let ended = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["terminated"].is_object();
    let pod = case.until(&format!("{name} has ended"), &format!("{pods}/{name}"), ended).await;
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"].clone()
}

/// Conformance: [sig-node] Container Runtime blackbox test on terminated container should report termination message from log output if TerminationMessagePolicy FallbackToLogsOnError is set [NodeConformance]
/// Conformance: [sig-node] Container Runtime blackbox test on terminated container should report termination message as empty when pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set [NodeConformance]
/// Conformance: [sig-node] Container Runtime blackbox test on terminated container should report termination message from file when pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set [NodeConformance]
#[tokio::test]
async fn containers_leave_a_word_about_their_end() {
    let case = Case::new().await;
    for (name, path, script, message) in [
        ("log", "/dev/termination-log", "printf DONE; exit 1", json!("DONE")),
        ("nothing", "/dev/termination-log", "printf DONE", Value::Null),
        ("file", "/dev/termination-log", "printf OK > $KAPELL_TERMINATION_LOG", json!("OK")),
        ("relative", "last/words", "printf OK > last/words; exit 1", json!("OK")),
    ] {
        let container = json!({
            "command": ["sh", "-c", script],
            "terminationMessagePath": path, "terminationMessagePolicy": "FallbackToLogsOnError",
        });
        assert_eq!(last_words(&case, name, container).await, message, "{name}");
    }
}
