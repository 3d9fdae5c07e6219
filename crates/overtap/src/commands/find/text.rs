//! What `overtap find` prints for people: a table of many machines, or all about a few.

use std::io::{self, Write};

use inventory::{
    Attachment, Machine, MachineState, Network, Past, Since, SwitchKind, Timeline, Uplink,
    UplinkChoice, Vnic,
};
use jiff::tz::TimeZone;
use wire::Timestamp;

use super::when::show;

/// What is the same for all that is printed.
pub(super) struct Page<'a> {
    pub(super) host: &'a str,
    pub(super) zone: &'a TimeZone,
    pub(super) timeline: &'a Timeline,
    pub(super) explain: bool,
}

impl Page<'_> {
    /// One line for each vNIC.
    pub(super) fn table(&self, out: &mut impl Write, machines: &[&Machine]) -> io::Result<()> {
        if machines.is_empty() {
            return Ok(());
        }
        let mut rows = vec![HEADINGS.map(str::to_owned)];
        for machine in machines {
            let mut head = [machine.name.clone(), machine.state.to_string()];
            if machine.vnics.is_empty() {
                let [name, state] = head;
                let none = "-".to_owned();
                rows.push([name, state, none.clone(), none.clone(), none.clone(), none]);
                continue;
            }
            for vnic in &machine.vnics {
                let [name, state] = std::mem::take(&mut head);
                let mac = vnic.mac.map(|m| m.to_string());
                let ip = vnic.ips.first().map(|k| k.ip.to_string());
                let place = vnic.attachment.as_ref();
                let none = || "-".to_owned();
                rows.push([
                    name,
                    state,
                    mac.unwrap_or_else(none),
                    ip.unwrap_or_else(none),
                    place.map_or_else(none, short_place),
                    place.map_or_else(none, short_way),
                ]);
            }
        }
        writeln!(out, "host {}", self.host)?;
        print_columns(out, rows)
    }

    /// Everything about each machine.
    pub(super) fn details(&self, out: &mut impl Write, machines: &[&Machine]) -> io::Result<()> {
        for (index, machine) in machines.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            self.machine(out, machine)?;
        }
        Ok(())
    }

    /// What was where at a time, and how that is known.
    pub(super) fn past(
        &self,
        out: &mut impl Write,
        time: Timestamp,
        past: &[Past],
    ) -> io::Result<()> {
        let mut is_first = true;
        for known in past {
            if let Past::BeforeFirstLook { machine, .. } = known
                && machine.since.is_none_or(|since| since > time)
            {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                writeln!(out)?;
            }
            self.past_of(out, known)?;
        }
        Ok(())
    }

    fn past_of(&self, out: &mut impl Write, past: &Past) -> io::Result<()> {
        let show = |time| show(time, self.zone);
        match past {
            Past::Seen { machine, from, until } => {
                writeln!(out, "[seen so at {} and until {}]", show(*from), show(*until))?;
                self.machine(out, machine)
            }
            Past::Changed { before, seen, after, noticed } => {
                let (seen, noticed) = (show(*seen), show(*noticed));
                writeln!(out, "[it changed between the looks at {seen} and {noticed}]")?;
                match before {
                    Some(machine) => {
                        writeln!(out, "[at {seen}]")?;
                        self.machine(out, machine)?;
                    }
                    None => writeln!(out, "[at {seen}: not here]")?,
                }
                match after {
                    Some(machine) => {
                        writeln!(out, "[at {noticed}]")?;
                        self.machine(out, machine)
                    }
                    None => writeln!(out, "[at {noticed}: not here]"),
                }
            }
            Past::BeforeFirstLook { machine, first } => {
                writeln!(
                    out,
                    "[it was running here; how it was attached is known only since the first \
                     look at {}]",
                    show(*first)
                )?;
                self.machine(out, machine)
            }
        }
    }

    fn machine(&self, out: &mut impl Write, machine: &Machine) -> io::Result<()> {
        let Machine { name, kind, state, .. } = machine;
        write!(out, "{}  {kind}, {state} on {}", printable(name), self.host)?;
        if let Some(since) = machine.since.filter(|_| machine.state != MachineState::Shutoff) {
            write!(out, ", since {} [proc]", show(since, self.zone))?;
        }
        writeln!(out)?;
        let pid = machine.pid.map(|pid| format!("  process {pid}")).unwrap_or_default();
        writeln!(out, "  id      {}{pid}", printable(&machine.id.to_string()))?;
        if !machine.aliases.is_empty() {
            writeln!(out, "  also    {}", printable(&machine.aliases.join(", ")))?;
        }
        if let Some(tenant) = &machine.tenant {
            writeln!(out, "  tenant  {}", printable(tenant))?;
        }
        let since = self.timeline.attached_since(machine);
        for (index, vnic) in machine.vnics.iter().enumerate() {
            self.vnic(out, vnic, since.get(index).copied().flatten())?;
        }
        if self.explain {
            writeln!(out, "  because")?;
            for line in &machine.evidence {
                writeln!(out, "    {} [{}]", printable(&line.claim), line.source)?;
            }
        }
        Ok(())
    }

    fn vnic(&self, out: &mut impl Write, vnic: &Vnic, since: Option<Since>) -> io::Result<()> {
        let mac = vnic.mac.map_or_else(|| "MAC not known".to_owned(), |m| m.to_string());
        let mut words = vec![mac];
        words.extend(vnic.ips.iter().map(|k| format!("{} [{}]", k.ip, short(&k.source))));
        let label = format!("  {:<7} ", printable(&vnic.name));
        print_wrapped(out, &label, &words, "  ")?;
        let Some(place) = &vnic.attachment else {
            return writeln!(out, "{INDENT}not attached");
        };
        let mut words = vec![place_words(place)];
        if let Some(port_id) = &place.port_id {
            words.push(format!("port id {port_id}"));
        }
        if let Some(group) = &place.port_group {
            words.push(format!("port group {group}"));
        }
        match since {
            Some(Since::At(time)) => words.push(format!("since {}", show(time, self.zone))),
            Some(Since::Before(time)) => {
                words.push(format!("since {} or before", show(time, self.zone)));
            }
            None => {}
        }
        print_wrapped(out, INDENT, &words, ", ")?;
        for network in &place.networks {
            print_wrapped(out, INDENT, &way_words(network), " ")?;
        }
        for note in &place.notes {
            print_wrapped(out, INDENT, &words_of(&format!("note: {note}")), " ")?;
        }
        Ok(())
    }
}

