//! Sums by name or by pair of names, and by time where that is wanted.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use flows::Split;

use crate::texts::{NO_TEXT, Table, TextNumber, Texts};

/// What is summed of one name, or between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sum {
    pub(crate) flows: u64,
    pub(crate) packets: u64,
    /// Bytes it sent; of pairs, the first to the second.
    pub(crate) sent: u64,
    /// Bytes it received.
    pub(crate) received: u64,
    /// Bytes both ways by split.
    pub(crate) by_split: [u64; Split::ALL.len()],
}

impl Sum {
    /// Bytes both ways.
    pub(crate) const fn octets(&self) -> u64 {
        self.sent.saturating_add(self.received)
    }

    /// Adds another one.
    pub(crate) fn add(&mut self, other: &Self) {
        self.flows += other.flows;
        self.packets += other.packets;
        self.sent += other.sent;
        self.received += other.received;
        for (sum, more) in self.by_split.iter_mut().zip(other.by_split) {
            *sum += more;
        }
    }

    const fn is_empty(&self) -> bool {
        self.flows == 0 && self.packets == 0 && self.sent == 0 && self.received == 0
    }
}

/// Where something is added: a name, or two, and the number of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Entry {
    pub(crate) time: u32,
    pub(crate) one: TextNumber,
    pub(crate) other: TextNumber,
}

/// One addition.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Amount {
    pub(crate) flows: u32,
    pub(crate) packets: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// Sums of many names.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) names: Texts,
    cells: Cells,
    /// Bytes of splits other than the first one that was seen: few names have any.
    mixed: Table<Entry, [u64; Split::ALL.len()]>,
    /// What found no name any more, when it was written.
    pub(crate) others: Sum,
}

/// How entries are found: as cheaply as their shape allows.
#[derive(Debug)]
enum Cells {
    /// By one name only, which is its place.
    Names(Vec<Cell>),
    /// By two names.
    Pairs(Table<u64, Cell>),
    /// By time, too.
    Times(Table<Entry, Cell>),
}

/// A sum in few bytes: there may be millions.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    packets: u64,
    sent: u64,
    received: u64,
    flows: u32,
    /// The first split that was seen; what is of others is in [`Ledger::mixed`].
    split: u8,
    is_used: bool,
}

/// What the entries of a ledger are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyed {
    /// One name each.
    Name,
    /// Two names each.
    Pair,
    /// One or two names, and a time.
    Time,
}

impl Ledger {
    /// An empty one.
    pub(crate) fn new(keyed: Keyed) -> Self {
        let cells = match keyed {
            Keyed::Name => Cells::Names(Vec::new()),
            Keyed::Pair => Cells::Pairs(Table::default()),
            Keyed::Time => Cells::Times(Table::default()),
        };
        let mixed = Table::default();
        Self { names: Texts::default(), cells, mixed, others: Sum::default() }
    }

    /// Adds what is all of one split.
    #[inline]
    pub(crate) fn add(&mut self, entry: Entry, split: u8, amount: Amount) {
        let cell = match &mut self.cells {
            Cells::Names(cells) => {
                let at = entry.one as usize;
                if at >= cells.len() {
                    cells.resize(at + 1, Cell::default());
                }
                cells.get_mut(at)
            }
            Cells::Pairs(cells) => {
                let key = u64::from(entry.one) << 32 | u64::from(entry.other);
                Some(cells.entry(key).or_default())
            }
            Cells::Times(cells) => Some(cells.entry(entry).or_default()),
        };
        let Some(cell) = cell else { return };
        cell.packets += amount.packets;
        cell.sent += amount.sent;
        cell.received += amount.received;
        cell.flows = cell.flows.saturating_add(amount.flows);
        if !cell.is_used {
            (cell.split, cell.is_used) = (split, true);
        } else if cell.split != split {
            let mixed = self.mixed.entry(entry).or_default();
            if let Some(sum) = mixed.get_mut(usize::from(split)) {
                *sum += amount.sent + amount.received;
            }
        }
    }

