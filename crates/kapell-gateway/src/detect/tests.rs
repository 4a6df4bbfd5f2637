use super::*;

#[test]
fn first_bytes_tell_the_protocol() {
    let cases: [(&[u8], Option<Spoken>); 10] = [
        (b"GET / HTTP/1.1\r\n", Some(Spoken::Http1)),
        (b"DELETE /x", Some(Spoken::Http1)),
        (HTTP2_PREFACE, Some(Spoken::Http2)),
        (b"PRI * HT", None),
        (b"GE", None),
        (b"P", None),
        (b"SET key value\r\n", Some(Spoken::Other)),
        (b"EHLO me\r\n", Some(Spoken::Other)),
        (&[0x16, 0x03, 0x01], Some(Spoken::Other)),
        (b"", Some(Spoken::Other)),
    ];
    for (first, expected) in cases {
        assert_eq!(classify(first), expected, "{first:?}");
    }
}
