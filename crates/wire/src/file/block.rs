//! The numbers of pcapng (draft-ietf-opsawg-pcapng): block types, option codes, limits.

use std::fmt;

/// What kind of block this is (draft-ietf-opsawg-pcapng, section 11.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockType(pub u32);

impl BlockType {
    /// Begins a section. Reads the same in both byte orders.
    pub const SECTION: Self = Self(0x0a0d_0d0a);
    /// Describes an interface of the section.
    pub const INTERFACE: Self = Self(1);
    /// A packet, obsolete since 2004 and still found.
    pub const PACKET: Self = Self(2);
    /// A packet without time and interface.
    pub const SIMPLE_PACKET: Self = Self(3);
    /// Names of addresses.
    pub const NAMES: Self = Self(4);
    /// Counters of an interface.
    pub const STATISTICS: Self = Self(5);
    /// A packet.
    pub const ENHANCED_PACKET: Self = Self(6);
    /// A line of the systemd journal.
    pub const JOURNAL: Self = Self(9);
    /// Keys to decrypt the packets with.
    pub const SECRETS: Self = Self(10);
    /// A block of somebody's own that may be copied to other files.
    pub const CUSTOM: Self = Self(0x0bad);
    /// A block of somebody's own that loses its meaning in another file.
    pub const CUSTOM_HERE: Self = Self(0x4000_0bad);
}

impl fmt::Display for BlockType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::SECTION => f.write_str("section header"),
            Self::INTERFACE => f.write_str("interface description"),
            Self::PACKET => f.write_str("packet"),
            Self::SIMPLE_PACKET => f.write_str("simple packet"),
            Self::NAMES => f.write_str("name resolution"),
            Self::STATISTICS => f.write_str("interface statistics"),
            Self::ENHANCED_PACKET => f.write_str("enhanced packet"),
            Self::JOURNAL => f.write_str("systemd journal"),
            Self::SECRETS => f.write_str("decryption secrets"),
            Self::CUSTOM | Self::CUSTOM_HERE => f.write_str("custom"),
            Self(number) => write!(f, "type {number:#010x}"),
        }
    }
}

/// The most bytes of one packet that every reader takes: Wireshark and libpcap refuse a file in
/// which an Ethernet packet has more.
pub const MAX_PACKET_BYTES: usize = 262_144;

/// Tells the byte order of a section: 1a 2b 3c 4d in big-endian order.
pub(crate) const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// Type, length, and length again: the least a block can have.
pub(crate) const BLOCK_FRAME_BYTES: usize = 12;

/// Option codes of each kind of block (sections 3.5, 4.1 to 4.6).
pub(crate) mod code {
    pub(crate) const END: u16 = 0;
    pub(crate) const COMMENT: u16 = 1;

    pub(crate) const SECTION_HARDWARE: u16 = 2;
    pub(crate) const SECTION_OS: u16 = 3;
    pub(crate) const SECTION_APPLICATION: u16 = 4;

    pub(crate) const INTERFACE_NAME: u16 = 2;
    pub(crate) const INTERFACE_DESCRIPTION: u16 = 3;
    pub(crate) const INTERFACE_MAC: u16 = 6;
    pub(crate) const INTERFACE_SPEED: u16 = 8;
    pub(crate) const INTERFACE_RESOLUTION: u16 = 9;
    pub(crate) const INTERFACE_FILTER: u16 = 11;
    pub(crate) const INTERFACE_OS: u16 = 12;
    pub(crate) const INTERFACE_FCS_LEN: u16 = 13;
    pub(crate) const INTERFACE_TIME_OFFSET: u16 = 14;
    pub(crate) const INTERFACE_HARDWARE: u16 = 15;

    pub(crate) const PACKET_FLAGS: u16 = 2;
    pub(crate) const PACKET_DROP_COUNT: u16 = 4;
    pub(crate) const PACKET_ID: u16 = 5;

    pub(crate) const STATISTICS_START: u16 = 2;
    pub(crate) const STATISTICS_END: u16 = 3;
    pub(crate) const STATISTICS_RECEIVED: u16 = 4;
    pub(crate) const STATISTICS_INTERFACE_DROPPED: u16 = 5;
    pub(crate) const STATISTICS_ACCEPTED: u16 = 6;
    pub(crate) const STATISTICS_OS_DROPPED: u16 = 7;
    pub(crate) const STATISTICS_DELIVERED: u16 = 8;
}

/// Bits of the packet flags (section 4.3.1).
pub(crate) mod flag {
    pub(crate) const DIRECTION: u32 = 0b11;
    pub(crate) const INBOUND: u32 = 0b01;
    pub(crate) const OUTBOUND: u32 = 0b10;
    pub(crate) const CHECKSUM_NOT_READY: u32 = 1 << 9;
    pub(crate) const CHECKSUM_VALID: u32 = 1 << 10;
    pub(crate) const SUPER_FRAME: u32 = 1 << 11;
}

/// Kinds of name resolution records (section 4.5).
pub(crate) mod name {
    pub(crate) const END: u16 = 0;
    pub(crate) const IPV4: u16 = 1;
    pub(crate) const IPV6: u16 = 2;
    pub(crate) const EUI48: u16 = 3;
    pub(crate) const EUI64: u16 = 4;
}