/// `port vnet3 of br-int (Open vSwitch) [ovsdb], tap vnet3`.
fn place_words(place: &Attachment) -> String {
    let device = place.device.as_deref().unwrap_or_default();
    let on_host = if place.device.is_some() {
        let path = place.namespace_path.as_deref();
        let inside = path.map(|p| format!(" in {p}")).unwrap_or_default();
        format!("device {device}{inside}")
    } else {
        "no device".to_owned()
    };
    match (&place.switch, place.switch_kind) {
        (Some(switch), Some(kind)) => {
            let source = if kind == SwitchKind::OpenVSwitch { "ovsdb" } else { "netlink" };
            match &place.port {
                Some(port) if port == device => {
                    format!("port {port} of {switch} ({kind}) [{source}]{}", {
                        let path = place.namespace_path.as_deref();
                        path.map(|p| format!(" in {p}")).unwrap_or_default()
                    })
                }
                Some(port) => format!("port {port} of {switch} ({kind}) [{source}], {on_host}"),
                None => format!("on {switch} ({kind}) [{source}], {on_host}"),
            }
        }
        _ => on_host,
    }
}

/// `leaves by VLAN 20 on bond0: up0 (active, reported), up1 (standby, reported)`.
fn way_words(network: &Network) -> Vec<String> {
    let mut text = String::from("leaves ");
    match (&network.tunnel, network.vni) {
        (Some(tunnel), Some(vni)) => text.push_str(&format!("in {tunnel} VNI {vni}")),
        (Some(tunnel), None) => text.push_str(&format!("in {tunnel}")),
        (None, _) => {}
    }
    match (network.vlan, network.tunnel.is_some()) {
        (Some(vlan), true) => text.push_str(&format!(" (VLAN {vlan} on the vSwitch)")),
        (Some(vlan), false) => text.push_str(&format!("tagged VLAN {vlan}")),
        (None, true) => {}
        (None, false) => text.push_str("untagged"),
    }
    let shown: Vec<String> =
        network.remotes.iter().take(MAX_REMOTES).map(ToString::to_string).collect();
    if !shown.is_empty() {
        text.push_str(&format!(" to {}", shown.join(", ")));
    }
    if let Some(more) = network.remotes.len().checked_sub(MAX_REMOTES).filter(|n| *n > 0) {
        text.push_str(&format!(" and {more} more"));
    }
    match (&network.team, network.uplinks.as_slice()) {
        (_, []) => text.push_str(", uplink not known"),
        (None, [only]) if only.choice == UplinkChoice::Only => {
            text.push_str(&format!(" by uplink {}", only.device));
        }
        (Some(team), members) => {
            text.push_str(&format!(" by NIC team {team}: {}", with_choices(members)));
        }
        (None, uplinks) => text.push_str(&format!(" by uplinks {}", with_choices(uplinks))),
    }
    words_of(&text)
}

