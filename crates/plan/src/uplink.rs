//! The uplinks: what of a machine leaves the host, told from its neighbours' by network and MAC.

use std::collections::BTreeSet;

use inventory::{Attachment, Machine, Network, Site, Uplink, UplinkChoice, Vnic};
use select::bpf::{Precision, TagPlace, prefilter};
use select::{Encapsulation, Identity, OnWire, Ownership};
use wire::Mac;

use crate::point::{Interface, Point, PointKind, Side, machine_label};
use crate::port::count;

/// All uplinks that carry frames of the machine, all members of a NIC team included.
pub(crate) fn uplink(site: &Site, machine: &Machine) -> Point {
    let mut found = Found::default();
    for vnic in &machine.vnics {
        found.add_vnic(site, machine, vnic);
    }
    let interfaces: Vec<_> = found.wires.iter().map(|wire| wire.interface(site, machine)).collect();
    let refusal = interfaces.is_empty().then(|| {
        if found.refusals.is_empty() {
            format!("no vNIC of {} is known", machine.name)
        } else {
            found.refusals.join("; ")
        }
    });
    let has_tunnel = found.networks.iter().any(|n| matches!(n, OnWire::Overlay { .. }));
    let mut sees = "what leaves or enters the host, as it is on the wire".to_owned();
    if has_tunnel {
        sees += ", in its tunnel";
    }
    if found.has_copies {
        sees += "; broadcast and multicast once for every remote tunnel end point";
    }
    Point {
        kind: PointKind::Uplink,
        vnics: found.vnics.clone(),
        sees,
        misses: if refusal.is_some() { Vec::new() } else { found.misses(has_tunnel) },
        costs: costs(&interfaces),
        disturbs: UNDISTURBED.to_owned(),
        interfaces,
        refusal,
    }
}

/// The uplinks of this host that show what a machine elsewhere exchanges with machines here: those of
/// the overlays that it was last known in and machines here are in. Other networks are left out,
/// because their numbers mean something else at every host.
pub fn peer(site: &Site, machine: &Machine) -> Point {
    let mut found = Found::default();
    for vnic in &machine.vnics {
        for network in vnic.attachment.iter().flat_map(|place| &place.networks) {
            let (Some(mac), Ok(there)) = (vnic.mac, on_wire(network)) else { continue };
            // The same number may go by other uplinks here, and by another port.
            let networks = site.machines.iter().filter(|other| other.id != machine.id);
            let networks = networks.flat_map(|other| &other.vnics);
            let networks = networks.flat_map(|vnic| vnic.attachment.iter());
            let here = networks.flat_map(|place| &place.networks).find(|here| {
                matches!(there, OnWire::Overlay { .. })
                    && !here.uplinks.is_empty()
                    && on_wire(here).is_ok_and(|here| is_same_overlay(here, there))
            });
            let Some(here) = here else { continue };
            match found.identify(site, machine, mac, here) {
                Ok(identity) => found.add(vnic, here, identity),
                Err(reason) => found.refuse(vnic, &reason),
            }
        }
    }
    let host = &site.host.name;
    let interface = |wire: &Wire<'_>| {
        let interface = wire.interface(site, machine);
        let label = format!("{} elsewhere @ {host}:{}", machine.name, interface.name);
        let description = format!("{}, which runs elsewhere", interface.description);
        Interface { label, description, choice: None, ..interface }
    };
    let interfaces: Vec<_> = found.wires.iter().map(interface).collect();
    let refusal = interfaces.is_empty().then(|| match found.refusals.as_slice() {
        [] => format!("no machine on {host} is in an overlay of {}", machine.name),
        refusals => refusals.join("; "),
    });
    let misses = vec![
        format!("all that {} does not exchange with machines on {host}", machine.name),
        "what becomes of its frames on the host it runs on".to_owned(),
    ];
    Point {
        kind: PointKind::Peer,
        vnics: machine.vnics.iter().map(|vnic| vnic.name.clone()).collect(),
        sees: format!("what it exchanges with machines on {host}, in its tunnel"),
        misses: if refusal.is_some() { Vec::new() } else { misses },
        costs: costs(&interfaces),
        disturbs: UNDISTURBED.to_owned(),
        interfaces,
        refusal,
    }
}

/// Whether both are one overlay, whatever port and VLAN they use at their hosts.
fn is_same_overlay(left: OnWire, right: OnWire) -> bool {
    match (left, right) {
        (OnWire::Overlay { vni, tunnel, .. }, OnWire::Overlay { vni: other, tunnel: kind, .. }) => {
            vni == other && tunnel == kind
        }
        _ => false,
    }
}

