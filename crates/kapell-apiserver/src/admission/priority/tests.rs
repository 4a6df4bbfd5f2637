use super::*;

#[test]
fn a_pod_takes_the_priority_of_its_class() {
    let class = |global_default| Class {
        name: "high".to_owned(),
        value: 1000,
        preemption_policy: "Never".to_owned(),
        global_default,
    };
    let ranked = json!({"priorityClassName": "high", "priority": 1000, "preemptionPolicy": "Never"});
    for (spec, class, expected) in [
        (json!({}), None, Ok(json!({"priority": 0, "preemptionPolicy": "PreemptLowerPriority"}))),
        (json!({}), Some(class(true)), Ok(ranked.clone())),
        (json!({"priorityClassName": "high"}), Some(class(false)), Ok(ranked.clone())),
        (ranked.clone(), Some(class(false)), Ok(ranked)),
        (json!({"priorityClassName": "high"}), None, Err("no PriorityClass with name high was found")),
        (json!({"priority": 5}), None, Err("the integer value of priority (5) must not be provided")),
        (
            json!({"priorityClassName": "high", "preemptionPolicy": "PreemptLowerPriority"}),
            Some(class(false)),
            Err("the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided"),
        ),
    ] {
        let mut pod = json!({"spec": spec});
        match (admit(&mut pod, class), expected) {
            (Ok(()), Ok(expected)) => assert_eq!(pod["spec"], expected),
            (Err(why), Err(expected)) => assert!(why.starts_with(expected), "{why}"),
            (got, expected) => panic!("{spec}: {got:?} instead of {expected:?}"),
        }
    }
}
