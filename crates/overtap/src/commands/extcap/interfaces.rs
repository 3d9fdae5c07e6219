//! What Wireshark lists, and what it lets a person set.

use std::collections::BTreeSet;
use std::time::Duration;

use plan::{Plan, Point, PointKind};
use platform::LiveSite;

use super::call::{Call, Sentences};
use super::catalogue::{Catalogue, Listed, keep_version, kept_version};
use super::identity::Identity;
use super::settings::Settings;
use super::toolbar;
use crate::commands::{capture, plan as far_plan, print_out};
use crate::controller;
use crate::exit::Exit;
use crate::site;

/// The interfaces: all machines if they are few, else those that were asked for before; and one
/// whose settings ask for the machine.
pub(super) fn list(call: &Call) -> anyhow::Result<Exit> {
    if let Some(version) = &call.extcap_version {
        keep_version(version);
    }
    let mut sentences = Sentences::default();
    let (version, help) = (env!("CARGO_PKG_VERSION"), "overtap extcap --help");
    sentences.say("extcap", &[("version", version), ("help", help)]);
    // What Wireshark shows instead of a list that cannot be had is worse than a short one.
    let catalogue = Catalogue::open(controller::login(false)?).ok();
    let settings = Settings::open().unwrap_or_default();
    if let Some(catalogue) = &catalogue {
        for (identity, shown) in chosen(catalogue, &settings) {
            let display = format!("overtap: {shown}");
            sentences.say("interface", &[("value", &identity.interface()), ("display", &display)]);
        }
    }
    let any = Identity::Any.interface();
    sentences.say("interface", &[("value", &any), ("display", "overtap: any VM\u{2026}")]);
    toolbar::describe(&mut sentences);
    print_out(sentences.as_bytes())?;
    Ok(Exit::Done)
}

/// What is listed, and how it is shown.
fn chosen(catalogue: &Catalogue, settings: &Settings) -> Vec<(Identity, String)> {
    let machine = |listed: &Listed| (listed.identity(), listed.shown());
    let tenant = |name: &str| (Identity::Tenant(name.to_owned()), format!("tenant {name}"));
    let mut all: Vec<_> = if catalogue.machines.len() <= MOST_LISTED {
        catalogue.machines.iter().map(machine).collect()
    } else {
        let words = settings.favourites.iter().chain(&settings.recent);
        let known = words.flat_map(|word| match word.strip_prefix("tenant:") {
            Some(name) => vec![tenant(name)],
            None => {
                let is_it = |l: &&Listed| l.name == *word || l.uuid.as_ref() == Some(word);
                catalogue.machines.iter().filter(is_it).map(machine).collect()
            }
        });
        known.collect()
    };
    // On one host there is one machine at a time.
    let tenants = catalogue.tenants();
    if catalogue.controller.is_some() && tenants.len() <= MOST_TENANTS {
        all.extend(tenants.into_iter().map(tenant));
    }
    let mut seen = BTreeSet::new();
    all.retain(|(identity, _)| seen.insert(identity.interface()));
    all
}

/// The link type, which is the same for all.
pub(super) fn link_types() -> anyhow::Result<Exit> {
    let mut sentences = Sentences::default();
    sentences.say("dlt", &[("number", "1"), ("name", "EN10MB"), ("display", "Ethernet")]);
    print_out(sentences.as_bytes())?;
    Ok(Exit::Done)
}

/// What can be set for an interface.
pub(super) fn settings(call: &Call) -> anyhow::Result<Exit> {
    let mut form = Form::default();
    let login = controller::login(false)?;
    let is_far = login.is_some();
    if Identity::parse(call.interface()) == Some(Identity::Any) {
        form.ask(
            "vm",
            "VM",
            machine_field(kept_version().as_deref()),
            &[("tooltip", "Name, UUID, MAC, IP address, tap or port id"), ("required", "true")],
        );
        let catalogue = Catalogue::open(login).ok();
        let machines = catalogue.iter().flat_map(|catalogue| &catalogue.machines);
        let mut names = BTreeSet::new();
        for listed in machines.filter(|listed| names.insert(&listed.name)) {
            form.offer(&listed.name, &listed.shown(), false);
        }
    }
    form.ask(
        "point",
        "Observation point",
        "selector",
        &[
            ("tooltip", "Where its packets are captured, and what is not seen there"),
            ("reload", "true"),
            ("placeholder", "Ask what each misses"),
            ("default", "auto"),
        ],
    );
    for (word, shown) in POINTS {
        form.offer(word, shown, word == "auto");
    }
    form.ask(
        "snaplen",
        "Bytes kept of each packet",
        "integer",
        &[("range", "1,262144"), ("default", "262144")],
    );
    form.ask(
        "strip",
        "Remove tunnel headers",
        "boolflag",
        &[("tooltip", "At an uplink: packets as they are at the VM's own port")],
    );
    form.ask(
        "last",
        "Begin with the last",
        "string",
        &[
            ("tooltip", "What the flight recorder has seen in this time, then live: 30s, 10m"),
            ("placeholder", "10m"),
            ("validation", r"^\s*([0-9]+\s*(s|m|h|d)\s*)*$"),
        ],
    );
    if is_far {
        form.ask("reason", "Reason", "string", &[("tooltip", "For the audit log")]);
    } else {
        form.ask(
            "recorder",
            "Flight recorder",
            "string",
            &[("tooltip", "Directory of overtap record, if not the usual one")],
        );
    }
    print_out(form.sentences.as_bytes())?;
    Ok(Exit::Done)
}

