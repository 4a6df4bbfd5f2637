//! The shape of a row in the table of kinds.

use serde_json::Value;

use crate::problem::Problem;

/// What can follow an object's name in a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subresource {
    /// Replaces `status` only; the main endpoint in turn ignores `status`.
    Status,
    /// `autoscaling/v1 Scale` over the replica count.
    Scale(ScalePaths),
    /// `pods/binding`: sets `spec.nodeName` once.
    Binding,
    /// `namespaces/finalize`: replaces `spec.finalizers` only, which the main endpoint in turn ignores.
    Finalize,
    /// `certificatesigningrequests/approval`: replaces `status.conditions` only.
    Approval,
    /// `pods/ephemeralcontainers`: replaces `spec.ephemeralContainers` only, which nothing else may change.
    EphemeralContainers,
    /// `serviceaccounts/token`: issues a token for the account (`authentication.k8s.io/v1 TokenRequest`).
    Token,
    /// `pods/eviction`: deletes the pod if its disruption budgets allow (`policy/v1 Eviction`).
    Eviction,
    /// Answered by a handle that the server passes in (`pods/log`, `workflowruns/timeline`), not by the store.
    Connect(&'static str),
}

/// Where a scalable kind keeps what `Scale` shows, as JSON pointers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    pub spec_replicas: &'static str,
    pub status_replicas: &'static str,
    /// Points at a `LabelSelector` or at plain labels (shown in their string form).
    pub selector: &'static str,
}

/// A column of `kubectl get`, computed on the server.
#[derive(Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, `date`, … as in `TableColumnDefinition.type`.
    pub type_: &'static str,
    /// `name` for the first column, else empty.
    pub format: &'static str,
    pub description: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i32,
    pub cell: fn(&Value, Now) -> Value,
}

impl Column {
    /// A column that is always shown.
    pub const fn new(
        name: &'static str,
        type_: &'static str,
        description: &'static str,
        cell: fn(&Value, Now) -> Value,
    ) -> Self {
        Self { name, type_, format: "", description, priority: 0, cell }
    }

    /// The same column, shown with `-o wide` only.
    pub const fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }

    /// The same column, marked as the one that holds the object's name.
    pub const fn naming(mut self) -> Self {
        self.format = "name";
        self
    }
}

/// The time at which ages are computed, in seconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub struct Now(pub i64);

/// A field that lists and watches can select by, besides `metadata.name` and `metadata.namespace`.
#[derive(Clone, Copy)]
pub struct SelectableField {
    pub path: &'static str,
    pub value: fn(&Value) -> String,
}

/// One kind of object: everything that the generic engine needs to know about it.
///
/// Functions get the whole object (with `apiVersion`, `kind`, `metadata`). They are pure: time, names and addresses
/// come from the engine.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    /// What can be done with it, as discovery lists it. A review has `create` alone: it is answered, never stored.
    pub verbs: &'static [&'static str],
    pub subresources: &'static [Subresource],
    pub columns: &'static [Column],
    pub selectable_fields: &'static [SelectableField],
    /// The structural schema: JSON Schema as `schemars` writes it for this type, see [`schema_of`](crate::schema::schema_of).
    pub schema: fn() -> Value,
    /// Whether `metadata.generation` counts changes of everything outside `metadata` and `status`.
    pub has_generation: bool,
    /// Whether a PUT without `metadata.resourceVersion` is allowed.
    pub unconditional_update: bool,
    /// Drops what the creator may not set (e.g. `status`) before defaulting.
    pub prepare_create: fn(&mut Value),
    /// Carries over what a main-endpoint update may not change; `old` is the stored object.
    pub prepare_update: fn(new: &mut Value, old: &Value),
    /// Fills in Kubernetes' defaults; idempotent.
    pub default: fn(&mut Value),
    /// Everything wrong with the object as it stands (after defaulting).
    pub validate: fn(&Value) -> Vec<Problem>,
    /// Everything else that is wrong with the object as a new one.
    pub validate_create: fn(&Value) -> Vec<Problem>,
    /// Everything wrong with the change: immutable fields and forbidden transitions.
    pub validate_update: fn(new: &Value, old: &Value) -> Vec<Problem>,
    /// Fields that are accepted but that the runtime does not honour yet, one `Warning` header each.
    pub warnings: fn(&Value) -> Vec<String>,
    /// Set where objects are not kept in this form but in that of another row.
    pub view: Option<View>,
}

/// A version that is served beside the one in which objects are kept. Of its row only the names and the schema count: columns,
/// selectable fields, defaults, validation and warnings are those of the row that is kept, and see its form.
#[derive(Clone, Copy)]
pub struct View {
    /// Group and version of the row in whose form objects are kept.
    pub of: (&'static str, &'static str),
    /// From this version's form into the kept one, `apiVersion` apart. Also gets parts of objects (applied configurations).
    pub to_stored: fn(&mut Value),
    /// And back.
    pub from_stored: fn(&mut Value),
    /// For versions that Kubernetes has removed: the release without it.
    pub gone: Option<&'static str>,
}

/// The verbs of everything that is stored.
pub const ALL_VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

impl Kind {
    /// Whether its objects are kept; the others are questions, answered at once.
    pub fn is_stored(&self) -> bool {
        self.verbs.contains(&"get")
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }
}
