//! SIG Node: what pods are given, how they start, live and end. Upstream's cases run a shell in an image; here it is a process.

use kapell_e2e::conformance::{Case, running_pod_spec};
use serde_json::{Value, json};

/// A pod that runs a shell script once.
fn once(script: &str, container: Value) -> Value {
    let mut spec = json!({
        "runtimeClassName": "process", "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "command": ["sh", "-c", script]}],
    });
    for (field, value) in container.as_object().into_iter().flatten() {
        spec["containers"][0][field] = value.clone();
    }
    spec
}

/// What a pod of this specification has said when it has ended well.
async fn said(case: &Case, name: &str, spec: Value) -> String {
    let pods = case.path("v1", "pods");
    case.post(&pods, &json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec})).await.expect(201);
    let ended = |pod: &Value| pod["status"]["phase"] == "Succeeded";
    case.until(&format!("{name} has ended well"), &format!("{pods}/{name}"), ended).await;
    case.get(&format!("{pods}/{name}/log")).await.text
}

/// Conformance: [sig-node] ConfigMap should be consumable via environment variable [NodeConformance]
/// Conformance: [sig-node] ConfigMap should be consumable via the environment [NodeConformance]
/// Conformance: [sig-node] Secrets should be consumable from pods in env vars [NodeConformance]
/// Conformance: [sig-node] Secrets should be consumable via the environment [NodeConformance]
#[tokio::test]
async fn configuration_is_in_the_environment() {
    let case = Case::new().await;
    let map = json!({"metadata": {"name": "m"}, "data": {"data-1": "value-1", "data_2": "value-2"}});
    case.post(&case.path("v1", "configmaps"), &map).await.expect(201);
    let secret = json!({"metadata": {"name": "s"}, "data": {"data-1": "c2VjcmV0LTE=", "data_2": "c2VjcmV0LTI="}});
    case.post(&case.path("v1", "secrets"), &secret).await.expect(201);
    let container = json!({
        "env": [
            {"name": "MAP", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "data-1"}}},
            {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "data-1"}}},
        ],
        "envFrom": [
            {"prefix": "m_", "configMapRef": {"name": "m"}}, {"prefix": "s_", "secretRef": {"name": "s"}},
        ],
    });
    let said = said(&case, "p", once("echo $MAP $SECRET $m_data_2 $s_data_2", container)).await;
    assert_eq!(said, "value-1 secret-1 value-2 secret-2\n");
}

