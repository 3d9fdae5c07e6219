//! Names of addresses, for the name resolution block of the file.

use std::collections::BTreeMap;
use std::net::IpAddr;

use inventory::{Machine, Site};
use wire::Mac;

/// Names of the IP addresses of the whole site: both ends of a conversation get theirs.
///
/// Two tenants may use one address; a name that is right for one of them only is left out.
pub fn ip_names(site: &Site) -> Vec<(IpAddr, String)> {
    let mut names: BTreeMap<IpAddr, Option<&str>> = BTreeMap::new();
    for machine in &site.machines {
        for known in machine.vnics.iter().flat_map(|vnic| &vnic.ips) {
            let name = names.entry(known.ip).or_insert(Some(&machine.name));
            if *name != Some(&machine.name) {
                *name = None;
            }
        }
    }
    let named = names.into_iter().filter_map(|(ip, name)| Some((ip, name?.to_owned())));
    named.take(MOST_NAMES).collect()
}

/// Names of the VM's own MACs.
pub fn mac_names(machine: &Machine) -> Vec<(Mac, String)> {
    machine
        .vnics
        .iter()
        .filter_map(|vnic| Some((vnic.mac?, format!("{}/{}", machine.name, vnic.name))))
        .collect()
}

/// More would make the beginning of every file long.
const MOST_NAMES: usize = 1000;

#[cfg(test)]
mod tests {
    use inventory::KnownIp;
    use inventory::facts::Source;

    use super::*;
    use crate::fixture::{machine, site};

    fn with_ip(name: &str, last: u8) -> Machine {
        let mut machine = machine(name, "vnet3", 3);
        machine.vnics[0].ips.push(KnownIp { ip: [10, 0, 7, last].into(), source: Source::Libvirt });
        machine
    }

    #[test]
    fn an_address_that_two_machines_have_is_not_named() {
        let site = site(vec![
            with_ip("web", 10),
            with_ip("db", 20),
            with_ip("web-b", 10),
            with_ip("web", 10),
        ]);
        assert_eq!(ip_names(&site), [([10, 0, 7, 20].into(), "db".to_owned())]);
    }

    #[test]
    fn a_mac_is_named_for_its_vnic() {
        let names = mac_names(&machine("web", "vnet3", 3));
        assert_eq!(names, [(Mac([0x52, 0x54, 0, 0, 7, 10]), "web/net0".to_owned())]);
    }
}
