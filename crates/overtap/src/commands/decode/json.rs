//! A packet as one JSON object on a line.

use std::io;
use std::net::IpAddr;

use serde::Serialize;
use wire::{Layer, Level, Timestamp, Tunnel};

use super::View;

/// Writes the line of one packet.
pub(super) fn write(out: &mut Vec<u8>, view: &View<'_>) -> io::Result<()> {
    let packet = &view.record.packet;
    let point = view.point_name();
    let layers = &view.layers;
    let line = Packet {
        frame: view.record.number,
        time: seconds(packet.time),
        point: (!point.is_empty()).then_some(point),
        caplen: packet.data.len(),
        len: packet.wire_len,
        stack: layers.headers().iter().map(|header| header.layer.name()).collect(),
        levels: layers.levels(view.data).map(|level| LevelOut::new(&level)).collect(),
        payload_offset: layers.payload_offset(),
        payload_len: layers.payload_end() - layers.payload_offset(),
        guessed: layers.is_guessed(),
        trailer: view
            .trailer()
            .map(|trailer| TrailerOut { kind: trailer.name(), time: trailer.time().map(seconds) }),
        stop: layers.stop().map(|stop| StopOut {
            layer: stop.layer.name(),
            offset: stop.offset,
            reason: stop.reason.to_string(),
        }),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.push(b'\n');
    Ok(())
}

/// Seconds since 1970 with nine decimals; text, because JSON readers would round a number.
fn seconds(time: Timestamp) -> String {
    format!("{}.{:09}", time.seconds(), time.subsec_nanos())
}

#[derive(Serialize)]
struct Packet<'a> {
    frame: u64,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    point: Option<&'a str>,
    caplen: usize,
    len: u32,
    stack: Vec<&'static str>,
    levels: Vec<LevelOut>,
    payload_offset: usize,
    payload_len: usize,
    guessed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    trailer: Option<TrailerOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<StopOut>,
}

/// What a time-stamping device put behind the packet.
#[derive(Serialize)]
struct TrailerOut {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
}

#[derive(Serialize)]
struct StopOut {
    layer: &'static str,
    offset: usize,
    reason: String,
}

#[derive(Serialize)]
struct LevelOut {
    #[serde(skip_serializing_if = "Option::is_none")]
    tunnel: Option<TunnelOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eth_src: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eth_dst: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vlans: Vec<VlanOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vntag: Option<VnTagOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mpls: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pppoe: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arp: Option<ArpOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_src: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_dst: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_proto: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fragment: Option<FragmentOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    l4: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sport: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dport: Option<u16>,
}

#[derive(Serialize)]
struct VlanOut {
    id: u16,
    pcp: u8,
    dei: bool,
    tpid: u16,
}

#[derive(Serialize)]
struct VnTagOut {
    from_bridge: bool,
    list: bool,
    dst: u16,
    src: u16,
}

#[derive(Serialize)]
struct ArpOut {
    operation: u16,
    sender_mac: String,
    sender_ip: IpAddr,
    target_mac: String,
    target_ip: IpAddr,
}

#[derive(Serialize)]
struct FragmentOut {
    offset: u16,
    more: bool,
    id: u32,
}

impl LevelOut {
    fn new(level: &Level<'_>) -> Self {
        let (macs, ip, transport) = (level.macs(), level.ip(), level.transport());
        let ports = transport.and_then(|transport| transport.ports);
        Self {
            tunnel: level.tunnel().map(TunnelOut::new),
            eth_src: macs.map(|macs| macs.source.to_string()),
            eth_dst: macs.map(|macs| macs.destination.to_string()),
            vlans: level
                .vlans()
                .map(|tag| VlanOut {
                    id: tag.id.value(),
                    pcp: tag.pcp,
                    dei: tag.dei,
                    tpid: tag.tpid,
                })
                .collect(),
            vntag: level.vntag().map(|tag| VnTagOut {
                from_bridge: tag.is_from_bridge,
                list: tag.is_list,
                dst: tag.destination,
                src: tag.source,
            }),
            etag: level.etag().map(|tag| tag.id),
            mpls: level.mpls().map(|label| label.label).collect(),
            pppoe: level.pppoe().map(|pppoe| pppoe.session),
            arp: level.arp().map(|arp| ArpOut {
                operation: arp.operation,
                sender_mac: arp.sender_mac.to_string(),
                sender_ip: arp.sender_ip.into(),
                target_mac: arp.target_mac.to_string(),
                target_ip: arp.target_ip.into(),
            }),
            ip_src: ip.map(|ip| ip.source),
            ip_dst: ip.map(|ip| ip.destination),
            ip_proto: ip.map(|ip| ip.protocol),
            fragment: ip.and_then(|ip| ip.fragment).map(|fragment| FragmentOut {
                offset: fragment.offset,
                more: fragment.has_more,
                id: fragment.id,
            }),
            l4: transport.map(|transport| transport.layer).filter(is_payload).map(Layer::name),
            sport: ports.map(|ports| ports.source),
            dport: ports.map(|ports| ports.destination),
        }
    }
}

fn is_payload(layer: &Layer) -> bool {
    !layer.is_tunnel()
}

/// What carried a level: its kind, and the name it has there.
#[derive(Serialize, Default)]
struct TunnelOut {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    vni: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gbp: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vlan: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u32>,
    /// Text, because JSON readers would round 64 bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
}

impl TunnelOut {
    fn new(tunnel: Tunnel) -> Self {
        let kind = super::text::kind(tunnel);
        let none = Self { kind, ..Self::default() };
        match tunnel {
            Tunnel::Vxlan { vni, gbp } => Self { vni: Some(vni.value()), gbp, ..none },
            Tunnel::Geneve { vni } => Self { vni: Some(vni.value()), ..none },
            Tunnel::VxlanGpe { vni } => Self { vni: vni.map(wire::Vni::value), ..none },
            Tunnel::Gre { protocol, key, sequence } => {
                Self { protocol: Some(protocol), key, sequence, ..none }
            }
            Tunnel::Erspan { version, session, vlan, is_truncated } => Self {
                version: Some(version),
                session: session.map(u32::from),
                vlan: vlan.map(wire::VlanId::value),
                truncated: Some(is_truncated),
                ..none
            },
            Tunnel::L2tp { tunnel, session } => {
                Self { id: Some(tunnel), session: Some(session), ..none }
            }
            Tunnel::Gtpu { teid: id }
            | Tunnel::Mpls { label: id }
            | Tunnel::Pbb { isid: id }
            | Tunnel::Nsh { path: id, .. } => Self { id: Some(id), ..none },
            Tunnel::FabricPath { ftag } => Self { id: Some(u32::from(ftag)), ..none },
            Tunnel::Trill { egress, ingress } => {
                Self { id: Some(u32::from(egress)), session: Some(u32::from(ingress)), ..none }
            }
            Tunnel::Stt { context } => {
                Self { context: context.map(|context| format!("{context:#018x}")), ..none }
            }
            Tunnel::Lisp { instance } => Self { id: instance, ..none },
            Tunnel::IpInIp
            | Tunnel::EtherIp
            | Tunnel::Teredo
            | Tunnel::Capwap
            | Tunnel::Gue
            | Tunnel::Tzsp
            | Tunnel::Bridged => none,
        }
    }
}
