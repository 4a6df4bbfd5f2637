//! Runs that do not go on as they should give back what they hold, and can be deleted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use kapell_store::memory::{MemoryStore, Read};
use kapell_store::{JournalWrite, ReadError, StreamId, Transaction};
use serde_json::{Value, json};

use crate::engine::Config;
use crate::engine::rescue::DEFECT;
use crate::engine::runs::tests::{Server, call, in_phase};

fn stream(uid: u128) -> StreamId {
    StreamId(uid.to_be_bytes())
}

fn waits_for(text: &'static str) -> impl FnMut(Option<&Value>) -> bool {
    move |run| run.is_some_and(|run| run["status"]["waitingFor"].as_str().is_some_and(|said| said.contains(text)))
}

fn delete(server: &Server, name: &str) {
    server.api.write("workflowruns", name, |run| run["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_cannot_be_read_for_a_while_is_read_later() {
    let (store, fails) = (MemoryStore::new(), Arc::new(AtomicBool::new(false)));
    let failing = fails.clone();
    store.on_read(move |read| {
        let fails = matches!(read, Read::Stream(_)) && failing.load(Ordering::SeqCst);
        let error = || ReadError::Backend(Arc::new(std::io::Error::other("a bad sector")));
        Box::pin(async move { if fails { Err(error()) } else { Ok(()) } })
    });
    let mut server = Server::new();
    server.store = Arc::new(store);
    server.workflow("w", json!([{ "a": { "wait": "PT1H" } }]));
    server.run("sleeps", 7, "w");
    server.run("goes", 8, "w");
    server.workflow("calls", json!([{ "a": call("/never") }]));
    server.run("calls", 9, "calls");
    server
        .during(Server::quick(), async |_| {
            for name in ["sleeps", "goes"] {
                server.api.until(name, waits_for("task a waits until")).await;
            }
            server.api.until("calls", in_phase("Running")).await;
        })
        .await;
    fails.store(true, Ordering::SeqCst);
    server
        .during(Server::quick(), async |engine| {
            server.api.until("calls", waits_for("the store to be readable")).await;
            for name in ["sleeps", "goes"] {
                server.api.write("workflowruns", name, |run| run["spec"]["suspend"] = json!(true));
                server.api.until(name, waits_for("the store to be readable")).await;
            }
            delete(&server, "goes");
            server.api.until("goes", |run| run.is_none()).await;
            fails.store(false, Ordering::SeqCst);
            let run = server.api.until("sleeps", in_phase("Suspended")).await.unwrap();
            assert_eq!(run["status"]["waitingFor"], Value::Null);
            server.api.until("calls", waits_for("an answer to")).await;
            assert_eq!(engine.active_runs(), 2);
        })
        .await;
    assert!(server.store.read_stream(stream(8), 0).await.unwrap().is_empty());
}

/// Both sleep and are read together; the one whose journal makes no sense keeps nothing from the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_makes_no_sense_costs_its_own_run_only() {
    let server = Server::new();
    server.workflow("w", json!([{ "a": { "wait": "PT1H" } }]));
    server.run("bad", 7, "w");
    server.run("good", 8, "w");
    server
        .during(Config { partitions: 1, ..Server::quick() }, async |engine| {
            for name in ["bad", "good"] {
                server.api.until(name, waits_for("task a waits until")).await;
            }
            let sequence = server.store.read_stream(stream(7), 0).await.unwrap().len() as u64;
            let record = Bytes::from_static(b"\x09[]");
            let journal = vec![JournalWrite::Append { stream: stream(7), sequence, record }];
            server.store.commit(Transaction { writes: Vec::new(), journal }).await.unwrap();
            for name in ["bad", "good"] {
                server.api.write("workflowruns", name, |run| run["spec"]["cancel"] = json!(true));
            }
            assert_eq!(server.api.ended("good").await["status"]["phase"], "Cancelled");
            server.api.until("bad", waits_for("a version of kapell that can read the run's journal")).await;
            delete(&server, "bad");
            server.api.until("bad", |run| run.is_none()).await;
            assert_eq!(engine.active_runs(), 0);
        })
        .await;
    assert_eq!(server.store.open_streams().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_first_step_fell_says_so_and_can_be_deleted() {
    let server = Server::new();
    server.workflow("w", json!([{ "a": { "set": {} } }]));
    server
        .during(Server::quick(), async |engine| {
            engine.shared.rests(stream(7), DEFECT);
            server.run("r", 7, "w");
            let run = server.api.ended("r").await;
            assert_eq!(run["status"]["error"]["detail"], "the run's first step failed; the server's log says why");
            delete(&server, "r");
            server.api.until("r", |run| run.is_none()).await;
            server.run("next", 8, "w");
            assert_eq!(server.api.ended("next").await["status"]["phase"], "Completed");
        })
        .await;
}

/// Waits in the gate behind `first`, ahead of `last`; then something keeps it from beginning.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_will_not_begin_leaves_its_place_to_others() {
    type Change = fn(&Server);
    let suspended: Change = |server| {
        server.api.write("workflowruns", "middle", |run| run["spec"]["suspend"] = json!(true));
    };
    let invalid: Change = |server| server.workflow("middle", json!([{ "a": { "nonsense": {} } }]));
    let gone: Change = |server| {
        server.api.write("workflows", "middle", |workflow| {
            workflow["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        });
    };
    for (change, phase) in [(suspended, "Suspended"), (invalid, "Faulted"), (gone, "Pending")] {
        let server = Server::new();
        for name in ["first", "middle", "last"] {
            server.workflow(name, json!([{ "a": call("/never") }]));
        }
        server.run("first", 7, "first");
        server
            .during(Config { max_runs: 1, ..Server::quick() }, async |_| {
                server.api.until("first", in_phase("Running")).await;
                server.run("middle", 8, "middle");
                server.api.until("middle", waits_for("as many as run at a time")).await;
                server.run("last", 9, "last");
                server.api.until("last", waits_for("as many as run at a time")).await;
                change(&server);
                let left = |run: Option<&Value>| {
                    let waits = waits_for("as many as run at a time")(run);
                    !waits && in_phase(phase)(run)
                };
                server.api.until("middle", left).await;
                server.api.write("workflowruns", "first", |run| run["spec"]["cancel"] = json!(true));
                server.api.until("last", in_phase("Running")).await;
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_given_back_by_a_run_whose_object_vanishes() {
    let server = Server::new();
    server.workflow_with("w", json!({ "concurrency": { "key": "${ .n }" } }), json!([{ "a": call("/never") }]));
    server.run("first", 7, "w");
    server
        .during(Server::quick(), async |_| {
            server.api.until("first", in_phase("Running")).await;
            server.run("second", 8, "w");
            server.api.until("second", waits_for("concurrency key")).await;
            server.api.write("workflowruns", "first", |run| {
                run["metadata"]["finalizers"] = json!([]);
                run["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            });
            server.api.until("second", in_phase("Running")).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_not_deleted_at_once_keeps_no_others() {
    let server = Server::new();
    let tasks = json!([{ "a": { "set": {} } }]);
    server.workflow("w", tasks.clone());
    server
        .during(Server::quick(), async |_| {
            for (uid, name) in (7..).zip(["a", "b", "c"]) {
                server.run(name, uid, "w");
                server.api.ended(name).await;
            }
            server.api.stubborn.lock().extend([("a".to_owned(), 1), ("b".to_owned(), 1)]);
            server.workflow_with("w", json!({ "retention": { "runs": 1 } }), tasks);
            server.run("d", 10, "w");
            for name in ["a", "b", "c"] {
                server.api.until(name, |run| run.is_none()).await;
            }
            server.api.ended("d").await;
        })
        .await;
    assert!(server.api.get("workflowruns", "d").is_some());
}
