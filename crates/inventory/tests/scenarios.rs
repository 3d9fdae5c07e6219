//! Sites of different shapes, and what `find` must say about them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod bed;

use bed::{
    Bed, HOST, at, blind_veth, claimed, fdb, ip, mac, neighbour, port, port_of, route, uuid, veth,
    vlan, vni, vxlan,
};
use inventory::facts::{
    DomainState, LinkKind, NamespaceId, OvsInterface, OvsPort, OvsSpread, Report, Source,
};
use inventory::{
    Attachment, Machine, MachineId, MachineKind, MachineState, Network, Resolver, SwitchKind,
    UplinkChoice,
};

const M1: &str = "52:54:00:00:00:01";
const M2: &str = "52:54:00:00:00:02";
const M3: &str = "52:54:00:00:00:03";

fn place(machine: &Machine) -> &Attachment {
    assert_eq!(machine.vnics.len(), 1, "{machine:#?}");
    machine.vnics[0].attachment.as_ref().unwrap()
}

fn devices(network: &Network) -> Vec<(&str, UplinkChoice)> {
    network.uplinks.iter().map(|u| (u.device.as_str(), u.choice)).collect()
}

/// br-int with VXLAN and a patch to br-phy, which has a bond of two and the VTEP's address.
fn ovs_host() -> Bed {
    let mut bed = Bed::new();
    bed.physical(2, "up0", None).mac = Some(mac("02:00:00:00:00:02"));
    bed.physical(3, "up1", None).mac = Some(mac("02:00:00:00:00:03"));
    bed.link(4, "br-phy", LinkKind::Tun { is_tap: true }).addresses = vec![(ip("10.0.0.1"), 24)];
    bed.link(5, "br-int", LinkKind::Tun { is_tap: true });
    bed.tap(10, "vnet0", None);
    bed.network(HOST).routes = vec![route("10.0.0.0", 24, 4), route("0.0.0.0", 0, 2)];
    let member = |name: &str, address: &str| OvsInterface {
        name: name.into(),
        mac_in_use: Some(mac(address)),
        is_up: true,
        ..OvsInterface::default()
    };
    let bond = OvsPort {
        name: "bond0".into(),
        bond_mode: Some("balance-tcp".into()),
        interfaces: vec![member("up0", "02:00:00:00:00:02"), member("up1", "02:00:00:00:00:03")],
        ..OvsPort::default()
    };
    let mut to_int = port_of("phy-int", None, "patch", &[("peer", "int-phy")]);
    to_int.trunks = vec![vlan(20)];
    bed.ovs_bridge("br-phy", vec![port_of("br-phy", None, "internal", &[]), bond, to_int]);
    let vxlan = |name: &str, remote: &str, tag, key: &str| {
        port_of(
            name,
            tag,
            "vxlan",
            &[("remote_ip", remote), ("local_ip", "10.0.0.1"), ("key", key)],
        )
    };
    bed.ovs_bridge(
        "br-int",
        vec![
            port_of("br-int", None, "internal", &[]),
            port_of("int-phy", None, "patch", &[("peer", "phy-int")]),
            vxlan("vx2", "10.0.0.2", Some(100), "5001"),
            vxlan("vx3", "10.0.0.3", Some(100), "5001"),
            vxlan("vy2", "10.0.0.2", Some(200), "5002"),
        ],
    );
    bed
}

fn add_port(bed: &mut Bed, bridge: usize, port: OvsPort) {
    bed.ovs.as_mut().unwrap().bridges[bridge].ports.push(port);
}

#[test]
fn an_overlay_vm_leaves_by_the_bond_below_its_tunnels() {
    let mut bed = ovs_host();
    bed.qemu(700, "web", Some(1), &[(M1, "vnet0")]);
    add_port(&mut bed, 1, claimed("vnet0", Some(100), M1, &uuid(1).to_string(), "port-1"));
    let web = bed.machine("web");
    assert_eq!(web.id, MachineId::Uuid(uuid(1)));
    assert_eq!((web.kind, web.state), (MachineKind::Vm, MachineState::Running));
    assert_eq!((web.pid, web.since), (Some(700), Some(at(700))));
    let place = place(&web);
    assert_eq!(place.device.as_deref(), Some("vnet0"));
    assert_eq!((place.ifindex, place.namespace), (Some(10), HOST));
    assert_eq!(place.switch.as_deref(), Some("br-int"));
    assert_eq!(place.switch_kind, Some(SwitchKind::OpenVSwitch));
    assert_eq!(place.port_id.as_deref(), Some("port-1"));
    let [overlay] = place.networks.as_slice() else { panic!("{:#?}", place.networks) };
    assert_eq!((overlay.vlan, overlay.vni), (Some(vlan(100)), Some(vni(5001))));
    assert_eq!((overlay.tunnel.as_deref(), overlay.tunnel_port), (Some("vxlan"), Some(4789)));
    assert_eq!(overlay.remotes, [ip("10.0.0.2"), ip("10.0.0.3")]);
    assert_eq!(overlay.team.as_deref(), Some("bond0"));
    let shared = UplinkChoice::Shared;
    assert_eq!(devices(overlay), [("up0", shared), ("up1", shared)]);
    assert!(place.notes.is_empty(), "{:?}", place.notes);
}