    /// Adds a sum of several splits.
    pub(crate) fn add_sum(&mut self, entry: Entry, sum: &Sum) {
        if entry.one == NO_TEXT {
            return self.others.add(sum);
        }
        let largest = (0_u8..).zip(sum.by_split).max_by_key(|(_, octets)| *octets);
        let split = largest.map_or(0, |(split, _)| split);
        let flows = u32::try_from(sum.flows).unwrap_or(u32::MAX);
        // What is of other splits is added without bytes first, then put where it belongs.
        let Sum { packets, sent, received, .. } = *sum;
        self.add(entry, split, Amount { flows, packets, sent, received });
        let is_one = sum.by_split.iter().filter(|octets| **octets > 0).count() < 2;
        if is_one {
            return;
        }
        let main = self.split_of(entry);
        let mixed = self.mixed.entry(entry).or_default();
        for (number, (sum, octets)) in (0_u8..).zip(mixed.iter_mut().zip(sum.by_split)) {
            if number == split && Some(split) != main {
                // `add` has put all of it here.
                *sum = sum.saturating_sub(sent + received) + octets;
            } else if Some(number) != main {
                *sum += octets;
            }
        }
    }

    /// The sums, in no order.
    pub(crate) fn sums(&self) -> Vec<(Entry, Sum)> {
        let whole = |(entry, cell): (Entry, &Cell)| (entry, self.whole(entry, cell));
        let sums: Box<dyn Iterator<Item = (Entry, Sum)>> = match &self.cells {
            Cells::Names(cells) => {
                Box::new((0..).zip(cells).map(|(one, cell)| (Entry::of(one), cell)).map(whole))
            }
            Cells::Pairs(cells) => {
                Box::new(cells.iter().map(|(key, cell)| (Entry::of_key(*key), cell)).map(whole))
            }
            Cells::Times(cells) => {
                Box::new(cells.iter().map(|(entry, cell)| (*entry, cell)).map(whole))
            }
        };
        sums.filter(|(_, sum)| !sum.is_empty()).collect()
    }

    /// The `most` largest sums, the largest first; what is beyond is added up. Says how many there
    /// are in all.
    pub(crate) fn largest(&self, most: usize) -> (Vec<(Entry, Sum)>, Sum, usize) {
        let mut sums = self.sums();
        let all = sums.len();
        let mut rest = self.others;
        if all > most {
            sums.select_nth_unstable_by_key(most, |(_, sum)| Reverse(sum.octets()));
            for (_, sum) in sums.drain(most..) {
                rest.add(&sum);
            }
        }
        sums.sort_by_key(|(entry, sum)| (Reverse(sum.octets()), *entry));
        (sums, rest, all)
    }

    /// The sums by time, those of each in no order.
    pub(crate) fn by_time(&self) -> BTreeMap<u32, Vec<(Entry, Sum)>> {
        let Cells::Times(cells) = &self.cells else { return BTreeMap::new() };
        let mut by_time: BTreeMap<u32, Vec<(Entry, Sum)>> = BTreeMap::new();
        for (entry, cell) in cells {
            by_time.entry(entry.time).or_default().push((*entry, self.whole(*entry, cell)));
        }
        by_time
    }

    fn split_of(&self, entry: Entry) -> Option<u8> {
        let cell = match &self.cells {
            Cells::Names(cells) => cells.get(entry.one as usize),
            Cells::Pairs(cells) => {
                cells.get(&(u64::from(entry.one) << 32 | u64::from(entry.other)))
            }
            Cells::Times(cells) => cells.get(&entry),
        };
        cell.map(|cell| cell.split)
    }

    fn whole(&self, entry: Entry, cell: &Cell) -> Sum {
        let mut by_split = [0; Split::ALL.len()];
        if !self.mixed.is_empty()
            && let Some(mixed) = self.mixed.get(&entry)
        {
            by_split = *mixed;
        }
        let elsewhere: u64 = by_split.iter().sum();
        let octets = cell.sent + cell.received;
        if let Some(main) = by_split.get_mut(usize::from(cell.split)) {
            *main += octets.saturating_sub(elsewhere);
        }
        let Cell { packets, sent, received, flows, .. } = *cell;
        Sum { flows: flows.into(), packets, sent, received, by_split }
    }
}

impl Entry {
    /// One name.
    pub(crate) const fn of(one: TextNumber) -> Self {
        Self { time: 0, one, other: NO_TEXT }
    }

    /// Two names.
    pub(crate) const fn pair(one: TextNumber, other: TextNumber) -> Self {
        Self { time: 0, one, other }
    }

    #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
    const fn of_key(key: u64) -> Self {
        Self { time: 0, one: (key >> 32) as u32, other: key as u32 }
    }
}
