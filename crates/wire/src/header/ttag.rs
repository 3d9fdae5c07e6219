//! Cisco TTag: when a switch saw the frame.

use crate::{Cursor, Layer, Stop};

/// A TTag behind its EtherType 0x8988.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ttag {
    /// Time stamp of the switch in nanoseconds, 48 bits.
    pub time_ns: u64,
    /// What follows: an EtherType, or a length below 0x0600.
    pub type_or_length: u16,
}

impl Ttag {
    /// Reads the tag at `cursor`, which stands behind EtherType 0x8988.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [t0, t1, t2, t3, t4, t5, n0, n1] = *cursor.take::<8>(Layer::Ttag)?;
        Ok(Self {
            time_ns: u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]),
            type_or_length: u16::from_be_bytes([n0, n1]),
        })
    }
}
