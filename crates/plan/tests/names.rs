//! Names in an expression: whose packets they are, in which network and when.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use inventory::History;
use plan::Names;
use select::{Filter, Name, NameKind, Resolver};
use wire::{Layers, LinkType, Packet, Timestamp, TunnelPorts};

const SITE: &str = r#"
[[hosts]]
name = "hv-3"

[[vms]]
name = "web"
uuid = "3f2a8c1e-0b6d-4a57-9e21-7c5d1f0e9a01"
tenant = "acme"
host = "hv-1"
vnics = [{ mac = "52:54:00:00:00:01", port_group = "VM Network", networks = [
  { vxlan = 5001, until = 2026-11-21T10:00:00Z },
  { vxlan = 5002, since = 2026-11-21T10:00:00Z },
  { vlan = 7 },
] }]

[[vms]]
name = "db"
tenant = "acme"
host = "hv-1"
until = 2026-11-21T10:00:00Z
vnics = [{ mac = "52:54:00:00:00:02", networks = [{ vxlan = 5001 }] }]

[[vms]]
name = "db"
tenant = "acme"
host = "hv-2"
since = 2026-11-21T10:00:00Z
vnics = [{ mac = "52:54:00:00:00:02", networks = [{ vxlan = 5001 }] }]

# Equal MACs, and at a port of its own an equal number.
[[vms]]
name = "web"
tenant = "other"
host = "hv-2"
vnics = [{ mac = "52:54:00:00:00:01", networks = [
  { geneve = 5001 }, { vxlan = 5001, udp_port = 8472 }, { vxlan = 6001 }, { nvgre = 70 }, { erspan = 100, vlan = 7 },
  { vntag = 12 },
] }]

[[vms]]
name = "lonely"
tenant = "nobody"
vnics = [{ mac = "52:54:00:00:00:09" }]
"#;

/// So many minutes after 2026-11-21T10:00:00Z, when things change.
fn minute(minutes: i64) -> Timestamp {
    Timestamp::from_nanos((1_795_255_200_i64 + 60 * minutes) as u64 * 1_000_000_000)
}

/// Whether the packet is one of `expression`, on a shared wire.
fn is(expression: &str, frame: &[u8], time: Timestamp) -> bool {
    let history = History::parse(SITE).unwrap();
    let names = Names::new(&history);
    let mut ports = TunnelPorts::default();
    names.add_tunnel_ports(&mut ports);
    matches(&Filter::parse_with(expression, &names).unwrap(), frame, time, &ports)
}

fn matches(filter: &Filter, frame: &[u8], time: Timestamp, ports: &TunnelPorts) -> bool {
    let packet = Packet::new(time, LinkType::ETHERNET, frame, u32::try_from(frame.len()).unwrap());
    filter.matches(&packet, &Layers::decode(packet.link, packet.data, ports))
}

/// An ARP frame from the VM with this last octet of its MAC, behind these tags.
fn arp(from: u8, tags: &[u16]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([0x52, 0x54, 0, 0, 0, from]);
    for tag in tags {
        frame.extend([0x81, 0x00]);
        frame.extend(tag.to_be_bytes());
    }
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend([0; 20]);
    frame
}

/// `inner` in this protocol over IPv4 between hosts.
fn over_ip(protocol: u8, header: &[u8], inner: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + header.len() + inner.len()).unwrap();
    let mut frame = vec![2, 0, 0, 0, 0, 8, 2, 0, 0, 0, 0, 9, 0x08, 0x00, 0x45, 0];
    frame.extend(len.to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    frame.extend(header);
    frame.extend(inner);
    frame
}

