//! Every verb of kubectl, with the oldest and the newest kubectl that we promise, and with lists that are streamed (`WatchListClient`)
//! or not.
//!
//! `cargo xtask guide` makes the table of docs/guide/kubernetes.md of the lines `Row` and `Column`: every test is a column, and every
//! test does every row, so that a cell is proven by the test of its column.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use kapell_e2e::{Forward, Kapell, Ran, eventually, run, skip, tool};
use serde_json::{Value, json};

const WEB: &str = include_str!("files/web.yaml");
const ROLLED: &str = "deployment/web";

/// A kubectl in one of its two ways to list.
struct Kubectl {
    kapell: Kapell,
    program: PathBuf,
    streaming: bool,
}

impl Kubectl {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("KUBECONFIG", self.kapell.data().join("kubeconfig"));
        // A cache of its own, so that discovery is asked for, too.
        command.env("HOME", self.kapell.data().join("home"));
        command.env("KUBE_FEATURE_WatchListClient", self.streaming.to_string());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        run(self.command(arguments), None)
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> Ran {
        self.run(arguments).ok()
    }

    fn with(&self, arguments: &[&str], input: &str) -> Ran {
        run(self.command(arguments), Some(input))
    }

    fn json(&self, target: &str) -> Value {
        self.ok(&["get", target, "-o", "json"]).json()
    }

    /// A command that goes on by itself, ended once it has said `text`.
    fn says(&self, arguments: &[&str], text: &str) {
        let mut child = self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let found = lines.any(|line| line.contains(text));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found, "{arguments:?} never said {text:?}");
    }

    fn rolled_out(&self) {
        self.ok(&["rollout", "status", ROLLED, "--timeout=60s"]);
    }
}

fn every_verb(name: &str, streaming: bool) {
    let Some(program) = tool(name) else { skip!("no {name}: `cargo xtask test` builds it if Go is installed") };
    let kubectl = Kubectl { kapell: Kapell::start(), program, streaming };
    for row in [
        versions,
        explain,
        apply,
        apply_server_side,
        diff,
        rollout_status_and_wait,
        get,
        get_watch,
        describe,
        logs,
        exec,
        attach,
        cp,
        port_forward,
        top,
        events,
        label_annotate,
        patch_edit_replace,
        set,
        rollout_history_and_undo,
        rollout_restart_pause_resume,
        scale,
        autoscale,
        expose_run,
        create,
        auth,
        debug,
        cordon_taint_drain,
        kustomize,
        delete,
    ] {
        row(&kubectl);
    }
}

/// Column: kubectl | 1.32
#[test]
fn the_oldest_that_lists() {
    every_verb("kubectl", false);
}

/// Column: kubectl | 1.32, `WatchListClient`
#[test]
fn the_oldest_that_streams_lists() {
    every_verb("kubectl", true);
}

/// Column: kubectl | 1.37
#[test]
fn the_newest_that_lists() {
    every_verb("kubectl_newest", false);
}

/// Column: kubectl | 1.37, `WatchListClient`
#[test]
fn the_newest_that_streams_lists() {
    every_verb("kubectl_newest", true);
}

/// Row: kubectl | `version`, `api-resources`, `api-versions`, `cluster-info`, `get --raw`
fn versions(kubectl: &Kubectl) {
    kubectl.ok(&["version"]).says("Server Version");
    kubectl.ok(&["api-resources"]).says("deployments").says("workflowruns").says("PodMetrics");
    kubectl.ok(&["api-versions"]).says("apps/v1");
    kubectl.ok(&["cluster-info"]).says("is running at");
    kubectl.ok(&["get", "--raw", "/readyz"]).says("ok");
}

/// Row: kubectl | `explain`
fn explain(kubectl: &Kubectl) {
    kubectl.ok(&["explain", "pod.spec.containers"]).says("FIELDS");
    kubectl.ok(&["explain", "workflowruns.spec"]).says("input");
}

/// Row: kubectl | `apply` (new, unchanged, changed, `--dry-run=server`, `kind: List`, `--prune`)
fn apply(kubectl: &Kubectl) {
    let apply = ["apply", "-f", "-"];
    kubectl.with(&apply, WEB).ok().says("deployment.apps/web created");
    let again = kubectl.with(&apply, WEB).ok();
    assert_eq!(again.stdout.matches("unchanged").count(), again.stdout.lines().count(), "{again}");
    let three = WEB.replacen("replicas: 2", "replicas: 3", 1);
    kubectl.with(&["apply", "--dry-run=server", "-f", "-"], &three).ok().says("configured (server dry run)");
    kubectl.with(&apply, &three).ok().says("deployment.apps/web configured");
    kubectl.with(&apply, WEB).ok().says("deployment.apps/web configured");
    let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"pruned": "yes"}}});
    let list = |names: &[&str]| {
        let items: Vec<Value> = names.iter().map(|name| map(name)).collect();
        json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
    };
    kubectl.with(&apply, &list(&["one", "two"])).ok().says("configmap/two created");
    let prune = ["apply", "-f", "-", "--prune", "-l", "pruned=yes", "--prune-allowlist=core/v1/ConfigMap"];
    kubectl.with(&prune, &list(&["one"])).ok().says("configmap/two pruned");
}

