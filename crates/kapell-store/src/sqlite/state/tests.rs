use super::*;

fn change(revision: Revision, size: usize) -> Arc<Change> {
    let key = Bytes::from_static(b"a");
    let entry = |modified| Entry { key: key.clone(), value: vec![0; size].into(), created: 1, modified };
    Arc::new(Change {
        revision,
        key: key.clone(),
        entry: Some(Arc::new(entry(revision))),
        previous: (revision > 1).then(|| Arc::new(entry(revision - 1))),
    })
}

#[test]
fn the_ring_is_bounded_by_age_count_and_bytes() {
    let retention = Retention { min_age: Duration::from_secs(10), min_changes: 3, max_changes: 6, max_bytes: 1 << 20 };
    let start = Instant::now();
    // Seconds at which changes come, and the floor after the last of them.
    let cases: [(&[u64], Revision); 6] = [
        (&[0, 0, 0, 0, 0], 0),
        (&[0, 0, 0, 0, 0, 0, 0], 1),
        (&[0, 0, 0, 0, 10], 0),
        (&[0, 0, 0, 0, 11], 2),
        (&[0, 1, 2, 11, 12], 2),
        (&[0, 0, 100], 0),
    ];
    for (seconds, floor) in cases {
        let mut state = State::new(retention.clone());
        for (index, second) in seconds.iter().enumerate() {
            state.publish([change(index as Revision + 1, 1)], start + Duration::from_secs(*second));
        }
        assert_eq!(state.floor(), floor, "{seconds:?}");
        assert_eq!(state.changes_after(floor).unwrap().count(), seconds.len() - floor as usize);
    }
}

#[test]
fn large_values_shorten_the_ring() {
    let mut state = State::new(Retention { max_bytes: 10_000, ..Retention::default() });
    let now = Instant::now();
    for revision in 1..=100 {
        state.publish([change(revision, 2_000)], now);
    }
    assert_eq!(state.floor(), 96);
    assert!(state.ring_bytes <= 10_000);
    state.forget_before(100);
    assert_eq!((state.ring_bytes, state.floor()), (0, 100));
}
