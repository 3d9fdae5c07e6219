//! Several inputs in the order of time.
//!
//! The input whose next packet is the oldest is read on; of equals the one that was named first,
//! so that the order is the same every time. An input that is itself out of order is taken as it
//! is: a packet that comes too late comes when it is its turn, nothing waits for it and nothing is
//! held.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use capture::{Input, InputError};
use wire::Timestamp;
use wire::file::{DamageReason, Item, Record};

use crate::{DamageSeen, InputAccount};

/// Inputs that are open.
pub struct OpenInputs {
    sources: Vec<Source>,
}

impl OpenInputs {
    /// Opens all inputs; `-` is standard input.
    ///
    /// # Errors
    /// One of them cannot be opened.
    pub fn open(paths: &[PathBuf]) -> Result<Self, InputError> {
        let sources = paths.iter().map(|path| Source::open(path)).collect::<Result<_, _>>()?;
        Ok(Self { sources })
    }

    /// Devices and numbers of the files, by which they can be told from others.
    pub fn identities(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.sources.iter().filter_map(|source| source.input.identity())
    }

    /// How far reading is, for whoever wants to watch.
    pub fn progress(&self) -> Progress {
        Progress {
            taken: self.sources.iter().map(|source| source.input.taken()).collect(),
            size: self.sources.iter().map(|source| source.input.size()).sum(),
        }
    }

    pub(crate) fn into_sources(self) -> Vec<Source> {
        self.sources
    }
}

/// How far reading is.
#[derive(Debug, Clone)]
pub struct Progress {
    taken: Vec<Arc<AtomicU64>>,
    size: Option<u64>,
}

impl Progress {
    /// Bytes of the inputs read so far, packed if they are packed.
    pub fn taken(&self) -> u64 {
        self.taken.iter().map(|taken| taken.load(Ordering::Relaxed)).sum()
    }

    /// Bytes of all inputs together, where every one is a regular file.
    pub const fn size(&self) -> Option<u64> {
        self.size
    }
}

/// One input on its way to the next packet.
pub(crate) struct Source {
    pub(crate) input: Input,
    pub(crate) account: InputAccount,
    /// The time of the packet it stands at; `None` at its end.
    head: Option<Timestamp>,
}

impl Source {
    fn open(path: &std::path::Path) -> Result<Self, InputError> {
        Ok(Self { input: Input::open(path)?, account: InputAccount::new(path), head: None })
    }

    /// Goes to the next packet. Whatever stands before it is shown to `others`.
    pub(crate) fn advance(&mut self, mut others: impl FnMut(&Item<'_>)) {
        self.head = loop {
            match self.input.advance() {
                Ok(true) => {}
                Ok(false) => break None,
                Err(error) => {
                    self.account.failure = Some(error.to_string());
                    break None;
                }
            }
            match self.input.item() {
                Item::Record(record) => break Some(record.packet.time),
                Item::Damage(damage) => {
                    if matches!(damage.reason, DamageReason::NotACapture { .. }) {
                        self.account.failure =
                            Some(format!("cannot read {}: {damage}", self.input.path().display()));
                    }
                    self.account.add(DamageSeen::from(damage));
                }
                item => others(&item),
            }
        };
    }

    /// The packet it stands at.
    pub(crate) fn record(&self) -> Option<Record<'_>> {
        match self.input.item() {
            Item::Record(record) if self.head.is_some() => Some(record),
            _ => None,
        }
    }
}

/// The order in which several sources are read.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    current: usize,
    /// The packet of another source that is the next, and the number of that source.
    bound: Option<(Timestamp, usize)>,
}

impl Turn {
    /// The source whose packet is next; `None` at the end of all.
    pub(crate) fn next(&mut self, sources: &[Source]) -> Option<usize> {
        let current = sources.get(self.current).and_then(|source| source.head);
        let is_still =
            current.is_some_and(|time| self.bound.is_none_or(|bound| (time, self.current) < bound));
        if is_still {
            return Some(self.current);
        }
        let mut heads = sources
            .iter()
            .enumerate()
            .filter_map(|(number, source)| Some((source.head?, number)))
            .collect::<Vec<_>>();
        heads.sort_unstable();
        let (_, first) = *heads.first()?;
        self.current = first;
        self.bound = heads.get(1).copied();
        Some(first)
    }
}
