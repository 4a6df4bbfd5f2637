//! YAML bodies and files: any number of documents, and what is JSON is read as the same by both decoders.
#![no_main]

use kapell_api::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = decode::documents(bytes);
    if let Ok(decoded) = decode::from_yaml(bytes) {
        let text = decoded.value.to_string();
        assert!(decode::from_json(text.as_bytes()).is_ok() || text.len() > decode::MAX_BODY_BYTES);
    }
});
