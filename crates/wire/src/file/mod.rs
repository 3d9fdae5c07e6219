//! Capture files: classic pcap and pcapng, read and written.
//!
//! No file is opened here. [`Reader`] is given bytes by its caller and shows what they hold, one
//! [`Item`] after the other; the `write_` functions append blocks to a buffer of the caller.
//! Opening paths, unpacking gzip and rotating files is the work of `capture` and `deliver`.
//!
//! A capture file is hostile until proven otherwise. What stands before a damage is shown, the
//! damage is named with its offset ([`Damage`]), and what comes after is shown as far as it can
//! be found: a bad option costs the option, a bad packet block the packet, and only a length that
//! contradicts itself ends the file. Memory is bounded by [`Limits`], never by a length field.

mod block;
mod buffer;
mod chunk;
mod clock;
mod copy;
mod damage;
mod item;
mod kept;
mod option;
mod order;
mod pcap;
mod pcapng;
mod reader;
mod write;
mod write_pcap;

pub use block::{BlockType, MAX_PACKET_BYTES};
pub use chunk::{Chunk, Mark, Records};
pub use clock::Resolution;
pub use copy::{copied_packet_max, copy_interface, copy_names, copy_packet, copy_statistics};
pub use damage::{Damage, DamageReason};
pub use item::{
    Format, Interface, Item, Name, NamedAddress, Names, OtherBlock, Record, Section, Statistics,
};
pub use kept::KeptRecord;
pub use option::{FileOption, Options, Text};
pub use order::ByteOrder;
pub use reader::{Limits, Progress, Reader};
pub use write::{
    InterfaceHeader, PacketOptions, SectionHeader, StatisticsBlock, comment_len, packet_block_len,
    write_interface, write_names, write_packet, write_section, write_statistics,
};
pub use write_pcap::{PcapTime, write_pcap_header, write_pcap_packet};
