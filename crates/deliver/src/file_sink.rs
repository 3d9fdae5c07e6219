//! The file sink: pcapng into one file, a ring of files, or a pipe.
//!
//! Every file is whole in itself: it begins with the section, all interfaces and all names, and
//! ends with the counters of each interface for this file. It has its final name from its first
//! byte, so whoever kills the program finds it, complete up to the last flushed block.
//!
//! After [`FileSink::open`] nothing is needed but to create, look at and unlink files in one
//! directory, so the process can be sandboxed in between.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use wire::file::{
    InterfaceHeader, NamedAddress, PacketOptions, comment_len, packet_block_len, write_interface,
    write_names, write_packet, write_section, write_statistics,
};
use wire::{LinkType, Packet, PointId, Timestamp};

use crate::account::{Point, STATISTICS_MAX_BYTES};
use crate::comments::{Comments, MAX_COMMENT_BYTES};
use crate::free_space::FreeSpace;
use crate::headroom::Headroom;
use crate::outlet::{Flushed, LostPacket, Outlet, Patience};
use crate::place::Place;
use crate::{
    Destination, FileAccount, FileSettings, PointCounters, SinkError, Summary, Totals, WhenSlow,
};

/// Writes packets to capture files and accounts for each.
#[derive(Debug)]
pub struct FileSink {
    settings: FileSettings,
    link: LinkType,
    points: Vec<Point>,
    place: Place,
    free_space: Option<FreeSpace>,
    /// `None` once a file could not be opened.
    outlet: Option<Outlet>,
    file: FileAccount,
    /// What may be taken before anything below has to be asked again.
    headroom: Headroom,
    comments: Comments,
    last_words: Vec<String>,
    /// Of the files closed before.
    before: Totals,
    packets_unwritten: u64,
    packets_refused: u64,
    closed: VecDeque<FileAccount>,
    ended: Option<End>,
}

impl FileSink {
    /// Opens the first file and writes what stands at its beginning.
    pub fn open(settings: FileSettings, now: Timestamp) -> Result<Self, SinkError> {
        let link = settings.interfaces.first().ok_or(SinkError::NoInterface)?.link;
        for header in &settings.interfaces {
            check_link(link, header)?;
        }
        let points: Vec<Point> = settings.interfaces.iter().cloned().map(Point::new).collect();
        let header_len = header(&settings, &points).len() as u64;
        let place = Place::open(&settings.destination, now)?;
        let mut sink = Self {
            link,
            free_space: settings.min_free_bytes.map(FreeSpace::new),
            points,
            outlet: None,
            file: FileAccount {
                path: std::path::PathBuf::new(),
                start: now,
                end: now,
                totals: Totals::default(),
            },
            place,
            headroom: Headroom::NONE,
            comments: Comments::default(),
            last_words: Vec::new(),
            before: Totals::default(),
            packets_unwritten: 0,
            packets_refused: 0,
            closed: VecDeque::new(),
            ended: None,
            settings,
        };
        sink.check_size(header_len)?;
        sink.begin_file(now, Vec::new())?;
        Ok(sink)
    }

    /// Takes a packet, at the time `now`.
    pub fn write(&mut self, now: Timestamp, packet: &Packet<'_>) -> Result<Outcome, SinkError> {
        self.write_with(now, packet, &PacketOptions::default())
    }

    /// Takes a packet about which more is known than it says itself.
    pub fn write_with(
        &mut self,
        now: Timestamp,
        packet: &Packet<'_>,
        options: &PacketOptions<'_>,
    ) -> Result<Outcome, SinkError> {
        if let Some(end) = self.ended {
            return Ok(Outcome::Ended(end));
        }
        if !self.comments.is_empty() {
            let texts = [options.comments, &self.comments.all()].concat();
            let outcome = self.take(now, packet, &PacketOptions { comments: &texts, ..*options });
            if matches!(outcome, Ok(Outcome::Written)) {
                self.comments = Comments::default();
            }
            return outcome;
        }
        self.take(now, packet, options)
    }

