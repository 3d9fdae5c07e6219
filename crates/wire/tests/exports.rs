//! Flow exports, made by hand: what templates, lengths, numbers and bounds must do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail this way"
)]

use std::net::SocketAddr;
use std::time::Duration;

use wire::Timestamp;
use wire::export::{
    Collector, Column, Datagram, Event, Exporter, Fault, Limits, Protocol, RateOrigin,
    SavedExporter, Side, TemplateLimits, Unrestorable,
};

const NOW: Timestamp = Timestamp::from_parts(1_795_255_380, 0);

/// An IPFIX message of these sets.
fn ipfix(domain: u32, sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let body: Vec<u8> = sets.concat();
    let len = u16::try_from(16 + body.len()).unwrap();
    let mut message = vec![0, 10];
    message.extend(len.to_be_bytes());
    message.extend(1_795_255_380_u32.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend(domain.to_be_bytes());
    message.extend(body);
    message
}

/// A NetFlow version 9 message of these sets.
fn netflow9(domain: u32, sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let mut message = vec![0, 9, 0, 1];
    message.extend(100_000_u32.to_be_bytes()); // uptime
    message.extend(1_795_255_380_u32.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend(domain.to_be_bytes());
    message.extend(sets.concat());
    message
}

fn set(id: u16, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(4 + body.len()).unwrap();
    [&id.to_be_bytes()[..], &len.to_be_bytes(), body].concat()
}

/// A template of elements of IANA's registry.
fn template(id: u16, fields: &[(u16, u16)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(u16::try_from(fields.len()).unwrap().to_be_bytes());
    for (number, len) in fields {
        body.extend(number.to_be_bytes());
        body.extend(len.to_be_bytes());
    }
    body
}

/// What came out of a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    kind: &'static str,
    octets: Option<u64>,
    source_port: Option<u64>,
}

struct Bed {
    collector: Collector,
    seen: Vec<Seen>,
    time: Timestamp,
}

impl Bed {
    fn new(limits: Limits) -> Self {
        Self { collector: Collector::new(limits), seen: Vec::new(), time: NOW }
    }

    fn take(&mut self, port: u16, payload: &[u8]) -> bool {
        let source = SocketAddr::from(([192, 0, 2, 1], port));
        let datagram = Datagram { time: self.time, source, payload };
        let seen = &mut self.seen;
        self.collector.take(&datagram, |event| {
            let (kind, record) = match event {
                Event::Flow(_, record) => ("flow", Some(record)),
                Event::Options(_, record) => ("options", Some(record)),
                Event::Sample(..) => ("sample", None),
                Event::Counters(..) => ("counters", None),
                Event::Discard(..) => ("discard", None),
            };
            seen.push(Seen {
                kind,
                octets: record.and_then(|record| record.counts().octets),
                source_port: record.and_then(|record| record.get(Column::SourcePort)),
            });
        })
    }

    fn only(&self) -> &Exporter {
        assert_eq!(self.collector.exporters().len(), 1);
        &self.collector.exporters()[0]
    }
}

fn flow(octets: u64, source_port: u64) -> Seen {
    Seen { kind: "flow", octets: Some(octets), source_port: Some(source_port) }
}

const OCTETS_PORT: &[(u16, u16)] = &[(1, 4), (7, 2)];
const PORT_OCTETS: &[(u16, u16)] = &[(7, 2), (1, 4)];

#[test]
fn a_template_and_its_data_in_one_message_work_at_once() {
    let mut bed = Bed::new(Limits::default());
    let data = [0, 0, 0, 9, 0, 80, 0, 0, 1, 0, 1, 187];
    bed.take(1, &ipfix(0, 0, &[set(2, &template(256, OCTETS_PORT)), set(256, &data)]));
    assert_eq!(bed.seen, [flow(9, 80), flow(256, 443)]);
}

#[test]
fn another_layout_replaces_the_first_and_the_same_one_changes_nothing() {
    let mut bed = Bed::new(Limits::default());
    bed.take(1, &ipfix(0, 0, &[set(2, &template(256, OCTETS_PORT))]));
    bed.take(1, &ipfix(0, 0, &[set(2, &template(256, OCTETS_PORT))]));
    bed.take(1, &ipfix(0, 0, &[set(256, &[0, 0, 0, 9, 0, 80])]));
    bed.take(1, &ipfix(0, 1, &[set(2, &template(256, PORT_OCTETS))]));
    bed.take(1, &ipfix(0, 1, &[set(256, &[0, 80, 0, 0, 0, 7])]));
    assert_eq!(bed.seen, [flow(9, 80), flow(7, 80)]);
    let account = &bed.only().account;
    assert_eq!(account.templates_repeated, 1);
    assert_eq!(account.templates_replaced, 1);
}

#[test]
fn a_template_taken_back_is_gone() {
    let mut bed = Bed::new(Limits::default());
    bed.take(1, &ipfix(0, 0, &[set(2, &template(256, OCTETS_PORT))]));
    bed.take(1, &ipfix(0, 0, &[set(2, &template(256, &[]))]));
    bed.take(1, &ipfix(0, 0, &[set(256, &[0, 0, 0, 9, 0, 80])]));
    assert!(bed.seen.is_empty());
    assert_eq!(bed.only().account.withdrawals, 1);
    assert_eq!(bed.only().account.sets_without_template, 1);
    // All of them at once: the template has the number of its set (RFC 7011, section 8.1).
    bed.take(1, &ipfix(0, 0, &[set(2, &template(256, OCTETS_PORT))]));
    bed.take(1, &ipfix(0, 0, &[set(2, &template(257, OCTETS_PORT)), set(2, &template(2, &[]))]));
    assert_eq!(bed.only().account.withdrawals, 3);
    assert_eq!(bed.only().templates().count(), 0);
}

#[test]
fn ports_and_domains_of_one_address_have_templates_of_their_own() {
    let mut bed = Bed::new(Limits::default());
    bed.take(1, &ipfix(0, 0, &[set(2, &template(256, OCTETS_PORT))]));
    bed.take(2, &ipfix(0, 0, &[set(2, &template(256, PORT_OCTETS))]));
    bed.take(1, &ipfix(7, 0, &[set(2, &template(256, &[(7, 2)]))]));
    bed.take(1, &ipfix(0, 0, &[set(256, &[0, 0, 0, 9, 0, 80])]));
    bed.take(2, &ipfix(0, 0, &[set(256, &[0, 80, 0, 0, 0, 7])]));
    bed.take(1, &ipfix(7, 0, &[set(256, &[0, 22])]));
    let plain = Seen { kind: "flow", octets: None, source_port: Some(22) };
    assert_eq!(bed.seen, [flow(9, 80), flow(7, 80), plain]);
}

#[test]
fn data_waits_for_its_template_within_bounds() {
    let limits = Limits { pending_bytes: 400, ..Limits::default() };
    let mut bed = Bed::new(limits);
    let early = ipfix(0, 0, &[set(256, &[0, 0, 0, 9, 0, 80])]);
    for _ in 0..20 {
        bed.take(1, &early);
    }
    bed.take(1, &ipfix(0, 20, &[set(2, &template(256, OCTETS_PORT))]));
    let account = &bed.only().account;
    assert_eq!(account.sets_without_template, 20);
    assert!((1..20).contains(&account.sets_decoded_late), "{account:?}");
    assert_eq!(account.sets_decoded_late + account.sets_given_up, 20);
    assert_eq!(account.records, account.sets_decoded_late);
    assert!(bed.seen.iter().all(|seen| *seen == flow(9, 80)));
    assert_eq!(bed.only().missing[&256], 20);
}

#[test]
fn an_exporter_that_was_started_anew_at_another_port_keeps_its_templates() {
    let mut bed = Bed::new(Limits::default());
    bed.take(1, &ipfix(0, 0, &[set(2, &template(256, OCTETS_PORT))]));
    // Not while the other is still there: it may be another exporter.
    bed.take(2, &ipfix(0, 0, &[set(256, &[0, 0, 0, 9, 0, 80])]));
    assert!(bed.seen.is_empty());

    let mut bed = Bed::new(Limits::default());
    bed.take(1, &ipfix(0, 0, &[set(2, &template(256, OCTETS_PORT))]));
    bed.time = NOW.saturating_add(Duration::from_secs(60));
    bed.take(2, &ipfix(0, 0, &[set(256, &[0, 0, 0, 9, 0, 80])]));
    assert_eq!(bed.seen, [flow(9, 80)]);
    assert_eq!(bed.collector.exporters()[1].account.templates_adopted, 1);
}

#[test]
fn netflow9_may_have_variable_lengths_and_numbers_above_32767() {
    let mut bed = Bed::new(Limits::default());
    let fields = [(1, 4), (40_001, 3), (82, u16::MAX), (7, 2)];
    let data = [0, 0, 0, 9, 1, 2, 3, 2, b'e', b'0', 0, 80];
    bed.take(1, &netflow9(0, 0, &[set(0, &template(256, &fields)), set(256, &data)]));
    assert_eq!(bed.seen, [flow(9, 80)]);
    assert_eq!(bed.only().account.malformed(), 0);
}

#[test]
fn options_of_netflow9_say_bytes_and_a_scope_may_have_none() {
    let mut bed = Bed::new(Limits::default());
    // Template 257: scope System in 0 bytes, then the sampling interval.
    let options = [1, 1, 0, 4, 0, 4, 0, 1, 0, 0, 0, 34, 0, 4];
    bed.take(1, &netflow9(0, 0, &[set(1, &options), set(257, &[0, 0, 3, 232])]));
    assert_eq!(bed.seen.len(), 1);
    assert_eq!(bed.only().account.option_records, 1);
    let (origin, _, ratio) = bed.only().samplers.rates().next().unwrap();
    assert_eq!((origin, ratio.population), (RateOrigin::Exporter, 1000));
}

#[test]
fn a_biflow_is_one_record_with_two_directions() {
    let mut collector = Collector::new(Limits::default());
    // 1 and 29305/1: the way there and the way back (RFC 5103).
    let mut body = vec![1, 0, 0, 2, 0, 1, 0, 4, 0x80, 1, 0, 4];
    body.extend(29_305_u32.to_be_bytes());
    let message = ipfix(0, 0, &[set(2, &body), set(256, &[0, 0, 0, 9, 0, 0, 0, 4])]);
    let datagram =
        Datagram { time: NOW, source: SocketAddr::from(([192, 0, 2, 1], 1)), payload: &message };
    let mut found = Vec::new();
    collector.take(&datagram, |event| {
        if let Event::Flow(_, record) = event {
            let back = record.reverse_counts().unwrap();
            found.push((record.counts().octets, back.octets));
        }
    });
    assert_eq!(found, [(Some(9), Some(4))]);
}

#[test]
fn open_vswitch_names_two_interfaces_with_one_element() {
    let mut collector = Collector::new(Limits::default());
    let fields = [(10, 4), (82, 65_535), (83, 65_535), (14, 4), (82, 65_535), (83, 65_535)];
    let mut data = vec![0, 0, 0, 3, 4];
    data.extend(b"tap1\0");
    data.extend([0, 0, 0, 5, 4]);
    data.extend(b"tap2\0");
    let message = ipfix(0, 0, &[set(2, &template(256, &fields)), set(256, &data)]);
    let datagram =
        Datagram { time: NOW, source: SocketAddr::from(([192, 0, 2, 1], 1)), payload: &message };
    let mut found = Vec::new();
    collector.take(&datagram, |event| {
        if let Event::Flow(_, record) = event {
            let name = |side| record.interface_name(side).map(str::to_owned);
            found.push((record.interface(Side::Egress), name(Side::Ingress), name(Side::Egress)));
        }
    });
    assert_eq!(found, [(Some(5), Some("tap1".to_owned()), Some("tap2".to_owned()))]);
}

#[test]
fn times_are_found_in_whatever_form_they_have() {
    let spans = |fields: &[(u16, u16)], data: &[u8]| {
        let mut collector = Collector::new(Limits::default());
        let message = netflow9(0, 0, &[set(0, &template(256, fields)), set(256, data)]);
        let source = SocketAddr::from(([192, 0, 2, 1], 1));
        let mut span = None;
        collector.take(&Datagram { time: NOW, source, payload: &message }, |event| {
            if let Event::Flow(_, record) = event {
                span = Some(record.span());
            }
        });
        let span = span.unwrap();
        (NOW.since(span.start).as_millis(), NOW.since(span.end).as_millis())
    };
    let words = |a: u32, b: u32| [a.to_be_bytes(), b.to_be_bytes()].concat();
    // Uptime is 100 s in the header.
    assert_eq!(spans(&[(22, 4), (21, 4)], &words(40_000, 99_000)), (60_000, 1000));
    // It wrapped between the beginning of the flow and now.
    assert_eq!(spans(&[(22, 4), (21, 4)], &words(u32::MAX - 999, 99_000)), (101_000, 1000));
    assert_eq!(spans(&[(158, 4), (159, 4)], &words(2_000_000, 500_000)), (2000, 500));
    assert_eq!(spans(&[(150, 4), (151, 4)], &words(1_795_255_370, 1_795_255_375)), (10_000, 5000));
}

#[test]
fn discarded_packets_are_samples_of_their_own() {
    let words: [u32; 19] = [
        5,
        1,
        0xc000_0201,
        0,
        1,
        1000,
        1, // header: version to number of samples
        5,
        40, // discard sample, its length
        1,
        0,
        3, // sequence, data source
        7,
        3,
        0, // drops, input, output
        256,
        1, // reason, one record
        999,
        0, // of a kind nobody knows, empty
    ];
    let payload: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    let mut bed = Bed::new(Limits::default());
    assert!(bed.take(1, &payload));
    assert_eq!(bed.seen.iter().map(|seen| seen.kind).collect::<Vec<_>>(), ["discard"]);
    assert_eq!(bed.only().key.address, std::net::IpAddr::from([192, 0, 2, 1]));
    assert_eq!(bed.only().account.discard_samples, 1);
}

#[test]
fn what_goes_beyond_what_holds_it_is_counted_and_the_rest_is_kept() {
    let good = set(2, &template(256, OCTETS_PORT));
    let data = set(256, &[0, 0, 0, 9, 0, 80]);
    for (bad, fault) in [
        (vec![1, 0, 0, 3], Fault::SetTooShort),
        (vec![1, 0, 0, 90, 1, 2], Fault::SetBeyondMessage),
        (set(9, &[1, 2, 3, 4]), Fault::UnknownSet),
        (set(2, &[1, 1, 0, 9, 0, 1]), Fault::BadTemplate),
    ] {
        let mut bed = Bed::new(Limits::default());
        bed.take(1, &ipfix(0, 0, &[good.clone(), data.clone(), bad]));
        assert_eq!(bed.seen, [flow(9, 80)], "{fault:?}");
        assert_eq!(bed.only().account.faults(fault), 1, "{fault:?}");
        assert_eq!(bed.only().account.malformed(), 1, "{fault:?}");
    }
    let mut bed = Bed::new(Limits::default());
    let mut cut = ipfix(0, 0, &[good, data]);
    bed.take(1, &cut);
    cut.truncate(cut.len() - 3);
    bed.take(1, &cut);
    assert_eq!(bed.only().account.faults(Fault::MessageBeyondDatagram), 1);
}

#[test]
fn any_message_cut_or_changed_anywhere_ends_and_is_counted() {
    let options = [1, 1, 0, 2, 0, 1, 0, 149, 0, 4, 0, 34, 0, 4];
    let fields = [(8, 4), (12, 4), (82, 65_535), (1, 8)];
    let mut data = vec![10, 0, 0, 1, 10, 0, 0, 2, 255, 0, 2, b'v', b'x'];
    data.extend(7_u64.to_be_bytes());
    let sets =
        [set(2, &template(256, &fields)), set(3, &options), set(256, &data), set(257, &[0; 8])];
    let message = ipfix(0, 0, &sets);
    let mut bed = Bed::new(Limits { pending_bytes: 1000, ..Limits::default() });
    bed.take(1, &message);
    assert_eq!(bed.seen.len(), 2);
    let mut taken = 1;
    for len in 0..message.len() {
        taken += u64::from(bed.take(1, &message[..len]));
        for value in [0, 1, 127, 255] {
            let mut changed = message.clone();
            changed[len] = value;
            taken += u64::from(bed.take(1, &changed));
        }
    }
    let datagrams: u64 = bed.collector.exporters().iter().map(|e| e.account.datagrams).sum();
    assert_eq!(datagrams, taken);
}

#[test]
fn floods_of_templates_and_of_exporters_end_at_their_bounds() {
    let templates = TemplateLimits { templates: 10, fields: 4, bytes: 1 << 20 };
    let mut bed = Bed::new(Limits { exporters: 50, templates, ..Limits::default() });
    for id in 256..300 {
        bed.take(1, &ipfix(0, 0, &[set(2, &template(id, OCTETS_PORT))]));
    }
    bed.take(1, &ipfix(0, 0, &[set(2, &template(400, &[(1, 4); 5]))]));
    assert_eq!(bed.only().templates().count(), 10);
    assert_eq!(bed.only().account.faults(Fault::TooManyTemplates), 35);
    for domain in 1..200 {
        bed.take(1, &ipfix(domain, 0, &[set(2, &template(256, OCTETS_PORT))]));
    }
    assert_eq!(bed.collector.exporters().len(), 50);
    assert_eq!(bed.collector.refused(), 150);
    // Who was known before goes on.
    bed.take(1, &ipfix(0, 0, &[set(256, &[0, 0, 0, 9, 0, 80])]));
    assert_eq!(bed.seen, [flow(9, 80)]);
    // Those that are silent make room.
    bed.time = NOW.saturating_add(Duration::from_secs(7200));
    bed.take(1, &ipfix(900, 0, &[set(2, &template(256, OCTETS_PORT))]));
    assert_eq!(bed.collector.expired(), 50);
}

#[test]
fn other_traffic_is_not_taken_for_export() {
    let mut bed = Bed::new(Limits::default());
    let mut dns = vec![0, 9, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
    dns.extend(b"\x03www\x07example\x03com\0\0\x01\0\x01");
    assert!(!bed.take(53, &dns));
    assert!(!bed.take(53, b"hello"));
    assert_eq!(bed.collector.exporters().len(), 0);
    assert_eq!(bed.collector.unrecognised(), 2);
}

#[test]
fn a_second_message_in_one_datagram_is_read_too() {
    let mut bed = Bed::new(Limits::default());
    let mut both = ipfix(0, 0, &[set(2, &template(256, OCTETS_PORT))]);
    both.extend(ipfix(0, 0, &[set(256, &[0, 0, 0, 9, 0, 80])]));
    bed.take(1, &both);
    assert_eq!(bed.seen, [flow(9, 80)]);
    assert_eq!((bed.only().account.datagrams, bed.only().account.messages), (1, 2));
    assert_eq!(bed.only().key.protocol, Protocol::Ipfix);
}

#[test]
fn what_was_written_down_goes_on_where_it_was() {
    let mut bed = Bed::new(Limits::default());
    bed.take(1, &ipfix(0, 0, &[set(2, &template(256, OCTETS_PORT))]));
    for number in 0..3 {
        let data = set(
            256,
            &[[0, 0, 0, 9, 0, 80], [0, 0, 0, 9, 0, 80]].concat()
                [..6 * (1 + usize::from(number == 1))],
        );
        bed.take(1, &ipfix(0, [0, 1, 3][number], &[data]));
    }
    let saved = SavedExporter::of(bed.only());
    let mut anew = Bed::new(Limits::default());
    assert_eq!(anew.collector.restore(saved.clone()), Ok(()));
    assert_eq!(anew.collector.restore(saved.clone()), Err(Unrestorable::Known));
    assert_eq!(SavedExporter::of(anew.only()), saved);
    // Six records came by while nobody listened.
    anew.take(1, &ipfix(0, 10, &[set(256, &[0, 0, 0, 9, 0, 80])]));
    assert_eq!(anew.seen, [flow(9, 80)]);
    assert_eq!(anew.only().sequence().lost(), Some(6));
    assert_eq!(anew.only().account.records, 5);
}

#[test]
fn what_was_written_down_is_bounded_like_what_is_received() {
    let mut bed = Bed::new(Limits::default());
    bed.take(1, &ipfix(0, 0, &[set(2, &template(256, OCTETS_PORT))]));
    let saved = SavedExporter::of(bed.only());
    let templates = TemplateLimits { templates: 10, fields: 1, bytes: 1 << 20 };
    let mut small = Collector::new(Limits { templates, ..Limits::default() });
    assert_eq!(small.restore(saved.clone()), Err(Unrestorable::Malformed), "two fields");
    let mut full = Collector::new(Limits { templates_bytes: 10, ..Limits::default() });
    assert_eq!(full.restore(saved.clone()), Err(Unrestorable::NoRoom));
    let mut bad = saved;
    bad.templates[0].id = 3;
    assert_eq!(Collector::new(Limits::default()).restore(bad), Err(Unrestorable::Malformed));
}

#[test]
fn all_exporters_together_have_a_bound_for_templates() {
    let mut bed = Bed::new(Limits { templates_bytes: 1000, ..Limits::default() });
    for domain in 0..10 {
        bed.take(1, &ipfix(domain, 0, &[set(2, &template(256, OCTETS_PORT))]));
    }
    let templates: usize = bed.collector.exporters().iter().map(|e| e.templates().count()).sum();
    assert_eq!(templates, 3, "some 300 bytes each");
    // What is taken back makes room.
    bed.take(1, &ipfix(0, 0, &[set(2, &[1, 0, 0, 0])]));
    bed.take(1, &ipfix(9, 0, &[set(2, &template(256, OCTETS_PORT))]));
    assert_eq!(bed.collector.exporters()[9].templates().count(), 1);
}

#[test]
fn templates_end_with_their_connection() {
    let mut bed = Bed::new(Limits::default());
    bed.take(1, &ipfix(0, 0, &[set(2, &template(256, OCTETS_PORT))]));
    bed.collector.forget_session(SocketAddr::from(([192, 0, 2, 1], 1)));
    bed.take(1, &ipfix(0, 70, &[set(256, &[0, 0, 0, 9, 0, 80])]));
    assert_eq!(bed.seen, []);
    assert_eq!(bed.only().account.sets_without_template, 1);
}
