//! A TPACKET_V3 receive ring: packets of one interface as the kernel hands them over, block by block.
//!
//! Two halves, because they need different rights: [`Opening`] makes the socket (needs
//! `cap_net_raw`) and may run in another process than [`Ring`], which only maps and reads it.
//! Packets leave the ring with their VLAN tag back in place, nanosecond time, direction, and the
//! count of packets lost before them. Source: linux packet_mmap.rst and af_packet.c.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use pipeline::Source;
use rustix::net::netdevice::name_to_index;
use select::bpf::{Instruction, Program};
use serde::{Deserialize, Serialize};
use wire::{Checksum, Direction, LinkType, Packet, PointId, Timestamp};

use crate::OpenError;
use crate::sys::{self, Geometry, Mapping};

/// How large a ring is, and how long a packet may wait in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingSize {
    /// Bytes of one block: a power of two, at least 4096. A frame longer than this is cut.
    pub block_bytes: u32,
    /// How many blocks, at least 2.
    pub blocks: u32,
    /// The most milliseconds a packet waits in a block that does not fill.
    pub retire_ms: u32,
}

impl RingSize {
    /// The most bytes of a ring.
    pub const MOST_BYTES: u64 = MOST_BLOCKS * BLOCK_BYTES as u64;

    /// A ring of about `bytes` of kernel memory, which cannot be swapped out.
    ///
    /// Blocks of 512 KiB: long enough for the largest super-frame, many enough that a block for
    /// each retirement at a trickle still bridges seconds without a reader.
    pub const fn of_bytes(bytes: u64) -> Self {
        let blocks = bytes / BLOCK_BYTES as u64;
        let blocks = if blocks < 2 {
            2
        } else if blocks > MOST_BLOCKS {
            MOST_BLOCKS
        } else {
            blocks
        };
        #[expect(clippy::cast_possible_truncation, reason = "at most MOST_BLOCKS")]
        Self { block_bytes: BLOCK_BYTES, blocks: blocks as u32, retire_ms: RETIRE_MS }
    }

    /// Bytes of kernel memory it takes.
    pub const fn bytes(self) -> u64 {
        self.block_bytes as u64 * self.blocks as u64
    }

    fn geometry(self) -> Geometry {
        Geometry { block_bytes: self.block_bytes, blocks: self.blocks, retire_ms: self.retire_ms }
    }
}

/// What has to be said to open a packet socket on an interface.
#[derive(Debug, Clone)]
pub struct Opening<'a> {
    /// Name of the interface, for sentences and where the index is not known.
    pub name: &'a str,
    /// The interface; `None` for the one that has the name now.
    pub ifindex: Option<u32>,
    /// The namespace it is in, by a path to enter it; `None` for our own.
    pub namespace: Option<PathBuf>,
    /// What the kernel lets through, and how many bytes of it; `None` for everything.
    pub filter: Option<&'a Program>,
    /// Most bytes kept of a frame, from 1.
    pub snaplen: u32,
    /// The ring.
    pub size: RingSize,
    /// Whether the card shall take frames for others too, while the socket lives: where a mirror
    /// ends on it, which sends nothing else.
    pub takes_all: bool,
}

