use super::*;

#[test]
fn lines_become_messages_wherever_the_pieces_end() {
    let mut line = BytesMut::new();
    let mut heard = Vec::new();
    for piece in ["{\"a\"", ":1}\n{\"b\":2}\n{\"c", "\":3}\n"] {
        heard.extend(messages(piece.as_bytes(), Shape::Lines, &mut line));
    }
    let expected = ["{\"a\":1}\n", "{\"b\":2}\n", "{\"c\":3}\n"].map(Message::text);
    assert_eq!(heard, expected);
    assert_eq!(messages(b"\xffx", Shape::Base64, &mut line), [Message::text("/3g=")]);
}

#[test]
fn header_values_are_lists_of_words() {
    let mut headers = HeaderMap::new();
    headers.append(header::UPGRADE, HeaderValue::from_static("h2c, WebSocket"));
    assert!(names(&headers, &header::UPGRADE, "websocket"));
    assert!(!names(&headers, &header::UPGRADE, "socket"));
}
