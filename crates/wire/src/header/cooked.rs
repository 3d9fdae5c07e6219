//! What stands in front of a packet that was captured without its real link layer.

use crate::{Cursor, Layer, Stop};

/// The header of BSD loopback captures, LINKTYPE_NULL and LINKTYPE_LOOP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Null {
    /// Address family as the capturing system numbers it: 2 is IPv4; 10, 24, 28 and 30 are IPv6.
    pub family: u32,
}

impl Null {
    /// Reads the header at `cursor` and leaves `cursor` behind it.
    ///
    /// The family is in the writer's byte order, which is not in the file. Families are small, so
    /// the order that gives a small number is the right one.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let bytes = *cursor.take::<4>(Layer::Null)?;
        let (big, little) = (u32::from_be_bytes(bytes), u32::from_le_bytes(bytes));
        Ok(Self { family: big.min(little) })
    }
}

/// The header of Linux cooked captures, LINKTYPE_LINUX_SLL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sll {
    /// 0 to us, 1 broadcast, 2 multicast, 3 to others, 4 sent by us.
    pub packet_type: u16,
    /// Kind of interface, as Linux numbers it (ARPHRD_); 1 is Ethernet.
    pub hardware: u16,
    /// Address of the sender, as many bytes as `address_len` says.
    pub address: [u8; 8],
    /// Bytes of the sender's address as the field says; may be more than are there.
    pub address_len: u16,
    /// EtherType of what follows; a small number for frames without one.
    pub protocol: u16,
}

impl Sll {
    /// Reads the header at `cursor` and leaves `cursor` behind it.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [t0, t1, h0, h1, l0, l1, address @ .., p0, p1] = *cursor.take::<16>(Layer::Sll)?;
        Ok(Self {
            packet_type: u16::from_be_bytes([t0, t1]),
            hardware: u16::from_be_bytes([h0, h1]),
            address,
            address_len: u16::from_be_bytes([l0, l1]),
            protocol: u16::from_be_bytes([p0, p1]),
        })
    }
}

/// The header of Linux cooked captures, LINKTYPE_LINUX_SLL2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sll2 {
    /// 0 to us, 1 broadcast, 2 multicast, 3 to others, 4 sent by us.
    pub packet_type: u8,
    /// Kind of interface, as Linux numbers it (ARPHRD_); 1 is Ethernet.
    pub hardware: u16,
    /// Index of the interface on the capturing machine.
    pub interface: u32,
    /// Address of the sender, as many bytes as `address_len` says.
    pub address: [u8; 8],
    /// Bytes of the sender's address as the field says; may be more than are there.
    pub address_len: u8,
    /// EtherType of what follows; a small number for frames without one.
    pub protocol: u16,
}

impl Sll2 {
    /// Reads the header at `cursor` and leaves `cursor` behind it.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [p0, p1, _, _, i0, i1, i2, i3, h0, h1, packet_type, address_len, address @ ..] =
            *cursor.take::<20>(Layer::Sll2)?;
        Ok(Self {
            packet_type,
            hardware: u16::from_be_bytes([h0, h1]),
            interface: u32::from_be_bytes([i0, i1, i2, i3]),
            address,
            address_len,
            protocol: u16::from_be_bytes([p0, p1]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_of_a_loopback_is_read_in_either_byte_order() {
        for bytes in [[30, 0, 0, 0], [0, 0, 0, 30]] {
            assert_eq!(Null::decode(&mut Cursor::new(&bytes)), Ok(Null { family: 30 }));
        }
    }
}
