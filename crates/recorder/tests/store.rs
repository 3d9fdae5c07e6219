//! The store through its public door: what is recorded is read again, and what is not is said.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail this way"
)]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pipeline::Sink;
use proptest::prelude::*;
use recorder::{
    Budget, DamageReason, Found, HostKey, Item, KeyRing, MachineRef, PointInfo, Recorder, Settings,
    Span, Store,
};
use select::{DropReason, Guard, Ownership};
use wire::{LinkType, Packet, PointId, Timestamp};

const MIB: u64 = 1 << 20;
const LAST: Timestamp = Timestamp::from_nanos(u64::MAX);

/// A directory with a key.
struct Bench {
    folder: tempfile::TempDir,
    keys: KeyRing,
    budget: Budget,
}

impl Bench {
    fn new() -> Self {
        let keys = KeyRing::of(HostKey::generate().unwrap());
        let budget = Budget { bytes: 64 * MIB, age: None };
        Self { folder: tempfile::tempdir().unwrap(), keys, budget }
    }

    fn recorder(&self, now: Timestamp) -> Recorder {
        let settings = Settings {
            directory: self.folder.path().to_owned(),
            keys: self.keys.clone(),
            budget: self.budget,
            min_free_bytes: 0,
        };
        Recorder::open(&settings, now).unwrap()
    }

    fn store(&self) -> Store {
        Store::open(self.folder.path(), self.keys.clone()).unwrap()
    }

    fn files(&self, ending: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> =
            entries.filter(|path| path.to_str().unwrap().ends_with(ending)).collect();
        files.sort();
        files
    }

    fn used(&self) -> u64 {
        self.files("").iter().map(|path| path.metadata().unwrap().len()).sum()
    }
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_nanos(1_700_000_000_000_000_000 + ms * 1_000_000)
}

fn named(machine: &str) -> MachineRef {
    MachineRef { id: format!("uuid:{machine}"), name: machine.into(), tenant: None }
}

fn point(machine: &str) -> PointInfo {
    PointInfo {
        machine: named(machine),
        label: format!("{machine}/net0 @ hv-1:vnet3"),
        description: String::new(),
        mac: None,
        filter: String::new(),
        snaplen: 262_144,
        ownership: Ownership::Whole,
        since: Timestamp::ZERO,
    }
}

fn take(
    recorder: &mut Recorder,
    point: PointId,
    time: Timestamp,
    data: &[u8],
) -> Result<(), DropReason> {
    let mut packet = Packet { point, ..Packet::new(time, LinkType::ETHERNET, data, 2000) };
    let cleared = Guard::new(&Ownership::Whole).clear_whole(&mut packet).unwrap();
    recorder.take(&cleared)
}

/// Time in ms and bytes of all packets, and the damages, of a machine.
fn read(
    store: &Store,
    machine: &str,
    from: Timestamp,
    to: Timestamp,
) -> (Vec<(u64, Vec<u8>)>, Vec<String>) {
    let mut reading = store.read(&[named(machine)], from, to);
    let (mut packets, mut damages) = (Vec::new(), Vec::new());
    while let Some(item) = reading.next() {
        match item {
            Item::Packet(packet) => {
                assert_eq!(packet.wire_len, 2000);
                let ms = (packet.time.as_nanos() - at(0).as_nanos()) / 1_000_000;
                packets.push((ms, packet.data.to_vec()));
            }
            Item::Damage(damage) => damages.push(damage.to_string()),
        }
    }
    (packets, damages)
}

fn times(store: &Store, machine: &str) -> Vec<u64> {
    let (packets, damages) = read(store, machine, Timestamp::ZERO, LAST);
    assert_eq!(damages, [""; 0]);
    packets.into_iter().map(|(ms, _)| ms).collect()
}

/// Ten seconds of a packet of 1000 bytes each 10 ms.
fn record_some(bench: &Bench) -> Recorder {
    let mut recorder = bench.recorder(at(0));
    let web = recorder.add_point(point("web"), at(0));
    for ms in (0..10_000).step_by(10) {
        take(&mut recorder, web, at(ms), &[7; 1000]).unwrap();
        recorder.tick(at(ms), at(ms));
    }
    recorder
}

