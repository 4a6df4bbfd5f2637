use serde_json::{Value, json};

use super::{process, spec};
use crate::kinds::pod::{ephemeral, validate_ephemeral_containers_update};
use crate::kinds::tests::{defaulted, problems, sample, update_problems, warnings, with};
use crate::problem::Problem;

fn sentences(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// A pod that has one ephemeral container, patched.
fn debugged(patch: Value) -> Value {
    let base = json!({ "name": "debug", "image": "tools:1" });
    spec(json!({ "ephemeralContainers": [with(&base, patch)] }))
}

#[test]
fn they_are_ordinary_containers_without_what_a_pod_relies_on() {
    let path = "spec.ephemeralContainers[0]";
    let not_here = |field: &str| format!("{path}.{field}: Forbidden: cannot be set for an Ephemeral Container");
    for (patch, expected) in [
        (json!({}), vec![]),
        (json!({ "command": ["sh"], "stdin": true, "tty": true, "targetContainerName": "web" }), vec![]),
        (json!({ "name": "web" }), vec![format!("{path}.name: Duplicate value: \"web\"")]),
        (json!({ "name": null }), vec![format!("{path}.name: Required value")]),
        (json!({ "image": null }), vec![format!("{path}.image: Required value")]),
        (json!({ "targetContainerName": "other" }), vec![format!("{path}.targetContainerName: Not found: \"other\"")]),
        (json!({ "ports": [{ "containerPort": 80 }] }), vec![not_here("ports")]),
        (json!({ "resources": { "limits": { "cpu": "1" } } }), vec![not_here("resources")]),
        (json!({ "restartPolicy": "Always" }), vec![not_here("restartPolicy")]),
        (json!({ "lifecycle": { "preStop": { "exec": { "command": ["x"] } } } }), vec![not_here("lifecycle")]),
        (json!({ "livenessProbe": { "exec": { "command": ["x"] } } }), vec![not_here("livenessProbe")]),
    ] {
        assert_eq!(problems("Pod", debugged(patch.clone())), expected, "{patch}");
    }
    let mounted = with(
        &debugged(json!({ "volumeMounts": [{ "name": "v", "mountPath": "v", "subPath": "a" }] })),
        json!({ "spec": { "volumes": [{ "name": "v" }] } }),
    );
    assert_eq!(problems("Pod", mounted), [not_here("volumeMounts[0].subPath")]);
}

#[test]
fn they_get_a_containers_defaults() {
    let pod = defaulted("Pod", debugged(json!({})));
    let expected = json!([{
        "name": "debug", "image": "tools:1", "imagePullPolicy": "IfNotPresent", "resources": {},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
    }]);
    assert_eq!(pod["spec"]["ephemeralContainers"], expected);
}

#[test]
fn they_come_by_their_subresource_only() {
    let pod = debugged(json!({}));
    let created = sentences(&ephemeral::refuse_on_create(&pod));
    assert_eq!(created, ["spec.ephemeralContainers: Forbidden: cannot be set on create"]);
    assert_eq!(ephemeral::refuse_on_create(&sample("Pod")), []);
    let updated = update_problems("Pod", pod.clone(), &sample("Pod"));
    assert!(updated[0].starts_with("spec: Forbidden: pod updates may not change fields other than"), "{updated:?}");
    let mut deployment = sample("Deployment");
    deployment["spec"]["template"]["spec"]["ephemeralContainers"] = pod["spec"]["ephemeralContainers"].clone();
    assert_eq!(
        problems("Deployment", deployment),
        ["spec.template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template"]
    );
}

#[test]
fn there_can_only_be_more_of_them() {
    let of = |names: &[(&str, &str)]| {
        let containers: Vec<_> = names.iter().map(|(name, image)| json!({ "name": name, "image": image })).collect();
        spec(json!({ "ephemeralContainers": containers }))
    };
    let old = of(&[("a", "x"), ("b", "x")]);
    for (new, expected) in [
        (of(&[("c", "x"), ("b", "x"), ("a", "x")]), vec![]),
        (of(&[("a", "x")]), vec!["existing ephemeral containers \"b\" may not be removed"]),
        (of(&[("a", "y"), ("b", "x")]), vec!["existing ephemeral containers \"a\" may not be changed"]),
    ] {
        let found = sentences(&validate_ephemeral_containers_update(&new, &old));
        let expected: Vec<_> =
            expected.iter().map(|detail| format!("spec.ephemeralContainers: Forbidden: {detail}")).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn beside_processes_a_command_is_theirs_to_have() {
    let pod = |patch: Value| with(&process(json!({})), json!({ "spec": { "ephemeralContainers": [patch] } }));
    assert_eq!(problems("Pod", pod(json!({ "name": "debug" }))), [""; 0]);
    let powers = pod(json!({
        "name": "debug", "command": ["sh"], "securityContext": { "capabilities": { "add": ["SYS_PTRACE"] } },
    }));
    assert_eq!(problems("Pod", powers.clone()), [""; 0]);
    let told = warnings("Pod", powers);
    let path = "spec.ephemeralContainers[0].securityContext.capabilities.add";
    assert!(matches!(&told[..], [only] if only.starts_with(path)), "{told:?}");
}
