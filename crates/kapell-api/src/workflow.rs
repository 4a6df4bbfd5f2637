//! Kapell's own kinds, `kapell.dev/v1alpha1`: a [`Workflow`] is a Serverless Workflow document kept as an object, a
//! [`WorkflowRun`] is one execution of it.
//!
//! The types implement `k8s_openapi`'s traits, so a `kube::Api` takes them as it takes any built-in kind. What a
//! document means is not known here; it stays free-form JSON.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::{ListableResource, Metadata, NamespaceResourceScope, Resource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The group of Kapell's own kinds.
pub const GROUP: &str = "kapell.dev";
/// Their version.
pub const VERSION: &str = "v1alpha1";
/// Both, as objects say it.
pub const API_VERSION: &str = "kapell.dev/v1alpha1";

/// The finalizer that every [`WorkflowRun`] has until it ends: a run that is deleted before is cancelled first. Its journal
/// goes after it.
pub const RUN_FINALIZER: &str = "kapell.dev/run";

/// The label of a run that a schedule has started: the name of its Workflow.
pub const SCHEDULE_LABEL: &str = "kapell.dev/schedule";

/// Always `kapell.dev/v1alpha1`; decoding anything else fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    #[default]
    #[serde(rename = "kapell.dev/v1alpha1")]
    V1Alpha1,
}

/// Always `Workflow`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WorkflowKind {
    #[default]
    Workflow,
}

/// Always `WorkflowRun`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WorkflowRunKind {
    #[default]
    WorkflowRun,
}

/// A workflow definition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "dev.kapell.v1alpha1.Workflow")]
pub struct Workflow {
    /// Version of this representation.
    #[serde(default)]
    #[schemars(with = "String")]
    pub api_version: ApiVersion,
    /// Kind of this object.
    #[serde(default)]
    #[schemars(with = "String")]
    pub kind: WorkflowKind,
    /// Standard object's metadata.
    #[serde(default)]
    #[schemars(schema_with = "crate::schema::object_meta")]
    pub metadata: ObjectMeta,
    /// The Serverless Workflow document: `document`, `do`, and whatever else the DSL has.
    #[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
    pub spec: Map<String, Value>,
    /// What became of its schedule; written by the workflow engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<WorkflowStatus>,
}

/// What became of a workflow's schedule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "dev.kapell.v1alpha1.WorkflowStatus")]
pub struct WorkflowStatus {
    /// Only of a workflow that has a schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleStatus>,
}

/// How far a schedule has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "dev.kapell.v1alpha1.ScheduleStatus")]
pub struct ScheduleStatus {
    /// Hash of the schedule that this is about.
    #[serde(default)]
    pub definition: String,
    /// From when on it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::time")]
    pub since: Option<Time>,
    /// The latest due time that has been dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::time")]
    pub last_time: Option<Time>,
    /// The latest run that was started for a due time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<String>,
    /// The next due time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::time")]
    pub next_time: Option<Time>,
    /// Events before this position of the namespace's log have been dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
}

/// One execution of a workflow. Its name makes starting it idempotent; its journal is named by its UID.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "dev.kapell.v1alpha1.WorkflowRun")]
pub struct WorkflowRun {
    /// Version of this representation.
    #[serde(default)]
    #[schemars(with = "String")]
    pub api_version: ApiVersion,
    /// Kind of this object.
    #[serde(default)]
    #[schemars(with = "String")]
    pub kind: WorkflowRunKind,
    /// Standard object's metadata.
    #[serde(default)]
    #[schemars(schema_with = "crate::schema::object_meta")]
    pub metadata: ObjectMeta,
    /// What to run.
    pub spec: WorkflowRunSpec,
    /// What became of it; written by the workflow engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<WorkflowRunStatus>,
}

/// What to run, and what operators ask of it. `workflow` and `input` never change; see `kinds::workflow` for the rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "dev.kapell.v1alpha1.WorkflowRunSpec")]
pub struct WorkflowRunSpec {
    /// Name of a Workflow in the same namespace.
    pub workflow: String,
    /// The workflow's input: any JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
    pub input: Option<Value>,
    /// Ask for the run to end; completed steps are compensated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<bool>,
    /// No further task begins while this is true; what is under way is finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// Let a faulted or cancelled run go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<WorkflowRunRetry>,
    /// Outputs to take instead of what tasks do, in the order in which they were asked for. Entries are only added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<WorkflowRunSkip>,
    /// CloudEvents (as JSON) for this run alone, in the order in which they were sent. Entries are only added, at most
    /// [`MOST_SIGNALS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<Signal>")]
    pub signals: Vec<Value>,
}

