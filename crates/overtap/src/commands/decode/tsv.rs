//! A packet as a line of a table: the columns of the corpus the decoder is compared with, as far
//! as they can be known from one packet.

mod tunnel;

use std::io::{self, Write};

use wire::header::{Ethernet, Ipv4, Ipv6, Ipv6Fragment, Ports, Vlan};
use wire::{Cursor, Header, Layer};

use super::View;

/// The line of column names.
pub(super) const HEADER: &str = "frame\ttime\tcaplen\tlen\tiface\tstack\t\
    outer_eth_src\touter_eth_dst\touter_ip_src\touter_ip_dst\touter_ip_proto\touter_l4\t\
    outer_sport\touter_dport\tinner_eth_src\tinner_eth_dst\tinner_ip_src\tinner_ip_dst\t\
    inner_ip_proto\tinner_l4\tinner_sport\tinner_dport\tvlans\ttunnel_ids\tn_mac\tn_ip\t\
    ip_in_inner_frame\tfrag\tstop\n";

/// Writes the line of one packet.
pub(super) fn write(out: &mut Vec<u8>, view: &View<'_>) -> io::Result<()> {
    let headers = view.layers.headers();
    let packet = &view.record.packet;
    write!(
        out,
        "{}\t{}.{:09}\t{}\t{}\t{}\t",
        view.record.number,
        packet.time.seconds(),
        packet.time.subsec_nanos(),
        packet.data.len(),
        packet.wire_len,
        view.point_name(),
    )?;
    for (index, header) in headers.iter().enumerate() {
        let separator = if index == 0 { "" } else { ">" };
        write!(out, "{separator}{}", header.layer)?;
    }
    let first_ethernet = headers.iter().position(|header| header.layer == Layer::Ethernet);
    let last_ethernet = headers.iter().rposition(|header| header.layer == Layer::Ethernet);
    let first_ip = headers.iter().position(|header| is_ip(header.layer));
    let last_ip = headers.iter().rposition(|header| is_ip(header.layer));
    write_ethernet(out, view, first_ethernet)?;
    write_ip(out, view, first_ip)?;
    write_ethernet(out, view, last_ethernet)?;
    write_ip(out, view, last_ip)?;
    out.push(b'\t');
    write_vlans(out, view)?;
    out.push(b'\t');
    let tunnels: Vec<String> =
        (0..headers.len()).filter_map(|index| tunnel::ids(view, index)).collect();
    out.extend(tunnels.join(";").bytes());
    let count = |is: fn(Layer) -> bool| headers.iter().filter(|header| is(header.layer)).count();
    write!(out, "\t{}\t{}\t", count(|layer| layer == Layer::Ethernet), count(is_ip))?;
    if last_ip.is_some() {
        write!(out, "{}", u8::from(last_ip > last_ethernet))?;
    }
    out.push(b'\t');
    write_fragments(out, view)?;
    out.push(b'\t');
    if let Some(stop) = view.layers.stop() {
        write!(out, "{stop}")?;
    }
    out.push(b'\n');
    Ok(())
}

fn write_ethernet(out: &mut Vec<u8>, view: &View<'_>, index: Option<usize>) -> io::Result<()> {
    let ethernet = header_at(view, index).and_then(|mut cursor| Ethernet::decode(&mut cursor).ok());
    match ethernet {
        Some(ethernet) => write!(out, "\t{}\t{}", ethernet.source, ethernet.destination),
        None => out.write_all(b"\t\t"),
    }
}

/// Addresses, protocol, and the layer behind with its ports.
fn write_ip(out: &mut Vec<u8>, view: &View<'_>, index: Option<usize>) -> io::Result<()> {
    let headers = view.layers.headers();
    let header = index.and_then(|index| headers.get(index));
    match header.map(|header| header.layer) {
        Some(Layer::Ipv4) => {
            let ip = header_at(view, index).and_then(|mut cursor| Ipv4::decode(&mut cursor).ok());
            if let Some(ip) = ip {
                write!(out, "\t{}\t{}\t{}", ip.source, ip.destination, ip.protocol)?;
            }
        }
        Some(Layer::Ipv6) => {
            let ip = header_at(view, index).and_then(|mut cursor| Ipv6::decode(&mut cursor).ok());
            if let Some(ip) = ip {
                write!(out, "\t{}\t{}\t{}", ip.source, ip.destination, ip.next_header)?;
            }
        }
        _ => return out.write_all(b"\t\t\t\t\t\t"),
    }
    let behind = index.and_then(|index| {
        let rest = headers.get(index + 1..)?;
        rest.iter().find(|header| !header.layer.is_ip_extension())
    });
    match behind {
        None => out.write_all(b"\t\t\t"),
        Some(header) => {
            write!(out, "\t{}", header.layer)?;
            let has_ports = matches!(
                header.layer,
                Layer::Tcp | Layer::Udp | Layer::UdpLite | Layer::Sctp | Layer::Dccp
            );
            match Ports::decode(&mut cursor_at(view, *header), header.layer) {
                Ok(ports) if has_ports => write!(out, "\t{}\t{}", ports.source, ports.destination),
                _ => out.write_all(b"\t\t"),
            }
        }
    }
}

fn write_vlans(out: &mut Vec<u8>, view: &View<'_>) -> io::Result<()> {
    let (mut macs, mut separator) = (0, "");
    for header in view.layers.headers() {
        match header.layer {
            Layer::Ethernet => macs += 1,
            Layer::Vlan => {
                if let Ok(tag) = Vlan::decode(&mut cursor_at(view, *header)) {
                    write!(out, "{separator}{}@{}", tag.id, macs.max(1))?;
                    separator = ";";
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn write_fragments(out: &mut Vec<u8>, view: &View<'_>) -> io::Result<()> {
    let (mut packets, mut separator) = (0, "");
    for header in view.layers.headers() {
        let mut cursor = cursor_at(view, *header);
        let (offset, has_more) = match header.layer {
            Layer::Ipv4 => {
                packets += 1;
                match Ipv4::decode(&mut cursor) {
                    Ok(ip) => (ip.fragment_offset, ip.has_more_fragments),
                    Err(_) => continue,
                }
            }
            Layer::Ipv6 => {
                packets += 1;
                continue;
            }
            Layer::Ipv6Fragment => match Ipv6Fragment::decode(&mut cursor) {
                Ok(fragment) => (fragment.offset, fragment.has_more),
                Err(_) => continue,
            },
            _ => continue,
        };
        if offset != 0 || has_more {
            write!(out, "{separator}ip#{packets}:off={offset},mf={}", u8::from(has_more))?;
            separator = ";";
        }
    }
    Ok(())
}

fn header_at<'a>(view: &View<'a>, index: Option<usize>) -> Option<Cursor<'a>> {
    view.layers.headers().get(index?).map(|header| cursor_at(view, *header))
}

fn cursor_at<'a>(view: &View<'a>, header: Header) -> Cursor<'a> {
    Cursor::at(view.data, header.offset as usize)
}

fn is_ip(layer: Layer) -> bool {
    matches!(layer, Layer::Ipv4 | Layer::Ipv6)
}