/// The kind of field for a machine: one to type in or choose from. Wireshark has it since 4.2; before,
/// it leaves out a field of a kind that it does not know, and its values.
fn machine_field(wireshark: Option<&str>) -> &'static str {
    let mut numbers = wireshark.unwrap_or_default().split('.').map(|number| number.parse().ok());
    let version: (Option<u32>, Option<u32>) = (numbers.next().flatten(), numbers.next().flatten());
    if version >= (Some(4), Some(2)) { "editselector" } else { "selector" }
}

/// Settings with their numbers.
#[derive(Default)]
struct Form {
    sentences: Sentences,
    asked: usize,
}

impl Form {
    fn ask(&mut self, name: &str, shown: &str, kind: &str, more: &[(&str, &str)]) {
        let (number, call) = (self.asked.to_string(), format!("--{name}"));
        self.asked += 1;
        let fixed = [("number", &*number), ("call", &call), ("display", shown), ("type", kind)];
        self.sentences.say("arg", &[&fixed, more].concat());
    }

    /// A value of the last setting.
    fn offer(&mut self, value: &str, shown: &str, is_default: bool) {
        let number = self.asked.saturating_sub(1).to_string();
        offer(&mut self.sentences, &number, value, shown, is_default);
    }
}

fn offer(sentences: &mut Sentences, number: &str, value: &str, shown: &str, is_default: bool) {
    let default = if is_default { "true" } else { "false" };
    let values = [("arg", number), ("value", value), ("display", shown), ("default", default)];
    sentences.say("value", &values);
}

/// The values of a setting, now: observation points as `overtap plan` has them.
pub(super) fn reload(call: &Call, name: &str) -> anyhow::Result<Exit> {
    let mut sentences = Sentences::default();
    if name != "point" {
        return Ok(Exit::Done);
    }
    let identity = Identity::parse(call.interface());
    let is_any = identity == Some(Identity::Any);
    let number = if is_any { "1" } else { "0" };
    let vm = identity.and_then(|identity| identity.word());
    let vm = vm.or_else(|| call.vm().map(str::to_owned));
    let plan = vm.and_then(|vm| planned(&vm).ok());
    offer(&mut sentences, number, "auto", "the best place there is", true);
    match &plan {
        None => {
            for (word, shown) in POINTS.iter().skip(1) {
                offer(&mut sentences, number, word, shown, false);
            }
        }
        Some(plan) => {
            for point in plan.points.iter().filter(|point| point.is_usable()) {
                offer(&mut sentences, number, point.kind.word(), &shown(point), false);
            }
        }
    }
    print_out(sentences.as_bytes())?;
    Ok(Exit::Done)
}

fn planned(vm: &str) -> anyhow::Result<Plan> {
    let site = match controller::login(false)? {
        Some(login) => far_plan::far_site(vm, login)?,
        None => LiveSite::read(READ_WITHIN).site().clone(),
    };
    Ok(plan::plan(&site, site::one(&site, vm)?))
}

/// A point with what it misses.
fn shown(point: &Point) -> String {
    let place = match point.kind {
        PointKind::Port => "at its own port",
        PointKind::Inside => "inside it",
        PointKind::Uplink => "at the uplink",
        PointKind::Peer => "at the uplinks of its peers",
        PointKind::Mirror => "at the end of a mirror",
    };
    match &point.misses[..] {
        [] => format!("{place}: misses nothing"),
        misses => format!("{place}: misses {}", misses.join("; ")),
    }
}

/// Whether a capture filter is one: nothing if so, else one line.
pub(super) fn judge(filter: &str) -> anyhow::Result<Exit> {
    if let Err(error) = capture::parse_filter(filter, &capture::AnyName) {
        // The second line and the mark below it stand on what was typed, which is in sight.
        let text = error.to_string();
        let mut lines = text.lines().skip(1);
        let sentence = lines.next().unwrap_or("not a filter").to_owned();
        let hint = lines.last().and_then(|line| line.split_once("did you mean"));
        let hint = hint.map(|(_, word)| format!("; did you mean{word}")).unwrap_or_default();
        print_out(format!("{sentence}{hint}\n").as_bytes())?;
    }
    Ok(Exit::Done)
}

/// How many machines a list shows, all of them: Wireshark asks once for each.
const MOST_LISTED: usize = 40;
const MOST_TENANTS: usize = 10;
const READ_WITHIN: Duration = Duration::from_secs(2);

/// The places that `overtap capture --point` knows by a word.
const POINTS: [(&str, &str); 4] = [
    ("auto", "the best place there is"),
    ("tap", "at its own port"),
    ("uplink", "at the uplink, inside tunnels"),
    ("inside", "inside it"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wireshark_gets_no_field_that_it_does_not_know() {
        for (version, wanted) in [
            (None, "selector"),
            (Some("4.0"), "selector"),
            (Some("3.9"), "selector"),
            (Some("4.2"), "editselector"),
            (Some("4.10"), "editselector"),
            (Some("5.0"), "editselector"),
            (Some("odd"), "selector"),
        ] {
            assert_eq!(machine_field(version), wanted, "{version:?}");
        }
    }
}
