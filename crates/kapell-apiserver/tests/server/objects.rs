//! Creating, reading, replacing and patching objects.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api as KubeApi, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::support::{Api, CONFIG_MAPS, DEPLOYMENTS, SERVICES, deployment, revision};

#[tokio::test]
async fn a_kube_client_creates_reads_patches_and_lists() {
    let api = Api::start().await;
    let maps: KubeApi<ConfigMap> = KubeApi::default_namespaced(api.client());
    let object = ConfigMap {
        metadata: ObjectMeta { name: Some("a".into()), ..ObjectMeta::default() },
        data: Some([("k".to_owned(), "v".to_owned())].into()),
        ..ConfigMap::default()
    };
    let created = maps.create(&PostParams::default(), &object).await.unwrap();
    assert!(created.metadata.uid.is_some() && created.metadata.creation_timestamp.is_some());
    assert_eq!(created.metadata.namespace.as_deref(), Some("default"));

    let again = maps.create(&PostParams::default(), &object).await.unwrap_err();
    assert!(matches!(&again, kube::Error::Api(status) if status.reason == "AlreadyExists"), "{again:?}");

    let patch = Patch::Merge(json!({"data": {"l": "w"}}));
    let patched = maps.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.data.as_ref().unwrap().len(), 2);
    assert_eq!(maps.get("a").await.unwrap(), patched);
    assert_eq!(maps.list(&ListParams::default()).await.unwrap().items, [patched]);
    assert!(maps.get_opt("b").await.unwrap().is_none());
}

