//! Every golden frame says what its text says it does, and any part of it is no worse than short.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail this way"
)]

mod golden;

use std::fmt::Write;

use golden::{Golden, golden_frames};
use wire::{Layer, Layers, Level, StopReason, Tunnel, TunnelPorts};

fn decode(golden: &Golden, len: usize) -> Layers {
    Layers::decode(golden.link, &golden.bytes[..len], &TunnelPorts::default())
}

fn stack(layers: &Layers) -> String {
    let names: Vec<_> = layers.headers().iter().map(|header| header.layer.name()).collect();
    names.join(" ")
}

fn stop(layers: &Layers) -> String {
    match layers.stop() {
        None => "none".to_owned(),
        Some(stop) => format!("{} {} {:?}", stop.layer, stop.offset, stop.reason).to_lowercase(),
    }
}

fn describe(level: &Level<'_>) -> String {
    let mut text = String::new();
    if let Some(tunnel) = level.tunnel() {
        text.push_str(&describe_tunnel(tunnel));
    }
    if let Some(macs) = level.macs() {
        write!(text, " eth {} {}", macs.source, macs.destination).unwrap();
    }
    let vlans: Vec<_> = level.vlans().map(|tag| tag.id.to_string()).collect();
    if !vlans.is_empty() {
        write!(text, " vlan={}", vlans.join(",")).unwrap();
    }
    let labels: Vec<_> = level.mpls().map(|label| label.label.to_string()).collect();
    if !labels.is_empty() {
        write!(text, " mpls={}", labels.join(",")).unwrap();
    }
    if let Some(arp) = level.arp() {
        write!(text, " arp={}", arp.operation).unwrap();
    }
    if let Some(ip) = level.ip() {
        write!(text, " ip {} {}", ip.source, ip.destination).unwrap();
        match level.transport() {
            None => text.push_str(" -"),
            Some(transport) => {
                write!(text, " {}", transport.layer).unwrap();
                if let Some(ports) = transport.ports {
                    write!(text, " {} {}", ports.source, ports.destination).unwrap();
                }
            }
        }
        if let Some(fragment) = ip.fragment {
            write!(text, " fragment={}", fragment.offset).unwrap();
        }
    }
    text.trim().to_owned()
}

