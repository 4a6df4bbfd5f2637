//! HorizontalPodAutoscalers, kept as `autoscaling/v2`; older versions are views of it.

mod validate;
pub(super) mod versions;

use serde_json::{Value, json};

use super::cells::{AGE, NAME, number};
use super::field::{at, each, fill, fill_text, int, items, part, part_or_new, text};
use super::{PLAIN, keep_status, schema_of, zero_status};
use crate::kind::{Column, Kind, Subresource};

/// How many metrics a column shows before it counts the rest.
const SHOWN: usize = 2;

pub(super) const HORIZONTAL_POD_AUTOSCALER: Kind = Kind {
    group: "autoscaling",
    version: "v2",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short_names: &["hpa"],
    categories: &["all"],
    subresources: &[Subresource::Status],
    columns: &[
        NAME,
        Column::new("Reference", "string", "What it scales.", |hpa, _| {
            format!("{}/{}", text(hpa, "/spec/scaleTargetRef/kind"), text(hpa, "/spec/scaleTargetRef/name")).into()
        }),
        Column::new("Targets", "string", "What is measured, and what it should be.", |hpa, _| targets(hpa).into()),
        Column::new("MinPods", "string", "Fewest replicas.", |hpa, _| match int(hpa, "/spec/minReplicas") {
            Some(least) => least.to_string().into(),
            None => "<unset>".into(),
        }),
        Column::new("MaxPods", "integer", "Most replicas.", |hpa, _| number(hpa, "/spec/maxReplicas").into()),
        Column::new("Replicas", "integer", "Replicas that there are.", |hpa, _| {
            number(hpa, "/status/currentReplicas").into()
        }),
        AGE,
    ],
    schema: || schema_of("io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler"),
    prepare_create: |object| zero_status(object, &["desiredReplicas"]),
    prepare_update: keep_status,
    default: default_autoscaler,
    validate: validate::validate_autoscaler,
    ..PLAIN
};

/// `cpu: 12%/80%, memory: 20Mi/100Mi`.
fn targets(hpa: &Value) -> String {
    let metrics = items(hpa, "/spec/metrics");
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let mut shown: Vec<String> = metrics.iter().take(SHOWN).map(|metric| target(hpa, metric)).collect();
    if metrics.len() > SHOWN {
        let last = shown.pop().unwrap_or_default();
        shown.push(format!("{last} + {} more...", metrics.len() - SHOWN));
    }
    shown.join(", ")
}

fn target(hpa: &Value, metric: &Value) -> String {
    let type_ = text(metric, "/type");
    let (place, label) = match type_ {
        "Resource" => ("resource", format!("{}: ", text(metric, "/resource/name"))),
        "ContainerResource" => ("containerResource", format!("{}: ", text(metric, "/containerResource/name"))),
        "Pods" => ("pods", String::new()),
        "Object" => ("object", String::new()),
        "External" => ("external", String::new()),
        _ => return "<unknown type>".to_owned(),
    };
    let spec = metric.get(place).unwrap_or(&Value::Null);
    let name = |value: &Value| {
        let own = text(value, "/name");
        (if own.is_empty() { text(value, "/metric/name") } else { own }).to_owned()
    };
    let current = items(hpa, "/status/currentMetrics").iter().filter(|now| text(now, "/type") == type_);
    let current = current.filter_map(|now| now.get(place)).find(|now| name(now) == name(spec));
    let current = current.map_or(&Value::Null, |now| at(now, "/current"));
    let unknown = || "<unknown>".to_owned();
    if let Some(wanted) = int(spec, "/target/averageUtilization") {
        let now = int(current, "/averageUtilization").map_or_else(unknown, |now| format!("{now}%"));
        return format!("{label}{now}/{wanted}%");
    }
    let amount = |value: &Value, pointer: &str| match at(value, pointer) {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    if let Some(wanted) = amount(spec, "/target/averageValue") {
        let average = if matches!(type_, "Object" | "External") { " (avg)" } else { "" };
        return format!("{label}{}/{wanted}{average}", amount(current, "/averageValue").unwrap_or_else(unknown));
    }
    let wanted = amount(spec, "/target/value").unwrap_or_default();
    format!("{label}{}/{wanted}", amount(current, "/value").unwrap_or_else(unknown))
}

fn default_autoscaler(hpa: &mut Value) {
    let Some(spec) = part(hpa, "spec") else { return };
    fill(spec, "minReplicas", 1);
    if items(spec, "/metrics").is_empty() {
        // Upstream's only metric when none is named.
        spec["metrics"] = json!([{
            "type": "Resource",
            "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 80 } },
        }]);
    }
    for metric in each(spec, "metrics") {
        for place in ["resource", "containerResource", "pods", "object", "external"] {
            let Some(target) = part(metric, place).and_then(|metric| part(metric, "target")) else { continue };
            let type_ =
                ["averageUtilization", "averageValue", "value"].iter().find(|name| target.get(**name).is_some());
            match type_ {
                Some(&"averageUtilization") => fill_text(target, "type", "Utilization"),
                Some(&"averageValue") => fill_text(target, "type", "AverageValue"),
                Some(_) => fill_text(target, "type", "Value"),
                None => {}
            }
        }
    }
    let Some(behavior) = part(spec, "behavior") else { return };
    let percent = json!({ "type": "Percent", "value": 100, "periodSeconds": 15 });
    let pods = json!({ "type": "Pods", "value": 4, "periodSeconds": 15 });
    if let Some(up) = part_or_new(behavior, "scaleUp") {
        fill(up, "stabilizationWindowSeconds", 0);
        fill_text(up, "selectPolicy", "Max");
        fill(up, "policies", json!([pods, percent.clone()]));
    }
    if let Some(down) = part_or_new(behavior, "scaleDown") {
        fill_text(down, "selectPolicy", "Max");
        fill(down, "policies", json!([percent]));
    }
}

#[cfg(test)]
mod tests;
