//! Server-side apply and the owners of fields, over HTTP and through kube-rs.

use http::Method;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api as Objects, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::{Answer, Api, CONFIG_MAPS, DEPLOYMENTS, PODS, deployment, pod, revision};

const APPLY: &str = "application/apply-patch+yaml";

impl Api {
    /// `query` begins with the manager: `m` or `m&force=true`.
    async fn apply(&self, path: &str, query: &str, config: &Value) -> Answer {
        let path = format!("{path}?fieldManager={query}");
        self.request(Method::PATCH, &path, &[("content-type", APPLY)], config.to_string()).await
    }

    /// A write by a named manager, other than apply.
    async fn write(&self, method: Method, path: &str, manager: &str, body: &Value) -> Value {
        let headers = [(
            "content-type",
            if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" },
        )];
        let path = format!("{path}?fieldManager={manager}");
        let answer = self.request(method, &path, &headers, body.to_string()).await;
        assert!(answer.code.is_success(), "{answer:?}");
        answer.json()
    }
}

fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

/// `manager operation subresource` of each entry, and its fields.
fn owners(object: &Value) -> Vec<(String, Value)> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    entries
        .iter()
        .map(|entry| {
            assert!(entry["fieldsType"] == "FieldsV1" && entry["time"].is_string(), "{entry}");
            let text = |field: &str| entry[field].as_str().unwrap_or("-").to_owned();
            (format!("{} {} {}", text("manager"), text("operation"), text("subresource")), entry["fieldsV1"].clone())
        })
        .collect()
}

fn names(object: &Value) -> Vec<String> {
    owners(object).into_iter().map(|(name, _)| name).collect()
}

#[tokio::test]
async fn apply_creates_changes_conflicts_and_forces() {
    let api = Api::start().await;
    let path = format!("{CONFIG_MAPS}/a");
    let dry = api.apply(&path, "m&dryRun=All", &config_map(json!({"k": "1"}))).await.expect(201);
    assert_eq!(dry["data"]["k"], "1");
    api.get(&path).await.expect(404);

    let first = api.apply(&path, "m", &config_map(json!({"k": "1", "l": "2"}))).await.expect(201);
    assert_eq!(owners(&first), [("m Apply -".to_owned(), json!({"f:data": {"f:k": {}, "f:l": {}}}))]);
    let again = api.apply(&path, "m", &config_map(json!({"k": "1", "l": "2"}))).await.expect(200);
    assert_eq!(again, first, "nothing changed, so neither did the revision");

    let refused = api.apply(&path, "n", &config_map(json!({"k": "9", "new": "3"}))).await.expect(409);
    assert_eq!(
        (&refused["reason"], &refused["message"]),
        (&json!("Conflict"), &json!("Apply failed with 1 conflict: conflict with \"m\": .data.k"))
    );
    assert_eq!(
        refused["details"]["causes"],
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"m\"", "field": ".data.k"}])
    );
    let taken = api.apply(&path, "n&force=true", &config_map(json!({"k": "9", "new": "3"}))).await.expect(200);
    assert_eq!(taken["data"], json!({"k": "9", "l": "2", "new": "3"}));
    let released = api.apply(&path, "n", &config_map(json!({"k": "9"}))).await.expect(200);
    assert_eq!(released["data"], json!({"k": "9", "l": "2"}));
    let dry = api.apply(&path, "n&dryRun=All", &config_map(json!({}))).await.expect(200);
    assert_eq!((&dry["data"], revision(&dry)), (&json!({"l": "2"}), revision(&released)));
    assert_eq!(api.get(&path).await.expect(200), released);
}

