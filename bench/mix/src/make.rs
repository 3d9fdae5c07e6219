//! `overtap-mix make`: a capture, its truth, its inventory and its summary.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use crate::capture_file::{Form, Writer};
use crate::inventory;
use crate::site::{self, Vm};
use crate::traffic::Traffic;
use crate::truth::{Groups, Kind, SHAPES, Truth};

pub fn run(words: &[&str]) -> Result<(), String> {
    let (folder, mut words) = words.split_first().ok_or("make: a folder is missing")?;
    let (mut size, mut word, mut seed, mut name) = (2_000_000_000, "pcap", 1, "mix");
    while let [option, value, rest @ ..] = words {
        match *option {
            "--size" => size = value.parse().map_err(|_| format!("{value} is no size in bytes"))?,
            "--form" => word = value,
            "--seed" => seed = value.parse().map_err(|_| format!("{value} is no seed"))?,
            "--name" => name = value,
            _ => return Err(format!("make: unknown option {option}")),
        }
        words = rest;
    }
    let form = Form::of_word(word).ok_or_else(|| format!("{word} is no form"))?;
    let folder = Path::new(folder);
    let extension = if form.is_pcapng { "pcapng" } else { "pcap" };
    let path = |extension: &str| folder.join(format!("{name}.{extension}"));
    make(form, size, seed, &path(extension), &path("truth"), &path("json"))
        .and_then(|()| fs::write(path("inventory.toml"), inventory::text()))
        .and_then(|()| fs::write(path("networks"), inventory::networks()))
        .map_err(|error| format!("{}: {error}", folder.display()))
}

fn make(
    form: Form,
    size: u64,
    seed: u64,
    capture: &Path,
    truth: &Path,
    summary: &Path,
) -> std::io::Result<()> {
    // A flow has some hundred packets, but a small mix shows every VM as well.
    let flows = (size / 400 / 100).clamp(3000, 20_000);
    let mut traffic = Traffic::new(seed, flows, form.is_pcapng);
    let mut writer = Writer::new(File::create(capture)?, form)?;
    let mut truths = BufWriter::new(File::create(truth)?);
    let mut counts = Counts::new();
    while writer.written() < size {
        let sighting = traffic.next();
        writer.write(sighting.time_us, sighting.point, &sighting.frame.bytes)?;
        truths.write_all(&sighting.truth.to_bytes())?;
        counts.add(&sighting.truth, sighting.frame.bytes.len() as u64);
    }
    counts.file_bytes = writer.written();
    writer.finish()?;
    truths.flush()?;
    fs::write(summary, counts.json())
}

/// What a mix holds.
struct Counts {
    file_bytes: u64,
    packets: u64,
    bytes: u64,
    copies: u64,
    kinds: [u64; Kind::ALL.len()],
    shapes: [u64; SHAPES.len()],
    /// Packets and bytes, by how a frame names its network.
    networks: BTreeMap<(&'static str, u32), (u64, u64)>,
    vms: Vec<u64>,
}

impl Counts {
    fn new() -> Self {
        Self {
            file_bytes: 0,
            packets: 0,
            bytes: 0,
            copies: 0,
            kinds: [0; Kind::ALL.len()],
            shapes: [0; SHAPES.len()],
            networks: BTreeMap::new(),
            vms: vec![0; usize::from(site::VMS)],
        }
    }

    fn add(&mut self, truth: &Truth, len: u64) {
        self.packets += 1;
        self.bytes += len;
        self.copies += u64::from(truth.kept.is_some());
        self.kinds[truth.kind as usize] += 1;
        self.shapes[usize::from(truth.shape)] += 1;
        let network = self.networks.entry(truth.named_network()).or_default();
        *network = (network.0 + 1, network.1 + len);
        for vm in truth.vms(Groups::OfAll) {
            self.vms[usize::from(vm.0)] += 1;
        }
    }

    fn json(&self) -> String {
        let named = |words: &[&str], counts: &[u64]| {
            let pairs = words.iter().zip(counts);
            pairs.map(|(word, count)| format!("\"{word}\": {count}")).collect::<Vec<_>>().join(", ")
        };
        let mut text = String::from("{\n");
        let _ = writeln!(text, "  \"file_bytes\": {},", self.file_bytes);
        let _ = writeln!(text, "  \"packets\": {},", self.packets);
        let _ = writeln!(text, "  \"bytes\": {},", self.bytes);
        let _ = writeln!(text, "  \"copies\": {},", self.copies);
        let _ = writeln!(text, "  \"kinds\": {{{}}},", named(&Kind::WORDS, &self.kinds));
        let _ = writeln!(text, "  \"shapes\": {{{}}},", named(&SHAPES, &self.shapes));
        let networks = self.networks.iter().map(|((carrier, number), (packets, bytes))| {
            format!(
                "    {{\"carrier\": \"{carrier}\", \"number\": {number}, \"packets\": {packets}, \
                 \"bytes\": {bytes}}}"
            )
        });
        let networks = networks.collect::<Vec<_>>().join(",\n");
        let _ = writeln!(text, "  \"networks\": [\n{networks}\n  ],");
        let vms = (0..site::VMS).map(|n| {
            let (vm, packets) = (Vm(n), self.vms[usize::from(n)]);
            let network = vm.network();
            format!(
                "    {{\"name\": \"{}\", \"tenant\": \"{}\", \"mac\": \"{}\", \"carrier\": \"{}\", \
                 \"number\": {}, \"vlan\": {}, \"packets\": {packets}}}",
                vm.name(),
                inventory::tenant_name(vm.tenant()),
                site::mac_text(vm.mac()),
                network.carrier().word(),
                network.number(),
                network.vlan(),
            )
        });
        let _ = writeln!(text, "  \"vms\": [\n{}\n  ]\n}}", vms.collect::<Vec<_>>().join(",\n"));
        text
    }
}
