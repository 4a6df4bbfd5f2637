//! Protobuf bodies: arbitrary bytes in the envelope of a kind that the first byte chooses, and arbitrary envelopes.
#![no_main]

use kapell_api::{kinds, protobuf};
use libfuzzer_sys::fuzz_target;

fn field(number: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | 2);
    let mut length = content.len();
    while length > 0x7f {
        out.push(length as u8 & 0x7f | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(content);
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, rest)) = bytes.split_first() else { return };
    let _ = protobuf::decode(&[b"k8s\0", rest].concat());
    let kind = &kinds::KINDS[usize::from(choice) % kinds::KINDS.len()];
    let (mut type_meta, mut body) = (Vec::new(), b"k8s\0".to_vec());
    field(1, kind.api_version().as_bytes(), &mut type_meta);
    field(2, kind.kind.as_bytes(), &mut type_meta);
    field(1, &type_meta, &mut body);
    field(2, rest, &mut body);
    let _ = protobuf::decode(&body);
});
