//! VLAN tags: 802.1Q and 802.1ad, and what was used for outer tags before.

use crate::{Cursor, Layer, Stop, VlanId};

/// A VLAN tag behind its tag protocol identifier (IEEE 802.1Q-2022, section 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vlan {
    /// Priority code point, 0 to 7.
    pub pcp: u8,
    /// Drop eligible indicator.
    pub dei: bool,
    /// The VLAN; 0 is a tag with priority only.
    pub id: VlanId,
    /// What follows: an EtherType, or a length below 0x0600.
    pub type_or_length: u16,
}

impl Vlan {
    /// Reads the tag at `cursor`, which stands behind the tag protocol identifier.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [t0, t1, n0, n1] = *cursor.take::<4>(Layer::Vlan)?;
        Ok(Self {
            pcp: t0 >> 5,
            dei: t0 & 0x10 != 0,
            id: VlanId::from_tci(u16::from_be_bytes([t0, t1])),
            type_or_length: u16::from_be_bytes([n0, n1]),
        })
    }
}
