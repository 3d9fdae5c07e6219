//! One file of what several hosts captured of the same machines.
//!
//! Every [`Strand`](StrandId) is a pcapng stream of one machine at one host, by that host's clock.
//! Woven together they are packets in the order of one clock, each once, with the migrations
//! between hosts measured on the packets themselves. Pure: bytes and times come in as arguments.

mod copies;
mod journey;
mod strand;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use wire::file::{InterfaceHeader, NamedAddress, Record};
use wire::{Packet, PointId, Timestamp};

pub use self::journey::Move;
pub use self::strand::Clock;

use self::copies::Copies;
use self::journey::{Journey, Sent};
use self::strand::{Found, Strand};

/// Packets of several hosts on their way into one file.
#[derive(Debug)]
pub struct Weave {
    strands: Vec<Strand>,
    machines: BTreeMap<String, Machine>,
    points: Vec<WovenPoint>,
    hold: Duration,
    /// What time it is, by the common clock.
    now: Timestamp,
    is_complete: bool,
    /// The strand whose packet was shown last and is still at its head.
    shown: Option<StrandId>,
    written_until: Timestamp,
    account: Account,
}

/// Names a strand, in the order in which they were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StrandId(usize);

/// Where a strand comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The host, by name.
    pub host: String,
    /// The machine, by something that stays the same wherever it runs.
    pub machine: String,
    /// What the machine is called.
    pub name: String,
    /// How the host's clock differs from the common one.
    pub clock: Clock,
    /// Whether the machine is elsewhere, and what is seen here is what it exchanges with others.
    pub is_peer: bool,
}

/// What comes next.
#[derive(Debug)]
pub enum Step<'a> {
    /// A new interface; its number is the next one.
    Point(InterfaceHeader),
    /// Names of addresses.
    Names(Vec<(NamedAddress, String)>),
    /// Something to be said at this place.
    Comment(String),
    /// The counters of an interface, all its strands together.
    Counters(PointId, Counters),
    /// A packet: its time is the common clock's, its point one of this weave.
    Packet(Woven<'a>),
    /// Nothing before more bytes, settled times or ends are known.
    Wait,
}

/// A packet of the woven file.
#[derive(Debug)]
pub struct Woven<'a> {
    /// The packet.
    pub packet: Packet<'a>,
    /// Whether it is larger than any frame on the wire, because segmentation was left to a card.
    pub is_super_frame: bool,
    /// What a reader should know at this packet.
    pub comments: Vec<String>,
}

/// Counters of an interface at the end of its strands; `None` where nobody counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that the kernel's filter let through.
    pub accepted: Option<u64>,
    /// Packets that came to the interface.
    pub received: Option<u64>,
    /// Packets the kernel lost.
    pub os_dropped: u64,
    /// Packets the interface lost.
    pub interface_dropped: u64,
}

/// What became of the packets so far: `received = copies + shown`, to the packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Packets that came in the strands.
    pub received: u64,
    /// Packets left out because they were shown already, from another strand.
    pub copies: u64,
    /// Packets shown.
    pub shown: u64,
    /// Of these, those that came too late for their place in time.
    pub out_of_order: u64,
    /// Strands that end in the middle of a block, because whoever wrote them was killed.
    pub torn: u64,
}

/// A machine, over all its strands.
#[derive(Debug)]
struct Machine {
    copies: Copies,
    journey: Journey,
}

/// An interface of the woven file.
#[derive(Debug)]
struct WovenPoint {
    header: InterfaceHeader,
    counters: Counters,
}

impl Weave {
    /// Nothing yet. A packet is held back for `hold`, by the clocks of the hosts, so that a strand
    /// that begins now finds its place before it.
    pub const fn new(hold: Duration) -> Self {
        Self {
            strands: Vec::new(),
            machines: BTreeMap::new(),
            points: Vec::new(),
            hold,
            now: Timestamp::ZERO,
            is_complete: false,
            shown: None,
            written_until: Timestamp::ZERO,
            account: Account { received: 0, copies: 0, shown: 0, out_of_order: 0, torn: 0 },
        }
    }