/// Conformance: [sig-node] Downward API should provide pod name, namespace and IP address as env vars [NodeConformance]
/// Conformance: [sig-node] Downward API should provide host IP as an env var [NodeConformance]
/// Conformance: [sig-node] Downward API should provide pod UID as env vars [NodeConformance]
/// Conformance: [sig-node] Downward API should provide container's limits.cpu/memory and requests.cpu/memory as env vars [NodeConformance]
/// Conformance: [sig-node] Pods should get a host IP [NodeConformance]
#[tokio::test]
async fn a_pod_knows_itself() {
    let case = Case::new().await;
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let resource =
        |name: &str, resource: &str| json!({"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource}}});
    let container = json!({
        "resources": {"requests": {"cpu": "1m", "memory": "32Mi"}, "limits": {"cpu": "1250m", "memory": "64Mi"}},
        "env": [
            field("NAME", "metadata.name"), field("NAMESPACE", "metadata.namespace"), field("UID_", "metadata.uid"),
            field("IP", "status.podIP"), field("HOST_IP", "status.hostIP"),
            resource("CPU_LIMIT", "limits.cpu"), resource("MEMORY_LIMIT", "limits.memory"),
            resource("CPU_REQUEST", "requests.cpu"), resource("MEMORY_REQUEST", "requests.memory"),
        ],
    });
    let script = "echo $NAME $NAMESPACE $UID_ $IP $HOST_IP $CPU_LIMIT $MEMORY_LIMIT $CPU_REQUEST $MEMORY_REQUEST";
    let said = said(&case, "p", once(script, container)).await;
    let pod = case.get(&format!("{}/p", case.path("v1", "pods"))).await.expect(200);
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let expected = [
        "p".to_owned(),
        case.namespace.clone(),
        text(&pod["metadata"]["uid"]),
        text(&pod["status"]["podIP"]),
        text(&pod["status"]["hostIP"]),
        "2 67108864 1 33554432".to_owned(),
    ];
    assert_eq!(said, expected.join(" ") + "\n");
}

/// Conformance: [sig-node] Variable Expansion should allow composing env vars into new env vars [NodeConformance]
/// Conformance: [sig-node] Variable Expansion should allow substituting values in a container's args [NodeConformance]
/// Conformance: [sig-node] Variable Expansion should allow substituting values in a container's command [NodeConformance]
#[tokio::test]
async fn variables_are_expanded() {
    let case = Case::new().await;
    let container = json!({
        "command": ["sh", "-c", "echo $0 $1 $FOOBAR", "$(FOO)"], "args": ["$(BAR)-$$(BAR)"],
        "env": [
            {"name": "FOO", "value": "foo-value"}, {"name": "BAR", "value": "bar-value"},
            {"name": "FOOBAR", "value": "$(FOO);;$(BAR)"},
        ],
    });
    assert_eq!(said(&case, "p", once("", container)).await, "foo-value bar-value-$(BAR) foo-value;;bar-value\n");
}

/// Conformance: [sig-node] Pods should contain environment variables for services [NodeConformance]
#[tokio::test]
async fn services_are_in_the_environment() {
    let case = Case::new().await;
    let service =
        json!({"metadata": {"name": "fooservice"}, "spec": {"ports": [{"port": 8765}], "selector": {"app": "x"}}});
    let made = case.post(&case.path("v1", "services"), &service).await.expect(201);
    let listens = |service: &Value| !service["metadata"]["annotations"]["kapell.dev/listen"].is_null();
    case.until("the Service has an address", &format!("{}/fooservice", case.path("v1", "services")), listens).await;
    let said = said(&case, "p", once("echo $FOOSERVICE_SERVICE_HOST $FOOSERVICE_SERVICE_PORT", json!({}))).await;
    assert_eq!(said, format!("{} 8765\n", made["spec"]["clusterIP"].as_str().unwrap()));
}

fn init(name: &str, script: &str) -> Value {
    json!({"name": name, "command": ["sh", "-c", script]})
}

/// Conformance: [sig-node] InitContainer [NodeConformance] should invoke init containers on a RestartNever pod
/// Conformance: [sig-node] InitContainer [NodeConformance] should invoke init containers on a RestartAlways pod
/// Conformance: [sig-node] InitContainer [NodeConformance] should not start app containers and fail the pod if init containers fail on a RestartNever pod
/// Conformance: [sig-node] InitContainer [NodeConformance] should not start app containers if init containers fail on a RestartAlways pod
#[tokio::test]
async fn init_containers_come_first() {
    let case = Case::new().await;
    let pods = case.path("v1", "pods");
    for (name, policy, first, expected) in [
        ("never", "Never", "true", "Succeeded"),
        ("always", "Always", "true", "Running"),
        ("never-fails", "Never", "false", "Failed"),
        ("always-fails", "Always", "false", "Pending"),
    ] {
        let mut spec = once(if policy == "Never" { "true" } else { "sleep 1000" }, json!({}));
        spec["restartPolicy"] = json!(policy);
        spec["initContainers"] = json!([init("one", first), init("two", "true")]);
        case.post(&pods, &json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
        let failed = first == "false";
        let as_expected = |pod: &Value| {
            let status = &pod["status"];
            let restarted = status["initContainerStatuses"][0]["restartCount"].as_i64() > Some(0);
            status["phase"] == expected && (expected != "Pending" || restarted)
        };
        let pod = case.until(&format!("{name} is {expected}"), &format!("{pods}/{name}"), as_expected).await;
        let conditions = pod["status"]["conditions"].as_array().unwrap();
        let initialized = conditions.iter().find(|c| c["type"] == "Initialized").expect("a condition");
        assert_eq!(initialized["status"], if failed { "False" } else { "True" }, "{name}: {initialized}");
        if failed {
            let main = &pod["status"]["containerStatuses"][0];
            assert!(main["state"]["running"].is_null() && main["state"]["terminated"].is_null(), "{name}: {main}");
        }
    }
}

/// Conformance: [sig-node] Kubelet when scheduling a busybox command in a pod should print the output to logs [NodeConformance]
/// Conformance: [sig-node] Kubelet when scheduling a busybox command that always fails in a pod should have an terminated reason [NodeConformance]
/// Conformance: [sig-node] Kubelet when scheduling a busybox command that always fails in a pod should be possible to delete [NodeConformance]
#[tokio::test]
async fn commands_are_heard_and_their_end_is_told() {
    let case = Case::new().await;
    let pods = case.path("v1", "pods");
    assert_eq!(said(&case, "talks", once("echo Hello World", json!({}))).await, "Hello World\n");
    let mut fails = running_pod_spec();
    fails["containers"][0]["command"] = json!(["false"]);
    case.post(&pods, &json!({"metadata": {"name": "fails"}, "spec": fails})).await.expect(201);
    let told = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        ["state", "lastState"].iter().any(|state| {
            let terminated = &status[*state]["terminated"];
            terminated["exitCode"] == 1 && terminated["reason"] == "Error"
        })
    };
    case.until("its end is told", &format!("{pods}/fails"), told).await;
    case.delete(&format!("{pods}/fails")).await.ok();
    case.until_gone(&format!("{pods}/fails")).await;
}

/// A pod that serves over HTTP, with this probe or hook.
fn serving(script: &str, more: Value) -> Value {
    let mut spec = running_pod_spec();
    spec["containers"][0]["command"] = json!(["sh", "-c", script]);
    for (field, value) in more.as_object().into_iter().flatten() {
        spec["containers"][0][field] = value.clone();
    }
    spec
}

async fn restarts(case: &Case, name: &str) -> i64 {
    let pod = case.get(&format!("{}/{name}", case.path("v1", "pods"))).await.expect(200);
    pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or(0)
}

/// Conformance: [sig-node] Probing container should be restarted with a exec "cat /tmp/health" liveness probe [NodeConformance]
/// Conformance: [sig-node] Probing container should be restarted with a /healthz http liveness probe [NodeConformance]
/// Conformance: [sig-node] Probing container should have monotonically increasing restart count [NodeConformance]
/// Conformance: [sig-node] Probing container should *not* be restarted with a exec "cat /tmp/health" liveness probe [NodeConformance]
/// Conformance: [sig-node] Probing container should *not* be restarted with a /healthz http liveness probe [NodeConformance]
/// Conformance: [sig-node] Probing container should *not* be restarted with a tcp:8080 liveness probe [NodeConformance]
/// Conformance: [sig-node] Probing container should *not* be restarted with a GRPC liveness probe [NodeConformance]
/// Conformance: [sig-node] Probing container should be restarted with a GRPC liveness probe [NodeConformance]
#[tokio::test]
async fn who_fails_his_liveness_probe_is_restarted_and_nobody_else() {
    let case = Case::new().await;
    let pods = case.path("v1", "pods");
    // One failure is enough to be restarted; a slow machine is none: the first success may take its time, and so may each answer.
    let strict = |probe: &Value| {
        let (mut liveness, mut startup) = (probe.clone(), probe.clone());
        for (probe, failures) in [(&mut liveness, 1), (&mut startup, 600)] {
            probe["periodSeconds"] = json!(1);
            probe["timeoutSeconds"] = json!(60);
            probe["failureThreshold"] = json!(failures);
        }
        (liveness, startup)
    };
    let (file, http, tcp, grpc) = (
        json!({"exec": {"command": ["cat", "health"]}}),
        json!({"httpGet": {"path": "/healthz", "port": 8080}}),
        json!({"tcpSocket": {"port": 8080}}),
        json!({"grpc": {"port": 8080}}),
    );
    let serves = "touch health; exec kapell-e2e-pod";
    let port = json!([{"containerPort": 8080}]);
    for (name, script, probe) in
        [("file", serves, &file), ("http", serves, &http), ("tcp", serves, &tcp), ("grpc", serves, &grpc)]
    {
        let (liveness, startup) = strict(probe);
        let spec = serving(script, json!({"livenessProbe": liveness, "startupProbe": startup, "ports": port}));
        case.post(&pods, &json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
    }
    // As upstream: it serves, but nobody answers where the probe asks.
    let elsewhere = json!({"grpc": {"port": 8081}});
    for (name, script, probe) in [
        ("no-file", "rm -f health; sleep 1000", &file),
        ("no-http", "sleep 1000", &http),
        ("no-grpc", serves, &elsewhere),
    ] {
        let spec = serving(script, json!({"livenessProbe": strict(probe).0, "ports": port}));
        case.post(&pods, &json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
    }
    for name in ["no-file", "no-http", "no-grpc"] {
        let twice = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_i64() >= Some(2);
        case.until("it is restarted twice", &format!("{pods}/{name}"), twice).await;
    }
    for name in ["file", "http", "tcp", "grpc"] {
        assert_eq!(restarts(&case, name).await, 0, "{name}");
    }
}

/// Conformance: [sig-node] Probing container with readiness probe that fails should never be ready and never restart [NodeConformance]
/// Conformance: [sig-node] Probing container with readiness probe should not be ready before initial delay and never restart [NodeConformance]
#[tokio::test]
async fn who_fails_his_readiness_probe_is_not_ready() {
    let case = Case::new().await;
    let pods = case.path("v1", "pods");
    let probe = |command: &str, delay: u32| json!({"readinessProbe": {"exec": {"command": [command]}, "initialDelaySeconds": delay, "periodSeconds": 1}});
    for (name, probe) in [("never", probe("false", 0)), ("late", probe("true", 2))] {
        let spec = serving("sleep 1000", probe);
        case.post(&pods, &json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
    }
    let ready = |pod: &Value| pod["status"]["containerStatuses"][0]["ready"] == true;
    let late = case.until("the late one is ready", &format!("{pods}/late"), ready).await;
    let seconds = |text: &Value| text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    let started = seconds(&late["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]);
    let conditions = late["status"]["conditions"].as_array().unwrap();
    let since = &conditions.iter().find(|c| c["type"] == "Ready").unwrap()["lastTransitionTime"];
    assert!(seconds(since) - started >= 1, "after the delay, whose part of a second the times do not show: {late}");
    let never = case.get(&format!("{pods}/never")).await.expect(200);
    assert!(!ready(&never), "{never}");
    assert_eq!((restarts(&case, "never").await, restarts(&case, "late").await), (0, 0));
}

/// Conformance: [sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute poststart exec hook properly [NodeConformance]
/// Conformance: [sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute prestop exec hook properly [NodeConformance]
#[tokio::test]
async fn hooks_run_after_the_start_and_before_the_end() {
    let case = Case::new().await;
    let pods = case.path("v1", "pods");
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str| place.path().join(name);
    let touch = |name: &str| json!({"exec": {"command": ["touch", file(name).display().to_string()]}});
    let mut spec =
        serving("sleep 1000", json!({"lifecycle": {"postStart": touch("started"), "preStop": touch("stopped")}}));
    // The second hook counts towards it, however slow the machine is.
    spec["terminationGracePeriodSeconds"] = json!(60);
    case.post(&pods, &json!({"metadata": {"name": "p"}, "spec": spec})).await.expect(201);
    case.until("it runs", &format!("{pods}/p"), |pod| pod["status"]["phase"] == "Running").await;
    kapell_e2e::eventually_async("the first hook has run", || async { file("started").exists().then_some(()) }).await;
    assert!(!file("stopped").exists());
    case.delete(&format!("{pods}/p")).await.ok();
    case.until_gone(&format!("{pods}/p")).await;
    assert!(file("stopped").exists());
}
