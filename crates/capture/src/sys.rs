//! System calls of packet sockets behind safe functions: the only `unsafe` of the project.
//!
//! What the constants and layouts mean: linux/if_packet.h and packet(7). Nothing here decides
//! anything; the ring's logic is in `ring`.

#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use select::bpf::Instruction;

/// The geometry of a receive ring: `tpacket_req3` in our words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Bytes of one block: a power of two, at least a page.
    pub(crate) block_bytes: u32,
    /// How many blocks.
    pub(crate) blocks: u32,
    /// After how many milliseconds a block that holds a packet is handed over though not full.
    pub(crate) retire_ms: u32,
}

/// What `PACKET_STATISTICS` says since it was last asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Statistics {
    /// Packets that passed the filter, dropped ones included.
    pub(crate) packets: u32,
    /// Packets for which the ring had no room.
    pub(crate) drops: u32,
}

/// A packet socket that receives nothing yet: protocol 0, not bound.
pub(crate) fn packet_socket() -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes three integers and touches no memory of ours.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Chooses TPACKET_V3 and keeps `reserve` bytes free in front of each frame. Before the ring only.
pub(crate) fn prepare_ring(socket: BorrowedFd<'_>, reserve: u32) -> io::Result<()> {
    let version: libc::c_int = TPACKET_V3;
    set_option(socket, libc::SOL_PACKET, libc::PACKET_VERSION, &version)?;
    set_option(socket, libc::SOL_PACKET, libc::PACKET_RESERVE, &reserve)
}

/// Makes the kernel allocate the ring.
pub(crate) fn make_ring(socket: BorrowedFd<'_>, geometry: Geometry) -> io::Result<()> {
    // The frame size only has to divide evenly: in version 3 frames are packed by their length.
    let frame_bytes = 2048;
    let request = libc::tpacket_req3 {
        tp_block_size: geometry.block_bytes,
        tp_block_nr: geometry.blocks,
        tp_frame_size: frame_bytes,
        tp_frame_nr: (geometry.block_bytes / frame_bytes) * geometry.blocks,
        tp_retire_blk_tov: geometry.retire_ms,
        tp_sizeof_priv: 0,
        tp_feature_req_word: 0,
    };
    set_option(socket, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)
}

/// Attaches a classic BPF program; replaces an earlier one in one step.
pub(crate) fn attach_filter(socket: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    let mut instructions: Vec<libc::sock_filter> = program
        .iter()
        .map(|i| libc::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k })
        .collect();
    let len = u16::try_from(instructions.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "filter program too long"))?;
    // The kernel copies the program before it returns, so `instructions` need not live longer.
    let program = libc::sock_fprog { len, filter: instructions.as_mut_ptr() };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Receives every protocol of the interface from now on.
pub(crate) fn bind(socket: BorrowedFd<'_>, ifindex: u32) -> io::Result<()> {
    let mut address = link_address(ifindex)?;
    // The protocol is in network byte order (packet(7)).
    address.sll_protocol = ETH_P_ALL.to_be();
    // SAFETY: the pointer and length describe `address`, which outlives the call.
    let result = unsafe {
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), socklen::<libc::sockaddr_ll>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends into the interface from now on, and receives nothing.
pub(crate) fn bind_to_send(socket: BorrowedFd<'_>, ifindex: u32) -> io::Result<()> {
    let address = link_address(ifindex)?;
    // SAFETY: the pointer and length describe `address`, which outlives the call.
    let result = unsafe {
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), socklen::<libc::sockaddr_ll>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The interface the socket is bound to, or `None` once that interface was unregistered.
pub(crate) fn bound_interface(socket: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let mut address = link_address(0)?;
    let mut len = socklen::<libc::sockaddr_ll>();
    // SAFETY: the kernel writes at most `len` bytes into `address` and updates `len`.
    let result =
        unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut len) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u32::try_from(address.sll_ifindex).ok().filter(|index| *index != 0))
}

/// Takes and clears the pending error of a socket: `ENETDOWN` when its interface went down.
pub(crate) fn take_error(socket: BorrowedFd<'_>) -> io::Result<Option<io::Error>> {
    let code: libc::c_int = option(socket, libc::SOL_SOCKET, libc::SO_ERROR)?;
    Ok((code != 0).then(|| io::Error::from_raw_os_error(code)))
}

/// The counters of the socket since the last call, which reads and clears them in one step.
pub(crate) fn statistics(socket: BorrowedFd<'_>) -> io::Result<Statistics> {
    let raw: libc::tpacket_stats_v3 = option(socket, libc::SOL_PACKET, libc::PACKET_STATISTICS)?;
    Ok(Statistics { packets: raw.tp_packets, drops: raw.tp_drops })
}

