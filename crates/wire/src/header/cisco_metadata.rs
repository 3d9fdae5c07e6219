//! Cisco metadata: the security group of a frame's sender.

use crate::{Cursor, Layer, Stop};

/// A Cisco metadata header behind EtherType 0x8909.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CiscoMetadata {
    /// Security group tag.
    pub sgt: u16,
    /// What follows: an EtherType, or a length below 0x0600.
    pub type_or_length: u16,
}

impl CiscoMetadata {
    /// Reads the header at `cursor`, which stands behind EtherType 0x8909 of an Ethernet frame.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [_version, _length, _, _, s0, s1, n0, n1] = *cursor.take::<8>(Layer::CiscoMetadata)?;
        Ok(Self { sgt: u16::from_be_bytes([s0, s1]), type_or_length: u16::from_be_bytes([n0, n1]) })
    }

    /// Reads the header at `cursor`, which stands behind protocol type 0x8909 of a GRE header:
    /// there the type of what follows comes first.
    #[inline]
    pub fn decode_in_gre(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [n0, n1, _version, _length, _, _, s0, s1] = *cursor.take::<8>(Layer::CiscoMetadata)?;
        Ok(Self { sgt: u16::from_be_bytes([s0, s1]), type_or_length: u16::from_be_bytes([n0, n1]) })
    }
}
