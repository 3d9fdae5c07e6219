//! The recorder: takes packets of many points, writes them in chunks, keeps the budget.
//!
//! A point that talks little costs a few hundred bytes of memory; one that talks much has a chunk
//! of 256 KiB in hand. All of them are written every second, with a sign of life that says up to
//! when the recording is complete. When the disk refuses, the oldest goes; when there is nothing
//! to go, packets are dropped and counted, and the recorder goes on.

use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use pipeline::Sink;
use select::{Cleared, DropReason, Ownership};
use wire::{LinkType, PointId, Timestamp};

use crate::body::{Alive, Losses};
use crate::budget::{Budget, LEAST_BYTES};
use crate::chunk::{CHUNK_BYTES, CHUNK_HEAD, ChunkHeader, Kind};
use crate::directory::{Directory, FLUSH};
use crate::error::StoreError;
use crate::key::{HostKey, KeyRing};
use crate::packets::{packet_len, write_packet};
use crate::point::{MachineRef, PointInfo};
use crate::seal::fill;
use crate::segment::mend_index;
use crate::writer::Writer;

/// What a recorder is to do.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory, which must be there; others may record into it as well.
    pub directory: PathBuf,
    /// The host's keys; new segments get the first.
    pub keys: KeyRing,
    /// How much is kept.
    pub budget: Budget,
    /// Bytes of the file system that stay free.
    pub min_free_bytes: u64,
}

/// Records packets of many points into a store.
#[derive(Debug)]
pub struct Recorder {
    directory: Directory,
    host: HostKey,
    budget: Budget,
    min_free_bytes: u64,
    recording: [u8; 16],
    segment: Option<Writer>,
    next_segment: u64,
    points: Vec<Point>,
    /// The next number of a point in the store: a point gets another one when it is renamed.
    next_number: u32,
    /// Bytes of packets that are in no chunk yet.
    waiting: usize,
    /// The newest time we know of.
    now: Timestamp,
    /// Everything before is written.
    settled: Timestamp,
    next_flush: Timestamp,
    next_look: Timestamp,
    /// Bytes that may be written before the free space is looked at again.
    allowance: u64,
    /// Whether nothing more can be written at the moment.
    is_full: bool,
    problem: Option<String>,
    summary: Summary,
}

/// What a recorder has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// For each point, packets that were taken and could not be written after all.
    pub unwritten: Vec<u64>,
    /// Segments begun.
    pub segments: u64,
    /// Segments removed to stay within the budget, whoever had written them.
    pub removed: u64,
    /// Bytes written.
    pub bytes: u64,
}

impl Recorder {
    /// Begins a recording at the time `now`. Completes the indexes of segments whose recorder was
    /// killed.
    ///
    /// # Errors
    /// When the directory cannot be used or the budget is too small.
    pub fn open(settings: &Settings, now: Timestamp) -> Result<Self, StoreError> {
        if settings.budget.bytes < LEAST_BYTES {
            return Err(StoreError::TooSmall { given: settings.budget.bytes, least: LEAST_BYTES });
        }
        let directory = Directory::open(&settings.directory)?;
        let failed = |source| StoreError::Directory { path: settings.directory.clone(), source };
        for held in directory.held().map_err(failed)? {
            if !held.is_live {
                mend_index(&directory, &settings.keys, &held.stem);
            }
        }
        let mut recording = [0; 16];
        fill(&mut recording).map_err(|_| StoreError::NoRandomness)?;
        let host = settings.keys.first().ok_or(StoreError::NoRandomness)?.clone();
        let mut recorder = Self {
            directory,
            host,
            budget: settings.budget,
            min_free_bytes: settings.min_free_bytes,
            recording,
            segment: None,
            next_segment: 0,
            points: Vec::new(),
            next_number: 0,
            waiting: 0,
            now,
            settled: now,
            next_flush: now.saturating_add(FLUSH_EVERY),
            next_look: now.saturating_add(LOOK_EVERY),
            allowance: 0,
            is_full: false,
            problem: None,
            summary: Summary::default(),
        };
        recorder.look_at_free_space();
        match recorder.begin_segment() {
            Ok(()) => Ok(recorder),
            Err(source) => Err(failed(source)),
        }
    }

