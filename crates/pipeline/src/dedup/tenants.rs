//! Whether two equal packets may be one: never if they may be two tenants'.
//!
//! Tenants reuse addresses, MACs and whole images, so equal bytes prove nothing; the network does
//! (docs/decisions/0005-whose-copies-are-one.md). What a [`TenantMap`] does not say is judged by
//! the names the packets have, and two names that differ are two tenants.

use std::collections::BTreeMap;
use std::fmt;

use crate::network::{Network, Overlay, OverlayKind, Relation};

/// Which networks are whose: from an inventory, or from a text a person has written.
///
/// The text has one tenant a line: its name, a colon, and its networks, separated by commas. A
/// network is `vni N` (VXLAN and GENEVE), `vxlan N`, `geneve N`, `gre N` (the whole key),
/// `nvgre N`, `mpls N`, `vlan N`, or `point NAME`: whatever an interface of this name shows
/// without naming a network. `#` begins a comment.
///
/// ```
/// let map: pipeline::TenantMap = "acme: vni 5001, vlan 100, point vnet3".parse().unwrap();
/// assert!(!map.is_empty());
/// ```
#[derive(Debug, Clone, Default)]
pub struct TenantMap {
    names: Vec<String>,
    networks: BTreeMap<NetworkName, u32>,
    points: BTreeMap<String, u32>,
}

/// A network as a person or an inventory names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NetworkName {
    /// The VNI of VXLAN.
    Vxlan(u32),
    /// The VNI of GENEVE.
    Geneve(u32),
    /// The whole key of GRE.
    Gre(u32),
    /// The VSID of NVGRE: the upper 24 bits of the key.
    Nvgre(u32),
    /// The label next to the frame.
    Mpls(u32),
    /// The only or outermost VLAN.
    Vlan(u16),
}

impl TenantMap {
    /// Says that `network` is that of `tenant`. Of a network that is said to be two tenants' the
    /// first stays, and the answer is its name.
    pub fn add(&mut self, tenant: &str, network: NetworkName) -> Result<(), NamedTwice> {
        let number = self.number(tenant);
        let owner = *self.networks.entry(network).or_insert(number);
        self.same(owner, number, network.to_string())
    }

    /// Says that what the point called `point` shows without a network's name is that of `tenant`.
    pub fn add_point(&mut self, tenant: &str, point: &str) -> Result<(), NamedTwice> {
        let number = self.number(tenant);
        let owner = *self.points.entry(point.to_owned()).or_insert(number);
        self.same(owner, number, format!("point {point}"))
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.points.is_empty()
    }

    /// The tenant of what a point called `point` shows without naming a network.
    pub(super) fn of_point(&self, point: &str) -> Option<u32> {
        self.points.get(point).copied()
    }

    /// The tenant of a network, by its overlay if it has one, else by its VLAN.
    fn of_network(&self, network: &Network) -> Option<u32> {
        let find = |name| self.networks.get(&name).copied();
        match network.overlay {
            Some(Overlay { kind, number }) => match kind {
                OverlayKind::Vxlan => find(NetworkName::Vxlan(number)),
                OverlayKind::Geneve => find(NetworkName::Geneve(number)),
                OverlayKind::Gre => {
                    find(NetworkName::Gre(number)).or_else(|| find(NetworkName::Nvgre(number >> 8)))
                }
                OverlayKind::Mpls => find(NetworkName::Mpls(number)),
                _ => None,
            },
            None if network.vlans == 0 => None,
            None => {
                let outer =
                    if network.vlans >> 12 == 0 { network.vlans } else { network.vlans >> 12 };
                find(NetworkName::Vlan(u16::try_from(outer).ok()?))
            }
        }
    }

