//! The view of a host.
