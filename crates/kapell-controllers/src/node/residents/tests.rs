use serde_json::{Value, json};

use super::*;

fn pod(name: &str, uid: &str, node: Value, version: &str) -> Arc<KnownPod> {
    crate::pod::known(json!({
        "metadata": {"name": name, "namespace": "ns", "uid": uid, "resourceVersion": version},
        "spec": {"nodeName": node, "containers": []},
    }))
}

#[test]
fn pods_are_where_they_were_last_seen() {
    let residents = Residents::default();
    let on = |node: &str| -> Vec<String> {
        let mut found: Vec<String> =
            residents.of(node).iter().map(|pod| format!("{}@{}", pod.id.uid, pod.id.version)).collect();
        found.sort();
        found
    };
    let applied = |old: Option<&Arc<KnownPod>>, new: &Arc<KnownPod>| {
        residents.observe(&Change::Applied { old: old.cloned(), new: new.clone() });
    };
    let waiting = pod("a", "u1", Value::Null, "1");
    let bound = pod("a", "u1", json!("n"), "2");
    let changed = pod("a", "u1", json!("n"), "3");
    let other = pod("b", "u2", json!("n"), "4");
    applied(None, &waiting);
    assert!(on("n").is_empty() && on("").is_empty());
    applied(Some(&waiting), &bound);
    applied(None, &other);
    applied(Some(&bound), &changed);
    assert_eq!(on("n"), ["u1@3", "u2@4"], "each once, as it is now");

    // Deleted and made anew under its name, elsewhere, between two events.
    let successor = pod("a", "u3", json!("m"), "5");
    applied(Some(&changed), &successor);
    assert_eq!((on("n"), on("m")), (vec!["u2@4".to_owned()], vec!["u3@5".to_owned()]));
    residents.observe(&Change::Deleted(other));
    residents.observe(&Change::Deleted(successor));
    assert!(on("n").is_empty() && on("m").is_empty());
    assert!(residents.0.lock().is_empty(), "nothing is left of nodes without pods");
}
