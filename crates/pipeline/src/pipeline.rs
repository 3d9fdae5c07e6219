//! From a source to a sink: whose packet is it, was it asked for, is there still room for it.

mod pieces;

use select::{Cleared, DropReason, Exports, Filter, Guard, Ownership};
use wire::{Layers, Packet, Timestamp, TunnelPorts};

use self::pieces::{Patience, Pieces};
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
    fn take(&mut self, packet: &Cleared<'_, '_>) -> Result<(), DropReason>;
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
    /// Whose packets may pass from a time on, where that has changed.
    pub later: Option<(Timestamp, Guard)>,
}

/// Decides about each packet of a capture session and keeps the accounts.
#[derive(Debug)]
pub struct Pipeline {
    points: Vec<Point>,
    filter: Option<Filter>,
    ports: TunnelPorts,
    exports: Exports,
    delivery: Delivery,
    pieces: Pieces,
    /// The headers of the packet in hand.
    layers: Layers,
}

/// What became of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was delivered.
    Written,
    /// It waits for the first fragment of its packet, and is in no account yet.
    Held,
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
            exports: Exports::default(),
            delivery: Delivery {
                treatment,
                snaplen: snaplen as usize,
                limits,
                ended: None,
                written: 0,
                written_bytes: 0,
                newest: Timestamp::ZERO,
                scratch: Vec::new(),
            },
            pieces: Pieces::new(),
            layers: Layers::empty(),
        }
    }

    /// Adds the observation point with the next free number, from 0.
    pub fn add_point(&mut self, rules: PointRules) {
        self.points.push(Point { rules, changes: 0, ledger: Ledger::default() });
    }

    /// Takes nothing of what these exports carry.
    pub fn exclude(&mut self, exports: Exports) {
        self.exports = exports;
    }

    /// From `time` on, `ownership` says what is the VM's at point `number`.
    pub fn own(&mut self, number: usize, ownership: &Ownership, time: Timestamp) {
        ownership.add_tunnel_ports(&mut self.ports);
        if let Some(Point { rules, changes, .. }) = self.points.get_mut(number) {
            if let Some((_, guard)) = rules.later.take() {
                rules.guard = guard;
                *changes += 1;
            }
            rules.later = Some((time, Guard::new(ownership)));
        }
    }

    /// Packets seen after `time` are not written any more.
    pub fn end_at(&mut self, time: Timestamp) {
        let end = time.as_nanos();
        let until = &mut self.delivery.limits.until;
        *until = Some(until.map_or(end, |until| until.min(end)));
    }

    /// Offers one packet to `sink` and enters into the ledger what became of it.
    #[inline]
    pub fn offer(&mut self, packet: Packet<'_>, sink: &mut impl Sink) -> Verdict {
        if packet.lost_before > 0 {
            self.distrust(packet.point, sink);
        }
        if packet.time >= self.pieces.deadline() {
            self.settle(packet.time, sink);
        }
        let Some(Point { rules, ledger, .. }) = self.points.get_mut(packet.point.0 as usize) else {
            // A source without a point cannot be: points are added before their sources.
            return Verdict::Dropped(DropReason::OtherTenant);
        };
        let mut packet = packet;
        let (guard, _) = rules.at(packet.time);
        let filter = self.filter.as_ref();
        let cleared = if filter.is_none() && guard.is_whole() && self.exports.is_empty() {
            guard.clear_whole(&mut packet)
        } else {
            self.layers.fill(packet.link, packet.data, &self.ports);
            if self.exports.has(&packet, &self.layers) {
                ledger.drop(DropReason::OwnExport);
                return Verdict::Dropped(DropReason::OwnExport);
            }
            if self.layers.has_fragment() {
                return self.offer_piece(packet, Patience::Some, sink);
            }
            // Whose packet it is first, whether it was asked for second: identity is never part of
            // the expression (a filter that a person types cannot widen it).
            guard.clear(&mut packet, &self.layers).and_then(|cleared| match filter {
                Some(filter) if !filter.matches(cleared.packet(), &self.layers) => {
                    Err(DropReason::NotSelected)
                }
                _ => Ok(cleared),
            })
        };
        self.delivery.take(cleared, ledger, sink)
    }

    /// Enters a packet of point `number` into its ledger that goes no further, for a reason that was
    /// known before it could be offered.
    pub fn refuse(&mut self, number: usize, reason: DropReason) {
        if let Some(Point { ledger, .. }) = self.points.get_mut(number) {
            ledger.drop(reason);
        }
    }

    /// What the numbers of a mirror's packets say of those that did not come to point `number`.
    pub fn count_lost_of_mirror(&mut self, number: usize, lost: u64) {
        if let Some(Point { ledger, .. }) = self.points.get_mut(number) {
            ledger.lost_of_mirror = lost;
        }
    }

    /// What the kernel counted for point `number`, over its whole life.
    pub fn count_kernel(&mut self, number: usize, received: u64, kernel_dropped: u64) {
        if let Some(Point { ledger, .. }) = self.points.get_mut(number) {
            ledger.received = received;
            ledger.kernel_dropped = kernel_dropped;
        }
    }

    /// The limit that ended the capture, once one has. No later packet is written.
    pub fn ended(&self) -> Option<Limit> {
        let Delivery { ended, limits, written, .. } = &self.delivery;
        ended.or_else(|| {
            // Reached exactly: nothing needs to arrive to know that the next would be too much.
            limits.packets.is_some_and(|most| *written >= most).then_some(Limit::Packets)
        })
    }

    /// The time after which no packet is written, if there is one.
    pub fn until(&self) -> Option<Timestamp> {
        self.delivery.limits.until.map(Timestamp::from_nanos)
    }

    /// The account of point `number`.
    pub fn ledger(&self, number: usize) -> Option<&Ledger> {
        self.points.get(number).map(|point| &point.ledger)
    }

    /// The accounts of all points, in their order.
    pub fn ledgers(&self) -> impl Iterator<Item = &Ledger> {
        self.points.iter().map(|point| &point.ledger)
    }

    /// Packets written at all points.
    pub const fn written(&self) -> u64 {
        self.delivery.written
    }

    /// Bytes of packets written at all points.
    pub const fn written_bytes(&self) -> u64 {
        self.delivery.written_bytes
    }
}

