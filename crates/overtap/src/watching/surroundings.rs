//! Where machines are, on this host or on all hosts of a controller, kept up to date.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use agent::Place;
use api::document::HostFound;
use inventory::{History, Machine, MachineId, Site};
use platform::LiveSite;
use remote::{Connection, Login};
use screen::{PointLine, Subject, VnicLine};
use wire::Timestamp;

use crate::commands::find::{short_place, short_way};
use crate::controller::Far;
use crate::{names, site};

/// What is known of the site, while somebody watches.
pub(crate) enum Surroundings {
    /// This host, by its own sources.
    Here(Box<LiveSite>),
    /// All hosts, as far as the user may know of them, by the controller.
    Far(Box<FarSite>),
}

/// What a controller tells of hosts.
pub(crate) struct FarSite {
    hosts: BTreeMap<String, HostFound>,
    news: Receiver<Vec<HostFound>>,
    _far: Far,
}

/// A machine that is watched, wherever it is.
pub(crate) struct Where {
    id: MachineId,
    name: String,
    /// The word of `--point`.
    point: String,
    /// As it was last, at each host.
    known: BTreeMap<String, Machine>,
}

impl Surroundings {
    /// This host.
    pub(crate) fn here() -> anyhow::Result<Self> {
        let mut live = LiveSite::read(READ_WITHIN);
        live.watch()?;
        Ok(Self::Here(Box::new(live)))
    }

    /// All hosts of the controller of this login.
    pub(crate) fn far(login: Login) -> anyhow::Result<Self> {
        let far = Far::at(login)?;
        let (found, _) = far.wait(far.connection.find("", 0))?;
        let (sender, news) = mpsc::channel();
        far.runtime.spawn(attend(far.connection.clone(), sender));
        let hosts = found.into_iter().map(|found| (found.host.clone(), found)).collect();
        Ok(Self::Far(Box::new(FarSite { hosts, news, _far: far })))
    }

    /// Takes in what has changed since the last call. Whether anything has.
    pub(crate) fn update(&mut self) -> bool {
        match self {
            Self::Here(live) => live.update(),
            Self::Far(far) => {
                let news: Vec<_> = far.news.try_iter().flatten().collect();
                let is_changed = !news.is_empty();
                far.hosts.extend(news.into_iter().map(|found| (found.host.clone(), found)));
                is_changed
            }
        }
    }

    /// The hosts.
    pub(crate) fn sites(&self) -> Vec<Site> {
        match self {
            Self::Here(live) => vec![live.site().clone()],
            Self::Far(far) => far.hosts.values().cloned().map(site::of_host).collect(),
        }
    }

    /// Where machines are, for telling who talks.
    pub(crate) fn history(&self) -> History {
        let mut history = History::default();
        for site in &self.sites() {
            history.merge(names::of(site));
        }
        history
    }

    /// Whether this host alone is looked at.
    pub(crate) const fn is_here(&self) -> bool {
        matches!(self, Self::Here(_))
    }

    /// Finds the machine that is called so; `point` is where it shall be looked at.
    pub(crate) fn find(&self, vm: &str, point: &str) -> anyhow::Result<Where> {
        let sites = self.sites();
        let mut unfound = None;
        for site in &sites {
            match site::one(site, vm) {
                Ok(machine) => return Ok(Where::new(machine, point)),
                Err(error) => unfound = unfound.or(Some(error)),
            }
        }
        if let Self::Here(live) = self {
            site::say_problems(live.site());
        }
        let nowhere = || anyhow::anyhow!("the controller knows of no host that you may see");
        Err(unfound.unwrap_or_else(nowhere))
    }
}

impl Where {
    fn new(machine: &Machine, point: &str) -> Self {
        Self {
            id: machine.id.clone(),
            name: machine.name.clone(),
            point: point.to_owned(),
            known: BTreeMap::new(),
        }
    }

    /// Its name now.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The word that means it and no other.
    pub(crate) fn word(&self, surroundings: &Surroundings) -> String {
        // A number of one kernel is nobody to a controller.
        match surroundings {
            Surroundings::Far(_) if self.is_weak() => self.name.clone(),
            _ => self.id.to_string(),
        }
    }

