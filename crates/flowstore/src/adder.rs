//! Adding up rows: whose they are, and how much of each falls into which minute.
//!
//! A flow's bytes are spread over the time from its first to its last packet, to the byte; the flow
//! itself counts when it ends. Rows that do not count, copies and carriers, add nothing to names.

use std::fmt::Write as _;

use arrow_array::{Array, RecordBatch};
use arrow_schema::ArrowError;
use flows::Split;

use crate::ledger::{Amount, Entry, Keyed, Ledger};
use crate::scan::{Numbers, Words, flags, ints, longs, texts, times};
use crate::subject::{Kind, Subject};
use crate::texts::{NO_TEXT, Table, TextNumber};
use crate::totals::{Totals, number_of};

/// Adds rows to a ledger.
#[derive(Debug)]
pub(crate) struct Adder {
    kind: Kind,
    /// Only what is in this time counts, in milliseconds.
    span: [i64; 2],
    /// The length of a time in the ledger, in milliseconds; 0 where it has none.
    grain: i64,
    pub(crate) ledger: Ledger,
    /// Sums over all rows that count.
    pub(crate) totals: Totals,
    unnamed: TextNumber,
    addresses: Addresses,
}

impl Adder {
    /// For the sums of `span`, by times of `grain` milliseconds or, with 0, as a whole.
    pub(crate) fn new(kind: Kind, span: [i64; 2], grain: i64) -> Self {
        let keyed = match kind {
            _ if grain > 0 => Keyed::Time,
            Kind::One(_) => Keyed::Name,
            Kind::Pair(_) => Keyed::Pair,
        };
        let mut ledger = Ledger::new(keyed);
        let unnamed = ledger.names.number(UNNAMED);
        let (totals, addresses) = (Totals::default(), Addresses::default());
        Self { kind, span, grain, ledger, totals, unnamed, addresses }
    }

    /// From now on only what is in this time counts.
    pub(crate) const fn set_span(&mut self, span: [i64; 2]) {
        self.span = span;
    }

    /// Adds rows.
    pub(crate) fn add(&mut self, rows: &RecordBatch) -> Result<(), ArrowError> {
        let counts = Counts::of(rows)?;
        let mut names = Names::of(self.kind.subject(), rows)?;
        let (span, grain) = (self.span, self.grain);
        for row in 0..rows.num_rows() {
            let counted = counts.counted(row);
            if counted.is_carrier || counted.ways == [[0; 2]; 2] {
                continue;
            }
            let ends = names.ends(row, self);
            counted.each_part(span, grain, |time, ways, is_end| {
                self.enter(time, ends, counted.split, ways, is_end);
            });
        }
        Ok(())
    }

    fn enter(
        &mut self,
        time: u32,
        [client, server]: [TextNumber; 2],
        split: u8,
        ways: [[u64; 2]; 2],
        is_end: bool,
    ) {
        let [[there_packets, there], [back_packets, back]] = ways;
        let (packets, flows) = (there_packets + back_packets, u32::from(is_end));
        self.totals.flows += u64::from(flows);
        self.totals.count(split, packets, there + back);
        let forth = Amount { flows, packets, sent: there, received: back };
        let turned = Amount { flows, packets, sent: back, received: there };
        let one = |one| Entry { time, one, other: NO_TEXT };
        match self.kind {
            Kind::One(subject) if !subject.has_ends() => self.ledger.add(one(client), split, forth),
            // Of a flow from one to the same each packet is sent and received there.
            Kind::One(_) if client == server => {
                let both = Amount {
                    flows,
                    packets: 2 * packets,
                    sent: there + back,
                    received: there + back,
                };
                self.ledger.add(one(client), split, both);
            }
            Kind::One(_) => {
                self.ledger.add(one(client), split, forth);
                self.ledger.add(one(server), split, turned);
            }
            // Both directions are in one entry, whichever end is the client.
            Kind::Pair(_) if client <= server => {
                self.ledger.add(Entry { time, one: client, other: server }, split, forth);
            }
            Kind::Pair(_) => {
                self.ledger.add(Entry { time, one: server, other: client }, split, turned);
            }
        }
    }
}

/// How much of a flow has passed by a time.
struct Share {
    start: i64,
    end: i64,
}