/// Row: kubectl | `apply --server-side` (conflicts, `--force-conflicts`)
fn apply_server_side(kubectl: &Kubectl) {
    let map = |colour: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "paint"}, "data": {"colour": colour}})
            .to_string()
    };
    kubectl.with(&["apply", "--server-side", "-f", "-"], &map("red")).ok().says("serverside-applied");
    let other = ["apply", "--server-side", "--field-manager=other", "-f", "-"];
    kubectl.with(&other, &map("blue")).exits(1).says(".data.colour");
    kubectl.with(&[&other[..], &["--force-conflicts"]].concat(), &map("blue")).ok();
    assert_eq!(kubectl.json("configmap/paint")["data"]["colour"], "blue");
}

/// Row: kubectl | `diff`, `diff --server-side`
fn diff(kubectl: &Kubectl) {
    kubectl.with(&["diff", "-f", "-"], WEB).ok();
    let three = WEB.replacen("replicas: 2", "replicas: 3", 1);
    kubectl.with(&["diff", "-f", "-"], &three).exits(1).says("+  replicas: 3");
    kubectl.with(&["diff", "--server-side", "--force-conflicts", "-f", "-"], &three).exits(1).says("+  replicas: 3");
}

/// Row: kubectl | `rollout status`, `wait` (conditions, JSONPath, creation)
fn rollout_status_and_wait(kubectl: &Kubectl) {
    kubectl.rolled_out();
    kubectl.ok(&["wait", "--for=condition=Available", ROLLED, "--timeout=60s"]);
    kubectl.ok(&["wait", "--for=jsonpath={.status.readyReplicas}=2", ROLLED, "--timeout=60s"]);
    kubectl.ok(&["wait", "--for=create", ROLLED, "--timeout=60s"]);
}

/// Row: kubectl | `get` (`-o wide`, `yaml`, `json`, `name`, `jsonpath`, `custom-columns`, `-A`, `-l`, `--field-selector`, `--sort-by`, `--chunk-size`, `all`)
fn get(kubectl: &Kubectl) {
    kubectl.ok(&["get", "pods"]).says("READY");
    kubectl.ok(&["get", "pods", "-o", "wide"]).says("NOMINATED NODE");
    kubectl.ok(&["get", ROLLED, "-o", "yaml"]).says("kind: Deployment");
    kubectl.ok(&["get", "pods", "-o", "name", "-l", "app=web"]).says("pod/web-");
    kubectl.ok(&["get", ROLLED, "-o", "jsonpath={.spec.replicas}"]).says("2");
    kubectl.ok(&["get", "pods", "-o", "custom-columns=N:.metadata.name"]).says("web-");
    kubectl.ok(&["get", "services", "-A", "--sort-by=.metadata.name"]).says("kubernetes");
    kubectl.ok(&["get", "pods", "-A", "--field-selector=status.phase=Running", "--chunk-size=1"]).says("web-");
    kubectl.ok(&["get", "all"]).says("replicaset.apps/web");
    kubectl.run(&["get", "deployment", "none"]).exits(1).says("(NotFound)");
}

/// Row: kubectl | `get -w`
fn get_watch(kubectl: &Kubectl) {
    kubectl.says(&["get", "pods", "-w"], "web-");
    kubectl.says(&["get", "deployments", "-w", "-o", "name"], "deployment.apps/web");
}

/// Row: kubectl | `describe`
fn describe(kubectl: &Kubectl) {
    kubectl.ok(&["describe", ROLLED]).says("NewReplicaSet");
    kubectl.ok(&["describe", "pods", "-l", "app=web"]).says("Controlled By");
    kubectl.ok(&["describe", "service", "web"]).says("Endpoints:");
    kubectl.ok(&["describe", "nodes"]).says("Allocatable:");
}

/// Row: kubectl | `logs`, `logs -f`
fn logs(kubectl: &Kubectl) {
    kubectl.ok(&["logs", ROLLED, "--tail=5", "--timestamps"]).says("listening on");
    kubectl.says(&["logs", "-f", ROLLED], "listening on");
}

