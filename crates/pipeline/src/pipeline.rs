//! From a source to a sink: whose packet is it, was it asked for, is there still room for it.

use std::collections::VecDeque;

use select::{Cleared, DropReason, Filter, Guard, Ownership};
use wire::{Layers, Packet, Timestamp, TunnelPorts};

use crate::{Ledger, Limit, Limits};

/// Packets, one after the other, lent until the next one is asked for.
pub trait Source {
    /// The time of the packet that [`Source::next`] would give now, or `None` if there is none yet.
    fn peek(&mut self) -> Option<Timestamp>;

    /// The next packet, or `None` if there is none yet.
    fn next(&mut self) -> Option<Packet<'_>>;
}

/// Somewhere cleared packets go: a file, a pipe, a tunnel to an analysis tool.
pub trait Sink {
    /// Takes one packet, or says why it could not.
    ///
    /// # Errors
    /// The reason that goes into the ledger.
    fn take(&mut self, packet: &Cleared<'_>) -> Result<(), DropReason>;
}

/// What is done to a packet before it is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Delivered as it was seen.
    AsSeen,
    /// Tunnel headers and the uplink's tag removed: the frame as it is at the VM's own port.
    Stripped,
}

/// What counts as the VM's at one observation point, now and after changes.
#[derive(Debug)]
pub struct PointRules {
    /// Whose packets may pass; nobody's while the point has lost its owner.
    guard: Option<Guard>,
    /// What counts from a time on, in the order of time.
    changes: VecDeque<(Timestamp, Option<Guard>)>,
}

/// Decides about each packet of a capture session and keeps the accounts.
#[derive(Debug)]
pub struct Pipeline {
    points: Vec<(PointRules, Ledger)>,
    filter: Option<Filter>,
    ports: TunnelPorts,
    treatment: Treatment,
    snaplen: usize,
    limits: Limits,
    ended: Option<Limit>,
    written: u64,
    written_bytes: u64,
    /// Where a stripped frame is put together when bytes in its middle go.
    scratch: Vec<u8>,
}

/// What became of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was delivered.
    Written,
    /// It went no further.
    Dropped(DropReason),
}

impl Pipeline {
    /// A pipeline without observation points. `snaplen` is the most bytes delivered of a packet.
    pub fn new(
        filter: Option<Filter>,
        ports: TunnelPorts,
        treatment: Treatment,
        snaplen: u32,
        limits: Limits,
    ) -> Self {
        Self {
            points: Vec::new(),
            filter,
            ports,
            treatment,
            snaplen: snaplen as usize,
            limits,
            ended: None,
            written: 0,
            written_bytes: 0,
            scratch: Vec::new(),
        }
    }

    /// Adds the observation point with the next free number, from 0.
    pub fn add_point(&mut self, rules: PointRules) {
        self.points.push((rules, Ledger::default()));
    }

    /// From `time` on, what point `number` shows is somebody else's.
    pub fn disown(&mut self, number: usize, time: Timestamp) {
        if let Some((rules, _)) = self.points.get_mut(number) {
            rules.change(time, None);
        }
    }

    /// From `time` on, this is what is the VM's at point `number`.
    pub fn own(&mut self, number: usize, time: Timestamp, ownership: &Ownership) {
        ownership.add_tunnel_ports(&mut self.ports);
        if let Some((rules, _)) = self.points.get_mut(number) {
            rules.change(time, Some(Guard::new(ownership)));
        }
    }

    /// Packets seen after `time` are not written any more.
    pub fn end_at(&mut self, time: Timestamp) {
        let end = time.as_nanos();
        self.limits.until = Some(self.limits.until.map_or(end, |until| until.min(end)));
    }

    /// Offers one packet to `sink` and enters into the ledger what became of it.
    #[inline]
    pub fn offer(&mut self, packet: Packet<'_>, sink: &mut impl Sink) -> Verdict {
        let Some((rules, ledger)) = self.points.get_mut(packet.point.0 as usize) else {
            // A source without a point cannot be: points are added before their sources.
            return Verdict::Dropped(DropReason::OtherTenant);
        };
        let cleared = match rules.clear(packet, self.filter.as_ref(), &self.ports) {
            Ok(cleared) => cleared,
            Err(reason) => {
                ledger.drop(reason);
                return Verdict::Dropped(reason);
            }
        };
        let cleared = match self.treatment {
            Treatment::AsSeen => cleared,
            Treatment::Stripped => cleared.stripped(&mut self.scratch),
        };
        let cleared = cleared.sliced(self.snaplen);
        let seen = cleared.packet();
        if let Some(limit) =
            self.limits.reached(self.written, self.written_bytes, seen.time, seen.data.len())
        {
            self.ended.get_or_insert(limit);
            ledger.drop(DropReason::AfterLimit);
            return Verdict::Dropped(DropReason::AfterLimit);
        }
        if let Err(reason) = sink.take(&cleared) {
            ledger.drop(reason);
            return Verdict::Dropped(reason);
        }
        let bytes = seen.data.len() as u64;
        ledger.written += 1;
        ledger.written_bytes += bytes;
        ledger.sliced += u64::from(seen.is_sliced());
        self.written += 1;
        self.written_bytes += bytes;
        Verdict::Written
    }