#[tokio::test]
async fn requests_that_cannot_be_applied_say_why() {
    let api = Api::start().await;
    let path = format!("{CONFIG_MAPS}/a");
    let good = config_map(json!({"k": "1"}));
    let headers = [("content-type", APPLY)];
    let answer = api.request(Method::PATCH, &path, &headers, good.to_string()).await.expect(422);
    assert_eq!(
        answer["message"],
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
    );
    for refused in ["application/apply-patch+json", "application/apply-patch+cbor"] {
        let path = format!("{path}?fieldManager=m");
        let answer =
            api.request(Method::PATCH, &path, &[("content-type", refused)], good.to_string()).await.expect(415);
        assert!(answer["message"].as_str().unwrap().contains(APPLY), "{answer}");
    }
    let mut noted = good.clone();
    noted["metadata"]["managedFields"] = json!([]);
    assert_eq!(api.apply(&path, "m", &noted).await.expect(400)["message"], "metadata.managedFields must be nil");
    let wrong = [
        (json!({"kind": "ConfigMap", "metadata": {"name": "a"}}), "apiVersion and kind"),
        (json!({"apiVersion": "v2", "kind": "ConfigMap"}), "Specified patch version: v2, expected: v1"),
        (json!({"apiVersion": "v1", "kind": "Secret"}), "cannot be applied as a ConfigMap"),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}}),
            "does not match the name on the URL",
        ),
        (json!({"apiVersion": "v1", "kind": "ConfigMap", "dta": {}}), ".dta: field not declared in schema"),
        (json!([]), "not an object"),
    ];
    for (config, why) in wrong {
        let answer = api.apply(&path, "m&fieldValidation=Ignore", &config).await.expect(400);
        assert!(answer["message"].as_str().unwrap().contains(why), "{answer}");
    }
    for precondition in [json!({"resourceVersion": "7"}), json!({"uid": "x"})] {
        let mut config = good.clone();
        config["metadata"] = precondition;
        api.apply(&path, "m", &config).await.expect(409);
    }
    let first = api.apply(&path, "m", &good).await.expect(201);
    api.apply(&path, "m", &config_map(json!({"k": "2"}))).await.expect(200);
    let mut stale = good;
    stale["metadata"]["resourceVersion"] = first["metadata"]["resourceVersion"].clone();
    api.apply(&path, "m", &stale).await.expect(409);
    let forced = format!("{path}?force=true");
    api.patch(&forced, "merge", &json!({})).await.expect(422);
    api.apply(&format!("{CONFIG_MAPS}/absent/status"), "m", &config_map(json!({}))).await.expect(404);
}

#[tokio::test]
async fn yaml_is_applied_and_duplicates_are_named() {
    let api = Api::start().await;
    let path = format!("{CONFIG_MAPS}/a?fieldManager=m");
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  k: one\n  k: two\n";
    let strict = format!("{path}&fieldValidation=Strict");
    let refused = api.request(Method::PATCH, &strict, &[("content-type", APPLY)], yaml).await.expect(400);
    assert!(refused["message"].as_str().unwrap().contains("duplicate field \"data.k\""), "{refused}");
    let warned = api.request(Method::PATCH, &path, &[("content-type", APPLY)], yaml).await;
    warned.expect(201);
    assert!(warned.warnings()[0].contains("duplicate field"), "{:?}", warned.warnings());
}

#[tokio::test]
async fn other_writes_note_what_they_change() {
    let api = Api::start().await;
    let path = format!("{CONFIG_MAPS}/a");
    let created = api.write(Method::POST, CONFIG_MAPS, "creator", &config_map(json!({"k": "1"}))).await;
    assert_eq!(owners(&created), [("creator Update -".to_owned(), json!({"f:data": {".": {}, "f:k": {}}}))]);
    let patched = api.write(Method::PATCH, &path, "patcher", &json!({"data": {"l": "2"}})).await;
    assert_eq!(owners(&patched)[1], ("patcher Update -".to_owned(), json!({"f:data": {"f:l": {}}})));
    let mut changed = patched.clone();
    changed["metadata"]["managedFields"] = Value::Null;
    changed["data"] = json!({"k": "3", "l": "2"});
    let put = api.write(Method::PUT, &path, "putter", &changed).await;
    assert_eq!(names(&put), ["creator Update -", "patcher Update -", "putter Update -"]);
    let again = api.write(Method::PUT, &path, "nobody", &put).await;
    assert_eq!(again, put, "nothing changed");
    let refused = api.apply(&path, "m", &config_map(json!({"k": "1"}))).await.expect(409);
    assert_eq!(refused["details"]["causes"][0]["message"], "conflict with \"putter\" using v1");

    // Without `fieldManager` it is the program's name.
    let headers = [("content-type", "application/merge-patch+json"), ("user-agent", "helm/v3.9 (linux)")];
    let helm = api.request(Method::PATCH, &path, &headers, json!({"data": {"h": "1"}}).to_string()).await.expect(200);
    assert!(names(&helm).contains(&"helm Update -".to_owned()));
    let long = "x".repeat(129);
    api.request(Method::POST, &format!("{CONFIG_MAPS}?fieldManager={long}"), &[], config_map(json!({})).to_string())
        .await
        .expect(422);
}

