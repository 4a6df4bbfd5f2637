//! Signals from outside: CloudEvents that are sent to one run.
//!
//! They become entries of the run's `spec.signals`, which is what makes them durable, orders them and lets anybody who may see the
//! run see them; the run takes them in from there, each once (see [`crate::core::signals`]).

use http::HeaderMap;
use kapell_api::workflow::{MOST_SIGNALS, WorkflowRun};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use super::Engine;
use super::events::ingest::{self, IngestError};
use super::runs::code;

/// How often a signal is sent anew because the object has changed meanwhile. Each time somebody else has got further.
const MOST_CONFLICTS: u32 = 50;

/// Why a signal was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    #[error(transparent)]
    Ingest(#[from] IngestError),
    #[error("namespace {namespace} has no run {name:?}")]
    NoRun { namespace: String, name: String },
    #[error("run {name} has ended: it is {phase}")]
    Ended { name: String, phase: &'static str },
    #[error("a run takes {MOST_SIGNALS} signals; publish events that it listens for instead")]
    TooMany,
    #[error("others change the run all the time; send the signal again")]
    Contended,
    #[error("the API refused")]
    Api(#[source] Box<kube::Error>),
}

impl Engine {
    /// Sends the CloudEvents of an HTTP request to a run, and says how many they were. They are on disk then. One with the
    /// source and id of one that was sent before is not sent again.
    ///
    /// # Errors
    /// When the request holds no events, and when there is no such run or it has ended.
    pub async fn signal(
        &self,
        namespace: &str,
        name: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<usize, SignalError> {
        let events = ingest::events(headers, body)?;
        let sent: Vec<Value> = events.iter().map(|event| event.envelope().to_value()).collect();
        let api: Api<WorkflowRun> = Api::namespaced(self.client.clone(), namespace);
        let refused = |error| SignalError::Api(Box::new(error));
        for _ in 0..MOST_CONFLICTS {
            let run = api.get_opt(name).await.map_err(refused)?;
            let Some(run) = run else {
                return Err(SignalError::NoRun { namespace: namespace.to_owned(), name: name.to_owned() });
            };
            if let Some(phase) = run.status.as_ref().and_then(|status| status.phase).filter(|phase| phase.is_final()) {
                return Err(SignalError::Ended { name: name.to_owned(), phase: phase.as_str() });
            }
            let Some(signals) = with_added(&run.spec.signals, &sent) else { return Ok(sent.len()) };
            if signals.len() > MOST_SIGNALS {
                return Err(SignalError::TooMany);
            }
            let version = &run.metadata.resource_version;
            let patch =
                Patch::Merge(json!({ "metadata": { "resourceVersion": version }, "spec": { "signals": signals } }));
            match api.patch(name, &PatchParams::default(), &patch).await {
                Ok(_) => return Ok(sent.len()),
                Err(error) if code(&error) == Some(409) => {}
                Err(error) => return Err(refused(error)),
            }
        }
        Err(SignalError::Contended)
    }
}

/// `None`: all of them are there already.
fn with_added(known: &[Value], sent: &[Value]) -> Option<Vec<Value>> {
    let mut signals = known.to_vec();
    for signal in sent {
        let same = |other: &Value| other["id"] == signal["id"] && other["source"] == signal["source"];
        if !signals.iter().any(same) {
            signals.push(signal.clone());
        }
    }
    (signals.len() > known.len()).then_some(signals)
}
