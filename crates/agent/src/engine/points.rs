//! The points of a capture as they come, change hands, lose their interface or connection and go.

use std::io;
use std::os::fd::OwnedFd;

use capture::{Condition, Stream, StreamEnd};
use pipeline::PointRules;
use select::{Guard, Ownership};
use wire::{PointId, Timestamp};

use super::intake::Intake;
use super::{Engine, HOLD, now};
use crate::channel::Channel;
use crate::orders::{End, News, PointOrder};
use crate::output;

impl Engine {
    pub(super) fn add_socket(&mut self, descriptor: Option<OwnedFd>) -> io::Result<()> {
        let point = self.awaited.next().ok_or_else(|| io::Error::other("it has no point"))?;
        self.attach(point, descriptor)
    }

    /// Reads a socket for the next point.
    fn attach(&mut self, point: PointOrder, descriptor: Option<OwnedFd>) -> io::Result<()> {
        let socket = descriptor.ok_or_else(|| io::Error::other("none came with the order"))?;
        let number = u32::try_from(self.intakes.len()).map_err(io::Error::other)?;
        self.intakes.push(Intake::new(point, socket, PointId(number))?);
        Ok(())
    }

    /// Takes the packets of another point as well, from now on.
    pub(super) fn add_point(
        &mut self,
        point: PointOrder,
        recorded: Option<(recorder::MachineRef, Timestamp)>,
        descriptor: Option<OwnedFd>,
    ) -> io::Result<()> {
        // Behind mirror sessions and recorded points, intakes and points would have other numbers.
        let are_numbers_equal = self.pipeline.ledgers().count() == self.intakes.len();
        match (self.sink.store(), recorded) {
            (Some(store), Some((machine, since))) => store.add_point(&point, machine, since),
            (None, None) if are_numbers_equal => {
                let header = output::interface(&point, &self.session_header);
                self.sink.add_point(header, now());
            }
            _ => return Err(io::Error::other("this capture cannot get more points")),
        }
        let guard = Guard::new(&point.ownership);
        self.pipeline.add_point(PointRules { guard, later: None });
        let (number, ownership) = (self.intakes.len(), point.ownership.clone());
        self.attach(point, descriptor)?;
        if let Ownership::Shared(_) = ownership {
            self.merge.hold = HOLD;
            // Its tunnels are known everywhere from now on.
            self.own(number, &ownership, Timestamp::ZERO);
        }
        Ok(())
    }

    /// Nothing more is recorded of a point.
    pub(super) fn end_point(&mut self, number: usize) {
        if let Some(store) = self.sink.store() {
            store.end_point(number, now());
        }
    }

    /// Takes other packets of a point from a time on. The kernel's programs follow at once; what
    /// they have let in before is judged here, by its time.
    pub(super) fn own(&mut self, number: usize, ownership: &Ownership, at: Timestamp) {
        self.pipeline.own(number, ownership, at);
        for session in self.sessions.iter().filter(|session| session.intake == number) {
            self.pipeline.own(session.point.0 as usize, ownership, at);
        }
        self.rules.add(ownership);
        if let Some(store) = self.sink.store() {
            store.own(number, ownership);
        }
        if let Some(intake) = self.intakes.get_mut(number) {
            intake.owned.clone_from(ownership);
        }
        // An expression sees the tunnels of all points at each, so one point's news concern all.
        for Intake { inlet, receiver, owned: ownership, kept, .. } in &mut self.intakes {
            // At a mirror the kernel looks at what is around the frames.
            if receiver.is_some() || *ownership == Ownership::Shared(Vec::new()) {
                // What is nobody's business any more is refused here, where it is counted.
                continue;
            }
            let refilter = |program: &_| inlet.refilter(program, *kept);
            let attached = self.rules.attach(ownership, *kept, |_| true, refilter);
            if let Err(error) = attached {
                self.sink.comment(&format!("the kernel kept its old filter: {error}"));
            }
        }
    }

    /// Finds the interfaces behind errors. Those that are down stay; those that are gone are left.
    pub(super) fn look_after_interfaces(&mut self, channel: &Channel) -> Option<End> {
        for number in 0..self.intakes.len() {
            let Some(intake) = self.intakes.get_mut(number) else { break };
            let is_gone = matches!(intake.inlet.condition(), Ok(Condition::Gone) | Err(_));
            if intake.is_attached && is_gone {
                intake.is_attached = false;
                let point = u32::try_from(number).unwrap_or(u32::MAX);
                let _ = channel.send(&News::PointGone { point }, None);
                self.end_point(number);
            }
        }
        // A recorder waits for the next machine, a recording for its end.
        if self.sink.is_store() || self.past.is_some() {
            return None;
        }
        let is_any_left = self.intakes.iter().any(|intake| intake.is_attached);
        (!is_any_left).then_some(End::InterfacesGone)
    }

    /// Goes on with another connection to the sender of a point.
    pub(super) fn reconnect(
        &mut self,
        number: usize,
        descriptor: Option<OwnedFd>,
    ) -> io::Result<()> {
        let socket = descriptor.ok_or_else(|| io::Error::other("none came with the order"))?;
        let Some(stream) = self.intakes.get_mut(number).and_then(Intake::stream_mut) else {
            return Err(io::Error::other("it is of no such point"));
        };
        stream.connect(socket)
    }

    /// Tells of connections that are lost; whoever has the right to makes them again.
    pub(super) fn look_after_connections(&mut self, channel: &Channel) -> Option<End> {
        if let Some(tools) = self.sink.tools() {
            self.lost_tools.resize(tools.len(), false);
            for (number, is_told) in self.lost_tools.iter_mut().enumerate() {
                if tools.is_lost(number) && !*is_told {
                    *is_told = true;
                    let number = u32::try_from(number).unwrap_or(u32::MAX);
                    let _ = channel.send(&News::ToolLost(number), None);
                }
            }
        }
        let mut last = None;
        for (number, intake) in self.intakes.iter_mut().enumerate() {
            let Some(end) = intake.stream_mut().and_then(Stream::take_end) else { continue };
            let Some(receiver) = &intake.receiver else { continue };
            let ends = receiver.stream.is_some_and(|order| order.ends);
            let point = u32::try_from(number).unwrap_or(u32::MAX);
            let is_foreign = matches!(end, StreamEnd::Foreign(_));
            let label = receiver.label.clone();
            self.sink.comment(&format!("{label}: {end}"));
            if !ends && !is_foreign {
                let _ = channel.send(&News::SenderLost { point, why: end.to_string() }, None);
                continue;
            }
            let _ = channel.send(&News::Said(format!("{label}: {end}")), None);
            intake.is_attached = false;
            last = Some(match end {
                StreamEnd::Closed => End::SenderEnded,
                end => End::SenderFailed(end.to_string()),
            });
        }
        last.filter(|_| self.intakes.iter().all(|intake| !intake.is_attached))
    }
}
