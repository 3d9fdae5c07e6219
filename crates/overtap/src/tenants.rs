//! Whose networks are whose, for telling copies from packets of other tenants.

use std::path::Path;

use anyhow::Context;
use inventory::History;
use pipeline::{NetworkName, TenantMap, Tenants};

/// What `--tenant-map` names: a file, or the word `one`.
///
/// Without it, what the inventory says; see [`of_history`].
pub(crate) fn named(word: &Path) -> anyhow::Result<Tenants> {
    if word == Path::new("one") {
        return Ok(Tenants::One);
    }
    let text =
        std::fs::read_to_string(word).with_context(|| format!("cannot read {}", word.display()))?;
    let map: TenantMap =
        text.parse().map_err(|error| anyhow::anyhow!("{}: {error}", word.display()))?;
    Ok(Tenants::Mapped(map))
}

/// The networks of every VM as those of its tenant, whenever they were; of a VM without a tenant
/// as a tenant of its port group's name, for all its names mean one network. A network that would
/// be two tenants' is said and left out of the second.
pub(crate) fn of_history(history: &History) -> TenantMap {
    let mut map = TenantMap::default();
    let mut notes = std::collections::BTreeSet::new();
    for card in history.cards() {
        let machine = &card.episode.machine;
        let Some(place) = &card.vnic.attachment else { continue };
        let tenant = match (&machine.tenant, &place.port_group) {
            (Some(tenant), _) => format!("tenant {tenant}"),
            (None, Some(group)) => format!("port group {group}"),
            (None, None) => format!("VM {}", machine.name),
        };
        for network in &place.networks {
            for name in names(network).into_iter().flatten() {
                if let Err(twice) = map.add(&tenant, name) {
                    notes.insert(twice.to_string());
                }
            }
        }
    }
    for note in notes {
        eprintln!("overtap: {note}; its packets count as the former's");
    }
    map
}

/// How packets of a network name it: by its overlay number and, beside it or alone, by a VLAN;
/// `None` is no name at all. What only names a mirror or a port is left out.
pub(crate) fn names(network: &inventory::Network) -> Vec<Option<NetworkName>> {
    let vlan = network.vlan.map(wire::VlanId::value).filter(|vlan| *vlan != 0);
    let vlan = vlan.map(NetworkName::Vlan);
    let number = network.vni.map(wire::Vni::value);
    let overlay = match (network.tunnel.as_deref(), number) {
        (None, _) => return vec![vlan],
        (Some("vxlan"), Some(number)) => Some(NetworkName::Vxlan(number)),
        (Some("geneve"), Some(number)) => Some(NetworkName::Geneve(number)),
        (Some("gre"), Some(number)) => Some(NetworkName::Gre(number)),
        (Some("nvgre"), Some(number)) => Some(NetworkName::Nvgre(number)),
        _ => None,
    };
    [overlay, vlan].into_iter().filter(Option::is_some).collect()
}
