//! ResourceQuotas: what the objects of a namespace use together, and whether one more fits.
//!
//! An object's usage is a pure function of it, so a change charges the difference between what stands there after and
//! before. The engine writes the sum with the object, in one transaction: what `status.used` says is true at every
//! revision, however many write at once.

use std::collections::BTreeSet;

use kapell_api::kind::Kind;
use kapell_api::quantity::Quantity;
use serde_json::{Map, Value, json};

use super::{Amounts, add, amounts, items, pod_amounts, quantity};

/// Resources of pods that a quota may also name without `requests.`.
const PLAIN_NAMES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// Kinds of the core group that a quota may also name without `count/`.
const PLAIN_COUNTS: [&str; 7] =
    ["configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets", "services"];

fn one() -> Quantity {
    Quantity::from_value(1)
}

/// The name under which objects of a kind are counted: `count/deployments.apps`.
pub(crate) fn count_name(kind: &Kind) -> String {
    match kind.group {
        "" => format!("count/{}", kind.plural),
        group => format!("count/{}.{group}", kind.plural),
    }
}

/// Whether more than its existence counts of an object of this kind.
pub(crate) fn is_measured(kind: &Kind) -> bool {
    kind.group.is_empty() && matches!(kind.plural, "pods" | "services" | "persistentvolumeclaims")
}

/// What the mere existence of an object of a kind uses.
pub(crate) fn existence(kind: &Kind) -> Amounts {
    let mut usage = Amounts::from([(count_name(kind), one())]);
    if kind.group.is_empty() && PLAIN_COUNTS.contains(&kind.plural) {
        usage.insert(kind.plural.to_owned(), one());
    }
    usage
}

/// Everything that an object uses, by the names that quotas use.
pub(crate) fn usage(kind: &Kind, object: &Value) -> Amounts {
    let mut usage = existence(kind);
    if !is_measured(kind) {
        return usage;
    }
    match kind.plural {
        "pods" if has_ended(object) => drop(usage.remove("pods")),
        "pods" => {
            for (name, amount) in pod_amounts(&object["spec"], "requests") {
                if PLAIN_NAMES.contains(&name.as_str()) || name.starts_with("hugepages-") {
                    usage.insert(name.clone(), amount);
                }
                usage.insert(format!("requests.{name}"), amount);
            }
            for (name, amount) in pod_amounts(&object["spec"], "limits") {
                usage.insert(format!("limits.{name}"), amount);
            }
        }
        "services" => add(&mut usage, of_service(&object["spec"])),
        _ => {
            let spec = &object["spec"];
            if let Some(storage) = quantity(&spec["resources"]["requests"]["storage"]) {
                usage.insert("requests.storage".to_owned(), storage);
                if let Some(class) = spec["storageClassName"].as_str().filter(|class| !class.is_empty()) {
                    let prefix = format!("{class}.storageclass.storage.k8s.io");
                    usage.insert(format!("{prefix}/requests.storage"), storage);
                    usage.insert(format!("{prefix}/persistentvolumeclaims"), one());
                }
            }
        }
    }
    usage
}

/// A pod that has ended uses nothing but its place in the list.
fn has_ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

fn of_service(spec: &Value) -> Amounts {
    let ports = i64::try_from(items(spec, "ports").count()).unwrap_or(i64::MAX);
    let (node_ports, balancers) = match spec["type"].as_str() {
        Some("NodePort") => (ports, 0),
        Some("LoadBalancer") if spec["allocateLoadBalancerNodePorts"] == false => (0, 1),
        Some("LoadBalancer") => (ports, 1),
        _ => (0, 0),
    };
    Amounts::from([
        ("services.nodeports".to_owned(), Quantity::from_value(node_ports)),
        ("services.loadbalancers".to_owned(), Quantity::from_value(balancers)),
    ])
}

/// Whether a quota is about an object: one with scopes is about the pods that are in all of them.
pub(crate) fn matches(quota: &Value, kind: &Kind, object: &Value) -> bool {
    let spec = &quota["spec"];
    let plain = items(spec, "scopes").map(|scope| (scope.as_str().unwrap_or_default(), "Exists", &Value::Null));
    let selected = items(&spec["scopeSelector"], "matchExpressions").map(|expression| {
        let text = |field: &str| expression[field].as_str().unwrap_or_default();
        (text("scopeName"), text("operator"), &expression["values"])
    });
    let mut scopes = plain.chain(selected).peekable();
    let of_pods = kind.group.is_empty() && kind.plural == "pods";
    scopes.peek().is_none()
        || (of_pods
            && scopes.all(|(scope, operator, values)| is_in_scope(scope, operator, values, &object["spec"], object)))
}

