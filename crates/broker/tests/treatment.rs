//! What becomes of a packet on its way to a tool: masks with honest checksums, slices, segments.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod bed;

use bed::{Shelves, faults, frame, in_vxlan, tool, vxlan};
use broker::{Broker, Mtu, Outlet, Oversized, Policy, Ready, Slice, ToolAccount};
use proptest::prelude::*;
use select::{Claim, Filter, Ownership, ToolSet};
use wire::{LinkType, Packet, Timestamp, TunnelPorts};

/// What a tool with this policy is sent of these frames, and its account.
fn sent(outlet: Outlet, policy: Policy, frames: &[Vec<u8>]) -> (Vec<Vec<u8>>, ToolAccount) {
    let filter = policy.select.as_deref().map(|text| Filter::parse(text).unwrap());
    let ready = Ready { tool: tool("one", outlet, policy), filter, mtu: Mtu::ETHERNET };
    let mut broker = Broker::new(vec![ready], TunnelPorts::default());
    broker.add_point(&[Claim {
        tools: ToolSet::ALL,
        ownership: Ownership::Whole,
        from: Timestamp::ZERO,
        until: None,
    }]);
    let mut shelves = Shelves::default();
    for (time, bytes) in (0..).zip(frames) {
        let len = u32::try_from(bytes.len()).unwrap();
        let time = Timestamp::from_nanos(time);
        broker.offer(&Packet::new(time, LinkType::ETHERNET, bytes, len), &mut shelves);
    }
    let account = broker.account(0).unwrap();
    assert_eq!(account.unaccounted(), 0);
    let datagrams = shelves.datagrams.into_iter().map(|(_, datagram)| datagram[8..].to_vec());
    let records = shelves.records.into_iter().map(|(_, record, _)| record);
    (datagrams.chain(records).collect(), account)
}

fn masked(names: &str, bytes: &[u8]) -> Vec<u8> {
    let policy = Policy { mask: Some(names.parse().unwrap()), ..Policy::default() };
    let (mut sent, _) = sent(vxlan(), policy, &[bytes.to_vec()]);
    sent.remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Checksums that were right are right, and wrong ones are wrong by just as much.
    #[test]
    fn masked_packets_keep_their_checksums_honest(
        payload in prop::collection::vec(any::<u8>(), 0..200),
        (is_v4, is_tcp) in any::<(bool, bool)>(),
        names in prop::sample::subsequence(
            vec!["payload", "macs", "source-ip", "destination-ip", "ips", "ports"], 1..6),
        error in any::<u16>(),
    ) {
        let mut bytes = frame(1, 2, is_v4, is_tcp, 0x10, &payload);
        let field = if is_v4 { 34 } else { 54 } + if is_tcp { 16 } else { 6 };
        let sum = u16::from_be_bytes([bytes[field], bytes[field + 1]]);
        let wrong = sum.wrapping_add(error);
        prop_assume!(is_tcp || wrong != 0 && sum != 0);
        let out = masked(&names.join(","), &bytes);
        prop_assert_eq!(faults(&out), (0, 0), "{:?}", names);
        bytes[field..field + 2].copy_from_slice(&wrong.to_be_bytes());
        let before = faults(&bytes).1;
        let after = faults(&masked(&names.join(","), &bytes)).1;
        // 0 and 0xffff are one number in ones' complement.
        prop_assert_eq!(before % 0xffff, after % 0xffff);
    }

    /// Segments hold all of the payload once, in order, with right numbers and checksums.
    #[test]
    fn a_super_frame_becomes_the_segments_a_card_would_send(
        len in 1600_usize..65_000, is_v4 in any::<bool>(), seed in any::<u8>(),
    ) {
        let payload: Vec<u8> = (0..len).map(|at| at.to_le_bytes()[0] ^ seed).collect();
        let bytes = frame(1, 2, is_v4, true, 0x99, &payload); // CWR, ACK, PSH, FIN
        let policy = Policy { oversized: Oversized::Segment, ..Policy::default() };
        let (segments, account) = sent(vxlan(), policy, &[bytes]);
        prop_assert_eq!((account.sent, account.segmented), (1, 1));
        prop_assert_eq!(account.datagrams, segments.len() as u64);
        let tcp = if is_v4 { 34 } else { 54 };
        let mut found: Vec<u8> = Vec::new();
        for (number, segment) in segments.iter().enumerate() {
            prop_assert!(segment.len() <= 1464);
            prop_assert_eq!(faults(segment), (0, 0));
            let sequence = u32::from_be_bytes(*segment[tcp + 4..].first_chunk().unwrap());
            prop_assert_eq!(sequence as usize, 0x1000 + found.len());
            let mut flags = 0x10_u8;
            flags |= if number == 0 { 0x80 } else { 0 };
            flags |= if number + 1 == segments.len() { 0x09 } else { 0 };
            prop_assert_eq!(segment[tcp + 13], flags);
            if is_v4 {
                let word = |at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
                prop_assert_eq!(usize::from(word(16)), segment.len() - 14);
                prop_assert_eq!(usize::from(word(18)), 0x1234 + number);
            }
            found.extend(&segment[tcp + 32..]);
        }
        prop_assert_eq!(found, payload);
    }
}

