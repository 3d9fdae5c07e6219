//! Strands made here, woven, and every packet accounted for.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::time::Duration;

use wire::file::{
    InterfaceHeader, PacketOptions, SectionHeader, StatisticsBlock, write_interface, write_packet,
    write_section, write_statistics,
};
use wire::{Direction, LinkType, Packet, PointId, Timestamp};

use crate::{Account, Clock, Counters, Origin, Step, StrandId, Weave};

#[test]
fn two_hosts_are_woven_into_the_order_of_one_clock() {
    let mut weave = Weave::new(Duration::ZERO);
    // hv-2's clock is 3 s ahead.
    let one = strand(&mut weave, "hv-1", 0, &[sent(10, 1), sent(30, 3)]);
    let two = strand(&mut weave, "hv-2", 3_000, &[sent(3_020, 2), sent(3_040, 4)]);
    end(&mut weave, &[one, two]);
    assert_eq!(shown(&mut weave), [(10, 1), (20, 2), (30, 3), (40, 4)]);
    assert_eq!(weave.account(), Account { received: 4, shown: 4, ..Account::default() });
}

#[test]
fn a_packet_waits_until_no_other_strand_can_have_an_earlier_one() {
    let mut weave = Weave::new(Duration::ZERO);
    let one = strand(&mut weave, "hv-1", 0, &[sent(10, 1), sent(30, 3)]);
    let two = strand(&mut weave, "hv-2", 0, &[]);
    weave.settle(one, at(100));
    assert_eq!(shown(&mut weave), []);
    weave.settle(two, at(20));
    assert_eq!(shown(&mut weave), [(10, 1)]);
    weave.feed(two, packets(&[sent(25, 2)]));
    weave.settle(two, at(40));
    assert_eq!(shown(&mut weave), [(25, 2), (30, 3)]);
}

#[test]
fn a_strand_that_begins_a_little_late_finds_its_place() {
    let mut weave = Weave::new(ms(300));
    let one = strand(&mut weave, "hv-1", 0, &[sent(10, 1), sent(500, 3)]);
    weave.settle(one, at(700));
    assert_eq!(shown(&mut weave), [(10, 1)], "the other one may still be overtaken");
    let two = strand(&mut weave, "hv-2", 0, &[sent(450, 2)]);
    weave.settle(two, at(900));
    weave.settle(one, at(900));
    assert_eq!(shown(&mut weave), [(450, 2), (500, 3)]);
}

#[test]
fn what_nobody_waited_for_comes_late_and_is_counted() {
    let mut weave = Weave::new(Duration::ZERO);
    let one = strand(&mut weave, "hv-1", 0, &[sent(10, 1), sent(30, 3)]);
    let two = strand(&mut weave, "hv-2", 0, &[]);
    weave.set_awaited(two, false);
    end(&mut weave, &[one]);
    assert_eq!(shown(&mut weave), [(10, 1), (30, 3)]);
    weave.feed(two, packets(&[sent(20, 2)]));
    end(&mut weave, &[two]);
    assert_eq!(shown(&mut weave), [(20, 2)]);
    let account = weave.account();
    assert_eq!((account.received, account.shown, account.out_of_order), (3, 3, 1));
    assert!(weave.is_done());
}

#[test]
fn a_migration_is_measured_on_what_the_vm_sent() {
    let mut weave = Weave::new(Duration::ZERO);
    let one = strand(&mut weave, "hv-1", 0, &[sent(10, 1), sent(100, 2), to_vm(120, 3)]);
    // A flooded frame at the port that is ready for it is no sign of the VM.
    let two = strand(&mut weave, "hv-2", 0, &[to_vm(110, 4), sent(523, 5)]);
    end(&mut weave, &[one, two]);
    let mut comments = Vec::new();
    loop {
        match weave.next() {
            Step::Packet(woven) => comments.extend(woven.comments),
            Step::Wait => break,
            _ => {}
        }
    }
    assert_eq!(
        comments,
        ["web moved from hv-1 to hv-2: it sent nothing for 0.423 s (the two clocks agree within \
          2.0 ms)"]
    );
    let moves: Vec<_> = weave.moves().collect();
    assert_eq!((moves.len(), moves[0].gap(), moves[0].last), (1, ms(423), at(100)));
}

#[test]
fn the_last_packet_of_a_host_counts_though_its_flooded_copy_was_shown() {
    let mut weave = Weave::new(Duration::ZERO);
    // hv-2's clock is a little off: its copy seems to be earlier than the original.
    let one = strand(&mut weave, "hv-1", 0, &[sent(10, 1), sent(20, 2)]);
    let two = strand(&mut weave, "hv-2", 0, &[to_vm(18, 2), sent(100, 3)]);
    end(&mut weave, &[one, two]);
    assert_eq!(shown(&mut weave), [(10, 1), (18, 2), (100, 3)]);
    let moves: Vec<_> = weave.moves().collect();
    assert_eq!((moves.len(), moves[0].last, moves[0].gap()), (1, at(20), ms(80)));
}