    /// Adds a point; its number is the next one. Everything of it is offered from `since` on.
    pub fn add_point(&mut self, mut info: PointInfo, since: Timestamp) -> PointId {
        info.since = since;
        let number = u32::try_from(self.points.len()).unwrap_or(u32::MAX);
        let kept_as = self.take_number();
        self.points.push(Point::new(info, kept_as));
        self.describe(number as usize);
        PointId(number)
    }

    /// From `at` on the packets of a point are of a machine that is called so or belongs to whom
    /// it says: what was before keeps its name and its owner. To be called before later packets
    /// are offered.
    pub fn rename(&mut self, number: usize, machine: MachineRef, label: String, at: Timestamp) {
        self.take_name(number);
        if let Some(point) = self.points.get_mut(number).filter(|point| !point.is_gone) {
            point.renamed_at = at;
            point.next_name = Some((machine, label));
        }
    }

    /// From now on, these packets of a point are its machine's as well.
    pub fn own(&mut self, number: usize, ownership: &Ownership) {
        if let Some(point) = self.points.get_mut(number) {
            point.info.own(ownership);
            self.describe(number);
        }
    }

    /// Nothing of the point is seen any more from `now` on.
    pub fn end_point(&mut self, number: usize, now: Timestamp) {
        self.take_name(number);
        let is_seen = self.points.get(number).is_some_and(|point| !point.is_gone);
        if is_seen {
            self.flush_point(number);
            self.write_fact(Kind::Gone, self.kept_as(number), now, &[]);
            if let Some(point) = self.points.get_mut(number) {
                point.is_gone = true;
            }
        }
    }

    /// Says something that a reader of a point's machine should know at this place.
    pub fn note(&mut self, number: usize, now: Timestamp, text: &str) {
        let text = text.get(..text.floor_char_boundary(MOST_NOTE_BYTES)).unwrap_or(text);
        self.write_fact(Kind::Note, self.kept_as(number), now, text.as_bytes());
    }

    /// Tells how many packets of a point the kernel has dropped since it was added.
    pub fn count(&mut self, number: usize, kernel_dropped: u64) {
        if let Some(point) = self.points.get_mut(number) {
            point.losses.kernel_dropped = kernel_dropped;
        }
    }

    /// Does what is due at `now`. Nothing seen before `settled` will come any more. To be called
    /// some times a second.
    pub fn tick(&mut self, now: Timestamp, settled: Timestamp) {
        self.now = now;
        let is_set_back = self.next_flush.since(now) > FLUSH_EVERY;
        let asked = self.directory.flush_asked();
        let is_asked = asked.is_some_and(|asked| asked > self.settled && asked <= now);
        if now < self.next_flush && !is_set_back && !is_asked {
            return;
        }
        self.next_flush = now.saturating_add(FLUSH_EVERY);
        self.take_names(settled);
        self.flush_all();
        self.settled = settled;
        self.write_alive(Kind::Alive);
        if now >= self.next_look || is_set_back {
            self.next_look = now.saturating_add(LOOK_EVERY);
            self.look_at_free_space();
            self.make_room(0);
        }
        let begin = self.segment.as_ref().map(Writer::begin);
        let is_over =
            |begin| self.budget.segment_span().is_some_and(|span| now.since(begin) >= span);
        if begin.is_none_or(is_over) {
            self.turn();
        }
    }

    /// Ends the recording: everything seen is in it.
    pub fn close(mut self, now: Timestamp) -> Summary {
        self.now = now;
        self.take_names(now);
        self.flush_all();
        self.settled = now;
        self.write_alive(Kind::End);
        self.end_segment();
        self.summary.unwritten = self.points.iter().map(|point| point.losses.unwritten).collect();
        self.summary
    }

