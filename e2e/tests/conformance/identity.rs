//! SIG Node and SIG Storage: containers that run as somebody else than the server, and volumes for them. Only root may start them.

use kapell_e2e::conformance::Case;
use kapell_e2e::skip;
use serde_json::{Value, json};

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

const NEEDS_ROOT: &str = "only root may start containers as other users";

/// A pod that runs one script to its end, in these contexts.
fn script(text: &str, of_pod: Value, of_container: Value) -> Value {
    json!({
        "runtimeClassName": "process", "restartPolicy": "Never", "securityContext": of_pod,
        "containers": [{"name": "main", "command": ["sh", "-c", text], "securityContext": of_container}],
    })
}

/// Conformance: [sig-node] Security Context When creating a container with runAsUser should run the container with uid 65534 [LinuxOnly] [NodeConformance]
/// Conformance: [sig-node] Security Context should support pod.Spec.SecurityContext.RunAsUser And pod.Spec.SecurityContext.RunAsGroup [LinuxOnly]
/// Conformance: [sig-node] Security Context should support container.SecurityContext.RunAsUser And container.SecurityContext.RunAsGroup [LinuxOnly]
#[tokio::test]
async fn a_container_is_who_it_asks_to_be() {
    if !is_root() {
        skip!("{NEEDS_ROOT}");
    }
    let case = Case::new().await;
    let who = "echo $(id -u) $(id -g) $HOME; touch own && stat -c '%u %g' own; cd \"$PWD\" && ls";
    for (name, of_pod, of_container, expected) in [
        ("nobody", json!({"runAsUser": 65534}), json!({}), "65534 65534"),
        ("pod", json!({"runAsUser": 1001, "runAsGroup": 2002}), json!({}), "1001 2002"),
        ("container", json!({"runAsUser": 1001}), json!({"runAsUser": 1002, "runAsGroup": 2003}), "1002 2003"),
    ] {
        let said = case.output(name, script(who, of_pod, of_container)).await;
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[0].starts_with(expected) && lines[1] == expected && lines[2] == "own", "{name}: {said}");
    }
}

/// Conformance: [sig-node] Security Context when creating containers with AllowPrivilegeEscalation should not allow privilege escalation when false [LinuxOnly] [NodeConformance]
#[tokio::test]
async fn privileges_are_not_gained() {
    let case = Case::new().await;
    let text = "grep NoNewPrivs /proc/self/status | cut -f 2";
    for (name, allowed, expected) in
        [("no", json!(false), "1\n"), ("yes", json!(true), "0\n"), ("unsaid", Value::Null, "0\n")]
    {
        let spec = script(text, json!({}), json!({"allowPrivilegeEscalation": allowed}));
        assert_eq!(case.output(name, spec).await, expected, "{name}");
    }
    if !is_root() {
        return;
    }
    // Upstream's way: a program that belongs to root and gives its rights to whoever starts it.
    let directory = tempfile::TempDir::with_prefix("kapell-e2e-").unwrap();
    let mode = |path: &std::path::Path, mode: u32| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    mode(directory.path(), 0o755);
    let program = directory.path().join("id");
    std::fs::copy("/usr/bin/id", &program).unwrap();
    mode(&program, 0o4755);
    for (name, allowed, expected) in [("gains", true, "0\n"), ("gains-not", false, "1000\n")] {
        let text = format!("{} -u", program.display());
        let spec = script(&text, json!({"runAsUser": 1000}), json!({"allowPrivilegeEscalation": allowed}));
        assert_eq!(case.output(name, spec).await, expected, "{name}");
    }
}

/// Conformance: [sig-node] Security Context When creating a pod with privileged should run the container as unprivileged when false [LinuxOnly] [NodeConformance]
/// Conformance: [sig-node] Security Context When creating a pod with readOnlyRootFilesystem should run the container with writable rootfs when readOnlyRootFilesystem=false [NodeConformance]
#[tokio::test]
async fn who_is_not_privileged_cannot_administer_the_machine() {
    let case = Case::new().await;
    let text = "mount -t tmpfs none . 2>&1; grep CapEff /proc/self/status | cut -f 2; touch checkfile && ls";
    let said =
        case.output("p", script(text, json!({}), json!({"privileged": false, "readOnlyRootFilesystem": false}))).await;
    let lines: Vec<&str> = said.lines().collect();
    let [refusal @ .., effective, "checkfile"] = lines.as_slice() else { panic!("{said}") };
    assert!(
        !refusal.is_empty()
            && refusal
                .iter()
                .any(|line| line.contains("denied") || line.contains("permitted") || line.contains("must be")),
        "{said}"
    );
    let administer_network_and_system = (1_u64 << 12) | (1 << 21);
    assert_eq!(u64::from_str_radix(effective, 16).unwrap() & administer_network_and_system, 0, "{said}");
}