#[test]
fn what_was_seen_under_another_owner_is_that_owners_to_the_packet() {
    let bench = Bench::new();
    let mut recorder = bench.recorder(at(0));
    let acme = MachineRef { tenant: Some("acme".into()), ..named("web") };
    let bravo = MachineRef { tenant: Some("bravo".into()), ..named("web") };
    let label = point("web").label;
    let web = recorder.add_point(PointInfo { machine: acme.clone(), ..point("web") }, at(0));
    take(&mut recorder, web, at(10), &[1]).unwrap();
    recorder.count(0, 3);
    recorder.rename(0, bravo.clone(), label.clone(), at(20));
    // It had waited in a ring: it is older than the news.
    take(&mut recorder, web, at(19), &[2]).unwrap();
    take(&mut recorder, web, at(20), &[3]).unwrap();
    let late = take(&mut recorder, web, at(18), &[4]);
    assert_eq!(late, Err(DropReason::OtherTenant), "its owner cannot be told any more");
    take(&mut recorder, web, at(30), &[5]).unwrap();
    recorder.count(0, 7);
    recorder.note(0, at(31), "bravo's own business");
    recorder.close(at(40));

    let store = bench.store();
    let of = |owner: &MachineRef| -> Vec<u8> {
        let mut reading = store.read(std::slice::from_ref(owner), Timestamp::ZERO, LAST);
        let mut bytes = Vec::new();
        while let Some(Item::Packet(packet)) = reading.next() {
            bytes.extend_from_slice(packet.data);
        }
        bytes
    };
    assert_eq!((of(&acme), of(&bravo)), (vec![1, 2], vec![3, 5]));
    assert_eq!(store.others(std::slice::from_ref(&acme)), std::slice::from_ref(&bravo));
    let spans = |owner: &MachineRef| store.spans(std::slice::from_ref(owner));
    assert_eq!(spans(&acme), [Span { from: at(0), to: at(20) }]);
    assert_eq!(spans(&bravo), [Span { from: at(20), to: at(40) }]);
    assert_eq!(store.notes(std::slice::from_ref(&acme), at(0), at(99)), []);
    assert_eq!(store.lost(&bravo, &label, at(0), at(99)).kernel_dropped, 4);
    // Both are the same machine to whoever keeps the recorder.
    assert_eq!(store.machines().len(), 1);
    assert_eq!(store.machines()[0].packets, 4);
}

#[test]
fn a_new_name_holds_in_the_next_segments_and_without_a_packet() {
    let bench = Bench { budget: Budget { bytes: 8 * MIB, age: None }, ..Bench::new() };
    let mut recorder = bench.recorder(at(0));
    let web = recorder.add_point(point("web"), at(0));
    take(&mut recorder, web, at(1), &[1]).unwrap();
    let renamed = MachineRef { name: "www".into(), ..named("web") };
    recorder.rename(0, renamed.clone(), "www/net0".into(), at(5));
    recorder.tick(at(2000), at(1500));
    for ms in 2000..4400 {
        take(&mut recorder, web, at(ms), &[7; 2000]).unwrap();
    }
    recorder.close(at(5000));
    let store = bench.store();
    assert!(store.segments() > 1);
    let of = |owner: &MachineRef| {
        let mut reading = store.read(std::slice::from_ref(owner), Timestamp::ZERO, LAST);
        std::iter::from_fn(|| reading.next().map(|_| ())).count()
    };
    assert_eq!((of(&named("web")), of(&renamed)), (1, 2400));
    assert!(matches!(store.find("www"), Found::One(machine) if machine.id == "uuid:web"));
}

#[test]
fn each_machine_has_its_packets_in_the_order_of_time() {
    let bench = Bench::new();
    let mut recorder = bench.recorder(at(0));
    let web = recorder.add_point(point("web"), at(0));
    let db = recorder.add_point(point("db"), at(0));
    let second = PointInfo { label: "web/net1 @ hv-1:vnet4".into(), ..point("web") };
    let web_1 = recorder.add_point(second, at(0));
    for (point, ms) in [(web, 5), (db, 6), (web_1, 4), (web, 3), (web_1, 9), (web, 8)] {
        take(&mut recorder, point, at(ms), b"frame").unwrap();
    }
    recorder.close(at(10));
    let store = bench.store();
    assert_eq!(times(&store, "web"), [3, 4, 5, 8, 9]);
    assert_eq!(times(&store, "db"), [6]);
    assert_eq!(times(&store, "other"), [0; 0]);
    let (some, _) = read(&store, "web", at(4), at(8));
    assert_eq!(some.len(), 2, "from the first moment, and before the last");
    let names: Vec<String> = store.machines().into_iter().map(|m| m.machine.name).collect();
    assert_eq!(names, ["db", "web"]);
    assert!(matches!(store.find("web"), Found::One(machine) if machine.id == "uuid:web"));
    assert_eq!(store.find("we"), Found::Nothing);
}