fn over_udp(port: u16, header: [u8; 8], inner: &[u8]) -> Vec<u8> {
    let mut udp = vec![0xc0, 0x00];
    udp.extend(port.to_be_bytes());
    udp.extend(u16::try_from(16 + inner.len()).unwrap().to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(header);
    over_ip(17, &udp, inner)
}

fn vxlan_to(port: u16, vni: u32, inner: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = vni.to_be_bytes();
    over_udp(port, [8, 0, 0, 0, a, b, c, 0], inner)
}

fn vxlan(vni: u32, inner: &[u8]) -> Vec<u8> {
    vxlan_to(4789, vni, inner)
}

fn geneve(vni: u32, inner: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = vni.to_be_bytes();
    over_udp(6081, [0, 0, 0x65, 0x58, a, b, c, 0], inner)
}

fn gre(key: u32, inner: &[u8]) -> Vec<u8> {
    let mut header = vec![0x20, 0, 0x65, 0x58];
    header.extend(key.to_be_bytes());
    over_ip(47, &header, inner)
}

/// ERSPAN type II of this session; `vlan` is where the switch saw the frame.
fn erspan(session: u16, vlan: u16, inner: &[u8]) -> Vec<u8> {
    let mut header = vec![0x10, 0, 0x88, 0xbe, 0, 0, 0, 1];
    header.extend((0x1000 | vlan).to_be_bytes());
    header.extend(session.to_be_bytes());
    header.extend([0, 0, 0, 0]);
    over_ip(47, &header, inner)
}

fn vntag(source: u16, inner: &[u8]) -> Vec<u8> {
    let mut frame = inner[..12].to_vec();
    frame.extend([0x89, 0x26, 0, 0]);
    frame.extend(source.to_be_bytes());
    frame.extend(&inner[12..]);
    frame
}

#[test]
fn a_vm_that_changes_its_network_is_found_in_the_one_it_had_then() {
    let web = "vm acme/web";
    let (before, after) = (minute(-1), minute(0));
    let (old, new) = (vxlan(5001, &arp(1, &[])), vxlan(5002, &arp(1, &[])));
    assert!(is(web, &old, before) && !is(web, &old, after));
    assert!(!is(web, &new, before) && is(web, &new, after));
    // What does not change does not depend on the time.
    let tagged = arp(1, &[7]);
    assert!(is(web, &tagged, before) && is(web, &tagged, after));
    assert!(!is(web, &arp(1, &[8]), after) && !is(web, &arp(1, &[]), after));
    assert!(!is(web, &vxlan(5001, &arp(2, &[])), before));
}

#[test]
fn an_equal_mac_in_another_tenants_network_is_never_let_in() {
    let (acme, other, time) = ("vm acme/web", "vm other/web", minute(-1));
    let cases = [
        (vxlan(5001, &arp(1, &[])), true, false),
        (vxlan_to(8472, 5001, &arp(1, &[])), false, true),
        (geneve(5001, &arp(1, &[])), false, true),
        (vxlan(6001, &arp(1, &[])), false, true),
        (gre(70 << 8 | 3, &arp(1, &[])), false, true),
        (gre(71 << 8, &arp(1, &[])), false, false),
        (erspan(100, 7, &arp(1, &[])), false, true),
        (erspan(100, 0, &arp(1, &[7])), false, true),
        (erspan(100, 9, &arp(1, &[])), false, false),
        (erspan(100, 9, &arp(1, &[9])), false, false),
        (erspan(101, 7, &arp(1, &[])), false, false),
        (vntag(12, &arp(1, &[])), false, true),
        (vntag(13, &arp(1, &[])), false, false),
        (arp(1, &[]), false, false),
    ];
    for (number, (frame, is_acmes, is_others)) in cases.iter().enumerate() {
        assert_eq!(is(acme, frame, time), *is_acmes, "acme, frame {number}");
        assert_eq!(is(other, frame, time), *is_others, "other, frame {number}");
        assert_eq!(is("tenant acme", frame, time), *is_acmes, "tenant acme, frame {number}");
        assert_eq!(is("tenant other", frame, time), *is_others, "tenant other, frame {number}");
    }
}

#[test]
fn a_tenant_cannot_write_himself_into_anothers_network_but_may_have_tunnels_of_his_own() {
    // A packet of the other tenant's VM, in which it made a packet as of acme's web.
    let as_acmes = vxlan(5001, &arp(1, &[]));
    let forged = vxlan(7000, &as_acmes);
    assert!(is("vm acme/web", &as_acmes, minute(-1)));
    assert!(!is("vm acme/web", &forged, minute(-1)) && !is("tenant acme", &forged, minute(-1)));
    // What web itself carries in a tunnel is web's.
    let mut own = vxlan(9999, &arp(77, &[]));
    own[6..12].copy_from_slice(&[0x52, 0x54, 0, 0, 0, 1]);
    assert!(is("vm acme/web", &vxlan(5001, &own), minute(-1)));
    // A mirror of the uplink has the underlay inside.
    assert!(is("vm acme/web", &erspan(1, 0, &as_acmes), minute(-1)));
    assert!(!is("vm acme/web", &erspan(1, 0, &forged), minute(-1)));
}

#[test]
fn hosts_and_port_groups_mean_what_was_theirs_at_the_time() {
    let db = vxlan(5001, &arp(2, &[]));
    assert!(is("host-of hv-1", &db, minute(-1)) && !is("host-of hv-1", &db, minute(1)));
    assert!(!is("host-of hv-2", &db, minute(-1)) && is("host-of hv-2", &db, minute(1)));
    assert!(is("vm db", &db, minute(-1)) && is("vm db", &db, minute(1)));
    assert!(!is("host-of hv-3", &db, minute(1)));
    let web = arp(1, &[7]);
    assert!(is("portgroup \"VM Network\"", &web, minute(1)));
    assert!(!is("portgroup \"VM Network\"", &db, minute(1)));
}

#[test]
fn a_name_that_means_nothing_says_what_was_perhaps_meant() {
    let history = History::parse(SITE).unwrap();
    let names = Names::new(&history);
    let said = |kind, text: &str| {
        let error = names.members(&Name { kind, text: text.to_owned() }).unwrap_err();
        (error.reason.unwrap_or_default(), error.nearest)
    };
    let nearest = |name: &str| vec![name.to_owned()];
    let unknown = |kind: &str, text: &str| format!("the inventory has no {kind} `{text}`");
    assert_eq!(said(NameKind::Vm, "lonly"), (unknown("VM", "lonly"), nearest("lonely")));
    assert_eq!(said(NameKind::Tenant, "acne"), (unknown("tenant", "acne"), nearest("acme")));
    assert_eq!(said(NameKind::HostOf, "hv-9").1, ["hv-1", "hv-2", "hv-3"]);
    let group = said(NameKind::PortGroup, "vm network");
    assert_eq!(group, (unknown("port group", "vm network"), nearest("VM Network")));
    let (ambiguous, _) = said(NameKind::Vm, "web");
    assert_eq!(
        ambiguous,
        "`web` is the name of 2 machines: web (uuid:3f2a8c1e-0b6d-4a57-9e21-7c5d1f0e9a01, tenant \
         acme, on hv-1), web (written:other/web, tenant other, on hv-2); name one by its id, or as \
         TENANT/NAME"
    );
}

#[test]
fn a_vm_is_named_by_uuid_address_and_a_beginning_that_is_only_its_own() {
    let history = History::parse(SITE).unwrap();
    let names = Names::new(&history);
    let members = |text: &str| {
        names.members(&Name { kind: NameKind::Vm, text: text.to_owned() }).map(|m| m.len())
    };
    assert_eq!(members("3f2a8c1e-0b6d-4a57-9e21-7c5d1f0e9a01"), Ok(4));
    assert_eq!(members("3f2a"), Ok(4));
    assert_eq!(members("52:54:00:00:00:02"), Ok(2));
    assert!(members("we").is_err());
    assert_eq!(members("lone"), Ok(0));
    assert_eq!(
        names.notes(),
        [
            "\"3f2a\" is taken to mean \"web\"",
            "\"lone\" is taken to mean \"lonely\"",
            "vm lone: lonely/net0: the inventory names no network of it",
        ]
    );
}

#[test]
fn one_name_that_went_from_one_vm_to_another_means_each_in_its_time() {
    let history = History::parse(
        r#"
        vms = [
          { name = "a", until = 2026-11-21T10:00:00Z, uuid = "3f2a8c1e-0b6d-4a57-9e21-7c5d1f0e9a01",
            vnics = [{ mac = "52:54:00:00:00:01", networks = [{ vlan = 7 }] }] },
          { name = "b", since = 2026-11-21T10:00:00Z, uuid = "3f2a8c1e-0b6d-4a57-9e21-7c5d1f0e9a01",
            vnics = [{ mac = "52:54:00:00:00:01", networks = [{ vlan = 7 }] }] },
          { name = "a", since = 2026-11-21T10:00:00Z, uuid = "3f2a8c1e-0b6d-4a57-9e21-7c5d1f0e9a02",
            vnics = [{ mac = "52:54:00:00:00:02", networks = [{ vlan = 7 }] }] },
        ]
        "#,
    )
    .unwrap();
    let names = Names::new(&history);
    let filter = |text: &str| Filter::parse_with(text, &names).unwrap();
    let ports = TunnelPorts::default();
    let is = |filter: &Filter, from: u8, time| matches(filter, &arp(from, &[7]), time, &ports);
    let (a, b) = (filter("vm a"), filter("vm b"));
    assert!(is(&a, 1, minute(-1)) && !is(&a, 1, minute(1)));
    assert!(!is(&a, 2, minute(-1)) && is(&a, 2, minute(1)));
    // Nobody else was ever called b, so it is that VM, whatever it was called before.
    assert!(is(&b, 1, minute(-1)) && is(&b, 1, minute(1)) && !is(&b, 2, minute(1)));
}

#[test]
fn while_two_have_one_name_on_the_wire_no_packet_is_of_either() {
    let history = History::parse(
        r#"
        vms = [
          { name = "a", tenant = "x",
            vnics = [{ mac = "52:54:00:00:00:01", networks = [{ vlan = 7 }] }] },
          { name = "b", tenant = "y", since = 2026-11-21T10:00:00Z, until = 2026-11-21T10:05:00Z,
            vnics = [{ mac = "52:54:00:00:00:01", networks = [{ vlan = 7 }] }] },
        ]
        "#,
    )
    .unwrap();
    let names = Names::new(&history);
    let ports = TunnelPorts::default();
    let told = |text: &str| {
        let filter = Filter::parse_with(text, &names).unwrap();
        [-1, 0, 4, 5].map(|at| matches(&filter, &arp(1, &[7]), minute(at), &ports))
    };
    assert_eq!(told("vm a"), [true, false, false, true]);
    assert_eq!(told("tenant y"), [false; 4]);
    assert_eq!(names.notes().len(), 2);
    assert_eq!(
        names.notes()[0],
        "a and b have the same MAC 52:54:00:00:00:01 in one network: no packet of that time is \
         taken to be of either"
    );
}

#[test]
fn at_a_vms_own_port_its_neighbours_are_known_without_their_tunnel() {
    let history = History::parse(SITE).unwrap();
    let names = Names::new(&history);
    let ports = TunnelPorts::default();
    assert!(names.at_point("eth0").is_none());
    // The other tenant's web is on hv-2.
    assert!(names.at_point("web/net0 @ hv-9:vnet3").is_none());
    for label in ["web/net0 @ hv-1:vnet3", "web @ hv-1:eth0"] {
        let point = names.at_point(label).unwrap();
        let is = |text: &str, frame: &[u8], at| {
            matches(&Filter::parse_with(text, &point).unwrap(), frame, minute(at), &ports)
        };
        let (web, db) = (arp(1, &[]), arp(2, &[]));
        assert!(is("vm acme/web", &web, -1) && is("vm acme/web", &arp(1, &[40]), -1), "{label}");
        // Until web left the network, they were in one.
        assert!(is("vm db", &db, -1) && !is("vm db", &db, 1), "{label}");
        // Whoever has web's MAC is not here.
        assert!(!is("vm other/web", &web, -1) && !is("tenant other", &web, -1), "{label}");
        assert!(is("tenant acme", &web, 1), "{label}");
    }
}

#[test]
fn a_name_of_a_thousand_vms_with_eight_tenants_equal_macs_lets_in_its_own_only() {
    let mut text = String::new();
    for tenant in 0..8 {
        for vm in 0..125 {
            text += &format!(
                "[[vms]]\nname = \"vm-{vm}\"\ntenant = \"t{tenant}\"\nhost = \"hv-{}\"\n\
                 vnics = [{{ mac = \"52:54:00:00:00:{vm:02x}\", \
                 networks = [{{ vxlan = {} }}, {{ vlan = {} }}] }}]\n",
                vm % 3,
                5001 + tenant,
                100 + tenant
            );
        }
    }
    let history = History::parse(&text).unwrap();
    let names = Names::new(&history);
    let ports = TunnelPorts::default();
    for tenant in [0_u32, 7] {
        let filter = Filter::parse_with(&format!("tenant t{tenant}"), &names).unwrap();
        for (other, vm) in (0..8_u32).flat_map(|other| [0_u8, 7, 124].map(|vm| (other, vm))) {
            let vlan = u16::try_from(100 + other).unwrap();
            for frame in [vxlan(5001 + other, &arp(vm, &[])), arp(vm, &[vlan])] {
                assert_eq!(matches(&filter, &frame, minute(0), &ports), other == tenant);
            }
        }
    }
    let one = names.members(&Name { kind: NameKind::Vm, text: "t3/vm-7".to_owned() }).unwrap();
    assert_eq!(one.len(), 2);
    assert_eq!(names.notes(), Vec::<String>::new());
}
