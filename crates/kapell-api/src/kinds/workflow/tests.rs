use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::{Metadata, Resource};
use serde_json::json;

use crate::kinds::tests::{cells, check_problems, check_updates, row, sample, with};
use crate::workflow::{Workflow, WorkflowRun, WorkflowRunPhase};

#[test]
fn a_workflow_needs_its_head() {
    check_problems(
        "Workflow",
        &sample("Workflow"),
        &[
            (
                json!({ "spec": { "document": { "version": null, "dsl": 1.0 } } }),
                &[
                    "spec.document.dsl: Invalid value: 1.0: must be a string; quote it",
                    "spec.document.version: Required value",
                ],
            ),
            (
                json!({ "spec": { "document": null } }),
                &[
                    "spec.document: Required value: the spec is a Serverless Workflow document, which begins with `document`",
                ],
            ),
            (json!({ "spec": { "anything": { "else": [1] } } }), &[]),
        ],
    );
}

#[test]
fn of_a_run_what_operators_ask_for_changes() {
    let fixed = "spec: Forbidden: of a run's spec only `cancel`, `suspend`, `retry`, `skip` and `signals` may change; start another run instead";
    let too_early = "spec.retry: Forbidden: only a faulted or cancelled run can be retried, this one is Running";
    let run = with(&sample("WorkflowRun"), json!({ "status": { "phase": "Running" } }));
    check_problems(
        "WorkflowRun",
        &run,
        &[
            (json!({ "spec": { "workflow": "" } }), &["spec.workflow: Required value"]),
            (
                json!({ "spec": { "retry": { "number": 0 }, "skip": [{ "output": 1 }] } }),
                &["spec.retry.number: Invalid value: 0: must be 1 or more", "spec.skip[0].task: Required value"],
            ),
        ],
    );
    check_updates(
        "WorkflowRun",
        &run,
        &[
            (json!({ "spec": { "cancel": false } }), &[]),
            (json!({ "spec": { "cancel": true } }), &[]),
            (json!({ "spec": { "suspend": true } }), &[]),
            (json!({ "spec": { "skip": [{ "task": "a", "output": null }] } }), &[]),
            (json!({ "spec": { "retry": { "number": 1 } } }), &[too_early]),
            (json!({ "spec": { "input": { "amount": 4 } } }), &[fixed]),
            (json!({ "spec": { "input": null } }), &[fixed]),
            (json!({ "spec": { "workflow": "other", "cancel": true } }), &[fixed]),
            (json!({ "status": { "phase": "Completed" } }), &[]),
        ],
    );
}

#[test]
fn a_run_that_ended_unhappily_can_be_retried() {
    let asked = json!({ "cancel": true, "skip": [{ "task": "a" }], "retry": { "number": 2 } });
    let run = with(&sample("WorkflowRun"), json!({ "spec": asked, "status": { "phase": "Cancelled", "retried": 2 } }));
    check_updates(
        "WorkflowRun",
        &run,
        &[
            (json!({ "spec": { "cancel": false, "retry": { "number": 3, "from": "a" } } }), &[]),
            (json!({ "spec": { "skip": [{ "task": "a" }, { "task": "b" }] } }), &[]),
            (
                json!({ "spec": { "cancel": false } }),
                &["spec.cancel: Invalid value: false: a cancelled run goes on only by a retry (`spec.retry`)"],
            ),
            (
                json!({ "spec": { "retry": { "number": 3 } } }),
                &["spec.cancel: Invalid value: true: must be false, or the retried run is cancelled again"],
            ),
            (
                json!({ "spec": { "cancel": false, "retry": { "number": 2, "from": "a" } } }),
                &["spec.retry.number: Invalid value: 2: must be greater than 2, the number of the latest retry"],
            ),
            (json!({ "spec": { "skip": [{ "task": "b" }] } }), &["spec.skip: Forbidden: entries can only be added"]),
        ],
    );
}