#[test]
fn a_vlan_vm_leaves_tagged_through_the_patch_ports_that_carry_its_vlan() {
    let mut bed = ovs_host();
    bed.tap(11, "vnet1", None);
    bed.qemu(700, "vlan20", Some(1), &[(M1, "vnet0")]);
    bed.qemu(701, "vlan30", Some(2), &[(M2, "vnet1")]);
    add_port(&mut bed, 1, port("vnet0", Some(20)));
    add_port(&mut bed, 1, port("vnet1", Some(30)));
    let vlan20 = bed.machine("vlan20");
    let [physical] = place(&vlan20).networks.as_slice() else { panic!("{vlan20:#?}") };
    assert_eq!((physical.vlan, physical.vni, &physical.tunnel), (Some(vlan(20)), None, &None));
    assert_eq!(physical.team.as_deref(), Some("bond0"));
    // VLAN 30 is not in the trunks of the patch port.
    let vlan30 = bed.machine("vlan30");
    assert!(place(&vlan30).networks.is_empty());
    assert_eq!(place(&vlan30).notes, ["internal only: no uplink leads out of br-int"]);
}

#[test]
fn the_active_member_of_an_active_backup_team_is_reported() {
    let mut bed = ovs_host();
    bed.qemu(700, "web", Some(1), &[(M1, "vnet0")]);
    add_port(&mut bed, 1, port("vnet0", Some(20)));
    let bond = &mut bed.ovs.as_mut().unwrap().bridges[0].ports[1];
    bond.bond_mode = Some("active-backup".into());
    bond.bond_active = Some(mac("02:00:00:00:00:03"));
    let web = bed.machine("web");
    let expected = [("up0", UplinkChoice::Standby), ("up1", UplinkChoice::Reported)];
    assert_eq!(devices(&place(&web).networks[0]), expected);
}

#[test]
fn the_member_that_a_senders_hash_is_put_to_is_computed() {
    let mut bed = ovs_host();
    bed.qemu(700, "web", Some(1), &[(M1, "vnet0")]);
    add_port(&mut bed, 1, port("vnet0", Some(20)));
    let bond = &mut bed.ovs.as_mut().unwrap().bridges[0].ports[1];
    bond.bond_mode = Some("balance-slb".into());
    let hash = OvsSpread::hash(mac(M1), 20, 7);
    let members = [(hash, "up1".to_owned()), (hash.wrapping_add(1), "up0".to_owned())];
    bond.spread = Some(OvsSpread { basis: 7, members: members.into() });
    let web = bed.machine("web");
    let expected = [("up0", UplinkChoice::Standby), ("up1", UplinkChoice::Computed)];
    assert_eq!(devices(&place(&web).networks[0]), expected);
    // Nothing is told of a sender that sends little.
    bed.ovs.as_mut().unwrap().bridges[0].ports[1].spread = Some(OvsSpread::default());
    let web = bed.machine("web");
    let expected = [("up0", UplinkChoice::Shared), ("up1", UplinkChoice::Shared)];
    assert_eq!(devices(&place(&web).networks[0]), expected);
}

/// Answers of `ovs-appctl bond/hash MAC VLAN BASIS`, Open vSwitch 3.1.
#[test]
fn the_hash_of_a_sender_is_open_vswitchs() {
    let web = mac("52:54:00:00:07:0a");
    assert_eq!(OvsSpread::hash(web, 0, 0), 171);
    assert_eq!(OvsSpread::hash(web, 10, 0), 214);
    assert_eq!(OvsSpread::hash(web, 10, 7), 98);
    assert_eq!(OvsSpread::hash(mac("52:54:00:00:07:0b"), 10, 0), 56);
}

#[test]
fn a_mirror_output_is_not_a_way_out() {
    let mut bed = ovs_host();
    bed.qemu(700, "web", Some(1), &[(M1, "vnet0")]);
    add_port(&mut bed, 1, port("vnet0", Some(30)));
    let mut span = port_of("span", None, "gre", &[("remote_ip", "10.0.0.9")]);
    span.is_mirror_output = true;
    add_port(&mut bed, 1, span);
    assert!(place(&bed.machine("web")).networks.is_empty());
}

#[test]
fn a_vni_chosen_by_openflow_is_said_to_be_unknown() {
    let mut bed = ovs_host();
    bed.qemu(700, "web", Some(1), &[(M1, "vnet0")]);
    add_port(&mut bed, 1, port("vnet0", Some(7)));
    let options = [("remote_ip", "flow"), ("local_ip", "10.0.0.1"), ("key", "flow")];
    add_port(&mut bed, 1, port_of("gnv", None, "geneve", &options));
    let web = bed.machine("web");
    let [overlay] = place(&web).networks.as_slice() else { panic!("{web:#?}") };
    assert_eq!((overlay.vni, overlay.tunnel.as_deref()), (None, Some("geneve")));
    assert_eq!(overlay.uplinks.len(), 2);
    assert_eq!(place(&web).notes, ["OpenFlow rules of br-int choose the VNI (port gnv)"]);
}

