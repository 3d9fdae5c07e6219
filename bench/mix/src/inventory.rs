//! The inventory file: what overtap is told about the site (docs/reference/inventory-file.md).

use std::fmt::Write;

use crate::site::{self, Carrier, Network, Vm};

/// The whole file.
pub fn text() -> String {
    let mut text = String::from("# The site of overtap-mix: 8 tenants with equal addresses.\n");
    for vm in (0..site::VMS).map(Vm) {
        let (network, address) = (vm.network(), vm.address());
        let _ = write!(
            text,
            "
[[vms]]
name = \"{}\"
tenant = \"{}\"
host = \"{}\"

[[vms.vnics]]
mac = \"{}\"
ips = [\"10.0.0.{address}\", \"fd00::{address:x}\"]
port_group = \"{}\"
networks = [{}]
",
            vm.name(),
            tenant_name(vm.tenant()),
            ["hv-a", "hv-b"][usize::from(vm.host())],
            site::mac_text(vm.mac()),
            network.name(),
            names_on_wire(network),
        );
    }
    text
}

/// The networks for the floors: carrier, number and tenant in a line. Each is a VLAN as well.
pub fn networks() -> String {
    let mut text = String::new();
    for network in (0..site::NETWORKS).map(Network) {
        let tenant = network.tenant();
        let _ = writeln!(text, "vlan {} {tenant}", network.vlan());
        if network.carrier() != Carrier::Vlan {
            let _ = writeln!(text, "{} {} {tenant}", network.carrier().word(), network.number());
        }
    }
    text
}

pub fn tenant_name(tenant: u16) -> String {
    format!("tenant-{tenant}")
}

/// In its tunnel, with its tag on a vSwitch, and in its mirror with that tag or, where the switch
/// has moved it to the ERSPAN header, without.
fn names_on_wire(network: Network) -> String {
    let (vlan, session) = (network.vlan(), network.mirror_session());
    let plain = format!("{{ vlan = {vlan} }}, {{ erspan = {session}, vlan = {vlan} }}");
    match network.carrier() {
        Carrier::Vlan => plain,
        carrier => format!("{{ {} = {} }}, {plain}", carrier.word(), network.number()),
    }
}
