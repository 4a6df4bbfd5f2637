use super::*;

#[test]
fn conditions_say_what_remains_and_what_holds_it() {
    let rest = |resource: &str, objects: usize, finalizers: &[&str]| Rest {
        resource: resource.to_owned(),
        objects,
        finalizers: finalizers.iter().map(|finalizer| (*finalizer).to_owned()).collect(),
    };
    let told = |rests: &[Rest]| {
        let conditions = plan::conditions(rests, &[], Timestamp::UNIX_EPOCH);
        conditions.into_iter().map(|c| (c.status, c.message.unwrap_or_default())).collect::<Vec<_>>()
    };
    let rests = [rest("pods.", 2, &["a/x", "a/x"]), rest("deployments.apps", 1, &[]), rest("secrets.", 0, &[])];
    assert_eq!(
        told(&rests),
        [
            (
                "True".to_owned(),
                "Some resources are remaining: deployments.apps has 1 resource instances, pods. has 2 resource instances"
                    .to_owned()
            ),
            (
                "True".to_owned(),
                "Some content in the namespace has finalizers remaining: a/x in 2 resource instances".to_owned()
            ),
        ]
    );
    assert!(told(&[rest("pods.", 0, &[])]).iter().all(|(status, _)| status == "False"));
}

#[test]
fn conditions_keep_their_time_and_their_neighbours() {
    let first = plan::conditions(&[], &[], Timestamp::UNIX_EPOCH);
    let mut before = first.clone();
    before
        .insert(0, k8s_openapi::api::core::v1::NamespaceCondition { type_: "Other".to_owned(), ..Default::default() });
    assert_eq!(plan::conditions(&[], &before, Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(9)), before);
}
