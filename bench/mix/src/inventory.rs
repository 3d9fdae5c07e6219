//! The inventory file: what overtap is told about the site.

use std::fmt::Write;

use crate::site::{self, Carrier, Network, Vm};

/// The whole file.
pub fn text() -> String {
    let mut text = String::from("# The site of overtap-mix: 8 tenants with equal addresses.\n");
    for network in (0..site::NETWORKS).map(Network) {
        let _ = writeln!(text, "\n[[network]]\nname = \"{}\"", network.name());
        let _ = writeln!(text, "tenant = \"{}\"", tenant_name(network.tenant()));
        let _ = writeln!(text, "vlan = {}", network.vlan());
        if network.carrier() != Carrier::Vlan {
            let (word, number) = (network.carrier().word(), network.number());
            let _ = writeln!(text, "tunnel = \"{word}\"\nvni = {number}");
        }
    }
    for vm in (0..site::VMS).map(Vm) {
        let address = vm.address();
        let _ = writeln!(text, "\n[[vm]]\nname = \"{}\"", vm.name());
        let _ = writeln!(text, "tenant = \"{}\"", tenant_name(vm.tenant()));
        let _ = writeln!(text, "host = \"{}\"", ["hv-a", "hv-b"][usize::from(vm.host())]);
        let _ = writeln!(
            text,
            "nics = [{{ mac = \"{}\", network = \"{}\", ips = [\"10.0.0.{address}\", \"fd00::{address:x}\"] }}]",
            site::mac_text(vm.mac()),
            vm.network().name(),
        );
    }
    text
}

pub fn tenant_name(tenant: u16) -> String {
    format!("tenant-{tenant}")
}
