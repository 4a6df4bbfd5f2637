//! Who may do what: roles, bindings, reviews, impersonation, and that nobody gives away what he does not have.

use http::Method;
use kapell_apiserver::Identity;
use serde_json::{Value, json};

use crate::support::{Answer, Api, CONFIG_MAPS, PODS, pod};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1";

fn user(name: &str) -> Identity {
    let groups = vec!["system:authenticated".to_owned()];
    Identity { user: name.to_owned(), groups, ..Identity::default() }
}

impl Api {
    async fn post_as(&self, who: &str, path: &str, body: &Value) -> Answer {
        self.request_as(user(who), Method::POST, path, &[], body.to_string()).await
    }

    async fn get_as(&self, who: &str, path: &str) -> Answer {
        self.request_as(user(who), Method::GET, path, &[], "").await
    }

    /// Gives a user a ClusterRole, in a namespace or everywhere.
    async fn bind(&self, who: &str, role: &str, namespace: Option<&str>) {
        self.post(&bindings(namespace), &binding(who, "ClusterRole", role)).await.expect(201);
    }

    async fn can_i(&self, who: &str, verb: &str, resource: &str, namespace: &str) -> bool {
        let attributes = json!({"verb": verb, "resource": resource, "namespace": namespace});
        let review = json!({"spec": {"resourceAttributes": attributes}});
        let answer = self.post_as(who, &format!("{REVIEWS}/selfsubjectaccessreviews"), &review).await.expect(201);
        answer["status"]["allowed"].as_bool().unwrap()
    }
}

fn bindings(namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!("{RBAC}/namespaces/{namespace}/rolebindings"),
        None => format!("{RBAC}/clusterrolebindings"),
    }
}

fn binding(who: &str, kind: &str, role: &str) -> Value {
    let group = "rbac.authorization.k8s.io";
    json!({
        "metadata": {"generateName": "b-"}, "roleRef": {"apiGroup": group, "kind": kind, "name": role},
        "subjects": [{"apiGroup": group, "kind": "User", "name": who}],
    })
}

fn role(name: &str, resource: &str, verbs: &[&str]) -> Value {
    json!({"metadata": {"name": name}, "rules": [{"apiGroups": [""], "resources": [resource], "verbs": verbs}]})
}

