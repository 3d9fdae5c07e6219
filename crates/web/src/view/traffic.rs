//! Who talks to whom: sums, flows, exporters.

use api::traffic;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{time, time_if_any};

/// Bytes by where the two ends are.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct BySplit {
    /// Both are machines on one host.
    intra_host: u64,
    /// Both are machines, on two hosts.
    inter_host: u64,
    /// One is no machine of the inventory.
    vm_to_physical: u64,
    /// To multicast or broadcast.
    group: u64,
    /// Neither is a machine of the inventory.
    outside: u64,
    /// The inventory does not say, or the asker may not know.
    unknown: u64,
}

impl From<traffic::BySplit> for BySplit {
    fn from(octets: traffic::BySplit) -> Self {
        let [intra_host, inter_host, vm_to_physical, group, outside, unknown] = octets;
        Self { intra_host, inter_host, vm_to_physical, group, outside, unknown }
    }
}

/// How much one moves.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Talker {
    /// Its name; an address where it is no machine that the asker may see.
    pub(crate) name: String,
    /// Bytes both ways.
    pub(crate) octets: u64,
    /// Bytes it sent; of applications and ports, that clients sent.
    sent: u64,
    /// Bytes it received.
    received: u64,
    /// Packets both ways.
    packets: u64,
    /// Flows.
    flows: u64,
    /// Bytes both ways by split.
    by_split: BySplit,
}

impl From<(String, traffic::Sums)> for Talker {
    fn from((name, sums): (String, traffic::Sums)) -> Self {
        let traffic::Sums { flows, packets, sent, received, by_split } = sums;
        let octets = sent.saturating_add(received);
        Self { name, octets, sent, received, packets, flows, by_split: by_split.into() }
    }
}

/// How much goes between two.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Pair {
    /// One of them.
    pub(crate) one: String,
    /// The other.
    pub(crate) other: String,
    /// Bytes both ways.
    pub(crate) octets: u64,
    /// Bytes from one to the other.
    octets_one_to_other: u64,
    /// Bytes from the other to one.
    octets_other_to_one: u64,
    /// Packets both ways.
    packets: u64,
    /// Flows.
    flows: u64,
    /// Bytes both ways by split.
    by_split: BySplit,
}

impl From<([String; 2], traffic::Sums)> for Pair {
    fn from(([one, other], sums): ([String; 2], traffic::Sums)) -> Self {
        let traffic::Sums { flows, packets, sent, received, by_split } = sums;
        Self {
            one,
            other,
            octets: sent.saturating_add(received),
            octets_one_to_other: sent,
            octets_other_to_one: received,
            packets,
            flows,
            by_split: by_split.into(),
        }
    }
}

/// How much there was in all.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Totals {
    /// Flows.
    flows: u64,
    /// Of these, flows that count nowhere because others do for them.
    copies: u64,
    /// Packets, each counted once.
    packets: u64,
    /// Bytes, each counted once.
    octets: u64,
    /// The same by split.
    by_split: BySplit,
    /// Bytes that other points saw of the same flows.
    octets_copied: u64,
    /// Bytes of tunnels, with what they carry.
    octets_carried: u64,
    /// Flows of which nobody said how they were sampled.
    flows_of_unknown_rate: u64,
}

impl From<traffic::Totals> for Totals {
    fn from(totals: traffic::Totals) -> Self {
        Self {
            flows: totals.flows,
            copies: totals.copies,
            packets: totals.packets,
            octets: totals.octets,
            by_split: totals.by_split.into(),
            octets_copied: totals.copied,
            octets_carried: totals.carried,
            flows_of_unknown_rate: totals.unknown_rates,
        }
    }
}

/// How much there was in one of many times.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Moment {
    /// Its begin.
    begin: String,
    /// Flows that ended in it.
    flows: u64,
    /// Packets.
    packets: u64,
    /// Bytes.
    octets: u64,
    /// The same by split.
    by_split: BySplit,
}

impl From<traffic::Moment> for Moment {
    fn from(moment: traffic::Moment) -> Self {
        let traffic::Moment { begin_ns, flows, packets, octets, by_split } = moment;
        Self { begin: time(begin_ns), flows, packets, octets, by_split: by_split.into() }
    }
}