    /// Does what is due without traffic: rotation by time. To be called some ten times a second.
    pub fn tick(&mut self, now: Timestamp) -> Result<(), SinkError> {
        if self.ended.is_none() && self.place.is_due(now) {
            self.rotate(now)?;
        }
        Ok(())
    }

    /// Sends what is waiting to the file or pipe, as far as that does not have to wait. To be
    /// called at least every 100 ms, so that a reader sees packets while they are new.
    pub fn flush(&mut self) -> Result<(), SinkError> {
        self.send(Waiting::No)
    }

    /// Ends the file: the last packets, the counters, the comments nobody wrote yet.
    pub fn finish(mut self, now: Timestamp) -> Summary {
        let failure = self.end_file(now, Closing::Last).err();
        if let Some(outlet) = &mut self.outlet {
            let lost = outlet.give_up();
            self.count_lost(&lost);
        }
        self.close_account(now);
        Summary {
            written: self.points.iter().map(|point| point.written).collect(),
            totals: self.before,
            packets_unwritten: self.packets_unwritten,
            packets_refused: self.packets_refused,
            files_made: self.place.files_made(),
            files_deleted: self.place.files_deleted(),
            files: self.closed.into(),
            ended: self.ended,
            failure,
        }
    }

    /// Adds an observation point while the capture runs; its number is the next one.
    pub fn add_interface(
        &mut self,
        now: Timestamp,
        header: InterfaceHeader,
    ) -> Result<PointId, SinkError> {
        check_link(self.link, &header)?;
        let number = u32::try_from(self.points.len()).unwrap_or(u32::MAX);
        let point = Point::new(header);
        let mut block = Vec::new();
        write_interface(&mut block, &point.header);
        self.check_size(self.header_len() + block.len() as u64 + STATISTICS_MAX_BYTES)?;
        // The next file describes it anyway, so it is added after a rotation, not before. A sink
        // that takes nothing more has no use for it.
        if self.insert(now, &block, STATISTICS_MAX_BYTES)? {
            self.points.push(point);
        }
        Ok(PointId(number))
    }

    /// Adds names of addresses while the capture runs.
    pub fn add_names(
        &mut self,
        now: Timestamp,
        names: &[(NamedAddress, String)],
    ) -> Result<(), SinkError> {
        let mut block = Vec::new();
        write_names(&mut block, names.iter().map(|(address, name)| (*address, name.as_str())));
        self.check_size(self.header_len() + block.len() as u64)?;
        if self.insert(now, &block, 0)? {
            self.settings.names.extend_from_slice(names);
        }
        Ok(())
    }

    /// Says something about the capture at this place: it is written with the next packet, or at
    /// the end if none comes. Very long and very many comments are cut, with a word about it.
    pub fn add_comment(&mut self, text: impl Into<String>) {
        self.comments.add(text.into());
    }

    /// Comments for the very end, each of at most 65 535 bytes: a receipt that is to be found again.
    /// In a ring they are left out if the last file would get too large by them.
    pub fn set_last_words(&mut self, texts: Vec<String>) {
        self.last_words = texts;
    }

    /// Tells the counters of an observation point, for the end of each file.
    pub fn update_counters(&mut self, point: PointId, counters: PointCounters) {
        if let Some(point) = self.points.get_mut(point.0 as usize) {
            point.counters = counters;
        }
    }

    /// The next file that was closed and not asked for yet, oldest first.
    pub fn take_closed(&mut self) -> Option<FileAccount> {
        self.closed.pop_front()
    }

    /// Why the sink takes no more packets, if it does not.
    pub const fn ended(&self) -> Option<End> {
        self.ended
    }

    /// What was taken so far. What of it is still waiting to be written is known in the end only.
    pub const fn totals(&self) -> Totals {
        let (before, file) = (&self.before, &self.file.totals);
        Totals {
            packets: before.packets + file.packets,
            payload_bytes: before.payload_bytes + file.payload_bytes,
            file_bytes: before.file_bytes + file.file_bytes,
        }
    }

    /// The file being written.
    pub const fn current(&self) -> &FileAccount {
        &self.file
    }