/// An observation point and its account.
#[derive(Debug)]
struct Point {
    rules: PointRules,
    /// How often what is the VM's had changed before `rules.guard`.
    changes: u32,
    ledger: Ledger,
}

impl PointRules {
    /// The guard for packets of this time, and whether it is the later one.
    #[inline]
    fn at(&self, time: Timestamp) -> (&Guard, bool) {
        match &self.later {
            Some((from, guard)) if time >= *from => (guard, true),
            _ => (&self.guard, false),
        }
    }
}

/// The last steps of a packet: treated, sliced, held against the limits, given to the sink.
#[derive(Debug)]
struct Delivery {
    treatment: Treatment,
    snaplen: usize,
    limits: Limits,
    ended: Option<Limit>,
    written: u64,
    written_bytes: u64,
    /// The time of the youngest packet written.
    newest: Timestamp,
    /// Where a stripped frame is put together when bytes in its middle go.
    scratch: Vec<u8>,
}

impl Delivery {
    #[inline]
    fn take<'p, 's: 'p>(
        &'s mut self,
        cleared: Result<Cleared<'p, 's>, DropReason>,
        ledger: &mut Ledger,
        sink: &mut impl Sink,
    ) -> Verdict {
        let mut cleared = match cleared {
            Ok(cleared) => cleared,
            Err(reason) => {
                ledger.drop(reason);
                return Verdict::Dropped(reason);
            }
        };
        match self.treatment {
            Treatment::AsSeen => {}
            Treatment::Stripped => cleared.strip(&mut self.scratch),
        }
        cleared.slice(self.snaplen);
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
        self.newest = self.newest.max(seen.time);
        Verdict::Written
    }
}

#[cfg(test)]
mod tests {
    use select::{Identity, OnWire};
    use wire::{LinkType, Mac, VlanId};