#[tokio::test]
async fn a_viewer_reads_and_does_not_write() {
    let api = Api::start().await;
    api.get_as("ann", PODS).await.expect(403);
    api.bind("ann", "view", Some("default")).await;
    api.get_as("ann", PODS).await.expect(200);
    api.get_as("ann", "/api/v1/namespaces/kube-system/pods").await.expect(403);
    api.get_as("ann", "/api/v1/pods").await.expect(403);
    api.get_as("ann", "/api/v1/namespaces/default/secrets").await.expect(403);
    let refused = api.post_as("ann", PODS, &pod("web")).await.expect(403);
    assert_eq!(
        refused["message"],
        "pods is forbidden: User \"ann\" cannot create resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    assert_eq!((&refused["reason"], &refused["details"]), (&json!("Forbidden"), &json!({"kind": "pods"})));
    let refused = api.request_as(user("ann"), Method::DELETE, &format!("{PODS}/web"), &[], "").await.expect(403);
    assert_eq!(refused["details"], json!({"name": "web", "kind": "pods"}));
    let refused = api.get_as("ann", "/metrics").await.expect(403);
    assert_eq!(refused["message"], "forbidden: User \"ann\" cannot get path \"/metrics\"");
    api.get_as("ann", "/apis").await.expect(200);
}

#[tokio::test]
async fn a_right_is_gone_with_its_binding() {
    let api = Api::start().await;
    let made = api.post(&bindings(Some("default")), &binding("ann", "ClusterRole", "view")).await.expect(201);
    api.get_as("ann", PODS).await.expect(200);
    let path = format!("{}/{}", bindings(Some("default")), made["metadata"]["name"].as_str().unwrap());
    api.delete(&path, &Value::Null).await.expect(200);
    api.get_as("ann", PODS).await.expect(403);
}

#[tokio::test]
async fn names_limit_what_a_rule_allows() {
    let api = Api::start().await;
    let mut one = role("one", "configmaps", &["get", "list", "watch"]);
    one["rules"][0]["resourceNames"] = json!(["a"]);
    api.post(&format!("{RBAC}/namespaces/default/roles"), &one).await.expect(201);
    api.post(&bindings(Some("default")), &binding("ann", "Role", "one")).await.expect(201);
    api.config_map("a", json!({})).await;
    api.config_map("b", json!({})).await;
    api.get_as("ann", &format!("{CONFIG_MAPS}/a")).await.expect(200);
    api.get_as("ann", &format!("{CONFIG_MAPS}/b")).await.expect(403);
    api.get_as("ann", CONFIG_MAPS).await.expect(403);
    let only_a = api.get_as("ann", &format!("{CONFIG_MAPS}?fieldSelector=metadata.name%3Da")).await.expect(200);
    assert_eq!(only_a["items"].as_array().map(Vec::len), Some(1), "{only_a}");
    for sly in ["metadata.name%3Da,metadata.name%3Db", "metadata.name!%3Da", "metadata.name%3Da&fieldSelector="] {
        let answer = api.get_as("ann", &format!("{CONFIG_MAPS}?fieldSelector={sly}")).await;
        let names: Vec<Value> =
            answer.json()["items"].as_array().into_iter().flatten().map(|m| m["metadata"]["name"].clone()).collect();
        assert!(answer.code == 403 || names == [json!("a")], "{sly}: {names:?}");
    }
}

#[tokio::test]
async fn a_namespace_admin_gives_what_he_has_and_no_more() {
    let api = Api::start().await;
    api.bind("ann", "admin", Some("default")).await;
    let roles = format!("{RBAC}/namespaces/default/roles");
    api.post_as("ann", &roles, &role("reader", "pods", &["get"])).await.expect(201);
    let refused = api.post_as("ann", &roles, &role("nodes", "nodes", &["get", "list"])).await.expect(403);
    assert_eq!(
        refused["message"],
        "roles.rbac.authorization.k8s.io \"nodes\" is forbidden: user \"ann\" (groups=[\"system:authenticated\"]) is \
         attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\", \"list\"]}"
    );
    let widen = json!([{"op": "replace", "path": "/rules/0/resources", "value": ["*"]}]);
    let patch = [("content-type", "application/json-patch+json")];
    let path = format!("{roles}/reader");
    api.request_as(user("ann"), Method::PATCH, &path, &patch, widen.to_string()).await.expect(403);
    let apply = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "applied"},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}],
    });
    let applied = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{roles}/applied?fieldManager=ann");
    api.request_as(user("ann"), Method::PATCH, &path, &applied, apply.to_string()).await.expect(403);

    let bind = async |role: &str| {
        api.post_as("ann", &bindings(Some("default")), &binding("bob", "ClusterRole", role)).await.code.as_u16()
    };
    assert_eq!(bind("view").await, 201);
    assert_eq!(bind("cluster-admin").await, 403);
    assert_eq!(bind("absent").await, 404);
    api.post_as("ann", &bindings(None), &binding("ann", "ClusterRole", "cluster-admin")).await.expect(403);

    let allowed = json!({"metadata": {"name": "binder"}, "rules": [{
        "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "verbs": ["bind"],
        "resourceNames": ["system:monitoring"],
    }]});
    api.post(&format!("{RBAC}/clusterroles"), &allowed).await.expect(201);
    api.bind("ann", "binder", None).await;
    assert_eq!(bind("system:monitoring").await, 201, "the verb bind allows it");
    assert_eq!(bind("cluster-admin").await, 403);
}

