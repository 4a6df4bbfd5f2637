//! SIG CLI: what kubectl does, as the upstream cases do it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use kapell_e2e::conformance::{Case, replication_controller, running_pod_spec, workload};
use kapell_e2e::{Ran, kubectl_binary, skip};
use serde_json::json;

macro_rules! need_kubectl {
    () => {
        if kubectl_binary().is_none() {
            skip!("no kubectl: install it, or Go, from which `cargo xtask test` builds it");
        }
    };
}

fn kubectl(case: &Case, arguments: &[&str]) -> Ran {
    case.kapell.kubectl(&[&["-n", &case.namespace], arguments].concat())
}

fn piped(case: &Case, arguments: &[&str], object: &serde_json::Value) -> Ran {
    let arguments = [&["-n", &case.namespace], arguments].concat();
    case.kapell.kubectl_with_input(&arguments, Some(&object.to_string()))
}

/// Conformance: [sig-cli] Kubectl client Kubectl api-versions should check if v1 is in available api versions
/// Conformance: [sig-cli] Kubectl client Kubectl version should check is all data is printed
/// Conformance: [sig-cli] Kubectl client Kubectl cluster-info should check if Kubernetes control plane services is included in cluster-info
#[tokio::test]
async fn kubectl_says_what_it_talks_to() {
    need_kubectl!();
    let case = Case::new().await;
    let versions = kubectl(&case, &["api-versions"]).ok();
    assert!(versions.stdout.lines().any(|line| line == "v1"), "{versions}");
    kubectl(&case, &["version"]).ok().says("Client Version").says("Server Version");
    kubectl(&case, &["cluster-info"]).ok().says("Kubernetes control plane").says("is running at");
}

/// Conformance: [sig-cli] Kubectl client Kubectl diff should check if kubectl diff finds a difference for Deployments
#[tokio::test]
async fn kubectl_finds_a_difference() {
    need_kubectl!();
    let case = Case::new().await;
    let mut object = workload("web", 1, kapell_e2e::conformance::idle_pod_spec());
    object["apiVersion"] = json!("apps/v1");
    object["kind"] = json!("Deployment");
    piped(&case, &["create", "-f", "-"], &object).ok();
    object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("registry.k8s.io/pause:3.9");
    piped(&case, &["diff", "-f", "-"], &object).exits(1).says("pause:3.9");
}

/// Conformance: [sig-cli] Kubectl client Kubectl run pod should create a pod from an image when restart is Never
/// Conformance: [sig-cli] Kubectl client Kubectl server-side dry-run should check if kubectl can dry-run update Pods
/// Conformance: [sig-cli] Kubectl client Kubectl replace should update a single-container pod's image
#[tokio::test]
async fn kubectl_runs_a_pod_and_tries_changes() {
    need_kubectl!();
    let case = Case::new().await;
    let image = "registry.k8s.io/e2e-test-images/httpd:2.4.38-4";
    kubectl(&case, &["run", "httpd", "--restart=Never", &format!("--image={image}"), "--labels=run=httpd"]).ok();
    let pod = || kubectl(&case, &["get", "pod", "httpd", "-o", "json"]).ok().json();
    assert_eq!(
        (&pod()["spec"]["containers"][0]["image"], &pod()["spec"]["restartPolicy"]),
        (&json!(image), &json!("Never"))
    );
    let patch = r#"{"spec":{"containers":[{"name":"httpd","image":"registry.k8s.io/pause:3.10"}]}}"#;
    kubectl(&case, &["patch", "pod", "httpd", "-p", patch, "--dry-run=server"]).ok();
    assert_eq!(pod()["spec"]["containers"][0]["image"], image);
    let mut changed = pod();
    changed["spec"]["containers"][0]["image"] = json!("registry.k8s.io/pause:3.10");
    piped(&case, &["replace", "-f", "-"], &changed).ok();
    assert_eq!(pod()["spec"]["containers"][0]["image"], "registry.k8s.io/pause:3.10");
}

