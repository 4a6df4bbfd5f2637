//! Server-side apply as the real kubectl does it, alone and after its own client-side past.

use kapell_e2e::{Kapell, need_kubectl};

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n  colour: red\n  size: small\n";
const OURS: &[&str] = &["apply", "--server-side", "-f", "-"];

/// `manager operation` of each owner.
fn owners(kapell: &Kapell) -> Vec<String> {
    let arguments = ["get", "configmap/settings", "-o", "json", "--show-managed-fields"];
    let object = kapell.kubectl(&arguments).ok().json();
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    entries.iter().map(|entry| format!("{} {}", text(&entry["manager"]), text(&entry["operation"]))).collect()
}

fn data(kapell: &Kapell) -> serde_json::Value {
    kapell.object("default", "configmap/settings")["data"].clone()
}

#[test]
fn applies_diffs_conflicts_and_forces() {
    need_kubectl!();
    let kapell = Kapell::start();
    let diff = ["diff", "--server-side", "-f", "-"];
    kapell.kubectl_with_input(&diff, Some(MAP)).exits(1).says("colour: red");
    kapell.kubectl_with_input(OURS, Some(MAP)).ok().says("configmap/settings serverside-applied");
    let version = kapell.object("default", "configmap/settings")["metadata"]["resourceVersion"].clone();
    kapell.kubectl_with_input(OURS, Some(MAP)).ok();
    assert_eq!(kapell.object("default", "configmap/settings")["metadata"]["resourceVersion"], version);
    kapell.kubectl_with_input(&diff, Some(MAP)).ok();
    assert_eq!(owners(&kapell), ["kubectl Apply"]);

    let blue = MAP.replace("red", "blue").replace("  size: small\n", "");
    let theirs = ["apply", "--server-side", "--field-manager=painter", "-f", "-"];
    kapell.kubectl_with_input(&theirs, Some(&blue)).exits(1).says("conflict with \"kubectl\"").says(".data.colour");
    let forced = ["apply", "--server-side", "--field-manager=painter", "--force-conflicts", "-f", "-"];
    kapell.kubectl_with_input(&forced, Some(&blue)).ok();
    assert_eq!(data(&kapell), serde_json::json!({"colour": "blue", "size": "small"}));

    let nothing = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n";
    kapell.kubectl_with_input(OURS, Some(nothing)).ok();
    assert_eq!(data(&kapell), serde_json::json!({"colour": "blue"}), "what only kubectl said is gone");
    assert_eq!(owners(&kapell), ["painter Apply"]);
    let shown = kapell.kubectl(&["get", "configmap/settings", "-o", "yaml"]).ok().stdout;
    assert!(!shown.contains("managedFields"), "{shown}");
}

#[test]
fn goes_over_from_client_side_apply() {
    need_kubectl!();
    let kapell = Kapell::start();
    kapell.kubectl_with_input(&["apply", "-f", "-"], Some(MAP)).ok();
    assert_eq!(owners(&kapell), ["kubectl-client-side-apply Update"]);
    let blue = MAP.replace("red", "blue").replace("  size: small\n", "");
    kapell.kubectl_with_input(OURS, Some(&blue)).ok();
    assert_eq!(data(&kapell), serde_json::json!({"colour": "blue"}), "the past is the applier's, so it can be removed");
    assert!(
        !owners(&kapell).iter().any(|owner| owner.starts_with("kubectl-client-side-apply")),
        "{:?}",
        owners(&kapell)
    );
    // And back: the annotation has followed.
    kapell.kubectl_with_input(&["apply", "-f", "-"], Some(MAP)).ok();
    assert_eq!(data(&kapell), serde_json::json!({"colour": "red", "size": "small"}));
}

#[test]
fn edits_are_noted_and_dry_runs_change_nothing() {
    need_kubectl!();
    let kapell = Kapell::start();
    kapell.kubectl_with_input(&["apply", "--server-side", "--dry-run=server", "-f", "-"], Some(MAP)).ok();
    kapell.kubectl(&["get", "configmap/settings"]).exits(1).says("(NotFound)");
    kapell.kubectl_with_input(OURS, Some(MAP)).ok();
    kapell.kubectl(&["patch", "configmap/settings", "-p", r#"{"data":{"size":"large"}}"#]).ok();
    assert_eq!(owners(&kapell), ["kubectl Apply", "kubectl-patch Update"]);
    kapell
        .kubectl_with_input(OURS, Some(MAP))
        .exits(1)
        .says("conflict with \"kubectl-patch\" using v1")
        .says(".data.size");
}
