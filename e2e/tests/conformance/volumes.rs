//! SIG Storage: volumes that are made of objects. Upstream's cases mount them at absolute paths of a container; processes find
//! them at relative ones.

use kapell_e2e::conformance::Case;
use kapell_e2e::eventually_async;
use serde_json::{Value, json};

/// A pod with this volume at `./volume`.
fn with_volume(volume: Value) -> Value {
    let mut volume = volume;
    volume["name"] = json!("v");
    json!({
        "runtimeClassName": "process", "terminationGracePeriodSeconds": 1, "volumes": [volume],
        "containers": [{
            "name": "main", "command": ["sleep", "1000"], "volumeMounts": [{"name": "v", "mountPath": "volume"}],
            "resources": {"requests": {"cpu": "1m", "memory": "32Mi"}, "limits": {"cpu": "1250m", "memory": "64Mi"}},
        }],
    })
}

async fn running(case: &Case, name: &str, spec: Value) {
    let pods = case.path("v1", "pods");
    let metadata = json!({"name": name, "labels": {"zone": "one"}, "annotations": {"builder": "bar"}});
    case.post(&pods, &json!({"metadata": metadata, "spec": spec})).await.expect(201);
    case.until(&format!("{name} runs"), &format!("{pods}/{name}"), |pod| pod["status"]["phase"] == "Running").await;
}

async fn comes_to_say(case: &Case, pod: &str, script: &str, expected: &str) {
    let what = format!("{script} says {expected:?}");
    eventually_async(&what, || async { (case.shell(&[pod], script) == expected).then_some(()) }).await;
}

async fn objects(case: &Case) {
    let data = json!({"data-1": "value-1", "data-2": "value-2"});
    case.post(&case.path("v1", "configmaps"), &json!({"metadata": {"name": "o"}, "data": data})).await.expect(201);
    case.post(&case.path("v1", "secrets"), &json!({"metadata": {"name": "o"}, "stringData": data})).await.expect(201);
}

