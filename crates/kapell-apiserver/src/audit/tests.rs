use serde_json::Value;

use super::*;
use crate::auth::Identity;
use crate::authorize::attributes::OnResource;

fn record(log: &AuditLog, name: &str) {
    let caller = Identity { user: "ann".to_owned(), groups: vec!["dev".to_owned()], ..Identity::default() };
    let object = OnResource { resource: "pods", namespace: "shop", name, version: "v1", ..OnResource::default() };
    log.record(&Event {
        id: uuid::Uuid::nil(),
        uri: &format!("/api/v1/namespaces/shop/pods/{name}?{}", "x".repeat(9_000)),
        verb: "delete",
        caller: Some(&caller),
        impersonated: None,
        source: Some(([127, 0, 0, 1], 80).into()),
        user_agent: Some("test"),
        object: Some(object),
        decision: None,
        code: 403,
        streams: false,
        received: Timestamp::UNIX_EPOCH,
        answered: Timestamp::UNIX_EPOCH,
    });
}

fn names(directory: &Path, file: &str) -> Vec<String> {
    let text = fs::read_to_string(directory.join(file)).unwrap();
    let event = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    text.lines().map(|line| event(line)["objectRef"]["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn events_are_lines_that_upstreams_tools_read() {
    let directory = tempfile::tempdir().unwrap();
    let log = AuditLog::open(AuditConfig::new(directory.path())).unwrap();
    record(&log, "web");
    log.close();
    let line = fs::read_to_string(directory.path().join("audit.log")).unwrap();
    assert!(line.len() < 3_000, "what clients send is cut");
    let mut event: Value = serde_json::from_str(&line).unwrap();
    event["requestURI"] = json!("cut");
    let expected = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata",
        "auditID": "00000000-0000-0000-0000-000000000000", "stage": "ResponseComplete", "requestURI": "cut",
        "verb": "delete", "user": {"username": "ann", "groups": ["dev"]}, "sourceIPs": ["127.0.0.1"], "userAgent": "test",
        "objectRef": {"resource": "pods", "namespace": "shop", "name": "web", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 403},
        "requestReceivedTimestamp": "1970-01-01T00:00:00.000000Z", "stageTimestamp": "1970-01-01T00:00:00.000000Z",
    });
    assert_eq!(event, expected);
}

#[test]
fn files_are_put_aside_and_the_oldest_go() {
    let directory = tempfile::tempdir().unwrap();
    let config = AuditConfig { file_bytes: 3_000, files: 2, ..AuditConfig::new(directory.path()) };
    let log = AuditLog::open(config.clone()).unwrap();
    ["a", "b", "c"].iter().for_each(|name| record(&log, name));
    log.close();
    // Across a restart, too.
    let log = AuditLog::open(config).unwrap();
    record(&log, "d");
    log.close();
    assert_eq!(names(directory.path(), "audit.log"), ["d"]);
    assert_eq!(names(directory.path(), "audit.log.1"), ["c"]);
    assert_eq!(names(directory.path(), "audit.log.2"), ["b"]);
    assert!(!directory.path().join("audit.log.3").exists());
}

#[test]
fn what_is_lost_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let log = AuditLog::open(AuditConfig::new(directory.path())).unwrap();
    record(&log, "a");
    log.close();
    record(&log, "b");
    let counts = log.counts();
    assert_eq!((counts.written.load(Ordering::Relaxed), counts.dropped.load(Ordering::Relaxed)), (1, 1));
}