/// Conformance: [sig-node] Container Runtime blackbox test on terminated container should report termination message if TerminationMessagePath is set as non-root user and at a non-default path [NodeConformance]
#[tokio::test]
async fn another_user_leaves_a_word_too() {
    if !is_root() {
        skip!("{NEEDS_ROOT}");
    }
    let case = Case::new().await;
    let mut spec = script("printf DONE > dev/termination-custom-log", json!({"runAsUser": 1000}), json!({}));
    spec["containers"][0]["terminationMessagePath"] = json!("dev/termination-custom-log");
    case.output("p", spec).await;
    let pod = case.get(&format!("{}/p", case.path("v1", "pods"))).await.expect(200);
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"], "DONE");
}

/// Conformance: [sig-storage] ConfigMap should be consumable from pods in volume as non-root [NodeConformance]
/// Conformance: [sig-storage] ConfigMap should be consumable from pods in volume with mappings as non-root [NodeConformance]
/// Conformance: [sig-storage] Projected configMap should be consumable from pods in volume as non-root [NodeConformance]
/// Conformance: [sig-storage] Projected configMap should be consumable from pods in volume with mappings as non-root [NodeConformance]
/// Conformance: [sig-storage] Projected secret should be consumable from pods in volume as non-root with defaultMode and fsGroup set [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] Secrets should be consumable from pods in volume as non-root with defaultMode and fsGroup set [LinuxOnly] [NodeConformance]
#[tokio::test]
async fn volumes_of_objects_are_for_other_users_too() {
    if !is_root() {
        skip!("{NEEDS_ROOT}");
    }
    let case = Case::new().await;
    let data = json!({"data-1": "value-1", "data-2": "value-2"});
    case.post(&case.path("v1", "configmaps"), &json!({"metadata": {"name": "o"}, "data": data})).await.expect(201);
    case.post(&case.path("v1", "secrets"), &json!({"metadata": {"name": "o"}, "stringData": data})).await.expect(201);
    let items = json!([{"key": "data-2", "path": "path/to/data-1"}]);
    let user = json!({"runAsUser": 1000});
    let in_group = json!({"runAsUser": 1000, "fsGroup": 1001});
    let (plain, mapped) = ("data-1", "path/to/data-1");
    for (name, volume, context, file, expected) in [
        ("map", json!({"configMap": {"name": "o"}}), &user, plain, "644 0 value-1"),
        ("map-items", json!({"configMap": {"name": "o", "items": items}}), &user, mapped, "644 0 value-2"),
        ("projected", json!({"projected": {"sources": [{"configMap": {"name": "o"}}]}}), &user, plain, "644 0 value-1"),
        (
            "projected-items",
            json!({"projected": {"sources": [{"configMap": {"name": "o", "items": items}}]}}),
            &user,
            mapped,
            "644 0 value-2",
        ),
        (
            "projected-secret",
            json!({"projected": {"defaultMode": 0o440, "sources": [{"secret": {"name": "o"}}]}}),
            &in_group,
            plain,
            "440 1001 value-1",
        ),
        ("secret", json!({"secret": {"secretName": "o", "defaultMode": 0o400}}), &in_group, plain, "440 1001 value-1"),
    ] {
        let mut spec =
            script(&format!("cd volume; echo $(stat -L -c '%a %g' {file}) $(cat {file})"), context.clone(), json!({}));
        let mut volume = volume;
        volume["name"] = json!("v");
        spec["volumes"] = json!([volume]);
        spec["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "volume"}]);
        assert_eq!(case.output(name, spec).await.trim(), expected, "{name}");
    }
}

/// Conformance: [sig-storage] EmptyDir volumes should support (non-root,0644,default) [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] EmptyDir volumes should support (non-root,0666,default) [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] EmptyDir volumes should support (non-root,0777,default) [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] EmptyDir volumes should support (non-root,0644,tmpfs) [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] EmptyDir volumes should support (non-root,0666,tmpfs) [LinuxOnly] [NodeConformance]
/// Conformance: [sig-storage] EmptyDir volumes should support (non-root,0777,tmpfs) [LinuxOnly] [NodeConformance]
#[tokio::test]
async fn containers_of_different_users_share_a_directory() {
    if !is_root() {
        skip!("{NEEDS_ROOT}");
    }
    let case = Case::new().await;
    let container = |name: &str, user: u32| {
        json!({
            "name": name, "command": ["sleep", "1000"], "securityContext": {"runAsUser": user, "runAsGroup": user},
            "volumeMounts": [{"name": "v", "mountPath": "volume"}, {"name": "m", "mountPath": "memory"}],
        })
    };
    let spec = json!({
        "runtimeClassName": "process", "terminationGracePeriodSeconds": 1, "securityContext": {"fsGroup": 3000},
        "volumes": [{"name": "v", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory"}}],
        "containers": [container("one", 1001), container("two", 1002)],
    });
    let pods = case.path("v1", "pods");
    case.post(&pods, &json!({"metadata": {"name": "p"}, "spec": spec})).await.expect(201);
    case.until("it runs", &format!("{pods}/p"), |pod| pod["status"]["phase"] == "Running").await;
    assert_eq!(case.shell(&["p", "-c", "one"], "id -u; stat -L -c '%a %g' volume"), "1001\n2777 3000\n");
    for (volume, mode) in ["volume", "memory"].into_iter().flat_map(|v| ["644", "666", "777"].map(|mode| (v, mode))) {
        let text = format!("cd {volume}; echo content > {mode}; chmod {mode} {mode}; stat -c '%a %u %g' {mode}");
        assert_eq!(case.shell(&["p", "-c", "one"], &text), format!("{mode} 1001 3000\n"));
        assert_eq!(case.shell(&["p", "-c", "two"], &format!("cat {volume}/{mode}")), "content\n");
    }
    case.shell(&["p", "-c", "two"], "echo more >> volume/666");
    // The account's token is for the pod's own.
    let token = "stat -L -c '%a %g' $(dirname $KUBECONFIG)/token";
    assert_eq!(case.shell(&["p", "-c", "two"], token), "640 3000\n");
    // What is in memory goes with it.
    case.delete(&format!("{pods}/p")).await.ok();
    case.until_gone(&format!("{pods}/p")).await;
}

#[tokio::test]
async fn what_runs_beside_a_container_is_the_same_user() {
    if !is_root() {
        skip!("{NEEDS_ROOT}");
    }
    let case = Case::new().await;
    let pods = case.path("v1", "pods");
    let mut spec = script("sleep 1000", json!({"runAsUser": 1001, "runAsGroup": 2002}), json!({}));
    spec["terminationGracePeriodSeconds"] = json!(1);
    let command = |text: &str| json!({"exec": {"command": ["sh", "-c", text]}});
    spec["containers"][0]["lifecycle"] = json!({"postStart": command("echo $(id -u) $(id -g) > hook")});
    let probe = "test \"$(id -u) $(id -g)\" = '1001 2002' && test -O hook";
    spec["containers"][0]["readinessProbe"] = command(probe);
    case.post(&pods, &json!({"metadata": {"name": "p"}, "spec": spec})).await.expect(201);
    let ready = |pod: &Value| pod["status"]["containerStatuses"][0]["ready"] == true;
    case.until("it is ready", &format!("{pods}/p"), ready).await;
    assert_eq!(case.shell(&["p"], "cat hook; id -u; id -g"), "1001 2002\n1001\n2002\n");
}

#[tokio::test]
async fn what_is_closed_to_others_stays_closed() {
    if !is_root() {
        skip!("{NEEDS_ROOT}");
    }
    let case = Case::new().await;
    let pods = case.path("v1", "pods");
    let mut uids = Vec::new();
    for (name, user) in [("one", 1001), ("other", 1002)] {
        let mut spec = script("sleep 1000", json!({"runAsUser": user}), json!({}));
        spec["terminationGracePeriodSeconds"] = json!(1);
        case.post(&pods, &json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
        let pod = case.until("it runs", &format!("{pods}/{name}"), |pod| pod["status"]["phase"] == "Running").await;
        uids.push(pod["metadata"]["uid"].as_str().unwrap().to_owned());
    }
    let data = case.kapell.data();
    let data = data.display();
    let look = format!(
        "for f in {data} {data}/kapell.db {data}/kubeconfig {data}/pki {data}/pods {data}/pods/{0} {data}/pods/{1} \
         {data}/pods/{1}/volumes {data}/pods/{0}/state.json {data}/pods/{0}/containers/main/spec.json; \
         do (cat $f || ls $f/) >/dev/null 2>&1 && echo open $f; done; echo end",
        uids[0], uids[1]
    );
    assert_eq!(case.shell(&["one"], &look), "end\n");
    // Nobody else gets in either.
    let someone = std::os::unix::process::CommandExt::uid(&mut std::process::Command::new("ls"), 1003)
        .arg(case.kapell.data().join("pods").join(&uids[0]))
        .output()
        .unwrap();
    assert!(!someone.status.success());

    // Who must not be root is told so and not started.
    let spec = script("true", json!({"runAsNonRoot": true}), json!({"runAsUser": 0}));
    case.post(&pods, &json!({"metadata": {"name": "root"}, "spec": spec})).await.expect(201);
    let waits = |pod: &Value| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    };
    let pod = case.until("it waits", &format!("{pods}/root"), waits).await;
    let message = pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("container's runAsUser breaks non-root policy"), "{message}");
}
