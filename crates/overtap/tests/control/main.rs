//! A controller as people meet it: `overtap serve` on loopback, and users, tokens, grants, agents
//! and audit against it; sessions in an object store.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail this way"
)]

mod admin;
mod audit;
mod controller;
mod host;
mod log;
mod metrics;
mod moto;
mod stored;
mod strangers;
mod tenants;
