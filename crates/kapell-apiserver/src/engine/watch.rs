//! `?watch=true`: one JSON line per change, for as long as the client stays.
//!
//! A watcher owns a cursor into the store's history, nothing is queued for it: a slow one falls behind alone, and when
//! the history it needs is gone it is told 410 and lists again. Selectors apply to transitions: an object that
//! begins to match is ADDED, one that ceases to is DELETED.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::Stream;
use http::{Response, StatusCode};
use kapell_api::kind::Kind;
use kapell_api::problem::Problem;
use kapell_api::status::Status;
use kapell_store::{Change, Entry, ReadError, Revision, Watch};
use serde_json::{Value, json};
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, interval_at};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::read::{now, parse_revision, shape_of};
use super::selection::Selection;
use super::shared_events::{Format, Rows, SharedEvents, Told};
use super::{Call, Engine, read_failed, undecodable};
use crate::form::Form;
use crate::metrics::CountedWatch;
use crate::negotiate::Shape;
use crate::resources::Resource;
use crate::table::{self, Include};
use crate::{reply, stored};

/// How often a quiet watcher that wants bookmarks gets one, as upstream.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// A watch without `timeoutSeconds` lasts this long and up to twice as long: clients come back at different times.
const LEAST_DURATION: Duration = Duration::from_secs(30 * 60);
/// Initial events are written in frames of this many objects, so that a large list is not encoded at once.
const INITIAL_FRAME: usize = 100;

/// Where a watch begins.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// With the changes after this revision.
    After(Revision),
    /// With everything that exists, as ADDED; `marked` ends that with a bookmark of its own.
    Everything { marked: bool },
    /// With the next change.
    Now,
}

