//! Frames and outlets for tests of the broker.

#![allow(dead_code, reason = "each test file uses its part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use broker::{Grant, Outlet, Outlets, Policy, Tool, ToolDrop};
use wire::Packet;

/// What each tool was sent.
#[derive(Debug, Default)]
pub(crate) struct Shelves {
    pub(crate) datagrams: Vec<(usize, Vec<u8>)>,
    pub(crate) records: Vec<(usize, Vec<u8>, u32)>,
    open: Vec<u8>,
    /// Datagrams that are taken before all queues are full.
    pub(crate) room: Option<usize>,
}

impl Outlets for Shelves {
    fn begin(&mut self, _: usize) -> Result<&mut Vec<u8>, ToolDrop> {
        if self.room.is_some_and(|room| self.datagrams.len() >= room) {
            return Err(ToolDrop::QueueFull);
        }
        Ok(&mut self.open)
    }

    fn end(&mut self, number: usize, _: u64) {
        self.datagrams.push((number, std::mem::take(&mut self.open)));
    }

    fn write(&mut self, number: usize, packet: &Packet<'_>) -> Result<(), ToolDrop> {
        self.records.push((number, packet.data.to_vec(), packet.wire_len));
        Ok(())
    }
}

/// A tool with this outlet and policy that may have everything it has a claim to.
pub(crate) fn tool(name: &str, outlet: Outlet, policy: Policy) -> Tool {
    Tool { name: name.parse().unwrap(), grant: Grant::default(), mtu: None, outlet, policy }
}

/// A VXLAN outlet.
pub(crate) fn vxlan() -> Outlet {
    let vni = wire::Vni::new(42).unwrap();
    Outlet::Vxlan { target: [10, 0, 0, 9].into(), port: 4789, vni }
}

/// The MAC with this last octet.
pub(crate) const fn mac(last: u8) -> [u8; 6] {
    if last == 0xff { [0xff; 6] } else { [2, 0, 0, 0, 0, last] }
}

/// An Ethernet frame with IPv4 or IPv6, TCP or UDP, all checksums right.
pub(crate) fn frame(
    destination: u8,
    source: u8,
    is_v4: bool,
    is_tcp: bool,
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let transport = transport(is_tcp, flags, payload.len());
    let len = transport.len() + payload.len();
    let protocol = if is_tcp { 6 } else { 17 };
    let mut bytes = [mac(destination), mac(source)].concat();
    let addresses: Vec<u8>;
    if is_v4 {
        bytes.extend([0x08, 0x00]);
        // Of what IPv4 cannot tell the length, the field says nothing.
        let total = u16::try_from(20 + len).unwrap_or(0).to_be_bytes();
        let mut ip = vec![0x45, 0, total[0], total[1], 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0];
        addresses = vec![10, 1, 2, source, 10, 1, 3, destination];
        ip.extend(&addresses);
        let sum = checksum(&[&ip]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(ip);
    } else {
        bytes.extend([0x86, 0xdd]);
        let total = u16::try_from(len).unwrap_or(0).to_be_bytes();
        bytes.extend([0x60, 0, 0, 0, total[0], total[1], protocol, 64]);
        addresses = [
            [0xfd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, source],
            [0xfd, 9, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, destination],
        ]
        .concat();
        bytes.extend(&addresses);
    }
    let at = bytes.len();
    bytes.extend(transport);
    bytes.extend(payload);
    let pseudo = pseudo(&addresses, protocol, len);
    let sum = checksum(&[&pseudo, &bytes[at..]]);
    let field = at + if is_tcp { 16 } else { 6 };
    bytes[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn transport(is_tcp: bool, flags: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xc0, 0x01, 0x01, 0xbb];
    if is_tcp {
        bytes.extend([0, 0, 0x10, 0, 0, 0, 0, 7, 0x80, flags, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]); // time stamps
    } else {
        bytes.extend(u16::try_from(8 + len).unwrap().to_be_bytes());
        bytes.extend([0, 0]);
    }
    bytes
}

/// What a transport checksum covers beside its own bytes.
pub(crate) fn pseudo(addresses: &[u8], protocol: u8, len: usize) -> Vec<u8> {
    let len = u32::try_from(len).unwrap().to_be_bytes();
    [addresses, &[0, protocol], &len].concat()
}

/// RFC 1071, over pieces of which all but the last are even.
pub(crate) fn checksum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for piece in pieces {
        for pair in piece.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    !u16::try_from(sum).unwrap()
}

/// By how much the checksums of a frame's IP and transport are wrong, as sums that should be 0.
pub(crate) fn faults(frame: &[u8]) -> (u16, u16) {
    let is_v4 = frame[12] == 0x08;
    let (at, addresses, protocol) =
        if is_v4 { (34, &frame[26..34], frame[23]) } else { (54, &frame[22..54], frame[20]) };
    let ip = if is_v4 { checksum(&[&frame[14..34]]) } else { 0 };
    let pseudo = pseudo(addresses, protocol, frame.len() - at);
    (ip, checksum(&[&pseudo, &frame[at..]]))
}

/// A frame in VXLAN on the underlay.
pub(crate) fn in_vxlan(vni: u8, inner: &[u8]) -> Vec<u8> {
    let udp_len = u16::try_from(16 + inner.len()).unwrap();
    let [i0, i1] = (20 + udp_len).to_be_bytes();
    let [u0, u1] = udp_len.to_be_bytes();
    let outer = [
        2, 9, 0, 0, 0, 9, 2, 9, 0, 0, 0, 8, 0x08, 0x00, // MACs, IPv4
        0x45, 0, i0, i1, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 168, 0, 1, 192, 168, 0, 2, // UDP
        0xc0, 0x00, 0x12, 0xb5, u0, u1, 0, 0, // to port 4789
        0x08, 0, 0, 0, 0, 0, vni, 0, // VXLAN
    ];
    [&outer, inner].concat()
}
