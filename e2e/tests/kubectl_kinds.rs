//! The real kubectl on every other kind: workloads that run, kinds that are objects, versions that Kubernetes removed, and
//! `explain`.

use kapell_e2e::{Kapell, eventually, need_kubectl};
use serde_json::json;

const WORKLOADS: &str = include_str!("files/workloads.yaml");

#[test]
fn sets_run_scale_roll_and_go_back() {
    need_kubectl!();
    let kapell = Kapell::start();
    kapell.kubectl_with_input(&["apply", "-f", "-"], Some(WORKLOADS)).ok();
    kapell.kubectl(&["rollout", "status", "statefulset/db", "--timeout=60s"]).ok();
    kapell.kubectl(&["rollout", "status", "daemonset/log", "--timeout=60s"]).ok().says("successfully rolled out");
    kapell.kubectl(&["wait", "rc/old", "--for=jsonpath={.status.readyReplicas}=2", "--timeout=60s"]).ok();
    let again = kapell.kubectl_with_input(&["apply", "-f", "-"], Some(WORKLOADS)).ok();
    assert_eq!(again.stdout.matches("unchanged").count(), 4, "{again}");

    kapell.kubectl(&["get", "sts,ds,rc"]).ok().says("statefulset.apps/db   2/2").says("replicationcontroller/old");
    kapell.kubectl(&["describe", "statefulset", "db"]).ok().says("create Pod db-0 in StatefulSet db successful");
    kapell.kubectl(&["describe", "daemonset", "log"]).ok().says("Number of Nodes Scheduled with Up-to-date Pods: 1");
    kapell.kubectl(&["describe", "rc", "old"]).ok().says("2 current / 2 desired");
    kapell.kubectl(&["get", "endpoints", "db"]).ok().says(":8080");

    kapell.kubectl(&["scale", "statefulset/db", "--replicas=3"]).ok().says("scaled");
    kapell.kubectl(&["wait", "pod/db-2", "--for=create", "--timeout=60s"]).ok();
    kapell.kubectl(&["scale", "rc/old", "--replicas=1"]).ok().says("scaled");
    kapell.kubectl(&["set", "env", "statefulset/db", "MODE=new"]).ok();
    kapell.kubectl(&["rollout", "status", "statefulset/db", "--timeout=60s"]).ok();
    let environment = |pod: &str| kapell.object("default", pod)["spec"]["containers"][0]["env"].clone();
    assert_eq!(environment("pod/db-0"), json!([{"name": "MODE", "value": "new"}]));
    kapell.kubectl(&["rollout", "history", "statefulset/db"]).ok().says("2");
    kapell.kubectl(&["rollout", "undo", "statefulset/db"]).ok().says("rolled back");
    kapell.kubectl(&["rollout", "status", "statefulset/db", "--timeout=60s"]).ok();
    assert!(environment("pod/db-0").is_null());
    kapell.kubectl(&["rollout", "restart", "daemonset/log"]).ok();
    kapell.kubectl(&["rollout", "status", "daemonset/log", "--timeout=60s"]).ok().says("successfully rolled out");

    kapell.kubectl(&["delete", "sts/db", "ds/log", "rc/old", "--timeout=60s"]).ok();
    eventually("their pods are gone", || {
        kapell.kubectl(&["get", "pods", "-o", "name"]).ok().stdout.is_empty().then_some(())
    });
}

