//! One stored flow: what was seen at one point, joined with what the inventory said then.
//!
//! Both directions are in one row. Names are texts as of the flow's time, so that a row means the
//! same when the inventory has long forgotten who that was.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use flows::{
    Application, ClientBasis, Counted, EndReason, Machine, Network, Place, Split, TcpState, Way,
    Whereabouts,
};
use wire::export::Rate;
use wire::{Mac, Timestamp};

/// A flow as it is stored. The columns are described in `docs/reference/flow-store.md`.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// The time of the first packet.
    pub start: Timestamp,
    /// The time of the last packet; a row belongs to the hour of this.
    pub end: Timestamp,
    /// What the observation point is called.
    pub point: &'a str,
    /// The network it is in.
    pub network: Network,
    /// IP protocol number.
    pub protocol: u8,
    /// The client, the server.
    pub ends: [End<'a>; 2],
    /// Inside a host, across, or with what is no machine.
    pub split: Split,
    /// What the client sent, what the server sent: as seen, not multiplied.
    pub ways: [Way; 2],
    /// What of that counts.
    pub counted: [CountedWay<'a>; 2],
    /// Whether it is the outside of a tunnel.
    pub is_carrier: bool,
    /// One of how many packets was looked at, and who says so.
    pub rate: Rate,
    /// How far the connection came, of TCP.
    pub tcp: Option<TcpState>,
    /// What says who is the client.
    pub client_basis: ClientBasis,
    /// How long server and client took to answer the handshake.
    pub rtts: [Option<Duration>; 2],
    /// What it is used for.
    pub app: Cow<'a, str>,
    /// Whether its first bytes say so, not its port.
    pub is_app_seen: bool,
    /// The name that was asked for.
    pub asked_for: Option<&'a str>,
    /// Why it was told.
    pub end_reason: EndReason,
}

/// One end of a stored flow.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// Its address.
    pub ip: IpAddr,
    /// Its port, 0 where the protocol has none.
    pub port: u16,
    /// Its MAC address; zero where there is none.
    pub mac: Mac,
    /// The machine, its tenant's name before it.
    pub vm: Option<&'a str>,
    /// Who owns the machine.
    pub tenant: Option<&'a str>,
    /// The host it was on.
    pub host: Option<&'a str>,
    /// The port group of its vNIC.
    pub port_group: Option<&'a str>,
    /// Whether several machines may be meant.
    pub is_ambiguous: bool,
}

/// What of one direction counts.
#[derive(Debug, Clone, Copy, Default)]
pub struct CountedWay<'a> {
    /// Bytes, what was sampled scaled up.
    pub octets: u64,
    /// Packets, likewise.
    pub packets: u64,
    /// The point that counts instead, for all or a part.
    pub copy_of: Option<&'a str>,
}

impl<'a> Row<'a> {
    /// A settled flow as it is stored.
    pub fn of(settled: &flows::Row<'a>) -> Self {
        let flow = settled.flow;
        let ([ip_a, ip_b], [port_a, port_b]) = (flow.ends.addresses, flow.ends.ports);
        let [mac_a, mac_b] = flow.macs;
        let [machine_a, machine_b] = settled.machines();
        let [is_a_ambiguous, is_b_ambiguous] =
            settled.ends.map(|end| end == Whereabouts::Ambiguous);
        let [there, back] = settled.counted;
        let counted = |way: Counted, number| CountedWay {
            octets: way.octets,
            packets: way.packets,
            copy_of: settled.counted_at(number).map(|point| point.name.as_str()),
        };
        Self {
            start: flow.start(),
            end: flow.last(),
            point: settled.point().map_or("?", |point| point.name.as_str()),
            network: flow.network,
            protocol: flow.ends.protocol,
            ends: [
                End::of(ip_a, port_a, mac_a, machine_a, is_a_ambiguous),
                End::of(ip_b, port_b, mac_b, machine_b, is_b_ambiguous),
            ],
            split: settled.split,
            ways: [flow.there, flow.back],
            counted: [counted(there, 0), counted(back, 1)],
            is_carrier: flow.is_carrier,
            rate: flow.rate,
            tcp: flow.tcp,
            client_basis: flow.client_basis,
            rtts: [flow.server_rtt, flow.client_rtt],
            app: flow.application.name(flow.ends.protocol, flow.server_port()),
            is_app_seen: matches!(flow.application, Application::Seen(_)),
            asked_for: flow.asked_for.as_deref(),
            end_reason: flow.end,
        }
    }
}

impl<'a> End<'a> {
    fn of(
        ip: IpAddr,
        port: u16,
        mac: Mac,
        machine: Option<(&'a Machine, &'a Place)>,
        is_ambiguous: bool,
    ) -> Self {
        let (machine, place) = machine.unzip();
        Self {
            ip,
            port,
            mac,
            vm: machine.map(|machine| machine.label.as_str()),
            tenant: machine.and_then(|machine| machine.tenant.as_deref()),
            host: place.map(|place| place.host.as_str()).filter(|host| !host.is_empty()),
            port_group: place.and_then(|place| place.port_group.as_deref()),
            is_ambiguous,
        }
    }
}