/// What is known about the ways out.
#[derive(Default)]
struct Found<'a> {
    wires: Vec<Wire<'a>>,
    networks: BTreeSet<OnWire>,
    vnics: Vec<String>,
    has_copies: bool,
    /// Why something of the machine cannot be told from others on a wire.
    refusals: Vec<String>,
}

/// An uplink and what of the machine is on it.
struct Wire<'a> {
    uplink: &'a Uplink,
    team: Option<&'a str>,
    identities: Vec<Identity>,
    vnics: Vec<&'a str>,
}

impl<'a> Found<'a> {
    fn add_vnic(&mut self, site: &Site, machine: &Machine, vnic: &'a Vnic) {
        let Some(place) = &vnic.attachment else {
            return self.refuse(vnic, "it is attached nowhere on this host");
        };
        let Some(mac) = vnic.mac else {
            return self.refuse(vnic, "its MAC is not known, and nothing else names it on a wire");
        };
        if place.networks.is_empty() {
            return self.refuse(vnic, &no_way_out(place));
        }
        let mut is_seen = false;
        for network in &place.networks {
            match self.identify(site, machine, mac, network) {
                Ok(identity) => {
                    self.add(vnic, network, identity);
                    is_seen = true;
                }
                Err(reason) => self.refuse(vnic, &reason),
            }
        }
        if is_seen {
            self.vnics.push(vnic.name.clone());
        }
    }

    /// The name of the vNIC on this network's wires, if it is certainly nobody else's.
    fn identify(
        &self,
        site: &Site,
        machine: &Machine,
        mac: Mac,
        network: &Network,
    ) -> Result<Identity, String> {
        let on_wire = on_wire(network)?;
        if network.uplinks.is_empty() {
            return Err(format!("no uplink is known for {on_wire}"));
        }
        let other = site.machines.iter().filter(|other| other.id != machine.id).find(|other| {
            other.vnics.iter().filter(|vnic| vnic.mac == Some(mac)).any(|vnic| {
                let networks = vnic.attachment.iter().flat_map(|place| &place.networks);
                networks
                    .filter(|theirs| may_share_wire(network, theirs))
                    .filter_map(|theirs| self::on_wire(theirs).ok())
                    .any(|theirs| is_same(on_wire, theirs))
            })
        });
        if let Some(other) = other {
            return Err(format!(
                "ambiguous: {} has the same MAC {mac} in {on_wire}; give one of them another MAC",
                other.name
            ));
        }
        Ok(Identity { mac, network: on_wire })
    }

    fn add(&mut self, vnic: &'a Vnic, network: &'a Network, identity: Identity) {
        self.networks.insert(identity.network);
        self.has_copies |= network.remotes.len() > 1;
        for uplink in &network.uplinks {
            let is_it = |wire: &Wire<'_>| {
                wire.uplink.device == uplink.device && wire.uplink.ifindex == uplink.ifindex
            };
            let wire = match self.wires.iter().position(is_it) {
                Some(known) => self.wires.get_mut(known),
                None => {
                    let team = network.team.as_deref();
                    self.wires.push(Wire { uplink, team, identities: vec![], vnics: vec![] });
                    self.wires.last_mut()
                }
            };
            let Some(wire) = wire else { continue };
            if !wire.identities.contains(&identity) {
                wire.identities.push(identity);
            }
            if !wire.vnics.contains(&vnic.name.as_str()) {
                wire.vnics.push(&vnic.name);
            }
        }
    }

    fn refuse(&mut self, vnic: &Vnic, reason: &str) {
        self.refusals.push(format!("{}: {reason}", vnic.name));
    }

    fn misses(&self, has_tunnel: bool) -> Vec<String> {
        let mut misses = vec![
            "traffic between machines on this host: it never reaches an uplink".to_owned(),
            "what the switch drops or answers itself".to_owned(),
        ];
        if has_tunnel {
            misses.push(
                "a later IP fragment of a tunnel packet whose first one does not come within half a \
                 second: counted as undecidable"
                    .to_owned(),
            );
        }
        if self.networks.contains(&OnWire::Untagged) {
            misses.push("frames that the machine tags itself".to_owned());
        }
        misses.extend(self.refusals.iter().map(|reason| format!("all of {reason}")));
        misses
    }
}