    /// How it is now, for the view; and what has changed since the last call, in sentences.
    pub(crate) fn look(&mut self, surroundings: &Surroundings) -> (Subject, Vec<String>) {
        let sites = surroundings.sites();
        let found: Vec<(&Site, &Machine)> = sites
            .iter()
            .filter_map(|site| Some((site, site.machines.iter().find(|m| self.is_it(m))?)))
            .collect();
        let now: BTreeMap<String, Machine> = found
            .iter()
            .map(|(site, machine)| (site.host.name.clone(), (*machine).clone()))
            .collect();
        let changes = self.changes(&now);
        if let Some((_, machine)) = found.first() {
            self.name.clone_from(&machine.name);
        }
        self.known = now;
        let mut subject = Subject { name: self.name.clone(), ..Subject::default() };
        subject.hosts = found.iter().map(|(site, _)| site.host.name.clone()).collect();
        match found.first() {
            Some((site, machine)) => self.describe(&mut subject, site, machine),
            None => "gone".clone_into(&mut subject.state),
        }
        (subject, changes)
    }

    fn describe(&self, subject: &mut Subject, site: &Site, machine: &Machine) {
        subject.state = format!("{}, {}", machine.kind, machine.state);
        subject.tenant.clone_from(&machine.tenant);
        subject.since = machine.since.and_then(local_time);
        subject.vnics = machine.vnics.iter().map(vnic).collect();
        let plan = plan::plan(site, machine);
        let chosen = Place::parse(&self.point).choose(&plan, &machine.name).ok();
        let is_used = |point: &plan::Point| chosen.as_ref().is_some_and(|c| c.kind == point.kind);
        let mut points: Vec<PointLine> =
            plan.points.iter().map(|point| point_line(point, is_used(point))).collect();
        points.sort_by_key(|point| !point.is_used);
        subject.points = points;
    }

    /// What has changed at each host.
    fn changes(&self, now: &BTreeMap<String, Machine>) -> Vec<String> {
        // At first everything would be new.
        if self.known.is_empty() {
            return Vec::new();
        }
        let hosts = self.known.keys().chain(now.keys().filter(|k| !self.known.contains_key(*k)));
        let changes = hosts.flat_map(|host| {
            let of = |all: &BTreeMap<String, Machine>| -> Vec<Machine> {
                all.get(host).into_iter().cloned().collect()
            };
            let all = inventory::changes(Timestamp::ZERO, &of(&self.known), &of(now));
            all.into_iter().map(move |change| format!("{host}: {change}"))
        });
        changes.collect()
    }

    fn is_it(&self, machine: &Machine) -> bool {
        machine.id == self.id || self.is_weak() && machine.name == self.name
    }

    /// Whether its identity is a number that another one may have tomorrow, or on another host.
    const fn is_weak(&self) -> bool {
        matches!(self.id, MachineId::Namespace(_) | MachineId::Process(_) | MachineId::Port(_))
    }
}

fn vnic(vnic: &inventory::Vnic) -> VnicLine {
    let mut addresses: Vec<String> = vnic.mac.iter().map(ToString::to_string).collect();
    addresses.extend(vnic.ips.iter().map(|known| known.ip.to_string()));
    let place = match &vnic.attachment {
        None => "not attached".to_owned(),
        Some(place) => {
            let group = place.port_group.as_ref().map(|group| format!(", group {group}"));
            let group = group.unwrap_or_default();
            format!("{}{group}, {}", short_place(place), short_way(place))
        }
    };
    VnicLine { name: vnic.name.clone(), addresses: addresses.join(" "), place }
}

fn point_line(point: &plan::Point, is_used: bool) -> PointLine {
    let devices: Vec<&str> = point.interfaces.iter().map(|i| i.name.as_str()).collect();
    let place = match devices.as_slice() {
        [] => point.kind.to_string(),
        devices => format!("{} {}", point.kind, devices.join(", ")),
    };
    match &point.refusal {
        Some(refusal) => {
            PointLine { place, is_used, sees: format!("cannot be used: {refusal}"), misses: vec![] }
        }
        None => {
            let (sees, misses) = (format!("sees {}", point.sees), point.misses.clone());
            PointLine { place, is_used, sees, misses }
        }
    }
}

/// A time on this computer's clock.
fn local_time(time: Timestamp) -> Option<String> {
    let time = jiff::Timestamp::from_nanosecond(i128::from(time.as_nanos())).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string())
}

/// Passes on what a controller tells, also after it was away.
async fn attend(connection: Connection, news: Sender<Vec<HostFound>>) {
    loop {
        if let Ok(mut replies) = connection.watch_machines("").await {
            while let Ok(Some(hosts)) = connection.watched(&mut replies).await {
                if news.send(hosts).is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(RETRY_EVERY).await;
    }
}

/// How long one source of the inventory may take.
const READ_WITHIN: Duration = Duration::from_secs(3);

/// How often a controller that is away is looked for.
const RETRY_EVERY: Duration = Duration::from_secs(1);
