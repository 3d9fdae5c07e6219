//! A flow as the meter saw it: both directions at one observation point.

use std::time::Duration;

use wire::export::{Rate, RateOrigin, Ratio};
use wire::{Mac, PointId, Timestamp};

use crate::application::Application;
use crate::key::Ends;
use crate::network::Network;
use crate::tcp::TcpState;

/// A flow that has ended, or a part of one that goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// Where it was seen.
    pub point: PointId,
    /// The network it is in.
    pub network: Network,
    /// Who talks to whom: the client first, as far as that is known; see `client_basis`.
    pub ends: Ends,
    /// Their MAC addresses in the first packet, zero where there is no Ethernet.
    pub macs: [Mac; 2],
    /// What the client sent.
    pub there: Way,
    /// What the server sent.
    pub back: Way,
    /// Who began: what says that the first end is the client.
    pub client_basis: ClientBasis,
    /// How far the connection came, of TCP.
    pub tcp: Option<TcpState>,
    /// How long the server took to answer the first packet of the handshake, from the observation
    /// point.
    pub server_rtt: Option<Duration>,
    /// How long the client took to answer that.
    pub client_rtt: Option<Duration>,
    /// What it is used for.
    pub application: Application,
    /// The name that was asked for: of the server, of the site, in DNS.
    pub asked_for: Option<Box<str>>,
    /// One of how many packets was looked at, and who says so; nothing here is multiplied by it.
    pub rate: Rate,
    /// Whether it is the outside of a tunnel: its bytes are those of other flows once more.
    pub is_carrier: bool,
    /// Why it is told now.
    pub end: EndReason,
}

impl Flow {
    /// The rate of what was not sampled.
    pub const EVERY_PACKET: Rate = Rate { ratio: Ratio::ALL, origin: RateOrigin::Record };

    /// The two directions, that of the client first.
    pub const fn ways(&self) -> [&Way; 2] {
        [&self.there, &self.back]
    }

    /// The time of the first packet.
    pub fn start(&self) -> Timestamp {
        match (self.there.packets, self.back.packets) {
            (0, _) => self.back.first,
            (_, 0) => self.there.first,
            _ => self.there.first.min(self.back.first),
        }
    }

    /// The time of the last packet.
    pub fn last(&self) -> Timestamp {
        self.there.last.max(self.back.last)
    }

    /// The port of the server; 0 where the protocol has none.
    pub fn server_port(&self) -> u16 {
        let [_, port] = self.ends.ports;
        if matches!(self.ends.protocol, 1 | 58) { 0 } else { port }
    }
}

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Way {
    /// Packets that were looked at.
    pub packets: u64,
    /// Bytes of IP packets.
    pub octets: u64,
    /// When the first and the last came; zero if there are none.
    pub first: Timestamp,
    /// See `first`.
    pub last: Timestamp,
    /// Every flag of TCP that was seen.
    pub tcp_flags: u8,
    /// Segments of TCP whose bytes had come before.
    pub retransmitted: u32,
    /// Segments of TCP that came after later ones.
    pub out_of_order: u32,
    /// Segments of TCP that shut the window.
    pub zero_windows: u32,
}

/// What says who of the two is the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientBasis {
    /// It opened the connection.
    Syn,
    /// The other one has a port that servers have.
    Port,
    /// It was seen first.
    First,
}

impl ClientBasis {
    /// One word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Syn => "syn",
            Self::Port => "port",
            Self::First => "first",
        }
    }
}

/// Why a flow is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EndReason {
    /// Nothing came for the idle time-out.
    Idle,
    /// It goes on, and the active time-out is over.
    Active,
    /// TCP has ended it, or broken it off.
    Ended,
    /// There was no room, and it was the one that was silent longest among some.
    CacheFull,
    /// One of its machines moved to another host.
    Migration,
    /// The meter was stopped.
    Stopped,
}

impl EndReason {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Idle, Self::Active, Self::Ended, Self::CacheFull, Self::Migration, Self::Stopped];

    /// Its name in counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Active => "active",
            Self::Ended => "ended",
            Self::CacheFull => "cache_full",
            Self::Migration => "migration",
            Self::Stopped => "stopped",
        }
    }

    /// The number of IPFIX for it (element 136): a migration has none and is a forced end.
    pub const fn ipfix(self) -> u8 {
        match self {
            Self::Idle => 1,
            Self::Active => 2,
            Self::Ended => 3,
            Self::Migration | Self::Stopped => 4,
            Self::CacheFull => 5,
        }
    }
}
