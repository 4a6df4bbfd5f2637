//! The life of a release by the real Helm: its own records, waiting for readiness, history and rollback.

use std::path::Path;
use std::process::Command;

use kapell_e2e::{Kapell, Ran, eventually, skip, tool};
use serde_json::Value;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/chart");

macro_rules! need_helm {
    () => {
        match tool("helm") {
            Some(helm) => helm,
            None => skip!("no helm: `cargo xtask test` builds it if Go is installed"),
        }
    };
}

struct Helm<'a> {
    program: std::path::PathBuf,
    kapell: &'a Kapell,
    home: tempfile::TempDir,
}

impl<'a> Helm<'a> {
    fn new(program: std::path::PathBuf, kapell: &'a Kapell) -> Self {
        Self { program, kapell, home: tempfile::TempDir::new().unwrap() }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("HOME", self.home.path()).env("KUBECONFIG", self.kapell.data().join("kubeconfig"));
        kapell_e2e::run(command, None)
    }
}

/// What each ready pod of the release said when it started.
fn greetings(kapell: &Kapell) -> Vec<String> {
    let pods = kapell.pods("default", "app=web");
    let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let staying = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let first =
        |pod: &Value| kapell.cli(&["logs", &name(pod)]).ok().stdout.lines().next().unwrap_or_default().to_owned();
    staying.map(first).collect()
}

/// Row: helm | our own chart: `install`, `upgrade`, `rollback`, `uninstall`, each with `--wait`; `history`, `get values`, `status`
#[test]
fn a_release_is_installed_upgraded_rolled_back_and_uninstalled() {
    let program = need_helm!();
    let kapell = Kapell::start();
    let helm = Helm::new(program, &kapell);
    let waiting = ["--wait", "--timeout", "60s"];
    let with = |arguments: &[&'static str]| helm.run(&[arguments, &waiting].concat());

    with(&["install", "web", CHART]).ok().says("STATUS: deployed");
    assert_eq!(greetings(&kapell), ["greeting: hello", "greeting: hello"]);
    helm.run(&["install", "web", CHART]).exits(1).says("name that is still in use");

    let changed = ["upgrade", "web", CHART, "--set", "greeting=moin,replicas=3"];
    with(&changed).ok().says("REVISION: 2");
    assert_eq!(greetings(&kapell), ["greeting: moin"; 3]);

    let history = helm.run(&["history", "web", "-o", "json"]).ok().json();
    let states: Vec<&str> = history.as_array().unwrap().iter().filter_map(|entry| entry["status"].as_str()).collect();
    assert_eq!(states, ["superseded", "deployed"]);

    with(&["rollback", "web", "1"]).ok();
    assert_eq!(greetings(&kapell), ["greeting: hello"; 2]);
    helm.run(&["get", "values", "web", "--all", "-o", "json"]).ok().says("hello");

    with(&["uninstall", "web"]).ok().says("uninstalled");
    // Helm does not wait for what the garbage collector does after it.
    eventually("nothing of the release is left", || {
        let kinds = "deployments,services,pods,secrets,configmaps";
        let left = kapell.cli(&["get", kinds, "-l", "app=web", "-o", "json"]).ok().json();
        left["items"].as_array()?.is_empty().then_some(())
    });
    helm.run(&["status", "web"]).exits(1).says("not found");
}

/// Row: helm | the chart that `helm create` writes: `install`, `upgrade`, `rollback`, `uninstall --wait` (its image waits for a container runtime)
#[test]
fn the_chart_that_helm_itself_writes_is_accepted_as_it_is() {
    let program = need_helm!();
    let kapell = Kapell::start();
    let helm = Helm::new(program, &kapell);
    let chart = helm.home.path().join("site");
    let path = |path: &Path| path.display().to_string();
    helm.run(&["create", &path(&chart)]).ok();
    // Its image needs a container runtime, so what is shown here is that everything is taken, and that why says it.
    helm.run(&["install", "site", &path(&chart)]).ok().says("STATUS: deployed");
    let pods = kapell.pods("default", "app.kubernetes.io/instance=site");
    let pod = format!("pod/{}", pods[0]["metadata"]["name"].as_str().unwrap());
    kapell.cli(&["why", &pod]).ok().says("container runtime");
    helm.run(&["upgrade", "site", &path(&chart), "--set", "replicaCount=2"]).ok().says("REVISION: 2");
    assert_eq!(kapell.object("default", "deployment/site")["spec"]["replicas"], 2);
    helm.run(&["rollback", "site", "1"]).ok();
    assert_eq!(kapell.object("default", "deployment/site")["spec"]["replicas"], 1);
    helm.run(&["uninstall", "site", "--wait", "--timeout", "60s"]).ok();
}