    /// Adds a strand, whose bytes are fed from now on.
    pub fn add(&mut self, origin: Origin) -> StrandId {
        let machine = self.machines.entry(origin.machine.clone());
        let machine = machine.or_insert_with(|| Machine {
            copies: Copies::default(),
            journey: Journey::new(&origin.name),
        });
        machine.copies.strand_began();
        self.strands.push(Strand::new(origin));
        StrandId(self.strands.len() - 1)
    }

    /// The next bytes of a strand.
    pub fn feed(&mut self, strand: StrandId, bytes: Vec<u8>) {
        if let Some(strand) = self.strands.get_mut(strand.0) {
            strand.feed(bytes);
        }
    }

    /// No packet older than this, by the clock of its host, will come in what is fed from now on.
    pub fn settle(&mut self, strand: StrandId, until: Timestamp) {
        if let Some(strand) = self.strands.get_mut(strand.0) {
            strand.settle(until);
            self.now = self.now.max(strand.settled());
        }
    }

    /// It is at least `now`, by the common clock. Settled times say so too, but where no machine
    /// runs nobody settles anything.
    pub fn pass_to(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// Nothing more will be fed.
    pub fn end(&mut self, strand: StrandId) {
        if let Some(strand) = self.strands.get_mut(strand.0) {
            strand.end();
        }
    }

    /// Corrects the clock of a strand's host from the next packet on.
    pub fn set_clock(&mut self, strand: StrandId, clock: Clock) {
        if let Some(strand) = self.strands.get_mut(strand.0) {
            strand.origin.clock = clock;
        }
    }

    /// What time it is, by the common clock, as far as settled times and [`pass_to`](Self::pass_to)
    /// have said.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether the others wait for a strand. One that nobody can reach now is better not waited
    /// for when somebody looks on; its packets then come late and are counted so.
    pub fn set_awaited(&mut self, strand: StrandId, is_awaited: bool) {
        if let Some(strand) = self.strands.get_mut(strand.0) {
            strand.is_awaited = is_awaited;
        }
    }

    /// No strand will be added any more: nothing needs to be held back for one. If nothing was
    /// shown before, what is shown from now on does not depend on which bytes came first.
    pub const fn complete(&mut self) {
        self.is_complete = true;
    }

    /// Goes to the next step.
    #[allow(clippy::should_implement_trait, reason = "what it shows is borrowed from it")]
    pub fn next(&mut self) -> Step<'_> {
        if let Some(strand) = self.shown.take().and_then(|id| self.strands.get_mut(id.0)) {
            strand.pass();
        }
        loop {
            if let Some(step) = self.find() {
                return step;
            }
            let Some((id, time)) = self.ready() else { return Step::Wait };
            self.account.received += 1;
            if self.is_copy(id, time) {
                self.account.copies += 1;
                // The other sighting may have been the flooded one; this may tell where it runs.
                let _ = self.note_journey(id, time);
                if let Some(strand) = self.strands.get_mut(id.0) {
                    strand.pass();
                }
                continue;
            }
            self.account.shown += 1;
            if time < self.written_until {
                self.account.out_of_order += 1;
            }
            self.written_until = self.written_until.max(time);
            self.shown = Some(id);
            return self.show(id, time).map_or(Step::Wait, Step::Packet);
        }
    }

    /// Whether every strand has ended and all of it was shown.
    pub fn is_done(&self) -> bool {
        self.strands.iter().all(Strand::is_done)
    }

    /// How many bytes of a strand were fed and not shown yet.
    pub fn waiting(&self, strand: StrandId) -> usize {
        self.strands.get(strand.0).map_or(0, Strand::waiting)
    }

    /// What became of the packets so far.
    pub const fn account(&self) -> Account {
        self.account
    }

    /// The moves between hosts so far, in the order of time for each machine.
    pub fn moves(&self) -> impl Iterator<Item = &Move> {
        self.machines.values().flat_map(|machine| machine.journey.moves())
    }

    /// Moves that there was no room to keep.
    pub fn moves_uncounted(&self) -> u64 {
        self.machines.values().map(|machine| machine.journey.uncounted()).sum()
    }

