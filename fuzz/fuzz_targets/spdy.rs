//! SPDY of port-forwards: the same frames, and the same end, however the bytes are cut into pieces.
#![no_main]

use kapell_apiserver::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&piece, bytes)) = bytes.split_first() else { return };
    assert_eq!(fuzzing::spdy(bytes, usize::from(piece)), fuzzing::spdy(bytes, bytes.len()));
});
