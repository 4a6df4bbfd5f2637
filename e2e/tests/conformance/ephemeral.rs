//! SIG Node: containers that somebody puts into a running pod to look at it.

use kapell_e2e::conformance::{Case, MERGE, STRATEGIC, running_pod_spec};
use serde_json::{Value, json};

const APPLY: &str = "application/apply-patch+yaml";

/// A container that says the word until it is stopped.
fn saying(name: &str, word: &str) -> Value {
    let script = format!("while true; do echo {word}; sleep 0.1; done");
    json!({"name": name, "image": "none", "command": ["sh", "-c", script], "stdin": true, "tty": true})
}

/// A running pod, by its path.
async fn running(case: &Case, name: &str, spec: Value) -> String {
    let pods = case.path("v1", "pods");
    case.post(&pods, &json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
    let path = format!("{pods}/{name}");
    case.until("it is ready", &path, |pod| pod["status"]["containerStatuses"][0]["ready"] == true).await;
    path
}

fn state<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let statuses = pod["status"]["ephemeralContainerStatuses"].as_array().into_iter().flatten();
    statuses.filter(|status| status["name"] == name).map(|status| &status["state"]).next().unwrap_or(&Value::Null)
}

async fn until_it_says(case: &Case, pod: &str, container: &str, word: &str) {
    case.until(&format!("{container} runs"), pod, |pod| state(pod, container)["running"].is_object()).await;
    let log = format!("{pod}/log?container={container}");
    kapell_e2e::eventually_async(&format!("{container} says {word}"), || async {
        case.get(&log).await.text.contains(word).then_some(())
    })
    .await;
}

/// Conformance: [sig-node] Ephemeral Containers [NodeConformance] will start an ephemeral container in an existing pod
#[tokio::test]
async fn a_container_is_put_into_a_running_pod() {
    let case = Case::new().await;
    let pod = running(&case, "p", running_pod_spec()).await;
    let patch = json!({"spec": {"ephemeralContainers": [saying("debugger", "polo")]}});
    let before = case.get(&pod).await.expect(200)["metadata"]["generation"].as_i64().unwrap();
    assert_eq!(before, 1, "where it is placed is nobody's wish");
    // By the pod itself it does not come.
    case.patch(&pod, STRATEGIC, &patch).await.expect(422);
    case.patch(&format!("{pod}/ephemeralcontainers"), STRATEGIC, &patch).await.expect(200);
    until_it_says(&case, &pod, "debugger", "polo").await;
    assert_eq!(case.shell(&["p", "-c", "debugger"], "echo inside").trim(), "inside");
    // The pod is what it was: ready, with one container that was never restarted.
    let now = case.get(&pod).await.expect(200);
    assert_eq!(now["status"]["phase"], "Running", "{now}");
    assert_eq!(now["metadata"]["generation"], before + 1);
    assert_eq!(now["status"]["containerStatuses"].as_array().map(Vec::len), Some(1));
    assert_eq!(now["spec"]["ephemeralContainers"][0]["terminationMessagePolicy"], "File");
}

/// Conformance: [sig-node] Ephemeral Containers [NodeConformance] should update the ephemeral containers in an existing pod
#[tokio::test]
async fn more_are_put_into_a_running_pod() {
    let case = Case::new().await;
    let pod = running(&case, "p", running_pod_spec()).await;
    let subresource = format!("{pod}/ephemeralcontainers");
    let first = json!({"spec": {"ephemeralContainers": [saying("one", "marco")]}});
    case.patch(&subresource, STRATEGIC, &first).await.expect(200);
    until_it_says(&case, &pod, "one", "marco").await;

    // Nothing else of the pod goes this way, not even a label.
    let updated = case
        .update(&subresource, |pod| {
            pod["metadata"]["labels"] = json!({"changed": "yes"});
            pod["spec"]["containers"][0]["command"] = json!(["false"]);
            pod["spec"]["ephemeralContainers"].as_array_mut().unwrap().push(saying("two", "polo"));
        })
        .await;
    assert_eq!(updated["spec"]["ephemeralContainers"].as_array().map(Vec::len), Some(2));
    assert_eq!(updated["spec"]["containers"][0]["command"], json!(["sleep", "1000"]));
    assert_eq!(updated["metadata"]["labels"], Value::Null);
    until_it_says(&case, &pod, "two", "polo").await;

    // A dry run changes nothing; what is applied belongs to its manager, under the subresource.
    let third = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"changed": "yes"}},
        "spec": {"ephemeralContainers": [{"name": "three", "image": "none", "command": ["true"]}]},
    });
    for (query, expected) in [("dryRun=All&fieldManager=me", 2), ("fieldManager=me", 3)] {
        case.patch(&format!("{subresource}?{query}"), APPLY, &third).await.expect(200);
        let now = case.get(&subresource).await.expect(200);
        assert_eq!(now["spec"]["ephemeralContainers"].as_array().map(Vec::len), Some(expected));
    }
    let now = case.get(&pod).await.expect(200);
    let mine =
        now["metadata"]["managedFields"].as_array().unwrap().iter().find(|entry| entry["manager"] == "me").unwrap();
    assert_eq!((&mine["operation"], &mine["subresource"]), (&json!("Apply"), &json!("ephemeralcontainers")), "{mine}");
    assert_eq!(mine["fieldsV1"].as_object().unwrap().keys().collect::<Vec<_>>(), ["f:spec"]);

    let gone = json!({"spec": {"ephemeralContainers": [saying("one", "marco")]}});
    let refused = case.patch(&subresource, MERGE, &gone).await.expect(422);
    assert!(refused["message"].to_string().contains("may not be removed"), "{refused}");
    let twice = json!({"spec": {"ephemeralContainers": [saying("main", "polo")]}});
    let refused = case.patch(&subresource, STRATEGIC, &twice).await.expect(422);
    assert!(refused["message"].to_string().contains("spec.ephemeralContainers[0].name: Duplicate value"), "{refused}");
}

