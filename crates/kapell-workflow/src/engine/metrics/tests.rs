use super::*;
use crate::expression::Datum;

#[test]
fn the_page_has_every_family_once_and_its_histograms_add_up() {
    let metrics = Metrics::default();
    metrics.run_started();
    metrics.run_ended(&Outcome::Completed(Datum::Null), Duration::from_millis(4));
    metrics.run_ended(&Outcome::Cancelled(String::new()), Duration::from_secs(600));
    metrics.called(true, Duration::from_millis(1));
    metrics.called(false, Duration::from_millis(700));
    let page = metrics.text(&Depths { active: 3, waiting: 2, calls: 1, calls_waiting: 0 });
    let families: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let mut distinct = families.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(families.len(), distinct.len());
    for line in [
        "kapell_workflow_runs_started_total 1",
        "kapell_workflow_runs_ended_total{phase=\"Completed\"} 1",
        "kapell_workflow_runs_ended_total{phase=\"Faulted\"} 0",
        "kapell_workflow_runs{state=\"active\"} 3",
        "kapell_workflow_calls_total{outcome=\"unanswered\"} 1",
        "kapell_workflow_run_duration_seconds_bucket{le=\"0.005\"} 1",
        "kapell_workflow_run_duration_seconds_bucket{le=\"60\"} 1",
        "kapell_workflow_run_duration_seconds_bucket{le=\"+Inf\"} 2",
        "kapell_workflow_run_duration_seconds_count 2",
        "kapell_workflow_run_duration_seconds_sum 600.004",
        "kapell_workflow_call_duration_seconds_bucket{le=\"0.001\"} 1",
        "kapell_workflow_call_duration_seconds_bucket{le=\"2.5\"} 2",
    ] {
        assert!(page.lines().any(|other| other == line), "{line} in\n{page}");
    }
}
