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
    for mode in [EventSinkMode::Structured, EventSinkMode::Binary, EventSinkMode::Batched] {
        let spec = EventSinkSpec { uri: "http://billing/events".to_owned(), mode, ..EventSinkSpec::default() };
        for event in &events {
            let headers = [("x-key".to_owned(), "value".to_owned())];
            let request = request(&spec, std::slice::from_ref(event), &headers).unwrap();
            assert_eq!(request.method(), http::Method::POST);
            assert_eq!(request.headers()["x-key"], "value");
            let read = ingest::events(request.headers(), request.body()).unwrap();
            assert_eq!(read[0].envelope().to_value(), event.envelope().to_value(), "{mode:?}");
        }
    }
    let spec = batches(OnRefusal::Retry);
    let request = request(&spec, &events, &[]).unwrap();
    let read = ingest::events(request.headers(), request.body()).unwrap();
    let values = |events: &[CloudEvent]| events.iter().map(|event| event.envelope().to_value()).collect::<Vec<_>>();
    assert_eq!(values(&read), values(&events));
}

fn batches(on_refusal: OnRefusal) -> EventSinkSpec {
    let uri = "http://billing/events".to_owned();
    EventSinkSpec { uri, mode: EventSinkMode::Batched, on_refusal, ..EventSinkSpec::default() }
}

/// How many events each portion has, and until where it goes.
fn shape(spec: &EventSinkSpec, records: &[(usize, bool)]) -> Vec<(usize, u64)> {
    let records = records.iter().enumerate();
    let records =
        records.map(|(position, (bytes, wanted))| (position as u64, *bytes, wanted.then(|| event(json!({})))));
    portions(spec, records.collect()).iter().map(|portion| (portion.events.len(), portion.until)).collect()
}

#[test]
fn what_is_sent_together_is_bounded_and_in_order() {
    let (one, many) = (EventSinkSpec::default(), batches(OnRefusal::Retry));
    assert_eq!(shape(&one, &[(9, true), (9, false), (9, true)]), [(1, 2), (1, 3)]);
    assert_eq!(shape(&many, &[(9, false), (9, true), (9, false), (9, true)]), [(2, 4)]);
    assert_eq!(shape(&many, &[(9, false), (9, false)]), [(0, 2)], "nothing is sent, and it goes on");
    assert_eq!(shape(&many, &[(9, true); 150]), [(64, 64), (64, 128), (22, 150)]);
    let half = MOST_BYTES / 2;
    assert_eq!(shape(&many, &[(half, true), (half, true), (half, true)]), [(2, 2), (1, 3)]);
    assert_eq!(shape(&many, &[(3 * half, true), (1, true)]), [(1, 1), (1, 2)], "what is too large goes alone");
    assert_eq!(shape(&many, &[]), []);
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
        assert_eq!(judge(spec, &reply, 1, &Disclosure::default()), expected);
    }
    let (skip, retry) = (batches(OnRefusal::Skip), batches(OnRefusal::Retry));
    for (spec, status, expected) in [
        (&retry, 204, Verdict::Taken),
        (&retry, 400, again("the sink answered 400", None)),
        (&retry, 413, Verdict::Apart),
        (&skip, 400, Verdict::Apart),
        (&skip, 429, again("the sink answered 429", None)),
        (&skip, 503, again("the sink answered 503", None)),
    ] {
        assert_eq!(judge(spec, &reply(status, &[], ""), 7, &Disclosure::default()), expected, "{status}");
    }
    let mut disclosure = Disclosure::default();
    disclosure.learn("sink", [("token".to_owned(), b"swordfish".to_vec())].into()).unwrap();
    let told = judge(&retry, &reply(401, &[], "no such token: swordfish"), 1, &disclosure);
    assert_eq!(told, again("the sink answered 401: no such token: [redacted]", None));
}
