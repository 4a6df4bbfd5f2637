//! Jobs and CronJobs, as objects: running them is the scheduler's work.

mod cron_job;
mod default;
mod schedule;
mod validate;

use serde_json::Value;

pub(super) use cron_job::CRON_JOB;

use super::apps::{CONTAINERS, IMAGES, SELECTOR, warn_about_template};
use super::cells::{AGE, NAME, number, seconds};
use super::field::{at, int, is_set, items, text};
use super::{PLAIN, empty_status, keep_status, schema_of};
use crate::kind::{Column, Kind, Now, SelectableField, Subresource};
use crate::time;

pub(super) const JOB: Kind = Kind {
    group: "batch",
    kind: "Job",
    plural: "jobs",
    singular: "job",
    categories: &["all"],
    subresources: &[Subresource::Status],
    columns: &[
        NAME,
        Column::new("Status", "string", "How it stands.", |job, _| status(job).into()),
        Column::new("Completions", "string", "Pods that succeeded, of those that have to.", |job, _| {
            completions(job).into()
        }),
        Column::new("Duration", "string", "How long it took, or has taken so far.", |job, now| {
            duration(job, now).into()
        }),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    selectable_fields: &[SelectableField {
        path: "status.successful",
        value: |job| number(job, "/status/succeeded").to_string(),
    }],
    schema: || schema_of("io.k8s.api.batch.v1.Job"),
    has_generation: true,
    prepare_create: empty_status,
    prepare_update: keep_status,
    default: default::default_job,
    validate: validate::validate_job,
    validate_update: validate::validate_job_update,
    warnings: |job| {
        let mut warnings = warn_about_template(job);
        warnings.push("jobs are stored but not run yet".to_owned());
        warnings
    },
    ..PLAIN
};

fn status(job: &Value) -> &'static str {
    let holds = |type_: &str| {
        let mut conditions = items(job, "/status/conditions").iter();
        conditions.any(|condition| text(condition, "/type") == type_ && text(condition, "/status") == "True")
    };
    if holds("Complete") {
        "Complete"
    } else if holds("Failed") {
        "Failed"
    } else if is_set(job, "/metadata/deletionTimestamp") {
        "Terminating"
    } else if holds("Suspended") {
        "Suspended"
    } else if holds("FailureTarget") {
        "FailureTarget"
    } else if holds("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(job: &Value) -> String {
    let succeeded = number(job, "/status/succeeded");
    match (int(job, "/spec/completions"), int(job, "/spec/parallelism").unwrap_or_default()) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn duration(job: &Value, now: Now) -> String {
    let Some(start) = seconds(at(job, "/status/startTime")) else { return String::new() };
    let end = seconds(at(job, "/status/completionTime")).unwrap_or(now.0);
    time::human_duration(end - start)
}

#[cfg(test)]
mod tests;
