use super::*;

fn stream(number: u8) -> StreamId {
    StreamId([number; 16])
}

#[test]
fn a_namespace_that_is_full_leaves_room_for_others() {
    let intake = Intake::new(8, 100);
    for number in 0..6 {
        assert_eq!(intake.admit("flood"), Ok(()));
        intake.seen(stream(number), "flood");
    }
    let full = Full::Waiting { waiting: 6, whose: "the namespace flood".to_owned() };
    assert_eq!(intake.admit("flood"), Err(full));
    assert_eq!(intake.admit("calm"), Ok(()));
    intake.seen(stream(6), "calm");
    intake.seen(stream(7), "calm");
    let full = Full::Waiting { waiting: 8, whose: "all namespaces together".to_owned() };
    assert_eq!(intake.admit("calm"), Err(full));
    intake.awake(stream(0), "flood");
    assert_eq!((intake.admit("flood"), intake.admit("calm")), (Ok(()), Ok(())), "one has begun");
}

#[test]
fn runs_count_until_they_end_but_not_while_they_sleep() {
    let intake = Intake::new(100, 1);
    let full = Full::Awake { awake: 1, whose: "the namespace n".to_owned() };
    intake.seen(stream(1), "n");
    intake.awake(stream(1), "n");
    // Its object is seen again with each change.
    intake.seen(stream(1), "n");
    assert_eq!(intake.admit("n"), Err(full.clone()));
    intake.asleep(stream(1));
    assert_eq!((intake.admit("n"), intake.awake_runs()), (Ok(()), 0));
    intake.awake(stream(1), "n");
    assert_eq!(intake.admit("n"), Err(full));
    intake.gone(stream(1));
    intake.gone(stream(1));
    assert_eq!((intake.admit("n"), intake.awake_runs()), (Ok(()), 0));
    assert!(intake.state.lock().namespaces.is_empty());
}

#[test]
fn a_run_that_slept_through_the_start_counts_when_it_wakes_up() {
    let intake = Intake::new(1, 1);
    intake.asleep(stream(1));
    intake.seen(stream(1), "n");
    assert_eq!(intake.admit("n"), Ok(()));
    intake.awake(stream(1), "n");
    assert!(intake.admit("n").is_err());
}

/// A crash between the journal of a retry and its status: the object says that the run has ended, and it has begun again.
#[test]
fn a_run_that_was_retried_counts_whatever_its_object_says() {
    let intake = Intake::new(1, 1);
    intake.awake(stream(1), "n");
    intake.said_to_have_ended(stream(1));
    assert_eq!(intake.awake_runs(), 1);
    intake.seen(stream(1), "n");
    intake.gone(stream(1));
    assert_eq!((intake.awake_runs(), intake.admit("n")), (0, Ok(())));
    intake.seen(stream(2), "n");
    intake.said_to_have_ended(stream(2));
    assert_eq!(intake.admit("n"), Ok(()), "it never began");
}