fn is_in_scope(scope: &str, operator: &str, values: &Value, spec: &Value, pod: &Value) -> bool {
    let terminating = spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0);
    let best_effort = || {
        let asks = |list: &str| {
            pod_amounts(spec, list)
                .iter()
                .any(|(name, amount)| matches!(name.as_str(), "cpu" | "memory") && !amount.is_zero())
        };
        match pod["status"]["qosClass"].as_str() {
            Some(class) => class == "BestEffort",
            None => !asks("requests") && !asks("limits"),
        }
    };
    match scope {
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "PriorityClass" => {
            let class = spec["priorityClassName"].as_str().unwrap_or_default();
            let listed = values.as_array().is_some_and(|values| values.iter().any(|value| value == class));
            match operator {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => !class.is_empty(),
                _ => class.is_empty(),
            }
        }
        "CrossNamespacePodAffinity" => ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
            let affinity = &spec["affinity"][kind];
            let required = items(affinity, "requiredDuringSchedulingIgnoredDuringExecution");
            let preferred = items(affinity, "preferredDuringSchedulingIgnoredDuringExecution")
                .map(|preferred| &preferred["podAffinityTerm"]);
            required.chain(preferred).any(|term| {
                term["namespaceSelector"].is_object()
                    || term["namespaces"].as_array().is_some_and(|list| !list.is_empty())
            })
        }),
        _ => false,
    }
}

/// The resources of a pod that a quota counts and a container does not state: `cpu for: main; memory for: main,side`.
fn unstated(hard: &Amounts, kind: &Kind, object: &Value) -> Option<String> {
    if !(kind.group.is_empty() && kind.plural == "pods") {
        return None;
    }
    let spec = &object["spec"];
    let mut missing = Vec::new();
    for name in hard.keys() {
        let (list, resource) = match name.split_once('.') {
            Some(("limits", resource)) => ("limits", resource),
            Some(("requests", resource)) => ("requests", resource),
            _ => ("requests", name.as_str()),
        };
        // Only of these upstream demands that everybody says how much.
        if !matches!(resource, "cpu" | "memory") {
            continue;
        }
        let silent: BTreeSet<&str> = items(spec, "containers")
            .chain(items(spec, "initContainers"))
            .filter(|container| quantity(&container["resources"][list][resource]).is_none())
            .filter_map(|container| container["name"].as_str())
            .collect();
        if !silent.is_empty() {
            missing.push(format!("{name} for: {}", silent.into_iter().collect::<Vec<_>>().join(",")));
        }
    }
    (!missing.is_empty()).then(|| missing.join("; "))
}

/// What a change does to a quota.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The quota is not about it.
    Untouched,
    /// The quota's `status.used` becomes this.
    Charged(Map<String, Value>),
    Refused(String),
}

/// Charges the change from `old` to `new` (either may be absent) to a quota.
pub(crate) fn charge(quota: &Value, kind: &Kind, old: Option<&Value>, new: Option<&Value>) -> Verdict {
    let hard = amounts(&quota["status"]["hard"]);
    let of = |object: Option<&Value>| -> Amounts {
        let counted = object.filter(|object| matches(quota, kind, object)).map(|object| usage(kind, object));
        counted.unwrap_or_default().into_iter().filter(|(name, _)| hard.contains_key(name)).collect()
    };
    let (before, after) = (of(old), of(new));
    if before == after {
        return Verdict::Untouched;
    }
    let name = quota["metadata"]["name"].as_str().unwrap_or_default();
    if old.is_none()
        && let Some(object) = new
        && let Some(missing) = unstated(&hard, kind, object)
    {
        return Verdict::Refused(format!("failed quota: {name}: must specify {missing}"));
    }
    let used = amounts(&quota["status"]["used"]);
    let zero = Quantity::ZERO;
    let get = |amounts: &Amounts, name: &str| amounts.get(name).copied().unwrap_or(zero);
    let (mut total, mut exceeded) = (used.clone(), Vec::new());
    for (name, most) in &hard {
        let (was, is) = (get(&before, name), get(&after, name));
        if was == is {
            continue;
        }
        let sum = (get(&used, name) + is - was).max(zero);
        if is > was && sum > *most {
            exceeded.push((name, is - was, get(&used, name), *most));
        }
        total.insert(name.clone(), sum);
    }
    if exceeded.is_empty() {
        return Verdict::Charged(shown(&total, &hard));
    }
    let list = |pick: fn(&(&String, Quantity, Quantity, Quantity)) -> Quantity| {
        exceeded.iter().map(|entry| format!("{}={}", entry.0, pick(entry))).collect::<Vec<_>>().join(",")
    };
    Verdict::Refused(format!(
        "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
        list(|entry| entry.1),
        list(|entry| entry.2),
        list(|entry| entry.3)
    ))
}

/// `status.used`: an amount for everything that is limited, zero included.
pub(crate) fn shown(used: &Amounts, hard: &Amounts) -> Map<String, Value> {
    let amount = |name: &String| used.get(name).copied().unwrap_or(Quantity::ZERO);
    hard.keys().map(|name| (name.clone(), json!(amount(name).to_string()))).collect()
}

#[cfg(test)]
mod tests;