/// The name of the interface that has this address, if one has.
pub(crate) fn interface_with(address: IpAddr) -> io::Result<Option<String>> {
    let mut first = std::ptr::null_mut();
    // SAFETY: the call writes one pointer into `first`, which outlives it.
    if unsafe { libc::getifaddrs(&raw mut first) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let (mut found, mut next) = (None, first);
    // SAFETY: getifaddrs(3) gives a list that ends with a null pointer and stays as it is until it
    // is freed below; every node is a whole `ifaddrs`.
    while let Some(node) = unsafe { next.as_ref() } {
        next = node.ifa_next;
        // SAFETY: the address of a node is null or one of the family it says, of the same list.
        if unsafe { address_at(node.ifa_addr) } == Some(address) {
            // SAFETY: the name is a text that ends with a zero byte, of the same list.
            let name = unsafe { std::ffi::CStr::from_ptr(node.ifa_name) };
            found = Some(name.to_string_lossy().into_owned());
            break;
        }
    }
    // SAFETY: `first` is what getifaddrs gave, and nothing of the list is used any more.
    unsafe { libc::freeifaddrs(first) };
    Ok(found)
}

/// An IP address in the kernel's form.
///
/// # Safety
/// `at` is null or points to an address of the family that its first field says.
unsafe fn address_at(at: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: by the caller's word.
    let family = unsafe { at.as_ref() }?.sa_family;
    match i32::from(family) {
        libc::AF_INET => {
            // SAFETY: an address of this family is a whole `sockaddr_in`; it may be unaligned.
            let v4 = unsafe { at.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr))))
        }
        libc::AF_INET6 => {
            // SAFETY: an address of this family is a whole `sockaddr_in6`; it may be unaligned.
            let v6 = unsafe { at.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)))
        }
        _ => None,
    }
}

/// Has the card of an interface take frames for others too, as long as the socket lives.
pub(crate) fn take_all(socket: BorrowedFd<'_>, ifindex: u32) -> io::Result<()> {
    let request = libc::packet_mreq {
        mr_ifindex: index(ifindex)?,
        mr_type: PACKET_MR_PROMISC,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set_option(socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
}

/// The blocks of a receive ring in our memory.
pub(crate) struct Mapping {
    start: NonNull<u8>,
    geometry: Geometry,
}

impl Mapping {
    /// Maps the ring of a socket that was made with the same geometry.
    pub(crate) fn new(socket: BorrowedFd<'_>, geometry: Geometry) -> io::Result<Self> {
        let len = geometry.block_bytes as usize * geometry.blocks as usize;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                socket.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(start.cast())
            .map(|start| Self { start, geometry })
            .ok_or_else(|| io::Error::other("the kernel mapped a ring at address 0"))
    }

    /// The bytes of block `number`, or `None` while the kernel still owns it.
    pub(crate) fn block(&mut self, number: u32) -> Option<&mut [u8]> {
        let status = self.status(number)?.load(Ordering::Acquire);
        if status & TP_STATUS_USER == 0 {
            return None;
        }
        let len = self.geometry.block_bytes as usize;
        // SAFETY: `status` checked that the block lies in the mapping. The kernel sets
        // TP_STATUS_USER after the last byte is written and does not touch the block until we
        // clear that bit (packet_mmap.rst); the acquire load orders our reads after its writes.
        // `&mut self` keeps the slice unique, and `release` needs `&mut self` again.
        Some(unsafe {
            std::slice::from_raw_parts_mut(self.start.as_ptr().add(len * number as usize), len)
        })
    }

    /// Gives block `number` back to the kernel.
    pub(crate) fn release(&mut self, number: u32) {
        if let Some(status) = self.status(number) {
            status.store(TP_STATUS_KERNEL, Ordering::Release);
        }
    }

    /// The status word of a block, which both sides read and write.
    fn status(&self, number: u32) -> Option<&AtomicU32> {
        if number >= self.geometry.blocks {
            return None;
        }
        let offset = self.geometry.block_bytes as usize * number as usize + BLOCK_STATUS;
        // SAFETY: the offset lies within the mapping and is a multiple of 4; the kernel accesses
        // the word atomically, and we do through this reference only.
        Some(unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(offset).cast()) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let len = self.geometry.block_bytes as usize * self.geometry.blocks as usize;
        // SAFETY: exactly the region that `new` mapped, and no slice of it can be alive.
        unsafe { libc::munmap(self.start.as_ptr().cast(), len) };
    }
}

// SAFETY: the mapping is plain memory that any thread may use; `&mut self` rules out two at once.
unsafe impl Send for Mapping {}

fn set_option<T>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: pointer and length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            socklen::<T>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn option<T: Plain>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<T> {
    // SAFETY: `Plain` types are integers and structs of integers, for which zero is a value.
    let mut value: T = unsafe { zeroed() };
    let mut len = socklen::<T>();
    // SAFETY: the kernel writes at most `len` bytes into `value`.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut len)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// The size of a type as the kernel wants it.
const fn socklen<T>() -> libc::socklen_t {
    #[expect(clippy::cast_possible_truncation, reason = "structures of at most some hundred bytes")]
    let len = size_of::<T>() as libc::socklen_t;
    len
}

/// Types made of integers only, so that any bytes are a value.
trait Plain {}
impl Plain for libc::c_int {}
impl Plain for libc::tpacket_stats_v3 {}

fn link_address(ifindex: u32) -> io::Result<libc::sockaddr_ll> {
    // SAFETY: sockaddr_ll is made of integers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = AF_PACKET;
    address.sll_ifindex = index(ifindex)?;
    Ok(address)
}

fn index(ifindex: u32) -> io::Result<libc::c_int> {
    libc::c_int::try_from(ifindex)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "interface index out of range"))
}

// 16-bit fields of `sockaddr_ll` for which libc has `c_int` constants.
const AF_PACKET: u16 = 17;
const PACKET_MR_PROMISC: u16 = 1;
const ETH_P_ALL: u16 = 3;
const TPACKET_V3: libc::c_int = 2;
const TP_STATUS_KERNEL: u32 = 0;
const TP_STATUS_USER: u32 = 1;
/// Offset of `block_status` in `tpacket_block_desc`: after version and offset_to_priv.
const BLOCK_STATUS: usize = 8;
