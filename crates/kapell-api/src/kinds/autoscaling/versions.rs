//! `autoscaling/v1`: one target for the processor's utilization; everything else of v2 travels in annotations, as
//! upstream's conversion has it.

use serde_json::{Map, Value, json};

use super::HORIZONTAL_POD_AUTOSCALER;
use crate::kind::{Kind, View};
use crate::kinds::field::{at, drop_key, int, items, part, part_or_new, text};
use crate::kinds::schema_of;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";

pub(in crate::kinds) const V1: Kind = Kind {
    version: "v1",
    schema: || schema_of("io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler"),
    view: Some(View { of: ("autoscaling", "v2"), to_stored, from_stored, gone: None }),
    ..HORIZONTAL_POD_AUTOSCALER
};

fn is_cpu_utilization(metric: &Value) -> bool {
    text(metric, "/type") == "Resource"
        && text(metric, "/resource/name") == "cpu"
        && ["/resource/target/averageUtilization", "/resource/current/averageUtilization"]
            .iter()
            .any(|pointer| int(metric, pointer).is_some())
}

fn take_annotation(hpa: &mut Value, key: &str) -> Option<Value> {
    let metadata = part(hpa, "metadata")?;
    let annotations = metadata.get_mut("annotations")?.as_object_mut()?;
    let taken = annotations.shift_remove(key)?;
    if annotations.is_empty() {
        drop_key(metadata, "annotations");
    }
    serde_json::from_str(taken.as_str()?).ok()
}

fn set_annotation(hpa: &mut Value, key: &str, value: &Value) {
    let annotations = part_or_new(hpa, "metadata").and_then(|metadata| part_or_new(metadata, "annotations"));
    if let Some(Value::Object(annotations)) = annotations {
        annotations.insert(key.to_owned(), value.to_string().into());
    }
}

fn to_stored(hpa: &mut Value) {
    let others = take_annotation(hpa, METRICS);
    let behavior = take_annotation(hpa, BEHAVIOR);
    let conditions = take_annotation(hpa, CONDITIONS);
    let current = take_annotation(hpa, CURRENT);
    if let Some(spec) = part(hpa, "spec") {
        let percent = int(spec, "/targetCPUUtilizationPercentage");
        drop_key(spec, "targetCPUUtilizationPercentage");
        let mut metrics: Vec<Value> = others.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
        if let Some(percent) = percent {
            metrics.insert(
                0,
                json!({
                    "type": "Resource",
                    "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": percent } },
                }),
            );
        }
        if !metrics.is_empty() {
            spec["metrics"] = metrics.into();
        }
        if let Some(behavior) = behavior {
            spec["behavior"] = behavior;
        }
    }
    if let Some(status) = part(hpa, "status") {
        let percent = int(status, "/currentCPUUtilizationPercentage");
        drop_key(status, "currentCPUUtilizationPercentage");
        let mut metrics: Vec<Value> = current.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
        if let Some(percent) = percent
            && !metrics.iter().any(is_cpu_utilization)
        {
            metrics.insert(
                0,
                json!({
                    "type": "Resource",
                    "resource": { "name": "cpu", "current": { "averageUtilization": percent } },
                }),
            );
        }
        if !metrics.is_empty() {
            status["currentMetrics"] = metrics.into();
        }
        if let Some(conditions) = conditions {
            status["conditions"] = conditions;
        }
    }
}

fn from_stored(hpa: &mut Value) {
    let mut annotations: Vec<(&str, Value)> = Vec::new();
    if let Some(spec) = part(hpa, "spec") {
        let metrics = items(spec, "/metrics").to_vec();
        let (cpu, others): (Vec<Value>, Vec<Value>) = metrics.into_iter().partition(is_cpu_utilization);
        drop_key(spec, "metrics");
        if let Some(percent) = cpu.first().and_then(|metric| int(metric, "/resource/target/averageUtilization")) {
            spec["targetCPUUtilizationPercentage"] = percent.into();
        }
        if !others.is_empty() {
            annotations.push((METRICS, others.into()));
        }
        let behavior = at(spec, "/behavior").clone();
        drop_key(spec, "behavior");
        if !behavior.is_null() {
            annotations.push((BEHAVIOR, behavior));
        }
    }
    if let Some(status) = part(hpa, "status") {
        let current = items(status, "/currentMetrics").to_vec();
        let cpu = current.iter().find(|metric| is_cpu_utilization(metric));
        if let Some(percent) = cpu.and_then(|metric| int(metric, "/resource/current/averageUtilization")) {
            status["currentCPUUtilizationPercentage"] = percent.into();
        }
        let conditions = at(status, "/conditions").clone();
        drop_key(status, "currentMetrics");
        drop_key(status, "conditions");
        if !current.is_empty() {
            annotations.push((CURRENT, current.into()));
        }
        if conditions.as_array().is_some_and(|list| !list.is_empty()) {
            annotations.push((CONDITIONS, conditions));
        }
        // Strict clients insist on both figures.
        if let Value::Object(status) = status {
            for name in ["currentReplicas", "desiredReplicas"] {
                status.entry(name).or_insert_with(|| 0.into());
            }
        }
    } else if let Value::Object(hpa) = hpa {
        let zeros = Map::from_iter(["currentReplicas", "desiredReplicas"].map(|name| (name.to_owned(), 0.into())));
        hpa.insert("status".to_owned(), Value::Object(zeros));
    }
    for (key, value) in annotations {
        set_annotation(hpa, key, &value);
    }
}
