//! A flow in the cache.

use std::time::Duration;

use wire::{Mac, Packet, PointId, Timestamp};

use crate::application::{Application, server_port};
use crate::flow::{ClientBasis, EndReason, Flow, Way};
use crate::key::{Ends, FlowKey};
use crate::network::Network;
use crate::packet::Facts;
use crate::tcp::{ACK, FIN, RST, SYN, TcpState, TcpWay};

/// A flow in the cache. Directions are those of its key: 0 from the lower end.
#[derive(Debug)]
pub(super) struct Entry {
    key: FlowKey,
    hash: u64,
    counts: [Counts; 2],
    /// Times of the first packet with SYN, of the answer, and of the answer to that; 0 is none.
    handshake: [u64; 3],
    tcp: [TcpWay; 2],
    /// Which direction the opening SYN had, or the first packet.
    opener: u8,
    is_opened: bool,
    is_tcp: bool,
    is_ended: bool,
    /// Packets with payload whose first bytes may still say what the flow is.
    looks_left: u8,
    /// Ends as the lower one's packets have them.
    ends: Ends,
    network: Network,
    point: PointId,
    macs: [Mac; 2],
    application: Application,
    asked_for: Option<Box<str>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    packets: u64,
    octets: u64,
    first: u64,
    last: u64,
}

impl Entry {
    pub(super) fn new(
        key: FlowKey,
        hash: u64,
        packet: &Packet<'_>,
        facts: &Facts<'_>,
        is_swapped: bool,
    ) -> Self {
        let [source, destination] = facts.macs;
        let (ends, macs) = if is_swapped {
            (facts.ends.reversed(), [destination, source])
        } else {
            (facts.ends, [source, destination])
        };
        Self {
            key,
            hash,
            counts: [Counts::default(); 2],
            handshake: [0; 3],
            tcp: [TcpWay::default(); 2],
            opener: u8::from(is_swapped),
            is_opened: false,
            is_tcp: facts.ends.protocol == 6,
            is_ended: false,
            looks_left: LOOKS,
            ends,
            network: facts.network,
            point: packet.point,
            macs,
            application: Application::Unknown,
            asked_for: None,
        }
    }

    /// Takes a packet of it.
    #[inline]
    pub(super) fn take(&mut self, time: u64, facts: &Facts<'_>, is_swapped: bool) {
        let way = usize::from(is_swapped);
        let Some(counts) = self.counts.get_mut(way) else { return };
        if counts.packets == 0 || time < counts.first {
            counts.first = time;
        }
        counts.last = counts.last.max(time);
        counts.packets += 1;
        counts.octets += u64::from(facts.octets);
        if let Some(tcp) = &facts.tcp {
            if let Some(way) = self.tcp.get_mut(way) {
                way.take(tcp, facts.tcp_payload_len);
            }
            if self.handshake[2] == 0 || tcp.flags & (FIN | RST) != 0 {
                self.follow(time, tcp.flags, u8::from(is_swapped));
            }
        }
        if self.looks_left > 0 && !facts.payload.is_empty() {
            self.look(facts);
        }
    }

    pub(super) const fn key(&self) -> &FlowKey {
        &self.key
    }

    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    /// Whether TCP has ended it.
    pub(super) const fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// The time of its last packet.
    pub(super) fn last(&self) -> u64 {
        let [there, back] = &self.counts;
        there.last.max(back.last)
    }

    /// The time of its first packet.
    pub(super) fn first(&self) -> u64 {
        match &self.counts {
            [there, back] if there.packets == 0 => back.first,
            [there, back] if back.packets == 0 => there.first,
            [there, back] => there.first.min(back.first),
        }
    }

    /// Takes the flags of TCP: who opens, how long answers take, who ends.
    fn follow(&mut self, time: u64, flags: u8, way: u8) {
        let [opened, answered, agreed] = &mut self.handshake;
        match flags & (SYN | ACK) {
            SYN => {
                // Of a repeated one the last counts: its answer comes next.
                *opened = time;
                self.opener = way;
                self.is_opened = true;
            }
            0x12 => {
                if *answered == 0 {
                    *answered = time;
                }
                if !self.is_opened {
                    self.opener = 1 - way;
                    self.is_opened = true;
                }
            }
            ACK if *answered != 0 && *agreed == 0 && way == self.opener => *agreed = time,
            _ => {}
        }
        let [there, back] = &self.tcp;
        self.is_ended =
            (there.flags | back.flags) & RST != 0 || there.flags & back.flags & FIN != 0;
    }

    /// Looks at the first bytes of a payload.
    fn look(&mut self, facts: &Facts<'_>) {
        self.looks_left -= 1;
        let Some(seen) = Application::seen(facts.ends.protocol, facts.ends.ports, facts.payload)
        else {
            return;
        };
        self.application = Application::Seen(seen.application);
        if let Some(name) = seen.name {
            self.asked_for = Some(name.into());
            self.looks_left = 0;
        }
    }

    pub(super) fn into_flow(self, reason: EndReason) -> Flow {
        let (basis, is_swapped) = self.client();
        let (ends, macs) = if is_swapped {
            let [a, b] = self.macs;
            (self.ends.reversed(), [b, a])
        } else {
            (self.ends, self.macs)
        };
        let mut ways = [0, 1].map(|way| self.way(way));
        if is_swapped {
            ways.reverse();
        }
        let [there, back] = ways;
        let [opened, answered, agreed] = self.handshake;
        let between = |from: u64, to: u64| {
            let is_there = from != 0 && to >= from;
            is_there.then(|| Duration::from_nanos(to - from))
        };
        let [_, port] = ends.ports;
        let application = match self.application {
            Application::Unknown => Application::of_port(ends.protocol, port),
            seen => seen,
        };
        Flow {
            point: self.point,
            network: self.network,
            ends,
            macs,
            there,
            back,
            client_basis: basis,
            tcp: self.is_tcp.then(|| TcpState::of(there.tcp_flags, back.tcp_flags)),
            server_rtt: between(opened, answered),
            client_rtt: between(answered, agreed),
            application,
            asked_for: self.asked_for,
            rate: Flow::EVERY_PACKET,
            is_carrier: false,
            end: reason,
        }
    }

    /// Who is the client: what says so, and whether it is the second end.
    fn client(&self) -> (ClientBasis, bool) {
        if self.is_opened {
            return (ClientBasis::Syn, self.opener == 1);
        }
        let Ends { ports, protocol, .. } = self.ends;
        let is_named = |port| Application::of_port(protocol, port) != Application::Unknown;
        let [lower, upper] = ports.map(is_named);
        if lower != upper {
            let [port, _] = ports;
            return (ClientBasis::Port, server_port(protocol, ports) == port);
        }
        (ClientBasis::First, self.opener == 1)
    }

    fn way(&self, way: usize) -> Way {
        let counts = self.counts.get(way).copied().unwrap_or_default();
        let tcp = self.tcp.get(way).copied().unwrap_or_default();
        Way {
            packets: counts.packets,
            octets: counts.octets,
            first: Timestamp::from_nanos(counts.first),
            last: Timestamp::from_nanos(counts.last),
            tcp_flags: tcp.flags,
            retransmitted: tcp.retransmitted,
            out_of_order: tcp.out_of_order,
            zero_windows: tcp.zero_windows,
        }
    }
}

/// How many packets with payload are looked at for what the flow is used for.
const LOOKS: u8 = 4;
