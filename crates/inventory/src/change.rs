//! What became different between two looks at a host, said as values.
//!
//! Changes are found by comparing states; no source's events are trusted for them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::Serialize;
use wire::Timestamp;

use crate::site::{
    Attachment, Machine, MachineId, MachineState, Network, Uplink, UplinkChoice, Vnic,
};
use crate::text;

/// One thing that became different with one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// When it was noticed.
    #[serde(with = "text::time")]
    pub at: Timestamp,
    /// With which machine.
    #[serde(with = "text::word")]
    pub machine: MachineId,
    /// Its name now, or its last one.
    pub name: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

impl fmt::Display for Change {
    /// A line without the time: `web-01: moved from br-int:vnet3 to br-int:vnet5 (net0)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.what)
    }
}

/// What became different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum What {
    /// It was not known here before.
    Appeared {
        /// What it does.
        state: MachineState,
    },
    /// It is no longer known here.
    Vanished,
    /// It has another name.
    Renamed {
        /// Its name before.
        from: String,
    },
    /// It has another alias: a title, or the name it was started with.
    AlsoCalled {
        /// The alias.
        alias: String,
    },
    /// It has an alias less.
    NotCalled {
        /// The alias.
        alias: String,
    },
    /// It does something else.
    State {
        /// What it did before.
        from: MachineState,
        /// What it does now.
        to: MachineState,
    },
    /// It is another process than before.
    Restarted,
    /// It has one vNIC more.
    VnicAdded {
        /// Its name.
        vnic: String,
    },
    /// It has one vNIC less.
    VnicRemoved {
        /// Its name.
        vnic: String,
    },
    /// A vNIC was put on a switch.
    Attached {
        /// Its name.
        vnic: String,
        /// Where, `switch:port`.
        to: String,
    },
    /// A vNIC was taken off its switch.
    Detached {
        /// Its name.
        vnic: String,
        /// From where, `switch:port`.
        from: String,
    },
    /// A vNIC is at another port, tap or switch.
    Moved {
        /// Its name.
        vnic: String,
        /// From where, `switch:port`.
        from: String,
        /// To where, `switch:port`.
        to: String,
    },
    /// Its frames leave the host another way: VLAN, VNI or uplinks.
    WayOut {
        /// The vNIC's name.
        vnic: String,
        /// The way before.
        from: String,
        /// The way now.
        to: String,
    },
    /// An address of a vNIC became known.
    IpLearned {
        /// The vNIC's name.
        vnic: String,
        /// The address.
        ip: IpAddr,
    },
    /// An address of a vNIC is no longer seen.
    IpLost {
        /// The vNIC's name.
        vnic: String,
        /// The address.
        ip: IpAddr,
    },
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Appeared { state } => write!(f, "appeared ({state})"),
            Self::Vanished => f.write_str("vanished"),
            Self::Renamed { from } => write!(f, "renamed, was {from}"),
            Self::AlsoCalled { alias } => write!(f, "also called {alias}"),
            Self::NotCalled { alias } => write!(f, "no longer called {alias}"),
            Self::State { from, to } => write!(f, "{to}, was {from}"),
            Self::Restarted => f.write_str("restarted"),
            Self::VnicAdded { vnic } => write!(f, "{vnic} added"),
            Self::VnicRemoved { vnic } => write!(f, "{vnic} removed"),
            Self::Attached { vnic, to } => write!(f, "{vnic} attached to {to}"),
            Self::Detached { vnic, from } => write!(f, "{vnic} detached from {from}"),
            Self::Moved { vnic, from, to } => write!(f, "{vnic} moved from {from} to {to}"),
            Self::WayOut { vnic, from, to } => write!(f, "{vnic} leaves by {to}, was {from}"),
            Self::IpLearned { vnic, ip } => write!(f, "{vnic} has address {ip}"),
            Self::IpLost { vnic, ip } => write!(f, "{vnic} no longer seen with {ip}"),
        }
    }
}

/// What became different from `before` to `after`.
pub fn changes(at: Timestamp, before: &[Machine], after: &[Machine]) -> Vec<Change> {
    let (old, new) = (by_id(before), by_id(after));
    let mut found = Vec::new();
    for (id, machine) in &old {
        if !new.contains_key(id) {
            found.push(change(at, machine, What::Vanished));
        }
    }
    for (id, machine) in &new {
        match old.get(id) {
            Some(was) => compare(at, was, machine, &mut found),
            None => {
                found.push(change(at, machine, What::Appeared { state: machine.state }));
                for vnic in &machine.vnics {
                    if let Some(place) = &vnic.attachment {
                        let what = What::Attached { vnic: vnic.name.clone(), to: spot(place) };
                        found.push(change(at, machine, what));
                    }
                }
            }
        }
    }
    found
}

fn by_id(machines: &[Machine]) -> BTreeMap<&MachineId, &Machine> {
    machines.iter().map(|m| (&m.id, m)).collect()
}

fn change(at: Timestamp, machine: &Machine, what: What) -> Change {
    Change { at, machine: machine.id.clone(), name: machine.name.clone(), what }
}