#[test]
fn create_makes_objects_of_every_kind_that_it_knows() {
    need_kubectl!();
    let kapell = Kapell::start();
    for (arguments, target, pointer, expected) in [
        (&["create", "quota", "q", "--hard=pods=10,requests.cpu=2"][..], "quota/q", "/spec/hard/pods", json!("10")),
        (
            &["create", "role", "r", "--verb=get,list", "--resource=pods"],
            "role/r",
            "/rules/0/verbs",
            json!(["get", "list"]),
        ),
        (
            &["create", "clusterrole", "cr", "--verb=get", "--resource=nodes"],
            "clusterrole/cr",
            "/rules/0/resources",
            json!(["nodes"]),
        ),
        (
            &["create", "rolebinding", "rb", "--role=r", "--user=ann"],
            "rolebinding/rb",
            "/subjects/0/kind",
            json!("User"),
        ),
        (
            &["create", "clusterrolebinding", "crb", "--clusterrole=cr", "--group=ops"],
            "clusterrolebinding/crb",
            "/roleRef/name",
            json!("cr"),
        ),
        (
            &["create", "priorityclass", "high", "--value=1000"],
            "priorityclass/high",
            "/preemptionPolicy",
            json!("PreemptLowerPriority"),
        ),
        (
            &["create", "poddisruptionbudget", "b", "--selector=app=x", "--min-available=1"],
            "pdb/b",
            "/spec/minAvailable",
            json!(1),
        ),
        (
            &["create", "ingress", "i", "--rule=shop.example/*=web:80"],
            "ingress/i",
            "/spec/rules/0/host",
            json!("shop.example"),
        ),
        (&["create", "job", "j", "--image=busybox", "--", "true"], "job/j", "/spec/backoffLimit", json!(6)),
        (
            &["create", "cronjob", "cj", "--image=busybox", "--schedule=*/5 * * * *"],
            "cronjob/cj",
            "/spec/concurrencyPolicy",
            json!("Allow"),
        ),
    ] {
        let ran = kapell.kubectl(arguments).ok();
        let object = kapell.kubectl(&["get", target, "-o", "json"]).ok().json();
        assert_eq!(object.pointer(pointer), Some(&expected), "{ran}\n{object:#}");
        kapell.kubectl(&["describe", target]).ok();
    }
    kapell.kubectl(&["create", "deployment", "web", "--image=nginx", "--replicas=0"]).ok();
    kapell.kubectl(&["autoscale", "deployment", "web", "--max=5", "--cpu-percent=70"]).ok().says("autoscaled");
    let hpa = kapell.kubectl(&["get", "hpa", "web", "-o", "json"]).ok().json();
    assert_eq!(hpa["apiVersion"], "autoscaling/v2");
    assert_eq!(hpa["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 70);
    let v1 = kapell.kubectl(&["get", "horizontalpodautoscalers.v1.autoscaling", "web", "-o", "json"]).ok().json();
    assert_eq!(v1["spec"]["targetCPUUtilizationPercentage"], 70, "{v1:#}");
    kapell.kubectl(&["describe", "hpa", "web"]).ok().says("ScalingDisabled");
    kapell.kubectl(&["expose", "deployment", "web", "--port=80"]).ok().says("exposed");
    kapell.kubectl(&["get", "configmap", "kube-root-ca.crt", "-o", "yaml"]).ok().says("BEGIN CERTIFICATE");
}

#[test]
fn files_for_an_older_kubernetes_are_taken() {
    need_kubectl!();
    let kapell = Kapell::start();
    let ingress = "apiVersion: extensions/v1beta1
kind: Ingress
metadata: {name: web}
spec:
  rules:
  - host: shop.example
    http: {paths: [{path: /, backend: {serviceName: web, servicePort: 80}}]}
";
    let ran = kapell.kubectl_with_input(&["apply", "-f", "-"], Some(ingress)).ok();
    assert!(ran.stderr.contains("use networking.k8s.io/v1 Ingress"), "{ran}");
    // kubectl patches the list of rules, in which the file lacks what was defaulted; nothing changes by that.
    let version = || kapell.object("default", "ingress/web")["metadata"]["resourceVersion"].clone();
    let before = version();
    kapell.kubectl_with_input(&["apply", "-f", "-"], Some(ingress)).ok();
    assert_eq!(version(), before);
    let changed = ingress.replace("servicePort: 80", "servicePort: http");
    kapell.kubectl_with_input(&["apply", "-f", "-"], Some(&changed)).ok().says("configured");
    kapell.kubectl(&["get", "ingress"]).ok().says("shop.example");
    let new = kapell.kubectl(&["get", "ingress", "web", "-o", "json"]).ok().json();
    assert_eq!(new["apiVersion"], "networking.k8s.io/v1");
    let backend = &new["spec"]["rules"][0]["http"]["paths"][0]["backend"];
    assert_eq!(backend["service"]["port"], json!({"name": "http"}));
}

#[test]
fn explain_knows_every_kind() {
    need_kubectl!();
    let kapell = Kapell::start();
    let table = kapell.kubectl(&["api-resources", "--no-headers"]).ok().stdout;
    assert!(table.lines().count() > 40, "{table}");
    for line in table.lines() {
        // NAME [SHORTNAMES] APIVERSION NAMESPACED KIND
        let words: Vec<&str> = line.split_whitespace().collect();
        let [.., version, _, kind] = words.as_slice() else { panic!("{line}") };
        let told = kapell.kubectl(&["explain", words[0], &format!("--api-version={version}")]).ok();
        assert!(told.stdout.contains(&format!("KIND:       {kind}\n")) && told.stdout.contains("metadata"), "{told}");
    }
    kapell
        .kubectl(&["explain", "deployment.spec.template.spec.containers.livenessProbe.httpGet"])
        .ok()
        .says("FIELD: httpGet");
    kapell.kubectl(&["explain", "pods.spec", "--recursive"]).ok().says("terminationGracePeriodSeconds");
    kapell
        .kubectl(&["explain", "hpa", "--api-version=autoscaling/v1", "--recursive"])
        .ok()
        .says("targetCPUUtilizationPercentage");
    kapell.kubectl(&["explain", "ingress", "--api-version=extensions/v1beta1", "--recursive"]).ok().says("servicePort");
    kapell.kubectl(&["explain", "pods.spec.nonsense"]).exits(1).says("does not exist");
}
