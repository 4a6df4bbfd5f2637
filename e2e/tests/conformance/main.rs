//! Upstream's conformance cases that need no image, as black-box tests: each says in its documentation, line by line, which
//! titles of upstream's list it stands for. `cargo xtask conformance` makes docs/guide/conformance.md of these lines.
//!
//! The cases share one server and have a namespace each. What a case demands is upstream's; how it is asked is ours.

mod apimachinery;
mod apps;
mod auth;
mod cli;
mod containers;
mod ephemeral;
mod events;
mod garbage;
mod identity;
mod namespaces;
mod network;
mod node;
mod pods;
mod quota;
mod scheduling;
mod statefulsets;
mod storage;
mod subpaths;
mod taints;
mod traffic;
mod volumes;
mod watchers;
mod workloads;