#[test]
fn what_was_flushed_is_there_after_a_kill() {
    let bench = Bench::new();
    let recorder = record_some(&bench);
    // Nothing is closed, nothing is said, as if it were killed.
    std::mem::forget(recorder);
    let found = times(&bench.store(), "web");
    assert_eq!(found, (0..=9000).step_by(10).collect::<Vec<_>>(), "all but the last second");
    assert_eq!(bench.store().settled(&[named("web")]), Some(at(9000)));
}

#[test]
fn what_is_not_in_the_index_is_found_in_the_chunks() {
    let bench = Bench::new();
    record_some(&bench).close(at(10_000));
    let all = times(&bench.store(), "web");
    assert_eq!(all.len(), 1000);
    let index = &bench.files(".idx")[0];
    let bytes = fs::read(index).unwrap();
    for len in [0, 1, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
        fs::write(index, &bytes[..len]).unwrap();
        assert_eq!(times(&bench.store(), "web"), all, "cut to {len}");
    }
    for at in (0..bytes.len()).step_by(97) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(index, &changed).unwrap();
        assert_eq!(times(&bench.store(), "web"), all, "byte {at}");
    }
    fs::remove_file(index).unwrap();
    assert_eq!(times(&bench.store(), "web"), all, "without an index");
    // The next recorder makes it anew.
    bench.recorder(at(20_000)).close(at(20_001));
    assert!(index.metadata().unwrap().len() > 100);
    assert_eq!(times(&bench.store(), "web"), all);
}

#[test]
fn a_changed_chunk_is_named_and_the_others_are_read() {
    let bench = Bench::new();
    record_some(&bench).close(at(10_000));
    let segment = &bench.files(".seg")[0];
    let file = fs::OpenOptions::new().read(true).write(true).open(segment).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 150_000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 150_000).unwrap();
    let (packets, damages) = read(&bench.store(), "web", Timestamp::ZERO, LAST);
    assert_eq!((packets.len(), damages.len()), (900, 1), "a second of 100 packets");
    assert!(damages[0].contains("was changed"), "{}", damages[0]);
    assert!(damages[0].ends_with("; 100 packets cannot be read"), "{}", damages[0]);
}

#[test]
fn a_damaged_header_without_an_index_costs_one_chunk() {
    let bench = Bench::new();
    record_some(&bench).close(at(10_000));
    let (segment, index) = (&bench.files(".seg")[0], &bench.files(".idx")[0]);
    let bytes = fs::read(segment).unwrap();
    let magics: Vec<usize> =
        (0..bytes.len() - 8).filter(|at| &bytes[*at..at + 8] == b"OVTCHUNK").collect();
    let mut changed = bytes.clone();
    // A description, then packets and a sign of life each second.
    changed[magics[3] + 20] ^= 1;
    fs::write(segment, &changed).unwrap();
    fs::remove_file(index).unwrap();
    let store = bench.store();
    let (packets, _) = read(&store, "web", Timestamp::ZERO, LAST);
    assert_eq!(packets.len(), 900);
    let damages: Vec<_> = store.damages().map(|damage| damage.reason.clone()).collect();
    let bytes = (magics[4] - magics[3]) as u64;
    assert_eq!(damages, [DamageReason::NoChunk { bytes }]);
}

#[test]
fn swapped_chunks_and_segments_are_refused() {
    let bench = Bench::new();
    record_some(&bench).close(at(10_000));
    record_some(&bench).close(at(10_000));
    let segments = bench.files(".seg");
    let bytes: Vec<Vec<u8>> = segments.iter().map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(bytes[0].len(), bytes[1].len());
    // The same chunk of the other recording, in the same place.
    let swapped = [&bytes[0][..200_000], &bytes[1][200_000..]].concat();
    fs::write(&segments[0], swapped).unwrap();
    let (packets, damages) = read(&bench.store(), "web", Timestamp::ZERO, LAST);
    assert!(packets.len() < 1300 && damages.len() > 5, "{} {}", packets.len(), damages.len());
}

