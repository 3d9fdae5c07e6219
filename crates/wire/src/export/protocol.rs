//! Which protocol a datagram is, told by its first bytes.
//!
//! Port numbers are a hint that two protocols may share, so they are not asked.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Cursor;

/// A protocol that carries flow records or samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// NetFlow version 5.
    #[serde(rename = "netflow5")]
    NetflowV5,
    /// NetFlow version 9 (RFC 3954).
    #[serde(rename = "netflow9")]
    NetflowV9,
    /// IPFIX (RFC 7011).
    #[serde(rename = "ipfix")]
    Ipfix,
    /// sFlow version 5.
    #[serde(rename = "sflow5")]
    Sflow,
}

impl Protocol {
    /// The protocol that `payload` says it is, whatever the rest of it is worth.
    #[inline]
    pub fn of(payload: &[u8]) -> Option<Self> {
        match payload {
            [0, 5, ..] => Some(Self::NetflowV5),
            [0, 9, ..] => Some(Self::NetflowV9),
            [0, 10, ..] => Some(Self::Ipfix),
            [0, 0, 0, 5, ..] => Some(Self::Sflow),
            _ => None,
        }
    }

    /// Whether `payload` holds a whole header and what follows begins as it must: what is asked of
    /// a sender that was never heard before, so that other traffic is not taken for export.
    pub fn is_plausible(self, payload: &[u8]) -> bool {
        let mut cursor = Cursor::new(payload);
        let found = match self {
            Self::NetflowV5 => cursor.pass::<24>().map(|header| {
                let [_, _, c0, c1, ..] = *header;
                u16::from_be_bytes([c0, c1]) > 0 && cursor.ahead().len() >= 48
            }),
            Self::NetflowV9 => cursor.pass::<20>().map(|_| begins_with_set(cursor, [0, 1])),
            Self::Ipfix => cursor.pass::<16>().map(|header| {
                let [_, _, l0, l1, ..] = *header;
                let is_bare = u16::from_be_bytes([l0, l1]) == 16;
                is_bare || begins_with_set(cursor, [2, 3])
            }),
            Self::Sflow => {
                cursor.pass::<28>().map(|_| matches!(payload.get(4..8), Some([0, 0, 0, 1 | 2])))
            }
        };
        found.unwrap_or_default()
    }

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetflowV5 => "netflow5",
            Self::NetflowV9 => "netflow9",
            Self::Ipfix => "ipfix",
            Self::Sflow => "sflow5",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether a set of templates or data stands here that ends within the payload.
fn begins_with_set(mut cursor: Cursor<'_>, templates: [u16; 2]) -> bool {
    let Some([i0, i1, l0, l1]) = cursor.pass::<4>() else { return false };
    let (id, len) = (u16::from_be_bytes([*i0, *i1]), u16::from_be_bytes([*l0, *l1]));
    let is_known = id >= 256 || templates.contains(&id);
    is_known && len >= 4 && usize::from(len) - 4 <= cursor.ahead().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_protocol() {
        assert_eq!(Protocol::of(&[0, 5, 0, 1]), Some(Protocol::NetflowV5));
        assert_eq!(Protocol::of(&[0, 9]), Some(Protocol::NetflowV9));
        assert_eq!(Protocol::of(&[0, 10]), Some(Protocol::Ipfix));
        assert_eq!(Protocol::of(&[0, 0, 0, 5]), Some(Protocol::Sflow));
        assert_eq!(Protocol::of(&[0, 0, 0, 4]), None);
        assert_eq!(Protocol::of(&[]), None);
    }

    #[test]
    fn a_dns_answer_that_begins_like_ipfix_is_not_taken_for_it() {
        // Id 10, flags, counts, then a name.
        let mut dns = vec![0, 10, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        dns.extend(b"\x03www\x07example\x03com\0\0\x01\0\x01");
        assert_eq!(Protocol::of(&dns), Some(Protocol::Ipfix));
        assert!(!Protocol::Ipfix.is_plausible(&dns));
    }
}