/// Row: kubectl | `exec`
fn exec(kubectl: &Kubectl) {
    kubectl.run(&["exec", ROLLED, "--", "sh", "-c", "echo out; exit 7"]).exits(7).says("out");
    kubectl.with(&["exec", "-i", ROLLED, "--", "cat"], "there and back").ok().says("there and back");
}

/// Row: kubectl | `attach`
fn attach(kubectl: &Kubectl) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "talker"},
        "spec": {"runtimeClassName": "process", "terminationGracePeriodSeconds": 1, "containers": [
            {"name": "main", "command": ["sh", "-c", "while :; do echo hello; sleep 0.1; done"]},
        ]},
    });
    kubectl.with(&["apply", "-f", "-"], &pod.to_string()).ok();
    kubectl.ok(&["wait", "--for=condition=Ready", "pod/talker", "--timeout=60s"]);
    kubectl.says(&["attach", "talker"], "hello");
}

/// Row: kubectl | `cp`
fn cp(kubectl: &Kubectl) {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).display().to_string();
    std::fs::write(path("there"), "some bytes").unwrap();
    kubectl.ok(&["cp", &path("there"), "talker:file"]);
    kubectl.ok(&["cp", "talker:file", &path("back")]);
    assert_eq!(std::fs::read_to_string(path("back")).unwrap(), "some bytes");
}

