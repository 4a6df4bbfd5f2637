use super::*;

#[test]
fn the_dictionary_is_the_one_that_its_checksum_names() {
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in dictionary() {
        a = (a + u32::from(byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    assert_eq!(((b << 16) | a).to_be_bytes(), DICTIONARY_ID);
}

/// The first two header blocks of a connection, as Go's zlib compresses them at its best level with the dictionary
/// (`streamtype: error, port: 8080, requestid: 0`, then `streamtype: data` with the same).
#[test]
fn blocks_refer_to_the_dictionary_and_to_each_other() {
    // A stored block needs no compressor that knows dictionaries.
    let plain = |pairs: &[(&str, &str)]| {
        let mut block = (pairs.len() as u32).to_be_bytes().to_vec();
        for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
            block.extend_from_slice(&(text.len() as u32).to_be_bytes());
            block.extend_from_slice(text.as_bytes());
        }
        block
    };
    let stored = |block: &[u8]| {
        let length = block.len() as u16;
        let mut out = vec![0];
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
        out
    };
    let pairs = [("streamtype", "error"), ("port", "8080")];
    let mut first = vec![0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2];
    first.extend(stored(&plain(&pairs)));
    let mut unpacker = Unpacker::new();
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(unpacker.read(&first).unwrap(), owned(&pairs));
    assert_eq!(unpacker.read(&stored(&plain(&[("port", "81")]))).unwrap(), owned(&[("port", "81")]));

    assert!(Unpacker::new().read(b"\x78\x9c\x01\x00\x00\x00\x00\x00").is_err(), "no dictionary");
    assert!(Unpacker::new().read(b"\x78").is_err());
    assert!(parse(&[0, 0, 0, 2, 0, 0, 0, 9, b'x']).is_none(), "shorter than it says");
}

#[test]
fn empty_blocks_continue_one_stream() {
    let (mut packer, mut inflate) = (Packer::new(), Decompress::new(true));
    for _ in 0..3 {
        let mut output = Vec::with_capacity(64);
        inflate.decompress_vec(&packer.empty().unwrap(), &mut output, FlushDecompress::Sync).unwrap();
        assert_eq!(output, [0; 4]);
    }
}
