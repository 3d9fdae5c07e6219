//! A tool's encapsulation: the bytes before a frame, from a template, with a sequence number where
//! the format has one.
//!
//! Standard headers bit for bit. What the socket adds itself, Ethernet, IP and UDP, is not here.

use wire::{Direction, Packet, VlanId, Vni};

use crate::{Mtu, Outlet, SessionId};

/// Puts frames into one tool's encapsulation.
#[derive(Debug, Clone)]
pub struct Wrap {
    kind: Kind,
    sequence: u32,
    /// The largest frame that fits.
    room: usize,
    /// Bytes that are put around a frame, IP and UDP included.
    around: usize,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Eight bytes that are always the same.
    Fixed([u8; 8]),
    Gre {
        key: Option<u32>,
    },
    Erspan2(SessionId),
    Erspan3(SessionId),
    Tzsp,
    Rspan(VlanId),
}

/// What an encapsulation may say of a frame beside its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    /// The packet it is of: its time, point, direction and length.
    pub(crate) wire_len: u32,
    pub(crate) time_ns: u64,
    pub(crate) point: u32,
    pub(crate) direction: Option<Direction>,
    /// Whether it was longer than what is sent.
    pub(crate) is_cut: bool,
}

impl Facts {
    pub(crate) const fn of(packet: &Packet<'_>, is_cut: bool) -> Self {
        Self {
            wire_len: packet.wire_len,
            time_ns: packet.time.as_nanos(),
            point: packet.point.0,
            direction: packet.direction,
            is_cut,
        }
    }
}

impl Wrap {
    /// The encapsulation of an outlet on a way that takes IP packets of `mtu`; `None` for one that
    /// is sent no datagrams.
    pub fn new(outlet: &Outlet, mtu: Mtu) -> Option<Self> {
        let kind = match outlet {
            Outlet::Vxlan { vni, .. } => Kind::Fixed(vxlan(*vni)),
            Outlet::Geneve { vni, .. } => Kind::Fixed(geneve(*vni)),
            Outlet::Gre { key, .. } => Kind::Gre { key: *key },
            Outlet::Erspan2 { session, .. } => Kind::Erspan2(*session),
            Outlet::Erspan3 { session, .. } => Kind::Erspan3(*session),
            Outlet::Tzsp { .. } => Kind::Tzsp,
            Outlet::Rspan { vlan, .. } => Kind::Rspan(*vlan),
            _ => return None,
        };
        let ip = outlet.tunnel_target().map_or(0, |target| if target.is_ipv4() { 20 } else { 40 });
        let around = match kind {
            Kind::Fixed(_) => ip + UDP_LEN + 8,
            Kind::Gre { key } => ip + 8 + if key.is_some() { 4 } else { 0 },
            Kind::Erspan2(_) => ip + 8 + 8,
            Kind::Erspan3(_) => ip + 8 + 20,
            Kind::Tzsp => ip + UDP_LEN + TZSP_LEN,
            Kind::Rspan(_) => TAG_LEN,
        };
        let mtu = usize::from(mtu.bytes());
        let room = match kind {
            // An interface's MTU is that of what is behind the Ethernet header and its tag.
            Kind::Rspan(_) => mtu + ETHERNET_LEN,
            _ => mtu - around,
        };
        Some(Self { kind, sequence: 0, room, around })
    }

    /// The largest frame that fits into one datagram, in bytes.
    pub const fn room(&self) -> usize {
        self.room
    }

    /// The shortest frame that can be sent, in bytes: a mirror's tag goes between MACs and EtherType,
    /// and in any other place the switches would read something else.
    pub(crate) const fn least(&self) -> usize {
        match self.kind {
            Kind::Rspan(_) => ETHERNET_LEN,
            _ => 0,
        }
    }

    /// Bytes that are put around a frame, IP and UDP included.
    pub(crate) const fn around(&self) -> usize {
        self.around
    }

