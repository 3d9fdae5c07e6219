//! One host's stream of one machine: bytes in, packets by the common clock out.

use std::collections::VecDeque;

use wire::file::{
    Damage, DamageReason, Interface, InterfaceHeader, Item, NamedAddress, Progress, Reader, Record,
    Statistics,
};
use wire::{PointId, Timestamp};

use crate::{Counters, Origin};

/// How a clock differs from the common one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clock {
    /// Nanoseconds to take off its times.
    pub ahead_ns: i64,
    /// How far that may be off.
    pub uncertainty_ns: u64,
}

/// A strand.
#[derive(Debug)]
pub(crate) struct Strand {
    /// Where it comes from.
    pub(crate) origin: Origin,
    /// Whether the others wait for it.
    pub(crate) is_awaited: bool,
    reader: Reader,
    fed: VecDeque<Vec<u8>>,
    fed_bytes: usize,
    /// Bytes of the first piece that the reader has already.
    passed: usize,
    is_ended: bool,
    is_done: bool,
    settled: Timestamp,
    /// The time of the packet that the reader shows, once corrected.
    head: Option<Timestamp>,
    /// For each interface of the strand its number in the weave.
    points: Vec<usize>,
    /// The latest packet found, by its own clock and by the common one.
    own_until: Timestamp,
    shown_until: Timestamp,
}

/// What stands before the next packet.
#[derive(Debug)]
pub(crate) enum Found {
    /// A packet, or nothing yet.
    Nothing,
    /// An interface, to be given a number by [`Strand::add_point`].
    Point(Box<InterfaceHeader>),
    /// Names of addresses.
    Names(Vec<(NamedAddress, String)>),
    /// What the section says of itself.
    Comment(String),
    /// Where the stream breaks off.
    Torn(String),
    /// Counters of an interface, by its number in the weave.
    Counters(usize, Counters),
}

impl Clock {
    /// The common clock's time for one of this clock.
    pub fn common(self, time: Timestamp) -> Timestamp {
        Timestamp::from_nanos(time.as_nanos().saturating_add_signed(self.ahead_ns.saturating_neg()))
    }
}

impl Strand {
    pub(crate) fn new(origin: Origin) -> Self {
        Self {
            origin,
            is_awaited: true,
            reader: Reader::new(),
            fed: VecDeque::new(),
            fed_bytes: 0,
            passed: 0,
            is_ended: false,
            is_done: false,
            settled: Timestamp::ZERO,
            head: None,
            points: Vec::new(),
            own_until: Timestamp::ZERO,
            shown_until: Timestamp::ZERO,
        }
    }