fn describe_tunnel(tunnel: Tunnel) -> String {
    match tunnel {
        Tunnel::Vxlan { vni, gbp: None } => format!("vxlan vni={vni}"),
        Tunnel::Vxlan { vni, gbp: Some(group) } => format!("vxlan vni={vni} gbp={group}"),
        Tunnel::VxlanGpe { vni } => format!("vxlan-gpe vni={}", vni.unwrap()),
        Tunnel::Geneve { vni } => format!("geneve vni={vni}"),
        // The key of PPTP is a length and a call, and not shown here.
        Tunnel::Gre { protocol: 0x880b, .. } | Tunnel::Gre { key: None, .. } => "gre".to_owned(),
        Tunnel::Gre { key: Some(key), .. } => match tunnel.nvgre_vsid() {
            Some(vsid) => format!("gre key={key} nvgre={vsid}"),
            None => format!("gre key={key}"),
        },
        Tunnel::Erspan { version, session: Some(session), vlan, .. } => {
            format!("erspan version={version} session={session} vlan={}", vlan.unwrap())
        }
        Tunnel::Erspan { version, .. } => format!("erspan version={version}"),
        Tunnel::Gtpu { teid } => format!("gtpu teid={teid}"),
        Tunnel::IpInIp => "ip-in-ip".to_owned(),
        Tunnel::Mpls { label } => format!("mpls label={label}"),
        Tunnel::Pbb { isid } => format!("pbb isid={isid}"),
        Tunnel::FabricPath { ftag } => format!("fabricpath ftag={ftag}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn every_golden_frame_decodes_to_what_its_text_says() {
    for golden in golden_frames() {
        let layers = decode(&golden, golden.bytes.len());
        assert_eq!(stack(&layers), golden.stack, "{}", golden.name);
        let levels: Vec<_> = layers.levels(&golden.bytes).map(|level| describe(&level)).collect();
        assert_eq!(levels, golden.levels, "{}", golden.name);
        assert_eq!(stop(&layers), golden.stop, "{}", golden.name);
        let innermost = describe(&layers.innermost(&golden.bytes));
        assert_eq!(Some(&innermost), golden.levels.last(), "{}", golden.name);
        let back: Vec<_> = layers.levels(&golden.bytes).rev().map(|l| describe(&l)).collect();
        assert!(back.iter().rev().eq(&golden.levels), "{}", golden.name);
    }
}

#[test]
fn a_golden_frame_cut_at_any_byte_shows_the_headers_before_the_cut() {
    for golden in golden_frames() {
        let whole = decode(&golden, golden.bytes.len());
        for len in 0..golden.bytes.len() {
            let cut = decode(&golden, len);
            let name = format!("{} cut to {len}", golden.name);
            // What MPLS carries is guessed from bytes that may be cut off.
            if !whole.is_guessed() {
                assert!(whole.headers().starts_with(cut.headers()), "{name}: {}", stack(&cut));
            }
            assert!(cut.stop().is_none_or(|stop| stop.offset <= len), "{name}");
            assert!(cut.payload_offset() <= cut.payload_end(), "{name}");
            assert!(cut.payload_end() <= len, "{name}");
            for level in cut.levels(&golden.bytes[..len]) {
                describe(&level);
            }
            if cut.headers().len() < whole.headers().len() {
                let stop = cut.stop().unwrap_or_else(|| panic!("{name} does not stop"));
                assert_eq!(stop.reason, StopReason::Truncated, "{name}");
            }
        }
    }
}

#[test]
fn a_cut_frame_never_passes_off_an_outer_level_as_the_innermost() {
    for golden in golden_frames().iter().filter(|golden| golden.levels.len() > 1) {
        let layers = decode(golden, golden.bytes.len());
        let inner = layers.innermost(&golden.bytes);
        // Of a later piece of a frame nothing can be read, so it stays hidden.
        let first = inner.headers().first().map(|header| header.offset as usize);
        for len in 0..=first.unwrap_or(golden.bytes.len()) {
            let cut = decode(golden, len);
            // Before its transport header an outer packet may carry anything.
            assert!(cut.is_innermost_hidden(), "{} cut to {len}: {}", golden.name, stack(&cut));
        }
        assert_eq!(layers.is_innermost_hidden(), first.is_none(), "{}", golden.name);
    }
}

#[test]
fn padding_is_not_payload() {
    let frames = golden_frames();
    let find = |name: &str| frames.iter().find(|golden| golden.name == name).unwrap();
    let padded = find("padded");
    let layers = decode(padded, padded.bytes.len());
    assert_eq!((layers.payload_offset(), layers.payload_end()), (42, 43));
    let big = find("big-tcp");
    let layers = decode(big, big.bytes.len());
    assert_eq!((layers.payload_offset(), layers.payload_end()), (54, 62));
}

#[test]
fn what_a_fragment_or_a_cipher_hides_is_said_to_be_hidden() {
    let frames = golden_frames();
    for (name, is_hidden) in
        [("later-fragment", true), ("esp", true), ("vxlan-without-i-flag", true), ("qinq", false)]
    {
        let golden = frames.iter().find(|golden| golden.name == name).unwrap();
        let layers = decode(golden, golden.bytes.len());
        assert_eq!(layers.is_innermost_hidden(), is_hidden, "{name}");
    }
}

#[test]
fn what_an_icmp_error_quotes_is_not_a_level() {
    let frames = golden_frames();
    let golden = frames.iter().find(|golden| golden.name == "icmp-error").unwrap();
    let layers = decode(golden, golden.bytes.len());
    assert_eq!(layers.levels(&golden.bytes).len(), 1);
    assert!(layers.innermost(&golden.bytes).has(Layer::Icmp));
}

#[test]
fn the_key_says_what_the_innermost_level_says() {
    for golden in golden_frames() {
        for len in 0..=golden.bytes.len() {
            let (layers, bytes) = (decode(&golden, len), &golden.bytes[..len]);
            let (key, level) = (layers.key(bytes), layers.innermost(bytes));
            let name = format!("{} cut to {len}", golden.name);
            if level.has(Layer::Wlan) {
                continue;
            }
            assert_eq!(key.macs, level.macs(), "{name}");
            assert_eq!(key.vlan, level.vlans().next().map(|tag| tag.id), "{name}");
            let ip = level.ip();
            assert_eq!(key.addresses, ip.map(|ip| (ip.source, ip.destination)), "{name}");
            let transport = level.transport();
            assert_eq!(key.transport, transport.map(|transport| transport.layer), "{name}");
            assert_eq!(key.ports, transport.and_then(|transport| transport.ports), "{name}");
            assert_eq!(key.network, level.tunnel().and_then(Tunnel::vni), "{name}");
        }
    }
}
