//! Durable workflows.
mod compile;
mod core;
mod duration;
mod expression;
mod fault;
mod node;
mod program;
