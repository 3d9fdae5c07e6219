//! Every capture of the shared corpus is read and compared, record by record, with what tshark
//! saw in it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail this way")]

mod corpus;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use wire::file::{Damage, Item, Progress, Reader};

use corpus::{corpus, unpacked};

/// Files of which tshark shows another number of frames than there are packets, how many packets
/// there are, and why.
const OTHER_COUNT: &[(&str, usize, &str)] = &[
    ("gopacket__be_test102.pcapng", 5, "tshark shows three custom blocks as frames"),
    ("gopacket__le_test102.pcapng", 5, "tshark shows three custom blocks as frames"),
    ("libpcap__filter_brcm-tag-stp.pcap", 4, UNKNOWN_LINK),
    ("libpcap__filter_brcm-tag.pcap", 15, UNKNOWN_LINK),
    ("libpcap__filter_dsa.pcap", 8, UNKNOWN_LINK),
    ("tcpdump__brcm-tag-prepend.pcap", 15, UNKNOWN_LINK),
    ("tcpdump__brcm-tag.pcap", 23, UNKNOWN_LINK),
    ("tcpdump__dsa-high-vid.pcap", 4, UNKNOWN_LINK),
    ("tcpdump__edsa-high-vid.pcap", 4, UNKNOWN_LINK),
    ("tcpdump__edsa.pcap", 10, UNKNOWN_LINK),
    ("tcpdump__juniper_monitor_invalid_cookie_length.pcap", 1, UNKNOWN_LINK),
    ("tcpdump__kday6.pcap", 1, UNKNOWN_LINK),
];
const UNKNOWN_LINK: &str = "tshark 4.0 does not know the link type; tcpdump counts as we do";

/// Files with a record tshark shows otherwise, and why.
const OTHER_VALUES: &[(&str, &str)] = &[
    ("ndpi__fuzz-2021-06-07-c6c72a0a56.pcap", "tshark cuts the wire length to 31 bits"),
    ("ndpi__fuzz-2021-10-13.pcap", NEGATIVE_FRACTION),
    ("tcpdump__atm-heapoverflow.pcap", ATM_HEADER),
    ("tcpdump__atm-oam-heapoverflow.pcap", ATM_HEADER),
    ("tcpdump__atm-oam-loopback-print-overrun.pcap", ATM_HEADER),
];
const NEGATIVE_FRACTION: &str = "tshark reads a fraction above 2^31 as negative";
const ATM_HEADER: &str = "tshark takes the SunATM pseudo header off";

#[test]
fn every_corpus_file_has_the_records_tshark_saw() {
    let Some(corpus) = corpus() else { return };
    let mut names: Vec<String> = fs::read_dir(corpus.join("truth"))
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".layers.tsv.gz").map(str::to_owned)
        })
        .collect();
    names.sort();
    let mut wrong = Vec::new();
    let (mut files, mut records) = (0, 0);
    for name in &names {
        let path = corpus.join(name);
        if !path.exists() {
            continue;
        }
        files += 1;
        let seen = read(&unpacked(&path), 64 * 1024);
        let truth = rows(&corpus.join("truth").join(format!("{name}.layers.tsv.gz")));
        records += seen.records.len();
        if let Some((_, count, _)) = OTHER_COUNT.iter().find(|(file, ..)| file == name) {
            if seen.records.len() != *count {
                wrong.push(format!("{name}: {} records, {count} expected", seen.records.len()));
            }
            continue;
        }
        if seen.records.len() != truth.len() {
            wrong.push(format!(
                "{name}: {} records, tshark saw {}; damage {:?}",
                seen.records.len(),
                truth.len(),
                seen.damage
            ));
        }
        let differing: Vec<String> = seen
            .records
            .iter()
            .zip(&truth)
            .filter(|(record, row)| !agree(record, row))
            .map(|(record, row)| format!("{record:?} tshark {row:?}"))
            .collect();
        let is_known = OTHER_VALUES.iter().any(|(file, _)| file == name);
        if let Some(first) = differing.first().filter(|_| !is_known) {
            wrong.push(format!("{name}: {} differ, first {first}", differing.len()));
        }
    }
    assert!(wrong.is_empty(), "{} files:\n{}", wrong.len(), wrong.join("\n"));
    assert!(files >= 371, "only {files} files found");
    println!("{files} files, {records} records");
}

/// One record or one row of truth: time in nanoseconds, bytes captured, bytes on the wire.
type Row = (u64, usize, u32, String);

/// tshark names no interface in classic pcap files.
fn agree(record: &Row, row: &Row) -> bool {
    let same_interface = row.3.is_empty() || record.3 == row.3;
    same_interface && (record.0, record.1, record.2) == (row.0, row.1, row.2)
}

struct Seen {
    records: Vec<Row>,
    damage: Vec<Damage>,
}

fn read(bytes: &[u8], at_once: usize) -> Seen {
    let mut reader = Reader::new();
    let mut rest = bytes;
    let mut seen = Seen { records: Vec::new(), damage: Vec::new() };
    loop {
        match reader.advance() {
            Progress::Item => match reader.item() {
                Item::Record(record) => seen.records.push((
                    record.packet.time.as_nanos(),
                    record.packet.data.len(),
                    record.packet.wire_len,
                    record.packet.point.0.to_string(),
                )),
                Item::Damage(damage) => seen.damage.push(damage),
                _ => {}
            },
            Progress::NeedBytes => {
                let space = reader.space();
                let end = space.len().min(at_once);
                let len = rest.read(&mut space[..end]).unwrap();
                reader.filled(len);
            }
            Progress::End => {
                // No corpus file has a record beyond the first buffer.
                assert!(reader.allocated() <= 512 * 1024, "{}", reader.allocated());
                return seen;
            }
        }
    }
}

fn rows(path: &Path) -> Vec<Row> {
    let text = String::from_utf8_lossy(&unpacked(path)).into_owned();
    let mut lines = text.lines();
    let columns: BTreeMap<&str, usize> =
        lines.next().unwrap().split('\t').enumerate().map(|(i, name)| (name, i)).collect();
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            let cell = |name: &str| cells[columns[name]];
            let (seconds, fraction) = cell("time").split_once('.').unwrap_or((cell("time"), "0"));
            let nanos = seconds.parse::<u64>().unwrap_or(0) * 1_000_000_000
                + format!("{fraction:0<9}")[..9].parse::<u64>().unwrap();
            let number = |name| cell(name).parse().unwrap();
            (nanos, number("caplen") as usize, number("len"), cell("iface").to_owned())
        })
        .collect()
}
