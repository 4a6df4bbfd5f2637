//! SIG API Machinery: discovery, versions, field validation, pages, tables.

use kapell_e2e::conformance::{Case, Operations, STRATEGIC, idle_pod_spec, workload};
use serde_json::{Value, json};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Groups and resources that every server has, as the upstream case lists them, as far as they are image-free kinds.
const BUILT_IN: &[(&str, &str)] = &[
    ("", "pods"),
    ("", "namespaces"),
    ("", "services"),
    ("apps", "deployments"),
    ("apps", "statefulsets"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("batch", "jobs"),
    ("coordination.k8s.io", "leases"),
    ("discovery.k8s.io", "endpointslices"),
    ("events.k8s.io", "events"),
    ("networking.k8s.io", "ingresses"),
    ("policy", "poddisruptionbudgets"),
    ("rbac.authorization.k8s.io", "roles"),
    ("scheduling.k8s.io", "priorityclasses"),
    ("storage.k8s.io", "storageclasses"),
];

/// Conformance: [sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface
/// Conformance: [sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery endpoint Accept headers
#[tokio::test]
async fn discovery_is_aggregated_for_those_who_ask() {
    let case = Case::new().await;
    let mut found = Vec::new();
    for path in ["/api", "/apis"] {
        let answer = case.get_as(path, AGGREGATED).await;
        assert_eq!(answer.headers["content-type"], AGGREGATED);
        let body = answer.expect(200);
        assert_eq!(body["kind"], "APIGroupDiscoveryList");
        for group in body["items"].as_array().unwrap() {
            for version in group["versions"].as_array().unwrap() {
                assert_eq!(version["freshness"], "Current");
                for resource in version["resources"].as_array().unwrap() {
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    found.push((text(&group["metadata"]["name"]), text(&resource["resource"])));
                }
            }
        }
        let plain = case.get_as(path, "application/json").await.expect(200);
        assert!(plain["kind"] == "APIVersions" || plain["kind"] == "APIGroupList", "{plain}");
    }
    for (group, resource) in BUILT_IN {
        assert!(found.contains(&((*group).to_owned(), (*resource).to_owned())), "{group} {resource}");
    }
}

/// Conformance: [sig-api-machinery] Discovery should validate PreferredVersion for each APIGroup
/// Conformance: [sig-api-machinery] Discovery should locate the groupVersion and a resource within each APIGroup
#[tokio::test]
async fn every_group_has_its_versions_and_they_their_resources() {
    let case = Case::new().await;
    let groups = case.get("/apis").await.expect(200);
    for group in groups["groups"].as_array().unwrap() {
        let name = group["name"].as_str().unwrap();
        let alone = case.get(&format!("/apis/{name}")).await.expect(200);
        assert_eq!((&alone["versions"], &alone["preferredVersion"]), (&group["versions"], &group["preferredVersion"]));
        let versions = group["versions"].as_array().unwrap();
        assert!(versions.contains(&group["preferredVersion"]), "{group}");
        for version in versions {
            let group_version = version["groupVersion"].as_str().unwrap();
            assert_eq!(group_version, format!("{name}/{}", version["version"].as_str().unwrap()));
            let resources = case.get(&format!("/apis/{group_version}")).await.expect(200);
            assert_eq!(resources["groupVersion"], json!(group_version));
            assert!(!resources["resources"].as_array().unwrap().is_empty(), "{group_version}");
        }
    }
    for (group, resource) in BUILT_IN.iter().filter(|(group, _)| !group.is_empty()) {
        let version = case.get(&format!("/apis/{group}")).await.expect(200)["preferredVersion"]["groupVersion"].clone();
        let resources = case.get(&format!("/apis/{}", version.as_str().unwrap())).await.expect(200);
        assert!(
            resources["resources"].as_array().unwrap().iter().any(|r| r["name"] == *resource),
            "{group} {resource}"
        );
    }
}

/// Conformance: [sig-api-machinery] server version should find the server version
#[tokio::test]
async fn the_server_says_its_version() {
    let case = Case::new().await;
    let version = case.get("/version").await.expect(200);
    for number in ["major", "minor"] {
        let number = version[number].as_str().unwrap();
        assert!(!number.is_empty() && number.chars().all(|c| c.is_ascii_digit()), "{version}");
    }
    assert!(version["gitVersion"].as_str().unwrap().starts_with("v1."), "{version}");
}

/// Conformance: [sig-api-machinery] FieldValidation should detect unknown and duplicate fields of a typed object
#[tokio::test]
async fn unknown_and_duplicate_fields_of_a_typed_object_are_named() {
    let case = Case::new().await;
    let deployments = case.path("apps/v1", "deployments");
    let spec = workload("web", 1, idle_pod_spec()).to_string();
    let body = spec.replacen(r#""replicas":1"#, r#""replicas":1,"replicas":2,"unknownField":"x""#, 1);
    assert_ne!(spec, body);
    let send = |query: &str| {
        let path = format!("{deployments}{query}");
        let body = body.clone().into_bytes();
        let case = &case;
        async move { case.request(http::Method::POST, &path, &[("content-type", "application/json")], body).await }
    };
    let strict = send("?fieldValidation=Strict").await.expect(400);
    let message = strict["message"].as_str().unwrap();
    assert!(message.contains(r#"unknown field "spec.unknownField""#), "{message}");
    assert!(message.contains(r#"duplicate field "spec.replicas""#), "{message}");
    let warned = send("?fieldValidation=Warn&dryRun=All").await;
    warned.ok();
    let warnings = warned.warnings().join("\n");
    assert!(warnings.contains("spec.unknownField") && warnings.contains("spec.replicas"), "{warnings}");
    let ignored = send("?fieldValidation=Ignore").await;
    assert!(ignored.warnings().iter().all(|warning| !warning.contains("unknownField")), "{ignored:?}");
    assert_eq!(ignored.ok()["spec"]["replicas"], 2, "the last one counts");

    let patch = json!({"spec": {"unknownField": "x"}});
    let path = format!("{deployments}/web?fieldValidation=Strict");
    case.patch(&path, STRATEGIC, &patch).await.expect(422);
    let apply = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"unknownField": "x"}});
    let path = format!("{path}&fieldManager=test&force=true");
    let refused = case.patch(&path, "application/apply-patch+yaml", &apply).await;
    assert!(refused.code >= 400 && refused.text.contains("unknownField"), "{refused:?}");
}

/// Conformance: [sig-api-machinery] FieldValidation should detect unknown metadata fields of a typed object
#[tokio::test]
async fn unknown_fields_of_metadata_are_named() {
    let case = Case::new().await;
    let mut object = workload("web", 1, idle_pod_spec());
    object["metadata"]["unknownMeta"] = json!("x");
    object["spec"]["template"]["metadata"]["unknownMeta"] = json!("x");
    let path = format!("{}?fieldValidation=Strict", case.path("apps/v1", "deployments"));
    let strict = case.post(&path, &object).await.expect(400);
    let message = strict["message"].as_str().unwrap();
    assert!(message.contains(r#"unknown field "metadata.unknownMeta""#), "{message}");
    assert!(message.contains(r#"unknown field "spec.template.metadata.unknownMeta""#), "{message}");
}

/// Conformance: [sig-api-machinery] Servers with support for API chunking should return chunks of results for list calls
#[tokio::test]
async fn lists_come_in_chunks() {
    let case = Case::new().await;
    let templates = case.path("v1", "podtemplates");
    const COUNT: usize = 40;
    for number in 0..COUNT {
        let object = json!({
            "metadata": {"name": format!("template-{number:04}")}, "template": {"spec": idle_pod_spec()},
        });
        case.post(&templates, &object).await.expect(201);
    }
    let whole = case.get(&templates).await.expect(200);
    assert_eq!(whole["items"].as_array().unwrap().len(), COUNT);
    for limit in [1, 7, 39, 40, 500] {
        let (mut found, mut token, mut revision) = (Vec::new(), String::new(), None);
        loop {
            let page = case.get(&format!("{templates}?limit={limit}&continue={token}")).await.expect(200);
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit);
            found.extend(items.iter().map(|item| item["metadata"]["name"].clone()));
            let metadata = &page["metadata"];
            assert_eq!(
                revision.get_or_insert_with(|| metadata["resourceVersion"].clone()),
                &metadata["resourceVersion"]
            );
            match metadata["continue"].as_str() {
                Some(next) if !next.is_empty() => next.clone_into(&mut token),
                _ => break,
            }
            assert_eq!(metadata["remainingItemCount"], json!(COUNT - found.len()));
        }
        let expected: Vec<Value> =
            whole["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].clone()).collect();
        assert_eq!(found, expected, "{limit} at a time");
    }
}

/// Conformance: [sig-api-machinery] Servers with support for Table transformation should return a 406 for a backend which does not implement metadata
#[tokio::test]
async fn what_has_no_table_is_not_acceptable_as_one() {
    let case = Case::new().await;
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"nonResourceAttributes": {"verb": "get", "path": "/"}}});
    let headers = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io"), ("content-type", "application/json")];
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = case.request(http::Method::POST, path, &headers, review.to_string().into_bytes()).await;
    assert_eq!(answer.expect(406)["reason"], "NotAcceptable");
}

/// Conformance: [sig-api-machinery] API priority and fairness should support FlowSchema API operations
/// Conformance: [sig-api-machinery] API priority and fairness should support PriorityLevelConfiguration API operations
#[tokio::test]
async fn flow_schemas_and_priority_levels_live_as_other_objects_do() {
    let case = Case::new().await;
    let status = |type_: &str| {
        Some(json!({"conditions": [{"type": type_, "status": "True", "reason": "E2E", "message": "set by a test"}]}))
    };
    let flow = Operations {
        group_version: "flowcontrol.apiserver.k8s.io/v1",
        plural: "flowschemas",
        namespaced: false,
        object: json!({"spec": {
            "matchingPrecedence": 10000, "priorityLevelConfiguration": {"name": "global-default"},
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [{
                "subjects": [{"kind": "User", "user": {"name": "example-e2e-non-existent-user"}}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            }],
        }}),
        status: status("Dangling"),
    };
    flow.check(&case).await;
    let level = Operations {
        group_version: "flowcontrol.apiserver.k8s.io/v1",
        plural: "prioritylevelconfigurations",
        namespaced: false,
        object: json!({"spec": {
            "type": "Limited", "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}},
        }}),
        status: status("E2E"),
    };
    level.check(&case).await;
}