#[test]
fn the_key_of_a_tunnel_is_read_as_the_switch_reads_it() {
    let numbers = |options: &[(&str, &str)], kind: &str| {
        let mut bed = ovs_host();
        let options = [&[("remote_ip", "10.0.0.7")], options].concat();
        add_port(&mut bed, 1, port_of("tun", Some(77), kind, &options));
        add_port(&mut bed, 1, claimed("vnet0", Some(77), M1, "web", "p1"));
        let site = bed.site();
        let networks = &place(&site.machines[0]).networks;
        networks.iter().map(|n| n.vni.map(wire::Vni::value)).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&[("key", "100")], "vxlan"), [Some(100)]);
    assert_eq!(numbers(&[("key", "0x64")], "geneve"), [Some(100)]);
    assert_eq!(numbers(&[("key", "0144")], "geneve"), [Some(100)]);
    assert_eq!(numbers(&[], "vxlan"), [Some(0)], "without a key it is 0");
    assert_eq!(numbers(&[], "gre"), [None], "without a key there is none");
    assert_eq!(numbers(&[("key", "4294967295")], "gre"), [None]);
    assert_eq!(numbers(&[("out_key", "7"), ("in_key", "8")], "vxlan"), [Some(7), Some(8)]);
    assert_eq!(numbers(&[("key", "7"), ("in_key", "flow")], "vxlan"), [Some(7), None]);
}

#[test]
fn two_tenants_with_one_mac_and_one_ip_stay_two() {
    let mut bed = ovs_host();
    bed.tap(11, "vnet1", None);
    bed.tap(12, "vnet2", None);
    bed.qemu(700, "a", Some(1), &[(M1, "vnet0")]);
    bed.qemu(701, "b", Some(2), &[(M1, "vnet1")]);
    add_port(&mut bed, 1, port("vnet0", Some(100)));
    add_port(&mut bed, 1, port("vnet1", Some(200)));
    // A namespace in VLAN 100 has talked to a; nobody in VLAN 200 has said anything.
    bed.namespace(9000, "probe");
    bed.cable((20, "probe-h"), 9000, (2, "eth0", M3));
    add_port(&mut bed, 1, port("probe-h", Some(100)));
    bed.network(NamespaceId(9000)).neighbours = vec![neighbour(M1, "192.168.0.5", 2)];
    let (a, b) = (bed.machine("a"), bed.machine("b"));
    assert_eq!(place(&a).networks[0].vni, Some(vni(5001)));
    assert_eq!(place(&b).networks[0].vni, Some(vni(5002)));
    assert_eq!(a.vnics[0].ips.iter().map(|k| k.ip).collect::<Vec<_>>(), [ip("192.168.0.5")]);
    assert!(b.vnics[0].ips.is_empty());
}

#[test]
fn one_mac_twice_in_one_network_gets_no_address() {
    let mut bed = Bed::new();
    bed.bridge(5, "br0").addresses = vec![(ip("192.168.0.1"), 24)];
    bed.tap(10, "t0", Some(5));
    bed.tap(11, "t1", Some(5));
    bed.qemu(700, "a", Some(1), &[(M1, "t0")]);
    bed.qemu(701, "b", Some(2), &[(M1, "t1")]);
    bed.network(HOST).neighbours = vec![neighbour(M1, "192.168.0.5", 5)];
    assert!(bed.machine("a").vnics[0].ips.is_empty());
    assert!(bed.machine("b").vnics[0].ips.is_empty());
}

#[test]
fn a_linux_bridge_with_vxlan_leads_to_the_card_the_route_takes() {
    let mut bed = Bed::new();
    bed.physical(2, "ens1", None);
    bed.physical(3, "ens2", None);
    bed.bridge(5, "br-blue");
    bed.link(6, "vx42", vxlan(42, "10.9.0.7", None)).master = Some(5);
    bed.tap(10, "tap-blue", Some(5));
    bed.network(HOST).routes = vec![route("10.9.0.0", 16, 3), route("0.0.0.0", 0, 2)];
    bed.qemu(700, "blue", None, &[(M1, "tap-blue")]);
    let blue = bed.machine("blue");
    assert_eq!(blue.id, MachineId::Process(700));
    let place = place(&blue);
    assert_eq!(place.switch_kind, Some(SwitchKind::LinuxBridge));
    let [overlay] = place.networks.as_slice() else { panic!("{place:#?}") };
    assert_eq!((overlay.vni, overlay.vlan, overlay.tunnel_port), (Some(vni(42)), None, Some(4789)));
    assert_eq!(devices(overlay), [("ens2", UplinkChoice::Only)]);
}

#[test]
fn a_vxlan_on_a_bridge_with_a_bond_leads_to_the_members() {
    let mut bed = Bed::new();
    bed.physical(2, "ens1", Some(4));
    bed.physical(3, "ens2", Some(4));
    bed.link(4, "bond0", LinkKind::Bond { active: Some(3) }).master = Some(7);
    bed.bridge(7, "vmbr0").addresses = vec![(ip("10.9.0.1"), 16)];
    bed.bridge(5, "br-blue");
    bed.link(6, "vx42", vxlan(42, "10.9.0.7", None)).master = Some(5);
    bed.tap(10, "tap-blue", Some(5));
    bed.qemu(700, "blue", None, &[(M1, "tap-blue")]);
    let blue = bed.machine("blue");
    let overlay = &place(&blue).networks[0];
    assert_eq!(overlay.team.as_deref(), Some("bond0"));
    let expected = [("ens1", UplinkChoice::Standby), ("ens2", UplinkChoice::Reported)];
    assert_eq!(devices(overlay), expected);
}

