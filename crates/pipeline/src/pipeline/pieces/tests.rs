use proptest::prelude::*;
use select::{Cleared, DropReason, Encapsulation, Filter, Guard, Identity, OnWire, Ownership};
use wire::{LinkType, Mac, Packet, PointId, Timestamp, TunnelPorts, Vni};

use crate::{Ledger, Limits, Pipeline, PointRules, Sink, Treatment, Verdict};

const WEB: Mac = Mac([0x52, 0x54, 0, 0, 7, 10]);
const OTHER: Mac = Mac([0x52, 0x54, 0, 0, 7, 20]);

/// Keeps the frames it is given, and when they were seen.
#[derive(Default)]
struct Shelf(Vec<(u64, Vec<u8>)>);

impl Sink for Shelf {
    fn take(&mut self, packet: &Cleared<'_, '_>) -> Result<(), DropReason> {
        self.0.push((packet.packet().time.as_nanos(), packet.packet().data.to_vec()));
        Ok(())
    }
}

fn ethernet(source: Mac, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1][..], &source.0, &[0x08, 0x00], payload].concat()
}

/// The part of an IPv4 packet from `start` to `end` of its payload.
fn ipv4(id: u16, payload: &[u8], start: usize, end: usize) -> Vec<u8> {
    let more = if end < payload.len() { 0x2000 } else { 0 };
    let mut bytes = vec![0x45, 0];
    bytes.extend(u16::try_from(20 + end - start).unwrap().to_be_bytes());
    bytes.extend(id.to_be_bytes());
    bytes.extend((more | u16::try_from(start / 8).unwrap()).to_be_bytes());
    bytes.extend([64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend(&payload[start..end]);
    bytes
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).unwrap();
    [&[0xc0, 1][..], &port.to_be_bytes(), &len.to_be_bytes(), &[0, 0], payload].concat()
}

/// A frame with 104 bytes of `fill` to a UDP port, in VXLAN in UDP.
fn vxlan(vni: u8, source: Mac, port: u16, fill: u8) -> Vec<u8> {
    let inner = udp(port, &[fill; 104]);
    let inner = ethernet(source, &ipv4(9, &inner, 0, inner.len()));
    udp(4789, &[&[8, 0, 0, 0, 0, 0, vni, 0][..], &inner].concat())
}

/// Bytes of what [`vxlan`] makes; its inner headers end at byte 58.
const LEN: usize = 8 + 8 + 14 + 20 + 8 + 104;

/// The frames of a packet between two hosts, cut at multiples of 8 bytes.
fn pieces(id: u16, packet: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let ends = cuts.iter().copied().chain([packet.len()]);
    let starts = [0].into_iter().chain(cuts.iter().copied());
    starts.zip(ends).map(|(start, end)| ethernet(OTHER, &ipv4(id, packet, start, end))).collect()
}

fn web_in_10() -> Ownership {
    let vni = Vni::new(10).unwrap();
    let tunnel = Encapsulation::Vxlan;
    let network = OnWire::Overlay { vni, tunnel, udp_port: None, vlan: None };
    Ownership::Shared(vec![Identity { mac: WEB, network }])
}

struct Bench {
    pipeline: Pipeline,
    shelf: Shelf,
    seen: u64,
}

impl Bench {
    fn new(ownership: &Ownership, filter: &str) -> Self {
        Self::with(ownership, filter, Treatment::AsSeen)
    }

    fn with(ownership: &Ownership, filter: &str, treatment: Treatment) -> Self {
        let filter = (!filter.is_empty()).then(|| Filter::parse(filter).unwrap());
        let ports = TunnelPorts::default();
        let mut pipeline = Pipeline::new(filter, ports, treatment, 262_144, Limits::default());
        pipeline.add_point(PointRules { guard: Guard::new(ownership), later: None });
        Self { pipeline, shelf: Shelf::default(), seen: 0 }
    }

    fn offer(&mut self, frame: &[u8]) -> Verdict {
        self.offer_at(self.seen + 1, 0, frame)
    }

    fn offer_at(&mut self, ms: u64, lost_before: u64, frame: &[u8]) -> Verdict {
        self.seen += 1;
        let time = Timestamp::from_nanos(ms * 1_000_000);
        let len = u32::try_from(frame.len()).unwrap();
        let packet = Packet { lost_before, ..Packet::new(time, LinkType::ETHERNET, frame, len) };
        self.pipeline.offer(packet, &mut self.shelf)
    }

    /// The account once nothing waits any more, which must add up; and what was written.
    fn end(mut self) -> (Ledger, Vec<Vec<u8>>) {
        self.pipeline.finish(&mut self.shelf);
        self.pipeline.count_kernel(0, self.seen, 0);
        let ledger = *self.pipeline.ledger(0).unwrap();
        assert_eq!(ledger.unread(), 0);
        (ledger, self.shelf.0.into_iter().map(|(_, frame)| frame).collect())
    }
}

const WRITTEN: Verdict = Verdict::Written;
const UNDECIDABLE: Verdict = Verdict::Dropped(DropReason::Undecidable);
const FOREIGN: Verdict = Verdict::Dropped(DropReason::OtherTenant);

#[test]
fn the_pieces_of_a_tunnel_packet_go_where_their_first_goes() {
    let mut bench = Bench::new(&web_in_10(), "");
    let own = pieces(1, &vxlan(10, WEB, 53, b'w'), &[64, 128]);
    let foreign = pieces(2, &vxlan(11, WEB, 53, b'x'), &[64, 128]);
    for (mine, theirs) in own.iter().zip(&foreign) {
        assert_eq!(bench.offer(mine), WRITTEN);
        assert_eq!(bench.offer(theirs), FOREIGN);
    }
    let (ledger, written) = bench.end();
    assert_eq!((ledger.written, ledger.other_tenant), (3, 3));
    assert_eq!(written, own);
}

#[test]
fn pieces_before_their_first_wait_and_are_written_before_it() {
    let mut bench = Bench::new(&web_in_10(), "");
    let own = pieces(1, &vxlan(10, WEB, 53, b'w'), &[64, 128]);
    let [first, second, last] = &own[..] else { panic!() };
    assert_eq!(bench.offer(last), Verdict::Held);
    assert_eq!(bench.offer(&ethernet(WEB, &ipv4(5, &[0; 8], 0, 8))), FOREIGN);
    assert_eq!(bench.offer(first), WRITTEN);
    assert_eq!(bench.offer(second), WRITTEN);
    assert_eq!(bench.pipeline.written_late(), 0, "nothing younger was written before");
    let (_, written) = bench.end();
    assert_eq!(written, [last.clone(), first.clone(), second.clone()]);
}

#[test]
fn a_piece_whose_first_does_not_come_is_undecidable_once_its_time_is_over() {
    let mut bench = Bench::new(&web_in_10(), "");
    let own = pieces(1, &vxlan(10, WEB, 53, b'w'), &[128]);
    assert_eq!(bench.offer_at(0, 0, &own[1]), Verdict::Held);
    assert_eq!(bench.offer_at(499, 0, &pieces(2, &vxlan(10, WEB, 53, b'w'), &[])[0]), WRITTEN);
    assert_eq!(bench.pipeline.ledger(0).unwrap().undecidable, 0);
    bench.pipeline.settle(Timestamp::from_nanos(500_000_000), &mut bench.shelf);
    assert_eq!(bench.pipeline.ledger(0).unwrap().undecidable, 1);
    // Too late: it is gone.
    assert_eq!(bench.offer_at(501, 0, &own[0]), WRITTEN);
    assert_eq!(bench.end().0.undecidable, 1);
}

#[test]
fn a_first_piece_too_short_for_its_frame_decides_nothing() {
    for cut in [8, 16, 24] {
        let mut bench = Bench::new(&web_in_10(), "");
        for piece in pieces(1, &vxlan(10, WEB, 53, b'w'), &[cut]) {
            assert_eq!(bench.offer(&piece), UNDECIDABLE, "cut at {cut}");
        }
    }
}

#[test]
fn a_number_used_by_two_tenants_at_once_gives_nothing_away() {
    let mut bench = Bench::new(&web_in_10(), "");
    let own = pieces(1, &vxlan(10, WEB, 53, b'w'), &[128]);
    let foreign = pieces(1, &vxlan(11, WEB, 53, b'x'), &[128]);
    assert_eq!(bench.offer(&own[0]), WRITTEN);
    assert_eq!(bench.offer(&foreign[0]), FOREIGN);
    assert_eq!(bench.offer(&foreign[1]), UNDECIDABLE);
    assert_eq!(bench.offer(&own[1]), UNDECIDABLE);
}

#[test]
fn after_a_loss_nothing_is_taken_for_granted() {
    let mut bench = Bench::new(&web_in_10(), "");
    let own = pieces(1, &vxlan(10, WEB, 53, b'w'), &[128]);
    let early = pieces(2, &vxlan(10, WEB, 53, b'w'), &[128]);
    assert_eq!(bench.offer(&own[0]), WRITTEN);
    assert_eq!(bench.offer(&early[1]), Verdict::Held);
    assert_eq!(bench.offer_at(5, 3, &early[0]), WRITTEN);
    assert_eq!(bench.offer(&own[1]), Verdict::Held);
    assert_eq!(bench.end().0.undecidable, 2);
}

#[test]
fn a_piece_that_came_when_the_point_had_another_owner_is_not_its_firsts() {
    let mut bench = Bench::new(&web_in_10(), "");
    let own = pieces(1, &vxlan(10, WEB, 53, b'w'), &[64, 128]);
    assert_eq!(bench.offer_at(1, 0, &own[0]), WRITTEN);
    let nobody = Ownership::Shared(vec![]);
    bench.pipeline.own(0, &nobody, Timestamp::from_nanos(3_000_000));
    assert_eq!(bench.offer_at(2, 0, &own[1]), WRITTEN);
    assert_eq!(bench.offer_at(3, 0, &own[2]), FOREIGN);
    bench.pipeline.own(0, &web_in_10(), Timestamp::from_nanos(4_000_000));
    assert_eq!(bench.offer_at(4, 0, &own[2]), UNDECIDABLE);
}

#[test]
fn the_tunnel_of_a_packet_in_pieces_stays() {
    let mut bench = Bench::with(&web_in_10(), "", Treatment::Stripped);
    let own = pieces(1, &vxlan(10, WEB, 53, b'w'), &[128]);
    own.iter().for_each(|piece| assert_eq!(bench.offer(piece), WRITTEN));
    let whole = vxlan(10, WEB, 53, b'w');
    bench.offer(&pieces(2, &whole, &[])[0]);
    assert_eq!(bench.end().1, [own, vec![whole[16..].to_vec()]].concat());
}

#[test]
fn an_expression_asks_the_first_piece_for_all() {
    let packet = |port, fill| udp(port, &[fill; 40]);
    for (filter, port, is_wanted) in [
        ("udp port 53", 53, true),
        ("udp port 53", 54, false),
        ("not udp port 53", 53, false),
        ("not udp port 53", 54, true),
    ] {
        let mut bench = Bench::new(&Ownership::Whole, filter);
        let pieces = pieces(1, &packet(port, b'a'), &[16, 24]);
        assert_eq!(bench.offer(&pieces[1]), Verdict::Held);
        bench.offer(&pieces[0]);
        bench.offer(&pieces[2]);
        let (ledger, _) = bench.end();
        let expected = if is_wanted { (3, 0) } else { (0, 3) };
        assert_eq!((ledger.written, ledger.not_selected), expected, "{filter}, port {port}");
    }
    // Its own length, as to tcpdump.
    let mut bench = Bench::new(&Ownership::Whole, "ip[6:2] & 0x1fff != 0");
    let pieces = pieces(1, &packet(53, b'a'), &[16]);
    assert_eq!(bench.offer(&pieces[0]), Verdict::Dropped(DropReason::NotSelected));
    assert_eq!(bench.offer(&pieces[1]), WRITTEN);
}

#[test]
fn without_its_first_a_piece_answers_for_itself_if_it_can() {
    for (filter, expected) in [("host 10.0.0.1", (1, 0)), ("udp port 53", (0, 1))] {
        let mut bench = Bench::new(&Ownership::Whole, filter);
        bench.offer(&pieces(1, &udp(53, &[0; 40]), &[16])[1]);
        let (ledger, _) = bench.end();
        assert_eq!((ledger.written, ledger.undecidable), expected, "{filter}");
    }
}

#[test]
fn without_an_expression_the_vms_own_port_is_not_looked_into() {
    let mut bench = Bench::new(&Ownership::Whole, "");
    assert_eq!(bench.offer(&pieces(1, &udp(53, &[0; 40]), &[16])[1]), WRITTEN);
}

#[test]
fn an_unknown_point_has_no_pieces() {
    let mut bench = Bench::new(&web_in_10(), "");
    let frame = &pieces(1, &vxlan(10, WEB, 53, b'w'), &[128])[1];
    let mut packet = Packet::new(Timestamp::ZERO, LinkType::ETHERNET, frame, 0);
    packet.point = PointId(7);
    assert_eq!(bench.pipeline.offer(packet, &mut bench.shelf), FOREIGN);
}

/// A packet of one of two tenants between the same two hosts, in pieces.
#[derive(Debug, Clone)]
struct Sent {
    is_own: bool,
    port: u16,
    frames: Vec<Vec<u8>>,
}

/// Packets whose first piece shows the inner ports. Numbers are all different, or few.
fn traffic(ids: u16) -> impl Strategy<Value = Vec<Sent>> {
    // Behind the inner UDP header, which ends at byte 58.
    let cuts = prop::collection::btree_set(8..LEN / 8, 0..4);
    let packet = (any::<bool>(), prop::sample::select(vec![53_u16, 80]), cuts, 0..ids);
    prop::collection::vec(packet, 1..8).prop_map(move |packets| {
        let packets = packets.into_iter().enumerate();
        packets
            .map(|(number, (is_own, port, cuts, id))| {
                let number = u16::try_from(number).unwrap();
                let id = if ids == 1 { number } else { id };
                let fill = u8::try_from(number).unwrap() | if is_own { 0x80 } else { 0x40 };
                let packet = vxlan(if is_own { 10 } else { 11 }, WEB, port, fill);
                let cuts: Vec<_> = cuts.into_iter().map(|cut| cut * 8).collect();
                Sent { is_own, port, frames: pieces(id, &packet, &cuts) }
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// All pieces of wanted packets are written and no others, in whatever order they come.
    #[test]
    fn what_is_written_are_the_wanted_packets_with_all_their_pieces(
        (traffic, order) in traffic(1).prop_flat_map(|traffic| {
            let all: Vec<_> = traffic
                .iter()
                .enumerate()
                .flat_map(|(n, sent)| (0..sent.frames.len()).map(move |piece| (n, piece)))
                .collect();
            (Just(traffic), Just(all).prop_shuffle())
        }),
        filter in prop::sample::select(vec!["", "udp port 53", "not udp port 53"]),
    ) {
        let mut bench = Bench::new(&web_in_10(), filter);
        for (number, piece) in order {
            bench.offer(&traffic[number].frames[piece]);
        }
        let is_wanted = |sent: &&Sent| {
            sent.is_own && (filter.is_empty() || (sent.port == 53) != filter.starts_with("not"))
        };
        let wanted = traffic.iter().filter(is_wanted);
        let mut wanted: Vec<_> = wanted.flat_map(|sent| sent.frames.clone()).collect();
        let (ledger, mut written) = bench.end();
        wanted.sort();
        written.sort();
        prop_assert_eq!(written, wanted);
        prop_assert_eq!(ledger.undecidable, 0);
    }

    /// Where two tenants use the same numbers, as long as first pieces come first, nothing of the
    /// other one is ever written, and what is not written has a name.
    #[test]
    fn nothing_of_another_tenant_is_written_whatever_numbers_are_used(
        (traffic, mut turns) in traffic(3).prop_flat_map(|traffic| {
            let turns: Vec<_> = traffic
                .iter()
                .enumerate()
                .flat_map(|(n, sent)| sent.frames.iter().map(move |_| n))
                .collect();
            (Just(traffic), Just(turns).prop_shuffle())
        }),
    ) {
        let mut bench = Bench::new(&web_in_10(), "");
        let mut next = vec![0; traffic.len()];
        for number in turns.drain(..) {
            bench.offer(&traffic[number].frames[next[number]]);
            next[number] += 1;
        }
        let own: Vec<_> =
            traffic.iter().filter(|s| s.is_own).flat_map(|s| s.frames.clone()).collect();
        let (ledger, written) = bench.end();
        prop_assert!(written.iter().all(|frame| own.contains(frame)));
        prop_assert!(ledger.written + ledger.undecidable + ledger.other_tenant == ledger.received);
    }
}