#[test]
fn masked_fields_are_zero_and_the_others_as_they_were() {
    let bytes = frame(1, 2, true, false, 0, b"user=ann");
    let out = masked("payload,source-ip", &bytes);
    assert_eq!(out[..24], bytes[..24], "but for the checksum at 24");
    assert_eq!(out[26..30], [0; 4]);
    assert_eq!(out[30..40], bytes[30..40]);
    assert_eq!(out[42..], [0; 8]);
}

#[test]
fn the_checksum_of_a_tunnel_around_a_masked_frame_stays_right() {
    let mut bytes = in_vxlan(10, &frame(1, 2, true, true, 0x10, b"user=ann"));
    let covered = |bytes: &[u8]| {
        let pseudo = bed::pseudo(&bytes[26..34], 17, bytes.len() - 34);
        bed::checksum(&[&pseudo, &bytes[34..]])
    };
    let sum = covered(&bytes);
    bytes[40..42].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(covered(&bytes), 0);
    let out = masked("payload,macs,ips,ports", &bytes);
    assert_ne!(out, bytes);
    assert_eq!(covered(&out), 0);
    assert_eq!(faults(&out[50..]), (0, 0));
}

#[test]
fn of_a_header_that_is_cut_nothing_is_left_that_could_be_a_masked_field() {
    let bytes = frame(1, 2, true, true, 0x10, b"user=ann");
    for len in 15..34 {
        let out = masked("ips", &bytes[..len]);
        assert!(out[14..].iter().all(|byte| *byte == 0), "{len}");
    }
}

#[test]
fn headers_are_kept_whole_and_nothing_behind_them() {
    let bytes = in_vxlan(10, &frame(1, 2, true, true, 0x10, &[7; 900]));
    let policy = |text: &str, strip: Option<&str>| Policy {
        slice: Some(text.parse().unwrap()),
        strip: strip.map(|text| text.parse().unwrap()),
        ..Policy::default()
    };
    let len = |policy| sent(vxlan(), policy, std::slice::from_ref(&bytes)).0[0].len();
    assert_eq!(len(policy("headers", None)), 50 + 14 + 20 + 32);
    assert_eq!(len(policy("headers+10", Some("vxlan"))), 14 + 20 + 32 + 10);
    assert_eq!(len(policy("128", Some("vxlan"))), 128);
    let (_, account) = sent(vxlan(), policy("128", Some("vxlan")), std::slice::from_ref(&bytes));
    assert_eq!((account.stripped, account.sliced, account.sent_bytes), (1, 1, 136));
}

#[test]
fn h1_what_is_too_large_is_cut_cut_up_or_refused_as_the_policy_says() {
    let large = frame(1, 2, true, true, 0x10, &[7; 3000]);
    let policy = |oversized| Policy { oversized, ..Policy::default() };
    let of = |oversized| sent(vxlan(), policy(oversized), std::slice::from_ref(&large));
    let (cut, account) = of(Oversized::Slice);
    assert_eq!((cut.len(), cut[0].len(), account.sliced), (1, 1464, 1));
    let (segments, account) = of(Oversized::Segment);
    assert_eq!((segments.len(), account.segmented, account.sliced), (3, 1, 0));
    let (none, account) = of(Oversized::Refuse);
    assert_eq!((none.len(), account.too_large), (0, 1));
    // What goes into a stream is never too large.
    let stream = Outlet::Stdout;
    let (whole, _) = sent(stream, policy(Oversized::Refuse), std::slice::from_ref(&large));
    assert_eq!(whole[0], large);
}