/// Upstream's default roles let nobody but the administrator of the cluster put containers into pods.
#[tokio::test]
async fn who_may_edit_may_not_debug() {
    let case = Case::new().await;
    let (group, user) = ("rbac.authorization.k8s.io", format!("ann-of-{}", case.namespace));
    let binding = json!({
        "metadata": {"name": "editors"}, "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    });
    case.post(&case.path("rbac.authorization.k8s.io/v1", "rolebindings"), &binding).await.expect(201);
    for (verb, subresource, allowed) in [("create", "exec", true), ("patch", "ephemeralcontainers", false)] {
        let on = json!({"namespace": case.namespace, "verb": verb, "resource": "pods", "subresource": subresource});
        let review = json!({"spec": {"user": user, "resourceAttributes": on}});
        let answer = case.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await.expect(201);
        assert_eq!(answer["status"]["allowed"], allowed, "{answer}");
    }
}

/// What begins with a pod that is about to start, crash or end, and with a server that is killed.
#[tokio::test]
async fn it_runs_whatever_the_others_do_and_holds_nobody_up() {
    let mut case = Case::alone().await;
    let pods = case.path("v1", "pods");
    let mut spec = running_pod_spec();
    spec["initContainers"] = json!([{"name": "init", "command": ["sleep", "1000"]}]);
    case.post(&pods, &json!({"metadata": {"name": "p"}, "spec": spec})).await.expect(201);
    let pod = format!("{pods}/p");
    let init_runs = |pod: &Value| pod["status"]["initContainerStatuses"][0]["state"]["running"].is_object();
    case.until("its init container runs", &pod, init_runs).await;
    // A shell that takes no notice of SIGTERM, beside a container that has not started yet.
    let script = "trap '' TERM; echo pid $KAPELL_TARGET_PID in $(pwd); sleep 1000 & wait; sleep 1000";
    let debug = json!([
        {"name": "debug", "command": ["sh", "-c", script], "targetContainerName": "init"},
        {"name": "short", "command": ["sh", "-c", "exit 3"]},
        {"name": "bare", "image": "busybox"},
    ]);
    let patch = json!({"spec": {"ephemeralContainers": debug}});
    let patched = case.patch(&format!("{pod}/ephemeralcontainers"), STRATEGIC, &patch).await;
    patched.expect(200);
    let uid = patched.expect(200)["metadata"]["uid"].as_str().unwrap().to_owned();
    until_it_says(&case, &pod, "debug", &format!("pods/{uid}/containers/init/work")).await;
    let ended = case.until("the short one has ended", &pod, |pod| state(pod, "short")["terminated"].is_object()).await;
    assert_eq!(state(&ended, "short")["terminated"]["exitCode"], 3);
    assert_eq!(ended["status"]["phase"], "Pending");
    let waiting = state(&ended, "bare")["waiting"]["message"].to_string();
    assert!(waiting.contains("has no command"), "{waiting}");

    let before = state(&ended, "debug").clone();
    case.kill_and_restart().await;
    let after = case.until("it still runs", &pod, |pod| state(pod, "debug")["running"].is_object()).await;
    assert_eq!(state(&after, "debug"), &before);
    assert_eq!(state(&after, "short")["terminated"]["exitCode"], 3, "it is not started again");
    case.delete(&pod).await.ok();
    case.until_gone(&pod).await;
}
