//! Priority: the class that a pod names, or the default of all classes, becomes a number that the scheduler compares.

use serde_json::{Value, json};

/// What a PriorityClass says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) name: String,
    pub(crate) value: i64,
    pub(crate) preemption_policy: String,
    pub(crate) global_default: bool,
}

impl Class {
    pub(crate) fn read(object: &Value) -> Self {
        let policy = object["preemptionPolicy"].as_str().unwrap_or("PreemptLowerPriority");
        Self {
            name: object["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            value: object["value"].as_i64().unwrap_or(0),
            preemption_policy: policy.to_owned(),
            global_default: object["globalDefault"] == true,
        }
    }
}

/// The classes that every server has, with upstream's values.
pub(crate) fn system_classes() -> [Value; 2] {
    let class = |name: &str, value: i64, description: &str| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "description": description,
        })
    };
    [
        class("system-cluster-critical", 2_000_000_000, "For pods that the whole cluster depends on."),
        class("system-node-critical", 2_000_001_000, "For pods that their node depends on."),
    ]
}

/// Of several global defaults (two may have been created at once) the lowest counts, as upstream.
pub(crate) fn global_default(classes: impl Iterator<Item = Class>) -> Option<Class> {
    classes.filter(|class| class.global_default).min_by(|a, b| (a.value, &a.name).cmp(&(b.value, &b.name)))
}

/// Gives a pod its priority. `class` is the class that it names, or the global default where it names none.
pub(crate) fn admit(pod: &mut Value, class: Option<Class>) -> Result<(), String> {
    let named = pod["spec"]["priorityClassName"].as_str().unwrap_or_default();
    if class.is_none() && !named.is_empty() {
        return Err(format!("no PriorityClass with name {named} was found"));
    }
    let class =
        class.unwrap_or_else(|| Class { preemption_policy: "PreemptLowerPriority".to_owned(), ..Class::default() });
    let spec = &pod["spec"];
    if let Some(given) = spec["priority"].as_i64().filter(|given| *given != class.value) {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed \
             {} from the given PriorityClass name",
            class.value
        ));
    }
    if let Some(given) = spec["preemptionPolicy"].as_str().filter(|given| *given != class.preemption_policy) {
        return Err(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller \
             computed {} from the given PriorityClass name",
            class.preemption_policy
        ));
    }
    let Some(spec) = pod["spec"].as_object_mut() else { return Ok(()) };
    if !class.name.is_empty() {
        spec.insert("priorityClassName".to_owned(), json!(class.name));
    }
    spec.insert("priority".to_owned(), json!(class.value));
    spec.insert("preemptionPolicy".to_owned(), json!(class.preemption_policy));
    Ok(())
}

#[cfg(test)]
mod tests;
