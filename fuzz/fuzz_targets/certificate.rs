//! Certificates of clients and requests for them: read or refused.
#![no_main]

use kapell_apiserver::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzzing::certificates(bytes));
