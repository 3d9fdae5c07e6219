//! The filter language: pcap-filter(7), on any header of any tunnel.
//!
//! An expression without tunnels means what it means to tcpdump. With tunnels, each primitive
//! looks at the innermost frame, the packet as the VM sent it; `outer (...)` looks at the
//! underlay, `any (...)` is true if some one level satisfies all of it, and no word changes where
//! another one looks. Not here yet: byte access and arithmetic, names of the inventory.

mod error;
mod expression;
mod matcher;
mod names;
mod parser;
#[cfg(test)]
mod tests;
mod token;

use std::fmt;
use std::str::FromStr;

pub use self::error::ParseError;
use wire::{Layers, Packet};

use self::expression::Expression;

/// An expression that says which packets are wanted, ready to be asked.
///
/// Its text is its normal form: everything said in full, `and` and `or` only mixed by parentheses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    expression: Expression,
}

impl Filter {
    /// Understands `text`, or says where not and what was expected. Empty text wants every packet.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Ok(Self { expression: parser::parse(text)? })
    }

    /// Whether the packet is wanted. `layers` must come from the same bytes.
    pub fn matches(&self, packet: &Packet<'_>, layers: &Layers) -> bool {
        matcher::matches(&self.expression, packet, layers)
    }
}

impl FromStr for Filter {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expression.fmt(f)
    }
}
