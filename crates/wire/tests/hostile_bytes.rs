//! Any bytes at all may come in: the walk ends, within the frame, and says where.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail this way"
)]

use proptest::prelude::*;
use wire::mirror::{MirrorForm, Mirrored};
use wire::{Layer, Layers, LinkType, Packet, StopReason, Timestamp, TunnelPorts};

/// What must hold for every frame.
fn check(link: LinkType, data: &[u8]) {
    let layers = Layers::decode(link, data, &TunnelPorts::default());
    let headers = layers.headers();
    assert!(headers.len() <= Layers::MAX_HEADERS);
    let offsets: Vec<_> = headers.iter().map(|header| header.offset as usize).collect();
    assert!(offsets.is_sorted(), "{offsets:?}");
    assert!(offsets.iter().all(|&offset| offset <= layers.payload_offset()));
    assert!(layers.payload_offset() <= layers.payload_end());
    assert!(layers.payload_end() <= data.len());
    if let Some(stop) = layers.stop() {
        assert!(stop.offset <= data.len(), "{stop}");
        assert!(
            stop.offset >= offsets.last().copied().unwrap_or_default()
                || stop.reason == StopReason::TooManyHeaders
        );
    }
    let levels = layers.levels(data);
    assert!(levels.len() >= 1 && levels.len() <= usize::from(Layers::MAX_TUNNELS) + 2);
    let mut own = 0;
    for (number, level) in levels.enumerate() {
        own += level.headers().len();
        assert_eq!(level.tunnel().is_some(), number > 0, "{level:?}");
        let _ = (level.macs(), level.arp(), level.tcp(), level.icmp());
        let _ = (level.vntag(), level.etag(), level.pppoe());
        let _ = (level.vlans().count(), level.mpls().count());
        if let Some(transport) = level.transport() {
            assert!(level.ip().is_some_and(|ip| ip.offset < transport.offset));
        }
    }
    assert!(own <= headers.len());
    let mut again = Layers::empty();
    again.fill(link, &[0xff; 64], &TunnelPorts::default());
    again.fill(link, data, &TunnelPorts::default());
    assert_eq!((again.headers(), again.stop()), (layers.headers(), layers.stop()));
    assert_eq!(again.innermost(data).headers(), layers.innermost(data).headers());
    let _ = layers.is_innermost_hidden();
    check_glance(link, data, &layers);
    check_mirrors(link, data, &layers);
}

/// A glance passes over no frame that the walk finds, and no fragment.
fn check_glance(link: LinkType, data: &[u8], layers: &Layers) {
    let ports = TunnelPorts::default();
    if !wire::is_certainly_without(link, data, &ports, |_| false) {
        return;
    }
    assert!(!layers.has_fragment());
    for frame in layers.frames() {
        assert_eq!(frame.layer, Layer::Ethernet);
        let macs = data[frame.offset as usize..].first_chunk::<12>().unwrap();
        let is_it = |seen: &[u8; 12]| std::ptr::eq(seen, macs);
        assert!(!wire::is_certainly_without(link, data, &ports, is_it), "{frame:?}");
    }
}

/// Whatever is taken for a mirror's lies within the packet.
fn check_mirrors(link: LinkType, data: &[u8], layers: &Layers) {
    let len = u32::try_from(data.len()).unwrap();
    let packet = Packet::new(Timestamp::from_nanos(1), link, data, len);
    let forms = MirrorForm::WORDS.map(|(_, form)| form);
    let vlan = MirrorForm::Rspan(wire::VlanId::new(100).unwrap());
    for form in forms.into_iter().chain([vlan]) {
        let Ok(found) = Mirrored::find(&packet, layers, form) else { continue };
        assert!(found.start <= found.end && found.end <= data.len(), "{found:?}");
        let mut scratch = Vec::new();
        let opened = found.open(packet, &mut scratch);
        assert!(opened.data.len() <= found.end - found.start);
        assert!(found.has_own_tag || opened.data == &data[found.start..found.end]);
    }
}

