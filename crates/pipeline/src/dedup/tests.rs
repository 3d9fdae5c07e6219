//! Packets of a made-up site whose copies are known, against what is found; and single cases.

use proptest::prelude::*;
use wire::{Checksum, LinkType, Timestamp, TunnelPorts};

use super::*;

/// A packet as the VM sent it, and as it is further on.
#[derive(Debug, Clone)]
struct Inner {
    macs: [u8; 12],
    is_v6: bool,
    ttl: u8,
    tos: u8,
    id: u16,
    protocol: u8,
    /// Transport header and payload, the checksum zero.
    body: Vec<u8>,
    checksum: u16,
}

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
const ROUTER_MACS: [u8; 12] = [2, 0, 0, 0, 9, 1, 2, 0, 0, 0, 9, 2];

impl Inner {
    fn udp(id: u16, payload: &[u8]) -> Self {
        let len = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
        let header = [0x9c, 0x40, 0x00, 0x35, len[0], len[1], 0, 0];
        let body = [&header[..], payload].concat();
        Self { macs: MACS, is_v6: false, ttl: 64, tos: 0, id, protocol: 17, body, checksum: 0x1234 }
    }

    fn tcp(sequence: u32, payload: &[u8]) -> Self {
        let mut body = vec![0x9c, 0x40, 0x01, 0xbb];
        body.extend(sequence.to_be_bytes());
        body.extend([0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
        body.extend(payload);
        Self { protocol: 6, body, ..Self::udp(1, &[]) }
    }

    fn routed(&self) -> Self {
        Self { macs: ROUTER_MACS, ttl: self.ttl - 1, ..self.clone() }
    }

    fn packet(&self) -> Vec<u8> {
        let mut body = self.body.clone();
        let at = if self.protocol == 6 { 16 } else { 6 };
        body[at..at + 2].copy_from_slice(&self.checksum.to_be_bytes());
        let mut bytes = if self.is_v6 {
            let len = u16::try_from(body.len()).unwrap().to_be_bytes();
            let mut header =
                vec![0x60, self.tos >> 4, 0, 0, len[0], len[1], self.protocol, self.ttl];
            header.extend([0xfd; 32]);
            header
        } else {
            let len = u16::try_from(20 + body.len()).unwrap().to_be_bytes();
            let id = self.id.to_be_bytes();
            // The header checksum goes with the TTL.
            let (ttl, tos) = (self.ttl, self.tos);
            let header = [0x45, tos, len[0], len[1], id[0], id[1], 0x40, 0, ttl, self.protocol];
            [&header[..], &[ttl, 0, 10, 0, 0, 1, 10, 0, 0, 2]].concat()
        };
        bytes.extend(body);
        bytes
    }

    fn frame(&self) -> Vec<u8> {
        let kind: [u8; 2] = if self.is_v6 { [0x86, 0xdd] } else { [8, 0] };
        [&self.macs[..], &kind, &self.packet()].concat()
    }
}

/// What is around a frame at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrap {
    Vlan(u16),
    Vxlan(u32),
    Geneve(u32),
    /// The whole key.
    Gre(u32),
    /// Session, and the VLAN in the header.
    Erspan2(u16, u16),
}

impl Wrap {
    fn around(self, frame: &[u8]) -> Vec<u8> {
        match self {
            Self::Vlan(vlan) => {
                let [high, low] = vlan.to_be_bytes();
                [&frame[..12], &[0x81, 0, high, low], &frame[12..]].concat()
            }
            Self::Vxlan(vni) => {
                let [_, a, b, c] = vni.to_be_bytes();
                in_udp(4789, &[&[8, 0, 0, 0, a, b, c, 0], frame].concat())
            }
            Self::Geneve(vni) => {
                let [_, a, b, c] = vni.to_be_bytes();
                let header = [1, 0, 0x65, 0x58, a, b, c, 0, 1, 2, 3, 0];
                in_udp(6081, &[&header, frame].concat())
            }
            Self::Gre(key) => {
                let header = [&[0x20, 0, 0x65, 0x58][..], &key.to_be_bytes()].concat();
                in_ip(47, &[&header, frame].concat())
            }
            Self::Erspan2(session, vlan) => {
                let ([v0, v1], [s0, s1]) = (vlan.to_be_bytes(), session.to_be_bytes());
                let gre = [0x10, 0, 0x88, 0xbe, 0, 0, 0, 7];
                let header = [0x10 | v0, v1, 0x10 | s0, s1, 0, 0, 0, 1];
                in_ip(47, &[&gre[..], &header, frame].concat())
            }
        }
    }
}

fn in_udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
    let [high, low] = port.to_be_bytes();
    in_ip(17, &[&[0xc0, 1, high, low, len[0], len[1], 0, 0], payload].concat())
}

