//! Watches: where they begin, what they show, and how they end.

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api as KubeApi;
use kube::runtime::watcher;
use serde_json::json;

use crate::support::{Api, CONFIG_MAPS, revision};

#[tokio::test]
async fn a_watch_goes_on_after_its_revision() {
    let api = Api::start().await;
    let a = api.config_map("a", json!({})).await;
    api.config_map("b", json!({})).await;
    let mut events = api.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={}", revision(&a))).await;
    assert_eq!(events.summary().await, "ADDED b");
    api.patch(&format!("{CONFIG_MAPS}/a"), "merge", &json!({"data": {"k": "2"}})).await.expect(200);
    let event = events.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["data"]["k"]), (&json!("MODIFIED"), &json!("2")));
    let before = revision(&event["object"]);
    api.delete(&format!("{CONFIG_MAPS}/a"), &json!(null)).await.expect(200);
    let event = events.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["data"]["k"]), (&json!("DELETED"), &json!("2")));
    assert!(revision(&event["object"]) > before, "a deletion has a revision of its own");
}

#[tokio::test]
async fn selectors_apply_to_transitions() {
    let api = Api::start().await;
    let path = format!("{CONFIG_MAPS}/a");
    let mut events = api.watch(&format!("{CONFIG_MAPS}?watch=1&labelSelector=on%3Dyes")).await;
    api.config_map("a", json!({"on": "no"})).await;
    api.patch(&path, "merge", &json!({"metadata": {"labels": {"on": "yes"}}})).await.expect(200);
    api.patch(&path, "merge", &json!({"data": {"k": "2"}})).await.expect(200);
    let left = api.patch(&path, "merge", &json!({"metadata": {"labels": {"on": "no"}}})).await.expect(200);
    api.config_map("b", json!({"on": "yes"})).await;
    assert_eq!(events.summary().await, "ADDED a");
    assert_eq!(events.summary().await, "MODIFIED a");
    let event = events.next().await.unwrap();
    assert_eq!(event["type"], "DELETED");
    assert_eq!(revision(&event["object"]), revision(&left), "so that a client goes on after the change");
    assert_eq!(event["object"]["metadata"]["labels"]["on"], "yes", "as it last matched");
    assert_eq!(events.summary().await, "ADDED b");
}

