use serde_json::json;

use super::*;

struct Nothing;

impl Sources for Nothing {
    fn config_map(&self, _: &str, _: &str) -> Option<std::sync::Arc<k8s_openapi::api::core::v1::ConfigMap>> {
        None
    }

    fn secret(&self, _: &str, _: &str) -> Option<std::sync::Arc<k8s_openapi::api::core::v1::Secret>> {
        None
    }

    fn service(&self, _: &str, _: &str) -> Option<std::sync::Arc<k8s_openapi::api::core::v1::Service>> {
        None
    }

    fn services(&self, _: &str) -> Vec<std::sync::Arc<k8s_openapi::api::core::v1::Service>> {
        Vec::new()
    }
}

fn spec_of(pod_dir: &Path, container: serde_json::Value) -> Result<ContainerSpec, PrepareError> {
    let mut value = json!({ "name": "main", "command": ["true"], "ports": [{ "containerPort": 80 }] });
    value.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    let container: Container = serde_json::from_value(value).unwrap();
    let ip = Ipv4Addr::LOCALHOST;
    let mut record = PodRecord::new("ns".into(), "pod".into(), ip, 1, grounds::pod_group(1));
    let host = Host {
        data_dir: pod_dir,
        pod_dir,
        host_ip: ip,
        host_env: &BTreeMap::new(),
        host_volumes: pod_dir.join("volumes"),
        group: 0,
        powers: Powers::ours(),
    };
    let places = BTreeMap::from([("data".to_owned(), pod_dir.join("data"))]);
    container_spec(&Pod::default(), &container, 0, &mut record, &places, &host, &Nothing)
}

#[test]
fn working_directories_are_made_below_the_containers_own_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let own = layout::work_dir(dir.path(), "main");
    let cwd = |given: &str| spec_of(dir.path(), json!({ "workingDir": given })).map(|spec| spec.cwd);
    assert_eq!(cwd("").unwrap(), own);
    assert_eq!(cwd("a/./b").unwrap(), own.join("a/b"));
    assert!(own.join("a/b").is_dir());
    assert_eq!(cwd("/no/such").unwrap(), Path::new("/no/such"), "the host's own; the start says that it is missing");
    for escaping in ["..", "a/../../b", "../main"] {
        assert!(matches!(cwd(escaping), Err(PrepareError::WorkingDirEscapes(_))), "{escaping}");
    }
}

#[test]
fn parts_of_volumes_and_paths_stay_inside() {
    let dir = tempfile::tempdir().unwrap();
    let mount = |mount: serde_json::Value| spec_of(dir.path(), json!({ "volumeMounts": [mount] }));
    fs::create_dir(dir.path().join("data")).unwrap();
    fs::write(dir.path().join("data/80"), "a file").unwrap();
    for key in ["subPath", "subPathExpr"] {
        let refused = mount(json!({ "name": "data", "mountPath": "in", key: "../../other" }));
        assert!(matches!(refused, Err(PrepareError::SubPath(_))), "{key}");
    }
    // An expression may use what the environment says, which then tells where it has led to.
    let spec = mount(json!({ "name": "data", "mountPath": "in", "subPathExpr": "$(PORT)" })).unwrap();
    assert_eq!(spec.env["KAPELL_VOLUME_DATA"], dir.path().join("data/80").display().to_string());
    assert_eq!(fs::read_to_string(layout::work_dir(dir.path(), "main").join("in")).unwrap(), "a file");
    assert!(mount(json!({ "name": "data", "mountPath": "../escaped" })).is_err());
    mount(json!({ "name": "data", "mountPath": "deep/in" })).unwrap();
    let link = layout::work_dir(dir.path(), "main").join("deep/in");
    assert_eq!(fs::read_link(link).unwrap(), dir.path().join("data"));
}

#[test]
fn nothing_of_a_container_may_lie_below_a_part_of_a_volume() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("data/sub")).unwrap();
    let part = |key: &str| json!({ "name": "data", "mountPath": "in", key: "sub" });
    let nested = json!({ "name": "data", "mountPath": "in/nested" });
    for container in [
        json!({ "volumeMounts": [part("subPath"), nested] }),
        json!({ "volumeMounts": [nested, part("subPathExpr")] }),
        json!({ "volumeMounts": [part("subPath")], "workingDir": "in/deep" }),
        json!({ "volumeMounts": [part("subPathExpr")], "terminationMessagePath": "./in/message" }),
    ] {
        let refused = spec_of(dir.path(), container.clone());
        assert!(matches!(refused, Err(PrepareError::Mount(MountError::BelowPart { .. }))), "{container}");
    }
    assert_eq!(fs::read_dir(dir.path().join("data/sub")).unwrap().count(), 0);
    let spec = spec_of(dir.path(), json!({ "volumeMounts": [part("subPath")], "workingDir": "in" })).unwrap();
    assert_eq!(spec.cwd, layout::work_dir(dir.path(), "main").join("in"));
}

#[test]
fn limits_come_from_the_resources_and_processes_are_always_limited() {
    let dir = tempfile::tempdir().unwrap();
    let limits = |resources: serde_json::Value| spec_of(dir.path(), json!({ "resources": resources })).unwrap().limits;
    let none = Limits { pids: Some(MOST_PROCESSES), ..Limits::default() };
    assert_eq!(limits(json!({})), none);
    let given = json!({ "limits": { "cpu": "250m", "memory": "64Mi" }, "requests": { "cpu": "0.1" } });
    let expected = Limits { cpu_milli: Some(250), cpu_request_milli: Some(100), memory_bytes: Some(64 << 20), ..none };
    assert_eq!(limits(given), expected);
}

#[test]
fn a_shim_that_knows_no_identities_starts_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let spec = |uid| {
        let mut spec = spec_of(dir.path(), json!({})).unwrap();
        spec.identity.uid = uid;
        spec
    };
    assert!(matches!(require_identities(spec(Some(5)), false), Err(PrepareError::OldShim)));
    assert!(require_identities(spec(Some(5)), true).is_ok() && require_identities(spec(None), false).is_ok());
}
