//! What files of the store are called: the hour of their rows and the parts that are in them.
//!
//! `2026-11-21T14.00000012-00000040.parquet` holds the rows of that hour (UTC) that the parts 12 to
//! 40 held. A file whose parts are all in another one of the same hour has been merged into that
//! and counts no more, whether or not it is gone already: that makes merging safe at any time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use wire::Timestamp;

/// An hour, in hours since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Hour(pub(crate) u32);

impl Hour {
    /// The hour of a time.
    pub(crate) fn of(time: Timestamp) -> Self {
        Self(u32::try_from(time.seconds() / 3600).unwrap_or(u32::MAX))
    }

    /// Its begin, in milliseconds since 1970.
    pub(crate) const fn begin_ms(self) -> i64 {
        self.0 as i64 * 3_600_000
    }

    fn text(self) -> String {
        let time = jiff::Timestamp::from_second(i64::from(self.0) * 3600).unwrap_or_default();
        time.strftime("%Y-%m-%dT%H").to_string()
    }

    fn parse(text: &str) -> Option<Self> {
        let time: jiff::Timestamp = format!("{text}:00:00Z").parse().ok()?;
        u32::try_from(time.as_second() / 3600).ok().map(Self)
    }
}

/// The name of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PartName {
    /// The hour in which its flows ended.
    pub(crate) hour: Hour,
    /// The first and the last part that are in it.
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl PartName {
    /// The name of a part that was never merged.
    pub(crate) const fn new(hour: Hour, number: u64) -> Self {
        Self { hour, first: number, last: number }
    }

    /// As the name of a file.
    pub(crate) fn file(self) -> String {
        format!("{}.{:08}-{:08}.{EXTENSION}", self.hour.text(), self.first, self.last)
    }

    fn parse(name: &str) -> Option<Self> {
        let (hour, rest) = name.strip_suffix(EXTENSION)?.strip_suffix('.')?.split_once('.')?;
        let (first, last) = rest.split_once('-')?;
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then_some(Self { hour: Hour::parse(hour)?, first, last })
    }

    /// Whether all parts of the other one are in this one.
    pub(crate) fn holds(self, other: Self) -> bool {
        self.hour == other.hour && self.first <= other.first && other.last <= self.last
    }
}

/// A file of the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Part {
    pub(crate) name: PartName,
    pub(crate) path: PathBuf,
    /// Its size in bytes.
    pub(crate) bytes: u64,
}

/// The files of a folder by their hours: those that count, and those that were merged into others.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) parts: Vec<Part>,
    pub(crate) merged: Vec<Part>,
}

impl Listing {
    /// What is in a folder; nothing if there is none. Files of other names are not looked at.
    pub(crate) fn of(folder: &Path) -> io::Result<Self> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            entries => entries?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str().and_then(PartName::parse) else { continue };
            // Removed meanwhile: by its age, or merged.
            let Ok(about) = entry.metadata() else { continue };
            all.push(Part { name, path: entry.path(), bytes: about.len() });
        }
        // Of one hour and first part that with most parts comes first.
        all.sort_by_key(|part| {
            (part.name.hour, part.name.first, std::cmp::Reverse(part.name.last))
        });
        let mut listing = Self::default();
        for part in all {
            match listing.parts.last() {
                Some(before) if before.name.holds(part.name) => listing.merged.push(part),
                _ => listing.parts.push(part),
            }
        }
        Ok(listing)
    }
}

/// How names of files end.
pub(crate) const EXTENSION: &str = "parquet";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_the_hour_and_the_parts() {
        let name = PartName { hour: Hour(498_590), first: 12, last: 40 };
        assert_eq!(name.file(), "2026-11-17T14.00000012-00000040.parquet");
        assert_eq!(PartName::parse(&name.file()), Some(name));
        for wrong in ["x.parquet", "2026-11-17T14.2-1.parquet", ".2026-11-17T14.1-2.parquet"] {
            assert_eq!(PartName::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_was_merged_counts_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let names = [(5, 1, 1), (5, 2, 2), (5, 3, 3), (5, 1, 2), (6, 2, 2)];
        for (hour, first, last) in names {
            let name = PartName { hour: Hour(hour), first, last };
            fs::write(folder.path().join(name.file()), "").unwrap();
        }
        let listing = Listing::of(folder.path()).unwrap();
        let names = |parts: &[Part]| -> Vec<(u32, u64, u64)> {
            parts.iter().map(|p| (p.name.hour.0, p.name.first, p.name.last)).collect()
        };
        assert_eq!(names(&listing.parts), [(5, 1, 2), (5, 3, 3), (6, 2, 2)]);
        assert_eq!(names(&listing.merged), [(5, 1, 1), (5, 2, 2)]);
    }
}