    /// Where files are made and deleted.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.fd()
    }

    /// Why packets are being dropped at the moment, if they are.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Bytes of packets in memory that are in no chunk yet.
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    #[inline]
    fn add(&mut self, packet: &wire::Packet<'_>) -> Result<(), DropReason> {
        let number = packet.point.0 as usize;
        let is_renamed = |point: &Point| packet.time >= point.renamed_at;
        if self.points.get(number).is_some_and(is_renamed) {
            self.take_name(number);
        }
        let Some(point) = self.points.get_mut(number) else { return Err(DropReason::SinkFailed) };
        if packet.time < point.not_before {
            return Err(DropReason::OtherTenant);
        }
        if self.is_full || packet.link != LinkType::ETHERNET {
            return Err(DropReason::SinkFailed);
        }
        let len = packet_len(packet);
        if point.packets > 0 && point.buffer.len() + len > CHUNK_HEAD + CHUNK_BYTES {
            self.flush_point(number);
        } else if self.waiting + len > MOST_WAITING {
            self.flush_all();
        }
        let Some(point) = self.points.get_mut(number) else { return Err(DropReason::SinkFailed) };
        if point.packets == 0 {
            point.buffer.clear();
            point.buffer.resize(CHUNK_HEAD, 0);
            (point.first, point.last) = (packet.time, packet.time);
        }
        let before = point.buffer.len();
        write_packet(&mut point.buffer, packet);
        point.packets += 1;
        point.first = point.first.min(packet.time);
        point.last = point.last.max(packet.time);
        self.waiting += point.buffer.len() - before;
        Ok(())
    }

    /// Writes all that waits, and gives the memory back that was not used since the last time.
    fn flush_all(&mut self) {
        let mut kept = 0;
        for number in 0..self.points.len() {
            let used = self.points.get(number).map_or(0, |point| point.buffer.len());
            self.flush_point(number);
            let Some(point) = self.points.get_mut(number) else { continue };
            kept += used;
            let is_used = used > 0 && kept <= MOST_WAITING;
            point.buffer.shrink_to(if is_used { used.next_power_of_two() } else { 0 });
        }
    }

    /// Writes the packets of a point that wait.
    fn flush_point(&mut self, number: usize) {
        let Some(point) = self.points.get_mut(number).filter(|point| point.packets > 0) else {
            return;
        };
        let mut bytes = std::mem::take(&mut point.buffer);
        let body_len = bytes.len().saturating_sub(CHUNK_HEAD);
        let header = ChunkHeader {
            kind: Kind::Packets,
            point: point.kept_as,
            packets: std::mem::take(&mut point.packets),
            body_len: u32::try_from(body_len).unwrap_or(u32::MAX),
            first: point.first,
            last: point.last,
        };
        self.waiting = self.waiting.saturating_sub(body_len);
        let is_written = self.write(&header, &mut bytes);
        if let Some(point) = self.points.get_mut(number) {
            bytes.clear();
            point.buffer = bytes;
            if !is_written {
                point.losses.unwritten += u64::from(header.packets);
            }
        }
    }

    /// Writes a chunk; in the next segment, if this one is full.
    fn write(&mut self, header: &ChunkHeader, bytes: &mut Vec<u8>) -> bool {
        let has_room = |segment: &Writer| segment.has_room(header.body_len as usize);
        if !self.segment.as_ref().is_some_and(has_room) {
            self.turn();
        }
        if self.allowance < bytes.len() as u64 {
            self.look_at_free_space();
        }
        if self.is_full {
            return false;
        }
        let Some(segment) = &mut self.segment else { return false };
        let (directory, removed) = (&self.directory, &mut self.summary.removed);
        let result = segment.append(header, bytes, || {
            let gone = remove_oldest(directory);
            *removed += u64::from(gone);
            gone
        });
        match result {
            Ok(()) => {
                self.allowance = self.allowance.saturating_sub(bytes.len() as u64);
                self.summary.bytes += bytes.len() as u64;
                true
            }
            Err(error) => {
                self.problem = Some(format!("cannot write to {}: {error}", segment.stem));
                false
            }
        }
    }

    fn write_fact(&mut self, kind: Kind, kept_as: u32, at: Timestamp, body: &[u8]) -> bool {
        let mut bytes = vec![0; CHUNK_HEAD];
        bytes.extend_from_slice(body);
        let header = ChunkHeader {
            kind,
            point: kept_as,
            packets: 0,
            body_len: u32::try_from(body.len()).unwrap_or(u32::MAX),
            first: at,
            last: at,
        };
        self.write(&header, &mut bytes)
    }

    fn write_alive(&mut self, kind: Kind) {
        let changed = |point: &Point| {
            (point.losses != point.told).then(|| (point.kept_as, point.losses.since(&point.before)))
        };
        let counts = self.points.iter().filter_map(changed).collect();
        let alive = Alive { settled: self.settled, counts };
        let mut body = Vec::new();
        alive.encode(&mut body);
        if self.write_fact(kind, u32::MAX, self.settled, &body) {
            for point in &mut self.points {
                point.told = point.losses;
            }
        }
        if let Some(segment) = &mut self.segment {
            segment.write_index();
        }
    }

    /// Writes what a point is; every segment has its own descriptions.
    fn describe(&mut self, number: usize) {
        let Some(point) = self.points.get(number).filter(|point| !point.is_gone) else { return };
        let begin = self.segment.as_ref().map_or(self.settled, Writer::begin);
        let (since, kept_as) = (point.info.since.max(begin), point.kept_as);
        let Ok(body) = serde_json::to_vec(&point.info) else { return };
        self.write_fact(Kind::Point, kept_as, since, &body);
    }

    fn take_number(&mut self) -> u32 {
        let number = self.next_number;
        self.next_number = number.saturating_add(1);
        number
    }

    /// The number of a point in the store.
    fn kept_as(&self, number: usize) -> u32 {
        self.points.get(number).map_or(u32::MAX, |point| point.kept_as)
    }

    /// Gives points their new names, after which nothing older comes.
    fn take_names(&mut self, settled: Timestamp) {
        for number in 0..self.points.len() {
            if self.points.get(number).is_some_and(|point| point.renamed_at <= settled) {
                self.take_name(number);
            }
        }
    }

    /// Gives a point the name that waits for it, if one does: it is another point from here on.
    #[cold]
    fn take_name(&mut self, number: usize) {
        let Some(point) = self.points.get_mut(number) else { return };
        let Some((machine, label)) = point.next_name.take() else { return };
        let at = std::mem::replace(&mut point.renamed_at, NEVER);
        self.flush_point(number);
        self.write_fact(Kind::Gone, self.kept_as(number), at, &[]);
        let kept_as = self.take_number();
        let Some(point) = self.points.get_mut(number) else { return };
        if machine.tenant != point.info.machine.tenant || machine.id != point.info.machine.id {
            point.not_before = at;
        }
        point.kept_as = kept_as;
        (point.info.machine, point.info.label, point.info.since) = (machine, label, at);
        (point.before, point.told) = (point.losses, point.losses);
        self.describe(number);
    }

    /// Goes on in the next segment.
    fn turn(&mut self) {
        self.end_segment();
        if let Err(error) = self.begin_segment() {
            self.problem = Some(format!("cannot begin a segment: {error}"));
        }
    }

    fn end_segment(&mut self) {
        if let Some(mut segment) = self.segment.take() {
            segment.write_index();
        }
    }

    fn begin_segment(&mut self) -> std::io::Result<()> {
        self.make_room(self.budget.segment_bytes());
        loop {
            let made = Writer::create(
                &self.directory,
                &self.host,
                self.recording,
                self.next_segment,
                self.settled,
                &self.budget,
            );
            self.next_segment += 1;
            match made {
                Ok(segment) => {
                    self.segment = Some(segment);
                    break;
                }
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                    if !remove_oldest(&self.directory) {
                        return Err(error);
                    }
                    self.summary.removed += 1;
                }
                Err(error) => return Err(error),
            }
        }
        self.summary.segments += 1;
        for number in 0..self.points.len() {
            self.describe(number);
        }
        // A segment tells of losses since the recording began.
        for point in &mut self.points {
            point.told = point.before;
        }
        Ok(())
    }

    /// Removes what is too much or too old for `needed` bytes more.
    fn make_room(&mut self, needed: u64) {
        // What cannot be listed cannot be removed; the disk will say so.
        let Ok(held) = self.directory.held() else { return };
        for stem in self.budget.too_many(&held, needed, self.now) {
            self.summary.removed += u64::from(self.directory.remove(&stem).is_ok());
        }
    }

    /// Keeps the reserve of the file system free, as far as removing helps.
    fn look_at_free_space(&mut self) {
        loop {
            let free = self.directory.free_bytes().unwrap_or(u64::MAX);
            self.is_full = free < self.min_free_bytes;
            self.allowance = (free - self.min_free_bytes.min(free)).min(LOOK_AFTER_BYTES);
            if !self.is_full {
                self.problem = None;
                return;
            }
            if !remove_oldest(&self.directory) {
                let text = "the disk space that must stay free was reached";
                self.problem = Some(text.into());
                return;
            }
            self.summary.removed += 1;
        }
    }
}

