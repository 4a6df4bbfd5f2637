//! SIG Node and SIG Storage: parts of volumes, named outright or by expressions. Upstream's cases mount them at absolute paths of a
//! container; processes find them at relative ones.

use kapell_e2e::conformance::Case;
use serde_json::{Value, json};

/// A pod that runs one script to its end, with a volume `v` and these mounts of it.
fn script(text: &str, volume: Value, mounts: Value) -> Value {
    let mut volume = volume;
    volume["name"] = json!("v");
    let name = json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}});
    json!({
        "runtimeClassName": "process", "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "volumes": [volume],
        "containers": [{"name": "main", "command": ["sh", "-c", text], "env": [name], "volumeMounts": mounts}],
    })
}

async fn create(case: &Case, name: &str, spec: Value) -> String {
    let pods = case.path("v1", "pods");
    case.post(&pods, &json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
    format!("{pods}/{name}")
}

fn waiting(pod: &Value) -> Option<&str> {
    let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
    waiting["message"].as_str().filter(|_| waiting["reason"] == "CreateContainerConfigError")
}

/// Conformance: [sig-node] Variable Expansion should allow substituting values in a volume subpath
/// Conformance: [sig-node] Variable Expansion should succeed in writing subpaths in container
#[tokio::test]
async fn expressions_name_parts_of_volumes() {
    let case = Case::new().await;
    let mounts = json!([
        {"name": "v", "mountPath": "logscontainer", "subPathExpr": "logs/$(POD_NAME)"},
        {"name": "v", "mountPath": "testcontainer"},
    ]);
    let test = "test -d testcontainer/logs/p && echo > logscontainer/test.log && ls testcontainer/logs/p && echo $KAPELL_VOLUME_V";
    let said = case.output("p", script(test, json!({"emptyDir": {}}), mounts.clone())).await;
    assert!(said.starts_with("test.log\n") && said.trim_end().ends_with("/volumes/v"), "{said}");

    // What is changed in the pod later changes nothing in what runs.
    let mut spec = script("sleep 1000", json!({"emptyDir": {}}), mounts);
    spec["containers"][0]["env"][0]["valueFrom"]["fieldRef"]["fieldPath"] = json!("metadata.annotations['mysubpath']");
    let pod = json!({"metadata": {"name": "w", "annotations": {"mysubpath": "mypath"}}, "spec": spec});
    let pods = case.path("v1", "pods");
    case.post(&pods, &pod).await.expect(201);
    case.until("it runs", &format!("{pods}/w"), |pod| pod["status"]["phase"] == "Running").await;
    case.shell(&["w"], "touch testcontainer/logs/mypath/test.log");
    assert_eq!(case.shell(&["w"], "ls logscontainer"), "test.log\n");
    case.merge(&format!("{pods}/w"), &json!({"metadata": {"annotations": {"mysubpath": "mynewpath"}}}))
        .await
        .expect(200);
    assert_eq!(
        case.shell(&["w"], "ls logscontainer testcontainer/logs"),
        "logscontainer:\ntest.log\n\ntestcontainer/logs:\nmypath\n"
    );
    case.delete(&format!("{pods}/w")).await.ok();
    case.until_gone(&format!("{pods}/w")).await;
}

/// Conformance: [sig-node] Variable Expansion should fail substituting values in a volume subpath with backticks
/// Conformance: [sig-node] Variable Expansion should fail substituting values in a volume subpath with absolute path
#[tokio::test]
async fn expressions_lead_nowhere_else() {
    let case = Case::new().await;
    for (name, value, why) in [("backticks", "..", "'..'"), ("absolute", "/tmp", "absolute path")] {
        let mounts = json!([{"name": "v", "mountPath": "part", "subPathExpr": "$(POD_NAME)"}]);
        let mut spec = script("true", json!({"emptyDir": {}}), mounts);
        spec["containers"][0]["env"] = json!([{"name": "POD_NAME", "value": value}]);
        let path = create(&case, name, spec).await;
        let pod = case.until("it waits", &path, |pod| waiting(pod).is_some()).await;
        assert!(waiting(&pod).unwrap().contains(why), "{pod:#}");
    }
    // Nor does what a container has put there.
    let container = |name: &str, text: &str, mount: Value| json!({"name": name, "command": ["sh", "-c", text], "volumeMounts": [mount]});
    let mut spec = script("true", json!({"emptyDir": {}}), json!([]));
    spec["initContainers"] = json!([container("init", "ln -s / v/out", json!({"name": "v", "mountPath": "v"}))]);
    spec["containers"] =
        json!([container("main", "ls part", json!({"name": "v", "mountPath": "part", "subPath": "out/etc"}))]);
    let path = create(&case, "link", spec).await;
    let pod = case.until("it waits", &path, |pod| waiting(pod).is_some()).await;
    assert!(waiting(&pod).unwrap().ends_with("it leads out of the volume"), "{pod:#}");
    // Below a part, where a container could put a link at any time, nothing is made.
    let mounts = json!([{"name": "v", "mountPath": "part", "subPath": "a"}, {"name": "v", "mountPath": "part/nested"}]);
    let path = create(&case, "nested", script("true", json!({"emptyDir": {}}), mounts)).await;
    let pod = case.until("it waits", &path, |pod| waiting(pod).is_some()).await;
    assert!(waiting(&pod).unwrap().starts_with("path \"part/nested\" lies below mountPath \"part\""), "{pod:#}");
}

/// Conformance: [sig-node] Variable Expansion should verify that a failing subpath expansion can be modified during the lifecycle of a container [Slow]
#[tokio::test]
async fn an_expression_can_be_mended() {
    let case = Case::new().await;
    let mounts = json!([{"name": "v", "mountPath": "part", "subPathExpr": "$(POD_NAME)"}]);
    let mut spec = script("sleep 1000", json!({"emptyDir": {}}), mounts);
    spec["containers"][0]["env"][0]["valueFrom"]["fieldRef"]["fieldPath"] = json!("metadata.annotations['mysubpath']");
    let path = create(&case, "p", spec).await;
    let pod = case.until("it waits", &path, |pod| waiting(pod).is_some()).await;
    assert!(waiting(&pod).unwrap().contains("missing value for POD_NAME"), "{pod:#}");
    case.merge(&path, &json!({"metadata": {"annotations": {"mysubpath": "mypath"}}})).await.expect(200);
    case.until("it runs", &path, |pod| pod["status"]["phase"] == "Running").await;
    assert_eq!(case.shell(&["p"], "basename $KAPELL_VOLUME_V"), "mypath\n");
}

/// Conformance: [sig-storage] Subpath Atomic writer volumes should support subpaths with configmap pod
/// Conformance: [sig-storage] Subpath Atomic writer volumes should support subpaths with configmap pod with mountPath of existing file
/// Conformance: [sig-storage] Subpath Atomic writer volumes should support subpaths with downward pod
/// Conformance: [sig-storage] Subpath Atomic writer volumes should support subpaths with projected pod
/// Conformance: [sig-storage] Subpath Atomic writer volumes should support subpaths with secret pod
#[tokio::test]
async fn single_files_of_objects_are_mounted() {
    let case = Case::new().await;
    let data = json!({"key": "value"});
    case.post(&case.path("v1", "configmaps"), &json!({"metadata": {"name": "o"}, "data": data})).await.expect(201);
    case.post(&case.path("v1", "secrets"), &json!({"metadata": {"name": "o"}, "stringData": data})).await.expect(201);
    let name = json!([{"path": "downward/podname", "fieldRef": {"fieldPath": "metadata.name"}}]);
    for (pod, volume, part, expected) in [
        ("configmap", json!({"configMap": {"name": "o"}}), "key", "value"),
        ("downward", json!({"downwardAPI": {"items": name}}), "downward/podname", "downward"),
        ("projected", json!({"projected": {"sources": [{"configMap": {"name": "o"}}]}}), "key", "value"),
        ("secret", json!({"secret": {"secretName": "o"}}), "key", "value"),
    ] {
        let mounts = json!([{"name": "v", "mountPath": "deep/file", "subPath": part}]);
        assert_eq!(
            case.output(pod, script("cat deep/file; ls deep", volume, mounts)).await,
            format!("{expected}file\n")
        );
    }
    // A file that the container has in that place gives way when it starts.
    let mounts = json!([{"name": "v", "mountPath": "file", "subPath": "key"}]);
    let text = "if [ -e once ]; then cat file; sleep 1000; else touch once; rm file; echo own > file; exit 1; fi";
    let mut spec = script(text, json!({"configMap": {"name": "o"}}), mounts);
    spec["restartPolicy"] = json!("Always");
    let path = create(&case, "existing", spec).await;
    let again = |pod: &Value| {
        let container = &pod["status"]["containerStatuses"][0];
        container["restartCount"] == 1 && container["state"]["running"].is_object()
    };
    case.until("it has started again", &path, again).await;
    assert_eq!(case.shell(&["existing"], "cat file"), "value");
}