fn in_ip(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![6, 0, 0, 0, 0, 1, 6, 0, 0, 0, 0, 2, 8, 0];
    bytes.extend([
        0x45, 0, len[0], len[1], 0, 9, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2,
    ]);
    bytes.extend(payload);
    bytes
}

struct Bench {
    dedup: Dedup,
    layers: Layers,
}

impl Bench {
    fn new(map: &str) -> Self {
        let tenants = Tenants::Mapped(map.parse().unwrap());
        Self { dedup: Dedup::new(Dedup::WINDOW, tenants), layers: Layers::empty() }
    }

    fn offer_cut(&mut self, us: u64, point: u32, bytes: &[u8], snaplen: usize) -> Sighting {
        let data = &bytes[..snaplen.min(bytes.len())];
        let time = Timestamp::from_nanos(us * 1000);
        let wire_len = u32::try_from(bytes.len()).unwrap();
        let mut packet = Packet::new(time, LinkType::ETHERNET, data, wire_len);
        packet.point = PointId(point);
        self.layers.fill(packet.link, packet.data, &TunnelPorts::default());
        self.dedup.offer(&packet, &self.layers)
    }

    fn offer(&mut self, us: u64, point: u32, bytes: &[u8]) -> Sighting {
        self.offer_cut(us, point, bytes, bytes.len())
    }

    /// Offers the packets, each at its point and time; which of them were copies.
    fn copies(&mut self, packets: &[(u64, u32, Vec<u8>)]) -> Vec<bool> {
        let is_copy = |sighting| matches!(sighting, Sighting::Copy { .. });
        packets.iter().map(|(us, point, bytes)| is_copy(self.offer(*us, *point, bytes))).collect()
    }
}

fn copies(map: &str, packets: &[(u64, u32, Vec<u8>)]) -> Vec<bool> {
    Bench::new(map).copies(packets)
}

#[test]
fn a_packet_behind_a_router_is_the_same_packet() {
    let before = Inner { tos: 0x10, ..Inner::tcp(7, b"hello") };
    let behind = Inner { tos: 0, ..before.routed() };
    let packets = [(0, 0, before.frame()), (50, 1, behind.frame())];
    assert_eq!(copies("", &packets), [false, true]);
    // The same where one port shows both sides.
    let packets = [(0, 0, before.frame()), (50, 0, behind.frame())];
    assert_eq!(copies("", &packets), [false, true]);
    // One TTL more is no router.
    let packets = [(0, 0, behind.frame()), (50, 0, before.frame())];
    assert_eq!(copies("", &packets), [false, false]);
}

#[test]
fn equal_packets_at_one_point_are_traffic_and_each_has_its_copy() {
    for packet in [Inner::tcp(7, b"again"), Inner::udp(0, b"again"), Inner::tcp(7, b"")] {
        let frame = packet.frame();
        let all = [(0, 0), (10, 0), (12, 1), (20, 0), (25, 1), (30, 1), (40, 1)];
        let packets = all.map(|(us, point)| (us, point, frame.clone()));
        let expected = [false, false, true, false, true, true, false];
        assert_eq!(copies("", &packets), expected, "the fourth at point 1 is new");
    }
}

#[test]
fn a_long_run_of_equal_packets_is_told_apart_by_count() {
    let frame = Inner::udp(0, b"tick").frame();
    // Point 1 shows them 100 behind.
    let mut packets = Vec::new();
    for n in 0..1000 {
        packets.push((n * 5, 0, frame.clone()));
        packets.push((n * 5 + 500, 1, frame.clone()));
    }
    packets.sort_by_key(|(us, ..)| *us);
    let found = copies("", &packets);
    for ((us, point, _), is_copy) in packets.iter().zip(found) {
        assert_eq!(is_copy, *point == 1, "{us}");
    }
}

