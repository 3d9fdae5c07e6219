//! Cisco FabricPath: an Ethernet frame behind a tag, between switches of one fabric.
//!
//! The outer Ethernet addresses name switches, not cards: switch id 12 bits, sub-switch 8, local
//! id 16.

use crate::{Cursor, Layer, Stop};

/// The FabricPath tag behind EtherType 0x8903.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FabricPath {
    /// Forwarding tag: the tree the frame is distributed on, 10 bits.
    pub ftag: u16,
    /// Switches the frame may still pass, 0 to 63.
    pub ttl: u8,
}

impl FabricPath {
    /// Reads the tag at `cursor` and leaves `cursor` on the inner Ethernet header.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [high, low] = *cursor.take::<2>(Layer::FabricPath)?;
        Ok(Self { ftag: u16::from_be_bytes([high, low]) >> 6, ttl: low & 0x3f })
    }
}
