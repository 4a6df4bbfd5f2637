use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::pods::expectations::Expectations;
use crate::pods::observe;
use kapell_client::Change;

fn rs(replicas: i32) -> ReplicaSet {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "rs", "generation": 3},
        "spec": {"replicas": replicas, "minReadySeconds": 10, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}},
    }))
    .unwrap()
}

fn pod(name: &str, changes: Value) -> Arc<KnownPod> {
    let mut object = json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name, "labels": {"app": "web"},
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "rs", "controller": true}]},
        "spec": {"nodeName": "n", "containers": []},
        "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"}]},
    });
    json_patch::merge(&mut object, &changes);
    pod::known(object)
}

fn planned(replicas: i32, pods: &[Arc<KnownPod>]) -> String {
    match plan::plan(&Snapshot { rs: &rs(replicas), pods, family_by_node: &BTreeMap::new() }) {
        Action::Nothing => "nothing".to_owned(),
        Action::Create(count) => format!("create {count}"),
        Action::Delete(pods) => pods.iter().fold("delete".to_owned(), |text, pod| text + " " + &*pod.id.name),
    }
}

#[test]
fn only_active_pods_count() {
    let ended = pod("ended", json!({"status": {"phase": "Failed"}}));
    let going = pod("going", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    let pods = [pod("a", json!({})), ended, going];
    assert_eq!(planned(1, &pods), "nothing");
    assert_eq!(planned(3, &pods), "create 2");
    assert_eq!(planned(0, &pods), "delete a");
    assert_eq!(planned(10_000, &pods), "create 500");
}

#[test]
fn victims_are_ranked_as_upstream() {
    let not_ready = json!({"status": {"conditions": []}});
    let ready_at = |time: &str| json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": time}]}});
    let restarted = json!({"status": {"containerStatuses": [
        {"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 3}]}});
    // Each pair: the first goes before the second, and everything earlier decides before everything later.
    let pairs = [
        (json!({"spec": {"nodeName": null}}), json!({"status": {"phase": "Pending", "conditions": []}})),
        (json!({"status": {"phase": "Pending"}}), json!({"status": {"phase": "Unknown", "conditions": []}})),
        (json!({"status": {"phase": "Unknown"}}), not_ready.clone()),
        (not_ready, json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-9"}}})),
        (
            json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-9"}}}),
            json!({"spec": {"nodeName": "crowded"}}),
        ),
        (json!({"spec": {"nodeName": "crowded"}}), ready_at("2026-01-01T00:09:00Z")),
        (ready_at("2026-01-01T00:09:00Z"), restarted.clone()),
        (restarted, json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:30Z"}})),
        (json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:30Z"}}), json!({})),
    ];
    let by_node = BTreeMap::from([("crowded".to_owned(), 2), ("n".to_owned(), 1)]);
    for (first, second) in pairs {
        let pods = vec![pod("a-stays", second.clone()), pod("b-goes", first.clone())];
        let victims = plan::victims(pods, &by_node, 1);
        assert_eq!(&*victims[0].id.name, "b-goes", "{first} before {second}");
    }
}

#[test]
fn availability_waits_for_min_ready_seconds() {
    let now: Timestamp = "2026-01-01T00:01:04Z".parse().unwrap();
    let old = pod(
        "old",
        json!({"status": {"conditions": [
        {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:30Z"}]}}),
    );
    let (status, next) = plan::status(&rs(2), &[old, pod("young", json!({}))], None, now);
    assert_eq!((status.replicas, status.ready_replicas, status.available_replicas), (2, Some(2), Some(1)));
    assert_eq!((status.fully_labeled_replicas, status.observed_generation), (Some(2), Some(3)));
    assert_eq!(next, Some(Duration::from_secs(6)));
}

#[test]
fn a_failure_becomes_a_condition_and_goes_with_the_next_success() {
    let now = Timestamp::UNIX_EPOCH;
    let failure = Failure { reason: "FailedCreate", message: "quota".to_owned() };
    let (status, _) = plan::status(&rs(1), &[], Some(failure), now);
    assert_eq!(status.conditions.as_ref().unwrap()[0].reason.as_deref(), Some("FailedCreate"));
    let failed = ReplicaSet { status: Some(status), ..rs(1) };
    assert_eq!(plan::status(&failed, &[], None, now).0.conditions, None);
}

#[test]
fn pods_are_adopted_and_released_by_selector_and_owner() {
    let orphan = pod("orphan", json!({"metadata": {"ownerReferences": null}}));
    let foreign = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": "x", "controller": true}]);
    let foreign = pod("foreign", json!({"metadata": {"ownerReferences": foreign}}));
    let renamed = pod("renamed", json!({"metadata": {"labels": {"app": "other"}}}));
    let going =
        pod("going", json!({"metadata": {"ownerReferences": null, "deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    let pods = vec![pod("own", json!({})), orphan, foreign, renamed, going];
    let owner = rs(1);
    let selector = ownership::selector(&owner.spec.as_ref().unwrap().selector).unwrap();
    let names = |pods: &[Arc<KnownPod>]| pods.iter().map(|pod| pod.id.name.to_string()).collect::<Vec<_>>();
    let claim = ownership::claim(&owner.metadata, &selector, pods.clone());
    assert_eq!(
        (names(&claim.owned), names(&claim.adopt), names(&claim.release)),
        (vec!["own".into()], vec!["orphan".into()], vec!["renamed".into()])
    );

    let mut deleted = owner.metadata.clone();
    deleted.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
    let claim = ownership::claim(&deleted, &selector, pods);
    assert_eq!((claim.adopt.len(), claim.release.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_planned_until_what_was_asked_for_has_been_seen() {
    let expectations = Expectations::default();
    let applied = |old: Option<Arc<KnownPod>>, new: Arc<KnownPod>| Change::Applied { old, new };
    expectations.expect("rs", 2, HashSet::new());
    observe(&expectations, &applied(None, pod("a", json!({}))));
    observe(&expectations, &applied(Some(pod("a", json!({}))), pod("a", json!({}))));
    assert!(expectations.pending("rs").is_some(), "an update is no creation");
    observe(&expectations, &applied(None, pod("b", json!({}))));
    assert!(expectations.pending("rs").is_none());

    expectations.expect("rs", 0, HashSet::from(["a".to_owned(), "b".to_owned()]));
    observe(&expectations, &Change::Deleted(pod("a", json!({}))));
    observe(&expectations, &Change::Deleted(pod("other", json!({}))));
    assert!(expectations.pending("rs").is_some());
    observe(
        &expectations,
        &applied(None, pod("b", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}))),
    );
    assert!(expectations.pending("rs").is_none(), "going is as good as gone");

    expectations.expect("rs", 1, HashSet::new());
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(expectations.pending("rs").is_none(), "an expectation that never comes true is given up");
}