#[test]
fn a_trailer_that_makes_a_frame_too_long_is_cut_and_never_counted_as_sent_without_being() {
    for payload in [0, 700] {
        let mut padded = frame(1, 2, true, true, 0x10, &vec![7; payload]);
        padded.resize(3000, 0);
        let policy = Policy { oversized: Oversized::Segment, ..Policy::default() };
        let (sent, account) = sent(vxlan(), policy, &[padded]);
        assert_eq!((sent.len(), sent[0].len()), (1, 1464), "{payload}");
        assert_eq!((account.sent, account.sliced, account.segmented), (1, 1, 0), "{payload}");
    }
}

#[test]
fn what_is_too_short_for_a_mirrors_tag_is_not_put_on_a_wire() {
    let outlet = Outlet::Rspan { interface: "x".into(), vlan: wire::VlanId::new(900).unwrap() };
    let whole = frame(1, 2, true, true, 0x10, &[7; 100]);
    for (len, count) in [(1, 0), (13, 0), (14, 1)] {
        let slice = Slice::Bytes(std::num::NonZeroU32::new(len).unwrap());
        let policy = Policy { slice: Some(slice), ..Policy::default() };
        let (sent, account) = sent(outlet.clone(), policy, std::slice::from_ref(&whole));
        assert_eq!((sent.len(), account.not_ethernet), (count, 1 - count as u64), "{len}");
    }
}

#[test]
fn one_of_n_is_sent_the_first_included() {
    let frames: Vec<_> = (0..25).map(|n| frame(1, 2, true, false, 0, &[n; 30])).collect();
    let policy = Policy { sample: 10.try_into().ok(), ..Policy::default() };
    let (sent, account) = sent(vxlan(), policy, &frames);
    assert_eq!(sent, [frames[0].clone(), frames[10].clone(), frames[20].clone()]);
    assert_eq!((account.sent, account.not_sampled), (3, 22));
}

#[test]
fn a_full_queue_leaves_a_gap_in_the_sequence_numbers() {
    let outlet = Outlet::Gre { target: [10, 0, 0, 9].into(), key: None };
    let ready =
        Ready { tool: tool("one", outlet, Policy::default()), filter: None, mtu: Mtu::ETHERNET };
    let mut broker = Broker::new(vec![ready], TunnelPorts::default());
    broker.add_point(&[Claim {
        tools: ToolSet::ALL,
        ownership: Ownership::Whole,
        from: Timestamp::ZERO,
        until: None,
    }]);
    let bytes = frame(1, 2, true, false, 0, b"x");
    let packet = Packet::new(Timestamp::ZERO, LinkType::ETHERNET, &bytes, 60);
    let mut shelves = Shelves::default();
    for room in [None, Some(0), Some(0), None] {
        shelves.room = room;
        broker.offer(&packet, &mut shelves);
    }
    let numbers: Vec<u8> = shelves.datagrams.iter().map(|(_, datagram)| datagram[7]).collect();
    assert_eq!(numbers, [0, 3]);
    let account = broker.account(0).unwrap();
    assert_eq!((account.sent, account.queue_full, account.unaccounted()), (2, 2, 0));
}

#[test]
fn a_rate_is_that_of_what_leaves_with_all_that_is_put_around() {
    let policy = Policy { rate_bps: std::num::NonZeroU64::new(80_000), ..Policy::default() };
    // 100 bytes, and 36 of IPv4, UDP and VXLAN; a tenth of a second is 1000 bytes.
    let frames = vec![frame(1, 2, true, false, 0, &[0; 58]); 12];
    let (sent, account) = sent(vxlan(), policy, &frames);
    assert_eq!((sent.len(), account.over_rate), (8, 4));
}
