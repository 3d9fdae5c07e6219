//! `overtap find`: says where a VM is: host, vSwitch, port, overlay, uplink.

mod far;
mod journal;
mod json;
mod text;
mod when;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use inventory::{Change, History, Machine, MachineId, Past, Query, Site, Unfound};
use jiff::Zoned;
use jiff::tz::TimeZone;
use platform::LiveSite;

use self::journal::Journal;
pub(crate) use self::text::{short_place, short_way};
use crate::Output;
use crate::controller;
use crate::exit::{Exit, WrongUsage};
use crate::site::{say_problems, unfound};

/// Says where a VM is: host, vSwitch, port, VLAN or VNI, tap, uplink; since when, and who says so.
///
/// WHAT is a name, UUID, MAC, IP address, tap, port or port id, or the beginning of a name or id.
/// Containers and network namespaces count as machines too. Without WHAT all machines are listed.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  overtap find web-01                  where web-01 is now
  overtap find 10.0.7.12               which machine has this address
  overtap find --at '10 minutes ago'   what was where then
  overtap find --watch web-01          one line for each change, as it happens
  overtap find web-01 --explain        and why overtap believes so

Each look that finds something new is kept in a journal, which --at reads:
$OVERTAP_STATE_DIR, or else /var/lib/overtap for root and $XDG_STATE_HOME/overtap for others.

Exit codes: 0 found, 1 nothing found, 2 wrong usage.")]
pub(crate) struct Args {
    /// A name, UUID, MAC, IP address, tap, port or port id.
    what: Option<String>,
    /// What was where then: 2026-11-21T10:03:00Z, '2026-11-21 10:03', 10:03, '10 minutes ago'.
    #[arg(long, value_name = "TIME", conflicts_with = "watch")]
    at: Option<String>,
    /// Goes on and prints one line for each change.
    #[arg(long)]
    watch: bool,
    /// Says why: every fact that was used, and its source.
    #[arg(long)]
    explain: bool,
    /// On this host, although you are logged in at a controller.
    #[arg(long)]
    local: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let now = Zoned::now();
    let time = match &args.at {
        Some(text) => Some(when::parse(text, &now).map_err(WrongUsage)?),
        None => None,
    };
    if let Some(login) = controller::login(args.local)? {
        return far::run(args, login, time, now.time_zone());
    }
    let mut live = LiveSite::read(READ_WITHIN);
    let site = live.site().clone();
    let mut journal = Journal::open(&site.host.name);
    journal.record(live.changed_at(), &site);
    let query = args.what.as_deref().map(Query::parse);
    let finder = Finder { args, query, zone: now.time_zone().clone() };
    let result = match time {
        Some(time) => finder.past(&site, &journal, time),
        None if args.watch => finder.watch(&mut live, &mut journal),
        None => finder.present(&site, &journal),
    };
    let result = match result {
        // Whoever read our output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        other => other,
    };
    say_problems(live.site());
    if let Some(note) = journal.note() {
        eprintln!("overtap: {note}");
    }
    Ok(result?)
}

/// Everything the journal of this host remembers; nothing if there is none.
pub(crate) fn remembered() -> History {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    History::from(Journal::open(&host).timeline())
}

struct Finder<'a> {
    args: &'a Args,
    query: Option<Query>,
    zone: TimeZone,
}