#[test]
fn another_key_reads_nothing_and_is_told_why() {
    let mut bench = Bench::new();
    record_some(&bench).close(at(10_000));
    let id = bench.keys.first().unwrap().id();
    bench.keys = KeyRing::of(HostKey::generate().unwrap());
    let store = bench.store();
    assert!(store.machines().is_empty());
    let damages: Vec<_> = store.damages().map(|damage| damage.reason.clone()).collect();
    assert_eq!(damages, [DamageReason::UnknownKey(id)]);
}

#[test]
fn nothing_in_the_files_tells_whose_packets_they_are() {
    let bench = Bench::new();
    let mut recorder = bench.recorder(at(0));
    let point = recorder.add_point(point("web-of-acme"), at(0));
    take(&mut recorder, point, at(1), b"a secret of acme").unwrap();
    recorder.note(0, at(2), "a word on acme");
    recorder.close(at(10));
    for path in bench.files("") {
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(4).any(|window| window == b"acme"), "{}", path.display());
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&path.metadata().unwrap()) & 0o777, 0o600);
    }
}

#[test]
fn after_a_change_of_the_key_the_old_one_opens_nothing() {
    let mut bench = Bench::new();
    record_some(&bench).close(at(10_000));
    let mut live = bench.recorder(at(20_000));
    live.add_point(point("web"), at(20_000));
    live.tick(at(21_000), at(21_000));
    let old = bench.keys.clone();
    bench.keys.add_new().unwrap();
    let done = bench.store().rewrap();
    let old_id = old.first().unwrap().id();
    assert_eq!((done.changed, done.needed), (1, vec![old_id]), "one is being written");
    live.close(at(22_000));
    let done = bench.store().rewrap();
    assert_eq!((done.changed, done.needed.len()), (1, 0));
    assert_eq!(times(&bench.store(), "web").len(), 1000);
    bench.keys = old;
    assert!(bench.store().machines().is_empty());
}

#[test]
fn the_budget_holds_and_foreign_files_stay() {
    let mut bench = Bench::new();
    bench.budget.bytes = 8 * MIB;
    let foreign = [
        "notes.txt",
        "00000000000000000001-00000000-00000000.seg",
        "web.seg",
        "00000000000000000001-00000000-00000000.idx",
    ];
    for name in foreign {
        fs::write(bench.folder.path().join(name), b"mine").unwrap();
    }
    let mut recorder = bench.recorder(at(0));
    let web = recorder.add_point(point("web"), at(0));
    let mut most = 0;
    for number in 0..40_000 {
        take(&mut recorder, web, at(number), &[7; 1000]).unwrap();
        recorder.tick(at(number), at(number));
        if number % 500 == 0 {
            most = most.max(bench.used());
        }
    }
    let summary = recorder.close(at(40_000));
    assert!((7 * MIB..=8 * MIB).contains(&most), "{most} bytes at most");
    assert!(summary.removed > 20 && summary.unwritten == [0], "{summary:?}");
    let found = times(&bench.store(), "web");
    assert_eq!(found.last(), Some(&39_999));
    assert!(found.windows(2).all(|pair| pair[1] == pair[0] + 1), "the newest, without a hole");
    assert!(found.len() > 6000, "{}", found.len());
    for name in foreign {
        assert_eq!(fs::read(bench.folder.path().join(name)).unwrap(), b"mine");
    }
}

#[test]
fn what_is_too_old_goes() {
    let mut bench = Bench::new();
    bench.budget.age = Some(Duration::from_secs(160));
    record_some(&bench).close(at(10_000));
    // Whether a segment is old is asked of its file, which was written today.
    let now = Timestamp::ZERO.saturating_add(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap(),
    );
    let mut recorder = bench.recorder(now);
    assert_eq!(times(&bench.store(), "web").len(), 1000);
    let late = now.saturating_add(Duration::from_secs(200));
    recorder.tick(late, late);
    assert_eq!(bench.store().machines(), []);
}

