//! `continue` tokens: what is read prints as something that is read as the same.
#![no_main]

use kapell_api::page::Continue;
use libfuzzer_sys::fuzz_target;

/// Base64 hides the inside from the fuzzer, so the input is also taken for what is inside.
fn inside(json: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json)
}

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes).into_owned();
    for token in [text, inside(bytes)] {
        if let Ok(token) = Continue::parse(&token) {
            assert_eq!(Continue::parse(&token.to_string()), Ok(token));
        }
    }
});
