//! Any frame on a shared wire: what the guard clears, the kernel's program lets through as well,
//! with the tag in the bytes and beside them; and a stripped frame is a part of the packet.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run guard -- -max_len=256`
#![no_main]

use libfuzzer_sys::fuzz_target;
use select::bpf::{Auxiliary, TagPlace, prefilter, run};
use select::{Encapsulation, Guard, Identity, OnWire, Ownership};
use wire::{Layers, LinkType, Mac, Packet, Timestamp, TunnelPorts, VlanId, Vni};

fuzz_target!(|input: (u8, u16, [u8; 6], &[u8])| {
    let (kind, number, mac, frame) = input;
    let tunnel = |tunnel| OnWire::Overlay {
        vni: Vni::new(number.into()).expect("16 bits fit 24"),
        tunnel,
        udp_port: None,
        vlan: (kind & 0x80 != 0).then_some(VlanId::from_tci(number)),
    };
    let network = match kind % 5 {
        0 => OnWire::Untagged,
        1 => OnWire::Vlan(VlanId::from_tci(number)),
        2 => tunnel(Encapsulation::Vxlan),
        3 => tunnel(Encapsulation::Geneve),
        _ => tunnel(Encapsulation::Gre),
    };
    let ownership = Ownership::Shared(vec![Identity { mac: Mac(mac), network }]);
    let mut ports = TunnelPorts::default();
    ownership.add_tunnel_ports(&mut ports);
    let mut scratch = Vec::new();
    let mut packet = Packet::new(Timestamp::ZERO, LinkType::ETHERNET, frame, frame.len() as u32);
    let layers = Layers::decode(packet.link, frame, &ports);
    let guard = Guard::new(&ownership);
    let Ok(mut cleared) = guard.clear(&mut packet, &layers) else { return };
    for place in [TagPlace::Bytes, TagPlace::MetadataOrBytes] {
        let program = prefilter(&ownership, 0, place);
        let auxiliary = Auxiliary { tag: None, wire_len: None };
        assert_ne!(run(&program, frame, &auxiliary), 0, "the kernel would have kept it back");
    }
    cleared.strip(&mut scratch);
    assert!(cleared.packet().data.len() <= frame.len());
});
