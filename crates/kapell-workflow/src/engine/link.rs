//! Gives a definition what it needs before a run of it begins: resources are fetched and pinned, names of secrets' keys
//! looked up.
//!
//! Resources are fetched when a run begins and kept for a while ([`fetched`]), so that a hundred runs cost one fetch and a
//! changed document is seen soon. From then on the run has its own copy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kapell_client::ObjectKey;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::Shared;
use super::exchange::answer;
use crate::authentication::Credentials;
use crate::compile::{self, Failure};
use crate::core::exchange::Reply;
use crate::core::record::Request;
use crate::expression::meter::on_deep_stack;
use crate::expression::{Arguments, Datum};
use crate::fault::{Fault, Standard};
use crate::program::Program;
use crate::resources::{Need, reduce};
use crate::secrets::{Sealed, is_sealed};

mod fetched;
#[cfg(test)]
mod tests;

pub(super) use fetched::Fetched;
use fetched::Found;

/// A function may need others, and these others.
const MOST_ROUNDS: usize = 8;
/// Resources of one definition.
const MOST_NEEDS: usize = 64;
const MOST_REDIRECTS: usize = 5;
/// All fetching for one start; a run should rather fault than keep others from being looked at.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a definition is not linked.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// What the run faults with instead of beginning.
    #[error("{}", .0.detail.as_deref().unwrap_or_default())]
    Fault(Fault),
    #[error("Secret `{name}` cannot be read now: {why}")]
    Secret { name: String, why: String },
    /// What it needs is being fetched, or there is no room to fetch it; the run is looked at again when that has changed.
    #[error("its resources are being fetched")]
    Busy,
}

impl From<Fault> for LinkError {
    fn from(fault: Fault) -> Self {
        LinkError::Fault(fault)
    }
}

/// A definition that can run.
pub(super) struct Linked {
    pub(super) hash: String,
    pub(super) program: Arc<Program>,
    pub(super) secrets: Option<Sealed>,
    /// It holds resources as they are now.
    pub(super) pinned: bool,
}

/// Compiles the definition with all that it needs, for the run `who`.
pub(super) async fn link(shared: &Arc<Shared>, who: &ObjectKey, definition: Value) -> Result<Linked, LinkError> {
    let configuration = |detail: String| Fault::new(Standard::Configuration, "/", detail);
    let mut definition = definition;
    let deadline = Instant::now() + PATIENCE;
    let mut needed = 0;
    for _ in 0..MOST_ROUNDS {
        let compiling = shared.clone();
        let compiled = tokio::task::spawn_blocking(move || (compiling.programs.compile(&definition), definition)).await;
        let (compiled, given) = compiled.map_err(|error| configuration(error.to_string()))?;
        definition = given;
        let needs = match compiled {
            Ok((hash, program)) => {
                let secrets = secrets(shared, &who.namespace, &program).await?;
                return Ok(Linked { hash, program, secrets, pinned: needed > 0 });
            }
            Err(Failure::Problems(problems)) => {
                return Err(configuration(problems.first().map(ToString::to_string).unwrap_or_default()).into());
            }
            Err(Failure::Needs(needs)) => needs,
        };
        for need in needs {
            needed += 1;
            if needed > MOST_NEEDS {
                return Err(configuration(format!("it needs more than {MOST_NEEDS} resources")).into());
            }
            compile::pin(&mut definition, &need, resource(shared, who, &need, deadline).await?);
        }
    }
    Err(configuration(format!("its functions need each other more than {MOST_ROUNDS} levels deep")).into())
}

/// The names of the keys that expressions can ask for.
async fn secrets(shared: &Shared, namespace: &str, program: &Program) -> Result<Option<Sealed>, LinkError> {
    if !program.sealed {
        return Ok(None);
    }
    let mut keys = BTreeMap::new();
    for name in &program.secrets {
        keys.insert(name.clone(), keys_of(shared, namespace, name).await?);
    }
    Ok(Some(Sealed::new(keys)))
}

async fn keys_of(shared: &Shared, namespace: &str, name: &str) -> Result<Vec<String>, LinkError> {
    match shared.secrets.read(namespace, name).await {
        Ok(Some(data)) => Ok(data.into_keys().collect()),
        Ok(None) => {
            let detail = format!("there is no Secret `{name}` in namespace {namespace}");
            Err(Fault::new(Standard::Configuration, "/use/secrets", detail).into())
        }
        // The API may answer in a moment, and the run cannot be blamed for it.
        Err(why) => Err(LinkError::Secret { name: name.to_owned(), why }),
    }
}

