use super::*;

#[test]
fn frames_are_found_wherever_the_pieces_end() {
    let mut bytes = data(1, b"hello", false).to_vec();
    bytes.extend_from_slice(&pong(7));
    bytes.extend_from_slice(&control(4, &[0; 4]));
    bytes.extend_from_slice(&data(3, b"", true));
    bytes.extend_from_slice(&refuse(5));
    bytes.extend_from_slice(&control(GOAWAY, &[0; 8]));
    let expected = [
        Frame::Data { stream: 1, data: Bytes::from_static(b"hello"), fin: false },
        Frame::Ping { id: 7 },
        Frame::Data { stream: 3, data: Bytes::new(), fin: true },
        Frame::Reset { stream: 5 },
        Frame::GoAway,
    ];
    for size in [1, 3, 7, bytes.len()] {
        let mut decoder = Decoder::new();
        let mut found = Vec::new();
        for piece in bytes.chunks(size) {
            decoder.push(piece);
            while let Some(frame) = decoder.next().unwrap() {
                found.push(frame);
            }
        }
        assert_eq!(found, expected, "in pieces of {size}");
    }
}

#[test]
fn what_is_not_spdy_3_is_refused() {
    for bytes in [&b"\x80\x02\x00\x01\0\0\0\0"[..], b"\0\0\0\x01\0\xff\xff\xff", b"\x80\x03\x00\x03\0\0\0\x02ab"] {
        let mut decoder = Decoder::new();
        decoder.push(bytes);
        assert!(decoder.next().is_err(), "{bytes:?}");
    }
}
