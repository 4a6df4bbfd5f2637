use serde_json::json;

use super::versions::V1;
use crate::kinds::tests::{cells, check_problems, defaulted, sample, with};

#[test]
fn without_a_metric_the_processor_counts() {
    let hpa = defaulted("HorizontalPodAutoscaler", sample("HorizontalPodAutoscaler"));
    assert_eq!(hpa["spec"]["minReplicas"], 1);
    assert_eq!(
        hpa["spec"]["metrics"][0]["resource"]["target"],
        json!({ "type": "Utilization", "averageUtilization": 80 })
    );
    assert!(hpa["spec"].get("behavior").is_none());
    let hpa = with(&sample("HorizontalPodAutoscaler"), json!({ "spec": { "behavior": { "scaleDown": {} } } }));
    let hpa = defaulted("HorizontalPodAutoscaler", hpa);
    assert_eq!(hpa["spec"]["behavior"]["scaleUp"]["policies"].as_array().unwrap().len(), 2);
    assert!(hpa["spec"]["behavior"]["scaleDown"].get("stabilizationWindowSeconds").is_none());
}

#[test]
fn what_nobody_measures_is_refused() {
    let metric = |metric| json!({ "spec": { "metrics": [metric] } });
    let target = json!({ "type": "Utilization", "averageUtilization": 50 });
    check_problems(
        "HorizontalPodAutoscaler",
        &sample("HorizontalPodAutoscaler"),
        &[
            (metric(json!({ "type": "Resource", "resource": { "name": "memory", "target": target } })), &[]),
            (
                metric(json!({ "type": "Resource", "resource": { "name": "disk", "target": target } })),
                &["spec.metrics[0].resource.name: Forbidden: not supported yet: cpu and memory are measured"],
            ),
            (
                metric(json!({ "type": "External" })),
                &[
                    "spec.metrics[0].type: Forbidden: not supported yet: only the metrics of pods are measured; use Resource with cpu or memory",
                ],
            ),
            (
                json!({ "spec": { "minReplicas": 11 } }),
                &["spec.maxReplicas: Invalid value: 10: must be greater than or equal to `minReplicas`"],
            ),
        ],
    );
}

#[test]
fn version_1_loses_nothing() {
    let view = V1.view.unwrap();
    let mut hpa = json!({
        "metadata": { "name": "web" },
        "spec": { "maxReplicas": 3, "targetCPUUtilizationPercentage": 50 },
    });
    (view.to_stored)(&mut hpa);
    assert_eq!(hpa["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
    let memory = json!({ "type": "Resource", "resource": { "name": "memory", "target": { "type": "AverageValue", "averageValue": "1Gi" } } });
    hpa["spec"]["metrics"].as_array_mut().unwrap().push(memory);
    hpa["spec"]["behavior"] = json!({ "scaleDown": { "selectPolicy": "Disabled" } });
    hpa["status"] = json!({ "currentReplicas": 2, "desiredReplicas": 2, "conditions": [{ "type": "AbleToScale" }] });
    let kept = hpa.clone();
    (view.from_stored)(&mut hpa);
    assert_eq!(hpa["spec"], json!({ "maxReplicas": 3, "targetCPUUtilizationPercentage": 50 }));
    assert_eq!(hpa["metadata"]["annotations"].as_object().unwrap().len(), 3);
    (view.to_stored)(&mut hpa);
    assert!(crate::kinds::field::same(&hpa, &kept), "{hpa}");
}

#[test]
fn columns_show_targets() {
    let hpa = with(
        &defaulted("HorizontalPodAutoscaler", sample("HorizontalPodAutoscaler")),
        json!({ "status": {
            "currentReplicas": 2,
            "currentMetrics": [{ "type": "Resource", "resource": { "name": "cpu", "current": { "averageUtilization": 12 } } }],
        } }),
    );
    assert_eq!(
        cells("HorizontalPodAutoscaler", &hpa),
        ["web", "Deployment/web", "cpu: 12%/80%", "1", "10", "2", "<unknown>"]
    );
    let unknown = defaulted("HorizontalPodAutoscaler", sample("HorizontalPodAutoscaler"));
    assert_eq!(cells("HorizontalPodAutoscaler", &unknown)[2], "cpu: <unknown>/80%");
}
