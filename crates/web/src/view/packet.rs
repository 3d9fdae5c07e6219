//! A packet in a line, decoded by `wire`.

use std::net::IpAddr;

use serde::Serialize;
use utoipa::ToSchema;
use wire::file::{Interface, Record};
use wire::{Layer, Layers, Level, PointId, Tunnel, TunnelPorts};

use super::time;

/// A packet. Ends and transport are those of the innermost frame.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Packet {
    /// Its number in the session's file, from 1.
    number: u64,
    /// When it was seen, by the controller's clock.
    time: String,
    /// The host that saw it; empty where the file does not say.
    host: String,
    /// The observation point, as the file names it.
    point: String,
    /// Bytes on the wire.
    len: u32,
    /// Bytes that were kept.
    kept: usize,
    /// Its layers, from the outside in: `eth`, `ipv4`, `udp`, `vxlan`, ...
    stack: Vec<&'static str>,
    /// Where it comes from.
    source: End,
    /// Where it goes.
    destination: End,
    /// What carries its payload: `tcp`, `udp`, `icmp`, ...
    transport: Option<&'static str>,
    /// VLANs, from the outside in.
    vlans: Vec<u16>,
    /// Overlay numbers, from the outside in.
    vnis: Vec<u32>,
    /// Where it could not be understood any further, and why.
    stop: Option<String>,
}

/// One end of a packet.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(crate) struct End {
    /// MAC.
    mac: Option<String>,
    /// IP address; of an ARP packet the protocol address.
    #[schema(value_type = Option<String>)]
    ip: Option<IpAddr>,
    /// Port.
    port: Option<u16>,
}

/// How many packets there were until now.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub(crate) struct Counted {
    /// All.
    pub(crate) packets: u64,
    /// Of these, not shown, because there were too many at once.
    pub(crate) skipped: u64,
}

/// Makes lines of packets.
#[derive(Default)]
pub(crate) struct PacketView {
    points: Vec<(PointId, String)>,
    ports: TunnelPorts,
}

impl PacketView {
    /// Learns what an observation point is called.
    pub(crate) fn add_point(&mut self, interface: &Interface<'_>) {
        let name = interface.name().map(|name| name.to_str().into_owned()).unwrap_or_default();
        self.points.push((interface.point, name));
    }

    /// The line of a packet.
    pub(crate) fn packet(&self, record: &Record<'_>) -> Packet {
        let packet = &record.packet;
        let point = self.points.iter().find(|(id, _)| *id == packet.point);
        let point = point.map(|(_, name)| name.as_str()).unwrap_or_default();
        let layers = Layers::decode(packet.link, packet.data, &self.ports);
        let innermost = layers.innermost(packet.data);
        let levels = || layers.levels(packet.data);
        let (source, destination) = ends(&innermost);
        Packet {
            number: record.number,
            time: time(packet.time.as_nanos()),
            host: host_of(point).to_owned(),
            point: point.to_owned(),
            len: packet.wire_len,
            kept: packet.data.len(),
            stack: layers.headers().iter().map(|header| header.layer.name()).collect(),
            source,
            destination,
            transport: innermost.transport().map(|it| it.layer).filter(is_payload).map(Layer::name),
            vlans: levels()
                .flat_map(|level| level.vlans().map(|tag| tag.id.value()).collect::<Vec<_>>())
                .collect(),
            vnis: levels().filter_map(|level| vni(level.tunnel()?)).collect(),
            stop: layers
                .stop()
                .map(|stop| format!("{} at {}: {}", stop.layer.name(), stop.offset, stop.reason)),
        }
    }
}

fn ends(level: &Level<'_>) -> (End, End) {
    let (macs, ip) = (level.macs(), level.ip());
    let ports = level.transport().and_then(|transport| transport.ports);
    let arp = level.arp();
    let source = End {
        mac: macs.map(|macs| macs.source.to_string()),
        ip: ip.map(|ip| ip.source).or_else(|| arp.map(|arp| arp.sender_ip.into())),
        port: ports.map(|ports| ports.source),
    };
    let destination = End {
        mac: macs.map(|macs| macs.destination.to_string()),
        ip: ip.map(|ip| ip.destination).or_else(|| arp.map(|arp| arp.target_ip.into())),
        port: ports.map(|ports| ports.destination),
    };
    (source, destination)
}

fn is_payload(layer: &Layer) -> bool {
    !layer.is_tunnel()
}

fn vni(tunnel: Tunnel) -> Option<u32> {
    match tunnel {
        Tunnel::Vxlan { vni, .. } | Tunnel::Geneve { vni } => Some(vni.value()),
        Tunnel::VxlanGpe { vni } => vni.map(wire::Vni::value),
        _ => None,
    }
}

/// `hv-1` of `web-01/net0 @ hv-1:vnet3`.
fn host_of(point: &str) -> &str {
    let behind = point.rsplit_once(" @ ").map(|(_, behind)| behind).unwrap_or_default();
    behind.split_once(':').map_or(behind, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_stands_in_the_name_of_the_point() {
        assert_eq!(host_of("web-01/net0 @ hv-1:vnet3"), "hv-1");
        assert_eq!(host_of("eth0"), "");
    }
}
