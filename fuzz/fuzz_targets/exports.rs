//! Any datagrams as exports of flows: the collector ends, stays within its bounds, and its counters
//! say what was shown.

#![no_main]

use std::net::SocketAddr;

use flows::{Exports, NvgreSubnets, Timeouts};
use libfuzzer_sys::fuzz_target;
use wire::export::{Collector, Datagram, Event, Limits, TemplateLimits};
use wire::{Timestamp, TunnelPorts};

fuzz_target!(|bytes: &[u8]| {
    let templates = TemplateLimits { templates: 20, fields: 50, bytes: 1 << 16 };
    let limits = Limits { exporters: 8, templates, pending_bytes: 1 << 14, ..Limits::default() };
    let mut collector = Collector::new(limits);
    let timeouts = Timeouts { flows: 64, ..Timeouts::default() };
    let mut exports = Exports::new(timeouts, NvgreSubnets::new([5001]), TunnelPorts::default());
    let (mut shown, mut flows) = ([0_u64; 5], 0_u64);
    let mut rest = bytes;
    let mut second = 1_700_000_000;
    // Each datagram stands behind a byte for its sender and two for its length.
    while let [sender, high, low, behind @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(behind.len());
        let (payload, later) = behind.split_at(len);
        rest = later;
        second += u64::from(*sender >> 4);
        let datagram = Datagram {
            time: Timestamp::from_parts(second, 0),
            source: SocketAddr::from(([192, 0, 2, 1], u16::from(*sender & 3))),
            payload,
        };
        collector.take(&datagram, |event| {
            let place = match &event {
                Event::Flow(_, record) => {
                    assert!(record.fields().count() <= 50);
                    let span = record.span();
                    assert!(span.start <= span.end);
                    let _ = (record.rate(), record.talk(), record.macs(), record.vni());
                    0
                }
                Event::Options(..) => 1,
                Event::Sample(_, sample) => {
                    let _ = (sample.header(), sample.vlans(), sample.tunnel(false));
                    2
                }
                Event::Counters(_, sample) => {
                    let _ = (sample.port_name(), sample.octets());
                    3
                }
                Event::Discard(..) => 4,
            };
            shown[place] += 1;
            exports.take(event, |_| flows += 1);
        });
        assert!(collector.exporters().len() <= 8);
        assert!(collector.exporters().iter().all(|exporter| exporter.templates().count() <= 20));
    }
    exports.finish(|_| flows += 1);
    if collector.expired() == 0 {
        let mut counted = [0; 5];
        for exporter in collector.exporters() {
            let account = &exporter.account;
            counted[0] += account.records;
            counted[1] += account.option_records;
            counted[2] += account.flow_samples;
            counted[3] += account.counter_samples;
            counted[4] += account.discard_samples;
            let late = account.sets_decoded_late + account.sets_given_up;
            assert!(late <= account.sets_without_template);
        }
        assert_eq!(counted, shown);
    }
});
