use futures::FutureExt as _;

use super::*;

type Waiting = std::pin::Pin<Box<dyn Future<Output = Turn>>>;

/// Asks for a place and begins to wait for it.
fn ask(turns: &Arc<Turns>, namespace: &'static str) -> (Waiting, Option<Turn>) {
    let turns = turns.clone();
    let mut waiting: Waiting = Box::pin(async move { turns.take(namespace).await });
    let turn = (&mut waiting).now_or_never();
    (waiting, turn)
}

#[test]
fn a_namespace_leaves_places_to_the_others() {
    let turns = Turns::new(4);
    let held: Vec<Turn> = (0..3).map(|_| ask(&turns, "a").1.expect("there is room")).collect();
    let (mut fourth, refused) = ask(&turns, "a");
    assert!(refused.is_none(), "the last place is not for those who hold the rest");
    let other = ask(&turns, "b").1.expect("it is for others");
    drop(held);
    assert!((&mut fourth).now_or_never().is_some());
    drop(other);
    drop(fourth);
    assert!(turns.state.lock().namespaces.is_empty());
    assert_eq!(turns.state.lock().taken, 0);
}

#[test]
fn namespaces_take_turns() {
    let turns = Turns::new(1);
    let first = ask(&turns, "a").1.expect("there is room");
    let (mut a1, _) = ask(&turns, "a");
    let (mut a2, _) = ask(&turns, "a");
    let (mut b1, _) = ask(&turns, "b");
    drop(first);
    let turn = (&mut a1).now_or_never().expect("who asked first");
    drop(turn);
    assert!((&mut a2).now_or_never().is_none());
    let turn = (&mut b1).now_or_never().expect("b before the second of a");
    drop(turn);
    assert!((&mut a2).now_or_never().is_some());
}

#[test]
fn who_stops_waiting_keeps_nothing() {
    let turns = Turns::new(1);
    let first = ask(&turns, "a").1.expect("there is room");
    let (gone, _) = ask(&turns, "a");
    let (mut b, _) = ask(&turns, "b");
    drop(gone);
    drop(first);
    assert!((&mut b).now_or_never().is_some());
}
