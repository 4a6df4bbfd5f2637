//! CertificateSigningRequests: whose they are, who may approve and who may sign, and what each of them changes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use kapell_apiserver::Identity;
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};

use crate::support::Api;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

fn request(signer: &str, organization: &str) -> Value {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::OrganizationName, organization);
    params.distinguished_name.push(DnType::CommonName, "jane");
    let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    json!({
        "metadata": {"name": "jane"},
        "spec": {"request": STANDARD.encode(pem), "signerName": signer, "usages": ["client auth"], "username": "somebody else"},
    })
}

fn user(name: &str) -> Identity {
    let groups = vec!["system:authenticated".to_owned()];
    Identity { user: name.to_owned(), uid: "u".to_owned(), groups, ..Identity::default() }
}

/// `signers` is the right that the role gives: a verb and a name.
async fn bind(api: &Api, who: &str, verb: &str, signer: &str) {
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"metadata": {"name": who}, "rules": [
        {"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests", "certificatesigningrequests/approval",
            "certificatesigningrequests/status"], "verbs": ["*"]},
        {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "resourceNames": [signer], "verbs": [verb]},
    ]});
    api.post(&format!("{rbac}/clusterroles"), &role).await.expect(201);
    let binding = json!({
        "metadata": {"name": who}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": who},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": who}],
    });
    api.post(&format!("{rbac}/clusterrolebindings"), &binding).await.expect(201);
}

async fn merge_as(api: &Api, who: &str, path: &str, body: &Value) -> crate::support::Answer {
    let form = [("content-type", "application/merge-patch+json")];
    api.request_as(user(who), Method::PATCH, path, &form, body.to_string()).await
}

fn conditions(types: &[&str]) -> Value {
    json!({"status": {"conditions": types.iter().map(|t| json!({"type": t, "status": "True", "reason": "x"})).collect::<Vec<_>>()}})
}

#[tokio::test]
async fn the_server_says_who_has_asked() {
    let api = Api::start().await;
    bind(&api, "ann", "approve", "example.com/*").await;
    let body = request("example.com/signer", "developers").to_string();
    let made = api.request_as(user("ann"), Method::POST, REQUESTS, &[], body).await.expect(201);
    let spec = &made["spec"];
    assert_eq!((&spec["username"], &spec["uid"]), (&json!("ann"), &json!("u")));
    assert_eq!(spec["groups"], json!(["system:authenticated"]));
    // Nothing of it can be changed afterwards.
    let patch =
        json!({"spec": {"username": "bob", "signerName": "example.com/other"}, "status": {"certificate": "eA=="}});
    let same = api.patch(&format!("{REQUESTS}/jane"), "merge", &patch).await.expect(200);
    assert_eq!((&same["spec"], &same["status"]), (spec, &made["status"]));
}

#[tokio::test]
async fn nobody_becomes_a_master_by_certificate() {
    let api = Api::start().await;
    let client = "kubernetes.io/kube-apiserver-client";
    let refused = api.post(REQUESTS, &request(client, "system:masters")).await.expect(403);
    assert!(refused["message"].as_str().unwrap().contains("system:masters"), "{refused}");
    api.post(REQUESTS, &request(client, "developers")).await.expect(201);
}

#[tokio::test]
async fn approving_and_signing_need_a_right_for_the_signer() {
    let api = Api::start().await;
    api.post(REQUESTS, &request("example.com/signer", "developers")).await.expect(201);
    let (approval, status) = (format!("{REQUESTS}/jane/approval"), format!("{REQUESTS}/jane/status"));
    bind(&api, "other", "approve", "example.org/signer").await;
    bind(&api, "approver", "approve", "example.com/*").await;
    bind(&api, "signer", "sign", "example.com/signer").await;

    let approved = conditions(&["Approved"]);
    for who in ["other", "signer"] {
        let refused = merge_as(&api, who, &approval, &approved).await.expect(403);
        assert!(refused["message"].as_str().unwrap().contains("not permitted to approve"), "{refused}");
    }
    let mut decided = approved.clone();
    decided["status"]["certificate"] = json!("eA==");
    let done = merge_as(&api, "approver", &approval, &decided).await.expect(200);
    assert_eq!(done["status"]["conditions"][0]["type"], "Approved");
    assert!(done["status"]["certificate"].is_null(), "an approval issues nothing: {done}");

    let issued = json!({"status": {"certificate": STANDARD.encode("pem")}});
    let refused = merge_as(&api, "approver", &status, &issued).await.expect(403);
    assert!(refused["message"].as_str().unwrap().contains("not permitted to sign"), "{refused}");
    let mut signed = conditions(&["Denied", "Failed"]);
    signed["status"]["certificate"] = issued["status"]["certificate"].clone();
    let done = merge_as(&api, "signer", &status, &signed).await.expect(200);
    let types: Vec<&Value> = done["status"]["conditions"].as_array().unwrap().iter().map(|c| &c["type"]).collect();
    assert_eq!(types, ["Approved", "Failed"], "who signs does not decide");
    assert_eq!(done["status"]["certificate"], issued["status"]["certificate"]);
    let both = merge_as(&api, "approver", &approval, &conditions(&["Approved", "Denied"])).await.expect(422);
    assert!(both["message"].as_str().unwrap().contains("mutually exclusive"), "{both}");
}
