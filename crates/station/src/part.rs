//! One part of a session while it runs: a capture into a file of the spool.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use agent::{Capture, Event, Output, PastOrder, Place, Rotation, SessionError, Wanted};
use api::document::{Note, Order, Part, Recorded, WhenFull};
use inventory::{Machine, Site};
use plan::{Point, PointKind};
use recorder::MachineRef;
use select::{Filter, Resolved};

use crate::board::{Board, Reached};
use crate::duty::Key;
use crate::past::Past;
use crate::spool::Spool;

/// A part that runs.
#[derive(Debug)]
pub(crate) struct Running {
    part: Part,
    path: PathBuf,
    capture: Option<Capture>,
    reached: Reached,
    /// Why somebody asked for its end.
    asked: Option<String>,
    /// What it was told to look for.
    sought: Sought,
    /// How many bytes it may have now, where that is bounded.
    room: Option<u64>,
    /// While there is none: how many packets were dropped for that before, and until now.
    full: Option<Full>,
    /// Packets dropped because there was no room.
    dropped: u64,
    /// By which names and owners the machine was recorded, where the part begins with that.
    recorded_as: Vec<MachineRef>,
    /// What people should hear.
    said: Vec<String>,
}

/// Where the packets of a part go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room<'a> {
    /// The spool.
    pub(crate) spool: &'a Spool,
    /// Bytes that the part's session may keep there beside what it has.
    pub(crate) left_bytes: u64,
}

impl<'a> Room<'a> {
    /// As it is for another part of a session.
    pub(crate) fn of(order: &Order, spool: &'a Spool, board: &Board) -> Self {
        let kept = board.kept_bytes(&order.session);
        Self { spool, left_bytes: order.spool_bytes.saturating_sub(kept) }
    }
}

/// A time without room.
#[derive(Debug, Clone, Copy)]
struct Full {
    /// Packets dropped before it.
    before: u64,
    /// When the last packet was dropped, as far as that was told.
    last: Instant,
}

/// What of an order decides which packets a part has, and how much of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sought {
    expression: String,
    explained: Resolved,
    is_stripped: bool,
    snaplen: u32,
}

impl Sought {
    /// As an order says, with at most `snaplen` bytes of each packet.
    pub(crate) fn of(order: &Order, snaplen: u32) -> Self {
        Self {
            expression: order.expression.clone(),
            explained: order.explained.clone(),
            is_stripped: order.is_stripped,
            snaplen,
        }
    }
}

/// Why a part did not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotBegun {
    /// The machine cannot be seen so.
    #[error(transparent)]
    NoPoint(#[from] agent::NoPoint),
    /// The expression means nothing here.
    #[error("cannot understand the filter: {0}")]
    Filter(String),
    /// The capture itself.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Nothing was recorded after all.
    #[error("nothing was recorded")]
    NothingRecorded,
    /// The spool.
    #[error("cannot keep packets: {0}")]
    Spool(#[from] std::io::Error),
}

/// How a part ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It may begin anew as soon as there is something to see.
    ForNow,
    /// A limit was reached.
    ForGood,
}

impl Running {
    /// Begins to capture `machine` at `point` as the order says, at most `snaplen` bytes of each packet; with
    /// what was recorded of it first, if there is a `past`.
    pub(crate) fn begin(
        order: &Order,
        snaplen: u32,
        site: &Site,
        machine: &Machine,
        point: Result<Point, agent::NoPoint>,
        room: Room<'_>,
        past: Option<&Past>,
    ) -> Result<Self, NotBegun> {
        Self::start(order, snaplen, site, machine, point?, room, past)
    }

    /// Begins to write what was recorded of a machine, and nothing else.
    pub(crate) fn begin_recorded(
        order: &Order,
        site: &Site,
        room: Room<'_>,
        past: &Past,
    ) -> Result<Self, NotBegun> {
        let Some(machine) = past.machine() else { return Err(NotBegun::NothingRecorded) };
        let (machine, point) = agent::recorded(machine);
        let snaplen = order.snaplen.min(past.snaplen);
        Self::start(order, snaplen, site, &machine, point, room, Some(past))
    }