#[test]
fn gaps_between_recordings_have_their_times() {
    let bench = Bench::new();
    for start in [0, 20_000, 40_000] {
        let mut recorder = bench.recorder(at(start));
        let web = recorder.add_point(point("web"), at(start));
        take(&mut recorder, web, at(start + 1), b"x").unwrap();
        recorder.tick(at(start + 5000), at(start + 5000));
        take(&mut recorder, web, at(start + 6000), b"x").unwrap();
        match start {
            // Killed: what came after the last flush is not covered.
            20_000 => std::mem::forget(recorder),
            _ => drop(recorder.close(at(start + 10_000))),
        }
    }
    let store = bench.store();
    assert_eq!(times(&store, "web"), [1, 6000, 20_001, 40_001, 46_000]);
    let web = [named("web")];
    let gaps: Vec<_> = store.gaps(&web, at(0), at(60_000)).iter().map(|g| (g.from, g.to)).collect();
    let expected = [(at(10_000), at(20_000)), (at(25_000), at(40_000)), (at(50_000), at(60_000))];
    assert_eq!(gaps, expected);
    assert_eq!(store.machines()[0].spans.len(), 3);
}

#[test]
fn a_machine_that_left_is_not_covered_any_more() {
    let bench = Bench::new();
    let mut recorder = bench.recorder(at(0));
    let web = recorder.add_point(point("web"), at(0));
    let db = recorder.add_point(point("db"), at(1000));
    take(&mut recorder, web, at(1500), b"x").unwrap();
    recorder.end_point(web.0 as usize, at(2000));
    take(&mut recorder, db, at(2500), b"x").unwrap();
    recorder.close(at(5000));
    let store = bench.store();
    let spans = |name: &str| {
        let spans = store.spans(&[named(name)]);
        spans.iter().map(|span| (span.from, span.to)).collect::<Vec<_>>()
    };
    assert_eq!(spans("web"), [(at(0), at(2000))]);
    assert_eq!(spans("db"), [(at(1000), at(5000))]);
    assert_eq!(times(&store, "web"), [1500]);
}

#[test]
fn a_note_is_shown_with_its_machine_only() {
    let bench = Bench::new();
    let mut recorder = bench.recorder(at(0));
    recorder.add_point(point("web"), at(0));
    recorder.add_point(point("db"), at(0));
    recorder.note(1, at(5), "db was renamed");
    recorder.close(at(10));
    let notes = |name: &str| bench.store().notes(&[named(name)], at(0), at(9));
    assert_eq!(notes("db"), [(at(5), "db was renamed".to_owned())]);
    assert_eq!(notes("web"), []);
}

#[test]
fn losses_are_told_with_their_time() {
    let bench = Bench::new();
    let mut recorder = bench.recorder(at(0));
    recorder.add_point(point("web"), at(0));
    recorder.count(0, 5);
    recorder.tick(at(1000), at(1000));
    recorder.count(0, 7);
    recorder.tick(at(2000), at(2000));
    recorder.close(at(3000));
    let store = bench.store();
    let label = "web/net0 @ hv-1:vnet3";
    let lost = |from, to| store.lost(&named("web"), label, at(from), at(to)).kernel_dropped;
    assert_eq!((lost(0, 5000), lost(1500, 5000), lost(2500, 5000)), (7, 2, 0));
    assert_eq!(store.machines()[0].lost.kernel_dropped, 7);
}

#[test]
fn a_reader_that_follows_has_every_packet_once() {
    let bench = Bench::new();
    let mut recorder = bench.recorder(at(0));
    let web = recorder.add_point(point("web"), at(0));
    let mut store = bench.store();
    let web_id = [named("web")];
    let (mut found, mut from) = (Vec::new(), at(0));
    for ms in 0..20_000 {
        take(&mut recorder, web, at(ms), &[1; 500]).unwrap();
        recorder.tick(at(ms), at(ms.saturating_sub(300)));
        if ms % 777 == 0 {
            store.refresh().unwrap();
            let to = store.settled(&web_id).unwrap().max(from);
            found.extend(read(&store, "web", from, to).0);
            from = to;
        }
    }
    recorder.close(at(20_000));
    store.refresh().unwrap();
    assert_eq!(store.settled(&web_id), Some(at(20_000)));
    found.extend(read(&store, "web", from, LAST).0);
    let found: Vec<u64> = found.into_iter().map(|(ms, _)| ms).collect();
    assert_eq!(found, (0..20_000).collect::<Vec<_>>());
}

