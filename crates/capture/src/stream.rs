//! A capture that somebody sends over a connection while it is made: pcap or pcapng, as pcap-over-IP
//! has it, without any framing of its own.
//!
//! The connection is made by whoever has the right to; here its bytes are read, without waiting.
//! When it is lost another may follow, with a capture of its own. What came in between is nobody's
//! to know, so the time is counted.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pipeline::Source;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use wire::file::{Damage, DamageReason, Item, Limits, Progress, Reader};
use wire::{Packet, PointId, Timestamp};

use crate::RingCounters;

/// The reading end of connections, one after the other, that each carry a capture.
#[derive(Debug)]
pub struct Stream {
    socket: Option<OwnedFd>,
    reader: Reader,
    /// Whether the reader stands at a packet that nobody has taken, and its time.
    at: Option<Timestamp>,
    /// The places of the interfaces of this connection, by their numbers in it.
    interfaces: Vec<Interface>,
    /// What the interfaces are called; the same over all connections.
    names: Vec<String>,
    /// Packets lost before they came here, for each place.
    lost: Vec<u64>,
    end: Option<StreamEnd>,
    gaps: Gaps,
    counters: RingCounters,
    /// Bytes that may still be read, once it is shut.
    left: Option<usize>,
    /// Whether the last look at the socket found nothing.
    is_dry: bool,
    /// Packets whose times were not believed.
    untimely: u64,
}

/// An interface of the capture that comes.
#[derive(Debug, Clone, Copy)]
struct Interface {
    place: usize,
    /// Losses that its packets have told.
    told: u64,
    /// Losses of this connection that are entered.
    entered: u64,
}

/// Times without a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gaps {
    /// How many.
    pub count: u64,
    /// How long all of them lasted.
    pub total: Duration,
    /// When the one that lasts began.
    since: Option<Timestamp>,
}

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamEnd {
    /// Its sender closed it between two packets.
    #[error("its sender has closed the connection")]
    Closed,
    /// It broke off, or what came cannot be read any further.
    #[error("{0}")]
    Broken(String),
    /// What came first is no capture.
    #[error("what comes is no capture: it begins with {0}")]
    Foreign(String),
}

impl Stream {
    /// The most interfaces that are told apart.
    pub const MOST_INTERFACES: usize = crate::MirrorReceiver::MOST_SESSIONS;

    /// The reading end of a connection.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        refuse_to_wait(&socket)?;
        Ok(Self {
            socket: Some(socket),
            reader: Reader::with_limits(Limits::default()),
            at: None,
            interfaces: Vec::new(),
            names: Vec::new(),
            lost: Vec::new(),
            end: None,
            gaps: Gaps::default(),
            counters: RingCounters::default(),
            left: None,
            is_dry: false,
            untimely: 0,
        })
    }

    /// Goes on with another connection.
    ///
    /// # Errors
    /// The kernel's.
    pub fn connect(&mut self, socket: OwnedFd) -> io::Result<()> {
        refuse_to_wait(&socket)?;
        self.socket = Some(socket);
        self.reader = Reader::with_limits(Limits::default());
        self.at = None;
        self.interfaces.clear();
        self.end = None;
        self.is_dry = false;
        self.gaps.close(now());
        Ok(())
    }

    /// Why the connection is over, once: whoever asks takes care of the next one.
    pub const fn take_end(&mut self) -> Option<StreamEnd> {
        self.end.take()
    }

    /// Reads only what may be on its way already.
    pub fn shut(&mut self) {
        self.left.get_or_insert(AFTER_SHUT_BYTES);
        if self.socket.is_some() {
            // It is the last chance of what is on its way.
            self.is_dry = false;
        }
    }

    /// Packets read. Once everything is read that had come, nothing is missing.
    pub const fn counters(&self) -> RingCounters {
        let missing = if self.is_dry || self.socket.is_none() { 0 } else { 1 };
        RingCounters { received: self.counters.received + missing, ..self.counters }
    }

    /// Packets read.
    pub const fn received(&self) -> u64 {
        self.counters.received
    }

    /// What an interface is called.
    pub fn name(&self, place: usize) -> Option<&str> {
        self.names.get(place).map(String::as_str)
    }

    /// Packets that were lost before they came here, as their sender says, at each place.
    pub fn lost(&self) -> impl Iterator<Item = (usize, u64)> {
        self.lost.iter().copied().enumerate()
    }

    /// Times without a connection, up to now.
    pub fn gaps(&self) -> Gaps {
        let mut gaps = self.gaps;
        gaps.close(now());
        gaps
    }

    /// Packets whose times were more than some seconds away from ours and were replaced by the time
    /// of their arrival.
    pub const fn untimely(&self) -> u64 {
        self.untimely
    }

    /// The connection, while there is one.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Goes to the next packet, as far as that takes no waiting.
    fn advance(&mut self) -> Option<Timestamp> {
        while self.at.is_none() {
            match self.reader.advance() {
                Progress::Item => self.look(),
                Progress::End => {
                    self.over(StreamEnd::Closed);
                    return None;
                }
                Progress::NeedBytes if !self.fill() => return None,
                Progress::NeedBytes => {}
            }
        }
        self.at
    }

    /// Takes in what the reader stands at.
    fn look(&mut self) {
        match self.reader.item() {
            Item::Record(record) => {
                self.counters.received += 1;
                self.counters.read += 1;
                let number = record.packet.point.0 as usize;
                if let Some(interface) = self.interfaces.get_mut(number) {
                    interface.told = interface.told.saturating_add(record.packet.lost_before);
                    interface.enter(interface.told, &mut self.lost);
                }
                let arrival = now();
                let time = believed(record.packet.time, arrival);
                self.untimely += u64::from(time != record.packet.time && time == arrival);
                self.at = Some(time);
            }
            Item::Interface(interface) => {
                let name = interface.name().map(|name| name.to_str().into_owned());
                let name = name.filter(|name| !name.is_empty());
                let number = self.interfaces.len();
                let name = shown(&name.unwrap_or_else(|| format!("interface {number}")));
                let place = self.place(name);
                self.interfaces.push(Interface { place, told: 0, entered: 0 });
            }
            Item::Statistics(statistics) => {
                let dropped = [statistics.os_dropped(), statistics.interface_dropped()];
                let counted = dropped.into_iter().flatten().fold(0, u64::saturating_add);
                let number = statistics.point.0 as usize;
                if let Some(interface) = self.interfaces.get_mut(number) {
                    interface.enter(counted, &mut self.lost);
                }
            }
            Item::Damage(damage) => self.suffer(damage),
            Item::Section(_) | Item::Names(_) | Item::Other(_) => {}
        }
    }

    /// The place of an interface with this name; those that are too many share one.
    fn place(&mut self, name: String) -> usize {
        let known = self.names.iter().position(|known| *known == name);
        let place = known.unwrap_or(self.names.len()).min(Self::MOST_INTERFACES);
        if place == self.names.len() && place < Self::MOST_INTERFACES {
            self.names.push(name);
        }
        if self.lost.len() <= place {
            self.lost.resize(place + 1, 0);
        }
        place
    }

    fn suffer(&mut self, damage: Damage) {
        if damage.costs_packet() {
            // Nobody can say whose it was.
            match self.lost.first_mut() {
                Some(lost) => *lost += 1,
                None => self.lost.push(1),
            }
        }
        if let DamageReason::NotACapture { magic } = damage.reason {
            self.over(StreamEnd::Foreign(shown_bytes(magic)));
        } else if damage.is_final() {
            let text = match damage.reason {
                DamageReason::Cut { .. } => "the connection broke off in a packet".to_owned(),
                _ => format!("what came is broken: {damage}"),
            };
            self.over(StreamEnd::Broken(text));
        }
    }

    /// Reads what has come. `false` if nothing has.
    fn fill(&mut self) -> bool {
        let Some(socket) = &self.socket else { return false };
        if self.left == Some(0) {
            self.is_dry = true;
            return false;
        }
        match rustix::io::read(socket, self.reader.space()) {
            Ok(len) => {
                self.left = self.left.map(|left| left.saturating_sub(len.max(1)));
                self.reader.filled(len);
                true
            }
            Err(rustix::io::Errno::INTR) => true,
            Err(rustix::io::Errno::AGAIN) => {
                self.is_dry = true;
                false
            }
            Err(error) => {
                let error = io::Error::from(error);
                self.over(StreamEnd::Broken(format!("the connection was lost: {error}")));
                false
            }
        }
    }

    fn over(&mut self, end: StreamEnd) {
        if self.socket.take().is_some() {
            self.end = Some(end);
            self.is_dry = true;
            // The end that was asked for is no gap.
            if self.left.is_none() {
                self.gaps.open(now());
            }
        }
    }
}

