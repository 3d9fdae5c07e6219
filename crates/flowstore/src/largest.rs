//! The flows behind a number: those that moved most, page by page.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::str::FromStr;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use crate::adder::Counts;
use crate::error::StoreError;
use crate::query::{Ask, Reader};
use crate::scan::{ints, longs, texts};
use crate::stored::{StoredRow, StoredRows};

/// The place of a flow among all: more bytes first, then the later one. Stays the same when files
/// are merged, so that it can be gone on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Bytes that count, both ways.
    octets: u64,
    /// When it ended, in milliseconds.
    end: i64,
    /// Tells it from others that are as large and ended then.
    mark: u64,
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{:x}", self.octets, self.end, self.mark)
    }
}

impl FromStr for Rank {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('.');
        let mut part = || parts.next().ok_or_else(|| format!("`{text}` is no place in a list"));
        let (octets, end, mark) = (part()?, part()?, part()?);
        let read =
            || Some((octets.parse().ok()?, end.parse().ok()?, u64::from_str_radix(mark, 16).ok()?));
        let (octets, end, mark) =
            read().ok_or_else(|| format!("`{text}` is no place in a list"))?;
        Ok(Self { octets, end, mark })
    }
}

impl Reader {
    /// The `most` largest flows that count, the largest first, of those behind `after`.
    pub fn largest<T>(
        &self,
        ask: &Ask,
        most: usize,
        after: Option<Rank>,
        mut make: impl FnMut(&StoredRow<'_>) -> T,
    ) -> Result<Vec<(Rank, T)>, StoreError> {
        let mut kept: BTreeMap<Rank, T> = BTreeMap::new();
        self.row_groups(ask, &mut |rows| {
            let marks = Marks::of(rows)?;
            let counts = Counts::of(rows)?;
            let stored = StoredRows::of(rows)?;
            for row in 0..rows.num_rows() {
                let counted = counts.counted(row);
                let octets = counted.ways.iter().map(|[_, octets]| octets).sum();
                if counted.is_carrier || counted.ways == [[0; 2]; 2] {
                    continue;
                }
                let least = kept.first_key_value().filter(|_| kept.len() >= most);
                if least.is_some_and(|(least, _)| octets < least.octets) {
                    continue;
                }
                let rank = Rank { octets, end: counted.end, mark: marks.of_row(row) };
                let is_behind = after.is_none_or(|after| rank < after);
                if is_behind
                    && kept
                        .first_key_value()
                        .is_none_or(|(least, _)| kept.len() < most || rank > *least)
                {
                    kept.insert(rank, make(&stored.row(row)));
                    if kept.len() > most {
                        kept.pop_first();
                    }
                }
            }
            Ok(())
        })?;
        Ok(kept.into_iter().rev().collect())
    }
}

/// What tells flows from each other.
struct Marks<'b> {
    times: &'b [i64],
    texts: [crate::scan::Words<'b>; 3],
    ports: [&'b arrow_array::Int32Array; 3],
    overlay: crate::scan::Numbers<'b>,
    hasher: ahash::RandomState,
}

impl<'b> Marks<'b> {
    fn of(rows: &'b RecordBatch) -> Result<Self, ArrowError> {
        Ok(Self {
            times: crate::scan::times(rows, "start")?,
            texts: [texts(rows, "client_ip")?, texts(rows, "server_ip")?, texts(rows, "point")?],
            ports: [
                ints(rows, "client_port")?,
                ints(rows, "server_port")?,
                ints(rows, "protocol")?,
            ],
            overlay: longs(rows, "overlay_number")?,
            // The same in every process.
            hasher: ahash::RandomState::with_seeds(1, 2, 3, 4),
        })
    }

    fn of_row(&self, row: usize) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        self.times.get(row).hash(&mut hasher);
        self.texts.iter().for_each(|words| words.at(row).hash(&mut hasher));
        self.ports.iter().for_each(|ports| ports.values().get(row).hash(&mut hasher));
        self.overlay.at(row).hash(&mut hasher);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_is_read_as_it_is_written() {
        let rank = Rank { octets: 9_000, end: 1_795_219_200_000, mark: 0xfeed };
        assert_eq!(rank.to_string().parse(), Ok(rank));
        assert!("9000.17".parse::<Rank>().is_err());
        assert!("9000.17.xyz".parse::<Rank>().is_err());
    }
}