#[test]
fn the_window_includes_its_end() {
    let frame = Inner::udp(1, b"x").frame();
    assert_eq!(copies("", &[(0, 0, frame.clone()), (10_000, 1, frame.clone())]), [false, true]);
    assert_eq!(copies("", &[(0, 0, frame.clone()), (10_001, 1, frame.clone())]), [false, false]);
    // It counts from the packet that was kept.
    let packets = [(0, 0), (9000, 1), (18_000, 2)].map(|(us, p)| (us, p, frame.clone()));
    assert_eq!(copies("", &packets), [false, true, false]);
}

#[test]
fn a_packet_that_comes_late_is_compared_all_the_same() {
    let frame = |n: u16| Inner::udp(n, b"late").frame();
    let mut packets: Vec<_> = (0..500).map(|n| (u64::from(n) * 100, 0, frame(n))).collect();
    packets.extend((0..500).map(|n| (u64::from(n) * 100 + 30, 1, frame(n))));
    let found = copies("", &packets);
    assert!(found[..500].iter().all(|is_copy| !is_copy));
    // Those that the first late one made known to be of interest.
    assert!(found[500..].iter().all(|is_copy| *is_copy));
}

#[test]
fn two_tenants_never_share_a_packet() {
    let frame = Inner::tcp(7, b"the same image").frame();
    let all = [
        Wrap::Vxlan(5001),
        Wrap::Vxlan(5002),
        Wrap::Geneve(5001),
        Wrap::Gre(5001),
        Wrap::Vlan(100),
        Wrap::Vlan(101),
        Wrap::Erspan2(1, 102),
    ];
    let packets: Vec<_> =
        (0..).zip(all).map(|(n, wrap)| (u64::from(n), n, wrap.around(&frame))).collect();
    assert_eq!(copies("", &packets), [false; 7], "no map says that any two of them are one");
    let map =
        "a: vxlan 5001, vlan 100\nb: vxlan 5002, geneve 5001, vlan 102\nc: gre 5001, vlan 101";
    assert_eq!(copies(map, &packets), [false, false, true, false, true, true, true]);
    let mut bench =
        Bench { dedup: Dedup::new(Dedup::WINDOW, Tenants::One), layers: Layers::empty() };
    assert_eq!(bench.copies(&packets), [false, true, true, true, true, true, true]);
}

#[test]
fn what_was_kept_apart_for_want_of_a_map_is_told() {
    let frame = Inner::tcp(7, b"x").frame();
    let mut bench = Bench::new("");
    bench.offer(0, 0, &Wrap::Vlan(100).around(&frame));
    bench.offer(1, 1, &Wrap::Vxlan(5001).around(&frame));
    let apart: Vec<_> = bench.dedup.kept_apart().collect();
    assert_eq!(apart.len(), 1);
    assert_eq!((apart[0].first.to_string(), apart[0].packets), ("VLAN 100".into(), 1));
    assert_eq!(apart[0].second.to_string(), "VXLAN 5001");
}

#[test]
fn a_frame_without_a_name_is_whoevers_it_can_only_be() {
    let inner = Inner::tcp(7, b"tap");
    let (tap, uplink) = (inner.frame(), Wrap::Vxlan(5001).around(&inner.frame()));
    let other = Wrap::Vxlan(5002).around(&inner.frame());
    assert_eq!(copies("", &[(0, 0, tap.clone()), (9, 1, uplink.clone())]), [false, true]);
    assert_eq!(copies("", &[(0, 1, uplink.clone()), (9, 0, tap.clone())]), [false, true]);
    // Once it is known whose it is, it is nobody else's.
    let packets = [(0, 0, tap.clone()), (9, 1, uplink.clone()), (10, 1, other.clone())];
    assert_eq!(copies("", &packets), [false, true, false]);
    // Two could be meant: nobody knows.
    let packets = [(0, 1, uplink), (1, 1, other), (9, 0, tap.clone())];
    assert_eq!(copies("", &packets), [false, false, false]);
    // Other MACs without a router between: another machine.
    let stranger = Inner { macs: ROUTER_MACS, ..inner };
    let packets = [(0, 0, tap), (9, 1, Wrap::Vxlan(5001).around(&stranger.frame()))];
    assert_eq!(copies("", &packets), [false, false]);
}

#[test]
fn a_point_that_a_map_names_shows_the_packets_of_its_tenant() {
    let frame = Inner::tcp(7, b"tap").frame();
    let mut bench = Bench::new("acme: vni 5001, point vnet3\nwile: vni 5002");
    bench.dedup.name_point(PointId(0), "vnet3");
    let packets = [
        (0, 1, Wrap::Vxlan(5001).around(&frame)),
        (1, 1, Wrap::Vxlan(5002).around(&frame)),
        (2, 0, frame),
    ];
    assert_eq!(bench.copies(&packets), [false, false, true]);
}