    /// The number that the next datagram gets, in encapsulations that have one.
    pub const fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Leaves a number out, so that the tool sees that something is missing.
    pub const fn skip(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// Appends one datagram with this frame.
    #[inline]
    pub(crate) fn put(&mut self, frame: &[u8], facts: &Facts, out: &mut Vec<u8>) {
        let sequence = self.sequence;
        self.skip();
        out.reserve(MOST_AROUND + frame.len());
        match self.kind {
            Kind::Fixed(header) => out.extend_from_slice(&header),
            Kind::Gre { key } => gre(key, sequence, out),
            Kind::Erspan2(session) => erspan2(session, sequence, frame, facts, out),
            Kind::Erspan3(session) => erspan3(session, sequence, frame, facts, out),
            Kind::Tzsp => tzsp(sequence, facts, out),
            Kind::Rspan(vlan) => {
                let (macs, rest) = frame.split_at_checked(MACS_LEN).unwrap_or((frame, &[]));
                out.extend_from_slice(macs);
                let [high, low] = vlan.value().to_be_bytes();
                // IEEE 802.1Q-2022, section 9.6: TPID, then priority 0 and the VLAN.
                out.extend_from_slice(&[0x81, 0x00, high, low]);
                out.extend_from_slice(rest);
                return;
            }
        }
        out.extend_from_slice(frame);
    }
}

/// RFC 7348, section 5: the I flag and the VNI.
const fn vxlan(vni: Vni) -> [u8; 8] {
    let [_, a, b, c] = vni.value().to_be_bytes();
    [0x08, 0, 0, 0, a, b, c, 0]
}

/// RFC 8926, section 3.4: version 0, no options, an Ethernet frame.
const fn geneve(vni: Vni) -> [u8; 8] {
    let [_, a, b, c] = vni.value().to_be_bytes();
    [0, 0, 0x65, 0x58, a, b, c, 0]
}

/// RFC 2890, section 2: key, then sequence number.
fn gre(key: Option<u32>, sequence: u32, out: &mut Vec<u8>) {
    let flags = if key.is_some() { GRE_KEY | GRE_SEQUENCE } else { GRE_SEQUENCE };
    out.extend_from_slice(&[flags, 0, 0x65, 0x58]);
    if let Some(key) = key {
        out.extend_from_slice(&key.to_be_bytes());
    }
    out.extend_from_slice(&sequence.to_be_bytes());
}

/// draft-foschiano-erspan-03, section 4.2: GRE with a sequence number, then version 1.
fn erspan2(session: SessionId, sequence: u32, frame: &[u8], facts: &Facts, out: &mut Vec<u8>) {
    let (vlan, priority, encapsulation) = match tag(frame) {
        // The tag is still in the frame.
        Some((vlan, priority)) => (vlan, priority, 3),
        None => (0, 0, 0),
    };
    let [v0, v1] = (1 << 12 | vlan).to_be_bytes();
    let truncated = u16::from(facts.is_cut) << 10;
    let [c0, c1] =
        (priority << 13 | encapsulation << 11 | truncated | session.value()).to_be_bytes();
    let [_, i1, i2, i3] = (facts.point & 0x000f_ffff).to_be_bytes();
    numbered_gre([0x88, 0xbe], sequence, out);
    out.extend_from_slice(&[v0, v1, c0, c1, 0, i1, i2, i3]);
}

/// GRE with a sequence number and nothing else (RFC 2890, section 2).
fn numbered_gre(protocol: [u8; 2], sequence: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&[GRE_SEQUENCE, 0]);
    out.extend_from_slice(&protocol);
    out.extend_from_slice(&sequence.to_be_bytes());
}

/// draft-foschiano-erspan-03, section 4.3: version 2, the time in nanoseconds (granularity 2) with
/// its seconds in a sub-header of platform 5.
fn erspan3(session: SessionId, sequence: u32, frame: &[u8], facts: &Facts, out: &mut Vec<u8>) {
    let (vlan, priority) = tag(frame).unwrap_or_default();
    let [v0, v1] = (2 << 12 | vlan).to_be_bytes();
    let truncated = u16::from(facts.is_cut) << 10;
    let [c0, c1] = (priority << 13 | truncated | session.value()).to_be_bytes();
    let [_, _, _, _, t0, t1, t2, t3] = (facts.time_ns % 1_000_000_000).to_be_bytes();
    let [_, _, _, _, e0, e1, e2, e3] = (facts.time_ns / 1_000_000_000).to_be_bytes();
    // Towards the VM is out of the switch's port.
    let egress = u8::from(facts.direction == Some(Direction::ToVm)) << 3;
    let [_, _, p0, p1] = facts.point.to_be_bytes();
    numbered_gre([0x22, 0xeb], sequence, out);
    out.extend_from_slice(&[
        v0,
        v1,
        c0,
        c1,
        t0,
        t1,
        t2,
        t3,
        // No security group; an Ethernet frame; direction, granularity 2, sub-header.
        0,
        0,
        0,
        egress | 2 << 1 | 1,
        // Platform 5: switch 0, port, seconds since 1970.
        5 << 2,
        0,
        p0,
        p1,
        e0,
        e1,
        e2,
        e3,
    ]);
}

/// TZSP, version 1: a received packet, Ethernet; then how many there were, how long it was, the end.
fn tzsp(sequence: u32, facts: &Facts, out: &mut Vec<u8>) {
    let [s0, s1, s2, s3] = sequence.to_be_bytes();
    let [l0, l1] = u16::try_from(facts.wire_len).unwrap_or(u16::MAX).to_be_bytes();
    out.extend_from_slice(&[
        1, 0, 0, 1, // version, type, protocol
        40, 4, s0, s1, s2, s3, // packet count
        41, 2, l0, l1, // length of the frame on the wire
        1,  // end of tags
    ]);
}

/// VLAN and priority of the frame's first tag.
fn tag(frame: &[u8]) -> Option<(u16, u16)> {
    let [t0, t1, high, low] = *frame.get(MACS_LEN..)?.first_chunk::<4>()?;
    let tci = u16::from_be_bytes([high, low]);
    matches!((t0, t1), (0x81, 0x00) | (0x88, 0xa8)).then_some((tci & 0x0fff, tci >> 13))
}