fn compare(at: Timestamp, was: &Machine, is: &Machine, found: &mut Vec<Change>) {
    let mut say = |what| found.push(change(at, is, what));
    if was.name != is.name {
        say(What::Renamed { from: was.name.clone() });
    }
    // What the names are and were is said already.
    let answers = |machine: &Machine, alias: &String| {
        machine.name == *alias || machine.aliases.contains(alias)
    };
    for alias in is.aliases.iter().filter(|alias| !answers(was, alias)) {
        say(What::AlsoCalled { alias: alias.clone() });
    }
    for alias in was.aliases.iter().filter(|alias| !answers(is, alias)) {
        say(What::NotCalled { alias: alias.clone() });
    }
    if was.state != is.state {
        say(What::State { from: was.state, to: is.state });
    } else if was.pid.is_some() && is.pid.is_some() && was.pid != is.pid && was.since != is.since {
        say(What::Restarted);
    }
    let (old, new) = (by_card(&was.vnics), by_card(&is.vnics));
    for (card, vnic) in &old {
        if !new.contains_key(card) {
            say(What::VnicRemoved { vnic: vnic.name.clone() });
        }
    }
    for (card, vnic) in &new {
        match old.get(card) {
            None => {
                say(What::VnicAdded { vnic: vnic.name.clone() });
                if let Some(place) = &vnic.attachment {
                    say(What::Attached { vnic: vnic.name.clone(), to: spot(place) });
                }
            }
            Some(was) => compare_vnic(was, vnic, &mut say),
        }
    }
}

/// vNICs by what stays when tap, port and name change: the MAC, and among equal ones the order.
fn by_card(vnics: &[Vnic]) -> BTreeMap<(String, usize), &Vnic> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    vnics
        .iter()
        .map(|vnic| {
            let key = vnic.mac.map_or_else(|| vnic.name.clone(), |mac| mac.to_string());
            let nth = seen.entry(key.clone()).or_default();
            *nth += 1;
            ((key, *nth), vnic)
        })
        .collect()
}

fn compare_vnic(was: &Vnic, is: &Vnic, say: &mut impl FnMut(What)) {
    let vnic = || is.name.clone();
    match (&was.attachment, &is.attachment) {
        (None, None) => {}
        (Some(old), None) => say(What::Detached { vnic: vnic(), from: spot(old) }),
        (None, Some(new)) => say(What::Attached { vnic: vnic(), to: spot(new) }),
        // A tap that is made anew by the same name is no move.
        (Some(old), Some(new)) if !is_same_place(old, new) && spot(old) != spot(new) => {
            say(What::Moved { vnic: vnic(), from: spot(old), to: spot(new) });
        }
        (Some(old), Some(new)) => {
            if old.networks != new.networks {
                say(What::WayOut { vnic: vnic(), from: way(old), to: way(new) });
            }
        }
    }
    let has = |vnic: &Vnic, ip| vnic.ips.iter().any(|k| k.ip == ip);
    for known in is.ips.iter().filter(|k| !has(was, k.ip)) {
        say(What::IpLearned { vnic: vnic(), ip: known.ip });
    }
    for known in was.ips.iter().filter(|k| !has(is, k.ip)) {
        say(What::IpLost { vnic: vnic(), ip: known.ip });
    }
}

/// Whether two attachments are one and the same: a new device of the old name is another.
pub(crate) fn is_same_place(a: &Attachment, b: &Attachment) -> bool {
    (&a.device, a.ifindex, a.namespace, &a.switch, &a.port, &a.port_id)
        == (&b.device, b.ifindex, b.namespace, &b.switch, &b.port, &b.port_id)
}

/// Where a vNIC is, in one word: `br-int:vnet3`.
fn spot(place: &Attachment) -> String {
    let port = place.port.as_deref().or(place.device.as_deref());
    match (&place.switch, port) {
        (Some(switch), Some(port)) => format!("{switch}:{port}"),
        (Some(only), None) => only.clone(),
        (None, Some(only)) => only.to_owned(),
        (None, None) => "no device on the host".to_owned(),
    }
}

/// The ways out in a few words: `VNI 5001 on up0, up1`.
fn way(place: &Attachment) -> String {
    if place.networks.is_empty() {
        return "no uplink".to_owned();
    }
    let all: Vec<String> = place.networks.iter().map(ToString::to_string).collect();
    all.join(" and ")
}

impl fmt::Display for Network {
    /// What the frames are in and what carries them: `vxlan VNI 5001 on up0, up1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.tunnel, self.vni, self.vlan) {
            (Some(tunnel), Some(vni), _) => write!(f, "{tunnel} VNI {vni}")?,
            (Some(tunnel), None, _) => write!(f, "{tunnel}")?,
            (None, _, Some(vlan)) => write!(f, "VLAN {vlan}")?,
            (None, _, None) => f.write_str("untagged")?,
        }
        let stands_by = |uplink: &&Uplink| uplink.choice == UplinkChoice::Standby;
        let is_any = self.uplinks.iter().all(|uplink| stands_by(&uplink));
        let shown = self.uplinks.iter().filter(|uplink| is_any || !stands_by(uplink));
        let devices: Vec<&str> = shown.map(|uplink| uplink.device.as_str()).collect();
        if devices.is_empty() { Ok(()) } else { write!(f, " on {}", devices.join(", ")) }
    }
}