    fn number(&mut self, tenant: &str) -> u32 {
        let found = self.names.iter().position(|name| name == tenant);
        let index = found.unwrap_or_else(|| {
            self.names.push(tenant.to_owned());
            self.names.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    fn same(&self, owner: u32, number: u32, network: String) -> Result<(), NamedTwice> {
        let name = |number: u32| self.names.get(number as usize).cloned().unwrap_or_default();
        if owner == number {
            Ok(())
        } else {
            Err(NamedTwice { network, first: name(owner), second: name(number) })
        }
    }
}

/// One network that was said to be two tenants'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTwice {
    /// The network.
    pub network: String,
    /// Whose it stays.
    pub first: String,
    /// Who else was named.
    pub second: String,
}

impl fmt::Display for NamedTwice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, first, second } = self;
        write!(f, "{network} cannot be that of {first} and of {second}")
    }
}

impl std::error::Error for NamedTwice {}

impl std::str::FromStr for TenantMap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut map = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let wrong = |what: &str| format!("line {}: {what}", index + 1);
            let (tenant, networks) = line
                .split_once(':')
                .ok_or_else(|| wrong("expected a tenant, a colon and its networks"))?;
            for network in networks.split(',').map(str::trim).filter(|word| !word.is_empty()) {
                map.add_words(tenant.trim(), network).map_err(|what| wrong(&what))?;
            }
        }
        Ok(map)
    }
}

impl TenantMap {
    fn add_words(&mut self, tenant: &str, words: &str) -> Result<(), String> {
        let (kind, name) = words.split_once(char::is_whitespace).unwrap_or((words, ""));
        let name = name.trim();
        if kind == "point" && !name.is_empty() {
            return self.add_point(tenant, name).map_err(|error| error.to_string());
        }
        let number = || {
            name.parse::<u32>().map_err(|_| format!("`{words}`: expected a number after {kind}"))
        };
        let below = |limit: u32| {
            let number = number()?;
            if number < limit { Ok(number) } else { Err(format!("{kind} {number} is too large")) }
        };
        const VNIS: u32 = 1 << 24;
        let networks = match kind {
            "vni" => {
                let number = below(VNIS)?;
                vec![NetworkName::Vxlan(number), NetworkName::Geneve(number)]
            }
            "vxlan" => vec![NetworkName::Vxlan(below(VNIS)?)],
            "geneve" => vec![NetworkName::Geneve(below(VNIS)?)],
            "gre" => vec![NetworkName::Gre(number()?)],
            "nvgre" => vec![NetworkName::Nvgre(below(VNIS)?)],
            "mpls" => vec![NetworkName::Mpls(below(1 << 20)?)],
            "vlan" => vec![NetworkName::Vlan(u16::try_from(below(4096)?).unwrap_or(u16::MAX))],
            _ => {
                return Err(format!(
                    "`{words}` is no network; use vni, vxlan, geneve, gre, nvgre, mpls or vlan and \
                     a number, or point and a name"
                ));
            }
        };
        for network in networks {
            self.add(tenant, network).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vxlan(number) => write!(f, "vxlan {number}"),
            Self::Geneve(number) => write!(f, "geneve {number}"),
            Self::Gre(number) => write!(f, "gre {number}"),
            Self::Nvgre(number) => write!(f, "nvgre {number}"),
            Self::Mpls(number) => write!(f, "mpls {number}"),
            Self::Vlan(number) => write!(f, "vlan {number}"),
        }
    }
}

/// Whose packets may be copies of each other.
#[derive(Debug, Clone)]
pub enum Tenants {
    /// All packets are one tenant's: whoever says so knows the site.
    One,
    /// Those the map says; where it says nothing, networks of equal names.
    Mapped(TenantMap),
}

impl Default for Tenants {
    /// Networks of equal names.
    fn default() -> Self {
        Self::Mapped(TenantMap::default())
    }
}