    pub(crate) fn feed(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.fed_bytes += bytes.len();
            self.fed.push_back(bytes);
        }
    }

    pub(crate) fn settle(&mut self, until: Timestamp) {
        self.settled = self.settled.max(until);
    }

    pub(crate) fn end(&mut self) {
        self.is_ended = true;
    }

    /// Leaves the packet that was shown.
    pub(crate) fn pass(&mut self) {
        if let Some(time) = self.head.take() {
            self.shown_until = time;
        }
    }

    pub(crate) fn add_point(&mut self, number: usize) {
        self.points.push(number);
    }

    /// Goes to the next packet, unless it is there, as far as the bytes reach.
    pub(crate) fn find(&mut self) -> Found {
        while self.head.is_none() && !self.is_done {
            match self.reader.advance() {
                Progress::NeedBytes => match self.fill() {
                    true => {}
                    false if self.is_ended => self.reader.filled(0),
                    false => return Found::Nothing,
                },
                Progress::End => self.is_done = true,
                Progress::Item => {
                    let found = match self.reader.item() {
                        Item::Record(record) => {
                            let (time, own) = (record.packet.time, &mut self.own_until);
                            let common = self.origin.clock.common(time);
                            // A better known clock may step back, but the order of its own
                            // packets is certain.
                            let is_in_order = time >= *own;
                            *own = time.max(*own);
                            let common =
                                if is_in_order { common.max(self.shown_until) } else { common };
                            self.head = Some(common);
                            Found::Nothing
                        }
                        Item::Section(section) => {
                            let comments: Vec<String> =
                                section.options.comments().map(|text| text.to_string()).collect();
                            if comments.is_empty() {
                                continue;
                            } else {
                                Found::Comment(comments.join("\n"))
                            }
                        }
                        Item::Interface(interface) => Found::Point(Box::new(header(&interface))),
                        Item::Names(names) => Found::Names(
                            names.map(|name| (name.address, name.name.to_string())).collect(),
                        ),
                        Item::Statistics(statistics) => match self.point(statistics.point) {
                            Some(point) => Found::Counters(point, counters(&statistics)),
                            None => continue,
                        },
                        Item::Damage(damage) => Found::Torn(self.torn(damage)),
                        Item::Other(_) => continue,
                    };
                    return found;
                }
            }
        }
        Found::Nothing
    }

    /// The time of the next packet by the common clock, if it is there.
    pub(crate) const fn head(&self) -> Option<Timestamp> {
        self.head
    }

    /// The packet that [`head`](Self::head) is the time of.
    pub(crate) fn record(&self) -> Option<Record<'_>> {
        match (self.head, self.reader.item()) {
            (Some(_), Item::Record(record)) => Some(record),
            _ => None,
        }
    }

    /// The number in the weave of one of its interfaces.
    pub(crate) fn point(&self, point: PointId) -> Option<usize> {
        self.points.get(point.0 as usize).copied()
    }

    /// No packet older than this, by the common clock, is still to come.
    pub(crate) fn settled(&self) -> Timestamp {
        self.origin.clock.common(self.settled)
    }

    /// Whether all of it was shown.
    pub(crate) const fn is_done(&self) -> bool {
        self.is_done
    }

    /// Whether its next packet is known, or that there is none.
    pub(crate) const fn is_there(&self) -> bool {
        self.is_done || self.head.is_some()
    }

    pub(crate) const fn waiting(&self) -> usize {
        self.fed_bytes
    }

    /// Gives the reader the next bytes that were fed; `false` if there are none.
    fn fill(&mut self) -> bool {
        let Some(bytes) = self.fed.front() else { return false };
        let bytes = bytes.get(self.passed..).unwrap_or_default();
        let space = self.reader.space();
        let len = bytes.len().min(space.len());
        if let (Some(to), Some(from)) = (space.get_mut(..len), bytes.get(..len)) {
            to.copy_from_slice(from);
        }
        let is_passed = len == bytes.len();
        self.reader.filled(len);
        self.fed_bytes = self.fed_bytes.saturating_sub(len);
        self.passed = if is_passed { 0 } else { self.passed + len };
        if is_passed {
            self.fed.pop_front();
        }
        true
    }

    fn torn(&self, damage: Damage) -> String {
        let Origin { host, name, .. } = &self.origin;
        match damage.reason {
            DamageReason::Cut { .. } => format!(
                "the packets of {name} from {host} break off here: the capture there was killed"
            ),
            _ => format!("in the packets of {name} from {host}: {damage}"),
        }
    }
}

fn header(interface: &Interface<'_>) -> InterfaceHeader {
    let text = |text: Option<wire::file::Text<'_>>| text.map(|t| t.to_string()).unwrap_or_default();
    InterfaceHeader {
        link: interface.link,
        snaplen: interface.snaplen,
        name: text(interface.name()),
        description: text(interface.description()),
        filter: text(interface.filter()),
        os: text(interface.os()),
        mac: interface.mac(),
        speed_bps: interface.speed_bps(),
        comments: interface.options.comments().map(|text| text.to_string()).collect(),
    }
}

fn counters(statistics: &Statistics<'_>) -> Counters {
    Counters {
        accepted: statistics.accepted(),
        received: statistics.received(),
        os_dropped: statistics.os_dropped().unwrap_or(0),
        interface_dropped: statistics.interface_dropped().unwrap_or(0),
    }
}
