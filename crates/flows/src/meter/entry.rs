//! A flow in the cache, in two parts: what every packet of it changes, within two cache lines, and
//! all the rest.

use std::time::Duration;

use wire::{Mac, PointId, Timestamp};

use crate::application::{Application, server_port};
use crate::flow::{ClientBasis, EndReason, Flow, Way};
use crate::key::{Ends, FlowKey};
use crate::network::Network;
use crate::packet::Facts;
use crate::tcp::{ACK, FIN, RST, SYN, TcpOddities, TcpState, TcpWay, shuts_window};

/// What every packet changes. Directions are those of the key: 0 from the lower end.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Hot {
    key: FlowKey,
    counts: [Counts; 2],
    tcp: [TcpWay; 2],
    /// Packets with payload whose first bytes may still say what the flow is.
    looks_left: u8,
    /// Whether the answer to the answer of a handshake is still to come.
    awaits_ack: bool,
    is_ended: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    packets: u64,
    octets: u64,
    last: u64,
}

/// What few packets change.
#[derive(Debug)]
pub(super) struct Cold {
    hash: u64,
    /// The time of the first packet of each direction; 0 is none yet.
    first: [u64; 2],
    /// Times of the first packet with SYN, of the answer, and of the answer to that; 0 is none.
    handshake: [u64; 3],
    oddities: [TcpOddities; 2],
    /// Which direction the opening SYN had, or the first packet.
    opener: u8,
    is_opened: bool,
    /// Ends as the lower one's packets have them.
    ends: Ends,
    network: Network,
    point: PointId,
    macs: [Mac; 2],
    application: Application,
    asked_for: Option<Box<str>>,
}

/// Two cache lines: the key is in the first one, the rest in both.
const _: () = assert!(size_of::<Hot>() <= 128);

impl Hot {
    pub(super) const fn new(key: FlowKey) -> Self {
        const NONE: Counts = Counts { packets: 0, octets: 0, last: 0 };
        Self {
            key,
            counts: [NONE; 2],
            tcp: [TcpWay::NEW; 2],
            looks_left: LOOKS,
            awaits_ack: false,
            is_ended: false,
        }
    }

    #[inline]
    pub(super) const fn key(&self) -> &FlowKey {
        &self.key
    }

    /// Reads both cache lines, so that they are at hand when they are needed.
    #[inline]
    pub(super) fn touch(&self) -> u32 {
        u32::from(self.key.protocol()) + u32::from(self.is_ended)
    }

    /// Whether TCP has ended it.
    #[inline]
    pub(super) const fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// The time of its last packet.
    #[inline]
    pub(super) fn last(&self) -> u64 {
        let [there, back] = &self.counts;
        there.last.max(back.last)
    }

    /// Takes a packet; what it changes elsewhere is in the `cold` part of the same flow, which is
    /// asked for only if something there changes.
    #[inline]
    pub(super) fn take<'c>(
        &mut self,
        cold: impl FnOnce() -> Option<&'c mut Cold>,
        time: u64,
        facts: &mut Facts,
        is_swapped: bool,
    ) {
        let way = usize::from(is_swapped);
        let Some(counts) = self.counts.get_mut(way) else { return };
        let is_first = counts.packets == 0;
        let is_late = time < counts.last;
        counts.last = counts.last.max(time);
        counts.packets += 1;
        counts.octets += u64::from(facts.octets);
        let mut odd = None;
        let (mut is_followed, mut is_shut) = (false, false);
        if let (Some(tcp), Some(own)) = (&facts.tcp, self.tcp.get_mut(way)) {
            odd = own.take(tcp, facts.tcp_payload_len);
            is_followed = self.awaits_ack || tcp.flags & (SYN | FIN | RST) != 0;
            is_shut = shuts_window(tcp);
        }
        let is_looked_at = self.looks_left > 0 && facts.has_payload;
        if !(is_first || is_late || is_followed || is_shut || is_looked_at || odd.is_some()) {
            return;
        }
        let Some(cold) = cold() else { return };
        if let Some(first) = cold.first.get_mut(way) {
            *first = if is_first { time } else { time.min(*first) };
        }
        if let (Some(tcp), Some(oddities)) = (&facts.tcp, cold.oddities.get_mut(way)) {
            oddities.zero_windows += u32::from(is_shut);
            if let Some(odd) = odd {
                oddities.take(tcp, odd);
            }
            if is_followed {
                self.awaits_ack = cold.follow(time, tcp.flags, u8::from(is_swapped));
                let [there, back] = &self.tcp;
                self.is_ended =
                    (there.flags | back.flags) & RST != 0 || there.flags & back.flags & FIN != 0;
            }
        }
        if is_looked_at {
            self.looks_left = if cold.look(facts) { 0 } else { self.looks_left - 1 };
        }
    }
}