    /// Brings every strand to its next packet, as far as bytes are there. Returns what stands
    /// before it.
    fn find(&mut self) -> Option<Step<'static>> {
        for strand in &mut self.strands {
            if strand.is_done() {
                continue;
            }
            loop {
                match strand.find() {
                    Found::Nothing => break,
                    Found::Point(header) => {
                        let known = self.points.iter().position(|point| point.header == *header);
                        strand.add_point(known.unwrap_or(self.points.len()));
                        if known.is_none() {
                            let header = *header;
                            let counters = Counters::default();
                            self.points.push(WovenPoint { header: header.clone(), counters });
                            return Some(Step::Point(header));
                        }
                    }
                    Found::Names(names) => return Some(Step::Names(names)),
                    Found::Comment(text) => return Some(Step::Comment(text)),
                    Found::Torn(text) => {
                        self.account.torn += 1;
                        return Some(Step::Comment(text));
                    }
                    Found::Counters(number, counters) => {
                        let Some(point) = self.points.get_mut(number) else { continue };
                        point.counters = point.counters.plus(counters);
                        return Some(Step::Counters(PointId(self::number(number)), point.counters));
                    }
                }
            }
            if strand.is_done()
                && let Some(machine) = self.machines.get_mut(&strand.origin.machine)
            {
                machine.copies.strand_ended();
            }
            // What later strands say before their packets stands after what this one says.
            if self.is_complete && strand.is_awaited && !strand.is_there() {
                return None;
            }
        }
        None
    }

    /// The strand whose packet is the next in time, once no other can have an earlier one.
    fn ready(&self) -> Option<(StrandId, Timestamp)> {
        let heads = self.strands.iter().enumerate();
        let heads = heads.filter_map(|(i, strand)| Some((strand.head()?, i)));
        let (time, first) = heads.min()?;
        let mut open = self.strands.iter().filter(|strand| !strand.is_done() && strand.is_awaited);
        let is_settled = open
            .all(|strand| strand.head().is_some() || !self.is_complete && strand.settled() >= time);
        let is_held = !self.is_complete && self.now < time.saturating_add(self.hold);
        (is_settled && !is_held).then_some((StrandId(first), time))
    }

    fn is_copy(&mut self, id: StrandId, time: Timestamp) -> bool {
        let Some(strand) = self.strands.get(id.0) else { return false };
        let Some(machine) = self.machines.get_mut(&strand.origin.machine) else { return false };
        let Some(record) = strand.record() else { return false };
        machine.copies.is_copy(&Packet { time, point: PointId(number(id.0)), ..record.packet })
    }

    /// Takes a packet for the journey of its machine; says so if the machine has moved.
    fn note_journey(&mut self, id: StrandId, time: Timestamp) -> Option<String> {
        let strand = self.strands.get(id.0)?;
        let direction = strand.record()?.packet.direction;
        let machine = self.machines.get_mut(&strand.origin.machine)?;
        let Origin { host, clock, is_peer, .. } = &strand.origin;
        let host = (!is_peer).then_some(host.as_str());
        machine
            .journey
            .note(&Sent { host, clock: *clock, time, direction })
            .map(ToString::to_string)
    }

    fn show(&mut self, id: StrandId, time: Timestamp) -> Option<Woven<'_>> {
        let moved = self.note_journey(id, time);
        let strand = self.strands.get(id.0)?;
        let record: Record<'_> = strand.record()?;
        let point = PointId(number(strand.point(record.packet.point)?));
        let mut comments: Vec<String> =
            record.options.comments().map(|text| text.to_str()).map(Cow::into_owned).collect();
        comments.extend(moved);
        Some(Woven {
            packet: Packet { time, point, ..record.packet },
            is_super_frame: record.is_super_frame(),
            comments,
        })
    }
}

impl Counters {
    /// Of one interface in two strands.
    fn plus(self, other: Self) -> Self {
        let sum = |one: Option<u64>, two: Option<u64>| match (one, two) {
            (Some(one), Some(two)) => Some(one.saturating_add(two)),
            (one, two) => one.or(two),
        };
        Self {
            accepted: sum(self.accepted, other.accepted),
            received: sum(self.received, other.received),
            os_dropped: self.os_dropped.saturating_add(other.os_dropped),
            interface_dropped: self.interface_dropped.saturating_add(other.interface_dropped),
        }
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
