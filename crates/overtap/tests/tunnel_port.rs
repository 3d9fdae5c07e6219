//! A tunnel at an unusual port, named in the same words for every command on files.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What the program prints in `folder`, as JSON.
fn json(folder: &Path, words: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overtap"));
    let output = command.current_dir(folder).args(words).args(["--output", "json"]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{words:?} {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A pcap of one frame: ICMP in VXLAN 42 at UDP port 4800.
fn capture() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 78, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0xc0, 1, 0x12, 0xc0, 0, 58, 0, 0, 8, 0, 0, 0, 0, 0, 42, 0]);
    frame.extend([2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 4, 8, 0]);
    frame.extend([0x45, 0, 0, 28, 0, 1, 0, 0, 64, 1, 0, 0, 10, 0, 0, 3, 10, 0, 0, 4]);
    frame.extend([8, 0, 0, 0, 0, 1, 0, 1]);
    let len = u32::try_from(frame.len()).unwrap();
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65535, 1, 1_700_000_000, 0, len, len] {
        file.extend(u32::to_le_bytes(word));
    }
    file.extend(frame);
    file
}

#[test]
fn decode_extract_and_stat_see_a_tunnel_where_they_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("in.pcap"), capture()).unwrap();
    let port = ["--tunnel-port", "vxlan=4800"];
    let levels = |words: &[&str]| {
        let line = json(folder, &[&["decode", "in.pcap"], words].concat());
        line["levels"].as_array().unwrap().len()
    };
    assert_eq!((levels(&[]), levels(&port)), (1, 2));
    let extract = ["extract", "in.pcap", "vni 42", "--force", "-w"];
    json(folder, &[extract.as_slice(), &["without.pcap"]].concat());
    json(folder, &[extract.as_slice(), &["with.pcap"], &port].concat());
    let size = |name: &str| fs::metadata(folder.join(name)).map_or(0, |file| file.len());
    assert!(size("without.pcap") < 100);
    assert_eq!(size("with.pcap"), size("in.pcap"));
    let stat = |words: &[&str]| {
        json(folder, &[&["stat", "in.pcap", "--by", "vni"], words].concat()).to_string()
    };
    assert!(stat(&port).contains("42") && stat(&port) != stat(&[]));
}