#[tokio::test]
async fn notes_are_cleared_on_request_only_and_then_begin_with_everything() {
    let api = Api::start().await;
    let path = format!("{CONFIG_MAPS}/a");
    let first = api.apply(&path, "m", &config_map(json!({"k": "1"}))).await.expect(201);
    for ignored in [json!([]), json!(null), json!([{"manager": "x", "operation": "Guess"}])] {
        let kept = api.patch(&path, "merge", &json!({"metadata": {"managedFields": ignored}})).await.expect(200);
        assert_eq!(kept, first);
    }
    let mut retimed = first["metadata"]["managedFields"].clone();
    retimed[0]["time"] = json!("2001-01-01T00:00:00Z");
    let kept = api.patch(&path, "merge", &json!({"metadata": {"managedFields": retimed}})).await.expect(200);
    assert_eq!(kept, first, "times alone are no change");
    let cleared = api
        .patch(&path, "json", &json!([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]))
        .await
        .expect(200);
    assert!(cleared["metadata"]["managedFields"].is_null() && revision(&cleared) > revision(&first));
    let patched = api.patch(&path, "merge", &json!({"data": {"l": "2"}})).await.expect(200);
    assert!(patched["metadata"]["managedFields"].is_null());
    let applied = api.apply(&path, "m", &config_map(json!({"k": "1"}))).await.expect(200);
    assert_eq!(names(&applied), ["m Apply -", "before-first-apply Update -"]);
    // As kubectl does when it goes over from client-side apply.
    let mut moved = applied["metadata"]["managedFields"].clone();
    moved[1]["manager"] = json!("renamed");
    let version = &applied["metadata"]["resourceVersion"];
    let steps = json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": moved},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
    ]);
    let moved = api.patch(&path, "json", &steps).await.expect(200);
    assert_eq!(names(&moved), ["m Apply -", "renamed Update -"]);
}

#[tokio::test]
async fn defaults_of_an_applied_object_are_nobodys() {
    let api = Api::start().await;
    let path = format!("{DEPLOYMENTS}/d");
    let mut config = deployment("d");
    config["spec"].as_object_mut().unwrap().remove("replicas");
    config["status"] = json!({"replicas": 4});
    let created = api.apply(&path, "m", &config).await.expect(201);
    assert_eq!((&created["spec"]["replicas"], &created["status"]["replicas"]), (&json!(1), &Value::Null));
    let fields = &owners(&created)[0].1;
    assert!(fields["f:spec"]["f:replicas"].is_null() && fields["f:status"].is_null(), "{fields}");
    assert_eq!(api.apply(&path, "m", &config).await.expect(200), created);
    config["spec"]["replicas"] = json!(3);
    let three = api.apply(&path, "m", &config).await.expect(200);
    assert_eq!((&three["spec"]["replicas"], &three["metadata"]["generation"]), (&json!(3), &json!(2)));
    config["spec"].as_object_mut().unwrap().remove("replicas");
    let one = api.apply(&path, "m", &config).await.expect(200);
    assert_eq!(one["spec"]["replicas"], 1, "no longer said, so the default again");
}

#[tokio::test]
async fn status_and_scale_are_owned_apart() {
    let api = Api::start().await;
    let path = format!("{DEPLOYMENTS}/d");
    let mut config = deployment("d");
    api.apply(&path, "m", &config).await.expect(201);
    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 9}, "status": {"replicas": 5}});
    let applied = api.apply(&format!("{path}/status"), "m", &status).await.expect(200);
    assert_eq!((&applied["spec"]["replicas"], &applied["status"]["replicas"]), (&json!(2), &json!(5)));
    assert_eq!(
        owners(&applied).last().unwrap(),
        &("m Apply status".to_owned(), json!({"f:status": {"f:replicas": {}}}))
    );
    let patched = api
        .write(Method::PATCH, &format!("{path}/status"), "controller", &json!({"status": {"readyReplicas": 1}}))
        .await;
    assert_eq!(
        owners(&patched).last().unwrap(),
        &("controller Update status".to_owned(), json!({"f:status": {"f:readyReplicas": {}}}))
    );

    api.write(Method::PATCH, &format!("{path}/scale"), "scaler", &json!({"spec": {"replicas": 4}})).await;
    let scaled = api.get(&path).await.expect(200);
    assert!(
        owners(&scaled).contains(&("scaler Update scale".to_owned(), json!({"f:spec": {"f:replicas": {}}}))),
        "{scaled}"
    );
    let refused = api.apply(&path, "m", &config).await.expect(409);
    assert_eq!(
        refused["message"],
        "Apply failed with 1 conflict: conflict with \"scaler\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
    config["spec"].as_object_mut().unwrap().remove("replicas");
    let left = api.apply(&path, "m", &config).await.expect(200);
    assert_eq!(left["spec"]["replicas"], 4, "another one's, so it stays");

    let scale = |replicas: i32| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": replicas}});
    api.apply(&format!("{path}/scale"), "autoscaler", &scale(6)).await.expect(409);
    let applied = api.apply(&format!("{path}/scale"), "autoscaler&force=true", &scale(6)).await.expect(200);
    assert_eq!((&applied["kind"], &applied["spec"]["replicas"]), (&json!("Scale"), &json!(6)));
    assert!(names(&api.get(&path).await.expect(200)).contains(&"autoscaler Apply scale".to_owned()));
}