impl Sink for Recorder {
    #[inline]
    fn take(&mut self, packet: &Cleared<'_, '_>) -> Result<(), DropReason> {
        self.add(packet.packet())
    }
}

/// Asks the recorder that writes into a directory to write what it has, as soon as it can. Who may
/// not ask waits a second.
pub fn ask_to_flush(directory: &std::path::Path) {
    let _ = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(directory.join(FLUSH))
        .and_then(|file| file.set_modified(std::time::SystemTime::now()));
}

/// Removes the oldest segment that nobody writes to. Says whether there was one.
fn remove_oldest(directory: &Directory) -> bool {
    let held = directory.held().unwrap_or_default();
    let oldest = held.iter().find(|segment| !segment.is_live);
    oldest.is_some_and(|segment| directory.remove(&segment.stem).is_ok())
}

/// A point and its packets that are in no chunk yet.
#[derive(Debug)]
struct Point {
    info: PointInfo,
    /// Its number in the store.
    kept_as: u32,
    /// When the name that waits is right; never if none does.
    renamed_at: Timestamp,
    next_name: Option<(MachineRef, String)>,
    /// What is older was somebody else's.
    not_before: Timestamp,
    /// Room for a chunk's header, then packets.
    buffer: Vec<u8>,
    packets: u32,
    first: Timestamp,
    last: Timestamp,
    /// Since it was added.
    losses: Losses,
    /// Of these, before it had the name it has.
    before: Losses,
    /// What of `losses` this segment tells already.
    told: Losses,
    is_gone: bool,
}

impl Point {
    const fn new(info: PointInfo, kept_as: u32) -> Self {
        Self {
            info,
            kept_as,
            renamed_at: NEVER,
            next_name: None,
            not_before: Timestamp::ZERO,
            buffer: Vec::new(),
            packets: 0,
            first: Timestamp::ZERO,
            last: Timestamp::ZERO,
            losses: Losses { kernel_dropped: 0, unwritten: 0 },
            before: Losses { kernel_dropped: 0, unwritten: 0 },
            told: Losses { kernel_dropped: 0, unwritten: 0 },
            is_gone: false,
        }
    }
}

/// How often everything that waits is written: what a killed recorder loses at most.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// How often age and free space are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const LOOK_AFTER_BYTES: u64 = 16 << 20;
/// Bytes of packets in memory, over all points, after which all are written.
const MOST_WAITING: usize = 64 << 20;
const MOST_NOTE_BYTES: usize = 1024;
const NEVER: Timestamp = Timestamp::from_nanos(u64::MAX);
