//! The file sink on real files, pipes and full disks; Wireshark's and tcpdump's opinion of them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail this way"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use deliver::{
    Destination, End, Existing, FileSettings, FileSink, Interval, Outcome, PointCounters, Ring,
    SinkError, Summary, WhenSlow,
};
use proptest::prelude::*;
use rustix::fs::{CWD, Mode, mkfifoat};
use wire::file::{
    InterfaceHeader, Item, NamedAddress, PacketOptions, Progress, Reader, SectionHeader,
};
use wire::{Checksum, Direction, LinkType, Mac, Packet, PointId, Timestamp};

#[test]
fn a_file_is_whole_in_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.pcapng");
    let summary = write_a_bit_of_everything(&path);
    let seen = read(&path);
    assert!(seen.damage.is_empty());
    assert_eq!(
        seen.kinds.join(" "),
        "section interface interface names packet packet packet interface names packet statistics \
         statistics statistics"
    );
    assert_eq!(seen.points, [0, 1, 0, 2]);
    assert_eq!(seen.comments, ["the VM moved to hv-2", "the filter changed"]);
    assert_eq!(seen.lost_before, [0, 0, 5, 0]);
    // Counters of the file: accepted, dropped by the kernel, delivered.
    assert_eq!(seen.counters, [(Some(12), Some(7), 2), (None, Some(0), 1), (None, Some(0), 1)]);
    let told = &seen.statistics_comments;
    assert_eq!(
        told[0],
        "this file: 2 packets, 7 lost by the kernel, 1 lost by the interface; capture so far: 2 \
         packets, 7 lost by the kernel, 1 lost by the interface"
    );
    assert_eq!(told[1], "nothing more came");
    assert_eq!(summary.totals.packets, 4);
    assert_eq!(summary.totals.payload_bytes, 4 * 100);
    assert_eq!(summary.totals.file_bytes, len_of(&path));
    assert_eq!((summary.files.len(), summary.files_made, summary.files_deleted), (1, 1, 0));
    assert_eq!(summary.files[0].path, path);
    assert!(summary.failure.is_none() && summary.ended.is_none());
}

#[test]
fn wireshark_and_tcpdump_read_what_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.pcapng");
    write_a_bit_of_everything(&path);
    let file = path.to_str().unwrap();
    if let Some(text) = output("capinfos", &["-M", file]) {
        for line in [
            "Number of packets:   4",
            "Capture hardware:    a test",
            "Capture application: overtap",
            "Name = web-01/eth0 @ hv-1:vnet3",
            "Description = inbound is to the VM",
            "Filter string = tcp port 443",
            "Time resolution = 0x09",
            "Encapsulation = Ethernet",
            "Number of stat entries = 1",
            "Number of packets = 2",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
    let fields = [
        "frame.number",
        "frame.interface_name",
        "frame.packet_flags_direction",
        "frame.drop_count",
        "frame.comment",
        "frame.packet_id",
        "frame.time_epoch",
        "frame.len",
    ];
    let mut arguments = vec!["-r", file, "-T", "fields", "-E", "separator=;"];
    for field in fields {
        arguments.extend(["-e", field]);
    }
    if let Some(text) = output("tshark", &arguments) {
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "1;web-01/eth0 @ hv-1:vnet3;0x00000001;;;77;1700000000.000001000;1500",
                "2;web-01/eth0 @ hv-2:vnet9;0x00000002;;the VM moved to hv-2;;\
                 1700000000.000002000;100",
                "3;web-01/eth0 @ hv-1:vnet3;;5;the filter changed;;1700000000.000003000;100",
                "4;web-01/eth0 @ hv-3:vnet1;;;;;1700000000.000004000;100",
            ]
        );
    }
    let names = ["-r", file, "-N", "n", "-T", "fields", "-e", "ip.src_host", "-e", "ip.dst_host"];
    if let Some(text) = output("tshark", &names) {
        // A name is known from its block on: the second was added before the last packet.
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            (lines[0], lines[3]),
            ("web-01.example\t10.0.7.13", "web-01.example\tweb-02.example")
        );
    }
    if let Some(text) = output("tcpdump", &["-n", "-r", file]) {
        assert_eq!(text.lines().count(), 4, "{text}");
    }
}

