//! What a namespace's rules make of new objects: limit ranges, priorities, quotas.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::{Api, CONFIG_MAPS, PODS, pod};

const LIMITS: &str = "/api/v1/namespaces/default/limitranges";
const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";

fn asking(name: &str, resources: Value) -> Value {
    let mut pod = pod(name);
    pod["spec"]["containers"][0]["resources"] = resources;
    pod
}

async fn quota(api: &Api, hard: Value) -> Value {
    api.post(QUOTAS, &json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await.expect(201)
}

async fn used(api: &Api) -> Value {
    api.get(&format!("{QUOTAS}/q")).await.expect(200)["status"]["used"].clone()
}

#[tokio::test]
async fn limit_ranges_fill_in_and_bound() {
    let api = Api::start().await;
    let limit = json!({"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "1"}});
    api.post(LIMITS, &json!({"metadata": {"name": "l"}, "spec": {"limits": [limit]}})).await.expect(201);
    let made = api.post(PODS, &pod("a")).await.expect(201);
    assert_eq!(
        made["spec"]["containers"][0]["resources"],
        json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "500m"}})
    );
    let refused = api.post(PODS, &asking("b", json!({"limits": {"cpu": "2"}}))).await.expect(403);
    assert_eq!(refused["message"], "pods \"b\" is forbidden: maximum cpu usage per Container is 1, but limit is 2");
    api.post("/api/v1/namespaces/kube-system/pods", &asking("b", json!({"limits": {"cpu": "2"}}))).await.expect(201);
}

#[tokio::test]
async fn pods_take_the_priority_of_their_class() {
    let api = Api::start().await;
    let named = |name: &str, class: &str| {
        let mut pod = pod(name);
        pod["spec"]["priorityClassName"] = json!(class);
        pod
    };
    assert_eq!(api.post(PODS, &pod("a")).await.expect(201)["spec"]["priority"], 0);
    let made = api.post(PODS, &named("b", "system-node-critical")).await.expect(201);
    assert_eq!(made["spec"]["priority"], 2_000_001_000);
    let refused = api.post(PODS, &named("c", "absent")).await.expect(403);
    assert_eq!(refused["message"], "pods \"c\" is forbidden: no PriorityClass with name absent was found");
    let class = json!({"metadata": {"name": "usual"}, "value": 7, "globalDefault": true, "preemptionPolicy": "Never"});
    api.post(CLASSES, &class).await.expect(201);
    let made = api.post(PODS, &pod("d")).await.expect(201);
    assert_eq!((&made["spec"]["priority"], &made["spec"]["preemptionPolicy"]), (&json!(7), &json!("Never")));
    assert_eq!(made["spec"]["priorityClassName"], "usual");
}

#[tokio::test]
async fn a_quota_raced_by_64_creators_is_never_overrun() {
    let api = Api::start().await;
    quota(&api, json!({"count/configmaps": "10", "requests.cpu": "1"})).await;
    let mut creators = Vec::new();
    for i in 0..64 {
        let service = kube::Client::new(api.server.service(kapell_apiserver::Identity::internal("test")), "default");
        creators.push(tokio::spawn(async move {
            let map = json!({"metadata": {"name": format!("m{i}")}});
            let pod = asking(&format!("p{i}"), json!({"requests": {"cpu": "200m"}}));
            let mut made = [0, 0];
            for (at, (path, object)) in [(CONFIG_MAPS, map), (PODS, pod)].into_iter().enumerate() {
                let request = http::Request::post(path).body(object.to_string().into_bytes()).unwrap();
                match service.request::<Value>(request).await {
                    Ok(_) => made[at] += 1,
                    Err(kube::Error::Api(status)) => assert_eq!(status.code, 403, "{status:?}"),
                    Err(error) => panic!("{error}"),
                }
            }
            made
        }));
    }
    let made = join_all(creators).await.into_iter().map(Result::unwrap).fold([0, 0], |a, b| [a[0] + b[0], a[1] + b[1]]);
    assert_eq!(made, [10, 5]);
    assert_eq!(used(&api).await, json!({"count/configmaps": "10", "requests.cpu": "1"}));
    let refused = api.post(CONFIG_MAPS, &json!({"metadata": {"name": "one-more"}})).await.expect(403);
    assert_eq!(
        refused["message"],
        "configmaps \"one-more\" is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=10, \
         limited: count/configmaps=10"
    );
    let dry = api.post(&format!("{CONFIG_MAPS}?dryRun=All"), &json!({"metadata": {"name": "one-more"}})).await;
    dry.expect(403);
}

#[tokio::test]
async fn usage_is_true_at_every_moment() {
    let api = Api::start().await;
    api.post(PODS, &asking("before", json!({"requests": {"cpu": "100m"}}))).await.expect(201);
    let made = quota(&api, json!({"pods": "2", "cpu": "1"})).await;
    assert_eq!(made["status"], json!({"hard": {"pods": "2", "cpu": "1"}, "used": {"pods": "1", "cpu": "100m"}}));

    let refused = api.post(PODS, &pod("silent")).await.expect(403);
    assert_eq!(refused["message"], "pods \"silent\" is forbidden: failed quota: q: must specify cpu for: main");
    api.post(PODS, &asking("second", json!({"requests": {"cpu": "500m"}}))).await.expect(201);
    assert_eq!(used(&api).await, json!({"pods": "2", "cpu": "600m"}));

    let ended = json!({"status": {"phase": "Succeeded"}});
    api.patch(&format!("{PODS}/second/status"), "merge", &ended).await.expect(200);
    assert_eq!(used(&api).await, json!({"pods": "1", "cpu": "100m"}));
    api.delete(&format!("{PODS}/before"), &Value::Null).await.expect(200);
    assert_eq!(used(&api).await, json!({"pods": "0", "cpu": "0"}));

    // Whatever somebody writes there: the server counts.
    let lie = json!({"status": {"hard": {"pods": "99"}, "used": {"pods": "50"}}});
    api.patch(&format!("{QUOTAS}/q/status"), "merge", &lie).await.expect(200);
    assert_eq!(used(&api).await, json!({"pods": "0", "cpu": "0"}));
    let wider = json!({"spec": {"hard": {"cpu": null, "pods": "3", "count/pods": "3"}}});
    let wider = api.patch(&format!("{QUOTAS}/q"), "merge", &wider).await.expect(200);
    assert_eq!(wider["status"]["used"], json!({"pods": "0", "count/pods": "1"}));
}