impl Opening<'_> {
    /// Opens the socket: filter, ring, then bind, so that nothing foreign ever enters the ring.
    ///
    /// # Errors
    /// Says which right or which interface is missing.
    pub fn open(&self) -> Result<OwnedFd, OpenError> {
        let Some(path) = &self.namespace else { return self.open_here() };
        // A socket belongs to the namespace of the thread that makes it. A thread of its own is
        // the only way to enter one without taking the whole process along.
        let entered = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    enter(path).map_err(|source| OpenError::Namespace {
                        name: self.name.to_owned(),
                        path: path.clone(),
                        source,
                    })?;
                    self.open_here()
                })
                .join()
        });
        entered.unwrap_or_else(|_| {
            Err(OpenError::socket(self.name, io::Error::other("the opening thread ended early")))
        })
    }

    fn open_here(&self) -> Result<OwnedFd, OpenError> {
        let at = |source| OpenError::socket(self.name, source);
        let socket = sys::packet_socket().map_err(at)?;
        let fd = socket.as_fd();
        sys::prepare_ring(fd, TAG_BYTES).map_err(at)?;
        self.attach(fd)?;
        sys::make_ring(fd, self.size.geometry()).map_err(|source| OpenError::Ring {
            name: self.name.to_owned(),
            bytes: self.size.bytes(),
            source,
        })?;
        // Promiscuous only at the end of a mirror: vSwitches have their uplinks so already, a host's own tunnels come to
        // its own MAC, and nothing of the host shall change because somebody looks.
        let ifindex = match self.ifindex {
            Some(index) => index,
            None => name_to_index(fd, self.name).map_err(|error| at(error.into()))?,
        };
        if self.takes_all {
            sys::take_all(fd, ifindex).map_err(at)?;
        }
        sys::bind(fd, ifindex).map_err(at)?;
        Ok(socket)
    }

    fn attach(&self, fd: BorrowedFd<'_>) -> Result<(), OpenError> {
        let keep = [Instruction { code: RETURN, jt: 0, jf: 0, k: self.snaplen }];
        let program = self.filter.map_or(&keep[..], |program| program.instructions());
        sys::attach_filter(fd, program).map_err(|source| OpenError::Filter {
            name: self.name.to_owned(),
            instructions: program.len(),
            source,
        })
    }
}

/// Lets nothing more into a socket of any kind: what comes for it is dropped there.
///
/// # Errors
/// The kernel's.
pub fn deafen(socket: BorrowedFd<'_>) -> io::Result<()> {
    sys::attach_filter(socket, &[Instruction { code: RETURN, jt: 0, jf: 0, k: 0 }])
}

/// Which end of a vNIC an interface is, and so which way its frames go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// The host's end: what the kernel sends there goes to the VM.
    Host,
    /// The VM's own end: what the kernel sends there comes from the VM.
    Guest,
    /// A wire that many share: only the frame itself tells.
    Shared,
}

/// The reading half of a receive ring.
pub struct Ring {
    socket: OwnedFd,
    mapping: Mapping,
    size: RingSize,
    point: PointId,
    side: Side,
    /// The block that is being read or that comes next.
    block: u32,
    /// Where the next frame of that block starts, and how many frames are left in it.
    frame: usize,
    frames_left: u32,
    /// Losses that the next packet has to tell.
    lost: u64,
    counters: RingCounters,
}

/// What the kernel counted for a socket, over its whole life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingCounters {
    /// Packets that passed the kernel filter, those without room in the ring included.
    pub received: u64,
    /// Packets for which the ring had no room.
    pub kernel_dropped: u64,
    /// Packets read from the ring.
    pub read: u64,
}

impl RingCounters {
    /// Whether every packet that got into the ring has been read; only final after [`Ring::shut`].
    pub const fn is_drained(&self) -> bool {
        self.read + self.kernel_dropped >= self.received
    }
}

impl Ring {
    /// Maps the ring of `socket`, which [`Opening::open`] made with the same `size`.
    ///
    /// # Errors
    /// The kernel's, when the socket has no such ring.
    pub fn attach(socket: OwnedFd, size: RingSize, point: PointId, side: Side) -> io::Result<Self> {
        let mapping = Mapping::new(socket.as_fd(), size.geometry())?;
        Ok(Self {
            socket,
            mapping,
            size,
            point,
            side,
            block: 0,
            frame: 0,
            frames_left: 0,
            lost: 0,
            counters: RingCounters::default(),
        })
    }

    /// Lets nothing in any more. What is in the ring stays readable.
    ///
    /// # Errors
    /// The kernel's.
    pub fn shut(&mut self) -> io::Result<()> {
        deafen(self.socket.as_fd())?;
        self.count()
    }

    /// Lets other packets in than until now, in one step. Those in the ring passed the old program.
    ///
    /// # Errors
    /// The kernel's.
    pub fn refilter(&mut self, program: &Program, snaplen: u32) -> io::Result<()> {
        // An empty program lets everything through.
        let keep = [Instruction { code: RETURN, jt: 0, jf: 0, k: snaplen }];
        let is_empty = program.is_empty();
        let instructions = if is_empty { &keep[..] } else { program.instructions() };
        sys::attach_filter(self.socket.as_fd(), instructions)
    }

