use std::time::Duration;

use proptest::prelude::*;
use select::Piece;
use wire::{Layers, LinkType, Packet, Timestamp, TunnelPorts};

use super::{Bounds, Fragments, Known};

/// A fragment of a UDP packet: the frame and the piece it is.
#[derive(Debug, Clone)]
struct Fragment {
    frame: Vec<u8>,
    piece: Piece,
}

impl Fragment {
    /// The bytes from `start` to `end` of a packet of `total` bytes, all of them `fill` but for
    /// the UDP header.
    fn new(id: u16, fill: u8, start: u16, end: u16, total: u16) -> Self {
        let mut packet = vec![0xc0, 1, 0, 53];
        packet.extend(total.to_be_bytes());
        packet.resize(usize::from(total), fill);
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45, 0];
        frame.extend((20 + end - start).to_be_bytes());
        frame.extend(id.to_be_bytes());
        let more = if end < total { 0x2000 } else { 0 };
        frame.extend((more | (start / 8)).to_be_bytes());
        frame.extend([64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(&packet[usize::from(start)..usize::from(end)]);
        let packet = Packet::new(Timestamp::ZERO, LinkType::ETHERNET, &frame, 0);
        let layers = Layers::decode(packet.link, packet.data, &TunnelPorts::default());
        let piece = Piece::of(&packet, &layers).next().unwrap();
        Self { frame, piece }
    }
}

type Table = Fragments<char, u32>;

fn table() -> Table {
    Fragments::new(Bounds::CAPTURE)
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_nanos(ms * 1_000_000)
}

impl Table {
    fn first(&mut self, ms: u64, verdict: char, fragment: &Fragment) {
        self.begin(&fragment.piece, &fragment.frame, at(ms), verdict);
    }

