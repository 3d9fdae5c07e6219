//! `overtap collect` against captures of other people's exporters.
//!
//! They lie beside the project, in `../shared/corpus-flows`, under licences of their own. Where
//! they are missing these tests say so and judge nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail this way"
)]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

#[test]
fn every_capture_of_exports_has_the_records_its_manifest_says() {
    let Some(corpus) = corpus() else { return };
    let manifest = fs::read_to_string(corpus.join("MANIFEST.tsv")).unwrap();
    let mut lines = manifest.lines();
    let names: Vec<&str> = lines.next().unwrap().split('\t').collect();
    let mut wrong = Vec::new();
    for line in lines {
        let row: HashMap<&str, &str> = names.iter().copied().zip(line.split('\t')).collect();
        if row["kind"].starts_with("snmp") {
            continue;
        }
        let found = collect(&corpus.join(row["file"]));
        for (column, field) in COLUMNS {
            let wanted = row[column];
            let sum = sum(&found, field);
            if !wanted.is_empty() && !wanted.split('|').any(|w| w == sum.to_string()) {
                wrong.push(format!("{} {field}: {sum}, not {wanted}", row["file"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rates_are_those_that_the_exporters_state_and_say_who_stated_them() {
    let Some(corpus) = corpus() else { return };
    for (name, population, said_by) in [
        ("ak-nf9-samplingrate", Some(2048), "record"),
        ("ak-nf9-options-data-template", Some(30_000), "sampler"),
        ("ak-nf9-data+templates", Some(100), "exporter"),
        ("pm-104-ipfix-ipv6-sampling-option", Some(256), "sampler"),
        ("pm-102-nf9-cisco-sampling", None, ""),
        ("ak-sflow-1140", Some(1024), "record"),
        ("nd-sflow", Some(2048), "record"),
        ("td-sflow-expanded", Some(1000), "record"),
        ("ak-sflow-qinq", Some(4096), "record"),
        ("gen-ovs-vxlan", Some(2), "record"),
    ] {
        let path = corpus.join("pcap").join(name).with_extension("pcap");
        let records = records(&path);
        let rates: Vec<&Value> = records
            .iter()
            .filter(|record| matches!(record["kind"].as_str(), Some("flow" | "sample")))
            .map(|record| &record["rate"])
            .filter(|rate| name != "gen-ovs-vxlan" || !rate.is_null())
            .collect();
        // A rate that was learnt holds from its arrival on, so the last record has it.
        let rate = rates.last().unwrap_or_else(|| panic!("{name} has no records"));
        assert_eq!(rate["population"].as_u64(), population, "{name}: {rates:?}");
        assert_eq!(rate["said_by"].as_str().unwrap_or_default(), said_by, "{name}");
    }
}

#[test]
fn open_vswitch_names_the_tenant_network_and_both_ports() {
    let Some(corpus) = corpus() else { return };
    let records = records(&corpus.join("pcap/gen-ovs-vxlan.pcap"));
    let field = |record: &Value, name: &str| {
        let fields = record["fields"].as_array()?;
        Some(fields.iter().find(|field| field[0] == name)?[1].clone())
    };
    let inner = records.iter().filter(|record| {
        field(record, "tunnelKey") == Some(5001.into())
            && field(record, "tunnelSourceIPv4Address") == Some("172.31.7.2".into())
    });
    let bytes: u64 = inner.filter_map(|record| field(record, "octetDeltaCount")?.as_u64()).sum();
    assert_eq!(bytes, 13_400, "the tenant's own bytes, without the tunnel's");
}

/// A column of the manifest, and what `collect` calls it.
const COLUMNS: [(&str, &str); 6] = [
    ("expected_records", "records"),
    ("expected_option_records", "option_records"),
    ("sets_without_template", "sets_without_template"),
    ("sflow_flow_samples", "flow_samples"),
    ("sflow_counter_samples", "counter_samples"),
    ("sflow_discard_samples", "discard_samples"),
];

fn corpus() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus-flows");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("NOT TESTED: no corpus of flow exports at {}", path.display());
    None
}

fn collect(path: &Path) -> Value {
    serde_json::from_slice(&run(path, &["--output", "json"])).unwrap()
}

fn records(path: &Path) -> Vec<Value> {
    let out = run(path, &["--show", "records"]);
    let lines = std::str::from_utf8(&out).unwrap().lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn run(path: &Path, more: &[&str]) -> Vec<u8> {
    let program = env!("CARGO_BIN_EXE_overtap");
    let ran =
        Command::new(program).args(["collect", "--from"]).arg(path).args(more).output().unwrap();
    assert!(matches!(ran.status.code(), Some(0 | 3)), "{}: {ran:?}", path.display());
    ran.stdout
}

fn sum(found: &Value, field: &str) -> u64 {
    let exporters = found["exporters"].as_array().unwrap();
    exporters.iter().map(|exporter| exporter[field].as_u64().unwrap()).sum()
}
