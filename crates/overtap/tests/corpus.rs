//! `overtap decode` against captures of others and what tshark says of them.
//!
//! The captures lie beside the project, in `../shared/corpus`, under licences of their own. Where
//! they are missing this test says so and judges nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail this way"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::GzDecoder;

/// Files whose comparable frames differ in some column, how many frames, and why.
const DIFFERENT: &[(&str, usize, &str)] = &[
    (
        "libpcap__filter_ipv6_ext_headers.pcap",
        1,
        "99 extension headers; we stop after Layers::MAX_HEADERS and say so",
    ),
    (
        "ovs__converted-hex_ovs_tunnel-push-pop.pcap",
        1,
        "the payload of GRE is no IP packet: the peer counts a header of version 15 as one",
    ),
    (
        "tcpdump__atm-oam-loopback-print-overrun.pcap",
        1,
        "the peer takes 4 bytes of pseudo-header off both lengths",
    ),
];

/// How many frames of the corpus are comparable, and how many of them agree in every column.
const COMPARABLE: usize = 28_866;
const EQUAL: usize = 28_863;

const COLUMNS: [&str; 21] = [
    "caplen",
    "len",
    "outer_eth_src",
    "outer_eth_dst",
    "outer_ip_src",
    "outer_ip_dst",
    "outer_l4",
    "outer_sport",
    "outer_dport",
    "inner_eth_src",
    "inner_eth_dst",
    "inner_ip_src",
    "inner_ip_dst",
    "inner_ip_proto",
    "inner_l4",
    "inner_sport",
    "inner_dport",
    "vlans",
    "tunnel_ids",
    "n_mac",
    "n_ip",
];

#[test]
fn every_comparable_frame_of_the_corpus_agrees_with_tshark_but_those_listed() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if !corpus.join("truth").is_dir() {
        eprintln!("NOT TESTED: the corpus of captures is missing at {}", corpus.display());
        return;
    }
    let doubtful = doubtful_files(&corpus);
    let (mut comparable, mut equal) = (0, 0);
    let mut different: BTreeMap<String, usize> = BTreeMap::new();
    let mut first = Vec::new();
    for (name, truth) in files(&corpus) {
        if doubtful.contains(&name) {
            continue;
        }
        let ours = Table::parse(&decode(&corpus.join(&name)));
        let truth = Table::parse(&unpack(&truth));
        for row in 0..truth.rows.len() {
            let cell = |column| truth.cell(row, column);
            if !cell("marks").is_empty() || !cell("frag").is_empty() {
                continue;
            }
            comparable += 1;
            let wrong: Vec<_> =
                COLUMNS.iter().filter(|column| !agrees(&truth, &ours, row, column)).collect();
            if wrong.is_empty() {
                equal += 1;
            } else {
                *different.entry(name.clone()).or_default() += 1;
                if !DIFFERENT.iter().any(|(listed, ..)| *listed == name) && first.len() < 20 {
                    first.push(format!("{name} frame {} in {wrong:?}", row + 1));
                }
            }
        }
    }
    let listed: BTreeMap<String, usize> =
        DIFFERENT.iter().map(|(name, frames, _)| ((*name).to_owned(), *frames)).collect();
    assert_eq!(different, listed, "not listed: {first:#?}");
    assert_eq!((comparable, equal), (COMPARABLE, EQUAL));
}

/// Everything in the corpus, also what is damaged on purpose or in doubt, is decoded to an end.
#[test]
fn no_file_of_the_corpus_makes_the_program_panic() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if !corpus.join("truth").is_dir() {
        eprintln!("NOT TESTED: the corpus of captures is missing at {}", corpus.display());
        return;
    }
    for format in ["text", "json"] {
        for (name, _) in files(&corpus) {
            let run = overtap(&corpus.join(&name), format);
            assert!(matches!(run.status.code(), Some(0 | 1 | 3)), "{name}: {:?}", run.status);
            let text = String::from_utf8(run.stdout).expect("the program prints UTF-8");
            assert!(!text.contains('\u{1b}'), "{name}");
            if format == "json" {
                for line in text.lines() {
                    let object: serde_json::Value =
                        serde_json::from_str(line).unwrap_or_else(|e| panic!("{name}: {e}"));
                    assert!(object["frame"].is_u64(), "{name}");
                }
            }
        }
    }
}

/// Whether a column of a frame agrees. Of tunnels the identifiers count, not what is said beside
/// them; what the truth calls inner addresses of a frame without IP are those of its tunnel.
fn agrees(truth: &Table, ours: &Table, row: usize, column: &str) -> bool {
    let is_of_ip = ["inner_ip", "inner_l4", "inner_sport", "inner_dport"]
        .iter()
        .any(|prefix| column.starts_with(prefix));
    if is_of_ip && truth.cell(row, "ip_in_inner_frame") == "0" {
        return true;
    }
    if !ours.columns.contains_key(column) || row >= ours.rows.len() {
        return false;
    }
    let (truth, ours) = (truth.cell(row, column), ours.cell(row, column));
    if column != "tunnel_ids" {
        return truth.trim() == ours.trim();
    }
    let ids = |text: &str| -> Vec<String> {
        let entries = text.split(';').filter(|entry| !entry.is_empty());
        entries.map(|entry| entry.split(',').next().unwrap_or_default().to_owned()).collect()
    };
    ids(truth) == ids(ours)
}

/// A table as both sides write it: a line of column names, cells between tabs.
struct Table {
    columns: HashMap<String, usize>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn parse(text: &str) -> Self {
        let mut lines =
            text.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
        let names = lines.next().unwrap_or_default();
        let columns = names.into_iter().enumerate().map(|(index, name)| (name, index)).collect();
        Self { columns, rows: lines.collect() }
    }

    fn cell(&self, row: usize, column: &str) -> &str {
        let index = self.columns.get(column);
        index.and_then(|index| self.rows[row].get(*index)).map_or("", String::as_str)
    }
}

/// The captures that have a truth, with the path of it.
fn files(corpus: &Path) -> Vec<(String, PathBuf)> {
    let mut files: Vec<_> = fs::read_dir(corpus.join("truth"))
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name()?.to_str()?.strip_suffix(".layers.tsv.gz")?.to_owned();
            corpus.join(&name).exists().then_some((name, path))
        })
        .collect();
    files.sort();
    files
}

fn doubtful_files(corpus: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(corpus.join("truth/doubtful.tsv")).unwrap();
    text.lines().filter_map(|line| line.split('\t').next()).map(str::to_owned).collect()
}

fn unpack(path: &Path) -> String {
    let mut text = String::new();
    GzDecoder::new(BufReader::new(File::open(path).unwrap())).read_to_string(&mut text).unwrap();
    text
}

fn decode(path: &Path) -> String {
    let run = overtap(path, "tsv");
    String::from_utf8(run.stdout).unwrap()
}

fn overtap(path: &Path, format: &str) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_overtap"))
        .arg("decode")
        .arg(path)
        .args(["--output", format])
        .output()
        .unwrap()
}