fn links() -> impl Strategy<Value = LinkType> {
    prop_oneof![
        3 => Just(LinkType::ETHERNET),
        1 => prop::sample::select(vec![
            0u16, 9, 12, 50, 51, 101, 104, 105, 107, 108, 113, 127, 192, 204, 219, 226, 228, 229,
            239, 242, 258, 276, 282,
        ])
        .prop_map(LinkType),
    ]
}

/// Bytes that open doors: EtherTypes, protocols, ports and versions that lead on.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let doors: Vec<Vec<u8>> = vec![
        vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00],
        vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd],
        vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0x47],
        vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0x00],
        vec![0x00, 0x64, 0x08, 0x00],
        vec![0x00, 0x64, 0x89, 0x26],
        vec![0x00, 0x64, 0x88, 0x64],
        vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2],
        vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, 47, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2],
        vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, 4, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2],
        vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, 41, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2],
        [vec![0x60, 0, 0, 0, 0, 0, 0, 64], vec![1; 32]].concat(),
        [vec![0x60, 0, 0, 0, 0, 0, 17, 64], vec![1; 32]].concat(),
        vec![60, 0, 1, 4, 0, 0, 0, 0],
        vec![0xc0, 0x00, 0x12, 0xb5, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 42, 0],
        vec![0xc0, 0x00, 0x17, 0xc1, 0, 0, 0, 0, 1, 0, 0x65, 0x58, 0, 0, 42, 0, 0, 0, 0, 0],
        vec![0xc0, 0x00, 0x08, 0x68, 0, 0, 0, 0, 0x36, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x85],
        vec![0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0, 0, 1, 0, 0, 0, 0],
        vec![0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1],
        vec![0x30, 0, 0x65, 0x58, 0, 0, 1, 0, 0, 0, 0, 1],
        vec![0x00, 0x06, 0x41, 0x40],
        vec![0x00, 0x00, 0x00, 0x00],
    ];
    prop::collection::vec(
        prop_oneof![
            8 => prop::sample::select(doors),
            1 => prop::collection::vec(any::<u8>(), 0..8),
        ],
        0..60,
    )
    .prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_never_panic(link in links(), data in prop::collection::vec(any::<u8>(), 0..300)) {
        check(link, &data);
    }

    #[test]
    fn random_pieces_of_headers_never_panic(link in links(), data in pieces()) {
        check(link, &data);
    }
}

#[test]
fn tunnels_without_end_stop_with_a_reason() {
    let ip = [0x45, 0, 0, 0, 0, 1, 0, 0, 64, 4, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    let data = ip.repeat(100);
    let layers = Layers::decode(LinkType::IPV4, &data, &TunnelPorts::default());
    let stop = layers.stop().unwrap();
    assert_eq!(stop.reason, StopReason::TooManyTunnels);
    // The outermost and sixteen in it were read.
    assert_eq!(stop.offset, 17 * 20);
    assert_eq!(layers.headers().len(), 17);
    assert!(layers.is_innermost_hidden());
    check(LinkType::IPV4, &data);
}

#[test]
fn tags_without_end_stop_with_a_reason() {
    let data = [[2, 0, 0, 0, 0, 1].as_slice(), &[2, 0, 0, 0, 0, 2], &[0x81, 0, 0, 1].repeat(100)];
    let data = data.concat();
    let layers = Layers::decode(LinkType::ETHERNET, &data, &TunnelPorts::default());
    let stop = layers.stop().unwrap();
    assert_eq!(stop.reason, StopReason::TooManyHeaders);
    assert_eq!(layers.headers().len(), Layers::MAX_HEADERS);
    assert_eq!(stop.offset, 14 + 39 * 4);
    check(LinkType::ETHERNET, &data);
}

#[test]
fn no_bytes_are_a_frame_too() {
    for link in 0..=300 {
        check(LinkType(link), &[]);
    }
}
