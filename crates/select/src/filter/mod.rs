//! The filter language: pcap-filter(7), on any header of any tunnel.
//!
//! An expression without tunnels means what it means to tcpdump. With tunnels, each primitive
//! looks at the innermost frame, the packet as the VM sent it; `outer (...)` looks at the
//! underlay, `any (...)` is true if some one level satisfies all of it, and no word changes where
//! another one looks. Names of the inventory are explained by a [`Resolver`] before a matcher is
//! made.
//!
//! Words become a tree (`parser`, `expression`), the tree becomes questions about bytes and levels
//! (`lower`, `test`), and these become what runs in user space (`matcher`) and in the kernel
//! (`bpf`). The tree is also explained in words (`words`) and written in its normal form
//! (`display`).

pub(crate) mod arithmetic;
mod display;
mod error;
pub(crate) mod expression;
mod groups;
mod interest;
pub(crate) mod lower;
mod matcher;
pub(crate) mod members;
mod names;
#[cfg(test)]
mod names_tests;
pub(crate) mod numbers;
mod parser;
mod pieces;
mod place;
mod resolver;
pub(crate) mod test;
#[cfg(test)]
pub(crate) mod tests;
mod token;
mod words;

use std::fmt;
use std::str::FromStr;

pub use self::error::ParseError;
pub use self::groups::Groups;
pub use self::interest::Interest;
pub use self::resolver::{Member, Name, NameKind, NoNames, Resolved, Resolver, UnknownName};
pub use self::words::Explanation;
use wire::{Layers, Packet, TunnelPorts};

use self::expression::Expression;
use self::lower::{Meanings, Node, lower};
use self::matcher::Matcher;
pub(crate) use self::members::{MacHasher, Sieve, has_vif};
pub(crate) use self::test::mac_bits;

/// An expression that says which packets are wanted, ready to be asked.
///
/// Its text is its normal form: everything said in full, `and` and `or` only mixed by parentheses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    expression: Expression,
    meanings: Meanings,
    node: Node,
    matcher: Matcher,
}

impl Filter {
    /// Understands `text`, or says where not and what was expected. Empty text wants every packet.
    /// Names of the inventory are refused; [`parse_with`](Self::parse_with) takes them.
    ///
    /// # Errors
    /// The place, what was expected, and what was probably meant.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Self::parse_with(text, &NoNames)
    }

    /// Understands `text`, with the names of the inventory as `resolver` explains them.
    ///
    /// # Errors
    /// The place, what was expected, and what was probably meant.
    pub fn parse_with(text: &str, resolver: &dyn Resolver) -> Result<Self, ParseError> {
        let parser::Understood { expression, meanings } = parser::parse(text, resolver)?;
        let node = lower(&expression, &meanings);
        let matcher = Matcher::new(&node);
        Ok(Self { expression, meanings, node, matcher })
    }

    /// The names of the inventory in it, each once, by kind and then in the order of the alphabet.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.meanings.keys()
    }

    /// What it asks, in words.
    pub fn explanation(&self) -> Explanation {
        Explanation::of(self)
    }

    /// Whether every packet is wanted, because nothing was asked.
    pub fn wants_everything(&self) -> bool {
        self.expression == Expression::EVERYTHING
    }

    /// Whether it asks for the length of frames, or for bytes that every fragment has of its own:
    /// those of Ethernet and IP. Then each fragment answers for itself, as to libpcap; else the
    /// first piece answers for all pieces of its packet.
    pub fn is_about_pieces(&self) -> bool {
        self.expression.is_about_pieces()
    }

    /// The vNICs of which one must be in a packet that is wanted, if it demands any.
    pub(crate) fn named(&self) -> Option<&members::Members> {
        self.matcher.named()
    }

    /// What it comes down to.
    pub(crate) const fn node(&self) -> &Node {
        &self.node
    }

    /// Whether the packet is certainly not wanted, and no fragment, as far as can be seen without
    /// its layers: nearly every packet that has none of the vNICs that a filter demands.
    #[inline]
    pub fn refuses_at_a_glance(&self, packet: &Packet<'_>, ports: &TunnelPorts) -> bool {
        self.named().is_some_and(|named| {
            wire::is_certainly_without(packet.link, packet.data, ports, |macs| {
                named.has_one_of(macs)
            })
        })
    }

    /// Whether the packet is wanted. `layers` must come from the same bytes.
    ///
    /// As in libpcap, a packet that ends before a byte the answer depends on is not wanted,
    /// whatever else the expression says.
    #[inline]
    pub fn matches(&self, packet: &Packet<'_>, layers: &Layers) -> bool {
        self.matcher.matches(packet, layers)
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