impl Wire<'_> {
    fn interface(&self, site: &Site, machine: &Machine) -> Interface {
        let device = &self.uplink.device;
        let networks: BTreeSet<_> = self.identities.iter().map(|i| i.network).collect();
        let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
        let mut description = format!("uplink {device}");
        if let Some(team) = self.team {
            description += &format!(" of {team}");
        }
        description += &format!(
            " ({}), only frames of {} in {}",
            carries(self.uplink.choice),
            machine.name,
            networks.join(", ")
        );
        Interface {
            name: device.clone(),
            ifindex: self.uplink.ifindex,
            namespace_path: None,
            vnic: self.vnics.join(","),
            mac: None,
            label: format!("{}{device}", machine_label(&machine.name, &site.host.name)),
            description,
            ownership: Ownership::Shared(self.identities.clone()),
            side: Side::Shared,
            choice: Some(self.uplink.choice),
        }
    }
}

/// How the frames of a network look on its uplinks.
pub(crate) fn on_wire(network: &Network) -> Result<OnWire, String> {
    let tunnel = match network.tunnel.as_deref() {
        None if network.vni.is_some() => {
            return Err("the kind of its tunnel is not known".to_owned());
        }
        None => return Ok(network.vlan.map_or(OnWire::Untagged, OnWire::Vlan)),
        Some("vxlan") => Encapsulation::Vxlan,
        Some("geneve") => Encapsulation::Geneve,
        Some("gre") => Encapsulation::Gre,
        Some("nvgre") => Encapsulation::Nvgre,
        Some("erspan") => Encapsulation::Erspan,
        Some("vntag") => Encapsulation::VnTag,
        Some(other) => return Err(format!("{other} tunnels cannot be told apart by tenant")),
    };
    let Some(vni) = network.vni else {
        return Err(format!(
            "its {tunnel} number is not known (flow rules choose it, or it has none of 24 bits), \
             so its frames cannot be told from other tenants'"
        ));
    };
    Ok(OnWire::Overlay { vni, tunnel, udp_port: network.tunnel_port, vlan: network.vlan })
}

/// Whether frames of both may be on one uplink. What leaves by an uplink nobody knows may be on any.
fn may_share_wire(left: &Network, right: &Network) -> bool {
    let wire = |uplink: &Uplink| (uplink.device.clone(), uplink.ifindex);
    right.uplinks.is_empty()
        || left.uplinks.iter().any(|l| right.uplinks.iter().any(|r| wire(l) == wire(r)))
}

/// Whether a MAC in one of them could be taken for the same MAC in the other.
pub(crate) fn is_same(left: OnWire, right: OnWire) -> bool {
    // Where VLANs share an overlay number, an untagged frame may be of any of them.
    let without_vlan = |network| match network {
        OnWire::Overlay { vni, tunnel, udp_port: _, vlan: _ } => {
            OnWire::Overlay { vni, tunnel, udp_port: network.udp_port(), vlan: None }
        }
        plain => plain,
    };
    without_vlan(left) == without_vlan(right)
}

fn no_way_out(place: &Attachment) -> String {
    if place.notes.is_empty() {
        "no way out of the host is known".to_owned()
    } else {
        place.notes.join("; ")
    }
}

/// What it costs the host to look at these uplinks.
fn costs(interfaces: &[Interface]) -> String {
    let programs: Vec<_> =
        interfaces.iter().map(|i| prefilter(&i.ownership, 0, TagPlace::MetadataOrBytes)).collect();
    let longest = programs.iter().map(select::bpf::Program::len).max().unwrap_or(0);
    let mut costs = format!(
        "a kernel program of {} for each frame of {}; ring memory for each",
        count(longest, "instruction"),
        count(interfaces.len(), "uplink")
    );
    let worst = programs.iter().map(select::bpf::Program::precision).max();
    if let Some(precision) = worst.filter(|precision| *precision != Precision::Identity) {
        costs += &format!("; too long to tell more than {precision}");
    }
    costs
}

const UNDISTURBED: &str = "nobody: not promiscuous; neighbours' frames are refused in the kernel, \
                           the few it cannot judge before anything is kept of them";

/// How sure it is that the frames take an uplink.
fn carries(choice: UplinkChoice) -> &'static str {
    match choice {
        UplinkChoice::Only => "the only one",
        UplinkChoice::Reported => "active, as the switch reports",
        UplinkChoice::Standby => "standby, in use after a failover",
        UplinkChoice::Shared => "any member of the team may carry a frame",
        UplinkChoice::Computed => "now, as calculated from the team's hash",
    }
}