#[test]
fn a_file_that_is_there_stays_unless_told_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("old.pcapng");
    fs::write(&path, "precious").unwrap();
    let error = FileSink::open(to_file(&path), at(0)).unwrap_err();
    assert!(matches!(error, SinkError::Exists { .. }));
    let told = "old.pcapng exists; add --force to write over it, or choose another name";
    assert!(error.to_string().ends_with(told), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    let destination = Destination::File { path: path.clone(), existing: Existing::Replace };
    let sink = FileSink::open(settings(destination), at(0)).unwrap();
    sink.finish(at(1));
    assert_eq!(read(&path).kinds, EMPTY_FILE);
}

#[test]
fn what_cannot_be_opened_is_named() {
    let missing = Path::new("/no such directory/web.pcapng");
    let error = FileSink::open(to_file(missing), at(0)).unwrap_err();
    assert!(error.to_string().starts_with("there is no directory /no such directory;"), "{error}");
    let directory = tempfile::tempdir().unwrap();
    for path in [Path::new("/"), directory.path()] {
        let error = FileSink::open(to_file(path), at(0)).unwrap_err();
        assert!(matches!(error, SinkError::NoFile { .. }), "{error}");
    }
    let mut none = to_file(&directory.path().join("x"));
    none.interfaces.clear();
    assert!(matches!(FileSink::open(none, at(0)).unwrap_err(), SinkError::NoInterface));
    let mut mixed = to_file(&directory.path().join("x"));
    mixed.interfaces[1].link = LinkType::LINUX_SLL;
    let error = FileSink::open(mixed, at(0)).unwrap_err();
    assert!(matches!(error, SinkError::LinkTypesDiffer { .. }), "{error}");
    assert_eq!(ring_files(directory.path()).len(), 0);
}

#[test]
fn the_header_is_there_at_once_and_packets_after_a_flush() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.pcapng");
    let mut sink = FileSink::open(to_file(&path), at(0)).unwrap();
    assert_eq!(read(&path).kinds, ["section", "interface", "interface"]);
    assert_eq!(sink.write(at(1), &packet(1, 0, &[1; 60])).unwrap(), Outcome::Written);
    assert_eq!(read(&path).points.len(), 0);
    sink.flush().unwrap();
    assert_eq!(read(&path).points, [0]);
}

#[test]
fn no_ring_file_is_larger_than_asked_and_none_much_smaller() {
    let directory = tempfile::tempdir().unwrap();
    let max_bytes = 20_000;
    let ring = Ring { max_bytes: Some(max_bytes), ..Ring::default() };
    let mut sink = FileSink::open(to_ring(directory.path(), ring), at(0)).unwrap();
    for number in 0..200 {
        let packet = packet(number, (number % 2) as u32, &[7; 500]);
        assert_eq!(sink.write(at(number), &packet).unwrap(), Outcome::Written);
    }
    let summary = sink.finish(at(1000));
    let files = ring_files(directory.path());
    assert_eq!(files.len() as u64, summary.files_made);
    let mut points = 0;
    for (index, file) in files.iter().enumerate() {
        let len = len_of(file);
        assert!(len <= max_bytes, "{len}");
        // What is kept free is known: the rest of two statistics blocks, comments, a packet.
        assert!(len + KEPT_FREE + 532 > max_bytes || index + 1 == files.len(), "{len}");
        let seen = read(file);
        assert!(seen.damage.is_empty());
        assert_eq!(seen.kinds[..3], ["section", "interface", "interface"]);
        assert_eq!(seen.kinds[seen.kinds.len() - 2..], ["statistics", "statistics"]);
        let delivered: u64 = seen.counters.iter().map(|(.., delivered)| delivered).sum();
        assert_eq!(delivered, seen.points.len() as u64);
        assert_eq!(summary.files[index].totals.packets, seen.points.len() as u64);
        assert_eq!(summary.files[index].totals.file_bytes, len);
        points += seen.points.len();
    }
    assert_eq!(points, 200);
}

#[test]
fn a_ring_too_small_for_a_frame_is_refused_and_too_large_a_packet_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let ring = Ring { max_bytes: Some(1000), ..Ring::default() };
    let error = FileSink::open(to_ring(directory.path(), ring), at(0)).unwrap_err();
    assert!(matches!(error, SinkError::LimitTooSmall { max_bytes: 1000, .. }));
    assert_eq!(ring_files(directory.path()).len(), 0);
    let ring = Ring { max_bytes: Some(14_000), ..Ring::default() };
    let mut sink = FileSink::open(to_ring(directory.path(), ring), at(0)).unwrap();
    assert_eq!(sink.write(at(0), &packet(0, 0, &[1; 60_000])).unwrap(), Outcome::TooLarge);
    assert_eq!(sink.write(at(0), &packet(1, 0, &[1; 60])).unwrap(), Outcome::Written);
    let foreign = Packet { point: PointId(9), ..packet(2, 0, &[1]) };
    assert_eq!(sink.write(at(0), &foreign).unwrap(), Outcome::Foreign);
    let foreign = Packet { link: LinkType::RAW, ..packet(2, 0, &[1]) };
    assert_eq!(sink.write(at(0), &foreign).unwrap(), Outcome::Foreign);
    let summary = sink.finish(at(1));
    assert_eq!((summary.totals.packets, summary.packets_refused), (1, 3));
    let files = ring_files(directory.path());
    assert_eq!(files.len(), 1);
    // The packet that was refused is a loss the next one tells of.
    assert_eq!(read(&files[0]).lost_before, [1]);
}

