use kapell_api::kinds;

use super::*;
use crate::negotiate::MetaVersion;

fn format(shape: Shape, table: Option<(Rows, i64)>) -> Format {
    Format { served: kinds::find("", "v1", "configmaps").unwrap(), shape, table }
}

fn plain() -> Format {
    format(Shape::Object, None)
}

/// What is told, and how often it was encoded so far.
fn tell(events: &SharedEvents, revision: Revision, format: Format, told: Told, bytes: &str) -> (String, u64) {
    let told = events.event(revision, format, told, || Ok(bytes.as_bytes().to_vec())).unwrap();
    (String::from_utf8(told.to_vec()).unwrap(), events.counts().0)
}

#[test]
fn one_change_is_encoded_once_for_a_thousand_watchers() {
    let events = std::sync::Arc::new(SharedEvents::default());
    let watchers: Vec<_> = (0..8)
        .map(|_| {
            let events = events.clone();
            std::thread::spawn(move || {
                for revision in (1..=10).flat_map(|revision| std::iter::repeat_n(revision, 125)) {
                    let (told, _) = tell(&events, revision, plain(), Told::Added, &revision.to_string());
                    assert_eq!(told, revision.to_string());
                }
            })
        })
        .collect();
    watchers.into_iter().for_each(|watcher| watcher.join().unwrap());
    assert_eq!(events.counts(), (10, 10_000));
}

#[test]
fn what_differs_in_anything_is_another_event() {
    let events = SharedEvents::default();
    let table = |rows: Rows, second: i64| format(Shape::Table(MetaVersion::V1), Some((rows, second)));
    let view = Format { served: kinds::find("", "v1", "secrets").unwrap(), ..plain() };
    let asked = [
        (plain(), Told::Added),
        (plain(), Told::Modified),
        (plain(), Told::Deleted),
        (format(Shape::Metadata(MetaVersion::V1), None), Told::Added),
        (format(Shape::Metadata(MetaVersion::V1Beta1), None), Told::Added),
        (view, Told::Added),
    ];
    for round in 0..2 {
        for (number, (format, told)) in asked.into_iter().enumerate() {
            let (bytes, encoded) = tell(&events, 7, format, told, &number.to_string());
            assert_eq!(bytes, number.to_string(), "{round}");
            assert_eq!(encoded, if round == 0 { number as u64 + 1 } else { 6 });
        }
    }
    for (rows, second, bytes) in [
        (Rows::Cells, 1, "a"),
        (Rows::Metadata, 1, "b"),
        (Rows::Objects, 1, "c"),
        (Rows::Cells, 2, "ages are computed anew"),
    ] {
        assert_eq!(tell(&events, 8, table(rows, second), Told::Added, bytes).0, bytes);
    }
}

#[test]
fn only_the_latest_and_small_ones_are_kept() {
    let events = SharedEvents::default();
    let next = 7 + CHANGES as u64;
    assert_eq!(tell(&events, 7, plain(), Told::Added, "old"), ("old".to_owned(), 1));
    assert_eq!(tell(&events, next, plain(), Told::Added, "new"), ("new".to_owned(), 2));
    assert_eq!(tell(&events, 7, plain(), Told::Added, "late"), ("late".to_owned(), 3), "a late watcher makes his own");
    assert_eq!(tell(&events, next, plain(), Told::Added, "again"), ("new".to_owned(), 3), "and drives nobody out");

    let large = "x".repeat(LARGEST + 1);
    for encoded in [4, 5] {
        assert_eq!(tell(&events, 9, plain(), Told::Added, &large).1, encoded);
    }
}

#[test]
fn what_cannot_be_encoded_is_not_kept() {
    let events = SharedEvents::default();
    events.event(7, plain(), Told::Added, || Err(Status::internal("no JSON".to_owned()))).unwrap_err();
    assert_eq!(tell(&events, 7, plain(), Told::Added, "fine"), ("fine".to_owned(), 2));
}
