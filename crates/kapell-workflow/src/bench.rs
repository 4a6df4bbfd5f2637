//! Drives the engine without objects, for `benches/engine.rs` and `examples/ctk`: runs are begun directly, and their
//! outcome is taken from the engine's own notices.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kapell_store::Store;
use serde_json::Value;

use crate::core::state::Outcome;
use crate::engine::{Config, Headless, ServiceCaller};
use crate::fault::Fault;

/// An engine without an API server.
pub struct Bench {
    engine: Headless,
}

/// How a run came out.
#[derive(Clone, Debug)]
pub struct Report {
    /// `Err(None)`: cancelled.
    pub result: Result<Value, Option<Fault>>,
    /// Names of the tasks in the order in which they began.
    pub order: Vec<String>,
}

impl Bench {
    /// Runs the document once, to its end; no other run may be under way.
    ///
    /// # Panics
    /// When the engine is gone.
    pub async fn once(&self, document: &Value, input: &Value) -> Report {
        let stream = match self.engine.begin_with_resources(document, input).await {
            Ok(stream) => stream,
            Err(fault) => return Report { result: Err(Some(fault)), order: Vec::new() },
        };
        let notice = self.engine.ended().await.expect("the engine runs");
        let result = match notice.ended.map(|(_, outcome)| outcome) {
            Some(Outcome::Completed(output)) => Ok(output.to_value()),
            Some(Outcome::Faulted(fault)) => Err(Some(fault)),
            Some(Outcome::Cancelled(_)) | None => Err(None),
        };
        let timeline = self.engine.timeline(stream).await;
        let began = timeline["items"].as_array().into_iter().flatten().filter(|item| item["outcome"] != "Skipped");
        let order = began.filter_map(|item| Some(item["name"].as_str()?.to_owned())).collect();
        Report { result, order }
    }

    pub fn new(store: Arc<dyn Store>, caller: Arc<dyn ServiceCaller>) -> Self {
        Self::with_config(Config::default(), store, caller)
    }

    pub fn with_config(config: Config, store: Arc<dyn Store>, caller: Arc<dyn ServiceCaller>) -> Self {
        Self { engine: Headless::start(config, store, caller) }
    }

    /// Keeps `concurrency` runs of the document going for at least `time`; returns how many ended and how long it
    /// took.
    ///
    /// # Panics
    /// When the document is not valid.
    pub async fn run(&self, document: &Value, input: &Value, concurrency: usize, time: Duration) -> (u64, Duration) {
        let begun = Instant::now();
        let (mut runs, mut going) = (0, 0);
        while going < concurrency {
            self.engine.begin(document, input);
            going += 1;
        }
        while going > 0 && self.engine.ended().await.is_some() {
            runs += 1;
            if begun.elapsed() < time {
                self.engine.begin(document, input);
            } else {
                going -= 1;
            }
        }
        (runs, begun.elapsed())
    }

    /// Begins `count` runs without waiting for them.
    ///
    /// # Panics
    /// When the document is not valid.
    pub fn begin(&self, document: &Value, input: &Value, count: usize) {
        for _ in 0..count {
            self.engine.begin(document, input);
        }
    }

    /// Waits until so many runs sleep outside of memory.
    pub async fn chilled(&self, count: usize) {
        self.engine.chilled(count).await;
    }

    /// Takes up the runs in the journal; says how many.
    pub async fn recover(&self) -> usize {
        self.engine.recover().await
    }

    /// Runs that have begun and not ended, asleep or not.
    pub fn active(&self) -> usize {
        self.engine.active()
    }

    /// Waits for the next run to end; how long after its start it did, and its output if it has one.
    pub async fn ended(&self) -> Option<(Duration, Option<Value>)> {
        let notice = self.engine.ended().await?;
        let (at, outcome) = notice.ended?;
        let output = match outcome {
            Outcome::Completed(output) => Some(output.to_value()),
            Outcome::Faulted(_) | Outcome::Cancelled(_) => None,
        };
        Some((Duration::from_millis((at - notice.started_at).unsigned_abs()), output))
    }
}