    use super::*;

    /// Keeps what it is given, up to a number of packets.
    struct Shelf {
        frames: Vec<(Vec<u8>, u32)>,
        room: usize,
    }

    impl Sink for Shelf {
        fn take(&mut self, packet: &Cleared<'_, '_>) -> Result<(), DropReason> {
            if self.frames.len() == self.room {
                return Err(DropReason::QueueFull);
            }
            self.frames.push((packet.packet().data.to_vec(), packet.packet().wire_len));
            Ok(())
        }
    }

    const WEB: Mac = Mac([0x52, 0x54, 0, 0, 7, 10]);
    const DB: Mac = Mac([0x52, 0x54, 0, 0, 7, 20]);

    /// An ARP request of `source` in a VLAN.
    fn frame(source: Mac, vlan: u8) -> Vec<u8> {
        let mut bytes = [&[0xff; 6][..], &source.0, &[0x81, 0, 0, vlan, 0x08, 0x06]].concat();
        bytes.extend([0, 1, 8, 0, 6, 4, 0, 1]); // Ethernet, IPv4, request
        bytes.extend([&source.0[..], &[10, 0, 0, 1], &[0; 6], &[10, 0, 0, 2]].concat());
        bytes
    }

    fn shared(mac: Mac, vlan: u16) -> Ownership {
        let network = OnWire::Vlan(VlanId::new(vlan).unwrap());
        Ownership::Shared(vec![Identity { mac, network }])
    }

    struct Bench {
        pipeline: Pipeline,
        shelf: Shelf,
        seen: u64,
    }

    impl Bench {
        fn new(ownership: &Ownership, filter: &str, treatment: Treatment, limits: Limits) -> Self {
            let filter = (!filter.is_empty()).then(|| Filter::parse(filter).unwrap());
            let mut pipeline =
                Pipeline::new(filter, TunnelPorts::default(), treatment, 262_144, limits);
            let guard = Guard::new(ownership);
            pipeline.add_point(PointRules { guard, later: None });
            Self { pipeline, shelf: Shelf { frames: Vec::new(), room: usize::MAX }, seen: 0 }
        }

        fn offer(&mut self, bytes: &[u8]) -> Verdict {
            let len = u32::try_from(bytes.len()).unwrap();
            self.seen += 1;
            let time = Timestamp::from_nanos(self.seen);
            let packet = Packet::new(time, LinkType::ETHERNET, bytes, len);
            self.pipeline.offer(packet, &mut self.shelf)
        }

        /// The account, which must add up.
        fn ledger(&mut self) -> Ledger {
            self.pipeline.count_kernel(0, self.seen, 0);
            let ledger = *self.pipeline.ledger(0).unwrap();
            assert_eq!(ledger.unread(), 0);
            ledger
        }
    }

    #[test]
    fn the_same_mac_in_another_network_is_another_tenant() {
        let mut bench = Bench::new(&shared(WEB, 100), "", Treatment::AsSeen, Limits::default());
        bench.offer(&frame(WEB, 100));
        bench.offer(&frame(WEB, 200));
        bench.offer(&frame(DB, 100));
        let expected = Ledger {
            received: 3,
            written: 2,
            written_bytes: 92,
            other_tenant: 1,
            ..Ledger::default()
        };
        assert_eq!(bench.ledger(), expected, "a broadcast in its network is the VM's as well");
    }

    #[test]
    fn an_expression_never_widens_what_belongs_to_the_vm() {
        let filter = "not (vlan 100) or arp";
        let mut bench = Bench::new(&shared(WEB, 100), filter, Treatment::AsSeen, Limits::default());
        bench.offer(&frame(WEB, 200));
        let expected = Ledger { received: 1, other_tenant: 1, ..Ledger::default() };
        assert_eq!(bench.ledger(), expected);
    }

