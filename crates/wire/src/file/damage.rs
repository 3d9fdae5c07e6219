//! What is wrong with a capture file, where, and what it costs.

use std::fmt;

use super::{BlockType, ByteOrder};

/// One thing wrong in a capture file, found while reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// Where in the file the record or block with the damage begins.
    pub offset: u64,
    /// What is wrong, and so what is lost.
    pub reason: DamageReason,
}

impl Damage {
    /// Whether reading ends here: what follows cannot be found any more.
    pub const fn is_final(&self) -> bool {
        match self.reason {
            DamageReason::NotACapture { .. }
            | DamageReason::Cut { .. }
            | DamageReason::UnknownByteOrder { .. }
            | DamageReason::BadBlockLength { .. }
            | DamageReason::LengthsDiffer { .. }
            | DamageReason::BadRecordLength { .. } => true,
            DamageReason::UnknownVersion { .. }
            | DamageReason::ReservedBits { .. }
            | DamageReason::UnalignedLength { .. }
            | DamageReason::BadOption { .. }
            | DamageReason::ShortBlock { .. }
            | DamageReason::TooLarge { .. }
            | DamageReason::TooManyInterfaces
            | DamageReason::UnknownInterface { .. }
            | DamageReason::BadPacketLength { .. } => false,
        }
    }

    /// Whether a packet is missing because of it; at the end of the file, possibly many.
    pub const fn costs_packet(&self) -> bool {
        match self.reason {
            DamageReason::Cut { .. }
            | DamageReason::BadRecordLength { .. }
            | DamageReason::UnknownInterface { .. }
            | DamageReason::BadPacketLength { .. } => true,
            DamageReason::LengthsDiffer { block, .. }
            | DamageReason::TooLarge { block, .. }
            | DamageReason::ShortBlock { block } => matches!(
                block,
                BlockType::PACKET | BlockType::SIMPLE_PACKET | BlockType::ENHANCED_PACKET
            ),
            _ => false,
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.offset, self.reason)
    }
}

/// The ways a capture file can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageReason {
    /// The file does not begin like a capture file.
    NotACapture {
        /// The bytes it begins with, zeroes where it has none.
        magic: [u8; 4],
    },
    /// The file ends in the middle of a record, block or header.
    Cut {
        /// Bytes of it that are there.
        present: u64,
        /// Bytes it must have at least.
        needed: u64,
    },
    /// A section begins with something that is the byte-order magic in neither order.
    UnknownByteOrder {
        /// The four bytes found in its place.
        magic: [u8; 4],
    },
    /// A version this reader was not written for. It goes on as if it were the one it knows.
    UnknownVersion {
        /// Before the dot.
        major: u16,
        /// After the dot.
        minor: u16,
    },
    /// Bits of the link type word of a pcap file that must be zero are not.
    ReservedBits {
        /// The whole word.
        word: u32,
    },
    /// A block says it has fewer bytes than any block.
    BadBlockLength {
        /// What it says.
        length: u32,
        /// How its numbers were read.
        order: ByteOrder,
    },
    /// The length at the end of a block is not the one at its beginning.
    LengthsDiffer {
        /// The kind of block.
        block: BlockType,
        /// At its beginning.
        first: u32,
        /// At its end.
        last: u32,
    },
    /// The length of a block is not a multiple of four. It is read as if padded.
    UnalignedLength {
        /// What it says.
        length: u32,
    },
    /// A record of a pcap file says it has more bytes than any packet.
    BadRecordLength {
        /// What it says.
        length: u32,
    },
    /// An option is longer than its block, or not as long as its kind must be.
    BadOption {
        /// The option's code.
        code: u16,
    },
    /// A block ends before its fixed fields do.
    ShortBlock {
        /// The kind of block.
        block: BlockType,
    },
    /// A block is larger than the reader may hold, so it was passed over.
    TooLarge {
        /// The kind of block.
        block: BlockType,
        /// Its length.
        length: u32,
    },
    /// A section has more interfaces than the reader may remember; packets of the rest are lost.
    TooManyInterfaces,
    /// A packet of an interface that was not described before it.
    UnknownInterface {
        /// The interface's number in its section.
        interface: u32,
    },
    /// A packet says it has more bytes than its block has room for.
    BadPacketLength {
        /// What it says.
        captured: u32,
    },
}

impl fmt::Display for DamageReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotACapture { magic: [0, 0, 0, 0] } => {
                f.write_str("not a capture file: it is empty or begins with zeroes")
            }
            Self::NotACapture { magic: [a, b, c, d] } => write!(
                f,
                "not a capture file: it begins with {a:02x} {b:02x} {c:02x} {d:02x}, neither pcap \
                 nor pcapng"
            ),
            Self::Cut { present, needed } => {
                write!(f, "the file ends in the middle: {present} of at least {needed} bytes")
            }
            Self::UnknownByteOrder { magic: [a, b, c, d] } => write!(
                f,
                "section without a byte order: {a:02x} {b:02x} {c:02x} {d:02x} is not the magic \
                 1a 2b 3c 4d"
            ),
            Self::UnknownVersion { major, minor } => {
                write!(f, "version {major}.{minor} is unknown and read as the known one")
            }
            Self::ReservedBits { word } => {
                write!(f, "link type {word:#010x} has bits set that must be zero")
            }
            Self::BadBlockLength { length, .. } => {
                write!(f, "block length {length} is below the least, 12")
            }
            Self::LengthsDiffer { block, first, last } => {
                write!(f, "{block} block has length {first} at its beginning, {last} at its end")
            }
            Self::UnalignedLength { length } => {
                write!(f, "block length {length} is not a multiple of 4")
            }
            Self::BadRecordLength { length } => {
                write!(f, "record of {length} bytes, more than any packet has")
            }
            Self::BadOption { code } => write!(f, "option {code} has an impossible length"),
            Self::ShortBlock { block } => write!(f, "{block} block is too short"),
            Self::TooLarge { block, length } => {
                write!(f, "{block} block of {length} bytes is too large and was passed over")
            }
            Self::TooManyInterfaces => f.write_str("too many interfaces in one section"),
            Self::UnknownInterface { interface } => {
                write!(f, "packet of interface {interface}, which is not described")
            }
            Self::BadPacketLength { captured } => {
                write!(f, "packet of {captured} bytes is larger than its block")
            }
        }
    }
}
