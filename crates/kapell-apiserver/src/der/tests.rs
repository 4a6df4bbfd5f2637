use super::*;

#[test]
fn what_is_written_is_read_back() {
    for length in [0, 1, 127, 128, 255, 256, 70_000] {
        let content = vec![7; length];
        let written = of(SEQUENCE, &[&value(OCTET_STRING, &content), &bits(b"x")]);
        let mut outer = Reader(&written);
        let mut inner = Reader(outer.expect(SEQUENCE).unwrap());
        assert_eq!(inner.whole(OCTET_STRING).unwrap(), value(OCTET_STRING, &content), "{length}");
        assert_eq!(inner.expect(BIT_STRING).unwrap(), [0, b'x']);
        assert!(inner.is_empty() && outer.is_empty());
    }
}

#[test]
fn what_is_cut_off_is_not_there() {
    let written = value(SEQUENCE, &[1; 200]);
    for length in 0..written.len() {
        assert_eq!(Reader(&written[..length]).next(), None, "{length}");
    }
}
