//! SIG Auth: service accounts, their tokens, reviews.

use kapell_e2e::conformance::{Case, STRATEGIC};
use kapell_e2e::eventually_async;
use serde_json::json;

/// Conformance: [sig-auth] ServiceAccounts should guarantee kube-root-ca.crt exist in any namespace
#[tokio::test]
async fn every_namespace_knows_the_certificate() {
    let case = Case::new().await;
    let path = format!("{}/kube-root-ca.crt", case.path("v1", "configmaps"));
    let there = |map: &serde_json::Value| map["data"]["ca.crt"].as_str().is_some_and(|pem| pem.contains("CERTIFICATE"));
    let first = case.until("it is there", &path, there).await;
    case.delete(&path).await.ok();
    case.until("it is back", &path, |map| map["metadata"]["uid"] != first["metadata"]["uid"] && there(map)).await;
    case.merge(&path, &json!({"data": {"ca.crt": "changed"}})).await.expect(200);
    case.until("it is set right", &path, there).await;
}

/// Conformance: [sig-auth] ServiceAccounts should run through the lifecycle of a ServiceAccount
#[tokio::test]
async fn an_account_lives_as_other_objects_do() {
    let case = Case::new().await;
    let accounts = case.path("v1", "serviceaccounts");
    let mut watch = case.watch(&accounts, "&labelSelector=test%3Dyes").await;
    let account = json!({"metadata": {"name": "robot", "labels": {"test": "yes"}}});
    case.post(&accounts, &account).await.expect(201);
    assert_eq!(watch.told().await, "ADDED robot");
    let patch = json!({"automountServiceAccountToken": false});
    case.patch(&format!("{accounts}/robot"), STRATEGIC, &patch).await.expect(200);
    let changed = watch.next().await;
    assert_eq!(
        (&changed["type"], &changed["object"]["automountServiceAccountToken"]),
        (&json!("MODIFIED"), &json!(false))
    );
    let everywhere = case.list("/api/v1/serviceaccounts?labelSelector=test%3Dyes").await;
    assert!(everywhere.iter().any(|found| found["metadata"]["namespace"] == json!(case.namespace)));
    case.delete(&format!("{accounts}?labelSelector=test%3Dyes")).await.expect(200);
    assert_eq!(watch.told().await, "DELETED robot");
}

/// Conformance: [sig-auth] ServiceAccounts should update a ServiceAccount
#[tokio::test]
async fn an_account_is_updated() {
    let case = Case::new().await;
    let accounts = case.path("v1", "serviceaccounts");
    let mut account = case.post(&accounts, &json!({"metadata": {"name": "robot"}})).await.expect(201);
    account["automountServiceAccountToken"] = json!(true);
    let updated = case.put(&format!("{accounts}/robot"), &account).await.expect(200);
    assert_eq!(updated["automountServiceAccountToken"], true);
    assert_eq!(case.get(&format!("{accounts}/robot")).await.expect(200)["automountServiceAccountToken"], true);
}

/// Conformance: [sig-auth] ServiceAccounts should create a serviceAccountToken and ensure a successful TokenReview
#[tokio::test]
async fn a_token_is_issued_and_reviewed() {
    let case = Case::new().await;
    let accounts = case.path("v1", "serviceaccounts");
    case.post(&accounts, &json!({"metadata": {"name": "robot"}})).await.expect(201);
    let request = json!({"spec": {"audiences": [], "expirationSeconds": 3600}});
    let issued = case.post(&format!("{accounts}/robot/token"), &request).await.expect(201);
    let token = issued["status"]["token"].as_str().unwrap();
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let reviewed = case.post(path, &review).await.expect(201);
    assert_eq!(reviewed["status"]["authenticated"], true, "{reviewed}");
    let name = format!("system:serviceaccount:{}:robot", case.namespace);
    assert_eq!(reviewed["status"]["user"]["username"], json!(name));
    case.delete(&format!("{accounts}/robot")).await.ok();
    eventually_async("the token is worth nothing", || async {
        let reviewed = case.post(path, &review).await.expect(201);
        (reviewed["status"]["authenticated"] != true).then_some(())
    })
    .await;
}

/// Conformance: [sig-auth] ServiceAccounts ServiceAccountIssuerDiscovery should support OIDC discovery of service account issuer
#[tokio::test]
async fn the_issuer_of_tokens_can_be_discovered() {
    let case = Case::new().await;
    let discovered = case.get("/.well-known/openid-configuration").await.expect(200);
    let issued =
        case.post(&format!("{}/default/token", case.path("v1", "serviceaccounts")), &json!({"spec": {}})).await;
    let token = issued.expect(201)["status"]["token"].as_str().unwrap().to_owned();
    let jwt = claims(&token);
    assert_eq!(jwt["iss"], discovered["issuer"]);
    let keys = case.get("/openid/v1/jwks").await.expect(200);
    assert!(!keys["keys"].as_array().unwrap().is_empty());
    assert!(discovered["jwks_uri"].as_str().unwrap().ends_with("/openid/v1/jwks"));
}

/// What a token claims, unchecked.
fn claims(token: &str) -> serde_json::Value {
    use base64::Engine as _;
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

/// Conformance: [sig-auth] SubjectReview should support SubjectReview API operations
#[tokio::test]
async fn reviews_say_who_may_what() {
    let case = Case::new().await;
    let account = format!("system:serviceaccount:{}:default", case.namespace);
    let attributes = json!({"namespace": case.namespace, "verb": "list", "resource": "configmaps", "version": "v1"});
    let review = |kind: &str| {
        let mut review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": {"resourceAttributes": attributes},
        });
        if kind != "SelfSubjectAccessReview" {
            review["spec"]["user"] = json!(account);
        }
        review
    };
    let subject = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let local = case.path("authorization.k8s.io/v1", "localsubjectaccessreviews");
    let own = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let may = |answer: serde_json::Value| answer["status"]["allowed"] == true;
    assert!(!may(case.post(subject, &review("SubjectAccessReview")).await.expect(201)));
    assert!(!may(case.post(&local, &review("LocalSubjectAccessReview")).await.expect(201)));
    assert!(may(case.post(own, &review("SelfSubjectAccessReview")).await.expect(201)));

    let binding = json!({
        "metadata": {"name": "view"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": case.namespace}],
    });
    case.post(&case.path("rbac.authorization.k8s.io/v1", "rolebindings"), &binding).await.expect(201);
    assert!(may(case.post(subject, &review("SubjectAccessReview")).await.expect(201)));
    assert!(may(case.post(&local, &review("LocalSubjectAccessReview")).await.expect(201)));
    let headers = [("content-type", "application/json"), ("impersonate-user", account.as_str())];
    let body = review("SelfSubjectAccessReview").to_string().into_bytes();
    assert!(may(case.request(http::Method::POST, own, &headers, body).await.expect(201)));
}