#[test]
fn vlans_of_linux_bridges_by_pvid_and_by_sub_interface() {
    let mut bed = Bed::new();
    bed.physical(2, "eth0", Some(5)).pvid = Some(vlan(1));
    bed.link(5, "br0", LinkKind::Bridge { is_vlan_aware: true });
    bed.tap(10, "t20", Some(5)).pvid = Some(vlan(20));
    bed.tap(11, "t1", Some(5)).pvid = Some(vlan(1));
    bed.physical(3, "eth1", None);
    bed.link(
        6,
        "eth1.30",
        LinkKind::Vlan { id: vlan(30), lower: Some(3), lower_namespace: None },
    )
    .master = Some(7);
    bed.bridge(7, "br30");
    bed.tap(12, "t30", Some(7));
    bed.qemu(700, "twenty", None, &[(M1, "t20")]);
    bed.qemu(701, "untagged", None, &[(M2, "t1")]);
    bed.qemu(702, "thirty", None, &[(M3, "t30")]);
    let way = |name: &str| {
        let machine = bed.machine(name);
        let network = place(&machine).networks[0].clone();
        (network.vlan, network.uplinks[0].device.clone())
    };
    assert_eq!(way("twenty"), (Some(vlan(20)), "eth0".into()));
    assert_eq!(way("untagged"), (None, "eth0".into()));
    assert_eq!(way("thirty"), (Some(vlan(30)), "eth1".into()));
}

#[test]
fn a_vm_with_three_vnics_has_each_at_its_own_place() {
    let mut bed = ovs_host();
    bed.bridge(30, "br-mgmt");
    bed.tap(11, "lies-eth0", Some(30));
    bed.link(12, "macvtap0", LinkKind::Macvlan { lower: Some(2), lower_namespace: None });
    bed.qemu(700, "gw", Some(1), &[(M1, "vnet0"), (M2, "lies-eth0"), (M3, "macvtap0")]);
    add_port(&mut bed, 1, port("vnet0", Some(20)));
    let gw = bed.machine("gw");
    let all: Vec<_> = gw
        .vnics
        .iter()
        .map(|v| {
            let place = v.attachment.as_ref().unwrap();
            (v.name.as_str(), v.mac.unwrap(), place.switch.as_deref().unwrap())
        })
        .collect();
    let expected =
        [("net0", mac(M1), "br-int"), ("net1", mac(M2), "br-mgmt"), ("net2", mac(M3), "up0")];
    assert_eq!(all, expected);
    let macvtap = gw.vnics[2].attachment.as_ref().unwrap();
    assert_eq!(macvtap.switch_kind, Some(SwitchKind::Macvtap));
    assert_eq!(devices(&macvtap.networks[0]), [("up0", UplinkChoice::Only)]);
}

#[test]
fn a_vm_renamed_while_it_runs_has_libvirts_name() {
    let mut bed = Bed::new();
    bed.bridge(5, "br0");
    bed.tap(10, "vnet0", Some(5));
    bed.qemu(700, "old", Some(1), &[(M1, "vnet0")]);
    bed.domain("new", 1, DomainState::Running, &[(M1, "vnet0")]);
    let new = bed.machine("new");
    assert_eq!(new.aliases, ["old"]);
    assert_eq!(new.vnics.len(), 1);
    assert!(new.evidence.iter().any(|e| e.claim == "its process was started as old"));
}

#[test]
fn a_vm_that_arrives_is_not_running_yet() {
    let mut bed = ovs_host();
    bed.qemu(700, "web", Some(1), &[(M1, "vnet0")]);
    bed.processes.qemus[0].is_incoming = true;
    add_port(&mut bed, 1, claimed("vnet0", Some(100), M1, &uuid(1).to_string(), "port-1"));
    assert_eq!(bed.machine("web").state, MachineState::Incoming);
    bed.domain("web", 1, DomainState::Paused, &[(M1, "vnet0")]);
    assert_eq!(bed.machine("web").state, MachineState::Incoming);
    // `-incoming` stays on the command line for ever; libvirt knows better.
    bed.libvirt.as_mut().unwrap().domains[0].state = DomainState::Running;
    assert_eq!(bed.machine("web").state, MachineState::Running);
}

#[test]
fn a_frame_from_its_tap_shows_that_an_arriving_vm_runs() {
    let mut bed = Bed::new();
    bed.bridge(5, "br0");
    bed.tap(10, "t0", Some(5)).mac = Some(mac("fe:54:00:00:00:01"));
    bed.qemu(700, "web", Some(1), &[(M1, "t0")]);
    bed.processes.qemus[0].is_incoming = true;
    bed.network(HOST).fdb = vec![fdb("fe:54:00:00:00:01", 10)];
    assert_eq!(bed.machine("web").state, MachineState::Incoming);
    bed.network(HOST).fdb.push(fdb(M1, 10));
    assert_eq!(bed.machine("web").state, MachineState::Running);
}

