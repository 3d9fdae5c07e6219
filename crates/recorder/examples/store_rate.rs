//! How fast a store is written and found in, without sockets: `store_rate make DIR GIB VMS BYTES`
//! records that much of that many machines, `store_rate find DIR N` reads all packets of one.
//!
//! 100 000 packets a second of simulated time, all machines alike in turn by a fixed random order,
//! so a machine's packets are spread over all segments. `bench/recorder/run` says what is compared.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a measurement may fail this way"
)]

use std::path::Path;
use std::time::Instant;

use pipeline::Sink;
use recorder::{Budget, Item, KeyRing, MachineRef, PointInfo, Recorder, Settings, Store};
use select::{Guard, Ownership};
use wire::{LinkType, Packet, PointId, Timestamp};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["make", directory, gib, machines, bytes] => make(
            Path::new(directory),
            gib.parse().unwrap(),
            machines.parse().unwrap(),
            bytes.parse().unwrap(),
        ),
        ["find", directory, number] => find(Path::new(directory), number.parse().unwrap()),
        _ => eprintln!("store_rate make DIR GIB MACHINES BYTES | store_rate find DIR NUMBER"),
    }
}

fn make(directory: &Path, gib: u64, machines: u32, bytes: usize) {
    let (keys, _) = KeyRing::read_or_make(&directory.with_extension("key")).unwrap();
    let settings = Settings {
        directory: directory.to_owned(),
        keys,
        budget: Budget { bytes: gib << 30, age: None },
        min_free_bytes: 0,
    };
    let mut now = 1_700_000_000_000_000_000;
    let mut recorder = Recorder::open(&settings, Timestamp::from_nanos(now)).unwrap();
    for number in 0..machines {
        recorder.add_point(point(number), Timestamp::from_nanos(now));
    }
    let guard = Guard::new(&Ownership::Whole);
    let data: Vec<u8> = (0..bytes).map(|at| (at * 31 % 251) as u8).collect();
    let packets = (gib << 30) / (bytes as u64 + 17) * 98 / 100;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let began = Instant::now();
    for number in 0..packets {
        now += 10_000;
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let machine = ((random >> 33) % u64::from(machines)) as u32;
        let time = Timestamp::from_nanos(now);
        let mut packet = Packet {
            point: PointId(machine),
            ..Packet::new(time, LinkType::ETHERNET, &data, bytes as u32)
        };
        recorder.take(&guard.clear_whole(&mut packet).unwrap()).unwrap();
        if number % 10_000 == 0 {
            recorder.tick(time, time);
        }
    }
    let summary = recorder.close(Timestamp::from_nanos(now));
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "recorded {packets} packets of {bytes} bytes of {machines} machines in {} segments: \
         {:.0} ns and {:.1} bytes for each, {} removed",
        summary.segments,
        seconds * 1e9 / packets as f64,
        summary.bytes as f64 / packets as f64,
        summary.removed,
    );
}

fn find(directory: &Path, number: u32) {
    let keys = KeyRing::read(&directory.with_extension("key")).unwrap();
    let began = Instant::now();
    let store = Store::open(directory, keys).unwrap();
    let opened = began.elapsed();
    let machine = point(number).machine;
    let mut reading = store.read(&[machine], Timestamp::ZERO, Timestamp::from_nanos(u64::MAX));
    let (mut packets, mut bytes, mut first) = (0_u64, 0_u64, None);
    while let Some(item) = reading.next() {
        match item {
            Item::Packet(packet) => {
                first.get_or_insert_with(|| began.elapsed());
                packets += 1;
                bytes += packet.data.len() as u64;
            }
            Item::Damage(damage) => panic!("{damage}"),
        }
    }
    println!(
        "{:.1} MB in {} segments: index read after {:.1} ms, first packet after {:.1} ms, all \
         {packets} ({:.1} MB) after {:.1} ms",
        store.bytes() as f64 / 1e6,
        store.segments(),
        opened.as_secs_f64() * 1e3,
        first.unwrap_or_default().as_secs_f64() * 1e3,
        bytes as f64 / 1e6,
        began.elapsed().as_secs_f64() * 1e3,
    );
}

fn point(number: u32) -> PointInfo {
    PointInfo {
        machine: MachineRef {
            id: format!("uuid:00000000-0000-0000-0000-{number:012}"),
            name: format!("vm-{number}"),
            tenant: None,
        },
        label: format!("vm-{number}/net0 @ hv-1:vnet{number}"),
        description: "the host's end of the VM's tap".into(),
        mac: None,
        filter: String::new(),
        snaplen: 262_144,
        ownership: Ownership::Whole,
        since: Timestamp::ZERO,
    }
}
