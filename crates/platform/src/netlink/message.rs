//! The frame of netlink: messages in a datagram, attributes in a message (RFC 3549, section 2.2).
//!
//! Read by hand and tolerantly: an attribute a newer kernel made longer, or one we never heard
//! of, must not hide a whole link. What is cut ends the iteration, it never fails. Integers are
//! in the host's byte order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::Mac;

/// One message of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// `RTM_NEWLINK`, `NLMSG_DONE` ...
    pub(crate) kind: u16,
    /// `NLM_F_*`.
    pub(crate) flags: u16,
    /// Number of the request it answers; 0 in an event.
    pub(crate) sequence: u32,
    /// What follows the header.
    pub(crate) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The attributes behind a fixed part of `fixed_len` bytes.
    pub(crate) fn attributes(&self, fixed_len: usize) -> Attributes<'a> {
        Attributes::new(self.body.get(fixed_len..).unwrap_or_default())
    }
}

/// The messages of one datagram, in order.
#[derive(Debug, Clone)]
pub(crate) struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    /// Reads `datagram` from its first byte.
    pub(crate) fn new(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let len = read_u32(self.0.get(..4)?)? as usize;
        let body = self.0.get(HEADER_LEN..len)?;
        let message = Message {
            kind: read_u16(self.0.get(4..6)?)?,
            flags: read_u16(self.0.get(6..8)?)?,
            sequence: read_u32(self.0.get(8..12)?)?,
            body,
        };
        self.0 = self.0.get(align(len)..).unwrap_or_default();
        Some(message)
    }
}

/// Type-length-value triples, in order.
#[derive(Debug, Clone)]
pub(crate) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Reads `bytes` from the first attribute on.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let len = usize::from(read_u16(self.0.get(..2)?)?);
        let kind = read_u16(self.0.get(2..4)?)? & NLA_TYPE_MASK;
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(align(len)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// A request in the making.
#[derive(Debug)]
pub(crate) struct Request(Vec<u8>);

impl Request {
    /// A message of this kind whose fixed part is `fixed`.
    pub(crate) fn new(kind: u16, flags: u16, sequence: u32, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(fixed);
        bytes.resize(align(bytes.len()), 0);
        Self(bytes)
    }

    /// Attributes of a request to come, or of a nest.
    pub(crate) const fn attributes() -> Self {
        Self(Vec::new())
    }

    /// Adds an attribute that holds one number.
    #[must_use]
    pub(crate) fn with_u32(self, kind: u16, value: u32) -> Self {
        self.with(kind, &value.to_ne_bytes())
    }

    /// Adds an attribute.
    #[must_use]
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(align(self.0.len()), 0);
        self
    }

    /// Adds an attribute that is text with a NUL behind it.
    #[must_use]
    pub(crate) fn with_text(self, kind: u16, text: &str) -> Self {
        self.with(kind, &[text.as_bytes(), &[0]].concat())
    }

    /// Adds an attribute that holds others.
    #[must_use]
    pub(crate) fn with_nest(self, kind: u16, inside: &Self) -> Self {
        self.with(kind | NLA_F_NESTED, &inside.0)
    }

    /// Adds all attributes of another.
    #[must_use]
    pub(crate) fn with_all(mut self, others: &Self) -> Self {
        self.0.extend_from_slice(&others.0);
        self
    }

    /// The bytes to send.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        if let Some(field) = self.0.get_mut(..4) {
            field.copy_from_slice(&len.to_ne_bytes());
        }
        self.0
    }
}

/// The first two bytes as a number.
pub(crate) fn read_u16(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|b| u16::from_ne_bytes(*b))
}

/// The first four bytes as a number.
pub(crate) fn read_u32(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

/// The first four bytes as a signed number.
pub(crate) fn read_i32(bytes: &[u8]) -> Option<i32> {
    bytes.first_chunk().map(|b| i32::from_ne_bytes(*b))
}

/// An IPv4 or IPv6 address, by its length.
pub(crate) fn read_ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into())
}

/// A MAC address; `None` for link addresses of another length.
pub(crate) fn read_mac(bytes: &[u8]) -> Option<Mac> {
    <[u8; 6]>::try_from(bytes).ok().map(Mac)
}