impl Share {
    fn of(start: i64, end: i64) -> Self {
        Self { start: start.max(end - LONGEST_MS), end }
    }

    /// How much of `all` came before `time`.
    fn of_all(&self, all: u64, time: i64) -> u64 {
        let (passed, whole) = (time - self.start, self.end - self.start);
        if passed <= 0 {
            0
        } else if passed >= whole {
            all
        } else {
            let part = u128::from(all) * u128::from(passed.unsigned_abs())
                / u128::from(whole.unsigned_abs());
            u64::try_from(part).unwrap_or(all)
        }
    }
}

/// The columns that every sum needs.
pub(crate) struct Counts<'b> {
    starts: &'b [i64],
    ends: &'b [i64],
    counted: [[&'b [i64]; 2]; 2],
    carriers: &'b arrow_array::BooleanArray,
    splits: Words<'b>,
    split_numbers: Vec<u8>,
}

/// What counts of one row.
pub(crate) struct Counted {
    start: i64,
    /// When it ended, in milliseconds.
    pub(crate) end: i64,
    /// Packets and bytes, of the client and of the server.
    pub(crate) ways: [[u64; 2]; 2],
    /// The number of its split.
    pub(crate) split: u8,
    /// Whether it is the outside of a tunnel.
    pub(crate) is_carrier: bool,
}

impl Counted {
    /// Shows what falls into each time of this length that is in `span`, and whether the flow ends
    /// in it. With a length of 0 the whole span is one time.
    #[inline]
    pub(crate) fn each_part(
        &self,
        span: [i64; 2],
        grain: i64,
        mut each: impl FnMut(u32, [[u64; 2]; 2], bool),
    ) {
        let [from, to] = span;
        let is_within = self.start >= from && self.end < to;
        if is_within && (grain == 0 || self.start / grain == self.end / grain) {
            each(number_of(self.end, grain), self.ways, true);
        } else {
            self.each_of_several(span, grain, &mut each);
        }
    }

    #[cold]
    fn each_of_several(
        &self,
        [from, to]: [i64; 2],
        grain: i64,
        each: &mut dyn FnMut(u32, [[u64; 2]; 2], bool),
    ) {
        let share = Share::of(self.start, self.end);
        let (first, last) = (share.start.max(from), self.end.min(to - 1));
        let step = if grain == 0 { to - from } else { grain };
        let mut time = if grain == 0 { from } else { first - first.rem_euclid(step) };
        while time <= last {
            let until = time + step;
            let part = |all| share.of_all(all, until.min(to)) - share.of_all(all, time.max(from));
            let ways = self.ways.map(|[packets, octets]| [part(packets), part(octets)]);
            let is_end = (time.max(from)..until.min(to)).contains(&self.end);
            each(number_of(time, grain), ways, is_end);
            time = until;
        }
    }
}

impl<'b> Counts<'b> {
    /// Those of these rows.
    pub(crate) fn of(rows: &'b RecordBatch) -> Result<Self, ArrowError> {
        let long = |name| longs(rows, name).map(|numbers| numbers.values);
        let splits = texts(rows, "split")?;
        let split_numbers = (0..splits.len()).map(|key| split_number(splits.word(key)));
        Ok(Self {
            starts: times(rows, "start")?,
            ends: times(rows, "end")?,
            counted: [
                [long("client_counted_packets")?, long("client_counted_octets")?],
                [long("server_counted_packets")?, long("server_counted_octets")?],
            ],
            carriers: flags(rows, "is_carrier")?,
            split_numbers: split_numbers.collect(),
            splits,
        })
    }

    /// What counts of a row.
    #[inline]
    pub(crate) fn counted(&self, row: usize) -> Counted {
        let at = |values: &[i64]| values.get(row).copied().unwrap_or_default();
        let ways = self.counted.map(|way| way.map(|values| at(values).unsigned_abs()));
        let split = self.splits.key(row).and_then(|key| self.split_numbers.get(key));
        Counted {
            start: at(self.starts),
            end: at(self.ends),
            ways,
            split: split.copied().unwrap_or(Split::Unknown as u8),
            is_carrier: self.carriers.value(row),
        }
    }
}

/// The columns of [`Counts`].
pub(crate) const COUNT_COLUMNS: [&str; 8] = [
    "start",
    "end",
    "client_counted_packets",
    "client_counted_octets",
    "server_counted_packets",
    "server_counted_octets",
    "is_carrier",
    "split",
];

fn split_number(name: &str) -> u8 {
    let found = Split::ALL.iter().find(|split| split.name() == name);
    *found.unwrap_or(&Split::Unknown) as u8
}

/// Who the ends of rows are, by the columns of a subject.
struct Names<'b> {
    columns: NameColumns<'b>,
    /// The numbers in the ledger of the texts of each column.
    known: [Vec<TextNumber>; 2],
}

