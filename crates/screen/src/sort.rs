//! The orders a list of talkers can have.

use std::cmp::Ordering;

use crate::tally::Traffic;

/// What is first in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// Whoever sends most now.
    #[default]
    Rate,
    /// Whoever has sent most bytes.
    Bytes,
    /// Whoever has sent most packets.
    Packets,
    /// By name.
    Name,
}

impl Sort {
    /// The next one, around.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Rate => Self::Bytes,
            Self::Bytes => Self::Packets,
            Self::Packets => Self::Name,
            Self::Name => Self::Rate,
        }
    }

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Bytes => "bytes",
            Self::Packets => "packets",
            Self::Name => "name",
        }
    }

    /// Which of two comes first; by name where nothing else tells.
    pub(crate) fn compare(self, one: (&Traffic, &str), other: (&Traffic, &str)) -> Ordering {
        let ((a, one), (b, other)) = (one, other);
        let order = match self {
            Self::Rate => b.octets_per_s.total_cmp(&a.octets_per_s).then(b.octets.cmp(&a.octets)),
            Self::Bytes => b.octets.cmp(&a.octets),
            Self::Packets => b.packets.cmp(&a.packets),
            Self::Name => Ordering::Equal,
        };
        order.then_with(|| one.cmp(other))
    }
}