#[test]
fn a_migration_within_the_host_is_one_vm_at_two_taps() {
    let mut bed = Bed::new();
    bed.bridge(5, "br0");
    bed.tap(10, "t0", Some(5));
    bed.tap(11, "t1", Some(5));
    bed.qemu(700, "web", Some(1), &[(M1, "t0")]);
    bed.qemu(800, "web", Some(1), &[(M1, "t1")]);
    bed.processes.qemus[1].is_incoming = true;
    let web = bed.machine("web");
    assert_eq!((web.state, web.pid), (MachineState::Running, Some(700)));
    let taps: Vec<_> =
        web.vnics.iter().map(|v| v.attachment.as_ref().unwrap().device.clone().unwrap()).collect();
    assert_eq!(taps, ["t0", "t1"]);
}

#[test]
fn two_vms_started_with_one_uuid_are_not_mixed() {
    let mut bed = Bed::new();
    bed.bridge(5, "br0");
    bed.tap(10, "t0", Some(5));
    bed.tap(11, "t1", Some(5));
    bed.qemu(700, "web", Some(1), &[(M1, "t0")]);
    bed.qemu(800, "db", Some(1), &[(M2, "t1")]);
    assert_eq!(bed.machine("web").id, MachineId::Process(700));
    assert_eq!(bed.machine("db").vnics.len(), 1);
}

#[test]
fn a_tap_name_taken_by_another_vm_belongs_to_the_newer_process() {
    let mut bed = Bed::new();
    bed.bridge(5, "br0");
    bed.tap(10, "vnet0", Some(5));
    bed.qemu(700, "b", Some(2), &[(M2, "vnet0")]);
    // libvirt has not noticed yet that a is gone.
    bed.domain("a", 1, DomainState::Running, &[(M1, "vnet0")]);
    let (a, b) = (bed.machine("a"), bed.machine("b"));
    assert!(a.vnics[0].attachment.is_none());
    assert_eq!(place(&b).device.as_deref(), Some("vnet0"));
    let claim = "vnet0 was its tap; b has it now (newer or more local)";
    assert!(a.evidence.iter().any(|e| e.claim == claim), "{:#?}", a.evidence);
}

#[test]
fn external_ids_left_behind_do_not_rename_the_vm_that_holds_the_tap() {
    let mut bed = ovs_host();
    bed.qemu(700, "b", Some(2), &[(M2, "vnet0")]);
    add_port(&mut bed, 1, claimed("vnet0", Some(100), M1, &uuid(1).to_string(), "port-1"));
    let site = bed.site();
    let names: Vec<_> = site.machines.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["b"]);
    let b = bed.machine("b");
    assert_eq!((b.vnics[0].mac, &place(&b).port_id), (Some(mac(M2)), &None));
}

#[test]
fn a_vm_only_open_vswitch_knows_is_found() {
    let mut bed = ovs_host();
    bed.link(20, "tap-db", blind_veth());
    add_port(&mut bed, 1, claimed("tap-db", Some(20), M1, "db", "port-db"));
    let db = bed.machine("db");
    assert_eq!(db.id, MachineId::Port("port-db".into()));
    assert_eq!((db.vnics[0].mac, db.state), (Some(mac(M1)), MachineState::Running));
    assert_eq!(place(&db).device.as_deref(), Some("tap-db"));
    assert_eq!(place(&db).networks[0].vlan, Some(vlan(20)));
}

#[test]
fn the_ports_of_one_vm_id_are_one_vm_however_it_is_called() {
    let mut bed = ovs_host();
    for (index, name) in ["tap-x", "tap-y", "tap-z"].into_iter().enumerate() {
        bed.link(20 + u32::try_from(index).unwrap(), name, blind_veth());
    }
    add_port(&mut bed, 1, claimed("tap-x", Some(20), M1, "gw", "port-x"));
    add_port(&mut bed, 1, claimed("tap-y", Some(100), M2, "gw", "port-y"));
    add_port(&mut bed, 1, claimed("tap-z", Some(200), M3, "gw", "port-z"));
    let gw = bed.machine("gw");
    assert_eq!(gw.vnics.len(), 3);
    for port in &mut bed.ovs.as_mut().unwrap().bridges[1].ports {
        port.interfaces[0].vm_id = port.interfaces[0].vm_id.as_ref().map(|_| "gateway".into());
    }
    assert_eq!(bed.machine("gateway").id, gw.id);
}

#[test]
fn two_tenants_with_one_vm_id_and_one_mac_are_not_one_vm() {
    let mut bed = ovs_host();
    bed.link(20, "tap-x", blind_veth());
    bed.link(21, "tap-y", blind_veth());
    add_port(&mut bed, 1, claimed("tap-x", Some(100), M1, "web", "port-x"));
    add_port(&mut bed, 1, claimed("tap-y", Some(200), M1, "web", "port-y"));
    let site = bed.site();
    assert_eq!(site.machines.len(), 2);
    assert!(site.one("web").unwrap_err().to_string().contains("name one by its id"));
    assert_eq!(
        site.one("port-y").unwrap().vnics[0].attachment.as_ref().unwrap().networks[0].vni,
        Some(vni(5002))
    );
}

#[test]
fn a_port_nothing_runs_behind_is_an_arriving_vm() {
    let mut bed = ovs_host();
    bed.tap(20, "vnet7", None).has_carrier = false;
    let id = uuid(7).to_string();
    add_port(&mut bed, 1, claimed("vnet7", Some(20), M1, &id, "port-7"));
    let seven = bed.machine("port-7");
    assert_eq!((seven.id, seven.state), (MachineId::Uuid(uuid(7)), MachineState::Incoming));
}

