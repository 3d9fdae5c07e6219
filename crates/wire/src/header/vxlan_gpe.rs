//! VXLAN with the generic protocol extension: the payload need not be Ethernet.

use crate::{Cursor, Layer, Stop, StopReason, Vni};

/// A VXLAN-GPE header (draft-ietf-nvo3-vxlan-gpe-13, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VxlanGpe {
    /// The overlay network of the inner packet; `None` if the I flag is clear.
    pub vni: Option<Vni>,
    /// What follows: 1 IPv4, 2 IPv6, 3 Ethernet, 4 NSH, 5 MPLS; 3 if the P flag is clear.
    pub next_protocol: u8,
    /// The first two bytes as they are.
    pub flags: u16,
}

impl VxlanGpe {
    /// Next protocol: IPv4.
    pub const IPV4: u8 = 1;
    /// Next protocol: IPv6.
    pub const IPV6: u8 = 2;
    /// Next protocol: Ethernet.
    pub const ETHERNET: u8 = 3;
    /// Next protocol: network service header.
    pub const NSH: u8 = 4;
    /// Next protocol: MPLS.
    pub const MPLS: u8 = 5;

    /// Reads the header at `cursor` and leaves `cursor` on what it carries.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [flags, more, _, next, high, middle, low, _] =
                *cursor.take::<8>(Layer::VxlanGpe)?;
            // Section 3.1: version 0 is the only one.
            if flags & VERSION != 0 {
                return Err(cursor.stop(Layer::VxlanGpe, StopReason::Unsupported));
            }
            Ok(Self {
                vni: (flags & FLAG_VNI_VALID != 0).then(|| Vni::from_be_bytes([high, middle, low])),
                // Section 3.1: without the P flag the payload is Ethernet, as in RFC 7348.
                next_protocol: if flags & FLAG_PROTOCOL != 0 { next } else { Self::ETHERNET },
                flags: u16::from_be_bytes([flags, more]),
            })
        })
    }
}

const VERSION: u8 = 0x30;
const FLAG_VNI_VALID: u8 = 0x08;
const FLAG_PROTOCOL: u8 = 0x04;