#[test]
fn a_segment_that_is_removed_while_it_is_read_is_named() {
    let bench = Bench::new();
    record_some(&bench).close(at(10_000));
    let store = bench.store();
    let mut reading = store.read(&[named("web")], Timestamp::ZERO, LAST);
    fs::remove_file(&bench.files(".seg")[0]).unwrap();
    let Some(Item::Damage(damage)) = reading.next() else { panic!("nothing is said") };
    assert_eq!(damage.reason, DamageReason::Removed);
}

#[test]
fn quiet_points_cost_little_memory() {
    let bench = Bench::new();
    let mut recorder = bench.recorder(at(0));
    let points: Vec<_> =
        (0..1000).map(|n| recorder.add_point(point(&format!("vm-{n}")), at(0))).collect();
    for ms in (0..5000).step_by(100) {
        for point in &points {
            take(&mut recorder, *point, at(ms), &[0; 60]).unwrap();
        }
        recorder.tick(at(ms), at(ms));
        assert!(recorder.waiting() < 1000 * 11 * 84, "{}", recorder.waiting());
    }
    recorder.close(at(5000));
    assert_eq!(times(&bench.store(), "vm-999").len(), 50);
}

#[test]
fn too_small_a_budget_is_refused() {
    let bench = Bench::new();
    let settings = Settings {
        directory: bench.folder.path().to_owned(),
        keys: bench.keys.clone(),
        budget: Budget { bytes: MIB, age: None },
        min_free_bytes: 0,
    };
    let error = Recorder::open(&settings, at(0)).unwrap_err().to_string();
    assert!(error.contains("give --size at least"), "{error}");
    let nowhere = Settings { directory: Path::new("/no/such/place").into(), ..settings };
    let nowhere = Settings { budget: Budget { bytes: 64 * MIB, age: None }, ..nowhere };
    assert!(Recorder::open(&nowhere, at(0)).unwrap_err().to_string().contains("/no/such/place"));
}

#[test]
fn where_the_reserve_cannot_be_kept_packets_are_dropped_and_counted() {
    let bench = Bench::new();
    let settings = Settings {
        directory: bench.folder.path().to_owned(),
        keys: bench.keys.clone(),
        budget: bench.budget,
        min_free_bytes: u64::MAX,
    };
    let mut recorder = Recorder::open(&settings, at(0)).unwrap();
    let web = recorder.add_point(point("web"), at(0));
    assert_eq!(take(&mut recorder, web, at(1), b"x"), Err(DropReason::SinkFailed));
    assert!(recorder.problem().unwrap().contains("must stay free"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Any packets of three machines at any times, flushed and restarted anywhere.
    #[test]
    fn every_packet_comes_back_once_and_in_order(
        steps in prop::collection::vec((0..3_u32, 0..5000_u64, 0..3000_usize, 0..20_u8), 1..300)
    ) {
        let bench = Bench::new();
        let begin = |now| {
            let mut recorder = bench.recorder(now);
            for name in ["a", "b", "c"] {
                recorder.add_point(point(name), now);
            }
            recorder
        };
        let mut recorder = begin(at(0));
        let mut expected = vec![Vec::new(); 3];
        let mut now = 0;
        for (number, (machine, ms, len, act)) in steps.into_iter().enumerate() {
            let data = vec![u8::try_from(number % 251).unwrap(); len];
            take(&mut recorder, PointId(machine), at(ms), &data).unwrap();
            expected[machine as usize].push((ms, data));
            now += 400;
            match act {
                0 => {
                    recorder.close(at(now));
                    recorder = begin(at(now));
                }
                1..5 => recorder.tick(at(now), at(now)),
                _ => {}
            }
        }
        recorder.close(at(now));
        let store = bench.store();
        for (machine, expected) in ["a", "b", "c"].iter().zip(&mut expected) {
            let (found, damages) = read(&store, machine, Timestamp::ZERO, LAST);
            prop_assert_eq!(damages, [""; 0]);
            prop_assert!(found.is_sorted_by_key(|(ms, _)| *ms));
            let mut found = found;
            found.sort();
            expected.sort();
            prop_assert_eq!(&found, expected);
        }
    }
}
