use super::*;

#[test]
fn only_version_five_closes_channels() {
    let data = |channel, data: &'static [u8]| Some(Frame::Data { channel, data: Bytes::from_static(data) });
    let cases: [(&[u8], bool, Option<Frame>); 6] = [
        (b"", true, None),
        (b"\x00ab", true, data(0, b"ab")),
        (b"\x01", false, data(1, b"")),
        (b"\xff\x00", true, Some(Frame::Closed { channel: 0 })),
        (b"\xff", true, None),
        (b"\xff\x00", false, data(255, b"\x00")),
    ];
    for (message, closes, expected) in cases {
        assert_eq!(parse(Bytes::from_static(message), closes), expected, "{message:?}");
    }
}
