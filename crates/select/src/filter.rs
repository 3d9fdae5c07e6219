//! The filter language. Only its name so far: the kernel programs already have a place for it.

/// An expression that says which packets are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter;
