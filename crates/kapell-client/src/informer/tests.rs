use http::{Request, Response};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

use super::*;

/// An API server of one kind whose watch streams the test writes: each request takes the next script.
fn client_of(scripts: Vec<mpsc::Receiver<Value>>) -> kube::Client {
    let scripts = Arc::new(Mutex::new(scripts.into_iter()));
    let service = tower::service_fn(move |_request: Request<Body>| {
        let script = scripts.lock().next();
        async move {
            let Some(mut script) = script else {
                // Nothing more is scripted: a watch on which nothing happens.
                return std::future::pending().await;
            };
            let lines = futures::stream::poll_fn(move |cx| {
                script.poll_recv(cx).map(|event| event.map(|event| Ok::<_, std::io::Error>(format!("{event}\n"))))
            });
            let body = http_body_util::StreamBody::new(
                lines.map(|line| line.map(|line| http_body::Frame::data(line.into_bytes().into()))),
            );
            Ok::<_, std::convert::Infallible>(Response::new(body))
        }
    });
    kube::Client::new(service, "default")
}

fn object(name: &str, uid: &str, version: u32) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "ns", "uid": uid, "resourceVersion": version.to_string()}})
}

fn event(type_: &str, object: Value) -> Value {
    json!({"type": type_, "object": object})
}

fn initial_events_end(version: u32) -> Value {
    let mut bookmark = object("", "", version);
    bookmark["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    event("BOOKMARK", bookmark)
}

fn told(change: &Change<ConfigMap>) -> String {
    let uid = |object: &ConfigMap| object.uid().unwrap_or_default();
    match change {
        Change::Applied { old: None, new } => format!("+{} {}", new.name_any(), uid(new)),
        Change::Applied { old: Some(_), new } => format!("~{} {}", new.name_any(), uid(new)),
        Change::Deleted(old) => format!("-{} {}", old.name_any(), uid(old)),
    }
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_in_order_also_across_a_gap() {
    let (first, first_script) = mpsc::channel(16);
    let (second, second_script) = mpsc::channel(16);
    let client = client_of(vec![first_script, second_script]);
    let changes = Arc::new(Mutex::new(Vec::new()));
    let (seen, shutdown) = (Arc::new(Notify::new()), CancellationToken::new());
    let informer = Informer::<ConfigMap>::start(Api::all(client), watcher::Config::default(), shutdown.clone(), {
        let (changes, seen) = (changes.clone(), seen.clone());
        move |change| {
            changes.lock().push(told(&change));
            seen.notify_one();
        }
    });
    let until = async |count: usize| {
        while changes.lock().len() < count {
            seen.notified().await;
        }
        std::mem::take(&mut *changes.lock())
    };

    for e in [event("ADDED", object("a", "1", 1)), event("ADDED", object("b", "2", 2)), initial_events_end(2)] {
        first.try_send(e).unwrap();
    }
    informer.synced().await;
    assert_eq!(until(2).await, ["+a 1", "+b 2"]);

    first.try_send(event("MODIFIED", object("a", "1", 3))).unwrap();
    first.try_send(event("DELETED", object("b", "2", 4))).unwrap();
    assert_eq!(until(2).await, ["~a 1", "-b 2"]);
    assert!(informer.get(&ObjectKey::new("ns", "b")).is_none());

    // The server has forgotten our revision, and meanwhile "a" was replaced by another object of that name.
    let gone = json!({"kind": "Status", "status": "Failure", "reason": "Expired", "message": "", "code": 410});
    first.try_send(event("ERROR", gone)).unwrap();
    for e in [event("ADDED", object("a", "9", 8)), event("ADDED", object("c", "3", 7)), initial_events_end(9)] {
        second.try_send(e).unwrap();
    }
    assert_eq!(until(3).await, ["-a 1", "+a 9", "+c 3"]);
    assert_eq!(informer.list_in("ns").len(), 2);
    assert!(informer.list_in("n").is_empty());
    shutdown.cancel();
}
