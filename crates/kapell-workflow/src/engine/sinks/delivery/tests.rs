use kapell_api::event_sink::{EventSinkMode, EventSinkSpec, OnRefusal};
use serde_json::{Value, json};

use super::*;
use crate::engine::events::ingest;

fn event(more: Value) -> CloudEvent {
    let mut envelope = json!({ "specversion": "1.0", "id": "1", "source": "/x", "type": "com.example.paid" });
    for (key, value) in more.as_object().into_iter().flatten() {
        envelope[key] = value.clone();
    }
    CloudEvent::new(Datum::from_json(&envelope).unwrap()).unwrap()
}

#[test]
fn events_are_chosen_by_type() {
    for (types, type_, expected) in [
        (vec![], "com.example.paid", true),
        (vec![], "io.serverlessworkflow.workflow.started.v1", false),
        (vec!["io.serverlessworkflow.*"], "io.serverlessworkflow.workflow.started.v1", true),
        (vec!["com.example.*"], "com.example.paid", true),
        (vec!["com.example.paid"], "com.example.paid.late", false),
        (vec!["a", "com.example.paid"], "com.example.paid", true),
        (vec!["a"], "com.example.paid", false),
    ] {
        let spec = EventSinkSpec { types: types.iter().map(|t| (*t).to_owned()).collect(), ..EventSinkSpec::default() };
        assert_eq!(is_wanted(&spec, &event(json!({ "type": type_ }))), expected, "{types:?} {type_}");
    }
}

/// Whoever understands the HTTP binding reads the same event, in either mode.
#[test]
fn what_is_sent_is_what_was_published() {
    let events = [
        event(json!({})),
        event(json!({ "data": { "n": 1 }, "datacontenttype": "application/json", "subject": "ümlaut \"100%\"" })),
        event(json!({ "data": "text", "datacontenttype": "text/plain" })),
        event(json!({ "data_base64": "AAEC", "datacontenttype": "application/octet-stream", "extension": "7" })),
    ];
    for mode in [EventSinkMode::Structured, EventSinkMode::Binary] {
        let spec = EventSinkSpec { uri: "http://billing/events".to_owned(), mode, ..EventSinkSpec::default() };
        for event in &events {
            let headers = [("x-key".to_owned(), "value".to_owned())];
            let request = request(&spec, event, &headers).unwrap();
            assert_eq!(request.method(), http::Method::POST);
            assert_eq!(request.headers()["x-key"], "value");
            let read = ingest::events(request.headers(), request.body()).unwrap();
            assert_eq!(read[0].envelope().to_value(), event.envelope().to_value(), "{mode:?}");
        }
    }
}

#[test]
fn answers_are_judged() {
    let skip = EventSinkSpec { on_refusal: OnRefusal::Skip, ..EventSinkSpec::default() };
    let retry = EventSinkSpec::default();
    let reply = |status, headers: &[(&str, &str)], body: &'static str| Reply {
        status,
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: Bytes::from_static(body.as_bytes()),
    };
    let again = |why: &str, after| Verdict::Again { why: why.to_owned(), after };
    for (spec, reply, expected) in [
        (&retry, reply(204, &[], ""), Verdict::Taken),
        (&retry, reply(400, &[], "bad"), again("the sink answered 400: bad", None)),
        (&skip, reply(400, &[], "bad"), Verdict::Refused { why: "the sink answered 400: bad".to_owned() }),
        (&skip, reply(429, &[("Retry-After", "7")], ""), again("the sink answered 429", Some(Duration::from_secs(7)))),
        (&skip, reply(500, &[], ""), again("the sink answered 500", None)),
        (&skip, reply(302, &[], ""), again("the sink answered 302", None)),
    ] {
        assert_eq!(judge(spec, &reply, &Disclosure::default()), expected);
    }
    let mut disclosure = Disclosure::default();
    disclosure.learn("sink", [("token".to_owned(), b"swordfish".to_vec())].into()).unwrap();
    let told = judge(&retry, &reply(401, &[], "no such token: swordfish"), &disclosure);
    assert_eq!(told, again("the sink answered 401: no such token: [redacted]", None));
}