/// Row: kubectl | `port-forward`
fn port_forward(kubectl: &Kubectl) {
    let answer = Forward::start(kubectl.command(&["port-forward", "service/web", ":8080"])).get().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Row: kubectl | `top pods`, `top nodes`
fn top(kubectl: &Kubectl) {
    eventually("a pod is measured", || kubectl.run(&["top", "pods"]).stdout.contains("talker").then_some(()));
    kubectl.ok(&["top", "pods", "--containers", "-A", "--sort-by=cpu"]).says("main");
    kubectl.ok(&["top", "nodes"]).says("%");
}

/// Row: kubectl | `events`, `get events`
fn events(kubectl: &Kubectl) {
    kubectl.ok(&["events", "--for", "pod/talker"]).says("Started");
    kubectl.ok(&["get", "events", "--field-selector=involvedObject.kind=Deployment"]).says("ScalingReplicaSet");
}

/// Row: kubectl | `label`, `annotate`
fn label_annotate(kubectl: &Kubectl) {
    kubectl.ok(&["label", ROLLED, "tier=front"]).says("labeled");
    kubectl.run(&["label", ROLLED, "tier=back"]).exits(1).says("already has a value");
    kubectl.ok(&["label", ROLLED, "tier=back", "--overwrite"]);
    kubectl.ok(&["annotate", ROLLED, "note=x"]).says("annotated");
    let metadata = kubectl.json(ROLLED)["metadata"].clone();
    assert_eq!((&metadata["labels"]["tier"], &metadata["annotations"]["note"]), (&json!("back"), &json!("x")));
}

/// Row: kubectl | `patch` (strategic, merge, JSON, `--subresource`), `edit`, `replace`
fn patch_edit_replace(kubectl: &Kubectl) {
    let map = "configmap/paint";
    kubectl.ok(&["patch", map, "-p", r#"{"data":{"a":"1"}}"#]);
    kubectl.ok(&["patch", map, "--type=merge", "-p", r#"{"data":{"b":"2"}}"#]);
    kubectl.ok(&["patch", map, "--type=json", "-p", r#"[{"op":"add","path":"/data/c","value":"3"}]"#]);
    let mut edit = kubectl.command(&["edit", map]);
    run(
        {
            edit.env("KUBE_EDITOR", "sed -i s/blue/green/");
            edit
        },
        None,
    )
    .ok()
    .says("edited");
    let mut object = kubectl.json(map);
    assert_eq!(object["data"], json!({"a": "1", "b": "2", "c": "3", "colour": "green"}));
    object["data"] = json!({"only": "this"});
    kubectl.with(&["replace", "-f", "-"], &object.to_string()).ok().says("replaced");
    assert_eq!(kubectl.json(map)["data"], json!({"only": "this"}));
    kubectl.ok(&["patch", ROLLED, "--subresource=scale", "--type=merge", "-p", r#"{"spec":{"replicas":2}}"#]);
    kubectl.ok(&["get", ROLLED, "--subresource=scale"]);
}

/// Row: kubectl | `set env`, `set image`, `set resources`
fn set(kubectl: &Kubectl) {
    kubectl.ok(&["set", "env", ROLLED, "MODE=new"]).says("updated");
    kubectl.rolled_out();
    let container = &kubectl.json(ROLLED)["spec"]["template"]["spec"]["containers"][0];
    assert!(container["env"].as_array().unwrap().contains(&json!({"name": "MODE", "value": "new"})), "{container}");
    let name = container["name"].as_str().unwrap();
    kubectl
        .ok(&["set", "image", ROLLED, &format!("{name}=example.org/web:2"), "--dry-run=server"])
        .says("image updated");
    kubectl.ok(&["set", "resources", ROLLED, "--requests=cpu=10m", "--dry-run=server"]).says("updated");
}

/// Row: kubectl | `rollout history`, `rollout undo`
fn rollout_history_and_undo(kubectl: &Kubectl) {
    kubectl.ok(&["rollout", "history", ROLLED]).says("2");
    kubectl.ok(&["rollout", "history", ROLLED, "--revision=2"]).says("MODE");
    kubectl.ok(&["rollout", "undo", ROLLED]).says("rolled back");
    kubectl.rolled_out();
    assert!(!kubectl.json(ROLLED)["spec"]["template"].to_string().contains("MODE"));
}

/// Row: kubectl | `rollout restart`, `rollout pause`, `rollout resume`
fn rollout_restart_pause_resume(kubectl: &Kubectl) {
    kubectl.ok(&["rollout", "pause", ROLLED]).says("paused");
    kubectl.run(&["rollout", "restart", ROLLED]).exits(1).says("paused");
    kubectl.ok(&["rollout", "resume", ROLLED]).says("resumed");
    kubectl.ok(&["rollout", "restart", ROLLED]).says("restarted");
    kubectl.rolled_out();
}

/// Row: kubectl | `scale` (also `--current-replicas`)
fn scale(kubectl: &Kubectl) {
    kubectl.ok(&["scale", ROLLED, "--replicas=3"]).says("scaled");
    kubectl.ok(&["scale", ROLLED, "--current-replicas=3", "--replicas=1"]).says("scaled");
    kubectl.run(&["scale", ROLLED, "--current-replicas=7", "--replicas=2"]).exits(1).says("Expected replicas to be 7");
    kubectl.rolled_out();
    assert_eq!(kubectl.json(ROLLED)["spec"]["replicas"], 1);
}

/// Row: kubectl | `autoscale`
fn autoscale(kubectl: &Kubectl) {
    kubectl.ok(&["autoscale", "deployment", "web", "--min=1", "--max=3"]).says("autoscaled");
    kubectl.ok(&["get", "hpa", "web"]).says("Deployment/web");
    kubectl.ok(&["delete", "hpa", "web"]);
}

/// Row: kubectl | `run`, `expose`
fn expose_run(kubectl: &Kubectl) {
    kubectl.ok(&["expose", ROLLED, "--name=front", "--port=8000"]).says("exposed");
    kubectl.ok(&["run", "once", "--image=busybox", "--restart=Never", "--", "true"]).says("created");
    assert_eq!(kubectl.json("pod/once")["spec"]["restartPolicy"], "Never");
}

/// Row: kubectl | `create` (every generator), `create -f`
fn create(kubectl: &Kubectl) {
    for arguments in [
        "namespace team",
        "configmap settings --from-literal=a=b",
        "secret generic login --from-literal=password=x",
        "secret docker-registry pull --docker-username=u --docker-password=p",
        "serviceaccount robot",
        "deployment idle --image=nginx --replicas=0",
        "job once --image=busybox -- true",
        "cronjob often --image=busybox --schedule=0_0_1_1_* -- true",
        "service clusterip plain --tcp=80:8080",
        "service nodeport open --tcp=80",
        "service externalname away --external-name=example.org",
        "service loadbalancer wide --tcp=80",
        "ingress site --rule=shop.example/*=web:80",
        "role reader --verb=get --resource=pods",
        "rolebinding reads --role=reader --user=ann",
        "clusterrole nodes --verb=get --resource=nodes",
        "clusterrolebinding reads --clusterrole=nodes --user=ann",
        "quota few --hard=pods=100",
        "priorityclass high --value=1000",
        "poddisruptionbudget some --selector=app=none --min-available=1",
    ] {
        let words: Vec<String> = arguments.split(' ').map(|word| word.replace('_', " ")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        kubectl.ok(&[&["create"], &words[..]].concat()).says("created");
    }
    let token = kubectl.ok(&["create", "token", "robot"]).stdout;
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
    let map = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"made-"}}"#;
    kubectl.with(&["create", "-f", "-"], map).ok().says("configmap/made-");
}

/// Row: kubectl | `auth can-i`, `auth whoami`, `auth reconcile`, `--as`
fn auth(kubectl: &Kubectl) {
    kubectl.ok(&["auth", "whoami"]).says("admin");
    kubectl.ok(&["auth", "can-i", "create", "pods"]).says("yes");
    kubectl.run(&["auth", "can-i", "create", "pods", "--as=ann"]).exits(1).says("no");
    kubectl.ok(&["auth", "can-i", "--list"]).says("*.*");
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reader", "namespace": "default"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}],
    });
    kubectl.with(&["auth", "reconcile", "-f", "-"], &role.to_string()).ok().says("reconciled");
}

/// Row: kubectl | `debug` (`-it`, `--target`, `--profile`, `--copy-to`; with `node/NAME` the pod waits for a container runtime)
fn debug(kubectl: &Kubectl) {
    // A pipe is no terminal, so `-t` is not for this test; e2e/tests/streams.rs has one.
    let session = ["debug", "talker", "-i", "--image=none", "--target=main", "-c", "look", "--", "sh"];
    kubectl.with(&session, "echo target $KAPELL_TARGET_PID; exit\n").ok().says("target ");
    kubectl.ok(&["logs", "talker", "-c", "look"]).says("target ");
    kubectl.ok(&["describe", "pod", "talker"]).says("Ephemeral Containers:");
    for profile in ["legacy", "general", "baseline", "netadmin", "sysadmin"] {
        let profile = format!("--profile={profile}");
        kubectl.ok(&["debug", "talker", "--image=none", &profile, "--", "true"]);
    }
    kubectl.ok(&["debug", "talker", "--copy-to=copied", "--set-image=*=none", "--share-processes"]);
    kubectl.ok(&["wait", "--for=condition=Ready", "pod/copied", "--timeout=60s"]);
    let node = kubectl.ok(&["get", "nodes", "-o", "name"]).stdout;
    kubectl.ok(&["debug", node.trim(), "--image=busybox"]).says("no node has a container runtime yet");
}

/// Row: kubectl | `cordon`, `uncordon`, `taint`, `drain`
fn cordon_taint_drain(kubectl: &Kubectl) {
    let node = kubectl.ok(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]).stdout;
    kubectl.ok(&["cordon", &node]).says("cordoned");
    kubectl.ok(&["uncordon", &node]).says("uncordoned");
    kubectl.ok(&["taint", "nodes", &node, "slow=yes:PreferNoSchedule"]).says("tainted");
    kubectl.ok(&["taint", "nodes", &node, "slow-"]).says("untainted");
    kubectl.ok(&["drain", &node, "--force", "--timeout=60s"]).says("drained");
    kubectl.ok(&["uncordon", &node]);
    kubectl.rolled_out();
}

/// Row: kubectl | `apply -k`, `kustomize`
fn kustomize(kubectl: &Kubectl) {
    let place = tempfile::tempdir().unwrap();
    let kustomization = "namePrefix: my-\nconfigMapGenerator:\n- name: made\n  literals: [a=b]\n";
    std::fs::write(place.path().join("kustomization.yaml"), kustomization).unwrap();
    let path = place.path().display().to_string();
    kubectl.ok(&["kustomize", &path]).says("my-made");
    kubectl.ok(&["apply", "-k", &path]).says("configmap/my-made");
}

/// Row: kubectl | `delete` (`--cascade=foreground`, `orphan`, `--force`, `-l`, `--dry-run=server`, `--wait`)
fn delete(kubectl: &Kubectl) {
    kubectl.ok(&["delete", ROLLED, "--dry-run=server"]).says("(server dry run)");
    kubectl.ok(&["delete", ROLLED, "--cascade=orphan"]);
    kubectl.ok(&["get", "rs", "-l", "app=web"]).says("web-");
    kubectl.ok(&["delete", "rs", "-l", "app=web", "--cascade=foreground", "--timeout=60s"]).says("deleted");
    kubectl.ok(&["wait", "pods", "-l", "app=web", "--for=delete", "--timeout=60s"]);
    kubectl.ok(&["delete", "namespace", "team", "--timeout=60s"]).says("deleted");
    kubectl.ok(&["run", "gone", "--image=busybox", "--restart=Never"]);
    kubectl.ok(&["delete", "pod", "gone", "--force", "--grace-period=0"]).says("deleted");
    kubectl.run(&["delete", "configmap", "none"]).exits(1).says("(NotFound)");
    kubectl.ok(&["delete", "configmap", "none", "--ignore-not-found"]);
}
