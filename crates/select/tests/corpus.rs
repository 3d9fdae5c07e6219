//! The filter language beside libpcap, on captures made by others.
//!
//! An expression without tunnels means what it means to tcpdump; this asks tcpdump. Where we differ
//! on purpose a test says so.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use select::Filter;
use wire::file::{Item, Progress, Reader};
use wire::{Layer, Layers, LinkType, StopReason, TunnelPorts};

/// The corpus beside the project; `None`, loudly, where it is not.
fn corpus() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if !path.is_dir() {
        eprintln!("SKIPPED: no corpus at {}", path.display());
        return None;
    }
    Some(path)
}

/// Runs `each` for every packet of a file; `None` if it is not all Ethernet or is damaged.
fn packets(path: &Path, mut each: impl FnMut(&wire::Packet<'_>, &Layers)) -> Option<()> {
    let bytes = fs::read(path).ok()?;
    let ports = TunnelPorts::default();
    let mut rest = bytes.as_slice();
    let mut reader = Reader::new();
    loop {
        match reader.advance() {
            Progress::Item => match reader.item() {
                Item::Record(record) => {
                    if record.packet.link != LinkType::ETHERNET {
                        return None;
                    }
                    let layers = Layers::decode(record.packet.link, record.packet.data, &ports);
                    each(&record.packet, &layers);
                }
                Item::Damage(_) => return None,
                _ => {}
            },
            Progress::NeedBytes => {
                let len = rest.read(reader.space()).ok()?;
                reader.filled(len);
            }
            Progress::End => return Some(()),
        }
    }
}

/// Which packets of a file match, by number from 1; `None` if it cannot be compared.
fn matching(path: &Path, filter: &Filter) -> Option<Vec<usize>> {
    let (mut number, mut found) = (0, Vec::new());
    packets(path, |packet, layers| {
        number += 1;
        if filter.matches(packet, layers) {
            found.push(number);
        }
    })?;
    Some(found)
}

/// How many packets tcpdump finds; `None` if it is not installed or refuses the file.
fn tcpdump_count(path: &Path, expression: &str) -> Option<usize> {
    let output = Command::new("tcpdump")
        .args(["-nn", "--count", "-r"])
        .arg(path)
        .arg(expression)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    if !output.status.success() {
        return None;
    }
    text.split_whitespace().next()?.parse().ok()
}

fn has_tcpdump() -> bool {
    let is_there = Command::new("tcpdump").arg("--version").output().is_ok();
    if !is_there {
        eprintln!("SKIPPED: tcpdump is not installed (apt-get install tcpdump)");
    }
    is_there
}

/// Whether every packet of the file is one that libpcap looks at as we do: one level, no tags or
/// labels, nothing cut within the headers, no extension headers that libpcap does not pass.
fn is_plain(path: &Path) -> bool {
    let mut is_plain = true;
    let mut count = 0;
    let read = packets(path, |packet, layers| {
        count += 1;
        let is_odd = |layer: Layer| {
            layer.is_tunnel()
                || layer.is_ip_extension()
                || matches!(layer, Layer::Vlan | Layer::Mpls | Layer::VnTag | Layer::ETag)
                || matches!(
                    layer,
                    Layer::Macsec | Layer::Pppoe | Layer::CiscoMetadata | Layer::Ttag | Layer::Llc
                )
        };
        let is_cut = layers.stop().is_some_and(|stop| {
            !matches!(stop.reason, StopReason::UnknownEtherType(_) | StopReason::UnknownProtocol(_))
                && !matches!(stop.reason, StopReason::Fragment)
        });
        is_plain &= layers.levels(packet.data).len() == 1
            && !is_cut
            && !layers.headers().iter().any(|header| is_odd(header.layer));
    });
    read.is_some() && is_plain && count > 0
}

const EXPRESSIONS: &[&str] = &[
    "ip",
    "ip6",
    "arp",
    "rarp",
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "sctp",
    "igmp",
    "esp",
    "ah",
    "pim",
    "vrrp",
    "proto 6",
    "ip proto 17",
    "ip6 proto 58",
    "ether proto 0x0806",
    "port 53",
    "port 80",
    "tcp port 80",
    "udp port 53",
    "src port 53",
    "dst port 443",
    "tcp dst port 80",
    "portrange 1-1023",
    "udp portrange 50-100",
    "port 80 or 443 or 53",
    "host 192.168.0.1",
    "src host 10.0.0.1",
    "net 10.0.0.0/8",
    "src net 192.168",
    "dst net 10 or 172.16.0.0/12",
    "arp host 192.168.0.1",
    "arp and dst net 10",
    "ip host 10.0.0.1",
    "net 0.0.0.0/0",
    "net ::/0",
    "net fe80::/10",
    "dst net ff00::/8",
    "broadcast",
    "multicast",
    "ip broadcast",
    "ip multicast",
    "ip6 multicast",
    "less 64",
    "greater 100",
    "less 100 and tcp",
    "not tcp",
    "not (tcp or udp)",
    "tcp or udp and port 53",
    "tcp and port 80 or udp",
    "not port 53 and not arp",
    "src and dst port 53",
    "ether multicast and not broadcast",
    "net 10.0.0.0 mask 255.0.0.0",
    "tcp src portrange 1024-65535 and dst port 80",
    "host 0.0.0.0 or 255.255.255.255",
];

#[test]
fn expressions_without_tunnels_find_what_tcpdump_finds() {
    let Some(corpus) = corpus() else { return };
    if !has_tcpdump() {
        return;
    }
    let mut files: Vec<PathBuf> = fs::read_dir(corpus)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "pcap" || e == "pcapng"))
        .filter(|path| is_plain(path))
        .collect();
    files.sort();
    let (mut compared, mut differences) = (0, Vec::new());
    for path in &files {
        for expression in EXPRESSIONS {
            let Some(theirs) = tcpdump_count(path, expression) else { continue };
            let filter = Filter::parse(expression).unwrap();
            let Some(ours) = matching(path, &filter) else { continue };
            compared += 1;
            if ours.len() != theirs {
                let name = path.file_name().unwrap().display();
                differences.push(format!("{name} `{expression}`: {} not {theirs}", ours.len()));
            }
        }
    }
    eprintln!("{} files, {compared} comparisons", files.len());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(compared > 1000, "only {compared} comparisons: is the corpus whole?");
}

