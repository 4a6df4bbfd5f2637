//! Runtime classes: a pod names one that is there, and gets the overhead and the scheduling constraints that it states.

use serde_json::{Value, json};

use super::amounts;

/// Runs commands on the host. Nodes bring it along, so it needs no object.
const PROCESS: &str = "process";

/// The class that has to be looked up for a pod.
pub(crate) fn wanted(pod: &Value) -> Option<&str> {
    pod["spec"]["runtimeClassName"].as_str().filter(|name| !matches!(*name, "" | PROCESS))
}

/// `class` is the one that [`wanted`] names, if it is there.
pub(crate) fn admit(pod: &mut Value, class: Option<&Value>) -> Result<(), String> {
    if let (Some(name), None) = (wanted(pod), class) {
        return Err(format!("pod rejected: RuntimeClass {name:?} not found"));
    }
    let class = class.unwrap_or(&Value::Null);
    admit_overhead(pod, &class["overhead"])?;
    admit_node_selector(pod, &class["scheduling"]["nodeSelector"])?;
    admit_tolerations(pod, &class["scheduling"]["tolerations"]);
    Ok(())
}

/// What a class states is what its pods cost; none may say something else.
fn admit_overhead(pod: &mut Value, overhead: &Value) -> Result<(), String> {
    let given = &pod["spec"]["overhead"];
    let says_nothing = given.as_object().is_none_or(|given| given.is_empty());
    if overhead.is_null() {
        return match says_nothing {
            true => Ok(()),
            false => {
                Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead".to_owned())
            }
        };
    }
    let fixed = &overhead["podFixed"];
    if !says_nothing && amounts(given) != amounts(fixed) {
        return Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".to_owned());
    }
    if !fixed.is_null() {
        pod["spec"]["overhead"] = fixed.clone();
    }
    Ok(())
}

/// A pod goes where both it and its class want it to.
fn admit_node_selector(pod: &mut Value, selector: &Value) -> Result<(), String> {
    for (key, value) in selector.as_object().into_iter().flatten() {
        let given = &pod["spec"]["nodeSelector"][key];
        if !given.is_null() && given != value {
            let (theirs, own) = (value.as_str().unwrap_or_default(), given.as_str().unwrap_or_default());
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {theirs}; pod.spec.nodeSelector[{key}] = {own}"
            ));
        }
        pod["spec"]["nodeSelector"][key] = value.clone();
    }
    Ok(())
}

/// A pod tolerates what it or its class tolerates. As upstream, what another one covers is left out.
fn admit_tolerations(pod: &mut Value, tolerations: &Value) {
    let Some(theirs) = tolerations.as_array().filter(|list| !list.is_empty()) else { return };
    let own = pod["spec"]["tolerations"].as_array();
    let all: Vec<Value> = own.into_iter().flatten().chain(theirs).cloned().collect();
    let mut merged: Vec<Value> = Vec::new();
    for (index, one) in all.iter().enumerate() {
        let later = all[index + 1..].iter().filter(|other| *other != one);
        if !merged.iter().chain(later).any(|other| covers(other, one)) {
            merged.push(one.clone());
        }
    }
    pod["spec"]["tolerations"] = json!(merged);
}

/// Whether every taint that `one` tolerates is tolerated by `wide`, for as long.
fn covers(wide: &Value, one: &Value) -> bool {
    let text = |toleration: &Value, field: &str| toleration[field].as_str().unwrap_or_default().to_owned();
    let exists = |toleration: &Value| toleration["operator"] == "Exists";
    let any_key = text(wide, "key").is_empty() && exists(wide);
    let any_effect = text(wide, "effect").is_empty();
    let as_long = match (wide["tolerationSeconds"].as_i64(), one["tolerationSeconds"].as_i64()) {
        (Some(wide), one) => one.is_some_and(|one| one <= wide),
        (None, _) => true,
    };
    (any_key || text(wide, "key") == text(one, "key"))
        && (any_effect || text(wide, "effect") == text(one, "effect"))
        && (text(wide, "effect") != "NoExecute" || as_long)
        && (exists(wide) || (!exists(one) && text(wide, "value") == text(one, "value")))
}

#[cfg(test)]
mod tests;