/// `up0 (active, reported), up1 (standby, reported)`; what is said of all is said once.
fn with_choices(uplinks: &[Uplink]) -> String {
    let said: Vec<&str> = uplinks.iter().map(choice).collect();
    let is_one_for_all = said.iter().all(|c| Some(c) == said.first());
    let devices = uplinks.iter().map(|u| u.device.as_str());
    if let (true, Some(choice)) = (is_one_for_all, said.first()) {
        return format!("{} ({choice})", devices.collect::<Vec<_>>().join(", "));
    }
    let all: Vec<String> = devices.zip(&said).map(|(d, c)| format!("{d} ({c})")).collect();
    all.join(", ")
}

fn choice(uplink: &Uplink) -> &'static str {
    match uplink.choice {
        UplinkChoice::Only => "the only one",
        UplinkChoice::Reported => "active, reported",
        UplinkChoice::Standby => "standby, reported",
        UplinkChoice::Shared => "shared: any member may carry it",
        UplinkChoice::Computed => "active, computed",
    }
}

/// `br-int:vnet3`.
pub(crate) fn short_place(place: &Attachment) -> String {
    let port = place.port.as_deref().or(place.device.as_deref()).unwrap_or("-");
    match &place.switch {
        Some(switch) => format!("{switch}:{port}"),
        None => port.to_owned(),
    }
}

/// `VNI 5001 eth0`.
pub(crate) fn short_way(place: &Attachment) -> String {
    let all: Vec<String> = place
        .networks
        .iter()
        .map(|network| {
            let mut text = match (&network.tunnel, network.vni, network.vlan) {
                (Some(_), Some(vni), _) => format!("VNI {vni}"),
                (Some(tunnel), None, _) => tunnel.clone(),
                (None, _, Some(vlan)) => format!("VLAN {vlan}"),
                (None, _, None) => "untagged".to_owned(),
            };
            // Of a team that knows its active member, that one.
            let active = network.uplinks.iter().filter(|u| u.choice != UplinkChoice::Standby);
            let devices: Vec<&str> = active.map(|u| u.device.as_str()).collect();
            if !devices.is_empty() {
                text.push_str(&format!(" {}", devices.join("|")));
            }
            text
        })
        .collect();
    match (all.is_empty(), &place.switch) {
        (false, _) => all.join(", "),
        (true, Some(_)) => "internal only".to_owned(),
        (true, None) => "-".to_owned(),
    }
}

/// A source without the number of its namespace, which is for `--explain`.
fn short(source: &inventory::facts::Source) -> String {
    let text = source.to_string();
    text.split(':').next().unwrap_or_default().to_owned()
}

fn words_of(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// Prints pieces on as many lines as they need, the first behind `label`, the others indented.
fn print_wrapped(
    out: &mut impl Write,
    label: &str,
    pieces: &[String],
    separator: &str,
) -> io::Result<()> {
    let mut line = label.to_owned();
    let mut is_empty = true;
    for piece in pieces {
        let piece = printable(piece);
        let needed = line.chars().count() + separator.len() + piece.chars().count();
        if !is_empty && needed > WIDTH {
            writeln!(out, "{}", format!("{line}{separator}").trim_end())?;
            line = format!("{INDENT}  ");
            is_empty = true;
        }
        if !is_empty {
            line.push_str(separator);
        }
        line.push_str(&piece);
        is_empty = false;
    }
    writeln!(out, "{}", line.trim_end())
}

/// Columns as wide as their contents, the widest cut until a line fits.
fn print_columns(out: &mut impl Write, mut rows: Vec<[String; COLUMNS]>) -> io::Result<()> {
    let mut widths = [0_usize; COLUMNS];
    for cell in rows.iter_mut().flatten() {
        *cell = printable(cell);
    }
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    while widths.iter().sum::<usize>() + 2 * (COLUMNS - 1) > WIDTH {
        // Addresses are of no use cut; names still are.
        let free = widths.iter_mut().enumerate().filter(|(i, _)| !matches!(i, 1..=2));
        let Some((_, widest)) = free.max_by_key(|(_, w)| **w) else { break };
        *widest -= 1;
    }
    for row in &rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let len = cell.chars().count();
            if len > *width {
                line.extend(cell.chars().take(width.saturating_sub(1)));
                line.push('…');
            } else {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width - len));
            }
            line.push_str("  ");
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A name as it may be printed: whoever names a VM must not move the reader's cursor.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

const COLUMNS: usize = 6;

const HEADINGS: [&str; COLUMNS] =
    ["MACHINE", "STATE", "MAC", "ADDRESS", "SWITCH:PORT", "LEAVES BY"];