#[test]
fn without_rights_to_see_taps_external_ids_join_process_and_port() {
    let mut bed = ovs_host();
    bed.qemu(700, "web", Some(1), &[(M1, "vnet0")]);
    bed.processes.qemus[0].nics[0].tap = None;
    let unseen = "its tap cannot be seen without the right to read its process";
    assert_eq!(place(&bed.machine("web")).notes, [unseen]);
    add_port(&mut bed, 1, claimed("vnet0", Some(100), M1, &uuid(1).to_string(), "port-1"));
    let web = bed.machine("web");
    assert_eq!(place(&web).device.as_deref(), Some("vnet0"));
    assert_eq!(place(&web).port_id.as_deref(), Some("port-1"));
    assert!(place(&web).notes.is_empty());
}

#[test]
fn a_vhost_user_vm_has_a_port_and_no_device() {
    let mut bed = ovs_host();
    bed.qemu(700, "fast", Some(1), &[(M1, "x")]);
    bed.processes.qemus[0].nics[0].tap = None;
    bed.processes.qemus[0].nics[0].backend = "vhost-user".into();
    let mut vhu = claimed("vhu1", Some(20), M1, &uuid(1).to_string(), "port-1");
    vhu.interfaces[0].kind = "dpdkvhostuserclient".into();
    add_port(&mut bed, 1, vhu);
    let fast = bed.machine("fast");
    let place = place(&fast);
    assert_eq!((&place.device, place.port.as_deref()), (&None, Some("vhu1")));
    assert_eq!(place.networks[0].vlan, Some(vlan(20)));
    assert!(place.notes[0].starts_with("vhost-user"), "{:?}", place.notes);
}

#[test]
fn namespaces_and_containers_are_machines() {
    let mut bed = Bed::new();
    bed.bridge(5, "docker0").addresses = vec![(ip("172.17.0.1"), 16)];
    bed.namespace(9000, "web");
    bed.processes.namespaces[0].runtime = "docker".into();
    bed.processes.namespaces[0].runtime_id = Some("3f2a".into());
    bed.cable((20, "vethab12"), 9000, (2, "eth0", M1));
    bed.network(HOST).links.last_mut().unwrap().master = Some(5);
    bed.network(NamespaceId(9000)).links[0].addresses = vec![(ip("172.17.0.2"), 16)];
    bed.namespace(9001, "plain");
    bed.cable((21, "plain-h"), 9001, (2, "p0", M2));
    let web = bed.machine("web");
    assert_eq!((web.kind, &web.id), (MachineKind::Container, &MachineId::Container("3f2a".into())));
    assert_eq!((web.vnics[0].name.as_str(), web.vnics[0].mac), ("eth0", Some(mac(M1))));
    assert_eq!(web.vnics[0].ips[0].ip, ip("172.17.0.2"));
    let docker = place(&web);
    assert_eq!(
        (docker.device.as_deref(), docker.switch.as_deref()),
        (Some("vethab12"), Some("docker0"))
    );
    assert_eq!(
        docker.notes,
        ["internal only: no uplink leads out of docker0; the host (172.17.0.1) may route for it"]
    );
    let plain = bed.machine("plain");
    assert_eq!(plain.kind, MachineKind::Namespace);
    assert_eq!(place(&plain).device.as_deref(), Some("plain-h"));
    assert_eq!(place(&plain).notes, ["plain-h is a port of no switch: the host routes for it"]);
}

#[test]
fn a_container_on_macvlan_leaves_by_the_device_below() {
    let mut bed = Bed::new();
    bed.physical(2, "eth0", None);
    bed.namespace(9000, "web");
    let kind = LinkKind::Macvlan { lower: Some(2), lower_namespace: Some(HOST) };
    bed.link_in(NamespaceId(9000), 7, "eth0", kind).mac = Some(mac(M1));
    let web = bed.machine("web");
    let place = place(&web);
    assert_eq!((&place.device, place.switch.as_deref()), (&None, Some("eth0")));
    assert_eq!(devices(&place.networks[0]), [("eth0", UplinkChoice::Only)]);
}

#[test]
fn a_cable_to_a_switch_in_another_namespace_is_an_uplink() {
    let mut bed = Bed::new();
    bed.bridge(5, "br0");
    bed.tap(10, "t0", Some(5));
    bed.qemu(700, "web", Some(1), &[(M1, "t0")]);
    bed.namespace(9000, "tor");
    bed.cable((20, "up0"), 9000, (2, "p1", M2));
    bed.network(HOST).links.last_mut().unwrap().master = Some(5);
    let tor = &mut bed.network(NamespaceId(9000)).links;
    tor[0].master = Some(3);
    bed.link_in(NamespaceId(9000), 3, "br-tor", LinkKind::Bridge { is_vlan_aware: false });
    let web = bed.machine("web");
    assert_eq!(devices(&place(&web).networks[0]), [("up0", UplinkChoice::Only)]);
}

