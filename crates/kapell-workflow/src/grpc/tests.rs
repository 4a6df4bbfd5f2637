use serde_json::json;

use super::*;

const GREETER: &str = r#"
syntax = "proto3";
package greet;
import "google/protobuf/timestamp.proto";
message Hello { string name = 1; int64 times = 2; repeated string tags = 3; google.protobuf.Timestamp at = 4; }
message Answer { string text = 1; int64 count = 2; }
service Greeter { rpc Say(Hello) returns (Answer); rpc Chat(stream Hello) returns (stream Answer); }
"#;

fn method(name: &str) -> Result<GrpcMethod, String> {
    let pinned = pin("http://x/greet.proto", GREETER.as_bytes()).unwrap();
    GrpcMethod::find(&pinned, "http://greeter:50051", "greet.Greeter", name)
}

fn reply(headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Reply { status: 200, headers, body: body.to_vec().into() }
}

#[test]
fn data_becomes_a_framed_message_and_comes_back() {
    let method = method("Say").unwrap();
    assert_eq!(method.uri, "http://greeter:50051/greet.Greeter/Say");
    let arguments = json!({ "name": "ada", "times": 3, "tags": ["a"], "at": "2026-01-01T00:00:00Z" });
    let framed = method.request(&Datum::from_json(&arguments).unwrap()).unwrap();
    assert_eq!(&framed[..10], [0, 0, 0, 0, (framed.len() - 5) as u8, 10, 3, b'a', b'd', b'a']);
    // Answer { text: "hi", count: 7 }
    let answer = reply(&[("grpc-status", "0")], &[0, 0, 0, 0, 6, 10, 2, b'h', b'i', 16, 7]);
    assert_eq!(method.output(&answer).unwrap().to_value(), json!({ "text": "hi", "count": 7 }));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let wrong = |arguments: Value| method("Say").unwrap().request(&Datum::from_json(&arguments).unwrap()).unwrap_err();
    assert!(wrong(json!({ "nam": "x" })).contains("they are not a greet.Hello"), "{}", wrong(json!({ "nam": "x" })));
    assert!(method("Chat").unwrap_err().contains("streams, which is not supported yet"));
    assert!(method("Sing").unwrap_err().contains("no method `Sing`, only Say, Chat"));
    assert!(pin("x.proto", b"syntax = \"proto3\"; import \"other.proto\";").unwrap_err().contains("other.proto"));
    assert!(pin("x.proto", b"message {").unwrap_err().starts_with("does not compile"));
}

#[test]
fn a_status_is_an_error_with_its_http_counterpart() {
    let table = [
        (reply(&[("grpc-status", "5"), ("grpc-message", "no%20such pet")], &[]), (404, "NOT_FOUND: no such pet")),
        (reply(&[("grpc-status", "16")], &[]), (401, "UNAUTHENTICATED")),
        (reply(&[("grpc-status", "99")], &[]), (500, "UNKNOWN")),
        (reply(&[], &[0, 0, 0, 0, 0]), (502, "answered without a gRPC status")),
        (reply(&[("grpc-status", "0")], &[0, 0, 0, 0, 9, 1]), (502, "answered with more or less than one message")),
    ];
    for (reply, (status, what)) in table {
        assert_eq!(method("Say").unwrap().output(&reply), Err((status, what.to_owned())));
    }
}