/// Text up to its first NUL; what is not UTF-8 is replaced, the kernel allows any byte in a name.
pub(crate) fn read_text(bytes: &[u8]) -> String {
    let text = bytes.split(|b| *b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// Everything in netlink starts at a multiple of four.
const fn align(len: usize) -> usize {
    len.saturating_add(3) & !3
}

const HEADER_LEN: usize = 16;
/// The upper two bits of an attribute's type are flags.
const NLA_TYPE_MASK: u16 = 0x3fff;

/// What is in the attribute is attributes.
const NLA_F_NESTED: u16 = 0x8000;

pub(crate) const NLM_F_REQUEST: u16 = 0x0001;
pub(crate) const NLM_F_ACK: u16 = 0x0004;
pub(crate) const NLM_F_DUMP: u16 = 0x0300;
/// The table changed while it was dumped; the dump may be inconsistent.
pub(crate) const NLM_F_DUMP_INTR: u16 = 0x0010;

pub(crate) const NLMSG_ERROR: u16 = 2;
pub(crate) const NLMSG_DONE: u16 = 3;
pub(crate) const NLMSG_OVERRUN: u16 = 4;
pub(crate) const RTM_NEWLINK: u16 = 16;
pub(crate) const RTM_DELLINK: u16 = 17;
pub(crate) const RTM_GETLINK: u16 = 18;
pub(crate) const RTM_NEWADDR: u16 = 20;
pub(crate) const RTM_DELADDR: u16 = 21;
pub(crate) const RTM_GETADDR: u16 = 22;
pub(crate) const RTM_NEWROUTE: u16 = 24;
pub(crate) const RTM_DELROUTE: u16 = 25;
pub(crate) const RTM_GETROUTE: u16 = 26;
pub(crate) const RTM_NEWNEIGH: u16 = 28;
pub(crate) const RTM_DELNEIGH: u16 = 29;
pub(crate) const RTM_GETNEIGH: u16 = 30;
pub(crate) const RTM_NEWNSID: u16 = 88;
pub(crate) const RTM_DELNSID: u16 = 89;
pub(crate) const RTM_GETNSID: u16 = 90;

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_link_dump_request_has_the_bytes_the_kernel_expects() {
        let request = Request::new(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 7, &[0; 16])
            .with_u32(29, 8)
            .finish();
        let expected = [
            40, 0, 0, 0, // length
            18, 0, 0x01, 0x03, // RTM_GETLINK, REQUEST|DUMP
            7, 0, 0, 0, // sequence
            0, 0, 0, 0, // port: the kernel fills it
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // ifinfomsg: all links
            8, 0, 29, 0, 8, 0, 0, 0, // IFLA_EXT_MASK: RTEXT_FILTER_SKIP_STATS
        ];
        assert_eq!(request, expected);
    }

    #[test]
    fn two_messages_of_a_datagram_are_read_with_their_padding() {
        let bytes = [
            17, 0, 0, 0, 16, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xaa, 0, 0,
            0, // one byte, padded
            16, 0, 0, 0, 3, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, // done, without a body
        ];
        let messages: Vec<_> = Messages::new(&bytes).collect();
        assert_eq!(
            messages,
            [
                Message { kind: RTM_NEWLINK, flags: 2, sequence: 1, body: &[0xaa] },
                Message { kind: NLMSG_DONE, flags: 2, sequence: 1, body: &[] },
            ]
        );
    }

    #[test]
    fn an_attribute_longer_than_its_message_ends_the_list() {
        let bytes = [5, 0, 1, 0, 0xaa, 0, 0, 0, 9, 0, 2, 0, 1, 2, 3, 4];
        assert_eq!(Attributes::new(&bytes).collect::<Vec<_>>(), [(1, &[0xaa_u8][..])]);
    }

    #[test]
    fn an_attribute_shorter_than_its_header_ends_the_list() {
        assert_eq!(Attributes::new(&[0, 0, 1, 0, 0, 0, 0, 0]).count(), 0);
        assert_eq!(Messages::new(&[0; 64]).count(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            for message in Messages::new(&bytes) {
                prop_assert!(message.attributes(16).count() <= bytes.len() / 4);
            }
            prop_assert!(Attributes::new(&bytes).count() <= bytes.len() / 4);
        }
    }
}
