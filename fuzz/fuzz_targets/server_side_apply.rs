//! Server-side apply: two managers apply what they like to an object, one after the other, with and without force. Nothing
//! panics, an apply that is repeated changes nothing, and what was noted of owners can be written and read again.
#![no_main]

use std::sync::OnceLock;

use kapell_api::managed::{self, Applier, Owners};
use kapell_api::schema::Schema;
use kapell_api::{decode, kinds};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fn schemas() -> &'static [Schema; 2] {
    static SCHEMAS: OnceLock<[Schema; 2]> = OnceLock::new();
    SCHEMAS.get_or_init(|| {
        let of = |group: &str, version: &str, plural: &str| {
            Schema::compile(&(kinds::find(group, version, plural).expect("it is served").schema)())
        };
        [of("", "v1", "services"), of("apps", "v1", "deployments")]
    })
}

fuzz_target!(|input: (bool, u8, &[u8], &[u8])| {
    let (deployment, order, first, second) = input;
    let schema = &schemas()[usize::from(deployment)];
    let config = |bytes: &[u8]| {
        let config = decode::from_json(bytes).ok()?.value;
        // As the API server: what the schema does not declare never reaches the merge.
        let findings = schema.check(&config);
        if !findings.problems.is_empty() || !findings.unknown.is_empty() {
            return None;
        }
        config.is_object().then_some(config)
    };
    let (Some(first), Some(second)) = (config(first), config(second)) else { return };
    let mut live = managed::empty(schema);
    let mut owners = Owners::default();
    for step in 0..4 {
        let (name, config) = if order >> step & 1 == 0 { ("a", &first) } else { ("b", &second) };
        let force = order >> (4 + step) & 1 == 1;
        let applier = Applier { name, api_version: "v1", subresource: "", force };
        let apply = |live: &Value, owners: &mut Owners, force: bool| {
            managed::apply(schema, live, config, owners, Applier { force, ..applier }, "2026-01-01T00:00:00Z")
        };
        let Ok(mut result) = apply(&live, &mut owners, force) else { continue };
        schema.normalise(&mut result);
        let mut again_owners = owners.clone();
        let again = apply(&result, &mut again_owners, false);
        let mut again = again.expect("who has just applied is in conflict with nobody");
        schema.normalise(&mut again);
        assert_eq!(again, result);
        assert_eq!(again_owners, owners);
        assert_eq!(Owners::from_managed_fields(&owners.to_managed_fields()).as_ref(), Ok(&owners));
        live = result;
    }
});