    /// Reads the kernel's counters. Often enough that 32 bits do not wrap: once a minute is plenty.
    ///
    /// # Errors
    /// The kernel's.
    pub fn count(&mut self) -> io::Result<()> {
        let new = sys::statistics(self.socket.as_fd())?;
        self.counters.received += u64::from(new.packets);
        self.counters.kernel_dropped += u64::from(new.drops);
        self.lost += u64::from(new.drops);
        Ok(())
    }

    /// What became of the interface after `poll` reported an error on the socket.
    ///
    /// # Errors
    /// The kernel's.
    pub fn condition(&self) -> io::Result<Condition> {
        sys::take_error(self.socket.as_fd())?;
        Ok(match sys::bound_interface(self.socket.as_fd())? {
            Some(_) => Condition::Attached,
            None => Condition::Gone,
        })
    }

    /// Counters as of the last [`Ring::count`], and packets read until now.
    pub const fn counters(&self) -> RingCounters {
        self.counters
    }

    /// The observation point this ring belongs to.
    pub const fn point(&self) -> PointId {
        self.point
    }

    /// Whether more than half of the ring waits to be read.
    pub fn is_half_full(&mut self) -> bool {
        let ahead = (self.block + self.size.blocks / 2) % self.size.blocks;
        self.mapping.block(ahead).is_some()
    }

    /// Makes sure a frame is at hand, taking over the next block if need be.
    #[inline]
    fn is_at_frame(&mut self) -> bool {
        !matches!(self.frames_left, 0 | FINISHED) || self.take_block()
    }

    /// Takes over the next block that has a frame.
    fn take_block(&mut self) -> bool {
        if self.frames_left == FINISHED {
            // The frame read last was lent out until now; its block can only go back here.
            self.leave_block();
        }
        loop {
            let Some(block) = self.mapping.block(self.block) else { return false };
            let header = BlockHeader::read(block);
            if header.status & TP_STATUS_LOSING != 0 {
                // Only the count is late if this fails; the next call gets it.
                let _ = self.count();
            }
            if header.packets > 0 {
                self.frame = header.first as usize;
                self.frames_left = header.packets;
                return true;
            }
            self.leave_block();
        }
    }

    fn leave_block(&mut self) {
        self.frames_left = 0;
        self.mapping.release(self.block);
        self.block = (self.block + 1) % self.size.blocks;
    }
}

impl Source for Ring {
    #[inline]
    fn peek(&mut self) -> Option<Timestamp> {
        if !self.is_at_frame() {
            return None;
        }
        let frame = self.mapping.block(self.block)?.get(self.frame..)?;
        Some(FrameHeader::read(frame).time())
    }

    #[inline]
    fn next(&mut self) -> Option<Packet<'_>> {
        if !self.is_at_frame() {
            return None;
        }
        let start = self.frame;
        let lost_before = std::mem::take(&mut self.lost);
        let (point, side) = (self.point, self.side);
        let frame = self.mapping.block(self.block)?.get_mut(start..)?;
        let header = FrameHeader::read(frame);
        self.counters.read += 1;
        self.frame = start + header.next as usize;
        self.frames_left = if self.frames_left == 1 { FINISHED } else { self.frames_left - 1 };
        let (data, wire_len) = header.bytes(frame)?;
        // Made in one piece: a packet that is moved about costs more than all that is done to it.
        Some(Packet {
            time: header.time(),
            point,
            link: LinkType::ETHERNET,
            data,
            wire_len,
            direction: side.direction(header.is_outgoing),
            checksum: header.checksum(),
            lost_before,
        })
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ring(socket {}, {:?})", self.socket.as_raw_fd(), self.counters)
    }
}

/// Whether a ring can still receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Its interface exists, up or down: frames come again when it is up.
    Attached,
    /// Its interface was removed. One of the same name would be another one.
    Gone,
}

impl Side {
    const fn direction(self, is_outgoing: bool) -> Option<Direction> {
        match (self, is_outgoing) {
            (Self::Host, true) | (Self::Guest, false) => Some(Direction::ToVm),
            (Self::Host, false) | (Self::Guest, true) => Some(Direction::FromVm),
            (Self::Shared, _) => None,
        }
    }
}

/// The fields of `tpacket_block_desc` that are needed.
struct BlockHeader {
    status: u32,
    packets: u32,
    first: u32,
}

impl BlockHeader {
    fn read(block: &[u8]) -> Self {
        Self { status: word(block, 8), packets: word(block, 12), first: word(block, 16) }
    }
}