#[test]
fn a_flooded_frame_at_both_ports_is_one_packet_and_two_equal_ones_are_two() {
    let mut weave = Weave::new(Duration::ZERO);
    let one = strand(&mut weave, "hv-1", 0, &[to_vm(10, 7), to_vm(11, 7), to_vm(300, 7)]);
    let two = strand(&mut weave, "hv-2", 0, &[to_vm(12, 7), to_vm(13, 7)]);
    end(&mut weave, &[one, two]);
    assert_eq!(shown(&mut weave), [(10, 7), (11, 7), (300, 7)]);
    assert_eq!(weave.account(), Account { received: 5, copies: 2, shown: 3, ..Account::default() });
}

#[test]
fn the_last_packet_of_a_strand_is_known_when_its_copy_comes_behind_it() {
    let mut weave = Weave::new(Duration::ZERO);
    let one = strand(&mut weave, "hv-1", 0, &[to_vm(10, 7)]);
    let two = strand(&mut weave, "hv-1", 0, &[to_vm(12, 7), to_vm(300, 7)]);
    end(&mut weave, &[one, two]);
    assert_eq!(shown(&mut weave), [(10, 7), (300, 7)]);
    assert_eq!(weave.account(), Account { received: 3, copies: 1, shown: 2, ..Account::default() });
}

#[test]
fn a_torn_strand_gives_what_it_has_and_says_so() {
    let mut weave = Weave::new(Duration::ZERO);
    let one = add(&mut weave, "hv-1", 0);
    let mut bytes = file(&[sent(10, 1), sent(20, 2)]);
    bytes.truncate(bytes.len() - 3);
    weave.feed(one, bytes);
    end(&mut weave, &[one]);
    let mut told = Vec::new();
    loop {
        match weave.next() {
            Step::Comment(text) => told.push(text),
            Step::Wait => break,
            _ => {}
        }
    }
    assert_eq!(told, ["the packets of web from hv-1 break off here: the capture there was killed"]);
    assert_eq!(weave.account(), Account { received: 1, shown: 1, torn: 1, ..Account::default() });
}

#[test]
fn an_interface_that_comes_again_is_the_same_and_its_counters_add_up() {
    let mut weave = Weave::new(Duration::ZERO);
    let mut points = 0;
    let mut last = None;
    for _ in 0..2 {
        let id = add(&mut weave, "hv-1", 0);
        let mut bytes = file(&[sent(10, 1)]);
        let block =
            StatisticsBlock { accepted: Some(5), os_dropped: Some(1), ..Default::default() };
        write_statistics(&mut bytes, 0, &block);
        weave.feed(id, bytes);
        end(&mut weave, &[id]);
        loop {
            match weave.next() {
                Step::Point(_) => points += 1,
                Step::Counters(point, counters) => last = Some((point, counters)),
                Step::Wait => break,
                _ => {}
            }
        }
    }
    let sum = Counters { accepted: Some(10), received: None, os_dropped: 2, interface_dropped: 0 };
    assert_eq!((points, last), (1, Some((PointId(0), sum))));
}

#[test]
fn bytes_may_be_cut_anywhere() {
    let bytes = file(&[sent(10, 1), sent(20, 2), sent(30, 3)]);
    for piece in [1, 7, 64, 1000] {
        let mut weave = Weave::new(Duration::ZERO);
        let one = add(&mut weave, "hv-1", 0);
        for part in bytes.chunks(piece) {
            weave.feed(one, part.to_vec());
        }
        end(&mut weave, &[one]);
        assert_eq!(shown(&mut weave), [(10, 1), (20, 2), (30, 3)], "pieces of {piece}");
        assert_eq!(weave.waiting(one), 0);
    }
}

#[test]
fn what_is_complete_is_the_same_whichever_bytes_come_first() {
    let files = [
        file(&[sent(10, 1), sent(300, 3)]),
        file(&[sent(20, 2), sent(40, 4)]),
        file(&[sent(5, 5), to_vm(12, 1)]),
    ];
    let mut stories = Vec::new();
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut weave = Weave::new(ms(100));
        weave.complete();
        let ids = ["hv-1", "hv-2", "hv-3"].map(|host| add(&mut weave, host, 0));
        let mut story = Vec::new();
        // One is all there before the next one begins; the others have ends that settle nothing.
        for index in order {
            for piece in files[index].chunks(50) {
                weave.feed(ids[index], piece.to_vec());
                weave.settle(ids[index], at(1000));
                tell(&mut weave, &mut story);
            }
            weave.end(ids[index]);
            tell(&mut weave, &mut story);
        }
        assert!(weave.is_done());
        stories.push(story);
    }
    assert_eq!(stories[0].len(), 1 + 5);
    assert!(stories.iter().all(|story| *story == stories[0]), "{stories:#?}");
}

