use std::time::Duration;

use serde_json::{Value, json};

use super::*;

fn set(spec: Value) -> StatefulSet {
    let mut object = json!({
        "metadata": {"name": "db", "namespace": "ns", "uid": "set", "generation": 2},
        "spec": {"replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c"}]}}},
    });
    json_patch::merge(&mut object["spec"], &spec);
    serde_json::from_value(object).unwrap()
}

/// `0` ready and new, `0-` not ready, `0!` going, `0x` ended, `0~` made from the old template.
fn pods(state: &str) -> Vec<Arc<KnownPod>> {
    let pod = |word: &str| {
        let digits: String = word.chars().take_while(char::is_ascii_digit).collect();
        let is = |mark: char| word.contains(mark);
        let mut pod = json!({
            "metadata": {"name": format!("db-{digits}"), "namespace": "ns", "uid": digits,
                "labels": {"app": "db", HASH: if is('~') { "old" } else { "new" }},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "set", "controller": true}]},
            "spec": {"containers": []},
            "status": {"phase": if is('x') { "Failed" } else { "Running" }, "conditions": [
                {"type": "Ready", "status": if is('-') { "False" } else { "True" }, "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        });
        if is('!') {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        crate::pod::known(pod)
    };
    state.split_whitespace().map(pod).collect()
}

const HASH: &str = revision::HASH_LABEL;

fn planned(set: &StatefulSet, state: &str) -> String {
    let pods = pods(state);
    let now = "2026-01-01T01:00:00Z".parse().unwrap();
    let actions = plan::plan(&Snapshot { set, pods: &pods, current: "old", update: "new", now });
    let words = actions.iter().map(|action| match action {
        Action::Create { ordinal, revision } => format!("+{ordinal}:{revision}"),
        Action::Delete(pod) => format!("-{}", pod.id.uid),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn pods_come_and_go_in_order() {
    let three = set(json!({}));
    for (state, expected) in [
        ("", "+0:new"),
        ("0-", ""),
        ("0", "+1:new"),
        ("0 1!", ""),
        ("0 1x", "-1"),
        ("0 1 2", ""),
        ("0 1 2 3 4", "-4"),
        ("0 1 2 3 4!", ""),
        ("0- 1 2 3", ""),
        ("0 1 2 3- 4-", ""),
        ("0 1 2 3- 4", "-4"),
        ("0 1 2 3 4-", "-4"),
        ("1 2", "+0:new"),
    ] {
        assert_eq!(planned(&three, state), expected, "{state}");
    }
}

#[test]
fn parallel_sets_do_everything_at_once() {
    let parallel = set(json!({"podManagementPolicy": "Parallel"}));
    assert_eq!(planned(&parallel, ""), "+0:new +1:new +2:new");
    assert_eq!(planned(&parallel, "0- 3 4"), "+1:new +2:new -4 -3");
}

#[test]
fn ordinals_may_start_anywhere() {
    let set = set(json!({"ordinals": {"start": 5}, "replicas": 2}));
    assert_eq!(planned(&set, ""), "+5:new");
    assert_eq!(planned(&set, "0 5 6"), "-0");
}

#[test]
fn a_new_template_reaches_the_last_pod_first_and_stops_at_the_partition() {
    let rolling = set(json!({}));
    assert_eq!(planned(&rolling, "0~ 1~ 2~"), "-2");
    assert_eq!(planned(&rolling, "0~ 1~ 2-"), "");
    assert_eq!(planned(&rolling, "0~ 1~ 2"), "-1");
    assert_eq!(planned(&rolling, "0 1 2"), "");
    let partitioned = set(json!({"updateStrategy": {"rollingUpdate": {"partition": 2}}}));
    assert_eq!(planned(&partitioned, "0~ 1~ 2~"), "-2");
    assert_eq!(planned(&partitioned, "0~ 1~ 2"), "");
    assert_eq!(planned(&partitioned, "0~ 2"), "+1:old", "below the partition the old template holds");
    let by_hand = set(json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}));
    assert_eq!(planned(&by_hand, "0~ 1~ 2~"), "");
    assert_eq!(planned(&by_hand, "0~ 1~"), "+2:new");
}

#[test]
fn a_deleted_set_does_nothing() {
    let mut set = set(json!({}));
    set.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    assert_eq!(planned(&set, ""), "");
}

#[test]
fn the_status_counts_revisions_and_moves_on_when_all_are_new() {
    let status = |set: &StatefulSet, state: &str| {
        let pods = pods(state);
        let now = "2026-01-01T00:00:20Z".parse().unwrap();
        plan::status(&Snapshot { set, pods: &pods, current: "old", update: "new", now })
    };
    let (half, _) = status(&set(json!({})), "0~ 1~ 2 ");
    assert_eq!((half.replicas, half.ready_replicas, half.available_replicas), (3, Some(3), Some(3)));
    assert_eq!((half.current_replicas, half.updated_replicas), (Some(2), Some(1)));
    assert_eq!((half.current_revision.as_deref(), half.update_revision.as_deref()), (Some("old"), Some("new")));
    let (done, _) = status(&set(json!({})), "0 1 2");
    assert_eq!((done.current_revision.as_deref(), done.current_replicas), (Some("new"), Some(3)));
    let (slow, next) = status(&set(json!({"minReadySeconds": 30})), "0 1 2-");
    assert_eq!((slow.ready_replicas, slow.available_replicas), (Some(2), Some(0)));
    assert_eq!(next, Some(Duration::from_secs(10)));
}

#[test]
fn pods_have_an_identity() {
    let set = set(json!({}));
    let pod = plan::pod_of(&set, 1, "db-x", None);
    assert_eq!((pod.name_any().as_str(), pod.labels()["apps.kubernetes.io/pod-index"].as_str()), ("db-1", "1"));
    let spec = pod.spec.unwrap();
    assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("db-1"), Some("db")));
    assert_eq!(plan::ordinal("db", "db-01"), None);
    assert_eq!(plan::ordinal("db", "db-x-1"), None);
    assert_eq!(plan::ordinal("db", "db-12"), Some(12));
}