#[test]
fn a_ring_keeps_its_newest_files_and_touches_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let foreign = directory.path().join("web_00003_20231114221320.pcapng");
    fs::write(&foreign, "foreign").unwrap();
    let other = directory.path().join("web_00000_20200101000000.pcapng");
    fs::write(&other, "other").unwrap();
    let ring = Ring { max_packets: Some(2), keep: NonZeroU32::new(3), ..Ring::default() };
    let mut sink = FileSink::open(to_ring(directory.path(), ring), at(0)).unwrap();
    let first = sink.current().path.clone();
    assert_eq!(first.file_name().unwrap(), "web_00001_20231114221320.pcapng");
    for number in 0..5 {
        assert_eq!(sink.write(at(number), &packet(number, 0, &[1])).unwrap(), Outcome::Written);
    }
    // Somebody put another file in place of the second one. The first moves aside, because its
    // inode would be given to the new file otherwise.
    let second = directory.path().join("web_00002_20231114221320.pcapng");
    fs::rename(&second, directory.path().join("zzz")).unwrap();
    fs::write(&second, "replaced").unwrap();
    for number in 5..11 {
        assert_eq!(sink.write(at(number), &packet(number, 0, &[1])).unwrap(), Outcome::Written);
    }
    let summary = sink.finish(at(20));
    assert_eq!((summary.totals.packets, summary.files_made, summary.files_deleted), (11, 6, 2));
    assert!(!first.exists());
    assert_eq!(fs::read(&foreign).unwrap(), b"foreign");
    assert_eq!(fs::read(&other).unwrap(), b"other");
    assert_eq!(fs::read(&second).unwrap(), b"replaced");
    let numbers: Vec<String> = ring_files(directory.path())
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().chars().skip(4).take(5).collect())
        .collect();
    // 3 is foreign, so the third of ours has number 4, and was deleted.
    assert_eq!(numbers, ["00000", "00002", "00003", "00005", "00006", "00007", ""]);
    let counts: Vec<u64> = summary.files.iter().map(|file| file.totals.packets).collect();
    assert_eq!(counts, [2, 2, 2, 2, 2, 1]);
}

#[test]
fn time_rotates_without_traffic() {
    let directory = tempfile::tempdir().unwrap();
    let interval = Some(Interval::Aligned(Duration::from_secs(10)));
    let ring = Ring { interval, ..Ring::default() };
    let start = Timestamp::from_parts(1_700_000_005, 0);
    let mut sink = FileSink::open(to_ring(directory.path(), ring), start).unwrap();
    let mut now = start;
    for _ in 0..300 {
        sink.tick(now).unwrap();
        now = now.saturating_add(Duration::from_millis(100));
    }
    let closed = sink.take_closed().unwrap();
    assert_eq!((closed.start, closed.end), (start, Timestamp::from_parts(1_700_000_010, 0)));
    let summary = sink.finish(now);
    assert_eq!((summary.files_made, summary.files.len()), (4, 3));
    let files = ring_files(directory.path());
    let times: Vec<&str> =
        files.iter().map(|path| &path.file_name().unwrap().to_str().unwrap()[10..24]).collect();
    assert_eq!(times, ["20231114221325", "20231114221330", "20231114221340", "20231114221350"]);
    for file in files {
        assert_eq!(read(&file).kinds, EMPTY_FILE);
    }
}

