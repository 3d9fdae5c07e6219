//! Any packets through the meter: every packet is counted once, every flow told once, and no more
//! flows are held than may be.

#![no_main]

use flows::{EndReason, Meter, NvgreSubnets, Timeouts, community_id};
use libfuzzer_sys::fuzz_target;
use wire::{Layers, LinkType, Packet, Timestamp, TunnelPorts};

fuzz_target!(|bytes: &[u8]| {
    let timeouts = Timeouts { flows: 8, ..Timeouts::default() };
    let mut meter = Meter::new(timeouts, NvgreSubnets::new([5001]));
    let mut layers = Layers::empty();
    let ports = TunnelPorts::default();
    let (mut flows, mut packets) = (0_u64, 0_u64);
    let mut each = |flow: flows::Flow| {
        flows += 1;
        packets += flow.there.packets + flow.back.packets;
        assert!(flow.start() <= flow.last());
        assert!(community_id(&flow.ends).starts_with("1:"));
    };
    let mut rest = bytes;
    let mut millis = 0_u64;
    // Each packet stands behind a byte for its time and its link type, and one for its length.
    while let [clock, len, behind @ ..] = rest {
        let (data, later) = behind.split_at(usize::from(*len).min(behind.len()));
        rest = later;
        millis = (millis + (1 << (clock & 31)) / 16).saturating_sub(u64::from(clock >> 6));
        let link = if clock & 32 == 0 { LinkType::RAW } else { LinkType::ETHERNET };
        let time = Timestamp::from_nanos(1_700_000_000_000_000_000 + millis * 1_000_000);
        let packet = Packet::new(time, link, data, u32::from(*len));
        layers.fill(link, data, &ports);
        meter.take(&packet, &layers, &mut each);
        assert!(meter.len() <= 8);
    }
    meter.finish(EndReason::Stopped, &mut each);
    let counters = meter.counters();
    assert_eq!(counters.packets, counters.metered + counters.not_ip + counters.hidden);
    assert_eq!(counters.metered, packets);
    assert_eq!(counters.ended.iter().sum::<u64>(), flows);
});