    #[test]
    fn what_nobody_asked_for_is_not_selected() {
        let mut bench = Bench::new(
            &Ownership::Whole,
            "ether src 52:54:00:00:07:0a",
            Treatment::AsSeen,
            Limits::default(),
        );
        bench.offer(&frame(WEB, 100));
        bench.offer(&frame(DB, 100));
        let expected = Ledger {
            received: 2,
            written: 1,
            written_bytes: 46,
            not_selected: 1,
            ..Ledger::default()
        };
        assert_eq!(bench.ledger(), expected);
    }

    #[test]
    fn a_limit_holds_to_the_packet_and_the_rest_has_a_name() {
        let limits = Limits { packets: Some(2), ..Limits::default() };
        let mut bench = Bench::new(&Ownership::Whole, "", Treatment::AsSeen, limits);
        for _ in 0..2 {
            assert_eq!(bench.pipeline.ended(), None);
            bench.offer(&frame(WEB, 1));
        }
        assert_eq!(bench.pipeline.ended(), Some(Limit::Packets), "known without another packet");
        bench.offer(&frame(WEB, 1));
        let expected = Ledger {
            received: 3,
            written: 2,
            written_bytes: 92,
            after_limit: 1,
            ..Ledger::default()
        };
        assert_eq!(bench.ledger(), expected);
    }

    #[test]
    fn from_the_moment_a_port_has_another_owner_nothing_of_it_is_taken() {
        let mut bench = Bench::new(&Ownership::Whole, "", Treatment::AsSeen, Limits::default());
        bench.pipeline.own(0, &Ownership::Shared(Vec::new()), Timestamp::from_nanos(2));
        bench.offer(&frame(WEB, 1));
        bench.offer(&frame(WEB, 1));
        let expected = Ledger {
            received: 2,
            written: 1,
            written_bytes: 46,
            other_tenant: 1,
            ..Ledger::default()
        };
        assert_eq!(bench.ledger(), expected);
    }

    #[test]
    fn a_network_that_changes_is_judged_by_the_time_of_each_packet() {
        let mut bench = Bench::new(&shared(WEB, 100), "", Treatment::AsSeen, Limits::default());
        bench.pipeline.own(0, &shared(WEB, 200), Timestamp::from_nanos(3));
        for vlan in [100, 200, 100, 200] {
            bench.offer(&frame(WEB, vlan));
        }
        let expected = Ledger {
            received: 4,
            written: 2,
            written_bytes: 92,
            other_tenant: 2,
            ..Ledger::default()
        };
        assert_eq!(bench.ledger(), expected);
        assert_eq!(bench.shelf.frames[0].0[15], 100, "before the change");
        assert_eq!(bench.shelf.frames[1].0[15], 200, "after it");
    }

    #[test]
    fn a_sink_that_refuses_is_counted_and_asked_again() {
        let mut bench = Bench::new(&Ownership::Whole, "", Treatment::AsSeen, Limits::default());
        bench.shelf.room = 1;
        bench.offer(&frame(WEB, 1));
        assert_eq!(bench.offer(&frame(WEB, 1)), Verdict::Dropped(DropReason::QueueFull));
        let expected = Ledger {
            received: 2,
            written: 1,
            written_bytes: 46,
            queue_full: 1,
            ..Ledger::default()
        };
        assert_eq!(bench.ledger(), expected);
    }

    #[test]
    fn stripping_comes_before_slicing_and_lengths_stay_honest() {
        let ownership = shared(WEB, 100);
        let mut pipeline =
            Pipeline::new(None, TunnelPorts::default(), Treatment::Stripped, 20, Limits::default());
        pipeline.add_point(PointRules { guard: Guard::new(&ownership), later: None });
        let mut shelf = Shelf { frames: Vec::new(), room: 9 };
        let bytes = frame(WEB, 100);
        let packet = Packet::new(Timestamp::ZERO, LinkType::ETHERNET, &bytes, 46);
        pipeline.offer(packet, &mut shelf);
        let untagged = [&bytes[..12], &bytes[16..]].concat();
        assert_eq!(shelf.frames, [(untagged[..20].to_vec(), 42)]);
        assert_eq!(pipeline.ledger(0).unwrap().sliced, 1);
    }
}