impl Cold {
    pub(super) fn new(hash: u64, point: PointId, facts: &Facts, is_swapped: bool) -> Self {
        let [source, destination] = facts.macs;
        let (ends, macs) = if is_swapped {
            (facts.ends.reversed(), [destination, source])
        } else {
            (facts.ends, [source, destination])
        };
        Self {
            hash,
            first: [0; 2],
            handshake: [0; 3],
            oddities: [TcpOddities::default(); 2],
            opener: u8::from(is_swapped),
            is_opened: false,
            ends,
            network: facts.network,
            point,
            macs,
            application: Application::Unknown,
            asked_for: None,
        }
    }

    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    /// The time of its first packet.
    pub(super) const fn first(&self) -> u64 {
        match self.first {
            [first, 0] | [0, first] => first,
            [there, back] => {
                if there < back {
                    there
                } else {
                    back
                }
            }
        }
    }

    /// Takes the flags of TCP: who opens, how long answers take. Says whether the answer to the
    /// answer is still to come.
    fn follow(&mut self, time: u64, flags: u8, way: u8) -> bool {
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
        *answered != 0 && *agreed == 0
    }

    /// Takes what the first bytes of a payload say; says whether nothing more can be learnt.
    fn look(&mut self, facts: &mut Facts) -> bool {
        let Some(seen) = facts.seen.take() else { return false };
        self.application = Application::Seen(seen.application);
        self.asked_for = seen.name;
        self.asked_for.is_some()
    }

    pub(super) fn into_flow(self, hot: &Hot, reason: EndReason) -> Flow {
        let (basis, is_swapped) = self.client();
        let (ends, macs) = if is_swapped {
            let [a, b] = self.macs;
            (self.ends.reversed(), [b, a])
        } else {
            (self.ends, self.macs)
        };
        let mut ways = [0, 1].map(|way| self.way(hot, way));
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
        let is_tcp = ends.protocol == 6;
        Flow {
            point: self.point,
            network: self.network,
            ends,
            macs,
            there,
            back,
            client_basis: basis,
            tcp: is_tcp.then(|| TcpState::of(there.tcp_flags, back.tcp_flags)),
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

    fn way(&self, hot: &Hot, way: usize) -> Way {
        let counts = hot.counts.get(way).copied().unwrap_or_default();
        let oddities = self.oddities.get(way).copied().unwrap_or_default();
        let first = self.first.get(way).copied().unwrap_or_default();
        Way {
            packets: counts.packets,
            octets: counts.octets,
            first: Timestamp::from_nanos(first),
            last: Timestamp::from_nanos(counts.last),
            tcp_flags: hot.tcp.get(way).map_or(0, |tcp| tcp.flags),
            retransmitted: oddities.retransmitted,
            out_of_order: oddities.out_of_order,
            zero_windows: oddities.zero_windows,
        }
    }
}

/// How many packets with payload are looked at for what the flow is used for.
const LOOKS: u8 = 4;
