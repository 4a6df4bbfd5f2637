//! JSON bodies: what is read can be written and read again, and is the same.
#![no_main]

use kapell_api::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(decoded) = decode::from_json(bytes) {
        let again = decode::from_json(decoded.value.to_string().as_bytes()).expect("what was written can be read");
        assert_eq!(again.value, decoded.value);
        assert!(again.duplicates.is_empty());
    }
});