impl Engine {
    pub(super) async fn watch(
        &self,
        call: &Call,
        resource: &Resource,
        name: Option<&str>,
    ) -> Result<Response<Body>, Status> {
        let kind = resource.kind;
        let form = Form::of(self.served(call)?.kind);
        let encoder = Encoder {
            kind,
            form,
            shape: shape_of(call)?,
            include: Include::from_query(&call.query, form)?,
            selection: Selection::from_query(form.kind(), &call.query, name)?,
            shared: self.events.clone(),
        };
        let bookmarks = call.query.flag("allowWatchBookmarks");
        let duration = match call.query.get("timeoutSeconds") {
            Some(text) => Duration::from_secs(text.parse().map_err(|_| {
                Status::bad_request(format!("Invalid value: {text:?}: timeoutSeconds must be a non-negative integer"))
            })?),
            None => LEAST_DURATION.mul_f64(1.0 + rand::random::<f64>()),
        };
        let prefix = encoder.selection.prefix(kind, call.path.namespace.as_deref());
        let latest = self.store.revision();
        let (initial, from, marked) = match start(call, kind, latest)? {
            Start::After(revision) => (Vec::new(), revision, false),
            Start::Now => (Vec::new(), latest, false),
            Start::Everything { marked } => {
                let selected = self.select_all(&prefix, &encoder.selection).await?;
                (selected.entries, selected.revision, marked)
            }
        };
        let watch = self.store.watch(prefix.as_bytes(), from).map_err(watch_failed)?;
        let first_bookmark = Instant::now() + BOOKMARK_INTERVAL;
        let mut ticks = interval_at(first_bookmark, BOOKMARK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let feed = Feed {
            encoder,
            watch,
            initial: initial.into_iter(),
            // The mark is a bookmark: who does not take bookmarks gets none.
            mark: (marked && bookmarks).then_some(from),
            bookmarks,
            ticks,
            end: Box::pin(tokio::time::sleep(duration)),
            shutdown: Box::pin(call.shutdown.clone().cancelled_owned()),
            ended: false,
            _counted: CountedWatch::begin(&self.metrics, kind),
        };
        let mut response = reply::json(StatusCode::OK, Bytes::new(), &[]);
        *response.body_mut() = Body::from_stream(feed.into_stream());
        Ok(response)
    }
}

fn start(call: &Call, kind: &Kind, latest: Revision) -> Result<Start, Status> {
    let query = &call.query;
    let revision = query.get("resourceVersion").map(parse_revision).transpose()?;
    if let Some(revision) = revision.filter(|&r| r > latest) {
        return Err(Status::resource_version_too_large(revision, latest));
    }
    let invalid = |field: &str, why: &str| Err(Status::invalid(kind, "", &[Problem::forbidden(field, why)]));
    let matching = query.get("resourceVersionMatch");
    match query.get("sendInitialEvents") {
        None if matching.is_some() => invalid(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        None => Ok(match revision {
            None | Some(0) => Start::Everything { marked: false },
            Some(revision) => Start::After(revision),
        }),
        Some(_) if matching != Some("NotOlderThan") => {
            invalid("resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
        }
        Some(_) if query.flag("sendInitialEvents") => Ok(Start::Everything { marked: true }),
        Some(_) => Ok(match revision {
            None | Some(0) => Start::Now,
            Some(revision) => Start::After(revision),
        }),
    }
}

fn watch_failed(error: ReadError) -> Status {
    match error {
        ReadError::Compacted { requested, oldest } => {
            Status::expired(format!("too old resource version: {requested} ({oldest})"))
        }
        error => read_failed(error),
    }
}

/// Turns entries into lines in the client's shape.
struct Encoder {
    kind: &'static Kind,
    form: Form,
    shape: Shape,
    include: Include,
    selection: Selection,
    shared: Arc<SharedEvents>,
}

impl Encoder {
    /// The event that a change is for this watcher, if any. Which one it is, is his own; its bytes he may share.
    fn change(&self, change: &Change) -> Result<Option<Bytes>, Status> {
        let matches = |entry: &Option<Arc<Entry>>| match entry {
            Some(entry) => Ok(self.selection.is_everything() || self.selection.matches(entry)?),
            None => Ok::<bool, Status>(false),
        };
        let (before, after) = (matches(&change.previous)?, matches(&change.entry)?);
        let (told, entry) = match (&change.previous, &change.entry) {
            (_, Some(entry)) if after => (if before { Told::Modified } else { Told::Added }, entry),
            // Shown as it last was, at the revision at which it went.
            (Some(previous), _) if before => (Told::Deleted, previous),
            _ => return Ok(None),
        };
        let encode = || {
            let mut out = Vec::new();
            self.event(&mut out, told.word(), entry, change.revision)?;
            Ok(out)
        };
        self.shared.event(change.revision, self.format(), told, encode).map(Some)
    }

    fn format(&self) -> Format {
        let rows = match self.include {
            Include::Nothing => Rows::Cells,
            Include::Metadata => Rows::Metadata,
            Include::Object(_) => Rows::Objects,
        };
        let table = matches!(self.shape, Shape::Table(_)).then(|| (rows, now().0));
        Format { served: self.form.kind(), shape: self.shape, table }
    }

    fn event(&self, out: &mut Vec<u8>, kind: &str, entry: &Entry, revision: Revision) -> Result<(), Status> {
        begin_event(out, kind);
        match self.shape {
            Shape::Object => self.form.write(out, entry, revision),
            Shape::Table(version) => {
                let object = stored::decode_at(entry, revision).map_err(|error| undecodable(self.kind, &error))?;
                let metadata = json!({"resourceVersion": revision.to_string()});
                let table = table::table(self.kind, version, vec![object], self.include, metadata, now());
                out.extend_from_slice(table.to_string().as_bytes());
            }
            Shape::Metadata(version) => table::write_partial(out, version, self.kind, entry, revision)?,
        }
        end_event(out);
        Ok(())
    }

    /// `initial_end` marks that everything that existed has been sent.
    fn bookmark(&self, revision: Revision, initial_end: bool) -> Vec<u8> {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.shape {
            Shape::Object => {
                let served = self.form.kind();
                json!({"kind": served.kind, "apiVersion": served.api_version(), "metadata": metadata})
            }
            Shape::Metadata(version) => table::partial(version, json!({"metadata": metadata})),
            Shape::Table(version) => table::table(self.kind, version, Vec::new(), self.include, metadata, now()),
        };
        let mut out = Vec::new();
        begin_event(&mut out, "BOOKMARK");
        out.extend_from_slice(object.to_string().as_bytes());
        end_event(&mut out);
        out
    }
}

fn begin_event(out: &mut Vec<u8>, kind: &str) {
    out.extend_from_slice(br#"{"type":""#);
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(br#"","object":"#);
}

fn end_event(out: &mut Vec<u8>) {
    out.extend_from_slice(b"}\n");
}

fn error_event(status: &Status) -> Vec<u8> {
    let mut out = Vec::new();
    begin_event(&mut out, "ERROR");
    out.extend_from_slice(serde_json::to_value(status).unwrap_or(Value::Null).to_string().as_bytes());
    end_event(&mut out);
    out
}

/// One watcher's stream.
struct Feed {
    encoder: Encoder,
    watch: Box<dyn Watch>,
    initial: std::vec::IntoIter<Arc<Entry>>,
    /// The revision of the mark that is still to be sent after the initial events.
    mark: Option<Revision>,
    bookmarks: bool,
    ticks: Interval,
    /// These two are registered once and not for each event: a timer and a list that all watches share are behind them.
    end: Pin<Box<Sleep>>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
    _counted: CountedWatch,
}

impl Feed {
    fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        futures::stream::unfold(self, |mut feed| async move {
            let frame = feed.next_frame().await?;
            Some((Ok(frame), feed))
        })
    }

    /// The next bytes to send; `None` ends the stream.
    async fn next_frame(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        match self.initial_frame() {
            Ok(Some(frame)) => return Some(frame.into()),
            Ok(None) => {}
            Err(status) => return self.fail(&status),
        }
        loop {
            // Changes come last: under constant load they are always ready, and the others must get their turn.
            let changes = tokio::select! {
                biased;
                () = self.shutdown.as_mut() => {
                    self.ended = true;
                    return None;
                }
                () = self.end.as_mut() => {
                    self.ended = true;
                    return self.bookmarks.then(|| self.encoder.bookmark(self.watch.revision(), false).into());
                }
                _ = self.ticks.tick(), if self.bookmarks => {
                    return Some(self.encoder.bookmark(self.watch.revision(), false).into());
                }
                changes = self.watch.next() => changes,
            };
            let events = changes.map_err(watch_failed).and_then(|changes| {
                let events = changes.iter().filter_map(|change| self.encoder.change(change).transpose());
                events.collect::<Result<Vec<Bytes>, Status>>()
            });
            match events {
                Ok(mut events) => match events.len() {
                    0 => {}
                    1 => return events.pop(),
                    _ => return Some(events.concat().into()),
                },
                Err(status) => return self.fail(&status),
            }
        }
    }

    fn initial_frame(&mut self) -> Result<Option<Vec<u8>>, Status> {
        let mut out = Vec::new();
        for entry in self.initial.by_ref().take(INITIAL_FRAME) {
            self.encoder.event(&mut out, "ADDED", &entry, entry.modified)?;
        }
        if out.is_empty()
            && let Some(revision) = self.mark.take()
        {
            out = self.encoder.bookmark(revision, true);
        }
        Ok((!out.is_empty()).then_some(out))
    }

    fn fail(&mut self, status: &Status) -> Option<Bytes> {
        self.ended = true;
        Some(error_event(status).into())
    }
}
