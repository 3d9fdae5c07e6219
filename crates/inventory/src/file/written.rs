//! The schema of the inventory file, and the history it tells.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Deserialize;
use serde::de::{self, Deserializer};
use wire::{Mac, Timestamp, VlanId, Vni};

use super::value::{self, Time, Word};
use crate::facts::{NamespaceId, Source, Uuid};
use crate::history::{Episode, History, Period};
use crate::site::{
    Attachment, Host, KnownIp, Machine, MachineId, MachineKind, MachineState, Network, Vnic,
};

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    #[serde(default, rename = "version")]
    _version: Version,
    #[serde(default)]
    hosts: Vec<KnownHost>,
    #[serde(default)]
    vms: Vec<Vm>,
}

impl Document {
    pub(super) fn into_history(self) -> History {
        let mut history = History::new(self.vms.into_iter().flat_map(Vm::into_episodes));
        for host in self.hosts {
            history.add_host(host.name.0);
        }
        history
    }
}

/// The only version so far.
#[derive(Default)]
struct Version;

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match u32::deserialize(from)? {
            1 => Ok(Self),
            other => Err(de::Error::custom(format_args!(
                "version {other} of the inventory file is not known; this overtap reads version 1"
            ))),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownHost {
    name: Word,
    /// For people: where the host stands.
    #[serde(rename = "site")]
    _site: Option<Word>,
}

/// A VM on one host for one time.
struct Vm {
    written: WrittenVm,
    during: Period,
    /// Where something of it changes, in order, without the beginning of all.
    changes: BTreeSet<Timestamp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenVm {
    name: Word,
    #[serde(default)]
    aliases: Vec<Word>,
    #[serde(default, deserialize_with = "value::uuid")]
    uuid: Option<Uuid>,
    tenant: Option<Word>,
    host: Option<Word>,
    since: Option<Time>,
    until: Option<Time>,
    #[serde(default)]
    vnics: Vec<Card>,
}

/// A vNIC of it.
struct Card {
    written: WrittenCard,
    during: Period,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCard {
    name: Option<Word>,
    #[serde(deserialize_with = "value::mac")]
    mac: Mac,
    #[serde(default)]
    ips: Vec<IpAddr>,
    port_group: Option<Word>,
    switch: Option<Word>,
    tap: Option<Word>,
    since: Option<Time>,
    until: Option<Time>,
    #[serde(default)]
    networks: Vec<Way>,
}

/// How a shared wire names it.
struct Way {
    network: Network,
    during: Period,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenWay {
    vxlan: Option<u64>,
    geneve: Option<u64>,
    gre: Option<u64>,
    nvgre: Option<u64>,
    erspan: Option<u64>,
    vntag: Option<u64>,
    vlan: Option<u64>,
    untagged: Option<bool>,
    udp_port: Option<u64>,
    since: Option<Time>,
    until: Option<Time>,
}

impl Vm {
    /// One episode for each time in which nothing of it changes.
    fn into_episodes(self) -> Vec<Episode> {
        let starts = std::iter::once(self.during.from).chain(self.changes.iter().copied());
        let ends = self.changes.iter().copied().map(Some).chain([self.during.until]);
        starts
            .zip(ends)
            .map(|(from, until)| Episode {
                host: self.host(),
                machine: self.machine_at(from),
                during: Period { from, until },
            })
            .collect()
    }

    fn host(&self) -> Host {
        Host { name: self.written.host.as_ref().map_or_else(String::new, |h| h.0.clone()) }
    }

    fn machine_at(&self, time: Timestamp) -> Machine {
        let WrittenVm { name, aliases, uuid, tenant, vnics, .. } = &self.written;
        let tenant = tenant.as_ref().map(|t| t.0.clone());
        let full_name = || match &tenant {
            Some(tenant) => format!("{tenant}/{}", name.0),
            None => name.0.clone(),
        };
        let id = uuid.map_or_else(|| MachineId::Written(full_name()), MachineId::Uuid);
        let there = vnics.iter().enumerate().filter(|(_, card)| card.during.contains(time));
        Machine {
            id,
            name: name.0.clone(),
            aliases: aliases.iter().map(|alias| alias.0.clone()).collect(),
            kind: MachineKind::Vm,
            state: MachineState::Running,
            tenant,
            vnics: there.map(|(index, card)| card.vnic_at(index, time)).collect(),
            pid: None,
            namespace_path: None,
            since: None,
            evidence: Vec::new(),
        }
    }
}

impl<'de> Deserialize<'de> for Vm {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        value::checked::<WrittenVm, _, _>(from)
    }
}

impl TryFrom<WrittenVm> for Vm {
    type Error = String;

    fn try_from(written: WrittenVm) -> Result<Self, String> {
        let during = period(written.since, written.until)?;
        let mut changes = BTreeSet::new();
        for card in &written.vnics {
            let mac = card.written.mac;
            let of_card = during.intersection(card.during).ok_or_else(|| {
                format!("vNIC {mac} has no time in common with its VM {}", written.name.0)
            })?;
            changes.extend(bounds(of_card));
            for way in &card.written.networks {
                let common = of_card.intersection(way.during).ok_or_else(|| {
                    format!("{} has no time in common with its vNIC {mac}", way.network)
                })?;
                changes.extend(bounds(common));
            }
        }
        changes.remove(&during.from);
        if let Some(until) = during.until {
            changes.remove(&until);
        }
        if changes.len() > MAX_CHANGES {
            return Err(format!(
                "{} changes {} times within one entry; at most {MAX_CHANGES} are read: write \
                 several entries, each with its `since` and `until`",
                written.name.0,
                changes.len()
            ));
        }
        Ok(Self { written, during, changes })
    }
}

fn bounds(period: Period) -> impl Iterator<Item = Timestamp> {
    std::iter::once(period.from).chain(period.until)
}

impl Card {
    fn vnic_at(&self, index: usize, time: Timestamp) -> Vnic {
        let WrittenCard { name, mac, ips, port_group, switch, tap, networks, .. } = &self.written;
        let text = |word: &Option<Word>| word.as_ref().map(|word| word.0.clone());
        let networks = networks.iter().filter(|way| way.during.contains(time));
        let attachment = Attachment {
            device: text(tap),
            ifindex: None,
            namespace: NamespaceId::default(),
            namespace_path: None,
            switch: text(switch),
            switch_kind: None,
            port: None,
            port_id: None,
            port_group: text(port_group),
            networks: networks.map(|way| way.network.clone()).collect(),
            notes: Vec::new(),
            since: None,
        };
        Vnic {
            name: text(name).unwrap_or_else(|| format!("net{index}")),
            mac: Some(*mac),
            ips: ips.iter().map(|ip| KnownIp { ip: *ip, source: Source::File }).collect(),
            attachment: Some(attachment),
        }
    }
}

impl<'de> Deserialize<'de> for Card {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        value::checked::<WrittenCard, _, _>(from)
    }
}

impl TryFrom<WrittenCard> for Card {
    type Error = String;

    fn try_from(written: WrittenCard) -> Result<Self, String> {
        let during = period(written.since, written.until)?;
        Ok(Self { written, during })
    }
}

impl<'de> Deserialize<'de> for Way {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        value::checked::<WrittenWay, _, _>(from)
    }
}

impl TryFrom<WrittenWay> for Way {
    type Error = String;

    fn try_from(written: WrittenWay) -> Result<Self, String> {
        let during = period(written.since, written.until)?;
        let tunnels = [
            ("vxlan", written.vxlan, MAX_VNI),
            ("geneve", written.geneve, MAX_VNI),
            ("gre", written.gre, MAX_VNI),
            ("nvgre", written.nvgre, MAX_VNI),
            ("erspan", written.erspan, MAX_SESSION),
            ("vntag", written.vntag, MAX_VIF),
        ];
        let mut named =
            tunnels.into_iter().filter_map(|(word, number, max)| Some((word, number?, max)));
        let tunnel = named.next();
        if let (Some((first, ..)), Some((second, ..))) = (tunnel, named.next()) {
            return Err(format!(
                "a network is in one tunnel, not in `{first}` and `{second}`: write one entry for \
                 each"
            ));
        }
        let vlan = match written.vlan {
            Some(id @ 1..=4094) => u16::try_from(id).ok().and_then(VlanId::new),
            Some(id) => return Err(format!("VLAN {id} does not exist; they are 1 to 4094")),
            None => None,
        };
        let is_untagged = written.untagged == Some(true);
        if is_untagged && (vlan.is_some() || tunnel.is_some()) {
            return Err("`untagged` stands alone, without a tunnel and without `vlan`".to_owned());
        }
        if !is_untagged && vlan.is_none() && tunnel.is_none() {
            return Err(
                "a network needs one of vxlan, geneve, gre, nvgre, erspan, vntag, vlan with \
                        its number, or `untagged = true`"
                    .to_owned(),
            );
        }
        let tunnel_port = match (written.udp_port, tunnel) {
            (None, _) => None,
            (Some(port @ 1..=0xffff), Some(("vxlan" | "geneve", ..))) => u16::try_from(port).ok(),
            (Some(_), Some(("vxlan" | "geneve", ..))) => {
                return Err("a UDP port is 1 to 65535".to_owned());
            }
            (Some(_), _) => return Err("only vxlan and geneve have a `udp_port`".to_owned()),
        };
        let vni = match tunnel {
            Some((word, number, max)) if number > max => {
                return Err(format!("{word} {number} is too large; at most {max}"));
            }
            Some((_, number, _)) => u32::try_from(number).ok().and_then(Vni::new),
            None => None,
        };
        let network = Network {
            vlan,
            vni,
            tunnel: tunnel.map(|(word, ..)| word.to_owned()),
            tunnel_port,
            remotes: Vec::new(),
            uplinks: Vec::new(),
            team: None,
        };
        Ok(Self { network, during })
    }
}

fn period(since: Option<Time>, until: Option<Time>) -> Result<Period, String> {
    let from = since.map_or(Timestamp::ZERO, |time| time.0);
    let until = until.map(|time| time.0);
    if until.is_some_and(|until| until <= from) {
        return Err("`until` is not after `since`; it is the first moment that is no longer meant"
            .to_owned());
    }
    Ok(Period { from, until })
}

/// RFC 7348, section 5; RFC 8926, section 3.4; RFC 7637, section 3.2. A GRE key has 32 bits on the
/// wire; overtap tells tenants apart by those of 24.
const MAX_VNI: u64 = (1 << 24) - 1;
/// Ten bits (draft-foschiano-erspan-03, section 4).
const MAX_SESSION: u64 = (1 << 10) - 1;
/// The destination's; the source's has 12 bits (IEEE 802.1Qbh draft, VN-Tag).
const MAX_VIF: u64 = (1 << 14) - 1;
/// A VM that changes more often in one entry costs memory for each change and each vNIC.
const MAX_CHANGES: usize = 1000;
