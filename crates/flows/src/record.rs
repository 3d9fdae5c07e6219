//! Flows that others have measured: from records of their exports.

use wire::export::{Column, Record, Talk};
use wire::{PointId, Timestamp};

use crate::application::{Application, server_port};
use crate::flow::{ClientBasis, EndReason, Flow, Way};
use crate::key::Ends;
use crate::network::{Network, Overlay, OverlayKind};

impl Flow {
    /// What a record says, seen at `point`; `None` if it names no addresses, as records about
    /// frames that are not IP.
    ///
    /// Counts are those of the record. The way back has counts only if the record has both ways.
    pub fn of_record(record: &Record<'_>, point: PointId) -> Option<Self> {
        let Talk { source, destination, protocol, ports } = record.talk()?;
        let span = record.span();
        let mut ends = Ends {
            addresses: [source, destination],
            ports: [ports.source, ports.destination],
            protocol,
        };
        if matches!(protocol, 1 | 58) {
            let [kind, code] = ports.destination.to_be_bytes();
            ends.set_icmp(kind, code);
        }
        let way = |counts: wire::export::Counts, flags| {
            let (packets, octets) = (counts.packets.unwrap_or(0), counts.octets.unwrap_or(0));
            let is_empty = packets == 0 && octets == 0;
            let time = |time| if is_empty { Timestamp::ZERO } else { time };
            Way {
                packets,
                octets,
                first: time(span.start),
                last: time(span.end),
                tcp_flags: flags,
                ..Way::default()
            }
        };
        let there = way(record.counts(), record.tcp_flags().unwrap_or_default());
        let back = record.reverse_counts().map(|counts| way(counts, 0)).unwrap_or_default();
        let (source_mac, destination_mac) = record.macs();
        let server = server_port(protocol, ends.ports);
        let [from, to] = ends.ports;
        let has_server = Application::of_port(protocol, server) != Application::Unknown;
        let flow = Self {
            point,
            network: Network { overlay: overlay(record), vlan: record.vlan() },
            ends,
            macs: [source_mac.unwrap_or_default(), destination_mac.unwrap_or_default()],
            there,
            back,
            client_basis: if has_server { ClientBasis::Port } else { ClientBasis::First },
            tcp: None,
            server_rtt: None,
            client_rtt: None,
            application: Application::of_port(protocol, server),
            asked_for: None,
            rate: record.rate(),
            is_carrier: is_tunnel(&ends) && record.tunnel_ends().is_none(),
            end: EndReason::Active,
        };
        let is_answer = has_server && server == from && server != to;
        Some(if is_answer { flow.reversed() } else { flow })
    }

    /// The same, told from the other end.
    fn reversed(self) -> Self {
        let [a, b] = self.macs;
        Self {
            ends: self.ends.reversed(),
            macs: [b, a],
            there: self.back,
            back: self.there,
            ..self
        }
    }
}

/// The overlay network that a record names.
fn overlay(record: &Record<'_>) -> Option<Overlay> {
    let number = record.vni()?.value();
    // Kinds as Open vSwitch numbers them; element 351 names VXLAN.
    let kind = match record.get(Column::TunnelType) {
        Some(7) => OverlayKind::Geneve,
        _ => OverlayKind::Vxlan,
    };
    Some(Overlay { kind, number })
}

/// Whether what is between these ends is carried for others: UDP to the ports of VXLAN and GENEVE,
/// GRE.
const fn is_tunnel(ends: &Ends) -> bool {
    let [_, port] = ends.ports;
    matches!((ends.protocol, port), (17, 4789 | 4790 | 6081 | 8472) | (47, _))
}
