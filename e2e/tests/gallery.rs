//! The gallery in `examples/workflows` with the real server; its services are stand-ins that keep books.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kapell_e2e::shop::Runs;
use kapell_e2e::stand_in::{Call, StandIn};
use kapell_e2e::{Caller, Kapell, eventually, eventually_async};
use serde_json::{Value, json};

fn example(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/workflows").join(name).display().to_string()
}

const HOSTS: [&str; 9] =
    ["stock", "payment", "shipping", "mail", "orders", "payments", "warehouse", "thumbnails", "exports"];

/// A server whose workflows call stand-ins, with these examples applied.
fn server(services: &StandIn, hosts: &[&str], examples: &[&str]) -> Kapell {
    let kapell = Kapell::start_by(Caller::default().with("KAPELL_EGRESS_REWRITE", &services.rewrites(hosts)));
    for name in examples {
        kapell.cli(&["apply", "-f", &example(name)]).ok();
    }
    kapell
}

fn run(kapell: &Kapell, workflow: &str, input: &Value) -> Value {
    let input = input.to_string();
    tokio::task::block_in_place(|| kapell.cli(&["workflow", "run", workflow, "--wait", "--input", &input])).ok().json()
}

#[tokio::test(flavor = "multi_thread")]
async fn order_saga() {
    let services = StandIn::start(|call| match call.line().as_str() {
        "POST shipping/parcels" if call.body["order"] == "o-2" => (422, json!({"detail": "no such street"})),
        "POST shipping/parcels" => (200, json!({"parcel": "p-1"})),
        _ => (200, json!({})),
    })
    .await;
    let kapell = server(&services, &HOSTS, &["order-saga.yaml"]);
    let order = |name: &str| json!({"order": name, "customer": "ann", "item": "lamp", "quantity": 2, "price": 30});
    let shipped = run(&kapell, "order-saga", &order("o-1"));
    assert_eq!(shipped, json!({"order": "o-1", "state": "shipped", "parcel": "p-1"}));
    let before = services.effects().len();
    let cancelled = run(&kapell, "order-saga", &order("o-2"));
    assert_eq!(cancelled, json!({"order": "o-2", "state": "cancelled"}));
    let expected =
        ["stock/reserve", "payment/charge", "shipping/parcels", "payment/refund", "stock/release", "mail/letters"];
    assert_eq!(services.effects()[before..], expected.map(|call| format!("POST {call}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn nightly_etl() {
    let services = StandIn::start(|call| match call.line().as_str() {
        "GET orders/today" => (200, json!([3, 4])),
        "GET payments/today" => (200, json!([5])),
        _ => (201, json!({})),
    })
    .await;
    let kapell = server(&services, &HOSTS, &["nightly-etl.yaml"]);
    assert_eq!(run(&kapell, "nightly-etl", &json!({})), json!({"open": 2}));
    let loaded: Vec<Value> =
        services.calls().into_iter().filter(|call| call.host == "warehouse").map(|c| c.body).collect();
    assert_eq!(loaded, [json!({"open": 2})]);
    tokio::task::block_in_place(|| {
        eventually("it is known when it is due", || {
            let workflow = kapell.object("default", "workflow/nightly-etl");
            workflow["status"]["schedule"]["nextTime"].is_string().then_some(())
        });
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn fan_out() {
    let together: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let seen = together.clone();
    let services = StandIn::start(move |call| {
        seen.lock().unwrap().insert(call.body["image"].to_string());
        match call.body["image"].as_str() {
            Some("broken") => (500, json!({"error": "not an image"})),
            image => (200, json!({"thumbnail": image})),
        }
    })
    .await;
    let kapell = server(&services, &HOSTS, &["fan-out.yaml"]);
    let images = ["a", "b", "broken", "c", "d", "e", "f"];
    let output = run(&kapell, "fan-out", &json!({"images": images}));
    let good = |item: &Value| item["thumbnail"].as_str().map(str::to_owned);
    let output: Vec<Option<String>> = output.as_array().expect("an array").iter().map(good).collect();
    let expected = images.map(|image| (image != "broken").then(|| image.to_owned()));
    assert_eq!(output, expected);
    assert_eq!(together.lock().unwrap().len(), images.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn polling() {
    let asked = Mutex::new(0);
    let services = StandIn::start(move |call| match call.line().as_str() {
        "POST exports/" => (202, json!({"id": "x-1"})),
        "GET exports/x-1" => {
            let mut asked = asked.lock().unwrap();
            *asked += 1;
            let state = if *asked > 1 { "done" } else { "pending" };
            (200, json!({"state": state, "url": "https://exports.example/x-1"}))
        }
        other => (404, json!({"error": other})),
    })
    .await;
    let kapell = server(&services, &HOSTS, &["polling.yaml"]);
    assert_eq!(run(&kapell, "polling", &json!({"what": "all"})), json!({"url": "https://exports.example/x-1"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn event_correlation() {
    let kapell = Kapell::start();
    kapell.cli(&["apply", "-f", &example("event-correlation.yaml")]).ok();
    for order in ["o-1", "o-2"] {
        let input = json!({"order": order}).to_string();
        kapell.cli(&["workflow", "run", "event-correlation", "--name", order, "--input", &input]).ok();
        eventually("the run listens", || {
            let run = kapell.object("default", &format!("workflowrun/{order}"));
            run["status"]["waitingFor"].as_str()?.contains("listens").then_some(())
        });
    }
    let emit = |type_: &str, order: &str| {
        let payload = json!({"order": order}).to_string();
        kapell.cli(&["workflow", "emit", "--type", type_, "--source", "/e2e", "--payload", &payload]).ok();
    };
    emit("com.example.order.packed", "o-2");
    emit("com.example.order.paid", "o-1");
    emit("com.example.order.paid", "o-2");
    let second = kapell.cli(&["workflow", "wait", "o-2"]).ok().json();
    assert_eq!(second, json!({"order": "o-2", "because": [{"order": "o-2"}, {"order": "o-2"}]}));
    let payload = json!({"by": "ann"}).to_string();
    kapell.cli(&["workflow", "signal", "o-1", "com.example.order.release", "--payload", &payload]).ok();
    let first = kapell.cli(&["workflow", "wait", "o-1"]).ok().json();
    assert_eq!(first, json!({"order": "o-1", "because": [{"by": "ann"}]}));
}

/// Accounts that keep books: an account called `nobody` does not exist.
#[derive(Default)]
struct Bank {
    balances: BTreeMap<String, i64>,
}

const ACCOUNTS: [&str; 4] = ["ann", "bob", "cid", "dora"];
const EACH: i64 = 1_000_000;

impl Bank {
    fn take(&mut self, call: &Call) -> (u16, Value) {
        let amount = call.body["amount"].as_i64().unwrap_or_default();
        let parts: Vec<&str> = call.path.trim_matches('/').split('/').collect();
        let (account, change) = match parts.as_slice() {
            ["refund"] => (call.body["account"].as_str().unwrap_or_default(), amount),
            [account, "withdraw"] => (*account, -amount),
            [account, "deposit"] => (*account, amount),
            _ => return (404, json!({"error": "no such thing"})),
        };
        match self.balances.get_mut(account) {
            None => (404, json!({"error": "no such account"})),
            Some(balance) if *balance + change < 0 => (409, json!({"error": "not enough"})),
            Some(balance) => {
                *balance += change;
                (200, json!({"balance": *balance}))
            }
        }
    }
}

/// Transfers go on while the server is killed `kills` times; then all of them have ended, and no money was lost or made.
async fn transfers_under_kills(kills: usize, transfers_each: usize) {
    let bank =
        Arc::new(Mutex::new(Bank { balances: ACCOUNTS.iter().map(|name| ((*name).to_owned(), EACH)).collect() }));
    let books = bank.clone();
    let services = StandIn::start(move |call| books.lock().unwrap().take(call)).await;
    let mut kapell = server(&services, &["accounts"], &["bank-transfer.yaml"]);
    let mut names = Vec::new();
    let mut expected: BTreeMap<String, i64> = ACCOUNTS.iter().map(|name| ((*name).to_owned(), EACH)).collect();
    for round in 0..=kills {
        let runs = Runs::new(kapell.client().await, "default");
        for number in 0..transfers_each {
            let name = format!("t-{round}-{number}");
            let (from, to) = (ACCOUNTS[(round + number) % 4], ACCOUNTS[(round + number * 3 + 1) % 4]);
            // Every fifth is to nobody, and comes back.
            let to = if number % 5 == 4 { "nobody" } else { to };
            let amount = i64::try_from(1 + number).unwrap();
            let input = json!({"from": from, "to": to, "amount": amount});
            eventually_async("the run is taken", || async {
                match runs.start("bank-transfer", &name, input.clone()).await {
                    Ok(()) => Some(()),
                    Err(kube::Error::Api(status)) if status.code == 409 => Some(()),
                    Err(_) => None,
                }
            })
            .await;
            if to != "nobody" {
                *expected.get_mut(from).unwrap() -= amount;
                *expected.get_mut(to).unwrap() += amount;
            }
            names.push(name);
        }
        if round < kills {
            // At another moment of what is going on each time.
            std::thread::park_timeout(Duration::from_micros(rand::random_range(0..60_000)));
            tokio::task::block_in_place(|| {
                kapell.kill();
                kapell.restart();
            });
        }
    }
    let runs = tokio::task::block_in_place(|| {
        eventually("all runs have ended", || {
            let list = kapell.cli(&["get", "workflowruns", "-o", "json"]).ok().json();
            let items = list["items"].as_array().cloned().unwrap_or_default();
            let ended = |run: &Value| matches!(run["status"]["phase"].as_str(), Some("Completed" | "Faulted"));
            (items.len() == names.len() && items.iter().all(ended)).then_some(items)
        })
    });
    for run in &runs {
        let to_nobody = run["spec"]["input"]["to"] == "nobody";
        assert_eq!(run["status"]["phase"], if to_nobody { "Faulted" } else { "Completed" }, "{run:#}");
        assert_eq!(run["status"]["compensation"], if to_nobody { "Done" } else { "None" }, "{run:#}");
    }
    assert_eq!(bank.lock().unwrap().balances, expected);
    // Each booking under a key of its own, of which there are no more than there were deeds.
    let booked = services.effects().len();
    let to_nobody = runs.iter().filter(|run| run["spec"]["input"]["to"] == "nobody").count();
    assert_eq!(booked, 2 * names.len() + to_nobody);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_money_is_lost_or_made_under_fifty_kills() {
    transfers_under_kills(50, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn a_hundred_kills_under_load() {
    transfers_under_kills(100, 50).await;
}
