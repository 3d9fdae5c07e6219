//! Frames of two tenants, as pieces or whole, in any order and at any time: the account adds up, what
//! is written was offered, and a frame whose own headers show another tenant is never written.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run fragments -- -max_len=2048`
#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeline::{Limits, Pipeline, PointRules, Sink, Treatment};
use select::{Cleared, DropReason, Encapsulation, Filter, Guard, Identity, OnWire, Ownership};
use wire::{Layers, LinkType, Mac, Packet, Timestamp, TunnelPorts, Vni};

/// Counts what it is given, and asks the guard of each frame by itself.
struct Judge {
    guard: Guard,
    written: u64,
}

impl Sink for Judge {
    fn take(&mut self, cleared: &Cleared<'_, '_>) -> Result<(), DropReason> {
        self.written += 1;
        let mut packet = *cleared.packet();
        let layers = Layers::decode(packet.link, packet.data, &TunnelPorts::default());
        let alone = self.guard.clear(&mut packet, &layers).map(|_| ());
        assert_ne!(alone, Err(DropReason::OtherTenant));
        assert!(alone.is_ok() || layers.has_fragment());
        Ok(())
    }
}

/// An Ethernet frame with an IPv4 packet: what a few bytes say of it.
fn frame(input: &[u8]) -> Option<(u64, u64, Vec<u8>)> {
    let [control, id, offset, len, wait, vni, rest @ ..] = input else { return None };
    let mut payload = vec![0xc0, 1, 0x12, 0xb5, 0, 200, 0, 0, 8, 0, 0, 0, 0, 0, vni & 3, 0];
    payload.extend([0x52, 0x54, 0, 0, 0, 2, 0x52, 0x54, 0, 0, 0, 1, 0x08, 0x00]);
    payload.extend_from_slice(rest);
    payload.resize(200, *len);
    let start = usize::from(offset % 25) * 8;
    let end = (start + usize::from(len % 32) * 8).min(200);
    let more = u16::from(control & 1 != 0) << 13 | (start / 8) as u16;
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45, 0];
    bytes.extend((20 + end - start).try_into().map(u16::to_be_bytes).ok()?);
    bytes.extend([0, id & 3]);
    bytes.extend(more.to_be_bytes());
    bytes.extend([64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend(payload.get(start..end)?);
    let lost = u64::from(control & 0xf0 == 0xf0);
    Some((u64::from(*wait) * 4_000_000, lost, bytes))
}

fuzz_target!(|input: &[u8]| {
    let network = OnWire::Overlay {
        vni: Vni::new(1).expect("24 bits"),
        tunnel: Encapsulation::Vxlan,
        udp_port: None,
        vlan: None,
    };
    let identity = Identity { mac: Mac([0x52, 0x54, 0, 0, 0, 1]), network };
    let ownership = Ownership::Shared(vec![identity]);
    let mut control = input.first().copied().unwrap_or_default();
    let filter = (control & 1 != 0).then(|| Filter::parse("udp port 53").expect("it is one"));
    let treatment = if control & 2 != 0 { Treatment::Stripped } else { Treatment::AsSeen };
    control >>= 2;
    let ports = TunnelPorts::default();
    let mut pipeline = Pipeline::new(filter, ports, treatment, 262_144, Limits::default());
    pipeline.add_point(PointRules { guard: Guard::new(&ownership), later: None });
    let mut judge = Judge { guard: Guard::new(&ownership), written: 0 };
    // Stripped frames are no longer what the guard judges.
    if treatment == Treatment::Stripped {
        judge.guard = Guard::new(&Ownership::Whole);
    }
    let (mut offered, mut time) = (0, 0);
    for piece in input.get(1..).unwrap_or_default().chunks(6 + usize::from(control)) {
        let Some((wait, lost_before, bytes)) = frame(piece) else { continue };
        time += wait;
        let seen = Timestamp::from_nanos(time);
        let packet = Packet::new(seen, LinkType::ETHERNET, &bytes, bytes.len() as u32);
        pipeline.offer(Packet { lost_before, ..packet }, &mut judge);
        offered += 1;
    }
    pipeline.finish(&mut judge);
    pipeline.count_kernel(0, offered, 0);
    let ledger = pipeline.ledger(0).expect("it was added");
    assert_eq!(ledger.unread(), 0);
    assert_eq!(ledger.written, judge.written);
});