#[tokio::test]
async fn initial_events_end_with_their_bookmark() {
    let api = Api::start().await;
    api.config_map("a", json!({})).await;
    api.config_map("b", json!({})).await;
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut events = api.watch(&format!("{CONFIG_MAPS}?{query}&resourceVersion=0")).await;
    assert_eq!(events.summary().await, "ADDED a");
    assert_eq!(events.summary().await, "ADDED b");
    let mark = events.next().await.unwrap();
    assert_eq!((&mark["type"], &mark["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
    assert_eq!(mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(revision(&mark["object"]), api.store.revision());
    api.config_map("c", json!({})).await;
    assert_eq!(events.summary().await, "ADDED c");
    api.get(&format!("{CONFIG_MAPS}?watch=true&sendInitialEvents=true")).await.expect(422);
}

#[tokio::test]
async fn a_kube_watcher_lists_and_follows_both_ways() {
    let api = Api::start().await;
    api.config_map("a", json!({})).await;
    let maps: KubeApi<ConfigMap> = KubeApi::default_namespaced(api.client());
    for (config, later) in [(watcher::Config::default(), "x"), (watcher::Config::default().streaming_lists(), "y")] {
        let mut stream = watcher(maps.clone(), config).boxed();
        let mut seen = Vec::new();
        while let Some(event) = stream.try_next().await.unwrap() {
            match event {
                watcher::Event::InitApply(map) => seen.extend(map.metadata.name),
                watcher::Event::InitDone => drop(api.config_map(later, json!({})).await),
                watcher::Event::Apply(map) => {
                    assert_eq!(map.metadata.name.as_deref(), Some(later));
                    break;
                }
                watcher::Event::Init | watcher::Event::Delete(_) => {}
            }
        }
        assert!(seen.contains(&"a".to_owned()), "{seen:?}");
    }
}

#[tokio::test]
async fn a_watch_from_a_forgotten_revision_is_gone() {
    let api = Api::start().await;
    let a = revision(&api.config_map("a", json!({})).await);
    api.config_map("b", json!({})).await;
    api.config_map("c", json!({})).await;
    api.store.compact(api.store.revision()).await.unwrap();
    let gone = api.get(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={a}")).await;
    match gone.code.as_u16() {
        200 => {
            let event = gone.json();
            assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
        }
        _ => assert_eq!(gone.expect(410)["reason"], "Expired"),
    }
    let future = api.get(&format!("{CONFIG_MAPS}?watch=true&resourceVersion=99999")).await;
    assert_eq!(future.expect(504)["reason"], "Timeout");
}

#[tokio::test]
async fn a_watch_ends_in_time_with_a_last_bookmark() {
    let api = Api::start().await;
    let latest = api.store.revision();
    let query = format!("watch=true&timeoutSeconds=0&allowWatchBookmarks=true&resourceVersion={latest}");
    let mut events = api.watch(&format!("{CONFIG_MAPS}?{query}")).await;
    assert_eq!(events.next().await.unwrap()["type"], "BOOKMARK");
    assert!(events.next().await.is_none());

    let mut events = api.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={latest}")).await;
    api.server.stop();
    assert!(events.next().await.is_none(), "a stopping server ends its watches");
}

#[tokio::test]
async fn a_slow_watcher_falls_behind_alone() {
    let api = Api::start().await;
    let from = api.store.revision();
    let mut slow = api.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={from}")).await;
    let mut quick = api.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={from}")).await;
    for n in 0..20 {
        api.config_map(&format!("m{n}"), json!({})).await;
        assert_eq!(quick.summary().await, format!("ADDED m{n}"));
    }
    api.store.compact(api.store.revision()).await.unwrap();
    let event = slow.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)), "its history is gone");
    assert_eq!(event["object"]["reason"], "Expired");
    assert!(slow.next().await.is_none());
}

#[tokio::test]
async fn tables_and_metadata_can_be_watched() {
    let api = Api::start().await;
    let latest = api.store.revision();
    let path = format!("{CONFIG_MAPS}?watch=true&resourceVersion={latest}");
    let mut tables = api.watch_as(&path, "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    let mut partial = api.watch_as(&path, "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io").await;
    let created = api.config_map("a", json!({})).await;
    let table = tables.next().await.unwrap();
    assert_eq!((&table["object"]["kind"], &table["object"]["rows"][0]["cells"][0]), (&json!("Table"), &json!("a")));
    let event = partial.next().await.unwrap();
    assert_eq!(event["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(event["object"]["metadata"], created["metadata"]);
}

/// The value of a counter among the metrics.
async fn counted(api: &Api, name: &str) -> u64 {
    let text = String::from_utf8(api.get("/metrics").await.bytes.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[tokio::test]
async fn a_change_is_encoded_once_for_all_who_are_told_the_same() {
    const WATCHERS: usize = 20;
    let api = Api::start().await;
    let path = format!("{CONFIG_MAPS}/a");
    let metadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let (mut all, mut partial) = (Vec::new(), Vec::new());
    for _ in 0..WATCHERS {
        all.push(api.watch(&format!("{CONFIG_MAPS}?watch=1")).await);
        partial.push(api.watch_as(&format!("{CONFIG_MAPS}?watch=1"), metadata).await);
    }
    let mut some = api.watch(&format!("{CONFIG_MAPS}?watch=1&labelSelector=on%3Dyes")).await;
    let encoded = "kapell_apiserver_watch_events_encoded_total";
    let before = (counted(&api, encoded).await, counted(&api, "kapell_apiserver_watch_events_total").await);

    api.config_map("a", json!({"on": "no"})).await;
    api.patch(&path, "merge", &json!({"metadata": {"labels": {"on": "yes"}}})).await.expect(200);
    api.delete(&path, &json!(null)).await.expect(200);
    for events in all.iter_mut().chain(&mut partial) {
        for expected in ["ADDED a", "MODIFIED a", "DELETED a"] {
            assert_eq!(events.summary().await, expected);
        }
    }
    // The same change is another event to who sees it begin to match.
    assert_eq!(some.summary().await, "ADDED a");
    assert_eq!(some.summary().await, "DELETED a");

    let after = (counted(&api, encoded).await, counted(&api, "kapell_apiserver_watch_events_total").await);
    assert_eq!(after.1 - before.1, 3 * 2 * WATCHERS as u64 + 2);
    assert_eq!(after.0 - before.0, 3 * 2 + 1, "three changes in two formats, and one that is ADDED for the selector");
}