/// Adds what can be told now to a story.
fn tell(weave: &mut Weave, story: &mut Vec<String>) {
    loop {
        match weave.next() {
            Step::Wait => return,
            step => story.push(format!("{step:?}")),
        }
    }
}

#[test]
fn what_peers_see_tells_that_it_is_elsewhere_only_while_it_is_not_seen_itself() {
    let mut weave = Weave::new(Duration::ZERO);
    let one = strand(&mut weave, "hv-1", 0, &[sent(10, 1), sent(20, 2), sent(9_000, 7)]);
    // Two peers; the first packet of each is one that the machine sent where it is seen itself.
    let two = strand(&mut weave, "peer-2", 0, &[sent(30, 3), sent(4_000, 4), sent(9_500, 8)]);
    let three = strand(&mut weave, "peer-3", 0, &[sent(40, 5), sent(4_100, 6)]);
    end(&mut weave, &[one, two, three]);
    assert_eq!(shown(&mut weave).len(), 8);
    let moves: Vec<String> = weave.moves().map(ToString::to_string).collect();
    assert_eq!(
        moves,
        [
            "web moved from hv-1 to a host without an agent: nothing it sent was seen for 3.980 s \
             (the two clocks agree within 2.0 ms)",
            "web moved from a host without an agent to hv-1: nothing it sent was seen for 4.900 s \
             (the two clocks agree within 2.0 ms)",
        ]
    );
}

/// Time in ms, number, direction.
type Sent = (u64, u8, Direction);

const fn sent(ms: u64, number: u8) -> Sent {
    (ms, number, Direction::FromVm)
}

const fn to_vm(ms: u64, number: u8) -> Sent {
    (ms, number, Direction::ToVm)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn at(ms: u64) -> Timestamp {
    Timestamp::from_nanos(ms * 1_000_000)
}

fn add(weave: &mut Weave, host: &str, ahead_ms: i64) -> StrandId {
    weave.add(Origin {
        is_peer: host.starts_with("peer"),
        host: host.into(),
        machine: "uuid:1".into(),
        name: "web".into(),
        clock: Clock { ahead_ns: ahead_ms * 1_000_000, uncertainty_ns: 1_000_000 },
    })
}

fn strand(weave: &mut Weave, host: &str, ahead_ms: i64, sent: &[Sent]) -> StrandId {
    let id = add(weave, host, ahead_ms);
    let mut bytes = file(&[]);
    // An interface of its own, as every host has.
    bytes.clear();
    write_section(&mut bytes, &SectionHeader::default());
    write_interface(&mut bytes, &InterfaceHeader::ethernet(format!("web/net0 @ {host}:vnet0")));
    bytes.extend(packets(sent));
    weave.feed(id, bytes);
    id
}

fn end(weave: &mut Weave, strands: &[StrandId]) {
    strands.iter().for_each(|strand| weave.end(*strand));
    weave.complete();
}

fn file(sent: &[Sent]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_section(&mut bytes, &SectionHeader::default());
    write_interface(&mut bytes, &InterfaceHeader::ethernet("web/net0 @ hv-1:vnet0"));
    bytes.extend(packets(sent));
    bytes
}

/// Ethernet, IPv4 and UDP, whose last byte is the packet's number.
fn packets(sent: &[Sent]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (ms, number, direction) in sent {
        let mut frame = vec![
            0x52, 0x54, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 2, 0x08, 0x00, // Ethernet
            0x45, 0, 0, 29, 0, *number, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
            0x30, 0x39, 0x30, 0x39, 0, 9, 0, 0, // UDP
        ];
        frame.push(*number);
        let wire_len = u32::try_from(frame.len()).unwrap();
        let packet = Packet {
            direction: Some(*direction),
            ..Packet::new(at(*ms), LinkType::ETHERNET, &frame, wire_len)
        };
        write_packet(&mut bytes, 0, &packet, &PacketOptions::default());
    }
    bytes
}

/// Time in ms and number of each packet that can be shown now.
fn shown(weave: &mut Weave) -> Vec<(u64, u8)> {
    let mut shown = Vec::new();
    loop {
        match weave.next() {
            Step::Packet(woven) => {
                let ms = woven.packet.time.as_nanos() / 1_000_000;
                shown.push((ms, *woven.packet.data.last().unwrap()));
            }
            Step::Wait => return shown,
            _ => {}
        }
    }
}