    fn start(
        order: &Order,
        snaplen: u32,
        site: &Site,
        machine: &Machine,
        point: Point,
        Room { spool, left_bytes: left }: Room<'_>,
        past: Option<&Past>,
    ) -> Result<Self, NotBegun> {
        let is_live = !point.interfaces.is_empty();
        let number = spool.next_number(&order.session)?;
        let path = spool.path(&order.session, number)?;
        let mut limits = order.limits;
        let room = match order.when_full {
            WhenFull::End => {
                limits.bytes = Some(limits.bytes.unwrap_or(u64::MAX).min(left));
                None
            }
            // It is shared with the others of the session at the next turn.
            WhenFull::Drop => Some(left),
        };
        let mut part = Part {
            session: order.session.clone(),
            agent: String::new(),
            host: site.host.name.clone(),
            number,
            machine_id: machine.id.to_string(),
            machine: machine.name.clone(),
            point: if is_live { point.kind.to_string() } else { "recorder".into() },
            began_ns: 0,
            ended: None,
            bytes: 0,
            freed_bytes: 0,
            packets: 0,
            kernel_dropped: 0,
            failed: 0,
            recorded: past.map(|past| Recorded { is_all: !is_live, ..past.recorded.clone() }),
            receipt: None,
            clock: None,
            is_reachable: false,
        };
        let wanted = Wanted {
            mirrors: Vec::new(),
            machine: machine.clone(),
            host: site.host.name.clone(),
            filter: filter(order)?,
            explained: order.explained.clone(),
            // What others see of it is as it sent it, unless tunnels were asked for.
            is_stripped: order.is_stripped
                || point.kind == PointKind::Peer && order.point != PointKind::Uplink.word(),
            // One file has one: the smaller, where past and present differ.
            snaplen: past.map_or(snaplen, |past| past.snaplen.min(snaplen)),
            limits,
            tools: Vec::new(),
            output: Output {
                is_nothing: false,
                path: Some(path.clone()),
                force: false,
                rotation: Rotation::default(),
                min_free_bytes: agent::default_reserve(&path),
                room_bytes: room,
                store: None,
            },
            comments: comments(order, machine, site, &point),
            ip_names: agent::ip_names(site),
            buffer_bytes: None,
            // The agent begins another part.
            grows: false,
            past: past.map(|past| PastOrder { is_live, ..past.order.clone() }),
            point,
        };
        spool.keep(&part)?;
        let capture = Some(Capture::start(wanted)?);
        part.began_ns = now_ns();
        spool.keep(&part)?;
        let sought = Sought::of(order, snaplen);
        let recorded_as = past.map(|past| past.order.machines.clone()).unwrap_or_default();
        Ok(Self {
            part,
            path,
            capture,
            reached: Reached::default(),
            asked: None,
            sought,
            recorded_as,
            said: Vec::new(),
            room,
            full: None,
            dropped: 0,
        })
    }

    /// Says that it is there before there is anything in it.
    pub(crate) fn post(&self, board: &Board) {
        board.post(self.part.clone(), self.path.clone(), self.reached);
    }

    /// Whether what was recorded is still being written.
    pub(crate) fn is_in_past(&self) -> bool {
        self.part.recorded.as_ref().is_some_and(|recorded| !recorded.is_written)
    }

    /// Whether it ends with what was recorded.
    pub(crate) fn is_all_past(&self) -> bool {
        self.part.recorded.as_ref().is_some_and(|recorded| recorded.is_all)
    }

    /// Whether its machine is elsewhere.
    pub(crate) fn is_at_peer(&self) -> bool {
        self.part.is_at_peer()
    }

    /// By which names and owners its machine was recorded.
    pub(crate) fn recorded_as(&self) -> &[MachineRef] {
        &self.recorded_as
    }