    fn later(&mut self, ms: u64, fragment: &Fragment) -> Known<char> {
        self.ask(&fragment.piece, &fragment.frame, at(ms))
    }
}

#[test]
fn later_pieces_get_what_was_decided_about_the_first_in_any_order() {
    let mut table = table();
    let piece = |start, end| Fragment::new(7, b'a', start, end, 100);
    assert_eq!(table.later(0, &piece(48, 100)), Known::Nothing);
    table.first(1, 'a', &piece(0, 24));
    assert_eq!(table.later(2, &piece(48, 100)), Known::As('a'));
    assert_eq!(table.later(3, &piece(24, 48)), Known::As('a'));
}

#[test]
fn a_copy_of_a_piece_is_known_also_when_the_packet_is_complete() {
    let mut table = table();
    let piece = |start, end| Fragment::new(7, b'a', start, end, 100);
    for _ in 0..2 {
        table.first(1, 'a', &piece(0, 48));
        assert_eq!(table.later(2, &piece(48, 100)), Known::As('a'));
    }
    assert_eq!(table.later(3, &piece(48, 100)), Known::As('a'));
}

#[test]
fn what_comes_behind_a_complete_packet_is_of_another_one() {
    let mut table = table();
    let piece = |fill, start, end| Fragment::new(7, fill, start, end, 100);
    table.first(1, 'a', &piece(b'a', 0, 48));
    assert_eq!(table.later(2, &piece(b'a', 48, 100)), Known::As('a'));
    assert_eq!(table.later(3, &piece(b'b', 48, 100)), Known::Nothing);
    table.first(4, 'b', &piece(b'b', 0, 48));
    assert_eq!(table.later(5, &piece(b'b', 48, 100)), Known::As('b'));
}

#[test]
fn two_packets_with_one_name_make_it_worthless_until_their_time_is_over() {
    let mut table = table();
    let piece = |fill, start, end| Fragment::new(7, fill, start, end, 100);
    table.first(1, 'a', &piece(b'a', 0, 48));
    table.first(2, 'b', &piece(b'b', 0, 48));
    assert_eq!(table.later(3, &piece(b'b', 48, 100)), Known::Ambiguous);
    assert_eq!(table.later(3, &piece(b'a', 48, 100)), Known::Ambiguous);
    table.first(100, 'b', &piece(b'b', 0, 48));
    assert_eq!(table.later(101, &piece(b'b', 48, 100)), Known::Ambiguous);
    table.first(600, 'c', &piece(b'c', 0, 48));
    assert_eq!(table.later(601, &piece(b'c', 48, 100)), Known::Ambiguous, "b may still come");
    table.first(1_101, 'b', &piece(b'b', 0, 48));
    assert_eq!(table.later(1_102, &piece(b'b', 48, 100)), Known::As('b'));
}

#[test]
fn bytes_that_are_there_already_are_another_packets() {
    let mut table = table();
    table.first(1, 'a', &Fragment::new(7, b'a', 0, 48, 100));
    assert_eq!(table.later(2, &Fragment::new(7, b'a', 48, 64, 100)), Known::As('a'));
    assert_eq!(table.later(3, &Fragment::new(7, b'b', 48, 64, 100)), Known::Ambiguous);
    assert_eq!(table.later(4, &Fragment::new(7, b'a', 64, 100, 100)), Known::Ambiguous);
}

#[test]
fn a_piece_that_ends_elsewhere_than_the_packet_is_another_ones() {
    for (start, end, total) in [(48, 120, 120), (48, 96, 96), (48, 104, 200), (96, 104, 104)] {
        let mut table = table();
        table.first(1, 'a', &Fragment::new(7, b'a', 0, 48, 100));
        let forged = Fragment::new(7, b'b', start, end, total);
        assert_eq!(table.later(2, &forged), Known::Ambiguous, "{start} to {end} of {total}");
    }
}

#[test]
fn a_packet_is_forgotten_when_its_time_is_over_and_when_packets_were_lost() {
    let mut table = table();
    let piece = |start, end| Fragment::new(7, b'a', start, end, 100);
    table.first(0, 'a', &piece(0, 48));
    assert_eq!(table.later(501, &piece(48, 56)), Known::Nothing);
    assert_eq!(table.later(500, &piece(48, 56)), Known::As('a'));
    assert_eq!(table.lose(wire::PointId(1)), None);
    assert_eq!(table.later(500, &piece(56, 64)), Known::As('a'), "lost elsewhere");
    assert_eq!(table.lose(wire::PointId(0)), None);
    assert_eq!(table.later(500, &piece(64, 100)), Known::Nothing);
}

#[test]
fn pieces_wait_for_their_first_and_no_longer_than_said() {
    let mut table = table();
    let piece = |id| Fragment::new(id, b'a', 48, 100, 100).piece.datagram;
    assert_eq!(table.deadline(), at(0).saturating_add(Duration::from_nanos(u64::MAX)));
    for (number, id) in [(1, 7), (2, 8), (3, 7)] {
        assert_eq!(table.hold(piece(id), at(10 * u64::from(number)), 52, number), Ok(()));
    }
    assert_eq!(table.deadline(), at(510));
    assert_eq!(table.release(&piece(9)), None);
    assert_eq!(table.release(&piece(7)), Some(1));
    assert_eq!(table.release(&piece(7)), Some(3));
    assert_eq!(table.release(&piece(7)), None);
    assert_eq!(table.expired(at(519)), None);
    assert_eq!(table.expired(at(520)), Some(2));
    assert_eq!(table.unresolved(), None);
}

#[test]
fn nothing_takes_more_room_than_said() {
    let mut table = table();
    let datagram = |id| Fragment::new(id, b'a', 48, 100, 100).piece.datagram;
    for number in 0..Bounds::MAX_HELD {
        assert_eq!(table.hold(datagram(7), at(1), 1, 0), Ok(()), "{number}");
    }
    assert_eq!(table.hold(datagram(7), at(1), 1, 42), Err(42));
    while table.unresolved().is_some() {}
    assert_eq!(table.hold(datagram(7), at(1), Bounds::MAX_HELD_BYTES, 1), Ok(()));
    assert_eq!(table.hold(datagram(7), at(1), 1, 42), Err(42));

    // As many pieces in each packet as are remembered of one, which is more than of all.
    let first = |id| Fragment::new(id, b'a', 0, 8, 10_000);
    for id in 0..5_000 {
        table.first(1, 'a', &first(id));
        for number in (1..128).take_while(|_| id < 300) {
            let piece = Fragment::new(id, b'a', 8 * number, 8 * number + 8, 10_000);
            assert_eq!(table.later(1, &piece), Known::As('a'));
        }
    }
    let last = |id| Fragment::new(id, b'a', 8, 16, 10_000);
    assert_eq!(table.later(1, &last(4_999)), Known::As('a'));
    assert_eq!(table.later(1, &last(904)), Known::As('a'));
    assert_eq!(table.later(1, &last(903)), Known::Nothing, "4096 are remembered");
}

#[derive(Debug, Clone)]
struct Sent {
    fragment: Fragment,
    /// Which packet it is of.
    packet: usize,
}

/// Packets in pieces, all with names of their own, in any order, some of them twice.
fn traffic() -> impl Strategy<Value = Vec<Sent>> {
    let packet = prop::collection::btree_set(1_u16..12, 0..6);
    prop::collection::vec(packet, 1..5)
        .prop_flat_map(|packets| {
            let mut sent = Vec::new();
            for (packet, cuts) in packets.into_iter().enumerate() {
                let total = 100;
                let mut ends: Vec<_> = cuts.into_iter().map(|cut| cut * 8).collect();
                ends.push(total);
                let mut start = 0;
                for end in ends.into_iter().filter(|end| *end <= total) {
                    let id = u16::try_from(packet).unwrap();
                    let fill = b'a' + u8::try_from(packet).unwrap();
                    if start < end && end - start < total {
                        let fragment = Fragment::new(id, fill, start, end, total);
                        sent.push(Sent { fragment, packet });
                    }
                    start = end;
                }
            }
            (
                Just(sent.clone()).prop_shuffle(),
                prop::sample::subsequence(sent.clone(), 0..=sent.len()),
            )
        })
        .prop_map(|(sent, again)| [sent, again].concat())
}

proptest! {
    /// Every piece gets the verdict of its packet, in whatever order the pieces of all come.
    #[test]
    fn pieces_find_their_packets(traffic in traffic()) {
        let mut table: Fragments<usize, Sent> = Fragments::new(Bounds::CAPTURE);
        let mut answered = 0;
        for (ms, sent) in traffic.iter().enumerate() {
            let time = at(ms as u64);
            let Fragment { frame, piece } = &sent.fragment;
            let mut ready = vec![];
            if piece.is_first() {
                table.begin(piece, frame, time, sent.packet);
                answered += 1;
                while let Some(held) = table.release(&piece.datagram) {
                    ready.push(held);
                }
            } else {
                ready.push(sent.clone());
            }
            for sent in ready {
                let Fragment { frame, piece } = &sent.fragment;
                match table.ask(piece, frame, time) {
                    Known::As(packet) => {
                        prop_assert_eq!(packet, sent.packet);
                        answered += 1;
                    }
                    Known::Nothing => {
                        let is_held = table.hold(piece.datagram, time, frame.len(), sent).is_ok();
                        prop_assert!(is_held);
                    }
                    Known::Ambiguous => prop_assert!(false, "{sent:?} is ambiguous"),
                }
            }
        }
        prop_assert_eq!(answered, traffic.len());
        prop_assert!(table.unresolved().is_none());
    }
}
