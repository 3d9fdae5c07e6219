//! EtherIP: a layer-2 frame carried in IP, without a name.

use crate::{Cursor, Layer, Stop, StopReason};

/// An EtherIP header (RFC 3378, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EtherIp;

impl EtherIp {
    /// Reads the header at `cursor` and leaves `cursor` on the inner Ethernet header.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [version, _] = *cursor.take::<2>(Layer::EtherIp)?;
            if version >> 4 != 3 {
                return Err(cursor.stop(Layer::EtherIp, StopReason::Unsupported));
            }
            Ok(Self)
        })
    }
}