const GRE_KEY: u8 = 0x20;
const GRE_SEQUENCE: u8 = 0x10;
const UDP_LEN: usize = 8;
const TZSP_LEN: usize = 15;
const MACS_LEN: usize = 12;
const ETHERNET_LEN: usize = 14;
const TAG_LEN: usize = 4;
/// The longest header here.
const MOST_AROUND: usize = 28;

#[cfg(test)]
mod tests {
    use wire::Cursor;
    use wire::header::{Erspan2, Erspan3, Geneve, Gre, Vxlan};

    use super::*;

    /// To a group, from the VM, VLAN 100 with priority 5, something that no decoder knows.
    const TAGGED: [u8; 22] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, // MACs
        0x81, 0x00, 0xa0, 0x64, // priority 5, VLAN 100
        0x88, 0xb5, 1, 2, 3, 4,
    ];

    fn facts(is_cut: bool) -> Facts {
        Facts {
            wire_len: 1514,
            time_ns: 1_700_000_000_123_456_789,
            point: 3,
            direction: Some(Direction::ToVm),
            is_cut,
        }
    }

    fn put(outlet: &Outlet) -> (Wrap, Vec<u8>) {
        let mut wrap = Wrap::new(outlet, Mtu::ETHERNET).unwrap();
        let mut out = Vec::new();
        wrap.skip();
        wrap.put(&TAGGED, &facts(true), &mut out);
        (wrap, out)
    }

    fn session(number: u16) -> SessionId {
        number.try_into().unwrap()
    }

    #[test]
    fn each_header_says_what_our_own_decoder_reads() {
        let target = "10.0.0.9".parse().unwrap();
        let vni = Vni::new(0x0a_0b0c).unwrap();
        let (_, out) = put(&Outlet::Vxlan { target, port: 4789, vni });
        let mut cursor = Cursor::new(&out);
        assert_eq!(Vxlan::decode(&mut cursor).unwrap().vni, vni);
        assert_eq!(cursor.ahead(), TAGGED);

        let (_, out) = put(&Outlet::Geneve { target, port: 6081, vni });
        let mut cursor = Cursor::new(&out);
        assert_eq!(Geneve::decode(&mut cursor).unwrap().vni, vni);
        assert_eq!(cursor.ahead(), TAGGED);

        let (_, out) = put(&Outlet::Gre { target, key: Some(77) });
        let mut cursor = Cursor::new(&out);
        let gre = Gre::decode(&mut cursor).unwrap();
        assert_eq!((gre.protocol, gre.key, gre.sequence), (0x6558, Some(77), Some(1)));
        assert_eq!(cursor.ahead(), TAGGED);

        let (wrap, out) = put(&Outlet::Erspan2 { target, session: session(1023) });
        let mut cursor = Cursor::new(&out);
        assert_eq!(Gre::decode(&mut cursor).unwrap().sequence, Some(1));
        let erspan = Erspan2::decode(&mut cursor).unwrap();
        assert_eq!((erspan.session, erspan.vlan.value(), erspan.cos), (1023, 100, 5));
        assert_eq!((erspan.encapsulation, erspan.is_truncated, erspan.index), (3, true, 3));
        assert_eq!(cursor.ahead(), TAGGED);
        assert_eq!((wrap.sequence(), wrap.room()), (2, 1464));

        let (_, out) = put(&Outlet::Erspan3 { target, session: session(7) });
        let mut cursor = Cursor::new(&out);
        assert_eq!(Gre::decode(&mut cursor).unwrap().protocol, 0x22eb);
        let erspan = Erspan3::decode(&mut cursor).unwrap();
        assert_eq!((erspan.session, erspan.vlan.value(), erspan.cos), (7, 100, 5));
        assert_eq!((erspan.is_truncated, erspan.is_egress, erspan.granularity), (true, true, 2));
        assert_eq!(erspan.time, 123_456_789);
        assert_eq!(erspan.platform, Some(5 << 58 | 3 << 32 | 1_700_000_000));
        assert_eq!(cursor.ahead(), TAGGED);
    }

    #[test]
    fn an_rspan_frame_has_the_mirrors_tag_around_its_own() {
        let vlan = VlanId::new(3900).unwrap();
        let (wrap, out) = put(&Outlet::Rspan { interface: "eth0".into(), vlan });
        let expected = [&TAGGED[..12], &[0x81, 0, 0x0f, 0x3c], &TAGGED[12..]].concat();
        assert_eq!(out, expected);
        assert_eq!(wrap.room(), 1514);
    }

    #[test]
    fn no_datagram_of_a_full_frame_needs_a_fragment() {
        let outlets = [
            (Outlet::Tzsp { target: "::1".parse().unwrap(), port: 1 }, 48),
            (Outlet::Gre { target: "::1".parse().unwrap(), key: None }, 40),
            (Outlet::Gre { target: "10.0.0.9".parse().unwrap(), key: Some(1) }, 20),
        ];
        for (outlet, around) in outlets {
            let mut wrap = Wrap::new(&outlet, Mtu::ETHERNET).unwrap();
            let mut out = Vec::new();
            wrap.put(&vec![0; wrap.room()], &facts(false), &mut out);
            assert_eq!(out.len() + around, 1500, "{outlet}");
        }
    }
}