    /// What people should hear since this was asked last; its file has it.
    pub(crate) fn take_said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }

    /// What it is one of.
    pub(crate) fn key(&self) -> Key {
        Self::key_of(&self.part.session, &self.part.machine_id, self.is_at_peer())
    }

    /// What parts of a session and machine are.
    pub(crate) fn key_of(session: &str, machine_id: &str, is_at_peer: bool) -> Key {
        let elsewhere = if is_at_peer { " elsewhere" } else { "" };
        (session.to_owned(), format!("{machine_id}{elsewhere}"))
    }

    /// Which machine it is of, by its id.
    pub(crate) fn machine_id(&self) -> &str {
        &self.part.machine_id
    }

    /// Which session it is of.
    pub(crate) fn session(&self) -> &str {
        &self.part.session
    }

    /// What it was told to look for.
    pub(crate) const fn sought(&self) -> &Sought {
        &self.sought
    }

    /// Its number in the session.
    pub(crate) const fn number(&self) -> u32 {
        self.part.number
    }

    /// Whether the bytes it may have depend on what is fetched.
    pub(crate) const fn has_room(&self) -> bool {
        self.room.is_some()
    }

    /// Bytes it takes.
    pub(crate) fn kept_bytes(&self) -> u64 {
        file_bytes(&self.path).saturating_sub(self.part.freed_bytes)
    }

    /// Forgets what was fetched.
    pub(crate) fn free(&mut self, offset: u64, spool: &Spool) {
        // A disk that does not take it back stays full, which is told.
        if let Ok(freed) = spool.free(&self.part, offset) {
            self.part.freed_bytes = freed;
        }
    }

    /// It may have so many bytes more than it has.
    pub(crate) fn set_room(&mut self, more: u64) {
        let room = file_bytes(&self.path).saturating_add(more);
        if let Some(capture) = &mut self.capture
            && self.room.is_some_and(|before| before != room)
            // An engine that cannot be told is gone, which shows at the next turn.
            && capture.set_room(room).is_ok()
        {
            self.room = Some(room);
        }
    }

    /// Says when packets are dropped for want of room, and when that is over.
    fn tell_room(&mut self, dropped: u64, board: &Board) {
        if self.room.is_none() {
            return;
        }
        let is_dropping = dropped > self.dropped;
        let text = match &mut self.full {
            Some(full) if is_dropping => {
                full.last = Instant::now();
                None
            }
            None if is_dropping => {
                self.full = Some(Full { before: self.dropped, last: Instant::now() });
                Some(
                    "what may be kept here is full: packets are dropped until some are fetched"
                        .into(),
                )
            }
            Some(full) if full.last.elapsed() > ROOM_LASTS => {
                let count = dropped - full.before;
                self.full = None;
                Some(format!("there is room again: {count} packets were dropped for want of it"))
            }
            _ => None,
        };
        self.dropped = dropped;
        let (Some(text), Some(capture)) = (text, &mut self.capture) else { return };
        let text = format!("{}: {text}", self.part.machine);
        let _ = capture.say(text.clone());
        board.note(Note {
            session: self.part.session.clone(),
            host: self.part.host.clone(),
            at_ns: now_ns(),
            text,
            is_refusal: false,
            is_in_part: true,
        });
    }

    /// Where it looks.
    pub(crate) fn point(&self) -> Option<&Point> {
        self.capture.as_ref().map(|capture| &capture.wanted().point)
    }

    /// Whether its end was asked for.
    pub(crate) const fn is_ending(&self) -> bool {
        self.asked.is_some()
    }

    /// Asks for its end, and says why.
    pub(crate) fn stop(&mut self, why: &str) {
        if self.asked.is_none() {
            self.asked = Some(why.to_owned());
            if let Some(capture) = &mut self.capture {
                // An engine that cannot be told is gone, which shows at the next turn.
                let _ = capture.stop();
            }
        }
    }

    /// Tells it how the site is now. Returns what a person should hear.
    pub(crate) fn compare(&mut self, site: &Site, changed_at: wire::Timestamp) -> Vec<String> {
        let capture = self.capture.as_mut().filter(|_| self.asked.is_none());
        let happened = capture.and_then(|capture| capture.compare(site, changed_at).ok());
        happened.unwrap_or_default().into_iter().map(|happened| happened.what).collect()
    }

    /// Takes what its engine has said since the last turn and posts it. Says how it ended, once it
    /// has.
    pub(crate) fn turn(&mut self, spool: &Spool, board: &Board) -> Option<Ended> {
        let was_in_past = self.is_in_past();
        let capture = self.capture.as_mut()?;
        let mut ended = None;
        let mut told = None;
        loop {
            match capture.next(Duration::ZERO) {
                Ok(None) => break,
                Ok(Some(Event::Progress(progress))) => {
                    self.part.packets = progress.packets;
                    self.part.kernel_dropped = progress.kernel_dropped;
                    self.part.failed = progress.failed;
                    self.reached.settled_ns = progress.settled_ns;
                    if let Some(recorded) = &mut self.part.recorded {
                        recorded.is_written = !progress.is_past;
                    }
                    self.reached.bytes = file_bytes(&self.path);
                    self.part.bytes = self.reached.bytes;
                    told = Some(progress.ledger.queue_full);
                    board.count(&self.part, Some(progress.ledger), false);
                    board.post(self.part.clone(), self.path.clone(), self.reached);
                }
                Ok(Some(Event::Said(text))) if was_in_past => self.said.push(text),
                Ok(Some(Event::InterfaceGone(_) | Event::CaughtUp | Event::Said(_))) => {}
                Ok(Some(Event::Ended(outcome))) => {
                    ended = Some(Ok(outcome));
                    break;
                }
                Err(error) => {
                    ended = Some(Err(error));
                    break;
                }
            }
        }
        if let Some(dropped) = told {
            self.tell_room(dropped, board);
        }
        let ended = ended?;
        let capture = self.capture.take()?;
        let how = match &ended {
            Ok(outcome) if matches!(outcome.end, agent::End::Limit(_)) => Ended::ForGood,
            _ => Ended::ForNow,
        };
        match ended {
            Ok(outcome) => {
                if let Some(recorded) = &mut self.part.recorded {
                    recorded.is_written |= outcome.end == agent::End::Recorded;
                }
                let end = outcome.end.to_string();
                self.part.ended = Some(self.asked.take().unwrap_or(end));
                let receipt = capture.receipt(&outcome);
                board.count(&self.part, Some(receipt.total), true);
                self.part.packets = receipt.total.written;
                self.part.kernel_dropped = receipt.total.kernel_dropped;
                self.part.receipt = serde_json::to_value(receipt).ok();
            }
            Err(error) => {
                board.count(&self.part, None, true);
                self.part.ended = Some(error.to_string());
            }
        }
        self.reached =
            Reached { bytes: file_bytes(&self.path), settled_ns: u64::MAX, is_last: true };
        self.part.bytes = self.reached.bytes;
        // What the disk does not take is still told to the controller.
        let _ = spool.keep(&self.part);
        board.post(self.part.clone(), self.path.clone(), self.reached);
        Some(how)
    }
}

