//! CronJobs: their row, defaults and validation.

use serde_json::Value;

use super::{schedule, validate};
use crate::kind::{Column, Kind, Subresource};
use crate::kinds::cells::{AGE, NAME, age, joined, label_selector, or_none};
use crate::kinds::field::{Field, at, fill, fill_text, items, part, text, truth};
use crate::kinds::meta::{self, Names};
use crate::kinds::pod::template;
use crate::kinds::{PLAIN, empty_status, keep_status, schema_of};
use crate::problem::Problem;

/// The names of its Jobs end in eleven more characters, and theirs have to fit a label.
const MAX_NAME: usize = 52;

pub(in crate::kinds) const CRON_JOB: Kind = Kind {
    group: "batch",
    kind: "CronJob",
    plural: "cronjobs",
    singular: "cronjob",
    short_names: &["cj"],
    categories: &["all"],
    subresources: &[Subresource::Status],
    columns: &[
        NAME,
        Column::new("Schedule", "string", "When it starts a job.", |job, _| text(job, "/spec/schedule").into()),
        Column::new("Timezone", "string", "The zone that the schedule is read in.", |job, _| {
            or_none(text(job, "/spec/timeZone"))
        }),
        Column::new("Suspend", "boolean", "Whether it rests.", |job, _| {
            if truth(job, "/spec/suspend") { "True".into() } else { "False".into() }
        }),
        Column::new("Active", "integer", "Jobs that are running.", |job, _| items(job, "/status/active").len().into()),
        Column::new("Last Schedule", "string", "Time since it last started one.", |job, now| {
            let last = at(job, "/status/lastScheduleTime");
            if last.is_null() { "<none>".into() } else { age(last, now).into() }
        }),
        AGE,
        Column::new("Containers", "string", "Names of the template's containers.", |job, _| {
            joined(containers(job).map(|container| text(container, "/name")))
        })
        .wide(),
        Column::new("Images", "string", "Images of the template's containers.", |job, _| {
            joined(containers(job).map(|container| text(container, "/image")).filter(|image| !image.is_empty()))
        })
        .wide(),
        Column::new("Selector", "string", "Selector of the pods.", |job, _| {
            label_selector(at(job, "/spec/jobTemplate/spec/selector"))
        })
        .wide(),
    ],
    schema: || schema_of("io.k8s.api.batch.v1.CronJob"),
    has_generation: true,
    prepare_create: empty_status,
    prepare_update: keep_status,
    default: default_cron_job,
    validate: validate_cron_job,
    warnings: |_| vec!["cron jobs are stored but start no jobs yet".to_owned()],
    ..PLAIN
};

fn containers(job: &Value) -> impl Iterator<Item = &Value> {
    items(job, "/spec/jobTemplate/spec/template/spec/containers").iter()
}

fn default_cron_job(job: &mut Value) {
    let Some(spec) = part(job, "spec") else { return };
    fill_text(spec, "concurrencyPolicy", "Allow");
    fill(spec, "suspend", false);
    fill(spec, "successfulJobsHistoryLimit", 3);
    fill(spec, "failedJobsHistoryLimit", 1);
    let job_spec = part(spec, "jobTemplate").and_then(|template| part(template, "spec"));
    if let Some(template) = job_spec.and_then(|spec| part(spec, "template")) {
        template::default_template(template);
    }
}

fn validate_cron_job(job: &Value) -> Vec<Problem> {
    let root = Field::root(job);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let metadata = root.field("metadata");
    let name = metadata.field("name");
    if name.text().len() > MAX_NAME {
        problems.push(name.invalid(&format!("must be no more than {MAX_NAME} characters")));
    }
    let spec = root.field("spec");
    let line = spec.field("schedule");
    if line.text().is_empty() {
        problems.push(line.required(""));
    } else if line.text().contains("TZ") {
        problems.push(line.invalid("cannot use TZ or CRON_TZ in schedule, use timeZone field instead"));
    } else if let Some(fault) = schedule::fault(line.text()) {
        problems.push(line.invalid(&fault));
    }
    check_zone(&spec.field("timeZone"), &mut problems);
    spec.field("concurrencyPolicy").one_of(&["Allow", "Forbid", "Replace"], &mut problems);
    for name in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        spec.field(name).not_negative(&mut problems);
    }
    let job_template = spec.field("jobTemplate");
    let job_spec = job_template.field("spec");
    if job_spec.field("manualSelector").truth() {
        problems.push(job_spec.field("manualSelector").not_supported(&["nil", "false"]));
    }
    validate::check_spec(&job_spec, &mut problems);
    problems
}

/// Whether the name looks like one of the zone database; which of them exist is known to whoever runs the schedule.
fn check_zone(zone: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    if !zone.is_set() {
        return;
    }
    let parts_are_fine = zone.text().split('/').all(|part| {
        !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'+'))
    });
    if zone.text().is_empty() {
        problems.push(zone.invalid("timeZone must be nil or non-empty string"));
    } else if zone.text().eq_ignore_ascii_case("local") {
        problems
            .push(zone.invalid("timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"));
    } else if !parts_are_fine {
        problems.push(zone.invalid("unknown time zone"));
    }
}