impl Finder<'_> {
    fn present(&self, site: &Site, journal: &Journal) -> io::Result<Exit> {
        let machines = self.matching(site);
        let mut out = io::stdout().lock();
        match self.args.output {
            Output::Json => {
                let at = journal.timeline().last().unwrap_or_default();
                json::present(
                    &mut out,
                    site,
                    at,
                    &machines,
                    journal.timeline(),
                    self.args.explain,
                )?;
            }
            Output::Text => {
                let page = text::Page {
                    host: &site.host.name,
                    zone: &self.zone,
                    timeline: journal.timeline(),
                    explain: self.args.explain,
                };
                let is_list = self.query.is_none() && !self.args.explain;
                if is_list || machines.len() > MAX_DETAILED {
                    page.table(&mut out, &machines)?;
                } else {
                    page.details(&mut out, &machines)?;
                }
            }
        }
        out.flush()?;
        if machines.is_empty() {
            eprintln!("overtap: {}", self.nothing(site));
            return Ok(Exit::Failed);
        }
        Ok(Exit::Done)
    }

    fn matching<'s>(&self, site: &'s Site) -> Vec<&'s Machine> {
        match &self.query {
            Some(query) => site.find(query).matches.iter().map(|m| m.machine).collect(),
            None => site.machines.iter().collect(),
        }
    }

    /// Why nothing was found, in a sentence.
    fn nothing(&self, site: &Site) -> String {
        match &self.query {
            Some(query) => {
                let suggestions = site.find(query).suggestions;
                let suggestions = suggestions.into_iter().map(str::to_owned).collect();
                unfound(&Unfound::NotFound { query: query.clone(), suggestions }, site)
            }
            None => "no machine was found on this host".to_owned(),
        }
    }

    fn past(&self, site: &Site, journal: &Journal, time: wire::Timestamp) -> io::Result<Exit> {
        let timeline = journal.timeline();
        let past = self.asked(timeline.past(time));
        let mut out = io::stdout().lock();
        match self.args.output {
            Output::Json => json::past(&mut out, site, time, &past, timeline)?,
            Output::Text => {
                let page = text::Page {
                    host: &site.host.name,
                    zone: &self.zone,
                    timeline,
                    explain: self.args.explain,
                };
                page.past(&mut out, time, &past)?;
            }
        }
        out.flush()?;
        let is_known = past.iter().any(|p| is_known(p, time));
        if !is_known {
            let first = timeline.first().map(|t| when::show(t, &self.zone));
            let reason = match first {
                Some(first) if timeline.first() > Some(time) => {
                    format!("the first look at this host was at {first}; before that it is unknown")
                }
                _ => format!("at that time: {}", self.nothing(site)),
            };
            eprintln!("overtap: {reason}");
            return Ok(Exit::Failed);
        }
        Ok(Exit::Done)
    }

    /// The machines that the question is about, as they were before or after.
    fn asked(&self, past: Vec<Past>) -> Vec<Past> {
        let Some(query) = &self.query else { return past };
        // All together: what is called so comes before what only begins so.
        let all = Site { machines: past.iter().flat_map(states).collect(), ..Site::default() };
        let asked: BTreeSet<&MachineId> =
            all.find(query).matches.iter().map(|m| &m.machine.id).collect();
        let is_asked = |known: &Past| known.machine().is_some_and(|m| asked.contains(&m.id));
        past.into_iter().filter(is_asked).collect()
    }

    fn watch(&self, live: &mut LiveSite, journal: &mut Journal) -> io::Result<Exit> {
        if let Err(error) = live.watch() {
            return Err(io::Error::other(error.to_string()));
        }
        let mut asked: BTreeSet<MachineId> = BTreeSet::new();
        self.remember(live.site(), &mut asked);
        if self.args.output == Output::Text {
            let what = match (&self.query, asked.len()) {
                (None, count) => format!("{count} machines"),
                (Some(query), 0) => format!("for {:?}, which is not here yet", query.text()),
                (Some(_), 1) => "1 machine".to_owned(),
                (Some(_), count) => format!("{count} machines"),
            };
            eprintln!("overtap: watching {what}; changes follow, end with Ctrl-C");
        }
        let mut quiet_until = live.changed_at();
        loop {
            thread::sleep(STEP);
            let polled_at = when::now();
            if !live.update() {
                // Nothing said is nothing new: while somebody watches, silence is a look too.
                quiet_until = polled_at;
                journal.seen_at(quiet_until);
                continue;
            }
            journal.seen_at(quiet_until);
            // A VM's start shows in several sources a moment apart: what they say together is
            // one change, not a flicker of three.
            for _ in 0..MAX_SETTLE_STEPS {
                thread::sleep(STEP);
                if !live.update() {
                    break;
                }
            }
            let changes = journal.record(live.changed_at(), live.site());
            self.remember(live.site(), &mut asked);
            let mut out = io::stdout().lock();
            for change in changes.iter().filter(|c| asked.contains(&c.machine)) {
                self.print_change(&mut out, live.site(), change)?;
            }
            out.flush()?;
        }
    }

    /// Keeps in mind which machines the question is about: a renamed one still is.
    fn remember(&self, site: &Site, asked: &mut BTreeSet<MachineId>) {
        asked.extend(self.matching(site).into_iter().map(|m| m.id.clone()));
    }

    fn print_change(&self, out: &mut impl Write, site: &Site, change: &Change) -> io::Result<()> {
        match self.args.output {
            Output::Json => json::change(out, &site.host.name, change),
            Output::Text => {
                let time = when::show_exact(change.at, &self.zone);
                writeln!(out, "{time}  {}", text::printable(&change.to_string()))
            }
        }
    }
}

/// The one or two states in which a machine is known.
fn states(past: &Past) -> Vec<Machine> {
    match past {
        Past::Seen { machine, .. } | Past::BeforeFirstLook { machine, .. } => vec![machine.clone()],
        Past::Changed { before, after, .. } => before.iter().chain(after).cloned().collect(),
    }
}

/// Whether something can be said about the time asked for, not only about later.
fn is_known(past: &Past, time: wire::Timestamp) -> bool {
    match past {
        Past::Seen { .. } | Past::Changed { .. } => true,
        Past::BeforeFirstLook { machine, .. } => machine.since.is_some_and(|since| since <= time),
    }
}

/// How long one source may take to answer.
const READ_WITHIN: Duration = Duration::from_secs(3);

/// More machines than this are shown as a table.
const MAX_DETAILED: usize = 10;

/// How often it is looked whether a source has said something.
const STEP: Duration = Duration::from_millis(60);

/// How many more steps are waited for the sources to agree.
const MAX_SETTLE_STEPS: usize = 5;
