//! How Kapell's services see the API: through a [`kube::Client`], whether the server is in this process or elsewhere.
//!
//! * [`Informer`] keeps a local copy of a set of objects, or what is needed of them, and tells of each change.
//! * [`lean`] decodes of an object what decisions are made of.
//! * [`Interner`] keeps equal parts of such copies once.
//! * [`Queue`] holds the keys that wait for a reconcile: each once, with delays and back-off.
//! * [`Recorder`] writes Events, counting those that repeat.
//! * [`reconcile`](reconcile::run) drains a queue with a few workers and isolates the panics of one key from the rest.
//!
//! Nothing in here knows where the API server is, so the same service runs against a real Kubernetes.

pub mod events;
mod identity;
pub mod informer;
mod interner;
pub mod lean;
pub mod queue;
pub mod reconcile;

pub use events::{Recorder, Severity};
pub use identity::{Followed, Identity, IdentityRef, ObjectKey};
pub use informer::{Change, Informer};
pub use interner::Interner;
pub use queue::Queue;