/// A flow, as `overtap flows` has it; docs/reference/flows.md explains every field.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Flow {
    /// Its first packet.
    start: String,
    /// Its last packet.
    end: String,
    /// Where it was seen; `-` where the asker may not know.
    point: String,
    /// Kind of its overlay network.
    overlay: Option<String>,
    /// Number of that.
    overlay_number: Option<u64>,
    /// Its VLAN.
    vlan: Option<u16>,
    /// IP protocol number.
    protocol: u8,
    client_ip: String,
    client_port: u16,
    client_mac: Option<String>,
    /// The machine, its tenant before it.
    client_vm: Option<String>,
    client_tenant: Option<String>,
    client_host: Option<String>,
    client_port_group: Option<String>,
    /// Whether several machines may be meant.
    is_client_ambiguous: bool,
    server_ip: String,
    server_port: u16,
    server_mac: Option<String>,
    server_vm: Option<String>,
    server_tenant: Option<String>,
    server_host: Option<String>,
    server_port_group: Option<String>,
    is_server_ambiguous: bool,
    /// `intra-host`, `inter-host`, `vm-to-physical`, `group`, `outside` or `unknown`.
    split: String,
    /// Packets the client sent, as seen.
    client_packets: u64,
    client_octets: u64,
    client_tcp_flags: u64,
    client_retransmitted: u64,
    client_out_of_order: u64,
    client_zero_windows: u64,
    server_packets: u64,
    server_octets: u64,
    server_tcp_flags: u64,
    server_retransmitted: u64,
    server_out_of_order: u64,
    server_zero_windows: u64,
    /// What counts: each flow once, multiplied by the sampling rate.
    client_counted_packets: u64,
    client_counted_octets: u64,
    client_copy_of: Option<String>,
    server_counted_packets: u64,
    server_counted_octets: u64,
    server_copy_of: Option<String>,
    /// Whether it is the outside of a tunnel.
    is_carrier: bool,
    sampling_population: u64,
    sampling_taken: u64,
    sampling_said_by: String,
    tcp_state: Option<String>,
    client_known_by: String,
    server_rtt_us: Option<u64>,
    client_rtt_us: Option<u64>,
    app: String,
    /// Whether its first bytes say so.
    is_app_seen: bool,
    /// The name that was asked for; `null` also where grants show headers only.
    asked_for: Option<String>,
    end_reason: String,
    community_id: Option<String>,
}

/// Who exports flows, and how that goes.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Exporter {
    /// Its address.
    pub(crate) address: String,
    /// The port it sends from; `null` of sFlow.
    pub(crate) port: Option<u16>,
    /// `netflow5`, `netflow9`, `ipfix` or `sflow5`.
    pub(crate) protocol: String,
    /// Observation domain, source id, engine or sub-agent.
    pub(crate) domain: u32,
    /// Datagrams that came.
    datagrams: u64,
    /// Records of flows.
    records: u64,
    /// Sampled packets, of sFlow.
    samples: u64,
    /// What could not be used.
    malformed: u64,
    /// Sets of data whose template had not come.
    sets_without_template: u64,
    /// What is missing by the sequence numbers; `null` as long as their meaning is not known.
    lost: Option<u64>,
    /// What it is counted in: `records` or `datagrams`.
    lost_unit: String,
    /// What it says itself that it did not send, look at or take samples of.
    not_sent: u64,
    /// New beginnings of the numbers.
    restarts: u64,
    /// The rates it stated.
    sampling: Vec<Sampling>,
    /// How far its clock is ahead of the collector's, in milliseconds.
    clock_ahead_ms: i64,
    /// When it was first heard.
    first_seen: Option<String>,
    /// When it was last heard.
    last_seen: Option<String>,
}

/// How an exporter samples.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct Sampling {
    /// So many packets are taken.
    taken: u64,
    /// Of so many.
    population: u64,
}

impl From<traffic::Exporter> for Exporter {
    fn from(exporter: traffic::Exporter) -> Self {
        let sampling = exporter.sampling.into_iter();
        Self {
            address: exporter.address,
            port: exporter.port,
            protocol: exporter.protocol,
            domain: exporter.domain,
            datagrams: exporter.datagrams,
            records: exporter.records,
            samples: exporter.samples,
            malformed: exporter.malformed,
            sets_without_template: exporter.sets_without_template,
            lost: exporter.lost,
            lost_unit: exporter.lost_unit,
            not_sent: exporter.not_sent,
            restarts: exporter.restarts,
            sampling: sampling.map(|[taken, population]| Sampling { taken, population }).collect(),
            clock_ahead_ms: exporter.clock_ahead_ms,
            first_seen: time_if_any(exporter.first_seen_ns),
            last_seen: time_if_any(exporter.last_seen_ns),
        }
    }
}
