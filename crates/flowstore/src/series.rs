//! How much there was in each of many times of one length.

use std::collections::BTreeMap;
use std::time::Duration;

use flows::Split;
use wire::Timestamp;

use crate::error::StoreError;
use crate::query::Source;
use crate::query::{Ask, From, Reader};
use crate::rollup::{Grain, Rollup, each_totals};
use crate::totals::{Totals, TotalsAdder, number_of, totals_columns};

/// Sums over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// The length of each time. Longer than was asked for where sums by minute have expired.
    pub step: Duration,
    /// The times in which there was anything, in their order.
    pub moments: Vec<Moment>,
}

/// Sums over one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Its begin.
    pub begin: Timestamp,
    /// Flows that ended in it, copies among them.
    pub flows: u64,
    /// Packets that count.
    pub packets: u64,
    /// Bytes that count.
    pub octets: u64,
    /// The same by split.
    pub by_split: [u64; Split::ALL.len()],
}

impl Reader {
    /// Sums over times of `step`, which is taken as whole minutes, or as whole hours where it is
    /// longer than one.
    pub fn series(&self, ask: &Ask, step: Duration) -> Result<Series, StoreError> {
        let (minute, hour) = (Grain::Minute.ms(), Grain::Hour.ms());
        let step = i64::try_from(step.as_millis()).unwrap_or(i64::MAX - hour);
        let step =
            if step > hour { step - step % hour } else { (step - step % minute).max(minute) };
        self.insistently(|| {
            let found = self.by_time(ask, step)?;
            Ok(found.map(|(step, by_time)| Series::new(step, by_time)))
        })
    }

    /// The sums by the number of the time, and the length of a time in milliseconds; `None` if a
    /// file was gone.
    fn by_time(&self, ask: &Ask, step: i64) -> Result<Option<(i64, ByTime)>, StoreError> {
        let span = ask.minutes();
        let is_sums = ask.is_about_all() && ask.source == Source::Sums;
        let grain = if step % Grain::Hour.ms() == 0 { Grain::Hour } else { Grain::Minute };
        let steps = self.steps(is_sums.then_some(Rollup::Totals), grain, span)?;
        let is_coarse = |step: &crate::query::Step| step.from == From::Sums(Grain::Hour);
        if grain == Grain::Minute && steps.iter().any(is_coarse) {
            // What is only known by the hour cannot be told by the minute.
            return self.by_time(ask, Grain::Hour.ms());
        }
        let mut totals = TotalsAdder::new(span, step);
        let mut by_time = ByTime::new();
        for part in &steps {
            let is_there = match part.from {
                From::Sums(_) => each_totals(&part.path, part.span, &mut |time, more| {
                    by_time.entry(number_of(time, step)).or_default().add(more);
                })?,
                From::Rows => {
                    totals.set_span(part.span);
                    self.rows_of(part, &totals_columns(), ask, &mut |rows| totals.add(rows))?
                }
            };
            if !is_there {
                return Ok(None);
            }
        }
        for (time, more) in &totals.by_time {
            by_time.entry(*time).or_default().add(more);
        }
        Ok(Some((step, by_time)))
    }
}

type ByTime = BTreeMap<u32, Totals>;

impl Series {
    fn new(step: i64, by_time: ByTime) -> Self {
        let ms = step.unsigned_abs();
        let moment = |(number, totals): (u32, Totals)| Moment {
            begin: Timestamp::from_nanos(u64::from(number).saturating_mul(ms * 1_000_000)),
            flows: totals.flows,
            packets: totals.packets,
            octets: totals.octets,
            by_split: totals.by_split,
        };
        Self { step: Duration::from_millis(ms), moments: by_time.into_iter().map(moment).collect() }
    }
}
