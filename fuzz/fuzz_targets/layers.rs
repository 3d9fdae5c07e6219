//! Any bytes as a frame of any link type: the walk ends within the frame, and every fact can be
//! asked for.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run layers -- -max_len=512`
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::header::Trailer;
use wire::{Layers, LinkType, Timestamp, TunnelPorts};

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
    assert_eq!(key.ports, level.transport().and_then(|transport| transport.ports));
    assert_eq!(key.addresses, level.ip().map(|ip| (ip.source, ip.destination)));
    let behind = &data[layers.payload_end()..];
    let _ = Trailer::find(behind, Timestamp::from_parts(1_700_000_000, 0));
});