#[tokio::test]
async fn reviews_answer_for_oneself_and_for_others() {
    let api = Api::start().await;
    api.bind("ann", "view", Some("default")).await;
    assert!(api.can_i("ann", "list", "pods", "default").await);
    assert!(!api.can_i("ann", "create", "pods", "default").await);
    assert!(!api.can_i("ann", "list", "pods", "kube-system").await);
    let path = json!({"spec": {"nonResourceAttributes": {"verb": "get", "path": "/version"}}});
    let answer = api.post_as("ann", &format!("{REVIEWS}/selfsubjectaccessreviews"), &path).await.expect(201);
    assert_eq!(answer["status"]["allowed"], true, "{answer}");
    api.post_as("ann", &format!("{REVIEWS}/selfsubjectaccessreviews"), &json!({"spec": {}})).await.expect(422);

    let rules = json!({"spec": {"namespace": "default"}});
    let answer = api.post_as("ann", &format!("{REVIEWS}/selfsubjectrulesreviews"), &rules).await.expect(201);
    assert!(answer["status"]["resourceRules"].as_array().unwrap().len() > 5, "{answer}");

    let attributes = json!({"verb": "list", "resource": "pods", "namespace": "default"});
    let others = json!({"spec": {"user": "ann", "resourceAttributes": attributes}});
    let ask = async |plural: &str| api.post(&format!("{REVIEWS}/{plural}"), &others).await;
    let answer = ask("subjectaccessreviews").await.expect(201);
    assert_eq!(
        answer["status"]["reason"].as_str().map(|why| why.split(" of ").nth(1).unwrap()),
        Some("ClusterRole \"view\" to User \"ann\"")
    );
    assert_eq!(ask("namespaces/default/localsubjectaccessreviews").await.expect(201)["status"]["allowed"], true);
    ask("namespaces/kube-system/localsubjectaccessreviews").await.expect(422);
    api.post_as("ann", &format!("{REVIEWS}/subjectaccessreviews"), &others).await.expect(403);
    assert_eq!(api.get(&format!("{REVIEWS}/subjectaccessreviews")).await.code, 405);
    api.get(&format!("{REVIEWS}/subjectaccessreviews/x")).await.expect(404);
}

#[tokio::test]
async fn who_acts_as_somebody_else_needs_the_right_to() {
    let api = Api::start().await;
    let act = async |who: Identity, headers: &[(&str, &str)]| api.request_as(who, Method::GET, PODS, headers, "").await;
    let refused = act(user("ann"), &[("impersonate-user", "bob")]).await.expect(403);
    assert_eq!(
        refused["message"],
        "users \"bob\" is forbidden: User \"ann\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
    );
    // The administrator may act as anybody, and is then nobody else.
    act(Identity::internal("test"), &[("impersonate-user", "bob")]).await.expect(403);
    api.bind("bob", "view", None).await;
    act(Identity::internal("test"), &[("impersonate-user", "bob")]).await.expect(200);
    api.post(&format!("{RBAC}/clusterroles"), &role("as-users", "users", &["impersonate"])).await.expect(201);
    api.bind("ann", "as-users", None).await;
    act(user("ann"), &[("impersonate-user", "bob")]).await.expect(200);
    act(user("ann"), &[("impersonate-user", "bob"), ("impersonate-group", "system:masters")]).await.expect(403);
    act(user("ann"), &[("impersonate-user", "system:serviceaccount:default:default")]).await.expect(403);
    act(user("ann"), &[("impersonate-group", "system:masters")]).await.expect(400);
}

#[tokio::test]
async fn aggregated_roles_follow_their_parts() {
    let api = Api::start().await;
    let view = format!("{RBAC}/clusterroles/view");
    let mut watch = api.watch(&format!("{RBAC}/clusterroles?fieldSelector=metadata.name%3Dview&watch=true")).await;
    assert_eq!(watch.summary().await, "ADDED view");
    let mut part = role("more", "secrets", &["list"]);
    part["metadata"]["labels"] = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    api.post(&format!("{RBAC}/clusterroles"), &part).await.expect(201);
    assert_eq!(watch.summary().await, "MODIFIED view");
    let rules = api.get(&view).await.expect(200)["rules"].clone();
    assert!(rules.as_array().unwrap().contains(&part["rules"][0]), "{rules}");
}

#[tokio::test]
async fn defaults_are_repaired_at_the_next_start() {
    let api = Api::start().await;
    let path = format!("{RBAC}/clusterrolebindings/system:basic-user");
    api.patch(&path, "merge", &json!({"subjects": null})).await.expect(200);
    api.delete(&format!("{RBAC}/clusterroles/view"), &Value::Null).await.expect(200);
    let again = Api::over(api.store.clone()).await;
    assert_eq!(again.get(&path).await.expect(200)["subjects"][0]["name"], "system:authenticated");
    again.get(&format!("{RBAC}/clusterroles/view")).await.expect(200);
}
