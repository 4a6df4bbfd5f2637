//! Bearer tokens: taken apart or refused, and what was taken apart can be put together again.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kapell_api::jwt::{self, Jwt};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fn take_apart(token: &str) {
    let Ok(jwt) = Jwt::parse(token) else { return };
    let again = jwt::compact(jwt.signed, &jwt.signature);
    assert_eq!(again, token);
    if let Ok(claims) = jwt.claims::<Value>() {
        let signed = jwt::unsigned(&jwt.header, &claims).expect("what was JSON is JSON");
        let again = jwt::compact(&signed, &jwt.signature);
        assert_eq!(Jwt::parse(&again).and_then(|jwt| jwt.claims::<Value>()), Ok(claims));
    }
}

fuzz_target!(|bytes: &[u8]| {
    take_apart(&String::from_utf8_lossy(bytes));
    // Base64 hides the inside from the fuzzer: parts divided by a zero are encoded for it.
    let parts: Vec<String> = bytes.split(|byte| *byte == 0).map(|part| URL_SAFE_NO_PAD.encode(part)).collect();
    take_apart(&parts.join("."));
});