    /// Whether the reader is so far behind that the next packet would be refused.
    pub fn is_crowded(&self) -> bool {
        self.outlet.as_ref().is_some_and(Outlet::is_crowded)
    }

    /// Packets of an observation point that were taken, without those found lost since.
    pub fn written_at(&self, point: PointId) -> u64 {
        self.points.get(point.0 as usize).map_or(0, |point| point.written)
    }

    /// Bytes that were taken and that neither file nor reader has yet.
    pub fn waiting_bytes(&self) -> u64 {
        self.outlet.as_ref().map_or(0, Outlet::waiting)
    }

    /// There is room for so many bytes of all files together now, those that are there included.
    pub fn set_room(&mut self, bytes: u64) {
        self.settings.room_bytes = Some(bytes);
        self.headroom = Headroom::NONE;
    }

    /// Where files are still made and deleted; `None` unless this is a ring: the one file or pipe
    /// is open already.
    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.place.directory()
    }

    /// Packets not taken so far because the reader was slow or no file could hold them.
    pub const fn packets_refused(&self) -> u64 {
        self.packets_refused
    }

    fn take(
        &mut self,
        now: Timestamp,
        packet: &Packet<'_>,
        options: &PacketOptions<'_>,
    ) -> Result<Outcome, SinkError> {
        let number = packet.point.0;
        let Some(point) = self.points.get(number as usize) else {
            return Ok(self.refuse(number, Outcome::Foreign));
        };
        if packet.link != self.link {
            return Ok(self.refuse(number, Outcome::Foreign));
        }
        let changed;
        let packet = if point.refused_before == 0 && packet.data.len() <= point.snaplen {
            packet
        } else {
            let data = packet.data.get(..point.snaplen).unwrap_or(packet.data);
            let lost_before = packet.lost_before.saturating_add(point.refused_before);
            changed = Packet { data, lost_before, ..*packet };
            &changed
        };
        let len = packet_block_len(packet, options) as u64;
        if !self.headroom.take(now, packet.data.len() as u64, len)
            && let Some(other) = self.look(now, packet, len)?
        {
            return Ok(other);
        }
        let Some(outlet) = &mut self.outlet else { return Ok(Outcome::Busy) };
        write_packet(outlet.buffer(), number, packet, options);
        let is_due = outlet.is_due();
        if let Some(point) = self.points.get_mut(number as usize) {
            point.written += 1;
            point.refused_before = 0;
        }
        let totals = &mut self.file.totals;
        totals.packets += 1;
        totals.payload_bytes += packet.data.len() as u64;
        totals.file_bytes += len;
        if self.headroom.packets == 0 {
            self.ended = self.limit_after();
            self.headroom = self.room(now);
        }
        if is_due {
            self.send(Waiting::No)?;
        }
        Ok(Outcome::Written)
    }

    /// Looks at everything that may stand in the way of a packet with a block of `len` bytes, and
    /// does what is due. Returns what becomes of the packet if it cannot be taken.
    #[cold]
    fn look(
        &mut self,
        now: Timestamp,
        packet: &Packet<'_>,
        len: u64,
    ) -> Result<Option<Outcome>, SinkError> {
        let number = packet.point.0;
        self.headroom = Headroom::NONE;
        if self.place.is_due(now) {
            self.rotate(now)?;
        }
        if !self.place.has_room(&self.file.totals, len + self.closing_len(), 1) {
            if !self.place.can_hold(self.header_len() + len + self.closing_len()) {
                return Ok(Some(self.refuse(number, Outcome::TooLarge)));
            }
            self.rotate(now)?;
        }
        self.ended = self.ended.or_else(|| self.limit_before(now, packet, len));
        if let Some(end) = self.ended {
            return Ok(Some(Outcome::Ended(end)));
        }
        let needed = self.totals().file_bytes + len + self.closing_len();
        if self.settings.room_bytes.is_some_and(|room| needed > room) {
            return Ok(Some(self.refuse(number, Outcome::Busy)));
        }
        if self.outlet.as_ref().is_none_or(Outlet::is_crowded) {
            let waiting = match self.settings.when_slow {
                WhenSlow::Refuse => Waiting::No,
                WhenSlow::Wait => Waiting::ForReader,
            };
            self.send(waiting)?;
            if let Some(end) = self.ended {
                return Ok(Some(Outcome::Ended(end)));
            }
            if self.outlet.as_ref().is_none_or(Outlet::is_crowded) {
                return Ok(Some(self.refuse(number, Outcome::Busy)));
            }
        }
        Ok(None)
    }

    /// What may be taken from now on without looking again.
    fn room(&mut self, now: Timestamp) -> Headroom {
        let (limits, totals, closing) = (&self.settings.limits, self.totals(), self.closing_len());
        let left = |limit: Option<u64>, used: u64| {
            limit.map_or(u64::MAX, |limit| limit.saturating_sub(used))
        };
        // The one that reaches a limit has to be looked at.
        let limits = Headroom {
            packets: left(limits.packets, totals.packets + 1),
            payload_bytes: left(limits.payload_bytes, totals.payload_bytes + 1),
            file_bytes: left(limits.file_bytes, totals.file_bytes)
                .min(left(self.settings.room_bytes, totals.file_bytes)),
            from: now,
            ..Headroom::ENDLESS
        };
        let mut room = self.place.room(&self.file.totals).and(limits);
        room.file_bytes = room.file_bytes.saturating_sub(closing);
        let waiting = self.outlet.as_ref().map_or(0, Outlet::room);
        room.file_bytes = room.file_bytes.min(waiting);
        if let Some(free_space) = &mut self.free_space {
            let (bytes, until) = free_space.give(room.file_bytes);
            room = room.and(Headroom { file_bytes: bytes, until, ..Headroom::ENDLESS });
        }
        room
    }

    fn refuse(&mut self, number: u32, outcome: Outcome) -> Outcome {
        self.packets_refused += 1;
        if let Some(point) = self.points.get_mut(number as usize) {
            point.refuse();
        }
        outcome
    }

    /// Why this packet cannot be taken any more, if it cannot.
    fn limit_before(&mut self, now: Timestamp, packet: &Packet<'_>, len: u64) -> Option<End> {
        let limits = &self.settings.limits;
        let totals = self.totals();
        if limits.packets.is_some_and(|limit| totals.packets >= limit) {
            return Some(End::Packets);
        }
        let payload_bytes = totals.payload_bytes + packet.data.len() as u64;
        if limits.payload_bytes.is_some_and(|limit| payload_bytes > limit) {
            return Some(End::PayloadBytes);
        }
        let closing = self.closing_len();
        if limits.file_bytes.is_some_and(|limit| totals.file_bytes + len + closing > limit) {
            return Some(End::FileBytes);
        }
        if let (Some(free_space), Some(outlet)) = (&mut self.free_space, &self.outlet) {
            let directory = self.place.directory().unwrap_or(outlet.fd());
            if !free_space.take(now, directory, len, outlet.waiting() + closing) {
                return Some(End::FreeSpace);
            }
        }
        None
    }

    /// Why no other packet can be taken, if so.
    fn limit_after(&self) -> Option<End> {
        let (limits, totals) = (&self.settings.limits, self.totals());
        if limits.packets.is_some_and(|limit| totals.packets >= limit) {
            Some(End::Packets)
        } else if limits.payload_bytes.is_some_and(|limit| totals.payload_bytes >= limit) {
            Some(End::PayloadBytes)
        } else {
            None
        }
    }

    /// Appends a block that is no packet to the current file, or to the next if there is no room.
    /// Returns whether it is there.
    fn insert(&mut self, now: Timestamp, block: &[u8], closing: u64) -> Result<bool, SinkError> {
        if self.ended.is_some() {
            return Ok(false);
        }
        let len = block.len() as u64 + closing + self.closing_len();
        if !self.place.has_room(&self.file.totals, len, 0) {
            self.rotate(now)?;
        }
        if self.settings.limits.file_bytes.is_some_and(|max| self.totals().file_bytes + len > max) {
            self.ended = Some(End::FileBytes);
        }
        match &mut self.outlet {
            Some(outlet) if self.ended.is_none() => {
                outlet.buffer().extend_from_slice(block);
                self.headroom = Headroom::NONE;
                self.file.totals.file_bytes += block.len() as u64;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Ends this file and begins the next, unless its beginning and end alone would be too much.
    fn rotate(&mut self, now: Timestamp) -> Result<(), SinkError> {
        let len = self.header_len() + 2 * self.closing_len();
        if self.settings.limits.file_bytes.is_some_and(|max| self.totals().file_bytes + len > max) {
            self.ended = Some(End::FileBytes);
            return Ok(());
        }
        self.end_file(now, Closing::Between)?;
        self.close_account(now);
        let buffer = self.outlet.take().map(Outlet::into_buffer).unwrap_or_default();
        self.place.pass(now);
        let begun = self.begin_file(now, buffer);
        if begun.is_err() {
            self.ended = Some(End::Failed);
        }
        begun
    }

    fn begin_file(&mut self, now: Timestamp, buffer: Vec<u8>) -> Result<(), SinkError> {
        let opened = self.place.open_file(now, &self.settings.stop)?;
        let mut outlet = Outlet::new(opened.fd, opened.kind, buffer);
        outlet.buffer().extend_from_slice(&header(&self.settings, &self.points));
        self.file = FileAccount {
            path: opened.path,
            start: now,
            end: now,
            totals: Totals { file_bytes: outlet.waiting(), ..Totals::default() },
        };
        self.points.iter_mut().for_each(Point::begin_file);
        self.outlet = Some(outlet);
        self.headroom = Headroom::NONE;
        // At once: whoever reads the other end of a pipe waits for it.
        self.send(Waiting::No)
    }

    /// The most bytes of a file.
    const fn max_bytes(&self) -> Option<u64> {
        match &self.settings.destination {
            Destination::Ring { ring, .. } => ring.max_bytes,
            Destination::File { .. } | Destination::Stdout | Destination::Open { .. } => None,
        }
    }

    fn end_file(&mut self, now: Timestamp, closing: Closing) -> Result<(), SinkError> {
        if self.outlet.is_none() {
            return Ok(());
        }
        let mut comments = match closing {
            Closing::Between => Vec::new(),
            Closing::Last => {
                let mut comments = std::mem::take(&mut self.comments).all();
                let words = std::mem::take(&mut self.last_words);
                let bytes: usize = words.iter().map(|text| comment_len(text)).sum();
                let kept =
                    MAX_COMMENT_BYTES as u64 + STATISTICS_MAX_BYTES * self.points.len() as u64;
                let end = self.file.totals.file_bytes + kept + bytes as u64;
                if self.max_bytes().is_none_or(|most| end <= most) {
                    comments.extend(words);
                }
                comments
            }
        };
        let Some(outlet) = &mut self.outlet else { return Ok(()) };
        let before = outlet.waiting();
        for (number, point) in (0..).zip(&self.points) {
            let mut block = point.statistics(self.file.start, now);
            block.comments.append(&mut comments);
            write_statistics(outlet.buffer(), number, &block);
        }
        self.file.totals.file_bytes += outlet.waiting() - before;
        // Who was waited for once is not waited for again.
        let stalled = self.ended == Some(End::Stalled);
        self.send(if stalled { Waiting::No } else { Waiting::ForReader })
    }

    fn close_account(&mut self, now: Timestamp) {
        self.before = self.totals();
        self.file.end = now;
        self.closed.push_back(self.file.clone());
        if self.closed.len() > MAX_CLOSED {
            self.closed.pop_front();
        }
        self.file.totals = Totals::default();
    }

    fn send(&mut self, waiting: Waiting) -> Result<(), SinkError> {
        let Some(outlet) = &mut self.outlet else { return Ok(()) };
        let patience = match waiting {
            Waiting::No => Patience::None,
            Waiting::ForReader => {
                Patience::WhileNotStopped { stop: &self.settings.stop, grace: GRACE }
            }
        };
        match outlet.flush(patience) {
            Ok(Flushed::ReaderGone) => {
                let lost = outlet.give_up();
                self.count_lost(&lost);
                self.ended = Some(End::ReaderGone);
                Ok(())
            }
            Ok(Flushed::Partly) if waiting == Waiting::ForReader => {
                self.ended = Some(End::Stalled);
                Ok(())
            }
            Ok(Flushed::All | Flushed::Partly) => Ok(()),
            Err(failure) => {
                self.ended = Some(End::Failed);
                self.count_lost(&failure.lost);
                let path = self.file.path.clone();
                let (safe, lost) = (self.file.totals.packets, failure.lost.len() as u64);
                Err(SinkError::writing(path, failure.errno, safe, lost))
            }
        }
    }

    /// Takes packets that are in no file out of the accounts again.
    fn count_lost(&mut self, lost: &[LostPacket]) {
        self.headroom = Headroom::NONE;
        let totals = &mut self.file.totals;
        for packet in lost {
            self.packets_unwritten += 1;
            totals.packets = totals.packets.saturating_sub(1);
            let lost = u64::from(packet.payload_bytes);
            totals.payload_bytes = totals.payload_bytes.saturating_sub(lost);
            if let Some(point) = self.points.get_mut(packet.interface as usize) {
                point.written = point.written.saturating_sub(1);
            }
        }
        if let Some(outlet) = &self.outlet {
            totals.file_bytes = outlet.total_bytes();
        }
    }

    fn check_size(&self, header_len: u64) -> Result<(), SinkError> {
        let comments = MAX_COMMENT_BYTES as u64;
        let needed = header_len + self.closing_len() + comments + LEAST_PACKET_BYTES;
        match self.place.max_bytes() {
            Some(max_bytes) if needed > max_bytes => {
                Err(SinkError::LimitTooSmall { max_bytes, needed })
            }
            _ => Ok(()),
        }
    }

    fn header_len(&self) -> u64 {
        header(&self.settings, &self.points).len() as u64
    }

    /// The most bytes that may have to follow the last packet of a file.
    fn closing_len(&self) -> u64 {
        self.points.len() as u64 * STATISTICS_MAX_BYTES + MAX_COMMENT_BYTES as u64
    }
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It is taken.
    Written,
    /// It is not: the reader of the pipe is slower than the traffic.
    Busy,
    /// It is not: no file of this ring can hold it.
    TooLarge,
    /// It is not: its observation point is unknown here, or has another link type.
    Foreign,
    /// It is not, and no other will be.
    Ended(End),
}

/// Why a sink takes no more packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It has as many packets as were asked for.
    Packets,
    /// It has as many bytes of packets as were asked for.
    PayloadBytes,
    /// Its files are as large as was asked for.
    FileBytes,
    /// More would use up the space that must stay free.
    FreeSpace,
    /// The reader of the pipe went away, which is how a person stops looking.
    ReaderGone,
    /// The reader of the pipe is there, but did not read on when it was time to stop.
    Stalled,
    /// Writing failed; the error was returned when it did.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// The capture goes on in the next file.
    Between,
    Last,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    No,
    ForReader,
}

/// What stands at the beginning of each file.
fn header(settings: &FileSettings, points: &[Point]) -> Vec<u8> {
    let mut out = Vec::new();
    write_section(&mut out, &settings.section);
    for point in points {
        write_interface(&mut out, &point.header);
    }
    if !settings.names.is_empty() {
        let names = settings.names.iter().map(|(address, name)| (*address, name.as_str()));
        write_names(&mut out, names);
    }
    out
}

fn check_link(first: LinkType, header: &InterfaceHeader) -> Result<(), SinkError> {
    if header.link == first {
        return Ok(());
    }
    Err(SinkError::LinkTypesDiffer { first, other: header.link, name: header.name.clone() })
}

/// Every file must hold a full Ethernet frame with all comments that wait; a larger packet that
/// does not fit is refused.
const LEAST_PACKET_BYTES: u64 = 2048;
/// Accounts of closed files kept for whoever asks.
const MAX_CLOSED: usize = 10_000;
/// How long a slow reader is waited for after everybody else has stopped.
const GRACE: Duration = Duration::from_secs(2);
