//! A controller as people meet it: `overtap serve` on loopback, and users, tokens, grants, agents
//! audit and the HTTP door against it; sessions in an object store.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail this way"
)]

mod admin;
mod alerts;
mod audit;
mod controller;
mod host;
mod http;
mod log;
mod metrics;
mod moto;
mod schema;
mod stored;
mod strangers;
mod tenants;
mod traffic;
mod web;
