//! The table of kinds, indexed by what URLs say, with what is derived from a row once: its compiled schema and the
//! extra validators that the server was configured with.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use kapell_api::kind::Kind;
use kapell_api::problem::Problem;
use kapell_api::schema::Schema;
use serde_json::Value;

/// A check besides the row's own, e.g. that a Workflow's document compiles. Gets the whole object.
pub type Validator = Arc<dyn Fn(&Value) -> Vec<Problem> + Send + Sync>;

/// One row and what was derived from it.
pub(crate) struct Resource {
    pub(crate) kind: &'static Kind,
    pub(crate) validators: Vec<Validator>,
    schema: OnceLock<Schema>,
}

impl Resource {
    /// Compiled at first use: start-up does not pay for kinds that nobody touches.
    pub(crate) fn schema(&self) -> &Schema {
        self.schema.get_or_init(|| Schema::compile(&(self.kind.schema)()))
    }

    /// Whether this is `kind` of the core group: the engine treats Namespaces, Pods and Services specially.
    pub(crate) fn is_core(&self, kind: &str) -> bool {
        self.kind.group.is_empty() && self.kind.kind == kind
    }
}

/// All resources, in the order of the table.
pub(crate) struct Resources {
    rows: Vec<Resource>,
    by_path: HashMap<(&'static str, &'static str, &'static str), usize>,
}

impl Resources {
    pub(crate) fn new(
        kinds: impl IntoIterator<Item = &'static Kind>,
        validators: &[((String, String), Validator)],
    ) -> Self {
        let rows: Vec<Resource> = kinds
            .into_iter()
            .map(|kind| Resource {
                kind,
                validators: validators
                    .iter()
                    .filter(|((group, name), _)| group == kind.group && name == kind.kind)
                    .map(|(_, validator)| validator.clone())
                    .collect(),
                schema: OnceLock::new(),
            })
            .collect();
        let by_path =
            rows.iter().enumerate().map(|(i, r)| ((r.kind.group, r.kind.version, r.kind.plural), i)).collect();
        Self { rows, by_path }
    }

    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Resource> {
        self.by_path.get(&(group, version, plural)).map(|&at| &self.rows[at])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.rows.iter()
    }

    /// Group and version pairs in the order of the table, each once.
    pub(crate) fn group_versions(&self) -> Vec<(&'static str, &'static str)> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for resource in &self.rows {
            let pair = (resource.kind.group, resource.kind.version);
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
        pairs
    }
}
