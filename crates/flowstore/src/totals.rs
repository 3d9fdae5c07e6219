//! Sums over everything by time, with what counts beside it: copies and carriers.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use flows::Split;
use wire::export::RateOrigin;

use crate::adder::{COUNT_COLUMNS, Counts};
use crate::scan::{longs, texts};

/// Sums over everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    /// Flows that ended in this time, copies among them.
    pub(crate) flows: u64,
    /// Flows that count nowhere because others do for them.
    pub(crate) copies: u64,
    pub(crate) packets: u64,
    pub(crate) octets: u64,
    pub(crate) by_split: [u64; Split::ALL.len()],
    /// Bytes that other points saw of the same flows.
    pub(crate) copied: u64,
    /// Bytes of tunnels, with what they carry.
    pub(crate) carried: u64,
    /// Flows of which nobody said how they were sampled.
    pub(crate) unknown_rates: u64,
}

impl Totals {
    /// Adds others.
    pub(crate) fn add(&mut self, other: &Self) {
        self.flows += other.flows;
        self.copies += other.copies;
        self.packets += other.packets;
        self.octets += other.octets;
        for (sum, more) in self.by_split.iter_mut().zip(other.by_split) {
            *sum += more;
        }
        self.copied += other.copied;
        self.carried += other.carried;
        self.unknown_rates += other.unknown_rates;
    }

    /// Adds what counts.
    pub(crate) fn count(&mut self, split: u8, packets: u64, octets: u64) {
        self.packets += packets;
        self.octets += octets;
        if let Some(sum) = self.by_split.get_mut(usize::from(split)) {
            *sum += octets;
        }
    }
}

/// Adds up rows by time.
#[derive(Debug)]
pub(crate) struct TotalsAdder {
    span: [i64; 2],
    grain: i64,
    pub(crate) by_time: BTreeMap<u32, Totals>,
}

impl TotalsAdder {
    /// For the sums of `span`, by times of `grain` milliseconds, all at 0 if that is 0.
    pub(crate) const fn new(span: [i64; 2], grain: i64) -> Self {
        Self { span, grain, by_time: BTreeMap::new() }
    }

    /// From now on only what is in this time counts.
    pub(crate) const fn set_span(&mut self, span: [i64; 2]) {
        self.span = span;
    }

    /// Adds rows.
    pub(crate) fn add(&mut self, rows: &RecordBatch) -> Result<(), ArrowError> {
        let counts = Counts::of(rows)?;
        let long = |name| longs(rows, name).map(|numbers| numbers.values);
        let seen = [longs(rows, "client_octets")?, longs(rows, "server_octets")?];
        let [population, taken] = [long("sampling_population")?, long("sampling_taken")?];
        let said_by = texts(rows, "sampling_said_by")?;
        let [from, to] = self.span;
        for row in 0..rows.num_rows() {
            let at = |values: &[i64]| values.get(row).map_or(0, |value| value.unsigned_abs());
            let counted = counts.counted(row);
            let sum = |which: usize| counted.ways.iter().filter_map(|way| way.get(which)).sum();
            let (packets, octets): (u64, u64) = (sum(0), sum(1));
            if (from..to).contains(&counted.end) {
                let totals = self.by_time.entry(number_of(counted.end, self.grain)).or_default();
                let scale = |octets: u64| {
                    let scaled = u128::from(octets) * u128::from(at(population))
                        / u128::from(at(taken).max(1));
                    u64::try_from(scaled).unwrap_or(u64::MAX)
                };
                // What is not there is what counts.
                let seen = seen.iter().zip(counted.ways).map(|(seen, [_, octets])| {
                    seen.at(row).map_or(octets, |seen| scale(seen.unsigned_abs()))
                });
                totals.flows += 1;
                totals.copied += seen.sum::<u64>().saturating_sub(octets);
                totals.copies += u64::from(octets == 0 && packets == 0);
                let is_unknown = said_by.at(row) == Some(RateOrigin::Unknown.name());
                totals.unknown_rates += u64::from(is_unknown);
                if counted.is_carrier {
                    totals.carried += octets;
                }
            }
            if !counted.is_carrier && (octets > 0 || packets > 0) {
                counted.each_part(self.span, self.grain, |time, ways, _| {
                    let [[there_packets, there], [back_packets, back]] = ways;
                    let totals = self.by_time.entry(time).or_default();
                    totals.count(counted.split, there_packets + back_packets, there + back);
                });
            }
        }
        Ok(())
    }
}

/// The number of the time of this length that a moment is in.
pub(crate) fn number_of(moment: i64, grain: i64) -> u32 {
    if grain == 0 { 0 } else { u32::try_from(moment / grain).unwrap_or_default() }
}

/// The columns that [`TotalsAdder`] reads.
pub(crate) fn totals_columns() -> Vec<&'static str> {
    let more = [
        "client_octets",
        "server_octets",
        "sampling_population",
        "sampling_taken",
        "sampling_said_by",
    ];
    COUNT_COLUMNS.into_iter().chain(more).collect()
}