/// B4: libpcap finds 19 of these 39, depending on the order of the operands.
#[test]
fn b4_or_of_two_overlays_finds_both() {
    let Some(corpus) = corpus() else { return };
    let file = corpus.join("tcpdump__geneve.pcap");
    for (expression, count) in [
        ("geneve 10", 19),
        ("geneve 11", 20),
        ("geneve 10 or geneve 11", 39),
        ("(geneve 11) or (geneve 10)", 39),
        ("vni 10 or vni 11", 39),
        ("outer (udp)", 39),
        ("outer (udp port 6081)", 39),
        ("udp port 6081", 0),
        ("any (udp port 6081)", 39),
        ("any (geneve 10 and ip)", 19),
        ("any (geneve 10 and udp port 6081)", 0),
    ] {
        let filter = Filter::parse(expression).unwrap_or_else(|error| panic!("{error}"));
        let found = matching(&file, &filter).unwrap();
        assert_eq!(found.len(), count, "{expression}");
    }
}

/// B4: no operand changes where another one looks. libpcap finds 36 and 14 of these.
#[test]
fn b4_tags_and_labels_shift_nothing() {
    let Some(corpus) = corpus() else { return };
    let file = corpus.join("zeek__mixed-vlan-mpls.pcap");
    let count =
        |expression: &str| matching(&file, &Filter::parse(expression).unwrap()).unwrap().len();
    assert_eq!(count("ip or (vlan and ip)"), count("(vlan and ip) or ip"));
    assert_eq!(count("vlan and ip"), count("ip and vlan"));
    assert_eq!(count("not (vlan or mpls)"), count("not vlan and not mpls"));
    assert_eq!(count("not (vlan and ip)"), count("not vlan or not ip"));
    let qinq = corpus.join("arkime__twovlan.pcap");
    assert_eq!(matching(&qinq, &Filter::parse("ip").unwrap()).unwrap().len(), 6);
}

/// libpcap's own cases: which packets of a file its test suite expects. Those on Ethernet whose
/// words we have; scopes make no difference in them.
#[test]
fn libpcaps_own_cases_come_out_as_libpcap_expects() {
    let Some(corpus) = corpus() else { return };
    let table = fs::read_to_string(corpus.join("truth/libpcap-filter-expected.tsv")).unwrap();
    let mut compared = 0;
    for row in table.lines().skip(1) {
        let [file, _, expression, lengths] = *row.split('\t').collect::<Vec<_>>() else {
            panic!("{row}")
        };
        let Ok(filter) = Filter::parse(expression) else { continue };
        let Some(ours) = matching(&corpus.join(file), &filter) else { continue };
        let accepted = lengths.split(',').enumerate().filter(|(_, length)| *length != "0");
        let theirs: Vec<usize> = accepted.map(|(number, _)| number + 1).collect();
        assert_eq!(ours, theirs, "{file} `{expression}`");
        compared += 1;
    }
    assert!(compared >= 12, "only {compared} cases were understood");
}
