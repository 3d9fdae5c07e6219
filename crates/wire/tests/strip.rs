//! What is left of a frame when headers are taken off: the same conversation, in fewer bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail this way"
)]

mod golden;

use golden::golden_frames;
use wire::{Layers, LinkType, Packet, StopReason, Strip, Timestamp, TunnelPorts};

/// The frame without `strip`, and how it begins now.
fn stripped(strip: Strip, link: LinkType, data: &[u8]) -> (LinkType, Vec<u8>) {
    let packet = Packet::new(Timestamp::ZERO, link, data, u32::try_from(data.len()).unwrap() + 7);
    let (layers, mut scratch) =
        (Layers::decode(link, data, &TunnelPorts::default()), Vec::with_capacity(data.len()));
    let stripped = strip.apply(packet, &layers, &mut scratch);
    assert_eq!(stripped.packet.data.len() + stripped.removed as usize, data.len());
    assert_eq!(stripped.packet.wire_len as usize, stripped.packet.data.len() + 7);
    (stripped.packet.link, stripped.packet.data.to_vec())
}

fn names(link: LinkType, data: &[u8]) -> String {
    let layers = Layers::decode(link, data, &TunnelPorts::default());
    layers.headers().iter().map(|header| header.layer.name()).collect::<Vec<_>>().join(" ")
}

/// An Ethernet frame to IPv4 and UDP, with `between` behind the addresses.
fn udp_behind(between: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(between);
    frame.extend([0x45, 0, 0, 29, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0xc0, 1, 0, 80, 0, 9, 0, 0, 0xaa]);
    frame
}

#[test]
fn a_golden_frame_without_all_that_can_go_is_the_same_conversation() {
    let ports = TunnelPorts::default();
    for golden in golden_frames() {
        let before = Layers::decode(golden.link, &golden.bytes, &ports);
        // What had no room before has it now.
        if before.stop().is_some_and(|stop| stop.reason == StopReason::TooManyTunnels) {
            continue;
        }
        let (link, left) = stripped(Strip::ALL, golden.link, &golden.bytes);
        let after = Layers::decode(link, &left, &ports);
        let (old, new) = (before.key(&golden.bytes), after.key(&left));
        assert_eq!(
            (old.addresses, old.transport, old.ports),
            (new.addresses, new.transport, new.ports),
            "{}: {}",
            golden.name,
            names(link, &left)
        );
        assert_eq!(stripped(Strip::ALL, link, &left), (link, left), "{}", golden.name);
    }
}

#[test]
fn a_golden_frame_cut_at_any_byte_keeps_its_lengths_honest() {
    for golden in golden_frames() {
        for len in 0..golden.bytes.len() {
            stripped(Strip::ALL, golden.link, &golden.bytes[..len]);
        }
    }
}

#[test]
fn ppp_with_a_protocol_number_of_one_byte_goes_with_its_pppoe() {
    let frame = udp_behind(&[0x88, 0x64, 0x11, 0, 0, 1, 0, 30, 0x21]);
    let (link, left) = stripped("pppoe".parse().unwrap(), LinkType::ETHERNET, &frame);
    assert_eq!(left, udp_behind(&[0x08, 0x00]));
    assert_eq!(names(link, &left), "eth ip udp");
}

#[test]
fn labels_in_ppp_stay_if_only_ppp_goes() {
    let frame = udp_behind(&[0x88, 0x64, 0x11, 0, 0, 1, 0, 35, 0x02, 0x81, 0, 1, 0x01, 64]);
    let (_, left) = stripped("pppoe".parse().unwrap(), LinkType::ETHERNET, &frame);
    assert_eq!(left, udp_behind(&[0x88, 0x47, 0, 1, 0x01, 64]));
}

#[test]
fn multilink_ppp_goes_with_its_numbers() {
    let frame =
        udp_behind(&[0x88, 0x64, 0x11, 0, 0, 1, 0, 37, 0x00, 0x3d, 0xc0, 0, 0, 1, 0x00, 0x21]);
    let (_, left) = stripped(Strip::ALL, LinkType::ETHERNET, &frame);
    assert_eq!(left, udp_behind(&[0x08, 0x00]));
}

#[test]
fn any_number_of_tags_goes() {
    let frame = udp_behind(&[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3, 0x08, 0x00]);
    let (_, left) = stripped("vlan".parse().unwrap(), LinkType::ETHERNET, &frame);
    assert_eq!(left, udp_behind(&[0x08, 0x00]));
}
