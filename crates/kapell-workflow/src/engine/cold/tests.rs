use super::*;

fn stream(number: u8) -> StreamId {
    StreamId([number; 16])
}

#[allow(clippy::disallowed_methods, reason = "a test that looks at what was sent")]
fn cold(places: usize, sleeping: u8) -> (Cold, mpsc::UnboundedReceiver<Command>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut cold = Cold::new(Places::new(places, sender));
    (0..sleeping).for_each(|number| cold.insert(stream(number)));
    (cold, receiver)
}

fn cancel() -> Option<Event> {
    Some(Event::Cancel { reason: "a test".to_owned() })
}

fn read(cold: &mut Cold) -> Vec<(StreamId, Place)> {
    std::iter::from_fn(|| cold.next()).collect()
}

#[test]
fn no_more_runs_are_in_memory_than_there_are_places() {
    let (mut cold, mut told) = cold(3, 100);
    (0..100).for_each(|number| cold.wake(stream(number), None));
    let mut order = Vec::new();
    let mut present = read(&mut cold);
    while !present.is_empty() {
        assert!(present.len() <= 3);
        assert!(told.try_recv().is_err(), "nothing to be told while all places are taken");
        for (stream, place) in present {
            assert!(cold.woken(stream).is_some_and(|events| events.is_empty()));
            order.push(stream);
            drop(place);
        }
        if order.len() < 100 {
            assert!(matches!(told.try_recv(), Ok(Command::Room)));
        }
        present = read(&mut cold);
    }
    assert_eq!(order, (0..100).map(stream).collect::<Vec<_>>(), "in the order in which they are due");
}

#[test]
fn a_partition_hears_of_free_places_once_for_many() {
    let (mut cold, mut told) = cold(TOGETHER * 2, 255);
    (0..255).for_each(|number| cold.wake(stream(number), None));
    let mut present = read(&mut cold);
    assert_eq!(present.len(), TOGETHER * 2);
    present.truncate(TOGETHER + 1);
    assert!(told.try_recv().is_err());
    present.truncate(TOGETHER);
    assert!(matches!(told.try_recv(), Ok(Command::Room)));
    present.clear();
    assert!(told.try_recv().is_err(), "it has not asked again");
}

#[test]
fn a_run_that_someone_wants_goes_before_those_that_are_due() {
    let (mut cold, _told) = cold(1, 9);
    (0..9).for_each(|number| cold.wake(stream(number), None));
    let first = cold.next().unwrap();
    cold.wake(stream(7), cancel());
    cold.wake(stream(7), cancel());
    cold.wake(stream(0), cancel());
    assert!(cold.next().is_none());
    assert_eq!(cold.woken(stream(0)).unwrap().len(), 1, "it was being read");
    drop(first);
    let (next, place) = cold.next().unwrap();
    assert_eq!(next, stream(7));
    assert_eq!(cold.woken(next).unwrap().len(), 2);
    drop(place);
    let rest: Vec<StreamId> = std::iter::from_fn(|| cold.next().map(|(stream, _)| stream)).collect();
    assert_eq!(rest, [1, 2, 3, 4, 5, 6, 8].map(stream), "each once");
}

#[test]
fn a_run_that_is_gone_takes_no_place() {
    let (mut cold, _told) = cold(1, 2);
    cold.wake(stream(0), None);
    cold.wake(stream(1), cancel());
    assert!(cold.forget(stream(0)) && cold.forget(stream(1)));
    assert!(cold.next().is_none());
    cold.wake(stream(0), cancel());
    assert!(cold.next().is_none(), "it does not sleep");
}
