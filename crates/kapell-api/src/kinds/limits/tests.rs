use serde_json::json;

use crate::kinds::tests::{cells, check_problems, check_updates, defaulted, sample, with};

#[test]
fn a_container_limit_fills_in_its_defaults() {
    let range = with(
        &sample("LimitRange"),
        json!({ "spec": { "limits": [
            { "type": "Container", "max": { "cpu": "2" }, "min": { "cpu": "100m", "memory": "64Mi" } },
            { "type": "Pod", "max": { "cpu": "4" } },
        ] } }),
    );
    let range = defaulted("LimitRange", range);
    assert_eq!(range["spec"]["limits"][0]["default"], json!({ "cpu": "2" }));
    assert_eq!(range["spec"]["limits"][0]["defaultRequest"], json!({ "cpu": "2", "memory": "64Mi" }));
    assert!(range["spec"]["limits"][1].get("default").is_none());
}

#[test]
fn limits_have_an_order() {
    let limit = |limit| json!({ "spec": { "limits": [limit] } });
    check_problems(
        "LimitRange",
        &sample("LimitRange"),
        &[
            (
                limit(
                    json!({ "type": "Container", "min": { "cpu": "2" }, "max": { "cpu": "2" }, "default": { "cpu": "2" } }),
                ),
                &[],
            ),
            (
                limit(json!({ "type": "Pod", "min": { "cpu": "3" }, "max": { "cpu": "2" } })),
                &["spec.limits[0].min[cpu]: Invalid value: \"3\": min value 3 is greater than max value 2"],
            ),
            (
                limit(json!({ "type": "Pod", "default": { "cpu": "3" } })),
                &["spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"],
            ),
            (
                limit(json!({ "type": "Node" })),
                &["spec.limits[0].type: Invalid value: \"Node\": must be a standard limit type or fully qualified"],
            ),
            (
                limit(json!({ "type": "Pod", "maxLimitRequestRatio": { "cpu": "500m" } })),
                &[
                    "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"500m\": ratio must be greater than or equal to 1",
                ],
            ),
        ],
    );
}

#[test]
fn quotas_are_about_known_resources() {
    let hard = |hard| json!({ "spec": { "hard": hard } });
    check_problems(
        "ResourceQuota",
        &sample("ResourceQuota"),
        &[
            (
                hard(json!({ "requests.cpu": "500m", "count/deployments.apps": "3", "requests.nvidia.com/gpu": "1" })),
                &[],
            ),
            (
                hard(json!({ "pets": "3" })),
                &["spec.hard[pets]: Invalid value: \"pets\": must be a standard resource for quota"],
            ),
            (hard(json!({ "pods": "500m" })), &["spec.hard[pods]: Invalid value: \"500m\": must be an integer"]),
            (
                json!({ "spec": { "scopes": ["BestEffort", "NotBestEffort"] } }),
                &["spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\"]: conflicting scopes"],
            ),
        ],
    );
    check_updates(
        "ResourceQuota",
        &sample("ResourceQuota"),
        &[(
            json!({ "spec": { "scopes": ["BestEffort"] } }),
            &["spec.scopes: Invalid value: [\"BestEffort\"]: field is immutable"],
        )],
    );
}

#[test]
fn columns_show_usage() {
    let quota = with(
        &sample("ResourceQuota"),
        json!({ "status": {
            "hard": { "requests.cpu": "2", "pods": "10", "limits.cpu": "4" },
            "used": { "pods": "3" },
        } }),
    );
    assert_eq!(
        cells("ResourceQuota", &quota),
        ["web", "pods: 3/10, requests.cpu: 0/2", "limits.cpu: 0/4", "<unknown>"]
    );
}
