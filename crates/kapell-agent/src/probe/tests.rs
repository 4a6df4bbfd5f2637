use super::*;

fn series(kind: Kind, success_threshold: u32, failure_threshold: u32) -> Series {
    let second = Duration::from_secs(1);
    let numbers = Numbers {
        initial_delay: Duration::ZERO,
        period: second,
        timeout: second,
        success_threshold,
        failure_threshold,
    };
    Series::new(kind, numbers)
}

#[test]
fn quick_repeats_do_not_use_up_the_failure_threshold() {
    let mut series = series(Kind::Startup, 1, 3);
    let mut verdicts = Vec::new();
    for tick in 0..50 {
        let at = QUICK_RETRY * tick;
        let step = series.observe(false, at);
        assert_eq!(step.next, QUICK_RETRY);
        verdicts.extend(step.verdict.map(|verdict| (at, verdict)));
    }
    assert_eq!(verdicts, [(Duration::from_secs(2), false)], "as without the repeats: at 0, 1 and 2 periods");
}

#[test]
fn attempts_a_period_apart_count_however_long_each_takes() {
    let mut series = series(Kind::Liveness, 1, 3);
    // The first one took all of its timeout, the others failed at once.
    let verdicts = [900, 1900, 2000].map(|millis| series.observe(false, Duration::from_millis(millis)).verdict);
    assert_eq!(verdicts, [None, None, Some(false)]);
}

#[test]
fn readiness_is_noticed_quickly_and_lost_after_the_threshold() {
    let mut series = series(Kind::Readiness, 1, 2);
    let second = Duration::from_secs(1);
    assert_eq!(series.observe(false, Duration::ZERO), Step { verdict: None, counted: true, next: QUICK_RETRY });
    assert_eq!(series.observe(true, QUICK_RETRY), Step { verdict: Some(true), counted: false, next: second });
    assert_eq!(series.observe(false, 2 * second), Step { verdict: None, counted: true, next: second });
    assert_eq!(series.observe(false, 3 * second), Step { verdict: Some(false), counted: true, next: second });
    assert_eq!(series.observe(true, 4 * second).verdict, Some(true));
}

#[test]
fn success_threshold_counts_answers_in_a_row() {
    let mut series = series(Kind::Readiness, 2, 3);
    let verdicts: Vec<_> =
        [true, false, true, true].into_iter().map(|ok| series.observe(ok, Duration::ZERO).verdict).collect();
    assert_eq!(verdicts, [None, None, None, Some(true)]);
}

#[test]
fn liveness_is_never_hurried() {
    let step = series(Kind::Liveness, 1, 3).observe(false, Duration::ZERO);
    assert_eq!(step.next, Duration::from_secs(1));
}
