//! From a source to a sink: whose packet is it, was it asked for, is there still room for it.

use select::{Cleared, DropReason, Filter, Guard};
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

/// What counts as the VM's at one observation point.
#[derive(Debug)]
pub struct PointRules {
    /// Whose packets may pass.
    pub guard: Guard,
    /// Packets of this time and later are somebody else's: the point lost its owner then.
    pub owned_until: Option<Timestamp>,
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
            rules.owned_until = Some(time);
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
    /// Whose packet it is first, whether it was asked for second: identity is never part of the
    /// expression (a filter that a person types cannot widen it).
    #[inline]
    fn clear<'a>(
        &self,
        packet: Packet<'a>,
        filter: Option<&Filter>,
        ports: &TunnelPorts,
    ) -> Result<Cleared<'a>, DropReason> {
        if self.owned_until.is_some_and(|end| packet.time >= end) {
            return Err(DropReason::OtherTenant);
        }
        if filter.is_none() && self.guard.is_whole() {
            return self.guard.clear_whole(packet);
        }
        let layers = Layers::decode(packet.link, packet.data, ports);
        let cleared = self.guard.clear(packet, &layers)?;
        match filter {
            Some(filter) if !filter.matches(cleared.packet(), &layers) => {
                Err(DropReason::NotSelected)
            }
            _ => Ok(cleared),
        }
    }
}