#[test]
fn signals_are_only_added_and_only_to_runs_that_go_on() {
    let signal = |id: &str| json!({ "specversion": "1.0", "id": id, "source": "/x", "type": "approved" });
    let spec = json!({ "signals": [signal("1")] });
    let run = with(&sample("WorkflowRun"), json!({ "spec": spec, "status": { "phase": "Running" } }));
    let added = json!({ "spec": { "signals": [signal("1"), signal("2")] } });
    check_updates(
        "WorkflowRun",
        &run,
        &[
            (added.clone(), &[]),
            (json!({ "spec": { "signals": [signal("2")] } }), &["spec.signals: Forbidden: entries can only be added"]),
        ],
    );
    let nameless = json!({ "spec": { "signals": [signal("1"), { "type": "x", "id": "2", "specversion": "1.0" }] } });
    check_problems("WorkflowRun", &run, &[(nameless, &["spec.signals[1].source: Required value"])]);
    let ended = with(&run, json!({ "status": { "phase": "Completed" } }));
    check_updates("WorkflowRun", &ended, &[(added, &["spec.signals: Forbidden: the run has ended, it is Completed"])]);
}

#[test]
fn the_status_of_a_run_is_the_engines() {
    let claimed = with(&sample("WorkflowRun"), json!({ "status": { "phase": "Completed" } }));
    let mut created = claimed.clone();
    (row("WorkflowRun").prepare_create)(&mut created);
    let finalizers = json!({ "metadata": { "finalizers": ["kapell.dev/run"] } });
    assert_eq!(created, with(&sample("WorkflowRun"), finalizers));
    let again = created.clone();
    (row("WorkflowRun").prepare_create)(&mut created);
    assert_eq!(created, again, "it is added once");
    let mut updated = claimed.clone();
    (row("WorkflowRun").prepare_update)(&mut updated, &sample("WorkflowRun"));
    assert_eq!(updated, sample("WorkflowRun"));
}

#[test]
fn columns_tell_where_a_run_stands() {
    let created = json!({ "metadata": { "creationTimestamp": "2026-01-01T00:59:00Z" } });
    let pending = with(&sample("WorkflowRun"), created);
    assert_eq!(cells("WorkflowRun", &pending), ["web", "order", "Pending", "", "60s", "<none>"]);
    let running = json!({ "status": { "phase": "Running", "startTime": "2026-01-01T00:59:30Z" } });
    assert_eq!(cells("WorkflowRun", &with(&pending, running.clone()))[2..4], ["Running", "30s"]);
    let faulted = json!({ "status": {
        "phase": "Faulted",
        "completionTime": "2026-01-01T00:59:32Z",
        "error": { "type": "about:blank", "status": 402, "title": "declined", "detail": "balance is 3" },
    } });
    let shown = cells("WorkflowRun", &with(&with(&pending, running), faulted));
    assert_eq!(shown, ["web", "order", "Faulted", "2s", "60s", "balance is 3"]);
}

#[test]
fn typed_structs_read_and_write_the_objects() {
    let object = with(&sample("WorkflowRun"), json!({ "status": { "phase": "Cancelled", "compensation": "Done" } }));
    let run: WorkflowRun = serde_json::from_value(object.clone()).expect("a run");
    assert_eq!(run.metadata().name.as_deref(), Some("web"));
    assert!(run.status.as_ref().and_then(|status| status.phase).is_some_and(WorkflowRunPhase::is_final));
    assert_eq!(serde_json::to_value(&run).expect("JSON"), object);

    let workflow: Workflow = serde_json::from_value(sample("Workflow")).expect("a workflow");
    assert_eq!(serde_json::to_value(&workflow).expect("JSON"), sample("Workflow"));
    assert_eq!(<Workflow as Resource>::API_VERSION, row("Workflow").api_version());
    assert_eq!(<WorkflowRun as Resource>::URL_PATH_SEGMENT, row("WorkflowRun").plural);
    // A pod is no run.
    assert!(serde_json::from_value::<WorkflowRun>(sample("Pod")).is_err());
    assert!(serde_json::from_value::<Pod>(sample("WorkflowRun")).is_err());
}