#[tokio::test]
async fn a_stale_put_conflicts_and_a_put_without_version_wins() {
    let api = Api::start().await;
    let first = api.config_map("a", json!({})).await;
    let path = format!("{CONFIG_MAPS}/a");
    let mut second = first.clone();
    second["data"]["k"] = json!("2");
    let second = api.put(&path, &second).await.expect(200);
    assert!(revision(&second) > revision(&first));

    let mut stale = first.clone();
    stale["data"]["k"] = json!("3");
    let conflict = api.put(&path, &stale).await.expect(409);
    assert_eq!(conflict["reason"], "Conflict");
    assert_eq!(
        conflict["message"],
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    stale["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    assert_eq!(api.put(&path, &stale).await.expect(200)["data"]["k"], "3");

    stale["metadata"]["uid"] = json!("somebody-else");
    api.put(&path, &stale).await.expect(409);
    stale["metadata"]["name"] = json!("b");
    api.put(&path, &stale).await.expect(400);
    api.put(&format!("{CONFIG_MAPS}/b"), &json!({"metadata": {"name": "b"}})).await.expect(404);
}

#[tokio::test]
async fn a_write_that_changes_nothing_keeps_the_version() {
    let api = Api::start().await;
    let first = api.config_map("a", json!({"x": "y"})).await;
    let path = format!("{CONFIG_MAPS}/a");
    for answer in [
        api.put(&path, &first).await,
        api.patch(&path, "merge", &json!({"metadata": {"labels": {"x": "y"}}})).await,
        api.patch(&path, "strategic-merge", &json!({"data": {"k": "v"}})).await,
        api.patch(&path, "json", &json!([{"op": "replace", "path": "/data/k", "value": "v"}])).await,
    ] {
        assert_eq!(answer.expect(200), first);
    }
}

#[tokio::test]
async fn server_owned_metadata_stays_and_the_generation_counts_specifications() {
    let api = Api::start().await;
    let first = api.post(DEPLOYMENTS, &deployment("d")).await.expect(201);
    assert_eq!(first["metadata"]["generation"], 1);
    let path = format!("{DEPLOYMENTS}/d");
    let meddled = api
        .patch(
            &path,
            "merge",
            &json!({"metadata": {"creationTimestamp": null, "generation": 9, "labels": {"a": "b"}, "managedFields": []}}),
        )
        .await
        .expect(200);
    for field in ["uid", "creationTimestamp", "generation", "deletionTimestamp"] {
        assert_eq!(meddled["metadata"][field], first["metadata"][field], "{field}");
    }
    let scaled = api.patch(&path, "strategic-merge", &json!({"spec": {"replicas": 5}})).await.expect(200);
    assert_eq!(scaled["metadata"]["generation"], 2);
}

#[tokio::test]
async fn patches_without_a_version_are_retried_and_those_with_one_are_not() {
    let api = Api::start().await;
    let first = api.config_map("a", json!({})).await;
    let path = format!("{CONFIG_MAPS}/a");
    let writes = (0..8).map(|n| {
        let (api, path) = (&api, &path);
        async move { api.patch(path, "merge", &json!({"data": {format!("n{n}"): "x"}})).await.expect(200) }
    });
    futures::future::join_all(writes).await;
    assert_eq!(api.get(&path).await.expect(200)["data"].as_object().unwrap().len(), 9);

    let stale = json!({"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"z": "z"}});
    assert_eq!(api.patch(&path, "merge", &stale).await.expect(409)["reason"], "Conflict");
}

#[tokio::test]
async fn patches_that_do_not_fit_are_refused() {
    let api = Api::start().await;
    api.config_map("a", json!({})).await;
    let path = format!("{CONFIG_MAPS}/a");
    api.patch(&path, "json", &json!([{"op": "remove", "path": "/data/absent"}])).await.expect(422);
    api.patch(&path, "json", &json!({"not": "a list"})).await.expect(400);
    api.patch(&path, "merge", &json!({"data": {"k": 1}})).await.expect(422);
    for identity in
        [json!({"metadata": {"name": "b"}}), json!({"metadata": {"namespace": "b"}}), json!({"kind": "Secret"})]
    {
        api.patch(&path, "merge", &identity).await.expect(400);
    }
    let apply = api.patch(&path, "apply", &json!({})).await;
    assert_eq!(apply.code, 415);
}

#[tokio::test]
async fn generated_names_differ() {
    let api = Api::start().await;
    let object = json!({"metadata": {"generateName": "job-"}});
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let created = api.post(CONFIG_MAPS, &object).await.expect(201);
        let name = created["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(name.starts_with("job-") && name.len() == 9, "{name}");
        names.insert(name);
    }
    assert_eq!(names.len(), 5);
    assert_eq!(api.post(CONFIG_MAPS, &json!({"metadata": {}})).await.expect(422)["reason"], "Invalid");
}

#[tokio::test]
async fn dry_runs_say_what_would_happen_and_change_nothing() {
    let api = Api::start().await;
    let before = api.store.revision();
    let answer = api.post(&format!("{DEPLOYMENTS}?dryRun=All"), &deployment("d")).await.expect(201);
    assert_eq!(answer["spec"]["strategy"]["type"], "RollingUpdate", "defaults are filled in");
    assert!(answer["metadata"]["resourceVersion"].is_null());
    assert_eq!(api.store.revision(), before);
    api.get(&format!("{DEPLOYMENTS}/d")).await.expect(404);

    api.config_map("a", json!({})).await;
    let before = api.store.revision();
    let path = format!("{CONFIG_MAPS}/a?dryRun=All");
    assert_eq!(api.patch(&path, "merge", &json!({"data": {"k": "2"}})).await.expect(200)["data"]["k"], "2");
    api.delete(&path, &json!(null)).await.expect(200);
    api.post(&format!("{CONFIG_MAPS}?dryRun=All"), &json!({"metadata": {"name": "a"}})).await.expect(409);
    api.post(&format!("{CONFIG_MAPS}?dryRun=Some"), &json!({"metadata": {"name": "b"}})).await.expect(400);
    assert_eq!(api.store.revision(), before);
    assert_eq!(api.get(&format!("{CONFIG_MAPS}/a")).await.expect(200)["data"]["k"], "v");
}

#[tokio::test]
async fn services_get_addresses_and_keep_them() {
    let api = Api::start().await;
    let own = api.get(&format!("{SERVICES}/kubernetes")).await.expect(200);
    assert_eq!(own["spec"]["clusterIP"], "127.7.0.2");

    let service = json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let created = api.post(SERVICES, &service).await.expect(201);
    let address = created["spec"]["clusterIP"].as_str().unwrap();
    assert!(address.starts_with("127.7."), "{address}");
    assert!(created["spec"]["ports"][0]["nodePort"].as_u64().unwrap() >= 30000);

    let again = api.put(&format!("{SERVICES}/s"), &service).await.expect(200);
    assert_eq!(again, created, "applying the same file again changes nothing");

    let mut thief = service.clone();
    thief["metadata"]["name"] = json!("t");
    thief["spec"]["clusterIP"] = json!(address);
    api.post(SERVICES, &thief).await.expect(422);
    api.delete(&format!("{SERVICES}/s"), &json!(null)).await.expect(200);
    api.post(SERVICES, &thief).await.expect(201);

    let restarted = Api::over(api.store.clone()).await;
    thief["metadata"]["name"] = json!("u");
    restarted.post(SERVICES, &thief).await.expect(422);
}
