//! One input read by several threads.
//!
//! Each thread takes a chunk of packets when it is its turn to read, gives the packets their fates
//! while others read on, and writes what is left when everything before it is written: the output
//! is what one thread writes, byte for byte. There are as many chunks in memory as threads.
//!
//! What stands between packets, as the description of an interface, may change what becomes of
//! those behind it. So it is taken in when all before it are written and none behind it is read.
//! A chunk with a fragment in it, whose fate may be another's, is gone through when it is its turn
//! to be written.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use wire::file::{Chunk, Item, Record};
use wire::{LinkType, Timestamp};

use crate::Tally;
use crate::extract::{Hands, Look, Results, Rules, Way};
use crate::outputs::{OutputError, Piece};
use crate::sources::{Handed, Source};

/// Gives all packets of `source` their fates. Returns whether it was read to its end, or why the
/// output could not be written.
pub(crate) fn run(
    rules: &mut Rules,
    results: &mut Results,
    source: &mut Source,
) -> Result<bool, OutputError> {
    let threads = rules.request.threads;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let shared = Shared {
        asks: if threads <= processors { ASKS } else { 0 },
        stop: Arc::clone(&rules.request.stop),
        link: OnceLock::new(),
        rules: RwLock::new(rules),
        reading: Mutex::new(Reading {
            source,
            begun: 0,
            has_ended: false,
            hands: Hands::default(),
        }),
        writing: Mutex::new(Writing { results, written: 0, failure: None }),
        written: AtomicU64::new(0),
        is_turn: Condvar::new(),
        is_broken: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| shared.work());
        }
        shared.work();
    });
    let Shared { reading, writing, .. } = shared;
    match writing.into_inner().unwrap_or_else(PoisonError::into_inner).failure {
        Some(failure) => Err(failure),
        None => Ok(reading.into_inner().unwrap_or_else(PoisonError::into_inner).has_ended),
    }
}

/// What the threads have in common. Who holds several locks took them in the order they stand in.
struct Shared<'a> {
    reading: Mutex<Reading<'a>>,
    writing: Mutex<Writing<'a>>,
    rules: RwLock<&'a mut Rules>,
    /// What `writing` says of how many chunks are written, for who is about to wait.
    written: AtomicU64,
    /// Told when something was written, and at the end.
    is_turn: Condvar,
    /// What the packets of the output begin with, once it is known.
    link: OnceLock<LinkType>,
    stop: Arc<AtomicBool>,
    /// How often to ask before falling asleep: not at all where that keeps others from working.
    asks: u32,
    /// Nothing more is to be written. Set by who holds `writing`, so that nobody waits in vain.
    is_broken: AtomicBool,
}

struct Reading<'a> {
    source: &'a mut Source,
    /// How many chunks were read.
    begun: u64,
    has_ended: bool,
    hands: Hands,
}

struct Writing<'a> {
    results: &'a mut Results,
    /// How many chunks are written.
    written: u64,
    failure: Option<OutputError>,
}

impl<'a> Shared<'a> {
    /// What each thread does.
    fn work(&self) {
        let _guard = Watch(self);
        let mut hands = Hands::default();
        let mut chunk = Chunk::new();
        let mut piece = Piece::default();
        while let Some(number) = self.read(&mut chunk) {
            let fates = self.treat(&chunk, &mut piece, &mut hands);
            self.write(number, &chunk, &mut piece, fates.as_ref(), &mut hands);
        }
    }

    /// Reads the next chunk; the number it has, or `None` if there is no other.
    fn read(&self, chunk: &mut Chunk) -> Option<u64> {
        let mut reading = self.lock_soon(&self.reading);
        let Reading { source, begun, has_ended, hands } = &mut *reading;
        let name = source.name.clone();
        // What this thread reads it also looks at: it stays in the cache of its processor.
        source.read_into(chunk);
        loop {
            let is_over = *has_ended || self.is_broken.load(Ordering::Relaxed);
            if is_over || self.stop.load(Ordering::Relaxed) {
                return None;
            }
            source.advance(|item| self.note(*begun, &name, item));
            match source.hand_over(chunk) {
                Handed::Chunk => {
                    *begun += 1;
                    return Some(*begun - 1);
                }
                Handed::Record(record) => self.take(*begun, hands, &record),
                Handed::Nothing => *has_ended = true,
            }
        }
    }