enum NameColumns<'b> {
    /// A name of each end.
    Ends([Words<'b>; 2]),
    /// A name of each end, or its address where it has none.
    Machines(Option<[Words<'b>; 2]>, AddressColumns<'b>),
    /// One name for the whole flow.
    Whole(Words<'b>),
    /// Protocol and port of the server.
    Ports([&'b arrow_array::Int32Array; 2]),
}

struct AddressColumns<'b> {
    ips: [Words<'b>; 2],
    overlays: Words<'b>,
    numbers: Numbers<'b>,
    vlans: &'b arrow_array::Int32Array,
    known: [Vec<TextNumber>; 2],
    has_networks: bool,
}

impl<'b> Names<'b> {
    fn of(subject: Subject, rows: &'b RecordBatch) -> Result<Self, ArrowError> {
        let both =
            |[one, other]: [&str; 2]| Ok::<_, ArrowError>([texts(rows, one)?, texts(rows, other)?]);
        let room = |words: &[Words<'_>; 2]| words.map(|words| vec![NO_TEXT; words.len()]);
        let addresses = || {
            let ips = both(["client_ip", "server_ip"])?;
            let (overlays, vlans) = (texts(rows, "overlay")?, ints(rows, "vlan")?);
            let numbers = longs(rows, "overlay_number")?;
            let has_networks = overlays.has_any() || vlans.null_count() < vlans.len();
            let known = room(&ips);
            Ok::<_, ArrowError>(AddressColumns {
                ips,
                overlays,
                numbers,
                vlans,
                known,
                has_networks,
            })
        };
        let (columns, known) = match subject {
            Subject::Vms => {
                let names = both(["client_vm", "server_vm"])?;
                (NameColumns::Machines(Some(names), addresses()?), room(&names))
            }
            Subject::Addresses => {
                (NameColumns::Machines(None, addresses()?), [Vec::new(), Vec::new()])
            }
            Subject::Hosts => {
                let names = both(["client_host", "server_host"])?;
                (NameColumns::Ends(names), room(&names))
            }
            Subject::Tenants => {
                let names = both(["client_tenant", "server_tenant"])?;
                (NameColumns::Ends(names), room(&names))
            }
            Subject::Apps => {
                let names = texts(rows, "app")?;
                (NameColumns::Whole(names), [vec![NO_TEXT; names.len()], Vec::new()])
            }
            Subject::Ports => {
                let ports = [ints(rows, "protocol")?, ints(rows, "server_port")?];
                (NameColumns::Ports(ports), [Vec::new(), Vec::new()])
            }
        };
        Ok(Self { columns, known })
    }

    /// The numbers of the two ends in the ledger; of a whole flow, twice the same.
    #[inline]
    fn ends(&mut self, row: usize, adder: &mut Adder) -> [TextNumber; 2] {
        let [known_a, known_b] = &mut self.known;
        match &mut self.columns {
            NameColumns::Ends([a, b]) => [(a, known_a), (b, known_b)].map(|(words, known)| {
                words.key(row).map_or(adder.unnamed, |key| adder.learn(words, key, known))
            }),
            NameColumns::Machines(names, addresses) => {
                let mut numbers = [NO_TEXT; 2];
                let columns = names.iter().flatten().zip([known_a, known_b]);
                for ((words, known), number) in columns.zip(&mut numbers) {
                    if let Some(key) = words.key(row) {
                        *number = adder.learn(words, key, known);
                    }
                }
                for (end, number) in numbers.iter_mut().enumerate() {
                    if *number == NO_TEXT {
                        *number = addresses.number(end, row, adder);
                    }
                }
                numbers
            }
            NameColumns::Whole(words) => {
                let key = words.key(row);
                [key.map_or(adder.unnamed, |key| adder.learn(words, key, known_a)); 2]
            }
            NameColumns::Ports([protocols, ports]) => {
                let at = |column: &arrow_array::Int32Array| column.values().get(row).copied();
                [adder.port(at(protocols).unwrap_or_default(), at(ports).unwrap_or_default()); 2]
            }
        }
    }
}

impl AddressColumns<'_> {
    #[inline]
    fn number(&mut self, end: usize, row: usize, adder: &mut Adder) -> TextNumber {
        let (Some(words), Some(known)) = (self.ips.get(end), self.known.get_mut(end)) else {
            return adder.unnamed;
        };
        let Some(key) = words.key(row) else { return adder.unnamed };
        let address = adder.learn(words, key, known);
        if !self.has_networks {
            return address;
        }
        let vlan = self.vlans.is_valid(row).then(|| self.vlans.value(row));
        let overlay = self.overlays.at(row).zip(self.numbers.at(row));
        if vlan.is_none() && overlay.is_none() {
            return address;
        }
        adder.in_network(address, words.word(key), overlay, vlan)
    }
}

impl Adder {
    /// The number in the ledger of a text of a column.
    #[inline]
    fn learn(&mut self, words: &Words<'_>, key: usize, known: &mut [TextNumber]) -> TextNumber {
        match known.get_mut(key) {
            Some(number) if *number != NO_TEXT => *number,
            place => {
                let word = words.word(key);
                let name = if word.is_empty() { UNNAMED } else { word };
                let number = self.ledger.names.number(name);
                if let Some(place) = place {
                    *place = number;
                }
                number
            }
        }
    }

    /// An address in a named network: others use it too.
    fn in_network(
        &mut self,
        address: TextNumber,
        text: &str,
        overlay: Option<(&str, i64)>,
        vlan: Option<i32>,
    ) -> TextNumber {
        let kind = overlay.map_or(NO_TEXT, |(kind, _)| self.ledger.names.number(kind));
        let key = (address, kind, overlay.map_or(0, |(_, number)| number), vlan.unwrap_or(-1));
        if let Some(number) = self.addresses.in_networks.get(&key) {
            return *number;
        }
        let mut name = format!("{text} in");
        // Writing to text does not fail.
        if let Some((kind, number)) = overlay {
            let _ = write!(name, " {kind} {number}");
        }
        if let Some(vlan) = vlan {
            let _ = write!(name, " vlan {vlan}");
        }
        let number = self.ledger.names.number(&name);
        self.addresses.in_networks.insert(key, number);
        number
    }

    fn port(&mut self, protocol: i32, port: i32) -> TextNumber {
        let port = if matches!(protocol, 6 | 17 | 132) { port } else { 0 };
        if let Some(number) = self.addresses.ports.get(&(protocol, port)) {
            return *number;
        }
        let name = match protocol {
            6 => format!("tcp/{port}"),
            17 => format!("udp/{port}"),
            132 => format!("sctp/{port}"),
            1 | 58 => "icmp".into(),
            protocol => format!("ip/{protocol}"),
        };
        let number = self.ledger.names.number(&name);
        self.addresses.ports.insert((protocol, port), number);
        number
    }
}

/// Names that are made of several columns, by these.
#[derive(Debug, Default)]
struct Addresses {
    in_networks: Table<(TextNumber, TextNumber, i64, i32), TextNumber>,
    ports: Table<(i32, i32), TextNumber>,
}

/// What is nobody's: no machine on any host, of no tenant.
const UNNAMED: &str = "-";
/// A flow that was longer is taken to have had all its bytes in the last day of it.
pub(crate) const LONGEST_MS: i64 = 24 * 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_byte() {
        let share = Share::of(30_000, 200_000);
        let minute = 60_000;
        let parts: Vec<u64> = (0..4)
            .map(|n| share.of_all(1001, (n + 1) * minute) - share.of_all(1001, n * minute))
            .collect();
        assert_eq!(parts.iter().sum::<u64>(), 1001);
        assert_eq!(parts, [176, 353, 354, 118]);
    }

    #[test]
    fn a_moment_is_in_the_minute_it_is_in() {
        let share = Share::of(60_000, 60_000);
        assert_eq!(share.of_all(7, 60_000), 0);
        assert_eq!(share.of_all(7, 120_000_000), 7);
    }
}