#[tokio::test]
async fn a_binding_is_nobodys() {
    let api = Api::start().await;
    api.write(Method::POST, PODS, "m", &pod("p")).await;
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    api.post(&format!("{PODS}/p/binding"), &binding).await.expect(201);
    assert_eq!(names(&api.get(&format!("{PODS}/p")).await.expect(200)), ["m Update -"]);
}

#[tokio::test]
async fn kube_rs_applies() {
    let api = Api::start().await;
    let maps: Objects<ConfigMap> = Objects::default_namespaced(api.client());
    let parameters = PatchParams::apply("rust");
    let made = maps.patch("a", &parameters, &Patch::Apply(config_map(json!({"k": "1"})))).await.unwrap();
    let again = maps.patch("a", &parameters, &Patch::Apply(config_map(json!({"k": "1"})))).await.unwrap();
    assert_eq!(made, again);
    let error =
        maps.patch("a", &PatchParams::apply("other"), &Patch::Apply(config_map(json!({"k": "2"})))).await.unwrap_err();
    assert!(error.to_string().contains("conflict with \"rust\""), "{error}");
    let forced = maps
        .patch("a", &PatchParams::apply("other").force(), &Patch::Apply(config_map(json!({"k": "2"}))))
        .await
        .unwrap();
    assert_eq!(forced.data.unwrap()["k"], "2");
}

#[tokio::test]
async fn many_appliers_at_once_lose_nothing() {
    let api = Api::start().await;
    let path = format!("{CONFIG_MAPS}/a");
    let writes = (0..8).map(|n| {
        let (api, path) = (&api, &path);
        async move { api.apply(path, &format!("m{n}"), &config_map(json!({format!("k{n}"): "v"}))).await }
    });
    for answer in futures::future::join_all(writes).await {
        assert!(answer.code.is_success(), "{answer:?}");
    }
    let object = api.get(&path).await.expect(200);
    assert_eq!((object["data"].as_object().unwrap().len(), owners(&object).len()), (8, 8));
}

/// Not a test but a figure: what notes cost. `cargo test -p kapell-apiserver --test server -- --ignored --nocapture cost`
#[tokio::test]
#[ignore = "prints figures"]
#[expect(clippy::print_stdout, reason = "figures are for a reader")]
async fn cost_of_notes() {
    const ROUNDS: u32 = 2_000;
    let api = Api::start().await;
    let start = std::time::Instant::now();
    for n in 0..ROUNDS {
        api.post(PODS, &pod(&format!("p{n}"))).await.expect(201);
    }
    println!("creates: {:.0} per second", f64::from(ROUNDS) / start.elapsed().as_secs_f64());
    let path = format!("{PODS}/p0/status");
    for noted in [true, false] {
        if !noted {
            api.patch(&format!("{PODS}/p0"), "merge", &json!({"metadata": {"managedFields": [{}]}})).await.expect(200);
        }
        let start = std::time::Instant::now();
        for n in 0..ROUNDS {
            let status = json!({"status": {"phase": "Running", "message": format!("{noted} {n}")}});
            api.patch(&path, "merge", &status).await.expect(200);
        }
        println!("status patches, notes {noted}: {:.0} per second", f64::from(ROUNDS) / start.elapsed().as_secs_f64());
    }
}
