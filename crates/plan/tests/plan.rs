//! Which places a plan finds, in which order, and what it says about them.

use std::net::{IpAddr, Ipv4Addr};

use inventory::facts::NamespaceId;
use inventory::{
    Attachment, Host, Machine, MachineId, MachineKind, MachineState, Network, Site, SwitchKind,
    Uplink, UplinkChoice, Vnic,
};
use plan::{Plan, PointKind, Side, peer, plan};
use select::{Encapsulation, Identity, OnWire, Ownership};
use wire::{Mac, VlanId, Vni};

const WEB: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);

fn uplink(device: &str, ifindex: u32, choice: UplinkChoice) -> Uplink {
    Uplink { device: device.into(), ifindex: Some(ifindex), choice }
}

fn untagged(uplinks: Vec<Uplink>) -> Network {
    Network {
        vlan: None,
        vni: None,
        tunnel: None,
        tunnel_port: None,
        remotes: vec![],
        uplinks,
        team: None,
    }
}

fn vxlan(vni: u32) -> Network {
    Network {
        vni: Vni::new(vni),
        tunnel: Some("vxlan".into()),
        tunnel_port: Some(4789),
        remotes: vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)); 2],
        team: Some("bond0".into()),
        ..untagged(vec![
            uplink("eth0", 2, UplinkChoice::Reported),
            uplink("eth1", 3, UplinkChoice::Standby),
        ])
    }
}

fn vnic(name: &str, mac: Mac, device: Option<&str>, networks: Vec<Network>) -> Vnic {
    Vnic {
        name: name.into(),
        mac: Some(mac),
        ips: vec![],
        attachment: Some(Attachment {
            device: device.map(Into::into),
            ifindex: device.map(|_| 7),
            namespace: NamespaceId(1),
            namespace_path: None,
            switch: Some("br-int".into()),
            switch_kind: Some(SwitchKind::OpenVSwitch),
            port: device.map(Into::into),
            port_id: None,
            port_group: None,
            networks,
            notes: vec![],
            since: None,
        }),
    }
}

fn machine(name: &str, kind: MachineKind, vnics: Vec<Vnic>) -> Machine {
    Machine {
        id: MachineId::Container(name.into()),
        name: name.into(),
        aliases: vec![],
        kind,
        state: MachineState::Running,
        tenant: None,
        vnics,
        pid: Some(4711),
        namespace_path: None,
        since: None,
        evidence: vec![],
    }
}

fn site(machines: Vec<Machine>) -> Site {
    Site { host: Host { name: "hv-1".into() }, machines, sources: vec![] }
}

fn planned(machine: &Machine) -> Plan {
    plan(&site(vec![machine.clone()]), machine)
}

fn kinds(plan: &Plan) -> Vec<(PointKind, bool)> {
    plan.points.iter().map(|point| (point.kind, point.is_usable())).collect()
}

#[test]
fn the_own_port_comes_first_and_is_whole() {
    let web =
        machine("web", MachineKind::Vm, vec![vnic("net0", WEB, Some("vnet3"), vec![vxlan(5001)])]);
    let plan = planned(&web);
    assert_eq!(kinds(&plan), [(PointKind::Port, true), (PointKind::Uplink, true)]);
    let port = &plan.points[0];
    assert_eq!(port.interfaces[0].label, "web/net0 @ hv-1:vnet3");
    assert_eq!(port.interfaces[0].ownership, Ownership::Whole);
    assert_eq!(port.interfaces[0].ifindex, Some(7));
    assert_eq!(port.interfaces[0].side, Side::Host);
    assert_eq!(plan.best(), Some(port));
}

#[test]
fn an_uplink_point_has_every_member_of_the_team_with_the_identity_of_the_vm() {
    let web =
        machine("web", MachineKind::Vm, vec![vnic("net0", WEB, Some("vnet3"), vec![vxlan(5001)])]);
    let plan = planned(&web);
    let uplink = &plan.points[1];
    let identity = Identity {
        mac: WEB,
        network: OnWire::Overlay {
            vni: Vni::new(5001).unwrap(),
            tunnel: Encapsulation::Vxlan,
            udp_port: Some(4789),
            vlan: None,
        },
    };
    let seen: Vec<_> = uplink.interfaces.iter().map(|i| (i.name.as_str(), i.choice)).collect();
    assert_eq!(
        seen,
        [("eth0", Some(UplinkChoice::Reported)), ("eth1", Some(UplinkChoice::Standby))]
    );
    for interface in &uplink.interfaces {
        assert_eq!(interface.ownership, Ownership::Shared(vec![identity]));
        assert_eq!(interface.side, Side::Shared);
    }
    assert!(uplink.misses.iter().any(|miss| miss.contains("between machines on this host")));
    assert!(uplink.sees.contains("once for every remote tunnel end point"), "{}", uplink.sees);
    assert_eq!(
        uplink.interfaces[1].description,
        "uplink eth1 of bond0 (standby, in use after a failover), only frames of web in VXLAN 5001"
    );
}

