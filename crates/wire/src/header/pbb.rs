//! Provider backbone bridging: a customer's frame behind the tag that names its service.
//!
//! The customer's addresses belong to the I-TAG in the standard; here they are the Ethernet
//! header that follows it, because that is what they are to the customer.

use crate::{Cursor, Layer, Stop};

/// An I-TAG behind its EtherType 0x88e7, without the customer addresses
/// (IEEE 802.1Q-2022, section 9.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pbb {
    /// Priority code point, 0 to 7.
    pub pcp: u8,
    /// Drop eligible indicator.
    pub dei: bool,
    /// Backbone service instance, 24 bits.
    pub isid: u32,
}

impl Pbb {
    /// Reads the tag at `cursor` and leaves `cursor` on the customer's Ethernet header.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [flags, i0, i1, i2] = *cursor.take::<4>(Layer::Pbb)?;
        Ok(Self {
            pcp: flags >> 5,
            dei: flags & 0x10 != 0,
            isid: u32::from_be_bytes([0, i0, i1, i2]),
        })
    }
}
