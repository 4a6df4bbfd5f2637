use super::*;

fn machine() -> Machine {
    Machine {
        name: "node".into(),
        host_ip: "127.0.0.1".into(),
        cpus: 2,
        memory: 4 << 30,
        cgroups: "v2".into(),
        info: NodeSystemInfo::default(),
    }
}

const PLENTY: Readings = Readings {
    memory_available: Some(1 << 30),
    disk: Some((50 << 30, 100 << 30)),
    inodes: Some((500, 1000)),
    tasks: Some((100, 32_768)),
};

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + 60 * minute).unwrap()
}

fn says(status: &NodeStatus) -> Vec<String> {
    status.conditions.iter().flatten().map(|condition| format!("{}={}", condition.type_, condition.status)).collect()
}

#[test]
fn pressure_is_measured() {
    let calm = ["MemoryPressure=False", "DiskPressure=False", "PIDPressure=False", "Ready=True"];
    for (readings, changed) in [
        (PLENTY, None),
        (Readings { memory_available: Some(99 << 20), ..PLENTY }, Some((0, "MemoryPressure=True"))),
        (Readings { disk: Some((900 << 20, 100 << 30)), ..PLENTY }, Some((1, "DiskPressure=True"))),
        (Readings { disk: Some((4 << 30, 100 << 30)), ..PLENTY }, None),
        (Readings { disk: Some((900 << 20, 10 << 30)), ..PLENTY }, None),
        (Readings { inodes: Some((9, 1000)), ..PLENTY }, Some((1, "DiskPressure=True"))),
        (Readings { inodes: None, ..PLENTY }, None),
        (Readings { tasks: Some((30_000, 32_768)), ..PLENTY }, Some((2, "PIDPressure=True"))),
    ] {
        let mut expected = calm.to_vec();
        if let Some((index, text)) = changed {
            expected[index] = text;
        }
        assert_eq!(says(&compute(&machine(), &readings, &NodeStatus::default(), at(0))), expected, "{readings:?}");
    }
    let silent = compute(&machine(), &Readings::default(), &NodeStatus::default(), at(0));
    assert_eq!(says(&silent), ["Ready=True"], "nothing is claimed that was not measured");
}

#[test]
fn a_status_is_written_when_it_says_something_new() {
    let compute = |readings: &Readings, old: &NodeStatus, minute| compute(&machine(), readings, old, at(minute));
    let first = compute(&PLENTY, &NodeStatus::default(), 0);
    assert!(is_due(&NodeStatus::default(), &first, at(0)));
    let again =
        |old: &NodeStatus, readings: &Readings, minute| is_due(old, &compute(readings, old, minute), at(minute));
    assert!(!again(&first, &PLENTY, 4));
    assert!(again(&first, &PLENTY, 5));
    assert!(again(&first, &Readings { memory_available: Some(0), ..PLENTY }, 1));

    // The node lifecycle controller has lost patience, for instance while the machine was asleep.
    let mut unknown = first.clone();
    for condition in unknown.conditions.iter_mut().flatten() {
        condition.status = "Unknown".to_owned();
        condition.reason = Some("NodeStatusUnknown".to_owned());
        condition.last_transition_time = Some(Time(at(1)));
    }
    assert!(again(&unknown, &PLENTY, 2));
    let back = compute(&PLENTY, &unknown, 2);
    let ready = back.conditions.iter().flatten().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("True", Some("AgentReady")));
    assert_eq!(ready.last_transition_time, Some(Time(at(2))));

    // What others have to say about the node stays, and is no reason to write.
    let mut visited = first.clone();
    let foreign = NodeCondition { type_: "Foreign".into(), status: "True".into(), ..NodeCondition::default() };
    visited.conditions.get_or_insert_default().insert(0, foreign.clone());
    assert!(!again(&visited, &PLENTY, 1));
    assert!(compute(&PLENTY, &visited, 1).conditions.unwrap().contains(&foreign));
}
