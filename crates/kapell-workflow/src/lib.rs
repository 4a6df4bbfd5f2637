//! Durable workflows: the CNCF Serverless Workflow DSL, compiled, run step by step, and journalled.
//!
//! ```text
//! document ──compile──▶ program ┐
//!                               ├──core: (state, event, now) → (records, effects)──▶ engine: journal, timers, calls
//! WorkflowRun ──────────────────┘
//! ```
//!
//! * [`validate`] says everything that is wrong with a document. What the engine does not support is refused by name.
//! * `core` is pure: it knows neither the clock nor the network, and its state can be rebuilt from its records.
//! * [`Engine`] gives it both, and looks after `WorkflowRun` objects.
//!
//! Of the DSL there is every task and every option; of calls http, openapi, grpc and functions. What is our own stands in
//! `metadata."kapell.dev/v1"`: compensations, sagas, dags, parallel loops and more. What is to come (asyncapi, mcp, a2a) is
//! refused by name; a task is a variant of `program::TaskKind` with its reading, its decision and its record.

mod authentication;
#[doc(hidden)]
pub mod bench;
pub mod cases;
mod cloud_event;
mod compile;
mod core;
mod doubts;
mod duration;
pub mod egress;
mod engine;
mod expression;
mod fault;
pub mod graph;
mod grpc;
mod journal;
mod node;
mod openapi;
mod program;
mod resources;
mod schedule;
mod schema;
mod secrets;
mod settings;
mod timeline;

pub use compile::{processes, validate};
pub use doubts::doubts;
pub use engine::{
    CallFailure, Config, Engine, EventLimits, EventsError, Full, IngestError, PublishError, Refused, ServiceCaller,
    SignalError, TimelineError,
};
pub use fault::Fault;