/// How many signals one run takes: its object, which holds them, has to stay small.
pub const MOST_SIGNALS: usize = 1_000;

/// A CloudEvent in the JSON format; its attributes and data are free.
#[derive(JsonSchema)]
#[schemars(rename = "dev.kapell.v1alpha1.Signal", extend("x-kubernetes-preserve-unknown-fields" = true))]
struct Signal {}

/// A request to let an ended run go on from an earlier state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "dev.kapell.v1alpha1.WorkflowRunRetry")]
pub struct WorkflowRunRetry {
    /// Tells this request from former ones: from 1, and greater than `status.retried`.
    pub number: u32,
    /// The task to begin again: its JSON pointer, or its name where there is one of that name. Without it, the task
    /// that faulted, or the first of those that were compensated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The task's raw input instead of what it was: any JSON but `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
    pub input: Option<Value>,
}

/// An output to take instead of what a task does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "dev.kapell.v1alpha1.WorkflowRunSkip")]
pub struct WorkflowRunSkip {
    /// JSON pointer of the task, or its name where there is one of that name.
    pub task: String,
    /// What the task is to have produced; its `output.as` and `export.as` still apply. Any JSON.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
    pub output: Value,
}

/// What became of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "dev.kapell.v1alpha1.WorkflowRunStatus")]
pub struct WorkflowRunStatus {
    /// Where the run stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<WorkflowRunPhase>,
    /// When the first task began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::time")]
    pub start_time: Option<Time>,
    /// When the run had ended, compensations included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::time")]
    pub completion_time: Option<Time>,
    /// The workflow's output: any JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
    pub output: Option<Value>,
    /// Why the run faulted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<WorkflowError>,
    /// What the run waits for, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// Hash of the definition that the run started with, which it keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// How far the completed tasks were undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<Compensation>,
    /// Number of the latest retry that was begun or refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried: Option<u32>,
    /// How many entries of `spec.skip` have been taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<u32>,
    /// How many entries of `spec.signals` have been taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signalled: Option<u32>,
    /// Why the latest request of an operator was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What the workflow's `searchAttributes` made of the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
    pub search_attributes: Option<Map<String, Value>>,
}

/// Where a run stands. The last three are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "dev.kapell.v1alpha1.WorkflowRunPhase")]
pub enum WorkflowRunPhase {
    Pending,
    Running,
    Suspended,
    Completed,
    Faulted,
    Cancelled,
}

impl WorkflowRunPhase {
    /// Whether the run has ended.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Faulted | Self::Cancelled)
    }

    /// The wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Suspended => "Suspended",
            Self::Completed => "Completed",
            Self::Faulted => "Faulted",
            Self::Cancelled => "Cancelled",
        }
    }
}

/// How far the completed tasks of a run that did not complete were undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "dev.kapell.v1alpha1.Compensation")]
pub enum Compensation {
    None,
    Running,
    Done,
    Failed,
}

/// The error of the DSL: RFC 7807 problem details.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "dev.kapell.v1alpha1.WorkflowError")]
pub struct WorkflowError {
    /// URI of the kind of error.
    #[serde(rename = "type")]
    pub type_: String,
    /// As an HTTP status.
    pub status: i32,
    /// JSON pointer to the task that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The kind of error in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// This occurrence in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

macro_rules! namespaced_resource {
    ($type:ty, $kind:literal, $list:literal, $plural:literal) => {
        impl Resource for $type {
            const API_VERSION: &'static str = API_VERSION;
            const GROUP: &'static str = GROUP;
            const KIND: &'static str = $kind;
            const VERSION: &'static str = VERSION;
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = NamespaceResourceScope;
        }

        impl ListableResource for $type {
            const LIST_KIND: &'static str = $list;
        }

        impl Metadata for $type {
            type Ty = ObjectMeta;

            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

pub(crate) use namespaced_resource;

namespaced_resource!(Workflow, "Workflow", "WorkflowList", "workflows");
namespaced_resource!(WorkflowRun, "WorkflowRun", "WorkflowRunList", "workflowruns");