#[test]
fn vnics_on_one_uplink_share_its_interface() {
    let other = Mac([0x52, 0x54, 0, 0, 0, 2]);
    let mut tagged = untagged(vec![uplink("eth0", 2, UplinkChoice::Only)]);
    tagged.vlan = VlanId::new(100);
    let plain = untagged(vec![uplink("eth0", 2, UplinkChoice::Only)]);
    let vnics = vec![
        vnic("net0", WEB, Some("vnet3"), vec![tagged]),
        vnic("net1", other, None, vec![plain]),
    ];
    let plan = planned(&machine("web", MachineKind::Vm, vnics));
    let uplink = plan.points.iter().find(|point| point.kind == PointKind::Uplink).unwrap();
    assert_eq!(uplink.interfaces.len(), 1);
    assert_eq!(uplink.interfaces[0].vnic, "net0,net1");
    assert_eq!(
        uplink.interfaces[0].ownership,
        Ownership::Shared(vec![
            Identity { mac: WEB, network: OnWire::Vlan(VlanId::new(100).unwrap()) },
            Identity { mac: other, network: OnWire::Untagged },
        ])
    );
    let port = &plan.points[0];
    assert_eq!(port.vnics, ["net0"]);
    assert!(port.misses[0].starts_with("all of net1: it has no device"), "{:?}", port.misses);
}

#[test]
fn one_mac_on_two_wires_is_not_ambiguous() {
    let vm = |name, device: &str, wires: Vec<Uplink>| {
        machine(name, MachineKind::Vm, vec![vnic("net0", WEB, Some(device), vec![untagged(wires)])])
    };
    let on = |device: &str, index| vec![uplink(device, index, UplinkChoice::Only)];
    let web = vm("web", "vnet3", on("eth0", 2));
    let is_usable = |twin| {
        let plan = plan(&site(vec![web.clone(), twin]), &web);
        kinds(&plan) == [(PointKind::Port, true), (PointKind::Uplink, true)]
    };
    assert!(is_usable(vm("twin", "vnet4", on("eth1", 3))));
    assert!(!is_usable(vm("twin", "vnet4", on("eth0", 2))));
    assert!(!is_usable(vm("twin", "vnet4", vec![])), "it may be on any");
}

#[test]
fn a1_an_ambiguous_identity_is_refused_and_another_network_is_not_ambiguous() {
    let web =
        machine("web", MachineKind::Vm, vec![vnic("net0", WEB, Some("vnet3"), vec![vxlan(10)])]);
    let twin = |vni| {
        machine("twin", MachineKind::Vm, vec![vnic("net0", WEB, Some("vnet4"), vec![vxlan(vni)])])
    };
    let alone = plan(&site(vec![web.clone(), twin(11)]), &web);
    assert_eq!(kinds(&alone), [(PointKind::Port, true), (PointKind::Uplink, true)]);
    let both = plan(&site(vec![web.clone(), twin(10)]), &web);
    assert_eq!(kinds(&both), [(PointKind::Port, true), (PointKind::Uplink, false)]);
    assert_eq!(
        both.points[1].refusal.as_deref(),
        Some(
            "net0: ambiguous: twin has the same MAC 52:54:00:00:00:01 in VXLAN 10; give one of \
             them another MAC"
        )
    );
    assert!(both.points[1].interfaces.is_empty());
}

#[test]
fn an_uplink_without_overlay_number_or_way_out_says_why() {
    let mut unknown = vxlan(1);
    unknown.vni = None;
    let mut internal = vnic("net1", WEB, Some("vnet4"), vec![]);
    internal.attachment.as_mut().unwrap().notes =
        vec!["internal only: no uplink leads out of virbr0".into()];
    let web = machine(
        "web",
        MachineKind::Vm,
        vec![vnic("net0", WEB, Some("vnet3"), vec![unknown]), internal],
    );
    assert_eq!(
        planned(&web).points[1].refusal.as_deref(),
        Some(
            "net0: its VXLAN number is not known (flow rules choose it, or it has none of \
             24 bits), so its frames cannot be told from other tenants'; net1: internal only: no uplink leads out of virbr0"
        )
    );
}

