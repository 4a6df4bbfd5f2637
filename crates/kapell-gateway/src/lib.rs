//! The way of every request to a Service: watched objects → routing table → traffic.
//!
//! ```text
//! Services, EndpointSlices ─ table (pure) ─ core ─┬─ listener ─ serve ─┐
//!                                                 └─ call ─────────────┴─ forward ─ balance ─ endpoint ─ link
//! ```
//!
//! * [`table`] says what should be, as values; `core` opens and closes listeners accordingly and keeps what is known of each
//!   endpoint across updates.
//! * `serve` speaks with clients (HTTP/1, HTTP/2 with prior knowledge, bytes), `forward` finds an endpoint for each request
//!   and another one when that is safe, `balance` chooses by power of two choices, `endpoint` remembers load, failures and
//!   open connections.
//! * `status` says in the Service where its ports listen, and why elsewhere than they should.
//!
//! The gateway terminates no TLS and forwards no UDP; a UDP port is refused in the Service's status. It starts no pods, checks
//! no health beyond what traffic shows, and keeps nothing on disk.

mod balance;
mod body;
mod call;
mod core;
mod detect;
mod endpoint;
mod forward;
mod gateway;
mod headers;
mod link;
mod listener;
mod metrics;
mod pass;
mod serve;
mod status;
pub mod table;
mod target;
mod tasks;

pub use balance::NoEndpoint;
pub use call::{CallError, CallOptions, is_grpc, whole};
pub use forward::ForwardError;
pub use gateway::{Gateway, GatewayConfig};
pub use pass::{EndpointConnection, EndpointLease, pass};
pub use status::LISTENING_CONDITION;
pub use table::{LISTEN_ANNOTATION, NODE_LISTEN_ANNOTATION};
pub use target::{ServiceTarget, TargetPort};
