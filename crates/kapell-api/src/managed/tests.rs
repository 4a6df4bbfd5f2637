use std::sync::LazyLock;

use serde_json::json;

use super::*;
use crate::schema::schema_of;

mod ownership;
mod properties;
mod sets;

static POD: LazyLock<Schema> = LazyLock::new(|| of("core", "Pod"));
static DEPLOYMENT: LazyLock<Schema> = LazyLock::new(|| of("apps", "Deployment"));
static SERVICE: LazyLock<Schema> = LazyLock::new(|| of("core", "Service"));
static CONFIG_MAP: LazyLock<Schema> = LazyLock::new(|| of("core", "ConfigMap"));
/// A kind of which nothing is known: what maps and lists are is deduced from the values.
static OPEN: LazyLock<Schema> = LazyLock::new(|| Schema::compile(&json!(true)));

fn of(group: &str, kind: &str) -> Schema {
    Schema::compile(&schema_of(&format!("io.k8s.api.{group}.v1.{kind}")))
}

/// One object through its life. Time passes by one second with each step.
struct Story {
    schema: &'static Schema,
    live: Value,
    owners: Owners,
    seconds: i64,
}

impl Story {
    fn new(schema: &'static Schema) -> Self {
        Self { schema, live: json!({}), owners: Owners::default(), seconds: 0 }
    }

    fn now(&mut self) -> String {
        self.seconds += 1;
        format!("2026-01-01T00:00:{:02}Z", self.seconds)
    }

    fn apply_with(&mut self, name: &str, force: bool, config: &Value) -> Result<(), ApplyError> {
        let now = self.now();
        let applier = Applier { name, api_version: "v1", subresource: "", force };
        let mut result = apply(self.schema, &self.live, config, &mut self.owners, applier, &now)?;
        self.schema.normalise(&mut result);
        self.live = result;
        Ok(())
    }

    #[track_caller]
    fn apply(mut self, name: &str, config: Value) -> Self {
        self.apply_with(name, false, &config).unwrap();
        self
    }

    #[track_caller]
    fn force(mut self, name: &str, config: Value) -> Self {
        self.apply_with(name, true, &config).unwrap();
        self
    }

    /// The conflicts of an apply as `owner path`, sorted; the object must stay as it is.
    #[track_caller]
    fn conflicts(mut self, name: &str, config: Value, expected: &[&str]) -> Self {
        let before = (self.live.clone(), self.owners.clone());
        match self.apply_with(name, false, &config) {
            Err(ApplyError::Conflicts(conflicts)) => {
                let found: Vec<_> = conflicts.iter().map(|c| format!("{} {}", c.owner.name, c.path)).collect();
                assert_eq!(found, expected);
            }
            other => panic!("no conflict: {other:?}"),
        }
        assert_eq!((&self.live, &self.owners), (&before.0, &before.1));
        self
    }

    fn update(mut self, name: &str, new: Value) -> Self {
        let now = self.now();
        let old = if self.live == json!({}) { empty(self.schema) } else { self.live.clone() };
        update(self.schema, &old, &new, &mut self.owners, Owner::updater(name, "v1", ""), &now, &[]);
        self.live = new;
        self
    }

    #[track_caller]
    fn is(self, expected: Value) -> Self {
        assert_eq!(self.live, expected);
        self
    }

    /// What an applier owns (or else an updater), as FieldsV1; null for nothing.
    #[track_caller]
    fn owns(self, name: &str, expected: Value) -> Self {
        let owned = self.owners.iter().find(|(owner, _)| owner.name == name);
        assert_eq!(owned.map_or(Value::Null, |(_, owned)| owned.set.to_fields_v1()), expected, "of {name}");
        self
    }
}
