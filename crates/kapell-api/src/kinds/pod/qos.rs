//! The quality-of-service class: who is evicted first when a node runs short.

use serde_json::Value;

use crate::kinds::field::{at, items};
use crate::quantity::Quantity;

/// `Guaranteed` if every container's cpu and memory are limited to what they request, `BestEffort` if nothing is
/// requested at all, else `Burstable`. Missing requests count as equal to the limits, as defaulting makes them.
pub fn qos_class(pod: &Value) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for container in items(pod, "/spec/initContainers").iter().chain(items(pod, "/spec/containers")) {
        for resource in ["cpu", "memory"] {
            let limit = amount(at(container, "/resources/limits").get(resource));
            let request = amount(at(container, "/resources/requests").get(resource)).or(limit);
            any |= request.is_some();
            guaranteed &= limit.is_some() && limit == request;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// A positive amount; zero means no wish.
fn amount(value: Option<&Value>) -> Option<Quantity> {
    let parsed = match value? {
        Value::String(text) => Quantity::parse(text),
        Value::Number(number) => Quantity::parse(&number.to_string()),
        _ => return None,
    };
    parsed.ok().filter(|amount| !amount.is_zero())
}