#[test]
fn a_container_can_also_be_seen_from_inside() {
    let web = machine(
        "web",
        MachineKind::Container,
        vec![vnic("eth0", WEB, Some("veth9"), vec![vxlan(1)])],
    );
    let plan = planned(&web);
    let all = [(PointKind::Port, true), (PointKind::Inside, true), (PointKind::Uplink, true)];
    assert_eq!(kinds(&plan), all);
    let inside = &plan.points[1].interfaces[0];
    assert_eq!(inside.name, "eth0");
    assert_eq!(inside.namespace_path.as_deref(), Some("/proc/4711/ns/net"));
    assert_eq!(inside.side, Side::Guest);
}

#[test]
fn without_a_device_the_port_is_refused_and_comes_last() {
    let web = machine("web", MachineKind::Vm, vec![vnic("net0", WEB, None, vec![vxlan(1)])]);
    let plan = planned(&web);
    assert_eq!(kinds(&plan), [(PointKind::Uplink, true), (PointKind::Port, false)]);
    assert!(plan.points[1].refusal.as_ref().unwrap().contains("SR-IOV"));
}

#[test]
fn a_macvtap_shows_what_the_vm_sends_as_outgoing() {
    let mut nic = vnic("net0", WEB, Some("macvtap0"), vec![]);
    nic.attachment.as_mut().unwrap().switch_kind = Some(SwitchKind::Macvtap);
    let plan = planned(&machine("web", MachineKind::Vm, vec![nic]));
    assert_eq!(plan.points[0].interfaces[0].side, Side::Guest);
}

#[test]
fn a_machine_that_does_not_run_can_be_seen_nowhere() {
    let mut web =
        machine("web", MachineKind::Vm, vec![vnic("net0", WEB, Some("vnet3"), vec![vxlan(1)])]);
    web.state = MachineState::Shutoff;
    let plan = planned(&web);
    assert_eq!(plan.best(), None);
    assert!(plan.points.iter().all(|p| p.refusal.as_deref() == Some("web does not run here")));
    assert!(plan.points.iter().all(|point| point.interfaces.is_empty()));
}

#[test]
fn a_machine_without_vnics_says_so() {
    let plan = planned(&machine("web", MachineKind::Vm, vec![]));
    assert_eq!(plan.points[0].refusal.as_deref(), Some("no vNIC of web is known"));
}

#[test]
fn of_a_machine_elsewhere_the_uplinks_of_its_overlays_here_are_a_place() {
    let there = |networks| {
        machine("web", MachineKind::Vm, vec![vnic("net0", WEB, Some("vnet3"), networks)])
    };
    let other = Mac([0x52, 0x54, 0, 0, 0, 2]);
    let here = |mac, networks| {
        let vnics = vec![vnic("net0", mac, Some("vnet9"), networks)];
        site(vec![machine("db", MachineKind::Vm, vnics)])
    };
    // Its own uplinks were called otherwise, and its tunnel went by another port.
    let mut far = vxlan(5001);
    (far.tunnel_port, far.uplinks) = (Some(8472), vec![uplink("up7", 70, UplinkChoice::Only)]);
    let point = peer(&here(other, vec![vxlan(5001)]), &there(vec![far.clone()]));
    assert_eq!((point.kind, point.refusal.as_deref()), (PointKind::Peer, None));
    let labels: Vec<&str> = point.interfaces.iter().map(|i| i.label.as_str()).collect();
    assert_eq!(labels, ["web elsewhere @ hv-1:eth0", "web elsewhere @ hv-1:eth1"]);
    let network = OnWire::Overlay {
        vni: Vni::new(5001).unwrap(),
        tunnel: Encapsulation::Vxlan,
        udp_port: Some(4789),
        vlan: None,
    };
    let identity = Identity { mac: WEB, network };
    assert_eq!(point.interfaces[0].ownership, Ownership::Shared(vec![identity]));
    assert!(point.misses[0].contains("does not exchange with machines on hv-1"));

    // Another overlay, a VLAN, and somebody here with its MAC in its overlay.
    let vlan = Network { vlan: VlanId::new(20), ..untagged(vxlan(1).uplinks) };
    let refused = [
        (here(other, vec![vxlan(5002)]), there(vec![far.clone()])),
        (here(other, vec![vlan.clone()]), there(vec![vlan])),
        (here(WEB, vec![vxlan(5001)]), there(vec![far])),
    ];
    for (site, web) in refused {
        let point = peer(&site, &web);
        assert!(!point.is_usable() && point.interfaces.is_empty(), "{:?}", point.refusal);
    }
}
