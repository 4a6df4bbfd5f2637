//! Input that wants to do harm is refused by name, and costs no more than its size.

use http::Method;

use crate::support::{Api, CONFIG_MAPS};

#[tokio::test]
async fn harmful_bodies_are_refused_by_name() {
    let api = Api::start().await;
    let bomb = (0..30).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, i| {
        text + &format!("a{}: &a{} [*a{i}, *a{i}, *a{i}, *a{i}, *a{i}, *a{i}, *a{i}, *a{i}]\n", i + 1, i + 1)
    });
    // A pod with a million empty containers, two bytes each.
    let containers: Vec<u8> = [0x12u8, 0].repeat(1_000_000);
    let length =
        |n: usize| [n & 0x7f | 0x80, n >> 7 & 0x7f | 0x80, n >> 14 & 0x7f | 0x80, n >> 21].map(|digit| digit as u8);
    let mut pod = b"k8s\0\n\x09\n\x02v1\x12\x03Pod\x12".to_vec();
    pod.extend(length(containers.len() + 5));
    pod.push(0x12);
    pod.extend(length(containers.len()));
    pod.extend(containers);
    let deep = |open: &str| open.repeat(1_000_000);
    for (what, media_type, body, code, expected) in [
        ("100 MB", "application/json", vec![b' '; 100 << 20], 413, "larger than 3145728 bytes"),
        ("deep arrays", "application/json", deep("[").into_bytes(), 400, "nested more than 128 levels deep"),
        ("deep objects", "application/json", deep("{\"a\":").into_bytes(), 413, "larger than"),
        ("deep YAML", "application/yaml", deep("[").into_bytes(), 400, "recursion limit exceeded"),
        ("a YAML bomb", "application/yaml", bomb.into_bytes(), 400, "aliases expand to more than"),
        ("many fields", "application/vnd.kubernetes.protobuf", pod, 400, "more than 400000 fields"),
    ] {
        let answer = api.request(Method::POST, CONFIG_MAPS, &[("content-type", media_type)], body).await;
        let status = answer.expect(code);
        assert!(status["message"].as_str().unwrap().contains(expected), "{what}: {status}");
    }
    api.get(CONFIG_MAPS).await.expect(200);
}
