use serde_json::json;

use super::schedule;
use crate::kinds::tests::{cells, check_problems, check_updates, defaulted, sample, with};

#[test]
fn a_job_owns_its_pods_by_uid() {
    let job = with(&sample("Job"), json!({ "metadata": { "uid": "u1" } }));
    let job = defaulted("Job", job);
    assert_eq!(job["spec"]["selector"], json!({ "matchLabels": { "batch.kubernetes.io/controller-uid": "u1" } }));
    let labels = &job["spec"]["template"]["metadata"]["labels"];
    assert_eq!((&labels["job-name"], &labels["controller-uid"]), (&json!("web"), &json!("u1")));
    let figures = ["completions", "parallelism", "backoffLimit"].map(|name| job["spec"][name].as_i64());
    assert_eq!(figures, [Some(1), Some(1), Some(6)]);
    let queue = defaulted("Job", with(&sample("Job"), json!({ "spec": { "parallelism": 3 } })));
    assert!(queue["spec"].get("completions").is_none(), "a work queue has no completions");
}

#[test]
fn jobs_end_and_so_do_their_pods() {
    let template = |spec| json!({ "spec": { "template": { "spec": spec } } });
    check_problems(
        "Job",
        &sample("Job"),
        &[
            (
                template(json!({ "restartPolicy": null })),
                &[
                    "spec.template.spec.restartPolicy: Unsupported value: \"Always\": supported values: \"OnFailure\", \"Never\"",
                ],
            ),
            (json!({ "spec": { "completionMode": "Indexed" } }), &[]),
            (
                json!({ "spec": { "completionMode": "Indexed", "parallelism": 2 } }),
                &["spec.completions: Required value: when completion mode is Indexed"],
            ),
            (
                json!({ "spec": { "backoffLimitPerIndex": 1 } }),
                &["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"],
            ),
        ],
    );
    check_updates(
        "Job",
        &sample("Job"),
        &[
            (json!({ "spec": { "parallelism": 5, "suspend": true } }), &[]),
            (json!({ "spec": { "completions": 5 } }), &["spec.completions: Invalid value: 5: field is immutable"]),
        ],
    );
}

#[test]
fn columns_tell_how_a_job_stands() {
    let job = with(
        &defaulted("Job", sample("Job")),
        json!({ "status": {
            "startTime": "2026-01-01T00:00:00Z",
            "completionTime": "2026-01-01T00:00:42Z",
            "succeeded": 1,
            "conditions": [{ "type": "Complete", "status": "True" }],
        } }),
    );
    assert_eq!(cells("Job", &job)[..4], ["web", "Complete", "1/1", "42s"]);
    assert_eq!(cells("Job", &sample("Job"))[..4], ["web", "Running", "0/1", ""]);
    let cron = defaulted("CronJob", sample("CronJob"));
    assert_eq!(cells("CronJob", &cron)[..6], ["web", "*/5 * * * *", "<none>", "False", "0", "<none>"]);
}

#[test]
fn schedules_have_five_fields_or_a_name() {
    for right in ["* * * * *", "*/15 0-6,20 1 jan-mar MON", "@hourly", "0 0 ? * *", "@every 1h30m", "59 23 31 12 6"] {
        assert_eq!(schedule::fault(right), None, "{right}");
    }
    for wrong in [
        "",
        "* * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "5-1 * * * *",
        "*/0 * * * *",
        "@noon",
        "* * * * 8",
        "@every x",
    ] {
        assert!(schedule::fault(wrong).is_some(), "{wrong}");
    }
}
