//! What `overtap find --output json` prints. The keys are part of the interface.
//!
//! `find`: one object, `{"host", "at", "machines": [MACHINE...], "sources": [{"source", "at",
//! "problem"}...], "history": [{"from", "until", "machine"}...]}`; it is also an inventory file. MACHINE is [`inventory::Machine`] with its field names; `evidence` only with
//! `--explain`; each `attachment` has `seen_since` beside `since`: it was like this at the latest
//! then. Times are RFC 3339 in UTC, network numbers are numbers, addresses are text.
//!
//! Through a controller each MACHINE has `host` and `is_host_connected` besides, and the `host` of
//! the object is null where there are several; `sources` and `history` are empty.
//!
//! `find --at`: one object, `{"host", "at", "first_look", "last_look", "machines": [PAST...]}`.
//! PAST has `known`: `seen` (with `from`, `until`, `machine`), `changed` (`seen`, `before`,
//! `noticed`, `after`; null where it was not there) or `before-first-look` (`first`, `machine`).
//!
//! `find --watch`: one object a line, `{"host", "at", "machine", "name", "change", ...}`.

use std::io::{self, Write};

use api::document::HostFound;
use inventory::{
    Change, Episode, History, Machine, MachineId, Past, Period, Since, Site, Timeline,
};
use serde_json::{Value, json};
use wire::Timestamp;

use super::when::rfc3339;

/// Prints machines as they are now.
pub(super) fn present(
    out: &mut impl Write,
    site: &Site,
    at: Timestamp,
    shown: &[&Machine],
    timeline: &Timeline,
    explain: bool,
) -> io::Result<()> {
    let machines: Vec<Value> = shown
        .iter()
        .map(|machine| {
            let mut shown = (*machine).clone();
            if !explain {
                shown.evidence.clear();
            }
            with_since(&mut shown, timeline)
        })
        .collect::<io::Result<_>>()?;
    let history = history(site, shown, timeline);
    let document = json!({
        "host": site.host.name,
        "at": rfc3339(at),
        "machines": machines,
        "sources": site.sources,
        "history": history,
    });
    print(out, &document)
}

/// Prints machines of several hosts, each with its host.
pub(super) fn of_hosts(out: &mut impl Write, hosts: &[HostFound]) -> io::Result<()> {
    let mut machines = Vec::new();
    for found in hosts {
        for machine in &found.machines {
            let mut value = serde_json::to_value(machine)?;
            if let Some(object) = value.as_object_mut() {
                object.insert("host".to_owned(), found.host.clone().into());
                object.insert("is_host_connected".to_owned(), found.is_connected.into());
            }
            machines.push(value);
        }
    }
    let host = match hosts {
        [only] => Value::from(only.host.as_str()),
        _ => Value::Null,
    };
    let at = hosts.iter().map(|found| found.at_ns).max().unwrap_or(0);
    print(
        out,
        &json!({
            "host": host,
            "at": rfc3339(Timestamp::from_nanos(at)),
            "machines": machines,
            "sources": [],
            "history": [],
        }),
    )
}

/// What was not always so, as far as the journal goes: of the machines shown, and if all are, also
/// of those that are gone.
fn history(site: &Site, shown: &[&Machine], timeline: &Timeline) -> Vec<Value> {
    let is_all = shown.len() == site.machines.len();
    let is_meant = |id: &MachineId| is_all || shown.iter().any(|machine| machine.id == *id);
    let condensed = History::from(timeline).condensed();
    let told = condensed
        .episodes()
        .iter()
        .filter(|episode| episode.during != Period::ALWAYS && is_meant(&episode.machine.id));
    let value = |episode: &Episode| {
        let Period { from, until } = episode.during;
        json!({
            "from": (from > Timestamp::ZERO).then(|| rfc3339(from)),
            "until": until.map(rfc3339),
            "machine": episode.machine,
        })
    };
    told.map(value).collect()
}

/// Prints machines as they were.
pub(super) fn past(
    out: &mut impl Write,
    site: &Site,
    at: Timestamp,
    past: &[Past],
    timeline: &Timeline,
) -> io::Result<()> {
    let machines: Vec<Value> = past.iter().map(past_value).collect();
    let document = json!({
        "host": site.host.name,
        "at": rfc3339(at),
        "first_look": timeline.first().map(rfc3339),
        "last_look": timeline.last().map(rfc3339),
        "machines": machines,
    });
    print(out, &document)
}

/// Prints one change as one line.
pub(super) fn change(out: &mut impl Write, host: &str, change: &Change) -> io::Result<()> {
    let mut value = serde_json::to_value(change)?;
    if let Some(object) = value.as_object_mut() {
        object.insert("host".to_owned(), host.into());
    }
    serde_json::to_writer(&mut *out, &value)?;
    writeln!(out)
}

fn past_value(past: &Past) -> Value {
    match past {
        Past::Seen { machine, from, until } => json!({
            "known": "seen",
            "from": rfc3339(*from),
            "until": rfc3339(*until),
            "machine": machine,
        }),
        Past::Changed { before, seen, after, noticed } => json!({
            "known": "changed",
            "seen": rfc3339(*seen),
            "before": before,
            "noticed": rfc3339(*noticed),
            "after": after,
        }),
        Past::BeforeFirstLook { machine, first } => json!({
            "known": "before-first-look",
            "first": rfc3339(*first),
            "machine": machine,
        }),
    }
}