/// Conformance: [sig-cli] Kubectl client Kubectl label should update the label on a resource
/// Conformance: [sig-cli] Kubectl client Kubectl patch should add annotations for pods in rc
/// Conformance: [sig-cli] Kubectl client Kubectl describe should check if kubectl describe prints relevant information for rc and pods
/// Conformance: [sig-cli] Kubectl client Kubectl expose should create services for rc
/// Conformance: [sig-cli] Kubectl client Update Demo should create and stop a replication controller
/// Conformance: [sig-cli] Kubectl client Update Demo should scale a replication controller
#[tokio::test]
async fn kubectl_works_with_a_controller_and_its_pods() {
    need_kubectl!();
    let case = Case::new().await;
    let mut rc = replication_controller("demo", 2, running_pod_spec());
    rc["apiVersion"] = json!("v1");
    rc["kind"] = json!("ReplicationController");
    piped(&case, &["create", "-f", "-"], &rc).ok();
    let ready = |count: u32| {
        let wanted = format!("--for=jsonpath={{.status.readyReplicas}}={count}");
        kubectl(&case, &["wait", "rc/demo", &wanted, "--timeout=60s"]).ok();
    };
    ready(2);
    kubectl(&case, &["describe", "rc", "demo"])
        .ok()
        .says("Name:         demo")
        .says("2 current / 2 desired")
        .says("Pods Status:");
    let names = kubectl(&case, &["get", "pods", "-l", "app=demo", "-o", "name"]).ok().stdout;
    let pod = names.lines().next().unwrap();
    kubectl(&case, &["describe", pod]).ok().says("Controlled By:").says("ReplicationController/demo").says("Status:");
    kubectl(&case, &["describe", "namespace", &case.namespace]).ok().says("Active");
    kubectl(&case, &["describe", "node", &case.node().await])
        .ok()
        .says("Conditions:")
        .says("Capacity:")
        .says("kubernetes.io/hostname");

    kubectl(&case, &["label", pod, "testing-label=testing-label-value"]).ok();
    kubectl(&case, &["get", pod, "-L", "testing-label"]).ok().says("testing-label-value");
    kubectl(&case, &["label", pod, "testing-label-"]).ok();
    assert!(!kubectl(&case, &["get", pod, "-L", "testing-label"]).ok().stdout.contains("testing-label-value"));
    kubectl(&case, &["patch", pod, "-p", r#"{"metadata":{"annotations":{"x":"y"}}}"#]).ok();
    kubectl(&case, &["get", pod, "-o", "jsonpath={.metadata.annotations.x}"]).ok().says("y");

    kubectl(&case, &["expose", "rc", "demo", "--name=rm2", "--port=1234", "--target-port=6379"]).ok();
    kubectl(&case, &["expose", "service", "rm2", "--name=rm3", "--port=2345", "--target-port=6379"]).ok();
    for (name, port) in [("rm2", 1234), ("rm3", 2345)] {
        let service = kubectl(&case, &["get", "service", name, "-o", "json"]).ok().json();
        assert_eq!(
            (&service["spec"]["ports"][0]["port"], &service["spec"]["ports"][0]["targetPort"]),
            (&json!(port), &json!(6379))
        );
    }
    kubectl(&case, &["scale", "rc", "demo", "--replicas=1", "--timeout=60s"]).ok();
    ready(1);
    kubectl(&case, &["scale", "rc", "demo", "--replicas=2", "--timeout=60s"]).ok();
    ready(2);
    kubectl(&case, &["delete", "--grace-period=0", "--force", "rc/demo"]).ok();
    kubectl(&case, &["wait", "pods", "-l", "app=demo", "--for=delete", "--timeout=60s"]).ok();
}

/// A `kubectl proxy` that has said where it listens.
struct Proxy(Child, String);

impl Proxy {
    fn start(case: &Case, arguments: &[&str]) -> Self {
        let mut command = case.kapell.kubectl_command(&[&["proxy"], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let line = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        Self(child, line)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `GET /api/` over a connection.
fn get_api(mut stream: impl std::io::Read + std::io::Write) -> String {
    stream.write_all(b"GET /api/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Conformance: [sig-cli] Kubectl client Proxy server should support proxy with --port 0
/// Conformance: [sig-cli] Kubectl client Proxy server should support --unix-socket=/path
#[tokio::test]
async fn kubectl_is_a_proxy_on_a_port_and_a_socket() {
    need_kubectl!();
    let case = Case::new().await;
    let proxy = Proxy::start(&case, &["--port=0", "--disable-filter"]);
    let address = proxy.1.rsplit(' ').next().unwrap().trim();
    let answer = get_api(std::net::TcpStream::connect(address).unwrap());
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("APIVersions"), "{answer}");
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let _proxy = Proxy::start(&case, &["--unix-socket", &socket.display().to_string()]);
    let answer = get_api(std::os::unix::net::UnixStream::connect(&socket).unwrap());
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("APIVersions"), "{answer}");
}

/// Conformance: [sig-cli] Kubectl logs logs should be able to retrieve and filter logs
#[tokio::test]
async fn kubectl_retrieves_and_filters_logs() {
    need_kubectl!();
    let case = Case::new().await;
    let mut spec = running_pod_spec();
    spec["restartPolicy"] = json!("Never");
    spec["containers"][0]["command"] = json!(["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i; done"]);
    case.post(&case.path("v1", "pods"), &json!({"metadata": {"name": "p"}, "spec": spec})).await.expect(201);
    let path = format!("{}/p", case.path("v1", "pods"));
    case.until("it has ended", &path, |pod| pod["status"]["phase"] == "Succeeded").await;
    let logs = |options: &[&str]| kubectl(&case, &[&["logs", "p"], options].concat()).ok().stdout;
    assert_eq!(logs(&[]).lines().count(), 10);
    assert_eq!(logs(&["--tail=1"]), "line 10\n");
    assert_eq!(logs(&["--limit-bytes=1"]), "l");
    assert!(logs(&["--tail=1", "--timestamps"]).contains("Z line 10"));
    assert_eq!(logs(&["--since=24h"]).lines().count(), 10);
    assert_eq!(logs(&["--since-time=2100-01-01T00:00:00Z"]), "");
}
