//! The real kubectl against a real server: what people type first.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use kapell_e2e::{Kapell, eventually, need_kubectl};

const WEB: &str = include_str!("files/web.yaml");

fn changed(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from));
    text.replacen(from, to, 1)
}

#[test]
fn apply_creates_changes_and_leaves_alone() {
    need_kubectl!();
    let kapell = Kapell::start();

    let new = kapell.kubectl_with_input(&["apply", "-f", "-"], Some(WEB)).ok();
    assert!(new.stdout.contains("deployment.apps/web created") && new.stdout.contains("service/web created"), "{new}");

    let again = kapell.kubectl_with_input(&["apply", "-f", "-"], Some(WEB)).ok();
    assert!(
        again.stdout.contains("deployment.apps/web unchanged") && again.stdout.contains("service/web unchanged"),
        "{again}"
    );

    let three = changed(WEB, "replicas: 2", "replicas: 3");
    let dry = kapell.kubectl_with_input(&["apply", "--dry-run=server", "-f", "-"], Some(&three)).ok();
    assert!(dry.stdout.contains("deployment.apps/web configured (server dry run)"), "{dry}");
    assert_eq!(kapell.object("default", "deployment/web")["spec"]["replicas"], 2);

    let more = kapell.kubectl_with_input(&["apply", "-f", "-"], Some(&three)).ok();
    assert!(
        more.stdout.contains("deployment.apps/web configured") && more.stdout.contains("service/web unchanged"),
        "{more}"
    );
    assert_eq!(kapell.object("default", "deployment/web")["spec"]["replicas"], 3);
}

#[test]
fn get_shows_the_columns_that_people_know() {
    need_kubectl!();
    let kapell = Kapell::start();
    kapell.kubectl_with_input(&["apply", "-f", "-"], Some(WEB)).ok();
    kapell.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).ok().says("successfully rolled out");

    let header = |arguments: &[&str]| {
        let table = kapell.kubectl(arguments).ok().stdout;
        table.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(header(&["get", "pods"]), "NAME READY STATUS RESTARTS AGE");
    assert_eq!(
        header(&["get", "pods", "-o", "wide"]),
        "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES"
    );
    assert_eq!(header(&["get", "deployments"]), "NAME READY UP-TO-DATE AVAILABLE AGE");
    assert_eq!(header(&["get", "rs"]), "NAME DESIRED CURRENT READY AGE");
    assert_eq!(header(&["get", "svc"]), "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE");
    assert_eq!(header(&["get", "nodes"]), "NAME STATUS ROLES AGE VERSION");
    assert_eq!(header(&["get", "endpointslices"]), "NAME ADDRESSTYPE PORTS ENDPOINTS AGE");

    let pods = kapell.kubectl(&["get", "pods", "-l", "app=web"]).ok().stdout;
    assert_eq!(pods.lines().filter(|line| line.contains("1/1") && line.contains("Running")).count(), 2, "{pods}");
    let yaml = kapell.kubectl(&["get", "deployment", "web", "-o", "yaml"]).ok();
    assert!(yaml.stdout.contains("kind: Deployment") && yaml.stdout.contains("resourceVersion:"), "{yaml}");
    kapell.kubectl(&["describe", "deployment", "web"]).ok().says("NewReplicaSet").says("2 available");
    let pod = pods.lines().nth(1).unwrap().split_whitespace().next().unwrap();
    kapell.kubectl(&["describe", "pod", pod]).ok().says("Started").says("Ready");
    kapell.kubectl(&["get", "all"]).ok().says("deployment.apps/web").says("service/web");
}

#[test]
fn logs_follow_and_watches_stream() {
    need_kubectl!();
    let kapell = Kapell::start();
    kapell.kubectl_with_input(&["apply", "-f", "-"], Some(WEB)).ok();
    kapell.kubectl(&["wait", "--for=condition=Available", "deployment/web", "--timeout=60s"]).ok();

    kapell.kubectl(&["logs", "deployment/web"]).ok().says("listening on 127.");

    let mut follow = kapell.kubectl_command(&["logs", "-f", "deployment/web"]).stdout(Stdio::piped()).spawn().unwrap();
    let first = BufReader::new(follow.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    assert!(first.contains("listening on"), "{first}");
    follow.kill().unwrap();
    follow.wait().unwrap();

    let mut watch = kapell.kubectl_command(&["get", "deployments", "-w"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.find(|line| line.starts_with("web")).expect("the watch begins with what is there");
    kapell.kubectl(&["scale", "deployment/web", "--replicas=3"]).ok().says("scaled");
    lines.find(|line| line.contains("3/3")).expect("the watch shows the third replica");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn scale_wait_delete() {
    need_kubectl!();
    let kapell = Kapell::start();
    kapell.kubectl_with_input(&["apply", "-f", "-"], Some(WEB)).ok();
    kapell.kubectl(&["wait", "--for=condition=Available", "deployment/web", "--timeout=60s"]).ok();

    kapell.kubectl(&["scale", "deployment/web", "--replicas=1"]).ok();
    kapell.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).ok();
    eventually("one pod is left", || (kapell.pods("default", "app=web").len() == 1).then_some(()));

    kapell.kubectl_with_input(&["delete", "-f", "-"], Some(WEB)).ok().says("deployment.apps \"web\" deleted");
    eventually("the pods are collected", || kapell.pods("default", "app=web").is_empty().then_some(()));
    kapell.kubectl(&["get", "deployment", "web"]).exits(1).says("(NotFound)");
}

#[test]
fn rollout_goes_on_and_back() {
    need_kubectl!();
    let kapell = Kapell::start();
    kapell.kubectl_with_input(&["apply", "-f", "-"], Some(WEB)).ok();
    kapell.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).ok();

    let second = changed(WEB, "command: [kapell-e2e-pod]", "command: [kapell-e2e-pod, --ready-after, '50']");
    kapell.kubectl_with_input(&["apply", "-f", "-"], Some(&second)).ok();
    kapell.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).ok();
    kapell.kubectl(&["rollout", "history", "deployment/web"]).ok().says("2");

    kapell.kubectl(&["rollout", "undo", "deployment/web"]).ok().says("rolled back");
    kapell.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).ok();
    let template = kapell.object("default", "deployment/web")["spec"]["template"].clone();
    assert_eq!(template["spec"]["containers"][0]["command"], serde_json::json!(["kapell-e2e-pod"]));
}

/// `WatchListClient` is on by default from client-go 0.35; a server that ignores `sendInitialEvents` hangs such clients.
#[test]
fn streaming_lists_work_too() {
    need_kubectl!();
    let kapell = Kapell::start();
    kapell.kubectl_with_input(&["apply", "-f", "-"], Some(WEB)).ok();
    let mut command = kapell.kubectl_command(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    command.env("KUBE_FEATURE_WatchListClient", "true");
    kapell_e2e::run(command, None).ok().says("successfully rolled out");
}