#[test]
fn counters_of_ring_files_add_up_to_those_of_the_capture() {
    let directory = tempfile::tempdir().unwrap();
    let ring = Ring { max_packets: Some(10), ..Ring::default() };
    let mut sink = FileSink::open(to_ring(directory.path(), ring), at(0)).unwrap();
    for number in 0..95 {
        let counters = PointCounters {
            received: Some(1000 + number * 5),
            filter_accepted: Some(number * 3),
            kernel_dropped: number * 2,
            interface_dropped: number,
        };
        sink.update_counters(PointId(0), counters);
        assert_eq!(sink.write(at(number), &packet(number, 0, &[1])).unwrap(), Outcome::Written);
    }
    sink.finish(at(100));
    let (mut accepted, mut dropped, mut delivered) = (0, 0, 0);
    let files = ring_files(directory.path());
    assert_eq!(files.len(), 10);
    for file in files {
        let seen = read(&file);
        accepted += seen.counters[0].0.unwrap();
        dropped += seen.counters[0].1.unwrap();
        delivered += seen.counters[0].2;
    }
    assert_eq!((accepted, dropped, delivered), (94 * 3, 94 * 2, 95));
}

#[test]
fn limits_are_exact() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("packets");
    let mut by_packets = to_file(&path);
    by_packets.limits.packets = Some(3);
    assert_eq!(fill(by_packets), (3, End::Packets));
    assert_eq!(read(&path).points.len(), 3);

    let path = directory.path().join("payload");
    let mut by_payload = to_file(&path);
    by_payload.limits.payload_bytes = Some(350);
    assert_eq!(fill(by_payload), (3, End::PayloadBytes));
    assert_eq!(read(&path).points.len(), 3);

    let path = directory.path().join("bytes");
    let mut by_bytes = to_file(&path);
    by_bytes.limits.file_bytes = Some(10_000);
    let (count, end) = fill(by_bytes);
    assert_eq!(end, End::FileBytes);
    assert_eq!(read(&path).points.len() as u64, count);
    let len = len_of(&path);
    assert!(len <= 10_000 && len + KEPT_FREE + 132 > 10_000, "{len}");

    let path = directory.path().join("free");
    let mut by_space = to_file(&path);
    by_space.min_free_bytes = Some(u64::MAX);
    assert_eq!(fill(by_space), (0, End::FreeSpace));
    assert_eq!(read(&path).kinds, EMPTY_FILE);
}

#[test]
fn a_snaplen_slices_and_the_true_length_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.pcapng");
    let mut sliced = to_file(&path);
    sliced.interfaces[0].snaplen = 10;
    let mut sink = FileSink::open(sliced, at(0)).unwrap();
    for point in [0, 1] {
        assert_eq!(sink.write(at(0), &packet(0, point, &[1; 60])).unwrap(), Outcome::Written);
    }
    assert_eq!(sink.finish(at(1)).totals.payload_bytes, 70);
    assert_eq!(read(&path).lengths, [(10, 60), (60, 60)]);
}

#[test]
fn many_comments_are_cut_with_a_word_about_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.pcapng");
    let mut sink = FileSink::open(to_file(&path), at(0)).unwrap();
    for number in 0..1000 {
        sink.add_comment(format!("comment {number}"));
    }
    sink.finish(at(1));
    // The counters of the first point, the comments, the word, the counters of the second point.
    let comments = read(&path).statistics_comments;
    assert_eq!(comments[1], "comment 0");
    let left_out = 1000 - (comments.len() - 3);
    let word = &comments[comments.len() - 2];
    assert_eq!(*word, format!("{left_out} more comments were left out"));
}

