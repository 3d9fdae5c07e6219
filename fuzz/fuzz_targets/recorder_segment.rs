//! Any bytes as a segment of a flight recorder, as its index, or sealed as what they hold: reading
//! ends, shows packets in the order of time, and mends the index.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = std::env::temp_dir().join(format!("overtap-fuzz-{}", std::process::id()));
    if !Path::new(&folder).is_dir() {
        std::fs::create_dir(&folder).unwrap();
    }
    recorder::fuzz_segment(&folder, bytes);
});