impl Tenants {
    /// How the owners of two packets stand to each other. `point` is the tenant of a packet's
    /// observation point, where the map names it.
    pub(super) fn relation(
        &self,
        (one, one_point): (&Network, Option<u32>),
        (other, other_point): (&Network, Option<u32>),
    ) -> Relation {
        let Self::Mapped(map) = self else { return Relation::Same };
        // What a point says counts only where a packet names no network.
        if map.is_empty() || one == other && !one.is_unnamed() {
            return one.relation(other);
        }
        let tenant = |network: &Network, point: Option<u32>| {
            map.of_network(network).or(point.filter(|_| network.is_unnamed()))
        };
        match (tenant(one, one_point), tenant(other, other_point)) {
            (Some(one), Some(other)) if one == other => Relation::Same,
            (Some(_), Some(_)) => Relation::OtherTenant,
            _ => one.relation(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(kind: OverlayKind, number: u32) -> Network {
        Network { overlay: Some(Overlay { kind, number }), vlans: 0 }
    }

    fn vlan(vlans: u32) -> Network {
        Network { overlay: None, vlans }
    }

    const NOTHING: Network = Network { overlay: None, vlans: 0 };

    #[test]
    fn without_a_map_names_that_differ_are_two_tenants() {
        let tenants = Tenants::default();
        let relation = |a: Network, b: Network| tenants.relation((&a, None), (&b, None));
        let vni = overlay(OverlayKind::Vxlan, 5001);
        assert_eq!(relation(vni, vni), Relation::Same);
        assert_eq!(relation(vni, overlay(OverlayKind::Vxlan, 5002)), Relation::Different);
        assert_eq!(relation(vni, overlay(OverlayKind::Geneve, 5001)), Relation::Different);
        assert_eq!(relation(vni, vlan(100)), Relation::Different, "nothing says they are one");
        assert_eq!(relation(vlan(100), vlan(100)), Relation::Same);
        assert_eq!(relation(vlan(100), vlan(200)), Relation::Different);
        assert_eq!(relation(NOTHING, NOTHING), Relation::Same);
        assert_eq!(relation(NOTHING, vlan(100)), Relation::Unsaid);
        assert_eq!(relation(NOTHING, vni), Relation::Unsaid);
        assert_eq!(relation(Network { vlans: 7, ..vni }, vni), Relation::Unsaid);
        assert_eq!(relation(Network { vlans: 7, ..vni }, vlan(8)), Relation::Different);
    }

    #[test]
    fn a_map_joins_and_parts_networks_whatever_their_names() {
        let text = "# two tenants\nacme: vni 5001, vlan 100, nvgre 9, point vnet3\n\
                    wile : gre 7001, vlan 200,";
        let tenants = Tenants::Mapped(text.parse().unwrap());
        let Tenants::Mapped(map) = &tenants else { unreachable!() };
        let acme = map.of_point("vnet3");
        let relation = |a: Network, b: Network| tenants.relation((&a, None), (&b, None));
        let vni = overlay(OverlayKind::Geneve, 5001);
        assert_eq!(relation(vni, vlan(100)), Relation::Same);
        assert_eq!(relation(vni, vlan(200)), Relation::OtherTenant);
        assert_eq!(
            relation(vlan(100), vlan(100 << 12 | 5)),
            Relation::Same,
            "the outer tag counts"
        );
        assert_eq!(relation(overlay(OverlayKind::Gre, 9 << 8 | 77), vni), Relation::Same);
        assert_eq!(relation(overlay(OverlayKind::Gre, 7001), vlan(200)), Relation::Same);
        assert_eq!(relation(vni, vlan(300)), Relation::Different, "not in the map: by the names");
        assert_eq!(tenants.relation((&NOTHING, acme), (&vni, None)), Relation::Same);
        assert_eq!(tenants.relation((&NOTHING, acme), (&vlan(200), None)), Relation::OtherTenant);
        assert_eq!(tenants.relation((&vlan(200), acme), (&vni, None)), Relation::OtherTenant);
    }

    #[test]
    fn what_is_no_map_is_refused_with_its_line() {
        for (text, expected) in [
            ("acme", "line 1: expected a tenant, a colon and its networks"),
            ("\nacme: vni x", "line 2: `vni x`: expected a number after vni"),
            ("acme: vlan 4096", "line 1: vlan 4096 is too large"),
            ("a: vlan 1\nb: vlan 1", "line 2: vlan 1 cannot be that of a and of b"),
        ] {
            assert_eq!(text.parse::<TenantMap>().unwrap_err(), expected);
        }
        assert!("acme: lan 7".parse::<TenantMap>().unwrap_err().contains("`lan 7` is no network"));
    }
}
