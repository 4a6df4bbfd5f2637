//! Patches of every form, applied to objects: two JSON documents, one after the other. Merging twice is merging once.
#![no_main]

use std::sync::OnceLock;

use kapell_api::schema::Schema;
use kapell_api::{decode, kinds, patch};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8])| {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    let schema = SCHEMA.get_or_init(|| {
        let pod = kinds::find("", "v1", "pods").expect("pods are served");
        Schema::compile(&(pod.schema)())
    });
    let (Ok(object), Ok(change)) = (decode::from_json(input.0), decode::from_json(input.1)) else { return };
    let (object, change) = (object.value, change.value);
    let merged = patch::merge_patch(&object, &change);
    assert_eq!(patch::merge_patch(&merged, &change), merged);
    let _ = patch::json_patch(&object, &change);
    let _ = patch::strategic_merge(schema, &object, &change);
});
