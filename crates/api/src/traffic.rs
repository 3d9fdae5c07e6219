//! Questions about traffic, and their answers.
//!
//! Sums and rows are those of `docs/reference/flows.md`. Whoever may not see all machines gets the
//! answer of a store that holds only what they may see.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A question about traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What is wanted.
    pub what: What,
    /// From this time on, ns since 1970; 0 for everything that is kept.
    #[serde(default)]
    pub from_ns: u64,
    /// Up to this time, ns since 1970; 0 for now and whatever a wrong clock says is later.
    #[serde(default)]
    pub to_ns: u64,
    /// Only flows of which all of this holds: `vm=acme/web-01`, `port=443`.
    #[serde(default)]
    pub conditions: Vec<String>,
    /// Whether rows are added up, also where there are sums.
    #[serde(default)]
    pub is_from_rows: bool,
}

/// What is wanted of the traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Who moves how much.
    Top {
        /// Of what.
        by: Subject,
        /// Most rows; the rest is summed up.
        most: usize,
    },
    /// Between whom.
    Pairs {
        /// Of what; neither applications nor ports.
        by: Subject,
        /// Most rows; the rest is summed up.
        most: usize,
    },
    /// How much there was in each of many times.
    Series {
        /// The length of each, in seconds; taken as whole minutes or whole hours.
        step_s: u64,
    },
    /// All flows, about by their ends, in several answers.
    Flows {
        /// Whether those that count nowhere are left out.
        is_once: bool,
    },
    /// The flows that moved most, the largest first.
    Largest {
        /// Most flows.
        most: usize,
        /// The rank of the last one that was told.
        after: Option<String>,
    },
    /// Who exports flows, and how that goes.
    Exporters,
}

/// What sums are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// Machines of the inventory; what is none by its address.
    Vms,
    /// Hosts that the machines are on.
    Hosts,
    /// Tenants that the machines belong to.
    Tenants,
    /// Applications.
    Apps,
    /// Protocols and ports of servers.
    Ports,
    /// Addresses, with their networks where these are named.
    Addresses,
}

impl Subject {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vms => "vms",
            Self::Hosts => "hosts",
            Self::Tenants => "tenants",
            Self::Apps => "apps",
            Self::Ports => "ports",
            Self::Addresses => "addresses",
        }
    }
}

/// An answer, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Who moves how much.
    Top(Top),
    /// Between whom.
    Pairs(Pairs),
    /// How much there was in each of many times.
    Series(Series),
    /// Some flows.
    Flows(Vec<Flow>),
    /// Who exports flows.
    Exporters(Exporters),
}

/// Bytes by split, in the order of `flows::Split::ALL`.
pub type BySplit = [u64; 6];

/// Sums of what one moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Flows with something that counts.
    pub flows: u64,
    /// Packets both ways.
    pub packets: u64,
    /// Bytes it sent; of pairs, the first to the second.
    pub sent: u64,
    /// Bytes it received.
    pub received: u64,
    /// Bytes both ways by split.
    pub by_split: BySplit,
}

/// Sums over everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Flows.
    pub flows: u64,
    /// Of these, flows that count nowhere because others do for them.
    pub copies: u64,
    /// Packets that count.
    pub packets: u64,
    /// Bytes that count.
    pub octets: u64,
    /// The same by split.
    pub by_split: BySplit,
    /// Bytes that other points saw of the same flows.
    pub copied: u64,
    /// Bytes of tunnels, with what they carry.
    pub carried: u64,
    /// Flows of which nobody said how they were sampled.
    pub unknown_rates: u64,
}

/// Who moves how much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Top {
    /// Names with their sums, the largest first.
    pub rows: Vec<(String, Sums)>,
    /// What is in no row.
    pub others: Sums,
    /// Over everything.
    pub totals: Totals,
    /// Whether the minutes at the ends of the time are no longer known.
    pub is_widened: bool,
}

/// Between whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pairs {
    /// Pairs with their sums, the largest first.
    pub rows: Vec<([String; 2], Sums)>,
    /// What is in no row.
    pub others: Sums,
    /// Over everything.
    pub totals: Totals,
    /// Whether the minutes at the ends of the time are no longer known.
    pub is_widened: bool,
}

/// How much there was in each of many times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// The length of each time, in seconds; longer than asked for where minutes have expired.
    pub step_s: u64,
    /// Times in which there was anything.
    pub moments: Vec<Moment>,
}

/// One of many times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Its begin, ns since 1970.
    pub begin_ns: u64,
    /// Flows that ended in it.
    pub flows: u64,
    /// Packets that count.
    pub packets: u64,
    /// Bytes that count.
    pub octets: u64,
    /// The same by split.
    pub by_split: BySplit,
}

/// A flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Its place among the largest; empty where they are in another order.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rank: String,
    /// Its fields, with the names of `docs/reference/flows.md`.
    pub fields: Map<String, Value>,
}

/// Who exports flows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exporters {
    /// When the collector wrote this down, ns since 1970; 0 if it never did.
    pub written_ns: u64,
    /// They.
    pub exporters: Vec<Exporter>,
}

/// One exporter, with the names of `docs/reference/collect.md`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Exporter {
    /// Its address.
    pub address: String,
    /// The port it sends from; none of sFlow.
    pub port: Option<u16>,
    /// `netflow5`, `netflow9`, `ipfix` or `sflow5`.
    pub protocol: String,
    /// Observation domain, source id, engine or sub-agent.
    pub domain: u32,
    /// Datagrams that came.
    pub datagrams: u64,
    /// Records of flows.
    pub records: u64,
    /// Sampled packets, of sFlow.
    pub samples: u64,
    /// What could not be used.
    pub malformed: u64,
    /// Sets of data whose template had not come.
    pub sets_without_template: u64,
    /// What is missing by the sequence numbers; none as long as their meaning is not known.
    pub lost: Option<u64>,
    /// What it is counted in: `records` or `datagrams`.
    pub lost_unit: String,
    /// What it says itself that it did not send, look at or take samples of.
    pub not_sent: u64,
    /// New beginnings of the numbers.
    pub restarts: u64,
    /// The rates it stated: so many packets of so many.
    pub sampling: Vec<[u64; 2]>,
    /// How far its clock is ahead of the collector's, in milliseconds.
    pub clock_ahead_ms: i64,
    /// When it was first heard, ns since 1970.
    pub first_seen_ns: u64,
    /// When it was last heard, ns since 1970.
    pub last_seen_ns: u64,
}
