//! Pages, revisions and selectors.

use serde_json::{Value, json};

use crate::support::{Api, CONFIG_MAPS, PODS, pod, revision};

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn pages_show_one_revision_while_others_write() {
    let api = Api::start().await;
    for name in ["a", "b", "c", "d", "e"] {
        api.config_map(name, json!({})).await;
    }
    let first = api.get(&format!("{CONFIG_MAPS}?limit=2")).await.expect(200);
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["a", "b"], &json!(3)));
    api.delete(&format!("{CONFIG_MAPS}/d"), &json!(null)).await.expect(200);
    api.config_map("bb", json!({})).await;

    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = api.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await.expect(200);
    assert_eq!((names(&second), revision(&second)), (vec!["c", "d"], revision(&first)));
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = api.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await.expect(200);
    assert_eq!((names(&third), &third["metadata"]["continue"]), (vec!["e"], &Value::Null));
}

/// Conformance: [sig-api-machinery] Servers with support for API chunking should support continue listing from the last key if the original version has been compacted away, though the list is inconsistent [Slow]
#[tokio::test]
async fn a_page_of_a_forgotten_revision_is_gone_but_the_rest_can_be_had() {
    let api = Api::start().await;
    for name in ["a", "b", "c"] {
        api.config_map(name, json!({})).await;
    }
    let first = api.get(&format!("{CONFIG_MAPS}?limit=1")).await.expect(200);
    api.config_map("d", json!({})).await;
    api.store.compact(api.store.revision()).await.unwrap();

    let token = first["metadata"]["continue"].as_str().unwrap();
    let gone = api.get(&format!("{CONFIG_MAPS}?limit=1&continue={token}")).await.expect(410);
    assert_eq!(gone["reason"], "Expired");
    let token = gone["metadata"]["continue"].as_str().unwrap();
    let rest = api.get(&format!("{CONFIG_MAPS}?continue={token}")).await.expect(200);
    assert_eq!(names(&rest), ["b", "c", "d"]);
    api.get(&format!("{CONFIG_MAPS}?continue=nonsense")).await.expect(400);
}

#[tokio::test]
async fn revisions_in_a_list_mean_what_upstream_says() {
    let api = Api::start().await;
    let a = revision(&api.config_map("a", json!({})).await);
    api.config_map("b", json!({})).await;
    let list = |query: String| {
        let api = &api;
        async move { api.get(&format!("{CONFIG_MAPS}?{query}")).await }
    };
    assert_eq!(names(&list("resourceVersion=0".into()).await.expect(200)), ["a", "b"]);
    assert_eq!(names(&list(format!("resourceVersion={a}")).await.expect(200)), ["a", "b"]);
    let exact = list(format!("resourceVersion={a}&resourceVersionMatch=Exact")).await.expect(200);
    assert_eq!((names(&exact), revision(&exact)), (vec!["a"], a));

    let future = list("resourceVersion=99999".into()).await.expect(504);
    assert_eq!(future["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    list("resourceVersionMatch=Exact".into()).await.expect(422);
    list("resourceVersion=0&resourceVersionMatch=Exact".into()).await.expect(422);
    list("resourceVersion=x".into()).await.expect(400);
}

#[tokio::test]
async fn selectors_choose() {
    let api = Api::start().await;
    for (name, app, node) in [("a", "x", "n1"), ("b", "y", ""), ("c", "x", "n2")] {
        let mut object = pod(name);
        object["metadata"]["labels"] = json!({"app": app, "example.com/order": (name.len() + app.len()).to_string()});
        if name == "c" {
            object["metadata"]["labels"]["empty"] = json!("");
        }
        if !node.is_empty() {
            object["spec"]["nodeName"] = json!(node);
        }
        api.post(PODS, &object).await.expect(201);
    }
    for (query, expected) in [
        ("labelSelector=app%3Dx", vec!["a", "c"]),
        ("labelSelector=app+notin+(x)", vec!["b"]),
        ("labelSelector=app+in+(x,y)", vec!["a", "b", "c"]),
        ("labelSelector=app+in+(z,y),app", vec!["b"]),
        ("labelSelector=example.com/order%3D2,app%3Dx", vec!["a", "c"]),
        ("labelSelector=example.com/order%3E1", vec!["a", "b", "c"]),
        ("labelSelector=empty", vec!["c"]),
        ("labelSelector=empty%3D", vec!["c"]),
        ("labelSelector=!empty", vec!["a", "b"]),
        ("labelSelector=empty!%3D", vec!["a", "b"]),
        // A value, a name and a field of the object, but no label.
        ("labelSelector=x", vec![]),
        ("labelSelector=name%3Da", vec![]),
        ("labelSelector=apiVersion%3Dv1", vec![]),
        ("fieldSelector=metadata.name%3Db", vec!["b"]),
        ("fieldSelector=spec.nodeName%3Dn2", vec!["c"]),
        ("fieldSelector=spec.nodeName%3D", vec!["b"]),
        ("fieldSelector=spec.nodeName!%3Dn1&labelSelector=app%3Dx", vec!["c"]),
    ] {
        for path in [PODS, "/api/v1/pods"] {
            assert_eq!(names(&api.get(&format!("{path}?{query}")).await.expect(200)), expected, "{path} {query}");
        }
    }
    let page = api.get(&format!("{PODS}?labelSelector=app%3Dx&limit=1")).await.expect(200);
    assert_eq!((names(&page), &page["metadata"]["remainingItemCount"]), (vec!["a"], &Value::Null));
    let token = page["metadata"]["continue"].as_str().unwrap();
    let rest = api.get(&format!("{PODS}?labelSelector=app%3Dx&limit=1&continue={token}")).await.expect(200);
    assert_eq!(names(&rest), ["c"]);

    api.get(&format!("{PODS}?fieldSelector=spec.colour%3Dred")).await.expect(400);
    api.get(&format!("{PODS}?labelSelector=%3D%3D")).await.expect(400);
}

#[tokio::test]
async fn a_large_list_is_compressed_for_who_wants_that() {
    let api = Api::start().await;
    for name in ["a", "b", "c"] {
        let object = json!({"metadata": {"name": name}, "data": {"k": "x".repeat(60_000)}});
        api.post(CONFIG_MAPS, &object).await.expect(201);
    }
    let plain = api.get(CONFIG_MAPS).await;
    let small = api.request(http::Method::GET, CONFIG_MAPS, &[("accept-encoding", "gzip")], "").await;
    assert!(!plain.headers.contains_key("content-encoding"));
    assert_eq!(small.headers["content-encoding"], "gzip");
    assert!(small.bytes.len() * 10 < plain.bytes.len());
    let unpacked: Value = serde_json::from_reader(flate2::read::GzDecoder::new(small.bytes.as_ref())).unwrap();
    assert_eq!(unpacked, plain.json());
}
