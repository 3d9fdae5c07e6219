//! PPP and what carries it on Ethernet: PPPoE.

use crate::{Cursor, Layer, Stop, StopReason};

/// The beginning of a PPP frame (RFC 1661, section 2; RFC 1662, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ppp {
    /// PPP protocol number of what follows.
    pub protocol: u16,
}

impl Ppp {
    /// IPv4 (RFC 1332).
    pub const IPV4: u16 = 0x0021;
    /// IPv6 (RFC 5072).
    pub const IPV6: u16 = 0x0057;
    /// Bridged frames (RFC 3518).
    pub const BRIDGED: u16 = 0x0031;
    /// Medium of a bridged frame: Ethernet.
    pub const ETHERNET: u8 = 1;
    /// Several links as one (RFC 1990).
    pub const MULTILINK: u16 = 0x003d;
    /// MPLS (RFC 3032, section 4.3).
    pub const MPLS: u16 = 0x0281;

    /// Reads the frame at `cursor` and leaves `cursor` behind the protocol number.
    ///
    /// Address and control may be left out and the protocol number may be one byte
    /// (RFC 1661, sections 6.5 and 6.6).
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            // 0xff begins no protocol number (RFC 1661, section 6.5).
            if cursor.peek(Layer::Ppp)? == 0xff && *cursor.take::<2>(Layer::Ppp)? != [0xff, 0x03] {
                return Err(cursor.stop(Layer::Ppp, StopReason::Malformed));
            }
            let [first] = *cursor.take::<1>(Layer::Ppp)?;
            // RFC 1661, section 2: the last byte is the odd one.
            if first & 1 != 0 {
                return Ok(Self { protocol: u16::from(first) });
            }
            let [second] = *cursor.take::<1>(Layer::Ppp)?;
            Ok(Self { protocol: u16::from_be_bytes([first, second]) })
        })
    }
}

/// A PPPoE header (RFC 2516, section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pppoe {
    /// 0 in a session; else a message of discovery.
    pub code: u8,
    /// The session; 0 before there is one.
    pub session: u16,
    /// Bytes behind this header.
    pub len: u16,
}

impl Pppoe {
    /// Reads the header at `cursor` and leaves `cursor` on the PPP protocol number.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [version, code, s0, s1, l0, l1] = *cursor.take::<6>(Layer::Pppoe)?;
            if version != 0x11 {
                return Err(cursor.stop(Layer::Pppoe, StopReason::Unsupported));
            }
            Ok(Self {
                code,
                session: u16::from_be_bytes([s0, s1]),
                len: u16::from_be_bytes([l0, l1]),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_has_one_byte_or_two_with_or_without_address() {
        let read = |bytes: &[u8]| Ppp::decode(&mut Cursor::new(bytes)).map(|ppp| ppp.protocol);
        assert_eq!(read(&[0xff, 0x03, 0x00, 0x21]), Ok(Ppp::IPV4));
        assert_eq!(read(&[0x00, 0x57]), Ok(Ppp::IPV6));
        assert_eq!(read(&[0x21]), Ok(Ppp::IPV4));
        let stop = |reason| Err(Stop { layer: Layer::Ppp, offset: 0, reason });
        assert_eq!(read(&[0xff, 0x04, 0x00, 0x21]), stop(StopReason::Malformed));
        assert_eq!(read(&[0xff]), stop(StopReason::Truncated));
        assert_eq!(read(&[0x00]), stop(StopReason::Truncated));
    }
}
