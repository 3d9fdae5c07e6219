//! `--store` through the program: what is collected is kept, and asked for again.
#![cfg(feature = "flow-store")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail this way"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

#[test]
fn what_is_collected_is_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let (exports, store) = (folder.path().join("exports.pcap"), folder.path().join("flows"));
    fs::write(&exports, capture()).unwrap();
    let (exports, store) = (exports.to_str().unwrap(), store.to_str().unwrap());
    let kept = overtap(&["collect", "--from", exports, "--store", store, "-q"]);
    assert!(kept.status.success(), "{}", said(&kept));
    assert!(said(&kept).contains("2 flows are kept in"), "{}", said(&kept));
    // Sums, rows and the exports themselves say the same.
    for words in [&["top", "vms"][..], &["top", "ports"], &["pairs"], &["matrix"]] {
        let print = ["-q", "--output", "json"];
        let [ours, rows, direct] =
            [&["--store", store][..], &["--store", store, "--rows"], &["--from", exports]]
                .map(|more| overtap(&[words, more, &print].concat()).stdout);
        assert!(!ours.is_empty());
        assert_eq!(String::from_utf8(ours).unwrap(), String::from_utf8(direct.clone()).unwrap());
        assert_eq!(rows, direct);
    }
    let [stored, direct] = [["--store", store], ["--from", exports]].map(|more| {
        let out = overtap(&[&["flows", "-q", "--output", "csv"][..], &more].concat());
        let mut lines: Vec<String> =
            String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    });
    assert_eq!(stored, direct);
    let file = overtap(&["flows", "--store", store, "--output", "parquet"]).stdout;
    assert!(file.starts_with(b"PAR1") && file.ends_with(b"PAR1"));
    let one = overtap(&["flows", "--store", store, "--where", "port=53", "--output", "json"]);
    assert_eq!(String::from_utf8(one.stdout).unwrap().lines().count(), 1);
}

#[test]
fn wrong_usage_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().to_str().unwrap();
    for (words, code, what) in [
        (&["top", "vms", "--store", store][..], 1, "`overtap collect --store` makes one"),
        (&["top", "vms", "--last", "1h", "--from", "x"], 2, "--store"),
        (&["flows", "--store", store, "--where", "colour=red"], 2, "rows have no `colour`"),
        (&["flows", "x.pcap", "--store", store, "--keep", "cats=9d"], 2, "keeps no `cats`"),
    ] {
        let output = overtap(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", said(&output));
        assert!(said(&output).contains(what), "{words:?}: {}", said(&output));
    }
}

fn overtap(words: &[&str]) -> Output {
    Command::new(Path::new(env!("CARGO_BIN_EXE_overtap"))).args(words).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A capture of one datagram of NetFlow version 5 with two records.
fn capture() -> Vec<u8> {
    let mut export = Vec::new();
    export.extend([0, 5, 0, 2]); // version, count
    export.extend(3_600_000_u32.to_be_bytes()); // uptime, ms
    export.extend(1_795_219_200_u32.to_be_bytes()); // 2026-11-21T00:00:00Z
    export.extend([0; 12]); // ns, sequence, engine, sampling
    for (port, octets, protocol) in [(443_u16, 120_000_u32, 6_u8), (53, 80, 17)] {
        export.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        export.extend([0; 8]); // next hop, interfaces
        export.extend((octets / 40).to_be_bytes());
        export.extend(octets.to_be_bytes());
        export.extend(3_400_000_u32.to_be_bytes()); // first
        export.extend(3_599_000_u32.to_be_bytes()); // last, ms of uptime
        export.extend(40_000_u16.to_be_bytes());
        export.extend(port.to_be_bytes());
        export.extend([0, 0x1b, protocol, 0]);
        export.extend([0; 8]); // AS, masks
    }
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let length = |more: usize| u16::try_from(export.len() + more).unwrap().to_be_bytes();
    frame.extend([0x45, 0]);
    frame.extend(length(28));
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 172, 16, 0, 1, 172, 16, 0, 2]);
    frame.extend([0x10, 0, 0x08, 0x07]); // ports 4096, 2055
    frame.extend(length(8));
    frame.extend([0, 0]);
    frame.extend(&export);
    let mut capture = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
    capture.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]);
    let len = u32::try_from(frame.len()).unwrap().to_le_bytes();
    for part in [1_795_219_200_u32.to_le_bytes(), [0; 4], len, len] {
        capture.extend(part);
    }
    capture.extend(frame);
    capture
}