#[test]
fn a_reader_that_goes_away_is_a_normal_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = fifo(directory.path());
    let reader = {
        let path = path.clone();
        std::thread::spawn(move || {
            let mut file = fs::File::open(path).unwrap();
            let mut bytes = vec![0; 100];
            file.read_exact(&mut bytes).unwrap();
            bytes
        })
    };
    let mut sink = FileSink::open(to_file(&path), at(0)).unwrap();
    let begun = Instant::now();
    let mut number = 0;
    let end = loop {
        let outcome = sink.write(at(number), &packet(number, 0, &[1; 500])).unwrap();
        if let Outcome::Ended(end) = outcome {
            break end;
        }
        sink.flush().unwrap();
        number += 1;
        assert!(begun.elapsed() < Duration::from_secs(10));
    };
    assert_eq!(end, End::ReaderGone);
    assert_eq!(reader.join().unwrap()[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
    let summary = sink.finish(at(1));
    assert_eq!(summary.ended, Some(End::ReaderGone));
    assert!(summary.failure.is_none());
}

#[test]
fn a_reader_that_does_not_read_costs_counted_packets_and_no_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = fifo(directory.path());
    let idle = {
        let path = path.clone();
        std::thread::spawn(move || fs::File::open(path).unwrap())
    };
    let settings = to_file(&path);
    let stop = settings.stop.clone();
    let mut sink = FileSink::open(settings, at(0)).unwrap();
    let mut held = idle.join().unwrap();
    let begun = Instant::now();
    let (mut written, mut busy) = (0, 0);
    for number in 0..20_000 {
        match sink.write(at(number), &packet(number, 0, &[1; 500])).unwrap() {
            Outcome::Written => written += 1,
            Outcome::Busy => busy += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // The pipe holds a megabyte at most, the buffer four.
    assert!(busy > 9000 && written < 11_000, "{written} written, {busy} not");
    // It reads again: the next packet is taken and tells of those that were not.
    let mut bytes = vec![0; 60_000];
    held.read_exact(&mut bytes).unwrap();
    sink.flush().unwrap();
    let outcome = sink.write(at(30_000), &packet(30_000, 0, &[2; 500])).unwrap();
    assert_eq!(outcome, Outcome::Written);
    let rest = std::thread::spawn(move || {
        held.read_to_end(&mut bytes).unwrap();
        bytes
    });
    stop.store(true, Ordering::Relaxed);
    let summary = sink.finish(at(30_001));
    assert_eq!((summary.totals.packets, summary.packets_refused), (written + 1, busy));
    let bytes = rest.join().unwrap();
    assert_eq!(summary.totals.file_bytes, bytes.len() as u64);
    let seen = read_bytes(&bytes);
    assert!(seen.damage.is_empty());
    assert_eq!(seen.points.len() as u64, written + 1);
    assert_eq!(seen.lost_before.last(), Some(&busy));
}

#[test]
fn packets_beyond_the_room_there_is_are_counted_until_there_is_more() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.pcapng");
    let mut asked = to_file(&path);
    asked.room_bytes = Some(64 << 10);
    let mut sink = FileSink::open(asked, at(0)).unwrap();
    let mut take = |sink: &mut FileSink, count: u64| {
        let taken = (0..count).map(|i| sink.write(at(i), &packet(i, 0, &[7; 100])).unwrap());
        taken.filter(|outcome| *outcome == Outcome::Written).count() as u64
    };
    let first = take(&mut sink, 1000);
    assert!(100 < first && first < 500, "{first}");
    assert_eq!(sink.packets_refused(), 1000 - first);
    assert!(sink.ended().is_none());
    sink.set_room(128 << 10);
    let second = take(&mut sink, 1);
    assert_eq!(second, 1);
    let summary = sink.finish(at(1000));
    assert!(summary.totals.file_bytes <= 128 << 10);
    let seen = read(&path);
    assert_eq!(seen.lost_before.last(), Some(&(1000 - first)), "the file says it, too");
}

#[test]
fn nobody_waits_for_ever_for_a_reader_that_stopped_reading() {
    let directory = tempfile::tempdir().unwrap();
    let path = fifo(directory.path());
    let idle = {
        let path = path.clone();
        std::thread::spawn(move || fs::File::open(path).unwrap())
    };
    let mut settings = to_file(&path);
    settings.when_slow = WhenSlow::Wait;
    let stop = settings.stop.clone();
    let mut sink = FileSink::open(settings, at(0)).unwrap();
    let _held = idle.join().unwrap();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
    });
    let begun = Instant::now();
    let mut written = 0;
    let end = loop {
        match sink.write(at(0), &packet(0, 0, &[1; 1000])).unwrap() {
            Outcome::Written => written += 1,
            Outcome::Ended(end) => break end,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(end, End::Stalled);
    let summary = sink.finish(at(1));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(summary.totals.packets + summary.packets_unwritten, written);
    assert!(summary.packets_unwritten > 0);
}

#[test]
fn a_pipe_nobody_reads_is_given_up_when_told_to_stop() {
    let directory = tempfile::tempdir().unwrap();
    let settings = to_file(&fifo(directory.path()));
    settings.stop.store(true, Ordering::Relaxed);
    let error = FileSink::open(settings, at(0)).unwrap_err();
    assert!(matches!(error, SinkError::NoReader { .. }), "{error}");
}

#[test]
fn a_full_device_is_an_error_with_numbers() {
    let error = FileSink::open(to_file(Path::new("/dev/full")), at(0)).unwrap_err();
    assert!(matches!(error, SinkError::NoSpace { packets_safe: 0, packets_lost: 0, .. }));
}

#[test]
fn a_full_disk_leaves_a_file_that_reads_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let (mount, out) = (directory.path().join("small"), directory.path().join("out.pcapng"));
    fs::create_dir(&mount).unwrap();
    // A file system of 300 kB, seen by the child only.
    let script = format!(
        "mount -t tmpfs -o size=300k none {mount} || exit 77; {program} {mount}/x.pcapng 10000; \
         cp {mount}/x.pcapng {out}",
        mount = mount.display(),
        program = example("numbered_packets").display(),
        out = out.display(),
    );
    let child = Command::new("unshare").args(["-m", "sh", "-c", &script]).output();
    let Some(child) = child.ok().filter(|child| child.status.success()) else {
        not_tested("a file system of our own cannot be mounted here");
        return;
    };
    let told = String::from_utf8(child.stderr).unwrap();
    let seen = read(&out);
    assert!(seen.damage.is_empty(), "{:?}", seen.damage);
    let count = seen.points.len();
    assert!(count > 200, "{count}");
    let first = told.lines().next().unwrap();
    assert!(first.starts_with("no space left for "), "{told}");
    assert!(first.contains(&format!("x.pcapng: {count} packets are safe in it, ")), "{told}");
    assert!(told.contains(&format!("written: {count} lost: ")), "{told}");
    // As many as were taken in vain: the flush came after every 50.
    let lost: usize = told.trim_end().rsplit(' ').next().unwrap().parse().unwrap();
    assert_eq!((count + lost) % 50, 0);
    // What was cut off the packets made room for the counters.
    assert_eq!(seen.kinds.last(), Some(&"statistics"));
    assert_eq!(seen.counters[0].2, count as u64);
}