#[test]
fn a_vm_in_a_pod_leaves_through_the_pods_veth() {
    let mut bed = Bed::new();
    let pod = NamespaceId(9000);
    bed.physical(2, "eth0", Some(5));
    bed.bridge(5, "cni0");
    bed.namespace(9000, "virt-launcher");
    bed.cable((20, "veth77"), 9000, (3, "eth0-nic", M2));
    bed.network(HOST).links.last_mut().unwrap().master = Some(5);
    bed.network(pod).links[0].master = Some(4);
    bed.link_in(pod, 4, "k6t-eth0", LinkKind::Bridge { is_vlan_aware: false });
    bed.link_in(pod, 5, "tap0", LinkKind::Tun { is_tap: true }).master = Some(4);
    bed.qemu(700, "kubevm", Some(1), &[(M1, "tap0")]);
    bed.processes.qemus[0].namespace = pod;
    let vm = bed.machine("kubevm");
    let place = place(&vm);
    assert_eq!((place.namespace, place.switch.as_deref()), (pod, Some("k6t-eth0")));
    assert_eq!(place.namespace_path.as_deref(), Some("/run/netns/virt-launcher"));
    assert_eq!(devices(&place.networks[0]), [("eth0", UplinkChoice::Only)]);
}

#[test]
fn a_tap_behind_a_proxmox_firewall_bridge_leaves_two_hops_further() {
    let mut bed = Bed::new();
    bed.physical(2, "eno1", Some(5));
    bed.bridge(5, "vmbr0");
    bed.bridge(6, "fwbr101i0");
    bed.link(7, "fwpr101p0", veth(8, None)).master = Some(5);
    bed.link(8, "fwln101i0", veth(7, None)).master = Some(6);
    bed.tap(10, "tap101i0", Some(6));
    bed.qemu(700, "pve", Some(1), &[(M1, "tap101i0")]);
    bed.network(HOST).neighbours = vec![neighbour(M1, "192.168.0.5", 5)];
    let vm = bed.machine("pve");
    let place = place(&vm);
    assert_eq!(place.switch.as_deref(), Some("fwbr101i0"));
    assert_eq!(devices(&place.networks[0]), [("eno1", UplinkChoice::Only)]);
    assert_eq!(vm.vnics[0].ips[0].ip, ip("192.168.0.5"), "known on vmbr0, the same network");
}

#[test]
fn a_proxmox_firewall_bridge_on_open_vswitch_keeps_its_vlan() {
    let mut bed = Bed::new();
    bed.physical(2, "eno1", None);
    bed.bridge(6, "fwbr101i0");
    bed.link(8, "fwln101o0", LinkKind::Other("openvswitch".into())).master = Some(6);
    bed.tap(10, "tap101i0", Some(6));
    bed.qemu(700, "pve", Some(1), &[(M1, "tap101i0")]);
    bed.ovs_bridge(
        "vmbr0",
        vec![port("eno1", None), port_of("fwln101o0", Some(20), "internal", &[])],
    );
    let vm = bed.machine("pve");
    let [way] = place(&vm).networks.as_slice() else { panic!("{vm:#?}") };
    assert_eq!((way.vlan, devices(way)), (Some(vlan(20)), vec![("eno1", UplinkChoice::Only)]));
}

#[test]
fn a_port_nobody_speaks_for_is_a_machine_with_the_name_of_its_device() {
    let mut bed = Bed::new();
    bed.link(2, "up0", blind_veth()).addresses = vec![(ip("10.0.0.3"), 24)];
    bed.bridge(3, "br100");
    bed.link(4, "vx101", vxlan(101, "10.0.0.1", Some(2))).master = Some(3);
    bed.link(5, "tap-vm31", blind_veth()).master = Some(3);
    bed.tap(6, "dead", Some(3)).has_carrier = false;
    bed.tap(7, "vpn", None);
    bed.network(HOST).fdb = vec![fdb(M1, 5)];
    let site = bed.site();
    let machine = &site.machines[0];
    assert_eq!((machine.name.as_str(), site.machines.len()), ("tap-vm31", 1));
    assert_eq!(machine.vnics[0].mac, Some(mac(M1)), "as the bridge learned it");
    let networks = &place(machine).networks;
    assert_eq!(networks[0].vni, Some(vni(101)));
    assert_eq!(devices(&networks[0]), [("up0", UplinkChoice::Only)]);

    // Renamed, it is the same machine; once a process holds it, it is that VM's.
    let id = machine.id.clone();
    bed.network(HOST).links[3].name = "tap-new".into();
    assert_eq!(bed.site().machines[0].id, id);
    bed.qemu(9, "web", Some(1), &[(M1, "tap-new")]);
    let names: Vec<_> = bed.site().machines.iter().map(|m| m.name.clone()).collect();
    assert_eq!(names, ["web"]);
}

#[test]
fn a_vxlan_that_only_forwarding_entries_lead_out_of_takes_their_route() {
    let mut bed = Bed::new();
    bed.physical(2, "up0", None).addresses = vec![(ip("10.0.0.1"), 24)];
    bed.bridge(3, "br-a");
    let kind =
        LinkKind::Vxlan { vni: Some(vni(100)), port: 4789, local: None, remote: None, lower: None };
    bed.link(4, "vxa", kind).master = Some(3);
    bed.tap(5, "t0", Some(3));
    bed.qemu(700, "web", Some(1), &[(M1, "t0")]);
    bed.network(HOST).vxlan_ends =
        vec![(4, ip("10.0.0.2")), (4, ip("10.0.0.3")), (9, ip("10.9.9.9"))];
    let machine = bed.machine("web");
    let networks = &place(&machine).networks;
    assert_eq!(networks.len(), 1);
    assert_eq!(networks[0].remotes, [ip("10.0.0.2"), ip("10.0.0.3")]);
    assert_eq!(devices(&networks[0]), [("up0", UplinkChoice::Only)]);
}