#[test]
fn the_legs_of_a_mirror_are_two_points() {
    let frame = Inner::udp(3, b"intra-host").frame();
    let (from, to) = (Wrap::Gre(0x0200_0000).around(&frame), Wrap::Gre(0).around(&frame));
    let packets = [(0, 0, from.clone()), (1, 0, to.clone()), (2, 0, from), (3, 0, to)];
    assert_eq!(copies("", &packets), [false, true, false, true]);
    let sessions = [1, 2, 2].map(|session| (0, 0, Wrap::Erspan2(session, 100).around(&frame)));
    assert_eq!(copies("", &sessions), [false, true, false]);
}

#[test]
fn the_tag_a_mirror_took_away_is_in_its_header() {
    let frame = Inner::udp(3, b"x").frame();
    let tagged = Wrap::Vlan(100).around(&frame);
    let packets = [
        (0, 0, tagged.clone()),
        (1, 1, Wrap::Erspan2(1, 100).around(&frame)),
        (2, 2, Wrap::Erspan2(2, 100).around(&tagged)),
        (3, 3, Wrap::Erspan2(3, 200).around(&frame)),
    ];
    assert_eq!(copies("", &packets), [false, true, true, false]);
}

#[test]
fn copies_cut_to_different_lengths_match_and_others_do_not() {
    let payload: Vec<u8> = (0..900_u16).map(|n| n.to_le_bytes()[0]).collect();
    let one = Inner::udp(0, &payload);
    for snaplen in [50, 68, 96, 128, 200, 300, 500] {
        let frame = one.frame();
        let mut bench = Bench::new("");
        bench.offer(0, 0, &frame);
        assert_ne!(bench.offer_cut(5, 1, &frame, snaplen), Sighting::First(None), "{snaplen}");
        assert_eq!(bench.dedup.copies(), 1, "{snaplen}");
        // The cut one first, and a third one with yet another length.
        bench.offer_cut(20_000, 1, &frame, snaplen);
        bench.offer_cut(20_001, 2, &frame, snaplen + 60);
        bench.offer(20_002, 0, &frame);
        assert_eq!(bench.dedup.copies(), 3, "{snaplen}");
        // Another packet whose beginning is the same: its checksum tells.
        let mut other = one.clone();
        other.body[800] ^= 1;
        other.checksum ^= 1;
        bench.offer(40_000, 0, &other.frame());
        bench.offer_cut(40_001, 1, &frame, snaplen);
        assert_eq!(bench.dedup.copies(), 3, "{snaplen}");
    }
    let mut bench = Bench::new("");
    assert_eq!(bench.offer_cut(0, 0, &one.frame(), 38), Sighting::First(None));
    assert_eq!(bench.dedup.incomparable(), 1);
}

#[test]
fn a_checksum_that_was_left_to_the_card_is_no_difference() {
    let filled = Inner::udp(5, b"offload");
    let sum: u32 = [0x0a00, 0x0001, 0x0a00, 0x0002, 17, 15].iter().sum();
    let unfilled = Inner { checksum: u16::try_from(sum).unwrap(), ..filled.clone() };
    let wrong = Inner { checksum: 0x4321, ..filled.clone() };
    assert_eq!(copies("", &[(0, 0, unfilled.frame()), (1, 1, filled.frame())]), [false, true]);
    // Of cut packets it stands for what is not there, unless it was not filled in.
    for (other, copies) in [(unfilled, 1), (wrong, 0)] {
        let mut bench = Bench::new("");
        bench.offer_cut(0, 0, &other.frame(), 45);
        bench.offer_cut(1, 1, &filled.frame(), 45);
        assert_eq!(bench.dedup.copies(), copies);
    }
    let mut packet_bytes = filled.frame();
    packet_bytes.truncate(45);
    let mut packet = Packet::new(Timestamp::ZERO, LinkType::ETHERNET, &packet_bytes, 49);
    packet.checksum = Checksum::NotReady;
    let layers = Layers::decode(packet.link, packet.data, &TunnelPorts::default());
    let mut bench = Bench::new("");
    bench.dedup.offer(&packet, &layers);
    bench.offer_cut(1, 1, &Inner { checksum: 7, ..filled }.frame(), 45);
    assert_eq!(bench.dedup.copies(), 1);
}

