//! Finalizers, grace, propagation, and the life of namespaces.

use serde_json::json;

use crate::support::{Api, CONFIG_MAPS, PODS, pod};

#[tokio::test]
async fn a_plain_object_is_gone_at_once() {
    let api = Api::start().await;
    let object = api.config_map("a", json!({})).await;
    let path = format!("{CONFIG_MAPS}/a");
    for (preconditions, code) in [
        (json!({"uid": "other"}), 409),
        (json!({"resourceVersion": "1"}), 409),
        (json!({"uid": object["metadata"]["uid"]}), 200),
    ] {
        let answer = api.delete(&path, &json!({"preconditions": preconditions})).await;
        let status = answer.expect(code);
        if code == 200 {
            assert_eq!((&status["status"], &status["details"]["uid"]), (&json!("Success"), &object["metadata"]["uid"]));
        }
    }
    api.delete(&path, &json!(null)).await.expect(404);
    api.delete(&path, &json!({"unknownOption": 1})).await.expect(400);
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_is_removed() {
    let api = Api::start().await;
    let object = json!({"metadata": {"name": "a", "finalizers": ["example.com/a"]}});
    api.post(CONFIG_MAPS, &object).await.expect(201);
    let path = format!("{CONFIG_MAPS}/a");
    let marked = api.delete(&format!("{path}?propagationPolicy=Foreground"), &json!(null)).await.expect(200);
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(marked["metadata"]["finalizers"], json!(["example.com/a", "foregroundDeletion"]));

    let more = json!({"metadata": {"finalizers": ["example.com/a", "example.com/b"]}});
    assert_eq!(api.patch(&path, "merge", &more).await.expect(422)["reason"], "Invalid");
    let less = json!({"metadata": {"finalizers": ["foregroundDeletion"]}});
    api.patch(&path, "merge", &less).await.expect(200);
    api.patch(&path, "merge", &json!({"metadata": {"finalizers": null}})).await.expect(200);
    api.get(&path).await.expect(404);
}

#[tokio::test]
async fn a_bound_pod_gets_its_grace() {
    let api = Api::start().await;
    let mut object = pod("p");
    object["spec"]["nodeName"] = json!("n");
    object["spec"]["terminationGracePeriodSeconds"] = json!(5);
    let created = api.post(PODS, &object).await.expect(201);
    let path = format!("{PODS}/p");
    let marked = api.delete(&path, &json!({})).await.expect(200);
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 5);
    let waiting = api.delete(&path, &json!({})).await.expect(200);
    assert_eq!(waiting, marked, "asking again changes nothing");
    let last = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": created["metadata"]["uid"]}});
    api.delete(&path, &last).await.expect(200);
    api.get(&path).await.expect(404);
}

#[tokio::test]
async fn a_collection_is_deleted_as_selected() {
    let api = Api::start().await;
    for (name, app) in [("a", "x"), ("b", "y"), ("c", "x")] {
        api.config_map(name, json!({"app": app})).await;
    }
    let deleted = api.delete(&format!("{CONFIG_MAPS}?labelSelector=app%3Dx"), &json!(null)).await.expect(200);
    assert_eq!((&deleted["kind"], deleted["items"].as_array().unwrap().len()), (&json!("ConfigMapList"), 2));
    let left = api.get(CONFIG_MAPS).await.expect(200);
    assert_eq!(left["items"][0]["metadata"]["name"], "b");
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn namespaces_admit_until_they_end() {
    let api = Api::start().await;
    let maps = "/api/v1/namespaces/team/configmaps";
    let missing = api.post(maps, &json!({"metadata": {"name": "a"}})).await.expect(404);
    assert_eq!(missing["message"], "namespaces \"team\" not found");

    api.post("/api/v1/namespaces", &json!({"metadata": {"name": "team"}})).await.expect(201);
    api.get("/api/v1/namespaces/team/serviceaccounts/default").await.expect(200);
    api.post(maps, &json!({"metadata": {"name": "a"}})).await.expect(201);
    api.post(maps, &json!({"metadata": {"name": "b", "namespace": "other"}})).await.expect(400);

    let ending = api.delete("/api/v1/namespaces/team", &json!(null)).await.expect(200);
    assert_eq!(ending["status"]["phase"], "Terminating");
    let refused = api.post(maps, &json!({"metadata": {"name": "b"}})).await.expect(403);
    assert_eq!(refused["details"]["causes"][0]["reason"], "NamespaceTerminating");

    let mut finalized = ending.clone();
    finalized["spec"]["finalizers"] = json!([]);
    let kept = api.put("/api/v1/namespaces/team", &finalized).await.expect(200);
    assert_eq!(kept["spec"]["finalizers"], json!(["kubernetes"]), "only finalize may empty the list");
    api.put("/api/v1/namespaces/team/finalize", &finalized).await.expect(200);
    api.get("/api/v1/namespaces/team").await.expect(404);
    api.delete("/api/v1/namespaces/default", &json!(null)).await.expect(403);
    api.delete("/api/v1/configmaps", &json!(null)).await.expect(405);
}
