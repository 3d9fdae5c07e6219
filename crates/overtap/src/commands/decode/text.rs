//! A packet as a line for people.

use std::io::{self, Write};

use wire::{Level, Tunnel};

use super::View;

/// Writes the line of one packet: what is outermost first, each tunnel with its name and then what
/// it carries.
pub(super) fn write(out: &mut Vec<u8>, view: &View<'_>) -> io::Result<()> {
    let packet = &view.record.packet;
    write!(out, "{:>6} ", view.record.number)?;
    write_time(out, packet.time)?;
    let point = view.point_name();
    if !point.is_empty() {
        write!(out, " {point}")?;
    }
    write!(out, " {}/{}", packet.data.len(), packet.wire_len)?;
    let mut separator = ' ';
    for header in view.layers.headers() {
        write!(out, "{separator}{}", header.layer)?;
        separator = '>';
    }
    for level in view.layers.levels(view.data) {
        write_level(out, &level)?;
    }
    if view.layers.is_guessed() {
        out.write_all(b" (guessed)")?;
    }
    if let Some(trailer) = view.trailer() {
        write!(out, " | trailer {}", trailer.name())?;
        if let Some(time) = trailer.time() {
            out.push(b' ');
            write_time(out, time)?;
        }
    }
    if let Some(stop) = view.layers.stop() {
        write!(out, " | stopped: {stop}")?;
    }
    out.push(b'\n');
    Ok(())
}

/// UTC with nanoseconds, or seconds since 1970 where the calendar ends.
fn write_time(out: &mut Vec<u8>, time: wire::Timestamp) -> io::Result<()> {
    let instant =
        i64::try_from(time.seconds()).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    match instant {
        Some(instant) => {
            write!(out, "{}.{:09}Z", instant.strftime("%Y-%m-%dT%H:%M:%S"), time.subsec_nanos())
        }
        None => write!(out, "{}.{:09}", time.seconds(), time.subsec_nanos()),
    }
}

fn write_level(out: &mut Vec<u8>, level: &Level<'_>) -> io::Result<()> {
    out.write_all(b" |")?;
    if let Some(tunnel) = level.tunnel() {
        write!(out, " {}", kind(tunnel))?;
        write_name(out, tunnel)?;
    }
    if let Some(macs) = level.macs() {
        write!(out, " {} > {}", macs.source, macs.destination)?;
    }
    for tag in level.vlans() {
        write!(out, " vlan {}", tag.id)?;
    }
    if let Some(tag) = level.vntag() {
        write!(out, " vntag src {} dst {}", tag.source, tag.destination)?;
    }
    if let Some(tag) = level.etag() {
        write!(out, " etag {}", tag.id)?;
    }
    for label in level.mpls() {
        write!(out, " mpls {}", label.label)?;
    }
    if let Some(pppoe) = level.pppoe() {
        write!(out, " pppoe {}", pppoe.session)?;
    }
    if let Some(arp) = level.arp() {
        write!(
            out,
            " arp {} {} {} > {} {}",
            arp.operation, arp.sender_mac, arp.sender_ip, arp.target_mac, arp.target_ip
        )?;
    }
    let Some(ip) = level.ip() else { return Ok(()) };
    let transport = level.transport();
    match transport.and_then(|transport| transport.ports) {
        Some(ports) => write!(
            out,
            " {} {} > {} {}",
            ip.source, ports.source, ip.destination, ports.destination
        )?,
        None => write!(out, " {} > {}", ip.source, ip.destination)?,
    }
    match transport {
        Some(transport) => write!(out, " {}", transport.layer)?,
        None => write!(out, " proto {}", ip.protocol)?,
    }
    if let Some(fragment) = ip.fragment {
        write!(out, " fragment {} at {}", fragment.id, fragment.offset)?;
    }
    Ok(())
}

/// The word for a tunnel.
pub(super) const fn kind(tunnel: Tunnel) -> &'static str {
    match tunnel {
        Tunnel::Vxlan { .. } => "vxlan",
        Tunnel::VxlanGpe { .. } => "vxlan-gpe",
        Tunnel::Geneve { .. } => "geneve",
        Tunnel::Gre { .. } => "gre",
        Tunnel::Erspan { .. } => "erspan",
        Tunnel::Gtpu { .. } => "gtpu",
        Tunnel::IpInIp => "ip-in-ip",
        Tunnel::Mpls { .. } => "mpls-tunnel",
        Tunnel::EtherIp => "etherip",
        Tunnel::Pbb { .. } => "pbb",
        Tunnel::FabricPath { .. } => "fabricpath",
        Tunnel::Nsh { .. } => "nsh",
        Tunnel::L2tp { .. } => "l2tp",
        Tunnel::Lisp { .. } => "lisp",
        Tunnel::Trill { .. } => "trill",
        Tunnel::Stt { .. } => "stt",
        Tunnel::Teredo => "teredo",
        Tunnel::Capwap => "capwap",
        Tunnel::Gue => "gue",
        Tunnel::Tzsp => "tzsp",
        Tunnel::Bridged => "bridged",
    }
}

fn write_name(out: &mut Vec<u8>, tunnel: Tunnel) -> io::Result<()> {
    match tunnel {
        Tunnel::Vxlan { vni, gbp: Some(group) } => write!(out, " vni {vni} group {group}"),
        Tunnel::Vxlan { vni, gbp: None }
        | Tunnel::Geneve { vni }
        | Tunnel::VxlanGpe { vni: Some(vni) } => write!(out, " vni {vni}"),
        Tunnel::Gre { key: Some(key), .. } => write!(out, " key {key}"),
        Tunnel::Erspan { version, session: Some(session), .. } => {
            write!(out, " type {version} session {session}")
        }
        Tunnel::Erspan { version, session: None, .. } => write!(out, " type {version}"),
        Tunnel::Gtpu { teid } => write!(out, " teid {teid}"),
        Tunnel::Mpls { label } => write!(out, " label {label}"),
        Tunnel::Pbb { isid } => write!(out, " isid {isid}"),
        Tunnel::FabricPath { ftag } => write!(out, " ftag {ftag}"),
        Tunnel::Nsh { path, index } => write!(out, " path {path} index {index}"),
        Tunnel::L2tp { tunnel, session } => write!(out, " tunnel {tunnel} session {session}"),
        Tunnel::Trill { egress, ingress } => write!(out, " ingress {ingress} egress {egress}"),
        Tunnel::Stt { context: Some(context) } => write!(out, " context {context:#018x}"),
        Tunnel::Lisp { instance: Some(instance) } => write!(out, " instance {instance}"),
        _ => Ok(()),
    }
}