#[test]
fn arp_is_compared_as_a_frame_and_its_padding_is_not() {
    let mut arp = vec![0xff; 6];
    arp.extend([2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    arp.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
    let padded = [&arp[..], &[0; 18]].concat();
    let mut other = arp.clone();
    other[41] = 3;
    let packets = [
        (0, 0, arp.clone()),
        (1, 1, padded),
        (2, 2, Wrap::Vlan(7).around(&arp)),
        (3, 3, other),
        (4, 0, arp),
    ];
    assert_eq!(copies("", &packets), [false, true, true, false, false]);
}

#[test]
fn fragments_are_compared_by_their_bytes() {
    let fragment = |offset: u8, text: &[u8]| {
        let mut frame = Inner::udp(9, text).frame();
        frame[20] = 0x20 * u8::from(offset == 0);
        frame[21] = offset;
        frame
    };
    let packets = [
        (0, 0, fragment(0, b"first")),
        (1, 0, fragment(3, b"later")),
        (2, 1, fragment(3, b"later")),
        (3, 1, fragment(0, b"first")),
        (4, 1, fragment(3, b"other")),
        (5, 2, fragment(4, b"later")),
    ];
    assert_eq!(copies("", &packets), [false, false, true, true, false, false]);
}

#[test]
fn the_kept_packet_knows_where_else_it_was_seen() {
    let frame = Inner::tcp(1, b"x").frame();
    let mut bench = Bench::new("");
    let Sighting::First(Some(kept)) = bench.offer(0, 4, &frame) else { unreachable!() };
    assert_eq!(bench.offer(30, 5, &frame), Sighting::Copy { of: kept, delay_ns: 30_000 });
    bench.offer(50, 6, &frame);
    let seen: Vec<_> = bench.dedup.sightings(kept).map(|(at, delay)| (at.point.0, delay)).collect();
    assert_eq!(seen, [(6, 50_000), (5, 30_000)]);
    let pairs: Vec<_> = bench.dedup.pairs().collect();
    assert_eq!(pairs.len(), 2);
    assert_eq!((pairs[0].first.point.0, pairs[0].second.point.0, pairs[0].copies), (4, 5, 1));
    assert_eq!(pairs[0].delay_ns, Delay { min: 30_000, median: 30_000, max: 30_000 });
}

#[test]
fn too_many_packets_for_the_window_are_counted_and_kept() {
    let mut bench =
        Bench { dedup: Dedup::new(Duration::from_secs(60), Tenants::One), layers: Layers::empty() };
    let mut frame = Inner::tcp(0, b"x").frame();
    let mut offer = |bench: &mut Bench, number: u32, point| {
        frame[38..42].copy_from_slice(&number.to_be_bytes());
        bench.offer(u64::from(number), point, &frame)
    };
    for number in 0..140_000 {
        offer(&mut bench, number, 0);
    }
    assert_eq!(bench.dedup.overflowed(), 140_000 - (1 << 17));
    assert!(matches!(offer(&mut bench, 3, 1), Sighting::First(Some(_))), "forgotten");
    assert!(matches!(offer(&mut bench, 139_000, 1), Sighting::Copy { .. }));
    const { assert!(Dedup::MAX_BYTES < 20 << 20) };
}

#[test]
fn bytes_that_are_no_packet_are_compared_as_they_are_or_not_at_all() {
    let mut bench = Bench::new("");
    assert_eq!(bench.offer(0, 0, &[]), Sighting::First(None));
    for bytes in [&[1, 2, 3][..], &[0; 14], &[0xff; 60]] {
        let first = bench.offer(1, 0, bytes);
        assert!(matches!(first, Sighting::First(_)));
        bench.offer(2, 1, bytes);
    }
}

/// Where the packets of a flow come by: point, form, whether behind the router, after how long.
#[derive(Debug, Clone)]
struct Stop {
    point: u32,
    wrap: Wrap,
    is_behind: bool,
    after_us: u64,
    snaplen: usize,
}

#[derive(Debug, Clone)]
struct Flow {
    inner: Inner,
    stops: Vec<Stop>,
    /// When it is sent, again and again.
    times_us: Vec<u64>,
}

const MAP: &str = "\
a: vxlan 5001, geneve 6001, gre 7001, vlan 101
b: vxlan 5002, geneve 5001, gre 7002, vlan 102
c: vxlan 6001, geneve 5002, gre 101, vlan 103";

fn wraps(tenant: usize) -> impl Strategy<Value = Wrap> {
    let (vxlan, geneve, gre, vlan) =
        [(5001, 6001, 7001, 101), (5002, 5001, 7002, 102), (6001, 5002, 101, 103)][tenant];
    prop_oneof![
        Just(Wrap::Vxlan(vxlan)),
        Just(Wrap::Geneve(geneve)),
        Just(Wrap::Gre(gre)),
        Just(Wrap::Vlan(vlan)),
        (1..4_u16).prop_map(move |session| Wrap::Erspan2(session, vlan)),
    ]
}

/// A flow of a tenant; few different packets, so that tenants often send equal ones at a time.
fn flow() -> impl Strategy<Value = Flow> {
    (0..3_usize).prop_flat_map(|tenant| {
        let inner =
            (any::<bool>(), any::<bool>(), 0..3_u8, prop_oneof![Just(0), Just(4), Just(700)]);
        let inner = inner.prop_map(|(is_v6, is_tcp, number, len)| {
            let payload = vec![number; len];
            let inner = if is_tcp {
                Inner::tcp(u32::from(number), &payload)
            } else {
                Inner::udp(0, &payload)
            };
            // Other bytes have another checksum, or a cut packet could be either.
            let checksum = inner.checksum + u16::from(number) * u16::from(len > 0);
            Inner { is_v6, checksum, ..inner }
        });
        let snaplen = prop_oneof![4 => Just(usize::MAX), 1 => Just(200), 1 => Just(128)];
        // Every tenant's flows have points of their own numbers in common with all others.
        let stop = (wraps(tenant), any::<bool>(), 0..1500_u64, snaplen);
        let stops = prop::collection::vec(stop, 1..5).prop_map(|stops| {
            let mut after_us = 0;
            (0..)
                .zip(stops)
                .map(|(point, (wrap, is_behind, delay, snaplen))| {
                    after_us += delay;
                    Stop { point, wrap, is_behind, after_us, snaplen }
                })
                .collect::<Vec<_>>()
        });
        let times = prop::collection::vec(0..200_000_u64, 1..6);
        (inner, stops, times).prop_map(|(inner, stops, times_us)| Flow { inner, stops, times_us })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn exactly_the_copies_are_found(mut flows in prop::collection::vec(flow(), 1..12)) {
        // The places of equal packets of one tenant must be the same, or nobody could say which
        // copy belongs to which packet; so of equal ones the first flow stays.
        let key = |flow: &Flow| (tenant(flow.stops[0].wrap), flow.inner.packet());
        let mut seen = Vec::new();
        flows.retain(|flow| {
            let is_new = !seen.contains(&key(flow));
            seen.push(key(flow));
            is_new
        });
        let mut sightings = Vec::new();
        for flow in &flows {
            for time in &flow.times_us {
                for (number, stop) in flow.stops.iter().enumerate() {
                    let inner = if stop.is_behind { flow.inner.routed() } else { flow.inner.clone() };
                    let frame = stop.wrap.around(&inner.frame());
                    sightings.push((time + stop.after_us, stop.point, stop.snaplen, frame, number > 0));
                }
            }
        }
        sightings.sort_by_key(|sighting| sighting.0);
        let mut bench = Bench::new(MAP);
        for (us, point, snaplen, frame, is_copy) in &sightings {
            let found = bench.offer_cut(*us, *point, frame, *snaplen);
            prop_assert_eq!(matches!(found, Sighting::Copy { .. }), *is_copy, "at {} µs", us);
        }
        prop_assert_eq!(bench.dedup.overflowed(), 0);
    }
}

fn tenant(wrap: Wrap) -> usize {
    let map: TenantMap = MAP.parse().unwrap();
    let tenants = Tenants::Mapped(map);
    let network = |wrap: Wrap| {
        let frame = wrap.around(&Inner::udp(0, b"").frame());
        let layers = Layers::decode(LinkType::ETHERNET, &frame, &TunnelPorts::default());
        let packet = Packet::new(Timestamp::ZERO, LinkType::ETHERNET, &frame, 0);
        Identity::of(&packet, &layers).unwrap().1.around.network
    };
    let own = network(wrap);
    [101, 102, 103]
        .iter()
        .position(|vlan| {
            tenants.relation((&own, None), (&network(Wrap::Vlan(*vlan)), None)) == Relation::Same
        })
        .unwrap()
}
