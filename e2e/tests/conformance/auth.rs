//! SIG Auth: service accounts, their tokens, reviews.

use kapell_e2e::conformance::{Case, Operations, STRATEGIC, running_pod_spec};
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

/// Conformance: [sig-auth] ServiceAccounts should mount an API token into pods
#[tokio::test]
async fn a_pod_finds_the_files_of_its_account() {
    let case = Case::new().await;
    let (pods, accounts) = (case.path("v1", "pods"), case.path("v1", "serviceaccounts"));
    case.post(&accounts, &json!({"metadata": {"name": "mount-test"}})).await.expect(201);
    let mut spec = running_pod_spec();
    spec["serviceAccountName"] = json!("mount-test");
    let pod = case.post(&pods, &json!({"metadata": {"name": "p"}, "spec": spec})).await.expect(201);
    let mount = &pod["spec"]["containers"][0]["volumeMounts"][0];
    assert_eq!(mount["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
    case.until("it runs", &format!("{pods}/p"), |pod| pod["status"]["phase"] == "Running").await;
    let file = |name: &str| case.shell(&["p"], &format!("cat $(dirname $KUBECONFIG)/{name}"));
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": file("token")},
    });
    let reviewed = case.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.expect(201);
    let user = &reviewed["status"]["user"];
    assert_eq!(user["username"], json!(format!("system:serviceaccount:{}:mount-test", case.namespace)));
    assert_eq!(user["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
    assert_eq!(user["extra"]["authentication.kubernetes.io/pod-uid"], json!([pod["metadata"]["uid"]]));
    let certificate = case.get(&format!("{}/kube-root-ca.crt", case.path("v1", "configmaps"))).await.expect(200);
    assert_eq!(json!(file("ca.crt")), certificate["data"]["ca.crt"]);
    assert_eq!(file("namespace"), case.namespace);
}

/// Conformance: [sig-auth] ServiceAccounts should allow opting out of API token automount
#[tokio::test]
async fn accounts_and_pods_may_do_without_a_token() {
    let case = Case::new().await;
    let (pods, accounts) = (case.path("v1", "pods"), case.path("v1", "serviceaccounts"));
    let switches = [("default", None), ("mount", Some(true)), ("nomount", Some(false))];
    for (account, automount) in switches {
        let account = json!({"metadata": {"name": format!("sa-{account}")}, "automountServiceAccountToken": automount});
        case.post(&accounts, &account).await.expect(201);
    }
    for (account, of_account) in switches {
        for (pod, of_pod) in switches {
            let mut spec = running_pod_spec();
            spec["serviceAccountName"] = json!(format!("sa-{account}"));
            spec["automountServiceAccountToken"] = json!(of_pod);
            let name = format!("{account}-{pod}");
            let made = case.post(&pods, &json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
            let mounts = made["spec"]["containers"][0]["volumeMounts"].as_array().map_or(0, Vec::len);
            let expected = of_pod.or(of_account).unwrap_or(true);
            assert_eq!(mounts, usize::from(expected), "{name}");
        }
    }
}

/// Conformance: [sig-auth] ServiceAccounts should mount projected service account token
#[tokio::test]
async fn a_projected_token_is_a_file() {
    let case = Case::new().await;
    let pods = case.path("v1", "pods");
    let mut spec = running_pod_spec();
    let projection = json!({"path": "deep/token", "expirationSeconds": 1200, "audience": "vault"});
    spec["volumes"] =
        json!([{"name": "v", "projected": {"sources": [{"serviceAccountToken": projection}], "defaultMode": 0o400}}]);
    spec["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "v"}]);
    case.post(&pods, &json!({"metadata": {"name": "p"}, "spec": spec})).await.expect(201);
    case.until("it runs", &format!("{pods}/p"), |pod| pod["status"]["phase"] == "Running").await;
    assert_eq!(case.shell(&["p"], "stat -L -c %a v/deep/token"), "400\n");
    let claims = claims(&case.shell(&["p"], "cat v/deep/token"));
    assert_eq!(claims["sub"], json!(format!("system:serviceaccount:{}:default", case.namespace)));
    assert_eq!((&claims["aud"], &claims["kubernetes.io"]["pod"]["name"]), (&json!(["vault"]), &json!("p")));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 1200);
}

/// Of an elliptic key that nobody keeps, for `O=developers, CN=e2e-csr`.
const REQUEST: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIHiMIGJAgEAMCcxEzARBgNVBAoMCmRldmVsb3BlcnMxEDAOBgNVBAMMB2UyZS1j
c3IwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASa3CM3zWccV/Uvyw2AuQO7FuBX
hKaw7/FwmNTj2mLg9yRNEvqogBO3lWVDkdhOcvRQCF+KAF3ehjyUF/do/WL1oAAw
CgYIKoZIzj0EAwIDSAAwRQIhAI16Gq9gwjjiwFWPVQKKtRLx6wCsY74blwucDAzg
BJnaAiBLiCkYJ6sJMA5wnDcnG0vboLJISIKhZ9CoPsnYVsELGQ==
-----END CERTIFICATE REQUEST-----
";

/// Conformance: [sig-auth] Certificates API [Privileged:ClusterAdmin] should support CSR API operations
#[tokio::test]
async fn requests_for_certificates_live_are_approved_and_signed() {
    use base64::Engine as _;
    let case = Case::new().await;
    let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    // A signer that is nobody: what becomes of the request is in our hands.
    let signer = format!("example.com/{}", case.namespace);
    let spec =
        json!({"request": base64(REQUEST), "signerName": signer, "usages": ["client auth"], "expirationSeconds": 3600});
    let operations = Operations {
        group_version: "certificates.k8s.io/v1",
        plural: "certificatesigningrequests",
        namespaced: false,
        object: json!({"spec": spec}),
        status: Some(json!({"certificate": base64("a certificate")})),
    };
    operations.check(&case).await;

    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let made = json!({"metadata": {"generateName": "e2e-"}, "spec": spec});
    let made = case.post(requests, &made).await.expect(201);
    let path = format!("{requests}/{}", made["metadata"]["name"].as_str().unwrap());
    let found = case.list(&format!("{requests}?fieldSelector=spec.signerName%3D{}", signer.replace('/', "%2F"))).await;
    assert_eq!(found.len(), 1);

    let approval = format!("{path}/approval");
    let condition = |type_: &str| json!({"type": type_, "status": "True", "reason": "E2E", "message": "set by a test"});
    let patch = json!({"metadata": {"annotations": {"patchedapproval": "true"}}, "status": {"conditions": [condition("ApprovalPatch")]}});
    let patched = case.merge(&approval, &patch).await.expect(200);
    assert_eq!(patched["status"]["conditions"][0]["type"], "ApprovalPatch");
    assert_eq!(patched["metadata"]["annotations"]["patchedapproval"], "true");
    let mut updated = case.get(&approval).await.expect(200);
    updated["status"]["conditions"].as_array_mut().unwrap().push(condition("Approved"));
    let approved = case.put(&approval, &updated).await.expect(200);
    assert_eq!(approved["status"]["conditions"][1]["type"], "Approved");

    let mut signed = case.get(&format!("{path}/status")).await.expect(200);
    signed["status"]["certificate"] = json!(base64("a certificate"));
    signed["status"]["conditions"].as_array_mut().unwrap().push(condition("StatusUpdate"));
    let signed = case.put(&format!("{path}/status"), &signed).await.expect(200);
    assert_eq!(signed["status"]["conditions"].as_array().unwrap().len(), 3, "{signed}");
    case.delete(&path).await.ok();
    case.until_gone(&path).await;
}