    /// Gives the packets of a chunk their fates; `None` if one of them depends on others.
    fn treat(&self, chunk: &Chunk, piece: &mut Piece, hands: &mut Hands) -> Option<Fates> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        let mut tally = Tally::default();
        tally.read = chunk.len() as u64;
        let mut newest = Timestamp::ZERO;
        piece.begin(self.link.get().copied());
        for record in chunk.records() {
            newest = newest.max(record.packet.time);
            match rules.look(hands, INPUT, &record) {
                Look::Wanted(point) => {
                    let shaped = rules.shape(hands, &record, point);
                    let fate = piece.take(rules.encoding, &shaped.packet, &record, shaped.point);
                    tally.count(fate);
                    shaped.count(&mut tally, fate);
                }
                Look::Refused(fate) => tally.count(fate),
                Look::Piece(_) => return None,
            }
        }
        Some(Fates { tally, newest })
    }

    /// Writes what is left of chunk number `number`, when it is its turn.
    fn write(
        &self,
        number: u64,
        chunk: &Chunk,
        piece: &mut Piece,
        fates: Option<&Fates>,
        hands: &mut Hands,
    ) {
        let Some(mut writing) = self.turn(number) else { return };
        let Writing { results, written, failure } = &mut *writing;
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        // Nor may fragments before it be waiting until then.
        let fates = fates.filter(|fates| fates.newest < results.pieces.deadline());
        let taken = fates.map(|fates| {
            let taken = results.outputs.take_piece(piece, &rules.points);
            if !matches!(taken, Ok(false)) {
                results.tally.add(&fates.tally);
            }
            taken
        });
        let result = match taken {
            Some(Ok(true)) => Ok(()),
            Some(Err(error)) => Err(error),
            // One after the other, now that it is their turn; or the output began meanwhile, with
            // a packet of another link type.
            Some(Ok(false)) | None => {
                let mut way = Way { rules: &rules, results, copies: None, hands };
                chunk.records().try_for_each(|record| way.take(INPUT, &record))
            }
        };
        if let Some(link) = results.outputs.only_file().1 {
            self.link.get_or_init(|| link);
        }
        *written += 1;
        self.written.store(*written, Ordering::Release);
        if let Err(error) = result {
            *failure = Some(error);
            self.is_broken.store(true, Ordering::Relaxed);
        }
        drop(writing);
        self.is_turn.notify_all();
    }

    /// Takes in what stands behind `begun` chunks and is no packet.
    fn note(&self, begun: u64, name: &str, item: &Item<'_>) {
        let Some(mut writing) = self.turn(begun) else { return };
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        rules.note(writing.results, INPUT, name, item);
    }

    /// Gives a packet its fate that stands behind `begun` chunks and is in none.
    fn take(&self, begun: u64, hands: &mut Hands, record: &Record<'_>) {
        let Some(mut writing) = self.turn(begun) else { return };
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        let mut way = Way { rules: &rules, results: writing.results, copies: None, hands };
        if let Err(error) = way.take(INPUT, record) {
            writing.failure = Some(error);
            self.is_broken.store(true, Ordering::Relaxed);
        }
    }

    /// Waits until as many chunks are written; `None` if that will not be.
    fn turn(&self, number: u64) -> Option<MutexGuard<'_, Writing<'a>>> {
        let _ = self.soon(|| (self.written.load(Ordering::Acquire) >= number).then_some(()));
        let mut writing = lock(&self.writing);
        loop {
            if self.is_broken.load(Ordering::Relaxed) {
                return None;
            }
            if writing.written == number {
                return Some(writing);
            }
            writing = self.is_turn.wait(writing).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared<'_> {
    /// A lock that others hold for less time than falling asleep and waking takes.
    fn lock_soon<'m, T>(&self, mutex: &'m Mutex<T>) -> MutexGuard<'m, T> {
        self.soon(|| mutex.try_lock().ok()).unwrap_or_else(|| lock(mutex))
    }

    /// What `ask` has to say, if it has before long.
    fn soon<T>(&self, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
        for _ in 0..self.asks {
            let answer = ask();
            if answer.is_some() {
                return answer;
            }
            std::hint::spin_loop();
        }
        None
    }
}

/// What became of the packets of a chunk, if each was looked at by itself.
struct Fates {
    tally: Tally,
    /// The time of the youngest packet.
    newest: Timestamp,
}

/// Lets nobody wait for a thread that panicked.
struct Watch<'s, 'a>(&'s Shared<'a>);

impl Drop for Watch<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _writing = lock(&self.0.writing);
            self.0.is_broken.store(true, Ordering::Relaxed);
            self.0.is_turn.notify_all();
        }
    }
}

/// What a thread that panicked left behind is not used: its panic goes on in the one that waits
/// for all.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Some hundred microseconds: what it takes to read or write some chunks.
const ASKS: u32 = 10_000;
/// The number of the only input.
const INPUT: usize = 0;