/// A resource, kept or fetched until `deadline`.
async fn resource(shared: &Arc<Shared>, who: &ObjectKey, need: &Need, deadline: Instant) -> Result<Value, LinkError> {
    let name = (who.namespace.clone(), need.key(), format!("{:?}", need.authentication));
    let found = match shared.fetched.find(&name, who) {
        Found::Known(found) => found,
        Found::Busy => return Err(LinkError::Busy),
        Found::Unknown(place) => {
            let fetched = tokio::time::timeout_at(deadline, fetch_reduced(shared, &who.namespace, need)).await;
            let found = match fetched {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(LinkError::Fault(fault))) => Err(fault),
                Ok(Err(passing)) => return Err(passing),
                Err(_elapsed) => {
                    let detail = format!("{} was not there within {} s", need.uri, PATIENCE.as_secs());
                    Err(Fault::new(Standard::Communication, "/", detail).with_status(504))
                }
            };
            place.keep(found.clone());
            found
        }
    };
    // Others may need it in another place.
    let located = |detail: Option<String>| detail.map(|detail| format!("{}: {detail}", need.path));
    found.map_err(|fault| Fault { detail: located(fault.detail), ..fault }.into())
}

async fn fetch_reduced(shared: &Arc<Shared>, namespace: &str, need: &Need) -> Result<Value, LinkError> {
    let configuration = |why: String| Fault::new(Standard::Configuration, "/", format!("{} {why}", need.uri));
    let bytes = match need.uri.strip_prefix("file:") {
        Some(path) => file(shared, path).await.map_err(configuration)?,
        None => fetch(shared, namespace, need).await?.body.to_vec(),
    };
    let (asked, reducing) = (need.clone(), move |need: &Need| on_deep_stack(|| reduce(need, &bytes)));
    let value = tokio::task::spawn_blocking(move || reducing(&asked)).await;
    Ok(value.map_err(|error| configuration(error.to_string()))?.map_err(configuration)?)
}

/// A file below the directory that the operator has named.
async fn file(shared: &Shared, path: &str) -> Result<Vec<u8>, String> {
    let Some(directory) = &shared.config.resources else {
        return Err("is a file, and the server was started without --workflow-resources".to_owned());
    };
    let path = path.trim_start_matches('/');
    if path.split('/').any(|part| part == ".." || part.is_empty()) {
        return Err("does not name a file below the directory of resources".to_owned());
    }
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let directory = tokio::fs::canonicalize(directory).await.map_err(unreadable)?;
    let file = tokio::fs::canonicalize(directory.join(path)).await.map_err(unreadable)?;
    if !file.starts_with(&directory) {
        return Err("leads out of the directory of resources".to_owned());
    }
    tokio::fs::read(file).await.map_err(unreadable)
}

/// Follows redirects; each hop is held against the egress rules.
async fn fetch(shared: &Arc<Shared>, namespace: &str, need: &Need) -> Result<Reply, LinkError> {
    let about = |what: String| format!("{} {what}", need.uri);
    let mut request = request(shared, namespace, need).await?;
    for _ in 0..MOST_REDIRECTS {
        let reply = answer(shared, namespace, &request, "").await.map_err(|failure| {
            let detail = about(format!("cannot be fetched: {failure}"));
            Fault::new(failure.standard(), "/", detail).with_status(failure.status())
        })?;
        if (200..300).contains(&reply.status) {
            return Ok(reply);
        }
        let location = reply.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("location"));
        let next = location.filter(|_| (300..400).contains(&reply.status));
        let next = next.and_then(|(_, location)| Url::parse(&request.uri).ok()?.join(location).ok());
        let Some(next) = next else {
            let detail = about(format!("answered {}", reply.status));
            return Err(Fault::new(Standard::Communication, "/", detail).with_status(reply.status).into());
        };
        // Credentials are for the host that they were given for, and for the way to it.
        if Url::parse(&request.uri).is_ok_and(|present| present.origin() != next.origin()) {
            request.authentication = None;
        }
        request.uri = next.into();
    }
    Err(Fault::new(Standard::Communication, "/", about("redirects too often".to_owned())).into())
}

async fn request(shared: &Shared, namespace: &str, need: &Need) -> Result<Request, LinkError> {
    let mut request = Request { method: "GET".to_owned(), uri: need.uri.clone(), ..Request::default() };
    let Some(authentication) = &need.authentication else { return Ok(request) };
    // Before a run begins there is nothing but secrets to prove oneself with.
    let mut keys = BTreeMap::new();
    for name in &need.secrets {
        keys.insert(name.clone(), keys_of(shared, namespace, name).await?);
    }
    let sealed = Sealed::new(keys);
    let settings = on_deep_stack(|| authentication.settings.evaluate(&Datum::Null, &BeforeRun(&sealed)));
    let settings = settings.map_err(|error| Fault::new(Standard::Expression, "/", error.to_string()))?;
    request.authentication = Some(Box::new(Credentials { scheme: authentication.scheme, settings }));
    let tokens = request.texts().iter().any(|text| is_sealed(text.as_bytes()));
    request.sealed = tokens.then_some(sealed.nonce);
    Ok(request)
}

struct BeforeRun<'s>(&'s Sealed);

impl Arguments for BeforeRun<'_> {
    fn argument(&self, name: &str) -> Datum {
        if name == "secrets" { self.0.argument() } else { Datum::Null }
    }
}
