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

#[tokio::test]
async fn watches_are_text_and_logs_are_bytes_unless_asked_for_otherwise() {
    let offering = |offered: &str| {
        let mut request = http::Request::get("/").header(header::UPGRADE, "websocket");
        let headers = request.headers_mut().unwrap();
        headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("x"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(offered).unwrap());
        let mut request = request.body(()).unwrap();
        let on = hyper::upgrade::on(&mut request);
        let mut head = request.into_parts().0;
        head.extensions.insert(on);
        Upgrade::wanted(&mut head, &Arc::new(Semaphore::new(1))).unwrap().unwrap()
    };
    for (offered, log, watch) in [
        ("", Some((Shape::Binary, "")), ""),
        ("binary.k8s.io", Some((Shape::Binary, BINARY)), ""),
        ("base64.binary.k8s.io", Some((Shape::Base64, BASE64)), BASE64),
        ("v5.channel.k8s.io,base64.binary.k8s.io, binary.k8s.io", Some((Shape::Base64, BASE64)), BASE64),
        ("v5.channel.k8s.io,v4.channel.k8s.io", None, ""),
        ("v1.watch.k8s.io", None, "v1.watch.k8s.io"),
    ] {
        let upgrade = offering(offered);
        assert_eq!(of_log(&upgrade).ok(), log, "{offered}");
        assert_eq!(of_watch(&upgrade.protocols), (Shape::Lines, watch), "{offered}");
    }
    // What has no end is not kept back.
    assert_eq!(messages(b"no end", Shape::Binary, &mut BytesMut::new()), [Message::Binary("no end".into())]);
}