fn with_since(machine: &mut Machine, timeline: &Timeline) -> io::Result<Value> {
    let since = timeline.attached_since(machine);
    let mut seen_since = Vec::new();
    for (vnic, since) in machine.vnics.iter_mut().zip(since) {
        if let (Some(place), Some(Since::At(time))) = (&mut vnic.attachment, since) {
            place.since = Some(time);
        }
        seen_since.push(since.map(|s| match s {
            Since::At(time) | Since::Before(time) => rfc3339(time),
        }));
    }
    let mut value = serde_json::to_value(&*machine)?;
    if let Some(vnics) = value.get_mut("vnics").and_then(Value::as_array_mut) {
        for (vnic, since) in vnics.iter_mut().zip(seen_since) {
            if let Some(place) = vnic.get_mut("attachment").and_then(Value::as_object_mut) {
                place.insert("seen_since".to_owned(), json!(since));
            }
        }
    }
    Ok(value)
}

fn print(out: &mut impl Write, document: &Value) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, document)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use inventory::{
        Attachment, Host, KnownIp, MachineId, MachineKind, MachineState, Network, Uplink,
        UplinkChoice, Vnic,
    };
    use wire::{Mac, Vni};

    use super::*;

    fn machine(name: &str, vni: u32) -> Machine {
        let network = Network {
            vlan: None,
            vni: Vni::new(vni),
            tunnel: Some("vxlan".into()),
            tunnel_port: Some(8472),
            remotes: vec![[192, 0, 2, 1].into()],
            uplinks: vec![Uplink {
                device: "eth0".into(),
                ifindex: Some(2),
                choice: UplinkChoice::Only,
            }],
            team: None,
        };
        let attachment = Attachment {
            device: Some("vnet3".into()),
            ifindex: Some(7),
            namespace: inventory::facts::NamespaceId(4_026_531_840),
            namespace_path: None,
            switch: Some("br-int".into()),
            switch_kind: Some(inventory::SwitchKind::OpenVSwitch),
            port: Some("vnet3".into()),
            port_id: None,
            port_group: Some("VM Network".into()),
            networks: vec![network],
            notes: vec![],
            since: None,
        };
        let ip = [10, 0, 7, 12].into();
        Machine {
            id: MachineId::Port(name.into()),
            name: name.into(),
            aliases: vec![],
            kind: MachineKind::Vm,
            state: MachineState::Running,
            tenant: Some("acme".into()),
            vnics: vec![Vnic {
                name: "net0".into(),
                mac: Some(Mac([0x52, 0x54, 0, 0, 0, 1])),
                ips: vec![KnownIp { ip, source: inventory::facts::Source::Libvirt }],
                attachment: Some(attachment),
            }],
            pid: Some(4711),
            namespace_path: None,
            since: Some(second(0)),
            evidence: vec![],
        }
    }

    fn second(seconds: u64) -> Timestamp {
        Timestamp::from_parts(1_795_255_200 + seconds, 0)
    }

    fn site(machines: &[Machine]) -> Site {
        let host = Host { name: "hv-1".into() };
        Site { host, machines: machines.to_vec(), sources: vec![] }
    }

    /// What is printed at the end of these looks, read as an inventory file.
    fn printed(looks: &[&[Machine]]) -> History {
        let mut timeline = Timeline::new(100);
        for (number, machines) in looks.iter().enumerate() {
            timeline.record(second(10 * number as u64), &site(machines));
        }
        let last = site(looks.last().unwrap());
        let shown: Vec<&Machine> = last.machines.iter().collect();
        let mut out = Vec::new();
        present(&mut out, &last, second(100), &shown, &timeline, true).unwrap();
        History::parse(std::str::from_utf8(&out).unwrap()).unwrap()
    }

    #[test]
    fn what_is_printed_is_an_inventory_file_that_says_the_same() {
        let web = machine("web", 5001);
        let history = printed(&[std::slice::from_ref(&web)]);
        let [only] = history.episodes() else { panic!("{history:?}") };
        assert_eq!((&only.host.name[..], only.during), ("hv-1", Period::ALWAYS));
        assert_eq!(only.machine, web);
    }

    #[test]
    fn a_change_of_network_is_printed_with_its_time_and_so_is_who_is_gone() {
        let (before, after, db) = (machine("web", 5001), machine("web", 5002), machine("db", 5001));
        let history =
            printed(&[&[before, db], std::slice::from_ref(&after), std::slice::from_ref(&after)]);
        let vni = |e: &Episode| {
            let place = e.machine.vnics[0].attachment.as_ref().unwrap();
            place.networks[0].vni.map(Vni::value)
        };
        let mut told: Vec<_> =
            history.episodes().iter().map(|e| (&e.machine.name[..], e.during, vni(e))).collect();
        told.sort();
        // Between two looks both may have been so.
        let first = Period { from: Timestamp::ZERO, until: Some(second(10)) };
        let then = Period { from: second(0), until: None };
        assert_eq!(
            told,
            [("db", first, Some(5001)), ("web", first, Some(5001)), ("web", then, Some(5002)),]
        );
    }

    #[test]
    fn what_is_said_of_a_past_time_is_an_inventory_file_of_that_time() {
        let mut timeline = Timeline::new(100);
        timeline.record(second(0), &site(&[machine("web", 5001)]));
        timeline.record(second(10), &site(&[machine("web", 5002)]));
        let told = |at| {
            let mut out = Vec::new();
            let last = site(&[]);
            past(&mut out, &last, second(at), &timeline.past(second(at)), &timeline).unwrap();
            let history = History::parse(std::str::from_utf8(&out).unwrap()).unwrap();
            history.episodes().len()
        };
        assert_eq!([told(0), told(5), told(20)], [1, 2, 1]);
    }
}
