use super::*;

#[test]
fn a_line_says_what_was_done_and_how_it_stands() {
    let waiting = Readiness::Waiting("1 of 2 replicas ready".to_owned());
    let failed = Readiness::Failed("too late".to_owned());
    let cases = [
        (Some(Applied::Created), News::State(&Readiness::Ready), "created, ready", true),
        (Some(Applied::Unchanged), News::State(&Readiness::Ready), "ready", true),
        (Some(Applied::Configured), News::State(&waiting), "configured, waits: 1 of 2 replicas ready", false),
        (None, News::Reason("for a node"), "waits: for a node", true),
        (None, News::State(&failed), "FAILED: too late", true),
    ];
    for (applied, news, expected, line) in cases {
        assert_eq!((words(applied, &news).as_str(), worth_a_line(&news)), (expected, line));
    }
}
