//! What a namespace's rules make of a new object, between decoding and validation.
//!
//! In this order, each step a pure function over the object and the rules as they stand: the namespace must take new
//! content (`engine/create.rs`), a pod gets its account and, unless it is told not to, a volume with the account's token, the overhead of its runtime class, its priority, and the defaults of the namespace's LimitRanges; then
//! what it asks for is held against their bounds, and last against the ResourceQuotas, whose usage is written in the
//! transaction that creates the object. A refusal is 403 in upstream's words; reading and writing is the engine's.

pub(crate) mod limits;
pub(crate) mod priority;
pub(crate) mod quota;
pub(crate) mod runtime_class;
pub(crate) mod service_account;

use std::collections::BTreeMap;

use kapell_api::quantity::Quantity;
use serde_json::Value;

/// Amounts by resource name.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

/// Reads a `ResourceList`; what is no quantity is left out, since validation refuses it by name.
pub(crate) fn amounts(list: &Value) -> Amounts {
    let entries = list.as_object().into_iter().flatten();
    entries.filter_map(|(name, amount)| Some((name.clone(), quantity(amount)?))).collect()
}

/// A quantity as JSON has it: text, or a number.
pub(crate) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

pub(crate) fn add(total: &mut Amounts, more: Amounts) {
    for (name, amount) in more {
        let sum = total.get(&name).map_or(amount, |present| *present + amount);
        total.insert(name, sum);
    }
}

fn items<'a>(value: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    value[list].as_array().into_iter().flatten()
}

/// `requests` or `limits` of a pod: the sum of its containers, or what one of its init containers needs alone if that is
/// more; those that keep running beside the others (`restartPolicy: Always`) count like these. `overhead` comes on top.
pub(crate) fn pod_amounts(spec: &Value, list: &str) -> Amounts {
    let mut total = Amounts::new();
    for container in items(spec, "containers") {
        add(&mut total, amounts(&container["resources"][list]));
    }
    let (mut beside, mut highest) = (Amounts::new(), Amounts::new());
    for container in items(spec, "initContainers") {
        let own = amounts(&container["resources"][list]);
        let mut together = beside.clone();
        if container["restartPolicy"] == "Always" {
            add(&mut total, own.clone());
            add(&mut beside, own);
            together.clone_from(&beside);
        } else {
            add(&mut together, own);
        }
        for (name, amount) in together {
            let most = highest.get(&name).map_or(amount, |present| (*present).max(amount));
            highest.insert(name, most);
        }
    }
    for (name, amount) in highest {
        let most = total.get(&name).map_or(amount, |present| (*present).max(amount));
        total.insert(name, most);
    }
    for (name, amount) in amounts(&spec["overhead"]) {
        // A limit that is not there does not come to be by overhead.
        if list == "requests" || total.contains_key(&name) {
            add(&mut total, [(name, amount)].into());
        }
    }
    total
}
