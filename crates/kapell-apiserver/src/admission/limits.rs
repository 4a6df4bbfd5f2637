//! LimitRanges: defaults for containers that say nothing, and bounds for everything that asks.

use kapell_api::quantity::Quantity;
use serde_json::{Map, Value, json};

use super::{Amounts, amounts, items, pod_amounts};

/// Where a pod says what was filled in.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

fn limits_of<'a>(ranges: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    ranges.iter().flat_map(|range| items(&range["spec"], "limits")).filter(move |limit| limit["type"] == kind)
}

/// Fills in what containers leave out, and notes it in the pod's annotations.
pub(crate) fn apply_defaults(pod: &mut Value, ranges: &[Value]) {
    let (mut requests, mut limits) = (Map::new(), Map::new());
    for limit in limits_of(ranges, "Container") {
        for (target, source) in [(&mut requests, "defaultRequest"), (&mut limits, "default")] {
            for (name, amount) in limit[source].as_object().into_iter().flatten() {
                target.entry(name.clone()).or_insert_with(|| amount.clone());
            }
        }
    }
    if requests.is_empty() && limits.is_empty() {
        return;
    }
    let mut notes = Vec::new();
    for list in ["containers", "initContainers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            let kind = if list == "containers" { "container" } else { "init container" };
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            for (part, defaults) in [("requests", &requests), ("limits", &limits)] {
                let set = fill(container, part, defaults);
                if !set.is_empty() {
                    let what = part.trim_end_matches('s');
                    notes.push(format!("{} {what} for {kind} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        if !pod["metadata"]["annotations"].is_object() {
            pod["metadata"]["annotations"] = json!({});
        }
        pod["metadata"]["annotations"][ANNOTATION] = json!(note);
    }
}

/// Adds defaults that are missing; returns their names.
fn fill(container: &mut Value, part: &str, defaults: &Map<String, Value>) -> Vec<String> {
    let missing: Vec<(&String, &Value)> =
        defaults.iter().filter(|(name, _)| container["resources"][part].get(name.as_str()).is_none()).collect();
    if missing.is_empty() || !(container["resources"].is_object() || container["resources"].is_null()) {
        return Vec::new();
    }
    for level in [&[][..], &[part]] {
        let place = level.iter().fold(&mut container["resources"], |place, key| &mut place[*key]);
        if place.is_null() {
            *place = json!({});
        }
    }
    let mut set = Vec::new();
    for (name, amount) in missing {
        container["resources"][part][name.as_str()] = amount.clone();
        set.push(name.clone());
    }
    set.sort();
    set
}

/// Sentences about everything that a pod asks for and may not.
pub(crate) fn pod_violations(pod: &Value, ranges: &[Value]) -> Vec<String> {
    let spec = &pod["spec"];
    let mut found = Vec::new();
    for limit in limits_of(ranges, "Container") {
        for container in items(spec, "containers").chain(items(spec, "initContainers")) {
            let resources = &container["resources"];
            check(limit, "Container", &amounts(&resources["requests"]), &amounts(&resources["limits"]), &mut found);
        }
    }
    for limit in limits_of(ranges, "Pod") {
        check(limit, "Pod", &pod_amounts(spec, "requests"), &pod_amounts(spec, "limits"), &mut found);
    }
    found
}

/// Sentences about the storage that a claim asks for and may not.
pub(crate) fn claim_violations(claim: &Value, ranges: &[Value]) -> Vec<String> {
    const TYPE: &str = "PersistentVolumeClaim";
    let requests = amounts(&claim["spec"]["resources"]["requests"]);
    let mut found = Vec::new();
    for limit in limits_of(ranges, TYPE) {
        let bounds = Bounds { of: TYPE, requests: &requests, limits: &Amounts::new() };
        found.extend(amounts(&limit["min"]).into_iter().filter_map(|(name, least)| bounds.minimum(&name, least)));
        found.extend(amounts(&limit["max"]).into_iter().filter_map(|(name, most)| {
            let request = requests.get(&name).filter(|request| **request > most)?;
            Some(format!("maximum {name} usage per {TYPE} is {most}, but request is {request}"))
        }));
    }
    found
}

fn check(limit: &Value, of: &str, requests: &Amounts, limits: &Amounts, found: &mut Vec<String>) {
    let bounds = Bounds { of, requests, limits };
    found.extend(amounts(&limit["min"]).into_iter().filter_map(|(name, least)| bounds.minimum(&name, least)));
    found.extend(amounts(&limit["max"]).into_iter().filter_map(|(name, most)| bounds.maximum(&name, most)));
    let ratios = amounts(&limit["maxLimitRequestRatio"]);
    found.extend(ratios.into_iter().filter_map(|(name, ratio)| bounds.ratio(&name, ratio)));
}

/// What something asks for, to be held against bounds.
struct Bounds<'a> {
    of: &'a str,
    requests: &'a Amounts,
    limits: &'a Amounts,
}

impl Bounds<'_> {
    fn minimum(&self, name: &str, least: Quantity) -> Option<String> {
        let begin = format!("minimum {name} usage per {} is {least}", self.of);
        match (self.requests.get(name), self.limits.get(name)) {
            (None, _) => Some(format!("{begin}.  No request is specified")),
            (Some(request), _) if *request < least => Some(format!("{begin}, but request is {request}")),
            (_, Some(limit)) if *limit < least => Some(format!("{begin}, but limit is {limit}")),
            _ => None,
        }
    }

    fn maximum(&self, name: &str, most: Quantity) -> Option<String> {
        let begin = format!("maximum {name} usage per {} is {most}", self.of);
        match (self.requests.get(name), self.limits.get(name)) {
            (_, None) => Some(format!("{begin}.  No limit is specified")),
            (_, Some(limit)) if *limit > most => Some(format!("{begin}, but limit is {limit}")),
            (Some(request), _) if *request > most => Some(format!("{begin}, but request is {request}")),
            _ => None,
        }
    }

    fn ratio(&self, name: &str, most: Quantity) -> Option<String> {
        let begin = format!("{name} max limit to request ratio per {} is {most}, but", self.of);
        let of = |amounts: &Amounts| amounts.get(name).filter(|amount| !amount.is_zero()).copied();
        let Some(request) = of(self.requests) else {
            return Some(format!("{begin} no request is specified or request is 0"));
        };
        let Some(limit) = of(self.limits) else {
            return Some(format!("{begin} no limit is specified or limit is 0"));
        };
        // In thousandths, so that fractions of a core count.
        let ratio = limit.milli() as f64 / request.milli().max(1) as f64;
        (ratio > most.milli() as f64 / 1000.0).then(|| format!("{begin} provided ratio is {ratio:.6}"))
    }
}

#[cfg(test)]
mod tests;
