//! Resources as values: what each kind is called, looks like, defaults to, and may contain.
//!
//! Everything that distinguishes one kind from another is a row of [`kinds::KINDS`]; the API server is one engine
//! over that table. This crate also owns the ways in which one value becomes another: decoding with duplicate
//! detection, patches, defaulting. It performs no I/O and cannot await.

pub mod decode;
pub mod event_sink;
mod field_path;
pub mod jwt;
pub mod kind;
pub mod kinds;
pub mod managed;
pub mod metadata;
pub mod names;
pub mod net;
pub mod page;
pub mod patch;
pub mod placement;
pub mod pod_groups;
pub mod problem;
pub mod protobuf;
pub mod quantity;
pub mod schema;
pub mod selector;
pub mod service_account;
pub mod status;
pub mod time;
pub mod workflow;