/// The fields of `tpacket3_hdr` and of the `sockaddr_ll` behind it that are needed.
struct FrameHeader {
    next: u32,
    seconds: u32,
    nanos: u32,
    held: usize,
    len: u32,
    status: u32,
    start: usize,
    tci: u16,
    tpid: u16,
    is_outgoing: bool,
}

impl FrameHeader {
    #[inline]
    fn read(frame: &[u8]) -> Self {
        // One check for the whole header; the kernel always leaves room for it.
        let Some(header) = frame.first_chunk::<60>() else { return Self::EMPTY };
        let word = |at: usize| word(header, at);
        #[expect(clippy::cast_possible_truncation, reason = "16-bit fields kept in 32 bits")]
        Self {
            next: word(0),
            seconds: word(4),
            nanos: word(8),
            held: word(12) as usize,
            len: word(16),
            status: word(20),
            start: (word(24) & 0xffff) as usize,
            tci: word(32) as u16,
            tpid: word(36) as u16,
            is_outgoing: word(56).to_ne_bytes()[2] == libc::PACKET_OUTGOING,
        }
    }

    const EMPTY: Self = Self {
        next: 0,
        seconds: 0,
        nanos: 0,
        held: 0,
        len: 0,
        status: 0,
        start: 0,
        tci: 0,
        tpid: 0,
        is_outgoing: false,
    };

    fn time(&self) -> Timestamp {
        Timestamp::from_parts(u64::from(self.seconds), self.nanos)
    }

    /// The bytes, with the outermost VLAN tag put back, which the kernel keeps aside; and how many
    /// the frame had.
    #[inline]
    fn bytes<'a>(&self, frame: &'a mut [u8]) -> Option<(&'a [u8], u32)> {
        let end = self.start + self.held;
        if self.status & TP_STATUS_VLAN_VALID != 0 && self.held >= MAC_BYTES {
            return self.tagged_bytes(frame);
        }
        Some((frame.get(self.start..end)?, self.len))
    }

    fn tagged_bytes<'a>(&self, frame: &'a mut [u8]) -> Option<(&'a [u8], u32)> {
        let start = self.start.checked_sub(TAG_BYTES as usize)?;
        let bytes = frame.get_mut(start..self.start + self.held)?;
        bytes.copy_within(TAG_BYTES as usize..TAG_BYTES as usize + MAC_BYTES, 0);
        let is_told = self.status & TP_STATUS_VLAN_TPID_VALID != 0;
        let [a, b] = if is_told { self.tpid } else { TPID_8021Q }.to_be_bytes();
        let [c, d] = self.tci.to_be_bytes();
        bytes.get_mut(MAC_BYTES..MAC_BYTES + 4)?.copy_from_slice(&[a, b, c, d]);
        Some((bytes, self.len + TAG_BYTES))
    }

    #[inline]
    fn checksum(&self) -> Checksum {
        if self.status & TP_STATUS_CSUMNOTREADY != 0 {
            Checksum::NotReady
        } else if self.status & TP_STATUS_CSUM_VALID != 0 {
            Checksum::Valid
        } else {
            Checksum::Unknown
        }
    }
}

/// A 32-bit field in the host's byte order.
#[inline]
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// Enters the network namespace behind `path` with the calling thread.
pub(crate) fn enter(path: &std::path::Path) -> io::Result<()> {
    let file = std::fs::File::open(path)?;
    rustix::thread::move_into_link_name_space(
        file.as_fd(),
        Some(rustix::thread::LinkNameSpaceType::Network),
    )?;
    Ok(())
}

/// The value of `frames_left` while the last frame of a block is lent out.
const FINISHED: u32 = u32::MAX;
const BLOCK_BYTES: u32 = 512 * 1024;
const MOST_BLOCKS: u64 = 4096;
const RETIRE_MS: u32 = 40;
const TAG_BYTES: u32 = 4;
const MAC_BYTES: usize = 12;
const TPID_8021Q: u16 = 0x8100;
const RETURN: u16 = 0x06; // BPF_RET | BPF_K
const TP_STATUS_LOSING: u32 = 1 << 2;
const TP_STATUS_CSUMNOTREADY: u32 = 1 << 3;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;
const TP_STATUS_CSUM_VALID: u32 = 1 << 7;