/// The same source in its own volume and as a part of a projected one, with these fields.
fn sources(fields: &Value, mode: Option<i32>) -> [(&'static str, Value); 4] {
    let of = |name: &str| {
        let mut source = fields.clone();
        source[name] = json!("o");
        source
    };
    let own = |mut source: Value| {
        if let Some(mode) = mode {
            source["defaultMode"] = json!(mode);
        }
        source
    };
    let projected = |source: Value| {
        let mut volume = json!({"sources": [source]});
        if let Some(mode) = mode {
            volume["defaultMode"] = json!(mode);
        }
        json!({"projected": volume})
    };
    [
        ("map", json!({"configMap": own(of("name"))})),
        ("secret", json!({"secret": own(of("secretName"))})),
        ("projected-map", projected(json!({"configMap": of("name")}))),
        ("projected-secret", projected(json!({"secret": of("name")}))),
    ]
}

const LIST: &str = "cd volume; for f in *; do echo $f $(stat -L -c %a $f) $(cat $f); done";

/// Conformance: [sig-storage] ConfigMap should be consumable from pods in volume [NodeConformance]
/// Conformance: [sig-storage] Secrets should be consumable from pods in volume [NodeConformance]
/// Conformance: [sig-storage] Projected configMap should be consumable from pods in volume [NodeConformance]
/// Conformance: [sig-storage] Projected secret should be consumable from pods in volume [NodeConformance]
#[tokio::test]
async fn objects_are_files() {
    let case = Case::new().await;
    objects(&case).await;
    for (name, volume) in sources(&json!({}), None) {
        running(&case, name, with_volume(volume)).await;
        assert_eq!(case.shell(&[name], LIST), "data-1 644 value-1\ndata-2 644 value-2\n", "{name}");
    }
}

/// Conformance: [sig-storage] ConfigMap should be consumable from pods in volume with defaultMode set [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] Secrets should be consumable from pods in volume with defaultMode set [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] Projected configMap should be consumable from pods in volume with defaultMode set [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] Projected secret should be consumable from pods in volume with defaultMode set [LinuxOnly] [NodeConformance]
#[tokio::test]
async fn files_have_the_mode_of_their_volume() {
    let case = Case::new().await;
    objects(&case).await;
    for (name, volume) in sources(&json!({}), Some(0o400)) {
        running(&case, name, with_volume(volume)).await;
        assert_eq!(case.shell(&[name], LIST), "data-1 400 value-1\ndata-2 400 value-2\n", "{name}");
    }
}

/// Conformance: [sig-storage] ConfigMap should be consumable from pods in volume with mappings [NodeConformance]
/// Conformance: [sig-storage] ConfigMap should be consumable from pods in volume with mappings and Item mode set [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] Secrets should be consumable from pods in volume with mappings [NodeConformance]
/// Conformance: [sig-storage] Secrets should be consumable from pods in volume with mappings and Item Mode set [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] Projected configMap should be consumable from pods in volume with mappings [NodeConformance]
/// Conformance: [sig-storage] Projected configMap should be consumable from pods in volume with mappings and Item mode set [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] Projected secret should be consumable from pods in volume with mappings [NodeConformance]
/// Conformance: [sig-storage] Projected secret should be consumable from pods in volume with mappings and Item Mode set [LinuxOnly] [NodeConformance]
#[tokio::test]
async fn items_have_their_own_path_and_mode() {
    let case = Case::new().await;
    objects(&case).await;
    let items = json!({"items": [{"key": "data-2", "path": "path/to/data-2", "mode": 0o400}]});
    for (name, volume) in sources(&items, None) {
        running(&case, name, with_volume(volume)).await;
        let script = "cd volume; ls; stat -L -c %a path/to/data-2; cat path/to/data-2";
        assert_eq!(case.shell(&[name], script), "path\n400\nvalue-2", "{name}");
    }
}

/// Conformance: [sig-storage] ConfigMap updates should be reflected in volume [NodeConformance]
/// Conformance: [sig-storage] ConfigMap optional updates should be reflected in volume [NodeConformance]
/// Conformance: [sig-storage] Secrets optional updates should be reflected in volume [NodeConformance]
/// Conformance: [sig-storage] Projected configMap updates should be reflected in volume [NodeConformance]
/// Conformance: [sig-storage] Projected configMap optional updates should be reflected in volume [NodeConformance]
/// Conformance: [sig-storage] Projected secret optional updates should be reflected in volume [NodeConformance]
#[tokio::test]
async fn files_follow_their_objects() {
    let case = Case::new().await;
    let names: Vec<&str> = sources(&json!({}), None).iter().map(|(name, _)| *name).collect();
    for (name, volume) in sources(&json!({"optional": true}), None) {
        running(&case, name, with_volume(volume)).await;
        assert_eq!(case.shell(&[name], "ls volume"), "", "{name}");
    }
    objects(&case).await;
    for name in &names {
        comes_to_say(&case, name, "cat volume/data-1", "value-1").await;
    }
    for kind in ["configmaps", "secrets"] {
        let change = if kind == "secrets" {
            json!({"data": {"data-1": "Y2hhbmdlZA=="}})
        } else {
            json!({"data": {"data-1": "changed"}})
        };
        case.merge(&format!("{}/o", case.path("v1", kind)), &change).await.expect(200);
    }
    for name in &names {
        comes_to_say(&case, name, "cat volume/data-1", "changed").await;
    }
    for kind in ["configmaps", "secrets"] {
        case.delete(&format!("{}/o", case.path("v1", kind))).await.ok();
    }
    for name in &names {
        comes_to_say(&case, name, "ls volume", "").await;
    }
}

/// Conformance: [sig-storage] ConfigMap should be consumable in multiple volumes in the same pod [NodeConformance]
/// Conformance: [sig-storage] Secrets should be consumable in multiple volumes in a pod [NodeConformance]
/// Conformance: [sig-storage] Projected configMap should be consumable in multiple volumes in the same pod [NodeConformance]
/// Conformance: [sig-storage] Projected secret should be consumable in multiple volumes in a pod [NodeConformance]
/// Conformance: [sig-storage] EmptyDir wrapper volumes should not conflict
/// Conformance: [sig-storage] EmptyDir volumes pod should support shared volumes between containers
#[tokio::test]
async fn volumes_stand_side_by_side() {
    let case = Case::new().await;
    objects(&case).await;
    let mut volumes: Vec<Value> = sources(&json!({}), None)
        .into_iter()
        .map(|(name, mut volume)| {
            volume["name"] = json!(name);
            volume
        })
        .collect();
    volumes.push(json!({"name": "shared", "emptyDir": {}}));
    let mounts: Vec<Value> = volumes.iter().map(|v| json!({"name": v["name"], "mountPath": v["name"]})).collect();
    let container = |name: &str| json!({"name": name, "command": ["sleep", "1000"], "volumeMounts": mounts});
    let spec = json!({
        "runtimeClassName": "process", "terminationGracePeriodSeconds": 1, "volumes": volumes,
        "containers": [container("main"), container("other")],
    });
    running(&case, "p", spec).await;
    let script = "cat map/data-1 secret/data-1 projected-map/data-1 projected-secret/data-1";
    let in_container = |container: &str, script: &str| case.shell(&["p", "-c", container], script);
    assert_eq!(in_container("main", script), "value-1".repeat(4));
    in_container("main", "echo from main > shared/file");
    assert_eq!(in_container("other", "cat shared/file"), "from main\n");
}

/// Conformance: [sig-storage] Secrets should be able to mount in a volume regardless of a different secret existing with same name in different namespace [NodeConformance]
#[tokio::test]
async fn a_secret_of_another_namespace_is_another_secret() {
    let (case, other) = (Case::new().await, Case::new().await);
    let foreign = json!({"metadata": {"name": "o"}, "stringData": {"data-1": "foreign"}});
    other.post(&other.path("v1", "secrets"), &foreign).await.expect(201);
    objects(&case).await;
    running(&case, "p", with_volume(json!({"secret": {"secretName": "o"}}))).await;
    assert_eq!(case.shell(&["p"], "cat volume/data-1"), "value-1");
}

/// The downward API in its own volume and as a part of a projected one.
fn downward(items: &Value, mode: Option<i32>) -> [(&'static str, Value); 2] {
    let mut volumes = [
        json!({"downwardAPI": {"items": items}}),
        json!({"projected": {"sources": [{"downwardAPI": {"items": items}}]}}),
    ];
    if let Some(mode) = mode {
        volumes[0]["downwardAPI"]["defaultMode"] = json!(mode);
        volumes[1]["projected"]["defaultMode"] = json!(mode);
    }
    let [own, projected] = volumes;
    [("own", own), ("projected", projected)]
}

fn field(path: &str) -> Value {
    json!({"path": path.rsplit('.').next(), "fieldRef": {"fieldPath": path}})
}

/// Conformance: [sig-storage] Downward API volume should provide podname only [NodeConformance]
/// Conformance: [sig-storage] Downward API volume should set DefaultMode on files [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] Downward API volume should set mode on item file [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] Downward API volume should provide container's cpu limit [NodeConformance]
/// Conformance: [sig-storage] Downward API volume should provide container's cpu request [NodeConformance]
/// Conformance: [sig-storage] Downward API volume should provide container's memory limit [NodeConformance]
/// Conformance: [sig-storage] Downward API volume should provide container's memory request [NodeConformance]
/// Conformance: [sig-storage] Projected downwardAPI should provide podname only [NodeConformance]
/// Conformance: [sig-storage] Projected downwardAPI should set DefaultMode on files [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] Projected downwardAPI should set mode on item file [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] Projected downwardAPI should provide container's cpu limit [NodeConformance]
/// Conformance: [sig-storage] Projected downwardAPI should provide container's cpu request [NodeConformance]
/// Conformance: [sig-storage] Projected downwardAPI should provide container's memory limit [NodeConformance]
/// Conformance: [sig-storage] Projected downwardAPI should provide container's memory request [NodeConformance]
#[tokio::test]
async fn a_pod_finds_itself_in_files() {
    let case = Case::new().await;
    let resource = |path: &str, resource: &str| json!({"path": path, "mode": 0o444, "resourceFieldRef": {"containerName": "main", "resource": resource}});
    let items = json!([
        field("metadata.name"),
        resource("cpu-limit", "limits.cpu"),
        resource("cpu-request", "requests.cpu"),
        resource("memory-limit", "limits.memory"),
        resource("memory-request", "requests.memory"),
    ]);
    for (name, volume) in downward(&items, Some(0o400)) {
        running(&case, name, with_volume(volume)).await;
        let expected = format!(
            "cpu-limit 444 2\ncpu-request 444 1\nmemory-limit 444 67108864\nmemory-request 444 33554432\nname 400 {name}\n"
        );
        assert_eq!(case.shell(&[name], LIST), expected);
    }
}

/// Conformance: [sig-storage] Downward API volume should update labels on modification [NodeConformance]
/// Conformance: [sig-storage] Downward API volume should update annotations on modification [NodeConformance]
/// Conformance: [sig-storage] Projected downwardAPI should update labels on modification [NodeConformance]
/// Conformance: [sig-storage] Projected downwardAPI should update annotations on modification [NodeConformance]
#[tokio::test]
async fn files_follow_the_pod() {
    let case = Case::new().await;
    for (name, volume) in downward(&json!([field("metadata.labels"), field("metadata.annotations")]), None) {
        running(&case, name, with_volume(volume)).await;
        comes_to_say(&case, name, "cat volume/labels", "zone=\"one\"").await;
        comes_to_say(&case, name, "grep -c builder=.bar. volume/annotations", "1\n").await;
        let change = json!({"metadata": {"labels": {"zone": "two"}, "annotations": {"builder": "foo"}}});
        case.merge(&format!("{}/{name}", case.path("v1", "pods")), &change).await.expect(200);
        comes_to_say(&case, name, "cat volume/labels", "zone=\"two\"").await;
        comes_to_say(&case, name, "grep -c builder=.foo. volume/annotations", "1\n").await;
    }
}

/// Conformance: [sig-storage] Projected combined should project all components that make up the projection API [Projection] [NodeConformance]
#[tokio::test]
async fn a_projected_volume_combines_its_sources() {
    let case = Case::new().await;
    objects(&case).await;
    let volume = json!({"projected": {"sources": [
        {"configMap": {"name": "o", "items": [{"key": "data-1", "path": "map/data"}]}},
        {"secret": {"name": "o", "items": [{"key": "data-2", "path": "secret/data"}]}},
        {"downwardAPI": {"items": [field("metadata.name")]}},
    ]}});
    running(&case, "p", with_volume(volume)).await;
    assert_eq!(case.shell(&["p"], "cd volume; cat map/data secret/data name"), "value-1value-2p");
}

/// Conformance: [sig-storage] ConfigMap binary data should be reflected in volume [NodeConformance]
#[tokio::test]
async fn bytes_that_are_no_text_are_files_too() {
    let case = Case::new().await;
    let map = json!({"metadata": {"name": "o"}, "data": {"text": "value-1"}, "binaryData": {"bytes": "3sr+7w=="}});
    case.post(&case.path("v1", "configmaps"), &map).await.expect(201);
    running(&case, "p", with_volume(json!({"configMap": {"name": "o"}}))).await;
    assert_eq!(case.shell(&["p"], "cd volume; cat text; od -An -tx1 bytes"), "value-1 de ca fe ef\n");
}

/// Conformance: [sig-storage] EmptyDir volumes volume on default medium should have the correct mode [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] EmptyDir volumes should support (root,0644,default) [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] EmptyDir volumes should support (root,0666,default) [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] EmptyDir volumes should support (root,0777,default) [LinuxOnly] [NodeConformance]
#[tokio::test]
async fn an_empty_directory_is_open_and_keeps_modes() {
    let case = Case::new().await;
    running(&case, "p", with_volume(json!({"emptyDir": {}}))).await;
    assert_eq!(case.shell(&["p"], "stat -L -c %a volume; ls volume"), "777\n");
    for mode in ["644", "666", "777"] {
        let script = format!("cd volume; echo content > {mode}; chmod {mode} {mode}; stat -c %a {mode}; cat {mode}");
        assert_eq!(case.shell(&["p"], &script), format!("{mode}\ncontent\n"));
    }
}

/// Conformance: [sig-storage] EmptyDir volumes volume on tmpfs should have the correct mode [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] EmptyDir volumes should support (root,0644,tmpfs) [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] EmptyDir volumes should support (root,0666,tmpfs) [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] EmptyDir volumes should support (root,0777,tmpfs) [LinuxOnly] [NodeConformance]
#[tokio::test]
async fn an_empty_directory_in_memory_is_on_a_tmpfs_and_goes_with_its_pod() {
    let case = Case::new().await;
    running(&case, "p", with_volume(json!({"emptyDir": {"medium": "Memory"}}))).await;
    assert_eq!(case.shell(&["p"], "stat -f -c %T volume/; stat -L -c %a volume; ls volume"), "tmpfs\n777\n");
    for mode in ["644", "666", "777"] {
        let script = format!("cd volume; echo content > {mode}; chmod {mode} {mode}; stat -c %a {mode}; cat {mode}");
        assert_eq!(case.shell(&["p"], &script), format!("{mode}\ncontent\n"));
    }
    let place = std::path::PathBuf::from(case.shell(&["p"], "readlink volume").trim());
    assert!(place.join("644").exists());
    let pod = format!("{}/p", case.path("v1", "pods"));
    case.delete(&pod).await.ok();
    case.until_gone(&pod).await;
    let gone = || async { (!place.parent().unwrap().exists()).then_some(()) };
    eventually_async("the memory is given back", gone).await;
}

/// Conformance: [sig-storage] EmptyDir wrapper volumes should not cause race condition when used for configmaps [Serial]
#[tokio::test]
async fn many_volumes_of_many_pods_come_up_together() {
    const MAPS: usize = 50;
    const PODS: u32 = 5;
    let case = Case::new().await;
    let (mut volumes, mut mounts) = (Vec::new(), Vec::new());
    for number in 0..MAPS {
        let name = format!("racey-{number}");
        let map = json!({"metadata": {"name": name}, "data": {"data-1": number.to_string()}});
        case.post(&case.path("v1", "configmaps"), &map).await.expect(201);
        volumes.push(json!({"name": name, "configMap": {"name": name}}));
        mounts.push(json!({"name": name, "mountPath": format!("maps/{number}")}));
    }
    let mut spec = with_volume(json!({"emptyDir": {}}));
    spec["volumes"] = json!(volumes);
    spec["containers"][0]["volumeMounts"] = json!(mounts);
    spec["containers"][0]["resources"] = json!({});
    let workload = kapell_e2e::conformance::replication_controller("racey", PODS, spec);
    case.post(&case.path("v1", "replicationcontrollers"), &workload).await.expect(201);
    let path = format!("{}/racey", case.path("v1", "replicationcontrollers"));
    case.until("all run", &path, |rc| rc["status"]["readyReplicas"] == PODS).await;
    for pod in case.list(&case.path("v1", "pods")).await {
        let found = case.shell(&[pod["metadata"]["name"].as_str().unwrap()], "cat maps/*/data-1 | wc -c");
        assert_eq!(found.trim(), "90", "{pod}");
    }
}