#[test]
fn a_cable_is_no_machine() {
    let mut bed = Bed::new();
    bed.bridge(3, "br100");
    bed.link(4, "up0", blind_veth()).master = Some(3);
    bed.link(5, "veth7", blind_veth()).master = Some(3);
    bed.ovs_bridge("br-tor", vec![port("h1a", None), port("tap9", None)]);
    bed.link(6, "h1a", blind_veth());
    bed.tap(7, "tap9", None);
    let site = bed.site();
    let names: Vec<_> = site.machines.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["tap9", "veth7"]);
    assert_eq!(devices(&place(&site.machines[1]).networks[0]), [("up0", UplinkChoice::Only)]);
}

#[test]
fn patch_ports_in_a_ring_end() {
    let mut bed = Bed::new();
    bed.tap(10, "t0", None);
    bed.qemu(700, "web", Some(1), &[(M1, "t0")]);
    bed.ovs_bridge(
        "a",
        vec![
            port("t0", Some(5)),
            port_of("ab", None, "patch", &[("peer", "ba")]),
            port_of("ac", None, "patch", &[("peer", "ca")]),
        ],
    );
    bed.ovs_bridge(
        "b",
        vec![
            port_of("ba", None, "patch", &[("peer", "ab")]),
            port_of("bc", None, "patch", &[("peer", "cb")]),
        ],
    );
    bed.ovs_bridge(
        "c",
        vec![
            port_of("ca", None, "patch", &[("peer", "ac")]),
            port_of("cb", None, "patch", &[("peer", "bc")]),
        ],
    );
    assert_eq!(place(&bed.machine("web")).notes, ["internal only: no uplink leads out of a"]);
}

#[test]
fn a_domain_that_does_not_run_is_nowhere() {
    let mut bed = Bed::new();
    bed.domain("off", 1, DomainState::Shutoff, &[(M1, "vnet0")]);
    let off = bed.machine("off");
    assert_eq!(off.state, MachineState::Shutoff);
    assert_eq!((off.vnics[0].mac, &off.vnics[0].attachment), (Some(mac(M1)), &None));
}

#[test]
fn a_source_that_fails_keeps_what_it_said_and_says_why() {
    let mut bed = ovs_host();
    add_port(&mut bed, 1, claimed("vnet0", Some(20), M1, "db", "port-db"));
    let mut resolver = Resolver::new();
    for report in bed.reports(1) {
        resolver.apply(report);
    }
    let problem = "open vSwitch: permission denied on /run/openvswitch/db.sock; run as root";
    resolver.apply(Report { source: Source::Ovsdb, at: at(2), facts: Err(problem.into()) });
    let site = resolver.site();
    assert_eq!(site.machines.len(), 1);
    let ovs = site.sources.iter().find(|s| s.source == Source::Ovsdb).unwrap();
    assert_eq!((ovs.at, ovs.problem.as_deref()), (at(2), Some(problem)));
}

#[test]
fn a_namespace_that_is_gone_leaves_nothing() {
    let mut bed = Bed::new();
    bed.namespace(9000, "web");
    bed.cable((20, "web-h"), 9000, (2, "eth0", M1));
    let mut resolver = Resolver::new();
    for report in bed.reports(1) {
        resolver.apply(report);
    }
    assert_eq!(resolver.site().machines.len(), 1);
    bed.processes.namespaces.clear();
    for report in bed.reports(2).into_iter().filter(|r| r.source == Source::Proc) {
        resolver.apply(report);
    }
    let site = resolver.site();
    assert!(site.machines.is_empty());
    assert!(!site.sources.iter().any(|s| s.source == Source::Netlink(NamespaceId(9000))));
}

#[test]
fn two_hundred_taps_are_resolved_at_once() {
    let mut bed = ovs_host();
    for n in 0..200_u8 {
        let tap = format!("many{n}");
        let address = format!("52:54:00:00:01:{n:02x}");
        bed.tap(100 + u32::from(n), &tap, None);
        bed.qemu(1000 + u32::from(n), &format!("vm-{n}"), Some(n), &[(&address, &tap)]);
        let tag = if n % 2 == 0 { 100 } else { 20 };
        let id = uuid(n).to_string();
        add_port(&mut bed, 1, claimed(&tap, Some(tag), &address, &id, &format!("port-{n}")));
    }
    let reports = bed.reports(1);
    let mut resolver = Resolver::new();
    for report in reports {
        resolver.apply(report);
    }
    let begin = std::time::Instant::now();
    let site = resolver.site();
    let took = begin.elapsed();
    assert_eq!(site.machines.len(), 200);
    assert!(site.machines.iter().all(|m| place(m).networks.len() == 1));
    // 20 ms in release on an idle machine; here only that nothing is quadratic.
    assert!(took.as_millis() < 1000, "{took:?}");
    println!("200 taps: {took:?}");
}
