//! Several inputs in the order of time.
//!
//! The input whose next packet is the oldest is read on; of equals the one that was named first,
//! so that the order is the same every time. An input that is itself out of order is taken as it
//! is: a packet that comes too late comes when it is its turn, nothing waits for it and nothing is
//! held.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use capture::{Advance, Input, InputError};
use wire::Timestamp;
use wire::file::{Chunk, DamageReason, Item, Mark, Record};

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
    /// What interfaces without a name are called.
    pub(crate) name: String,
    ahead: Ahead,
    chunk: Chunk,
    /// The time of the packet it stands at; `None` at its end.
    head: Option<Timestamp>,
}

/// Where the packet is that a source stands at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ahead {
    /// In the chunk, here.
    Chunk(Mark),
    /// It is the item of the input.
    Item,
    /// There is none.
    Nothing,
}

impl Source {
    fn open(path: &Path) -> Result<Self, InputError> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(Self {
            input: Input::open(path)?,
            account: InputAccount::new(path),
            name: name.unwrap_or_default(),
            ahead: Ahead::Nothing,
            chunk: Chunk::new(),
            head: None,
        })
    }

    /// Goes to the packets that come next, once those at hand are used up. Whatever stands before
    /// them is shown to `others`.
    pub(crate) fn advance(&mut self, mut others: impl FnMut(&Item<'_>)) {
        self.ahead = loop {
            match self.input.advance_by(&mut self.chunk) {
                Ok(Advance::Chunk) => {
                    self.head = self.chunk.records().peek_time();
                    break Ahead::Chunk(self.chunk.first());
                }
                Ok(Advance::Item) => {}
                Ok(Advance::End) => break self.end(),
                Err(error) => {
                    self.account.failure = Some(error.to_string());
                    break self.end();
                }
            }
            match self.input.item() {
                Item::Record(record) => {
                    self.head = Some(record.packet.time);
                    break Ahead::Item;
                }
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

    /// Shows the packets at hand to `each`, as long as they are before `bound`; says whether there
    /// are none left at hand.
    #[inline]
    pub(crate) fn each<B>(
        &mut self,
        bound: Bound,
        mut each: impl FnMut(&Record<'_>) -> ControlFlow<B>,
    ) -> ControlFlow<B, bool> {
        match self.ahead {
            Ahead::Nothing => ControlFlow::Continue(true),
            Ahead::Item => {
                self.account.read += 1;
                if let Item::Record(record) = self.input.item() {
                    each(&record)?;
                }
                ControlFlow::Continue(true)
            }
            Ahead::Chunk(mark) => {
                let mut records = self.chunk.records_from(mark);
                let mut read = 0;
                let result = loop {
                    let mark = records.mark();
                    let Some(record) = records.next() else { break ControlFlow::Continue(true) };
                    if !bound.is_after(record.packet.time) {
                        self.head = Some(record.packet.time);
                        self.ahead = Ahead::Chunk(mark);
                        break ControlFlow::Continue(false);
                    }
                    read += 1;
                    if let ControlFlow::Break(broken) = each(&record) {
                        break ControlFlow::Break(broken);
                    }
                };
                self.account.read += read;
                result
            }
        }
    }

    /// Reads on in the memory of `chunk`, which is at hand from now on.
    pub(crate) const fn read_into(&mut self, chunk: &mut Chunk) {
        std::mem::swap(chunk, &mut self.chunk);
    }

    /// Gives the packets at hand away: those of a chunk go into `chunk`, whose memory is used on.
    pub(crate) fn hand_over(&mut self, chunk: &mut Chunk) -> Handed<'_> {
        match std::mem::replace(&mut self.ahead, Ahead::Nothing) {
            Ahead::Chunk(_) => {
                std::mem::swap(chunk, &mut self.chunk);
                Handed::Chunk
            }
            Ahead::Item => match self.input.item() {
                Item::Record(record) => Handed::Record(record),
                _ => Handed::Nothing,
            },
            Ahead::Nothing => Handed::Nothing,
        }
    }

    fn end(&mut self) -> Ahead {
        self.head = None;
        Ahead::Nothing
    }
}

/// What [`Source::hand_over`] gives.
pub(crate) enum Handed<'a> {
    /// Packets, which are in the chunk.
    Chunk,
    /// One packet.
    Record(Record<'a>),
    /// There are none any more.
    Nothing,
}

/// How far one source is read before it is another's turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    /// The next packet of any other source, and the number of that source.
    other: Option<(Timestamp, usize)>,
    own: usize,
}

impl Bound {
    #[inline]
    fn is_after(&self, time: Timestamp) -> bool {
        self.other.is_none_or(|other| (time, self.own) < other)
    }
}

/// The source whose packet is next, and until when; `None` at the end of all.
pub(crate) fn turn(sources: &[Source]) -> Option<(usize, Bound)> {
    let mut heads =
        sources.iter().enumerate().filter_map(|(number, source)| Some((source.head?, number)));
    let (mut first, mut second) = (heads.next()?, None);
    for head in heads {
        if head < first {
            (first, second) = (head, Some(first));
        } else if second.is_none_or(|second| head < second) {
            second = Some(head);
        }
    }
    let own = first.1;
    Some((own, Bound { other: second, own }))
}
