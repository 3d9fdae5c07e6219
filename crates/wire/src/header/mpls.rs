//! MPLS labels, and what stands before the frame of a pseudowire.
//!
//! Nothing behind the last label says what follows; the walk guesses by the first nibble.

use crate::{Cursor, Layer, Stop};

/// One entry of a label stack (RFC 3032, section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mpls {
    /// The label, 20 bits.
    pub label: u32,
    /// Traffic class, 0 to 7 (RFC 5462).
    pub class: u8,
    /// Whether this is the last label.
    pub is_bottom: bool,
    /// Routers the packet may still pass.
    pub ttl: u8,
}

impl Mpls {
    /// Reads the label at `cursor` and leaves `cursor` behind it.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let bytes @ [_, _, low, ttl] = *cursor.take::<4>(Layer::Mpls)?;
        Ok(Self {
            label: u32::from_be_bytes(bytes) >> 12,
            class: low >> 1 & 0x07,
            is_bottom: low & 1 != 0,
            ttl,
        })
    }
}

/// The control word between the labels and the frame of a pseudowire (RFC 4448, section 4.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PwControlWord {
    /// Number of the frame; 0 if frames are not numbered.
    pub sequence: u16,
}

impl PwControlWord {
    /// Reads the control word at `cursor` and leaves `cursor` on the inner Ethernet header.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [_, _, high, low] = *cursor.take::<4>(Layer::PwControlWord)?;
        Ok(Self { sequence: u16::from_be_bytes([high, low]) })
    }
}

/// The header of a channel beside a pseudowire, by which its ends watch it (RFC 5586, section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PwAch {
    /// What follows: 0x0021 IPv4 and 0x0057 IPv6 (RFC 4385, section 5), 0x0007 BFD and others.
    pub channel: u16,
}

impl PwAch {
    /// Channel of IPv4 packets.
    pub const IPV4: u16 = 0x0021;
    /// Channel of IPv6 packets.
    pub const IPV6: u16 = 0x0057;

    /// Reads the header at `cursor` and leaves `cursor` on what it carries.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [_, _, high, low] = *cursor.take::<4>(Layer::PwAch)?;
        Ok(Self { channel: u16::from_be_bytes([high, low]) })
    }
}
