//! Runtime classes: a pod names one that is there, and gets the overhead that it states.

use serde_json::Value;

/// Runs commands on the host. Nodes bring it along, so it needs no object.
const PROCESS: &str = "process";

/// The class that has to be looked up for a pod.
pub(crate) fn wanted(pod: &Value) -> Option<&str> {
    pod["spec"]["runtimeClassName"].as_str().filter(|name| !matches!(*name, "" | PROCESS))
}

/// `class` is the one that [`wanted`] names, if it is there.
pub(crate) fn admit(pod: &mut Value, class: Option<&Value>) -> Result<(), String> {
    let Some(name) = wanted(pod) else { return Ok(()) };
    let Some(class) = class else { return Err(format!("pod rejected: RuntimeClass {name:?} not found")) };
    let fixed = &class["overhead"]["podFixed"];
    let given = &pod["spec"]["overhead"];
    if !given.is_null() && given != fixed {
        return Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".to_owned());
    }
    if !fixed.is_null() {
        pod["spec"]["overhead"] = fixed.clone();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