/// No line is longer, so that it fits a terminal, a ticket and a mail.
const WIDTH: usize = 100;

const INDENT: &str = "          ";

/// Remote tunnel end points shown by name.
const MAX_REMOTES: usize = 4;

#[cfg(test)]
mod tests {
    use inventory::facts::{NamespaceId, Source};
    use inventory::{KnownIp, MachineId, MachineKind};

    use super::*;

    fn machine(name: &str) -> Machine {
        let uplink = |device: &str, choice| Uplink { device: device.into(), ifindex: None, choice };
        let network = Network {
            vlan: wire::VlanId::new(100),
            vni: wire::Vni::new(5001),
            tunnel: Some("vxlan".into()),
            tunnel_port: Some(4789),
            remotes: (1..=6).map(|n| [10, 9, 0, n].into()).collect(),
            uplinks: vec![
                uplink("up0", UplinkChoice::Reported),
                uplink("up1", UplinkChoice::Standby),
            ],
            team: Some("bond0".into()),
        };
        let place = Attachment {
            device: Some("vnet3".into()),
            ifindex: Some(3),
            namespace: NamespaceId(1),
            namespace_path: None,
            switch: Some("br-int".into()),
            switch_kind: Some(SwitchKind::OpenVSwitch),
            port: Some("vnet3".into()),
            port_id: Some("5b1c8f6e-0000-4000-8000-000000000001".into()),
            port_group: None,
            networks: vec![network],
            notes: Vec::new(),
            since: None,
        };
        let vnic = Vnic {
            name: "net0".into(),
            mac: Some(wire::Mac([0x52, 0x54, 0, 0, 0, 1])),
            ips: vec![KnownIp { ip: [10, 0, 7, 12].into(), source: Source::Libvirt }],
            attachment: Some(place),
        };
        Machine {
            id: MachineId::Port(name.into()),
            name: name.into(),
            aliases: Vec::new(),
            kind: MachineKind::Vm,
            state: MachineState::Running,
            tenant: None,
            vnics: vec![vnic.clone(), Vnic { attachment: None, ..vnic }],
            pid: Some(47),
            namespace_path: None,
            since: None,
            evidence: Vec::new(),
        }
    }

    fn printed(print: impl Fn(&Page<'_>, &mut Vec<u8>)) -> Vec<String> {
        let timeline = Timeline::new(1);
        let page = Page { host: "hv-1", zone: &TimeZone::UTC, timeline: &timeline, explain: false };
        let mut out = Vec::new();
        print(&page, &mut out);
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn all_about_a_machine_reads_so() {
        let lines = printed(|page, out| page.details(out, &[&machine("web-01")]).unwrap());
        assert_eq!(
            lines,
            [
                "web-01  VM, running on hv-1",
                "  id      port:web-01  process 47",
                "  net0    52:54:00:00:00:01  10.0.7.12 [libvirt]",
                "          port vnet3 of br-int (Open vSwitch) [ovsdb], port id \
                 5b1c8f6e-0000-4000-8000-000000000001",
                "          leaves in vxlan VNI 5001 (VLAN 100 on the vSwitch) to 10.9.0.1, 10.9.0.2, \
                 10.9.0.3,",
                "            10.9.0.4 and 2 more by NIC team bond0: up0 (active, reported), up1 \
                 (standby, reported)",
                "  net0    52:54:00:00:00:01  10.0.7.12 [libvirt]",
                "          not attached",
            ]
        );
    }

    #[test]
    fn the_table_has_a_line_for_each_vnic_and_fits() {
        let lines = printed(|page, out| page.table(out, &[&machine("web-01")]).unwrap());
        assert_eq!(
            lines,
            [
                "host hv-1",
                "MACHINE  STATE    MAC                ADDRESS    SWITCH:PORT   LEAVES BY",
                "web-01   running  52:54:00:00:00:01  10.0.7.12  br-int:vnet3  VNI 5001 up0",
                "                  52:54:00:00:00:01  10.0.7.12  -             -",
            ]
        );
        let long = machine(&"a very long name ".repeat(9));
        let lines = printed(|page, out| page.table(out, &[&long]).unwrap());
        assert!(lines.iter().all(|l| l.chars().count() <= WIDTH), "{lines:#?}");
        assert!(lines[2].contains("52:54:00:00:00:01"));
    }

    #[test]
    fn the_name_of_a_machine_does_not_reach_the_terminal_raw() {
        let lines = printed(|page, out| {
            page.table(out, &[&machine("a\u{1b}[2J")]).unwrap();
            page.details(out, &[&machine("a\u{1b}[2J")]).unwrap();
        });
        assert!(!lines.concat().contains('\u{1b}'));
    }
}