    /// What the kernel counted for point `number`, over its whole life.
    pub fn count_kernel(&mut self, number: usize, received: u64, kernel_dropped: u64) {
        if let Some((_, ledger)) = self.points.get_mut(number) {
            ledger.received = received;
            ledger.kernel_dropped = kernel_dropped;
        }
    }

    /// The limit that ended the capture, once one has. No later packet is written.
    pub fn ended(&self) -> Option<Limit> {
        self.ended.or_else(|| {
            // Reached exactly: nothing needs to arrive to know that the next would be too much.
            self.limits.packets.is_some_and(|most| self.written >= most).then_some(Limit::Packets)
        })
    }

    /// The time after which no packet is written, if there is one.
    pub fn until(&self) -> Option<Timestamp> {
        self.limits.until.map(Timestamp::from_nanos)
    }

    /// The account of point `number`.
    pub fn ledger(&self, number: usize) -> Option<&Ledger> {
        self.points.get(number).map(|(_, ledger)| ledger)
    }

    /// The accounts of all points, in their order.
    pub fn ledgers(&self) -> impl Iterator<Item = &Ledger> {
        self.points.iter().map(|(_, ledger)| ledger)
    }

    /// Packets written at all points.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Bytes of packets written at all points.
    pub const fn written_bytes(&self) -> u64 {
        self.written_bytes
    }
}

impl PointRules {
    /// The rules of a point until they are changed.
    pub const fn new(guard: Guard) -> Self {
        Self { guard: Some(guard), changes: VecDeque::new() }
    }

    fn change(&mut self, time: Timestamp, guard: Option<Guard>) {
        // What was said last is true: a change that was to come later is not to come any more.
        self.changes.retain(|(earlier, _)| *earlier < time);
        self.changes.push_back((time, guard));
    }

    /// Whose packet it is first, whether it was asked for second: identity is never part of the
    /// expression (a filter that a person types cannot widen it).
    #[inline]
    fn clear<'a>(
        &mut self,
        packet: Packet<'a>,
        filter: Option<&Filter>,
        ports: &TunnelPorts,
    ) -> Result<Cleared<'a>, DropReason> {
        while self.changes.front().is_some_and(|(time, _)| packet.time >= *time) {
            self.guard = self.changes.pop_front().and_then(|(_, guard)| guard);
        }
        let Some(guard) = &self.guard else { return Err(DropReason::OtherTenant) };
        if filter.is_none() && guard.is_whole() {
            return guard.clear_whole(packet);
        }
        let layers = Layers::decode(packet.link, packet.data, ports);
        let cleared = guard.clear(packet, &layers)?;
        match filter {
            Some(filter) if !filter.matches(cleared.packet(), &layers) => {
                Err(DropReason::NotSelected)
            }
            _ => Ok(cleared),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use select::{Identity, OnWire};
    use wire::{LinkType, Mac, VlanId};

    #[derive(Default)]
    struct Times(Vec<u64>);

    impl Sink for Times {
        fn take(&mut self, packet: &Cleared<'_>) -> Result<(), DropReason> {
            self.0.push(packet.packet().time.as_nanos());
            Ok(())
        }
    }

    fn at(time: u64) -> Timestamp {
        Timestamp::from_nanos(time)
    }

    fn pipeline(ownership: &Ownership) -> Pipeline {
        let ports = TunnelPorts::default();
        let mut pipeline = Pipeline::new(None, ports, Treatment::AsSeen, 65_535, Limits::default());
        pipeline.add_point(PointRules::new(Guard::new(ownership)));
        pipeline
    }

    fn offer(pipeline: &mut Pipeline, sink: &mut Times, time: u64, frame: &[u8]) {
        let len = u32::try_from(frame.len()).unwrap();
        pipeline.offer(Packet::new(at(time), LinkType::ETHERNET, frame, len), sink);
    }

    #[test]
    fn what_a_port_shows_while_it_has_another_owner_is_not_written() {
        let mut pipeline = pipeline(&Ownership::Whole);
        let mut sink = Times::default();
        pipeline.disown(0, at(20));
        pipeline.own(0, at(40), &Ownership::Whole);
        for time in [10, 19, 20, 39, 40, 50] {
            offer(&mut pipeline, &mut sink, time, &[0; 60]);
        }
        assert_eq!(sink.0, [10, 19, 40, 50]);
        pipeline.own(0, at(70), &Ownership::Whole);
        pipeline.disown(0, at(60));
        offer(&mut pipeline, &mut sink, 80, &[0; 60]);
        assert_eq!(sink.0.len(), 4, "the last word counts");
    }

    #[test]
    fn a_vm_that_changes_its_network_is_followed_and_the_old_one_is_left() {
        let vm = Mac([2, 0, 0, 0, 0, 1]);
        let in_vlan = |id| {
            let network = OnWire::Vlan(VlanId::new(id).unwrap());
            Ownership::Shared(vec![Identity { mac: vm, network }])
        };
        let frame = |id: u8| {
            let mut frame = [0; 60];
            frame[6..12].copy_from_slice(&vm.0);
            frame[12..16].copy_from_slice(&[0x81, 0x00, 0x00, id]);
            frame
        };
        let mut pipeline = pipeline(&in_vlan(10));
        let mut sink = Times::default();
        pipeline.own(0, at(20), &in_vlan(30));
        for (time, id) in [(10, 10), (11, 30), (20, 10), (21, 30)] {
            offer(&mut pipeline, &mut sink, time, &frame(id));
        }
        assert_eq!(sink.0, [10, 21]);
    }
}
