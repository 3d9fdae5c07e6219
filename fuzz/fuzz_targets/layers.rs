//! Any bytes as a frame of any link type: the walk ends within the frame, and every fact can be
//! asked for.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run layers -- -max_len=512`
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::header::Trailer;
use wire::{Layer, Layers, LinkType, Packet, Strip, Timestamp, TunnelPorts};

fuzz_target!(|input: (u16, &[u8])| {
    let (link, data) = input;
    // Most link types are unknown; half of the inputs are Ethernet.
    let link = LinkType(if link >= 512 { 1 } else { link });
    let layers = Layers::decode(link, data, &TunnelPorts::default());
    assert!(layers.payload_offset() <= layers.payload_end());
    assert!(layers.payload_end() <= data.len());
    assert!(layers.headers().is_sorted_by_key(|header| header.offset));
    if let Some(stop) = layers.stop() {
        assert!(stop.offset <= data.len());
    }
    for (number, level) in layers.levels(data).enumerate() {
        assert_eq!(level.tunnel().is_some(), number > 0);
        let _ = (level.macs(), level.ip(), level.transport(), level.arp(), level.tcp());
        let _ = (level.icmp(), level.vntag(), level.etag(), level.pppoe());
        let _ = (level.vlans().count(), level.mpls().count());
    }
    let _ = layers.is_innermost_hidden();
    let (key, level) = (layers.key(data), layers.innermost(data));
    if !level.has(Layer::Wlan) {
        assert_eq!(key.macs, level.macs());
    }
    assert_eq!(key.vlan, level.vlans().next().map(|tag| tag.id));
    assert_eq!(key.network, level.tunnel().and_then(|tunnel| tunnel.vni()));
    assert_eq!(key.addresses, level.ip().map(|ip| (ip.source, ip.destination)));
    let transport = level.transport();
    assert_eq!(key.transport, transport.map(|transport| transport.layer));
    assert_eq!(key.ports, transport.and_then(|transport| transport.ports));
    let ports = TunnelPorts::default();
    if wire::is_certainly_without(link, data, &ports, |_| false) {
        assert!(!layers.has_fragment());
        for frame in layers.frames() {
            assert_eq!(frame.layer, Layer::Ethernet);
            let is_it = |seen: &[u8; 12]| seen == &data[frame.offset as usize..][..12];
            assert!(!wire::is_certainly_without(link, data, &ports, is_it));
        }
    }
    let behind = &data[layers.payload_end()..];
    let _ = Trailer::find(behind, Timestamp::from_parts(1_700_000_000, 0));
    strip(link, data, &layers);
});

/// What is left of a frame is never longer, and who talks to whom in it stays the same.
fn strip(link: LinkType, data: &[u8], layers: &Layers) {
    let packet = Packet::new(Timestamp::ZERO, link, data, data.len() as u32);
    let mut scratch = Vec::new();
    let stripped = Strip::ALL.apply(packet, layers, &mut scratch);
    let left = stripped.packet;
    assert_eq!(left.data.len() + stripped.removed as usize, data.len());
    assert_eq!(left.wire_len as usize, left.data.len());
    // A walk that stopped for too many headers finds more of them behind fewer; and what stood
    // behind an outer packet stands behind the inner one now, which may claim it.
    let is_all = layers.stop().is_none() && layers.payload_end() == data.len();
    if is_all && stripped.removed > 0 {
        let (before, after) = (
            layers.key(data),
            Layers::decode(left.link, left.data, &TunnelPorts::default()).key(left.data),
        );
        assert_eq!((before.addresses, before.ports), (after.addresses, after.ports));
    }
}