#[test]
fn a_killed_process_leaves_a_file_up_to_the_last_flush() {
    for milliseconds in [5, 20, 50, 90] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("killed.pcapng");
        let mut child = Command::new(example("numbered_packets"))
            .args([path.to_str().unwrap(), "100000000"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while !path.exists() || len_of(&path) < 100_000 {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        let seen = read(&path);
        // One write may be cut; all before it is whole.
        assert!(seen.damage.len() <= 1, "{:?}", seen.damage);
        assert!(!seen.points.is_empty());
    }
}

#[test]
fn standard_output_is_a_pipe_or_a_file() {
    let mut piped = Command::new(example("numbered_packets"))
        .args(["-", "20000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut bytes = Vec::new();
    piped.stdout.take().unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(read_bytes(&bytes).points.len(), 20_000);
    assert!(piped.wait().unwrap().success());

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out");
    let status = Command::new(example("numbered_packets"))
        .args(["-", "3000"])
        .stdout(fs::File::create(&path).unwrap())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(read(&path).points.len(), 3000);

    // A reader that goes away, as `head` does.
    let mut cut = Command::new(example("numbered_packets"))
        .args(["-", "100000000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 4096];
    cut.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert!(cut.wait().unwrap().success());
    let mut told = String::new();
    cut.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(told.starts_with("ended: ReaderGone"), "{told}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_ring_holds_every_packet_taken(
        max_bytes in proptest::option::of(14_000..40_000_u64),
        max_packets in proptest::option::of(1..30_u64),
        every_ms in proptest::option::of(1..2000_u64),
        all_bytes in proptest::option::of(12_000..200_000_u64),
        steps in proptest::collection::vec((0..6_u8, 0..3000_usize, 0..500_u64), 0..150),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let interval = every_ms.map(|ms| Interval::SinceStart(Duration::from_millis(ms)));
        let ring = Ring { max_bytes, max_packets, interval, keep: None };
        let mut settings = to_ring(directory.path(), ring);
        settings.limits.file_bytes = all_bytes;
        let mut sink = FileSink::open(settings, at(0)).unwrap();
        let mut now = at(0);
        let mut written = Vec::new();
        let mut interfaces = 2;
        for (number, (step, len, pause)) in (0..).zip(steps) {
            now = now.saturating_add(Duration::from_millis(pause));
            match step {
                0 => sink.tick(now).unwrap(),
                1 => sink.flush().unwrap(),
                2 => sink.add_comment("x".repeat(len)),
                3 if interfaces < 4 => {
                    if sink.add_interface(now, InterfaceHeader::ethernet("later")).is_ok() {
                        interfaces += 1;
                    }
                }
                _ => {
                    let data = vec![step; len];
                    let point = u32::try_from(len % interfaces).unwrap();
                    match sink.write(now, &packet(number, point, &data)).unwrap() {
                        Outcome::Written => written.push(len),
                        Outcome::TooLarge => prop_assert!(len > 2000),
                        Outcome::Ended(End::FileBytes) => prop_assert!(all_bytes.is_some()),
                        other => prop_assert!(false, "{other:?}"),
                    }
                }
            }
        }
        let totals = sink.finish(now).totals;
        let mut found = Vec::new();
        let mut bytes = 0;
        for file in ring_files(directory.path()) {
            let seen = read(&file);
            prop_assert!(seen.damage.is_empty(), "{:?}", seen.damage);
            let len = len_of(&file);
            prop_assert!(max_bytes.is_none_or(|max| len <= max), "{len}");
            prop_assert!(max_packets.is_none_or(|max| seen.points.len() as u64 <= max));
            prop_assert_eq!(seen.kinds.last().copied(), Some("statistics"));
            found.extend(seen.lengths.iter().map(|(len, _)| *len));
            bytes += len;
        }
        prop_assert!(all_bytes.is_none_or(|max| bytes <= max), "{bytes}");
        prop_assert_eq!(totals.packets, written.len() as u64);
        prop_assert_eq!(totals.file_bytes, bytes);
        prop_assert_eq!(found, written);
    }
}

fn write_a_bit_of_everything(path: &Path) -> Summary {
    let mut settings = to_file(path);
    settings.section = SectionHeader {
        hardware: "a test".into(),
        application: "overtap".into(),
        ..SectionHeader::default()
    };
    settings.interfaces[0].description = "inbound is to the VM".into();
    settings.interfaces[0].filter = "tcp port 443".into();
    settings.interfaces[0].mac = Some(Mac([0x52, 0x54, 0, 0, 0, 1]));
    settings.names = vec![
        (NamedAddress::V4(Ipv4Addr::new(10, 0, 7, 12)), "web-01.example".into()),
        (NamedAddress::V6(Ipv6Addr::LOCALHOST), "db-01.example".into()),
        (NamedAddress::Mac(Mac([0x52, 0x54, 0, 0, 0, 1])), "web-01".into()),
    ];
    let mut sink = FileSink::open(settings, at(0)).unwrap();
    let mut first = packet(1, 0, &ETHERNET_IPV4);
    first.direction = Some(Direction::ToVm);
    first.wire_len = 1500;
    let options = PacketOptions { id: Some(77), ..PacketOptions::default() };
    assert_eq!(sink.write_with(at(1), &first, &options).unwrap(), Outcome::Written);
    sink.add_comment("the VM moved to hv-2");
    let mut second = packet(2, 1, &ETHERNET_IPV4);
    second.direction = Some(Direction::FromVm);
    second.checksum = Checksum::NotReady;
    assert_eq!(sink.write(at(2), &second).unwrap(), Outcome::Written);
    sink.add_comment("the filter changed");
    let mut third = packet(3, 0, &ETHERNET_IPV4);
    third.lost_before = 5;
    assert_eq!(sink.write(at(3), &third).unwrap(), Outcome::Written);
    let header = InterfaceHeader::ethernet("web-01/eth0 @ hv-3:vnet1");
    assert_eq!(sink.add_interface(at(4), header).unwrap(), PointId(2));
    let names = [(NamedAddress::V4(Ipv4Addr::new(10, 0, 7, 13)), "web-02.example".to_owned())];
    sink.add_names(at(4), &names).unwrap();
    assert_eq!(sink.write(at(4), &packet(4, 2, &ETHERNET_IPV4)).unwrap(), Outcome::Written);
    sink.update_counters(
        PointId(0),
        PointCounters {
            received: Some(20),
            filter_accepted: Some(12),
            kernel_dropped: 7,
            interface_dropped: 1,
        },
    );
    sink.add_comment("nothing more came");
    sink.finish(at(5))
}

/// From 10.0.7.12 to 10.0.7.13, UDP, 100 bytes.
const ETHERNET_IPV4: [u8; 100] = {
    let head = [
        0x52, 0x54, 0, 0, 0, 2, 0x52, 0x54, 0, 0, 0, 1, 0x08, 0x00, // Ethernet, IPv4 follows
        0x45, 0, 0, 86, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 7, 12, 10, 0, 7, 13, // UDP follows
        0x30, 0x39, 0x30, 0x3a, 0, 66, 0, 0, // port 12345 to 12346
    ];
    let mut frame = [0; 100];
    let mut at = 0;
    while at < head.len() {
        frame[at] = head[at];
        at += 1;
    }
    frame
};

/// The blocks of a file without packets and names.
const EMPTY_FILE: [&str; 5] = ["section", "interface", "interface", "statistics", "statistics"];
/// The most bytes a file with two interfaces may have left when no packet fits any more, beside
/// the packet.
const KEPT_FREE: u64 = 2 * 520 + 4096;

#[derive(Debug, Default)]
struct Seen {
    kinds: Vec<&'static str>,
    points: Vec<u32>,
    lengths: Vec<(usize, u32)>,
    lost_before: Vec<u64>,
    comments: Vec<String>,
    /// Accepted, dropped by the kernel, delivered.
    counters: Vec<(Option<u64>, Option<u64>, u64)>,
    statistics_comments: Vec<String>,
    damage: Vec<String>,
}

fn read(path: &Path) -> Seen {
    read_bytes(&fs::read(path).unwrap())
}

fn read_bytes(bytes: &[u8]) -> Seen {
    let mut seen = Seen::default();
    let mut reader = Reader::new();
    let mut rest = bytes;
    loop {
        match reader.advance() {
            Progress::NeedBytes => {
                let len = rest.read(reader.space()).unwrap();
                reader.filled(len);
                continue;
            }
            Progress::End => return seen,
            Progress::Item => {}
        }
        let kind = match reader.item() {
            Item::Section(_) => "section",
            Item::Interface(_) => "interface",
            Item::Names(_) => "names",
            Item::Other(_) => "other",
            Item::Record(record) => {
                seen.points.push(record.packet.point.0);
                seen.lengths.push((record.packet.data.len(), record.packet.wire_len));
                seen.lost_before.push(record.packet.lost_before);
                seen.comments.extend(record.options.comments().map(|text| text.to_string()));
                "packet"
            }
            Item::Statistics(statistics) => {
                let delivered = statistics.delivered().unwrap();
                let counters = (statistics.accepted(), statistics.os_dropped(), delivered);
                seen.counters.push(counters);
                let comments = statistics.options.comments().map(|text| text.to_string());
                seen.statistics_comments.extend(comments);
                "statistics"
            }
            Item::Damage(damage) => {
                seen.damage.push(damage.to_string());
                "damage"
            }
        };
        seen.kinds.push(kind);
    }
}

/// Microsecond `micros` of a capture that begins at 22:13:20 on 14 November 2023.
fn at(micros: u64) -> Timestamp {
    Timestamp::from_parts(1_700_000_000, 0).saturating_add(Duration::from_micros(micros))
}

fn packet(micros: u64, point: u32, data: &[u8]) -> Packet<'_> {
    let len = u32::try_from(data.len()).unwrap();
    Packet { point: PointId(point), ..Packet::new(at(micros), LinkType::ETHERNET, data, len) }
}

fn settings(destination: Destination) -> FileSettings {
    let interfaces = ["web-01/eth0 @ hv-1:vnet3", "web-01/eth0 @ hv-2:vnet9"];
    FileSettings::new(destination, interfaces.map(InterfaceHeader::ethernet).to_vec())
}

fn to_file(path: &Path) -> FileSettings {
    settings(Destination::File { path: path.to_owned(), existing: Existing::Refuse })
}

fn to_ring(directory: &Path, ring: Ring) -> FileSettings {
    settings(Destination::Ring { base: directory.join("web.pcapng"), ring })
}

/// Writes packets of 100 bytes until the sink is full; how many it took, and why no more.
fn fill(settings: FileSettings) -> (u64, End) {
    let mut sink = FileSink::open(settings, at(0)).unwrap();
    let mut count = 0;
    let end = loop {
        match sink.write(at(count), &packet(count, 0, &[1; 100])).unwrap() {
            Outcome::Written => count += 1,
            Outcome::Ended(end) => break end,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(sink.ended(), Some(end));
    let summary = sink.finish(at(count));
    assert_eq!(summary.totals.packets, count);
    (count, end)
}

fn len_of(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn ring_files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn fifo(directory: &Path) -> PathBuf {
    let path = directory.join("pipe");
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    path
}

/// Cargo builds examples beside tests.
fn example(name: &str) -> PathBuf {
    let path = std::env::current_exe().unwrap();
    let path = path.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is missing: run the tests of the whole crate", path.display());
    path
}

/// What a program says about a file, or `None` where it is not installed.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => {
            let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{program}: {complaint}");
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(error) => {
            not_tested(&format!("{program} cannot be run: {error}"));
            None
        }
    }
}

#[expect(clippy::explicit_write, reason = "`eprintln` is shown for failed tests only")]
fn not_tested(why: &str) {
    writeln!(std::io::stderr(), "NOT TESTED: {why}").unwrap();
}