impl Source for Stream {
    #[inline]
    fn peek(&mut self) -> Option<Timestamp> {
        self.advance()
    }

    /// Its point is the place of its interface.
    #[inline]
    fn next(&mut self) -> Option<Packet<'_>> {
        let time = self.advance()?;
        self.at = None;
        let Item::Record(record) = self.reader.item() else { return None };
        let number = record.packet.point.0 as usize;
        let place = self.interfaces.get(number).map_or(0, |interface| interface.place);
        let point = PointId(u32::try_from(place).unwrap_or(u32::MAX));
        Some(Packet { time, point, ..record.packet })
    }
}

impl Interface {
    /// Enters that so many packets of this connection were lost, which a sender may say with each
    /// packet, or in its counters, or both.
    fn enter(&mut self, lost: u64, all: &mut [u64]) {
        let more = lost.saturating_sub(self.entered);
        if let Some(all) = all.get_mut(self.place) {
            *all = all.saturating_add(more);
        }
        self.entered += more;
    }
}

impl Gaps {
    const fn open(&mut self, now: Timestamp) {
        self.count += 1;
        self.since = Some(now);
    }

    fn close(&mut self, now: Timestamp) {
        if let Some(since) = self.since.take() {
            self.total += now.since(since);
        }
    }
}

/// The time of a packet, as far as its sender is believed: whose it is may depend on it, and nobody
/// shall choose that.
fn believed(said: Timestamp, arrival: Timestamp) -> Timestamp {
    let is_near = said.saturating_add(MOST_AGE) >= arrival;
    if is_near { said.min(arrival) } else { arrival }
}

/// A name from outside, for files and terminals.
fn shown(name: &str) -> String {
    let is_odd = |c: char| c.is_control();
    name.chars().map(|c| if is_odd(c) { '?' } else { c }).take(MOST_NAME_CHARS).collect()
}

fn shown_bytes(bytes: [u8; 4]) -> String {
    let is_text = bytes.iter().all(|byte| (b' '..=b'~').contains(byte));
    match is_text {
        true => format!("`{}`", bytes.map(char::from).iter().collect::<String>()),
        false => bytes.map(|byte| format!("{byte:02x}")).join(" "),
    }
}

fn refuse_to_wait(socket: &OwnedFd) -> io::Result<()> {
    Ok(fcntl_setfl(socket, fcntl_getfl(socket)? | OFlags::NONBLOCK)?)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// How far a packet's time may be before its arrival.
const MOST_AGE: Duration = Duration::from_secs(10);
/// What may have been on its way when the capture ended.
const AFTER_SHUT_BYTES: usize = 8 << 20;
const MOST_NAME_CHARS: usize = 80;
