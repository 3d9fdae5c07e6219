//! Any lines as what a collector remembers: what is taken back is within bounds, can be written
//! down again as it is, and goes on decoding.

#![no_main]

use std::net::SocketAddr;
use std::path::Path;

use collector::Remembered;
use libfuzzer_sys::fuzz_target;
use wire::Timestamp;
use wire::export::{Collector, Datagram, Limits, SavedExporter, TemplateLimits};

fuzz_target!(|bytes: &[u8]| {
    let head = b"{\"format\":\"overtap exporters\",\"version\":1,\"written\":0}\n";
    let text = [head, bytes].concat();
    let Ok(remembered) = Remembered::from_lines(&text[..], Path::new("state")) else { return };
    let templates = TemplateLimits { templates: 20, fields: 50, bytes: 1 << 16 };
    let limits = Limits { exporters: 8, templates, ..Limits::default() };
    let mut collector = Collector::new(limits);
    for saved in remembered.exporters {
        if collector.restore(saved).is_ok()
            && let Some(exporter) = collector.exporters().last()
        {
            assert!(exporter.templates().count() <= 20);
            let written = SavedExporter::of(exporter);
            let mut again = Collector::new(limits);
            again.restore(written.clone()).expect("what was written down can be read");
            assert_eq!(SavedExporter::of(&again.exporters()[0]), written);
        }
    }
    let keys: Vec<_> = collector.exporters().iter().map(|exporter| exporter.key).collect();
    for key in keys {
        for payload in [&[0, 10, 0, 24, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 1, 0, 0, 8, 1, 2, 3, 4][..], &[0, 5]] {
            let source = SocketAddr::new(key.address, key.port);
            collector.take(&Datagram { time: Timestamp::ZERO, source, payload }, |_| {});
        }
    }
});
