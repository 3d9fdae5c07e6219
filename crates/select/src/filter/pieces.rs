//! Which expressions ask for something that differs between the pieces of one packet.

use super::arithmetic::{Accessor, Arithmetic};
use super::expression::{Expression, Primitive};

impl Expression {
    /// Whether it asks for the length of frames, or for bytes that every piece has of its own.
    pub(super) fn is_about_pieces(&self) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::is_about_pieces),
            Self::Not(part) | Self::Within(_, part) => part.is_about_pieces(),
            Self::Is(primitive) => match primitive {
                Primitive::Less(_) | Primitive::Greater(_) => true,
                Primitive::Relation { left, right, .. } => {
                    left.is_about_pieces() || right.is_about_pieces()
                }
                _ => false,
            },
        }
    }
}

impl Arithmetic {
    fn is_about_pieces(&self) -> bool {
        match self {
            Self::Number(_) => false,
            Self::Length => true,
            Self::Bytes { header, offset, .. } => {
                matches!(header, Accessor::Ether | Accessor::Carried(_)) || offset.is_about_pieces()
            }
            Self::Negative(of) => of.is_about_pieces(),
            Self::Calculated { left, right, .. } => {
                left.is_about_pieces() || right.is_about_pieces()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Filter;

    #[test]
    fn lengths_and_bytes_of_ip_are_each_pieces_own() {
        for (text, is_about_pieces) in [
            ("udp port 53 and host 10.0.0.1", false),
            ("not (vni 5 or icmp[icmptype] == 8)", false),
            ("udp[4:2] > 100", false),
            ("ip[6:2] & 0x1fff != 0", true),
            ("outer (ip6[4:2] < 100) or tcp", true),
            ("ether[0] & 1 = 0", true),
            ("udp[ip[0]] = 1", true),
            ("port 53 and not greater 100", true),
            ("len - 4 > 100", true),
        ] {
            assert_eq!(Filter::parse(text).unwrap().is_about_pieces(), is_about_pieces, "{text}");
        }
    }
}
