//! What a namespace that is being deleted says about its rest.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NamespaceCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What is left of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    /// `pods.`, `deployments.apps`: plural and group.
    pub(super) resource: String,
    pub(super) objects: usize,
    /// Finalizers on them, with repetition.
    pub(super) finalizers: Vec<String>,
}

/// The two conditions on what remains, with upstream's reasons and messages.
pub(super) fn conditions(rests: &[Rest], before: &[NamespaceCondition], now: Timestamp) -> Vec<NamespaceCondition> {
    let mut rests: Vec<_> = rests.iter().filter(|rest| rest.objects > 0).collect();
    rests.sort_by(|a, b| a.resource.cmp(&b.resource));
    let content: Vec<_> =
        rests.iter().map(|rest| format!("{} has {} resource instances", rest.resource, rest.objects)).collect();
    let mut finalizers = std::collections::BTreeMap::new();
    for finalizer in rests.iter().flat_map(|rest| &rest.finalizers) {
        *finalizers.entry(finalizer.as_str()).or_insert(0) += 1;
    }
    let held: Vec<_> = finalizers.iter().map(|(name, count)| format!("{name} in {count} resource instances")).collect();
    let content = if content.is_empty() {
        ("False", "ContentRemoved", "All content successfully removed".to_owned())
    } else {
        ("True", "SomeResourcesRemain", format!("Some resources are remaining: {}", content.join(", ")))
    };
    let held = if held.is_empty() {
        ("False", "ContentHasNoFinalizers", "All content-preserving finalizers finished".to_owned())
    } else {
        let message = format!("Some content in the namespace has finalizers remaining: {}", held.join(", "));
        ("True", "SomeFinalizersRemain", message)
    };
    let ours = [("NamespaceContentRemaining", content), ("NamespaceFinalizersRemaining", held)];
    let others = before.iter().filter(|condition| ours.iter().all(|(type_, _)| *type_ != condition.type_)).cloned();
    let changed = ours.iter().map(|(type_, (status, reason, message))| {
        let since = before.iter().find(|condition| condition.type_ == *type_ && condition.status == *status);
        NamespaceCondition {
            type_: (*type_).to_owned(),
            status: (*status).to_owned(),
            reason: Some((*reason).to_owned()),
            message: Some(message.clone()),
            last_transition_time: since.and_then(|since| since.last_transition_time.clone()).or(Some(Time(now))),
        }
    });
    others.chain(changed).collect()
}
