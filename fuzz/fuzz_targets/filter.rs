//! Any text as a filter expression: it is understood or refused with a place inside it, its normal
//! form means itself, and judging any bytes by it does not panic.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run filter -- -max_len=512`
#![no_main]

use libfuzzer_sys::fuzz_target;
use select::Filter;
use wire::{Layers, LinkType, Packet, Timestamp, TunnelPorts};

fuzz_target!(|input: (&str, &[u8])| {
    let (text, frame) = input;
    match Filter::parse(text) {
        Ok(filter) => {
            let normal = filter.to_string();
            let again = Filter::parse(&normal).expect("a normal form can be read again");
            assert_eq!(again.to_string(), normal);
            assert!(!filter.explanation().to_string().is_empty());
            let packet =
                Packet::new(Timestamp::ZERO, LinkType::ETHERNET, frame, frame.len() as u32);
            let layers = Layers::decode(packet.link, frame, &TunnelPorts::default());
            assert_eq!(filter.matches(&packet, &layers), again.matches(&packet, &layers));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
