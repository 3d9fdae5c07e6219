//! One part of a session while it runs: a capture into a file of the spool.

use std::path::PathBuf;
use std::time::Duration;

use agent::{Capture, Event, Output, PastOrder, Place, Rotation, SessionError, Wanted};
use api::document::{Order, Part, Recorded};
use inventory::{Machine, Site};
use plan::Point;
use recorder::MachineRef;
use select::{Filter, Resolved};

use crate::board::{Board, Reached};
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
    /// By which names and owners the machine was recorded, where the part begins with that.
    recorded_as: Vec<MachineRef>,
    /// What people should hear.
    said: Vec<String>,
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
    /// Begins to capture `machine` as the order says, at most `snaplen` bytes of each packet; with
    /// what was recorded of it first, if there is a `past`.
    pub(crate) fn begin(
        order: &Order,
        snaplen: u32,
        site: &Site,
        machine: &Machine,
        spool: &Spool,
        past: Option<&Past>,
    ) -> Result<Self, NotBegun> {
        let point = point(order, site, machine)?;
        Self::start(order, snaplen, site, machine, point, spool, past)
    }

    /// Begins to write what was recorded of a machine, and nothing else.
    pub(crate) fn begin_recorded(
        order: &Order,
        site: &Site,
        spool: &Spool,
        past: &Past,
    ) -> Result<Self, NotBegun> {
        let Some(machine) = past.machine() else { return Err(NotBegun::NothingRecorded) };
        let (machine, point) = agent::recorded(machine);
        let snaplen = order.snaplen.min(past.snaplen);
        Self::start(order, snaplen, site, &machine, point, spool, Some(past))
    }

    fn start(
        order: &Order,
        snaplen: u32,
        site: &Site,
        machine: &Machine,
        point: Point,
        spool: &Spool,
        past: Option<&Past>,
    ) -> Result<Self, NotBegun> {
        let is_live = !point.interfaces.is_empty();
        let number = spool.next_number(&order.session)?;
        let path = spool.path(&order.session, number)?;
        let mut limits = order.limits;
        let left = order.spool_bytes.saturating_sub(spool.bytes_of(&order.session));
        limits.bytes = Some(limits.bytes.unwrap_or(u64::MAX).min(left));
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
            is_stripped: order.is_stripped,
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
                store: None,
            },
            comments: comments(order, machine, site, &point),
            ip_names: agent::ip_names(site),
            buffer_bytes: None,
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

    /// By which names and owners its machine was recorded.
    pub(crate) fn recorded_as(&self) -> &[MachineRef] {
        &self.recorded_as
    }

    /// What people should hear since this was asked last; its file has it.
    pub(crate) fn take_said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
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
    let mut text = format!(
        "{}: {} ({}) on host {} at its {}",
        order.comment, machine.name, machine.id, site.host.name, point.kind
    );
    for miss in &point.misses {
        text += &format!("\nmisses: {miss}");
    }
    vec![text]
}

fn file_bytes(path: &std::path::Path) -> u64 {
    path.metadata().map_or(0, |found| found.len())
}

pub(crate) fn now_ns() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(0)
}