/// Where the order says to look at the machine, as the site is.
pub(crate) fn point(
    order: &Order,
    site: &Site,
    machine: &Machine,
) -> Result<Point, agent::NoPoint> {
    Place::parse(&order.point).choose(&plan::plan(site, machine), &machine.name)
}

fn filter(order: &Order) -> Result<Option<(String, Filter)>, NotBegun> {
    let text = order.expression.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let filter = Filter::parse_with(text, &order.explained);
    Ok(Some((text.to_owned(), filter.map_err(|error| NotBegun::Filter(error.to_string()))?)))
}

fn comments(order: &Order, machine: &Machine, site: &Site, point: &Point) -> Vec<String> {
    let (asked, name, id) = (&order.comment, &machine.name, &machine.id);
    let host = &site.host.name;
    let mut text = match point.kind {
        PointKind::Peer => format!(
            "{asked}: {name} ({id}) is on a host without an agent; this is what it exchanges with \
             machines on host {host}, at the uplinks there"
        ),
        kind => format!("{asked}: {name} ({id}) on host {host} at its {kind}"),
    };
    for miss in &point.misses {
        text += &format!("\nmisses: {miss}");
    }
    vec![text]
}

fn file_bytes(path: &std::path::Path) -> u64 {
    path.metadata().map_or(0, |found| found.len())
}

/// How long nothing must have been dropped before there is said to be room again.
const ROOM_LASTS: Duration = Duration::from_secs(2);

pub(crate) fn now_ns() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_at_a_peer_is_known_by_the_word_of_its_point() {
        assert_eq!(PointKind::Peer.to_string(), Part::AT_PEER);
    }
}
