//! `overtap mirror VM --to ...`: makes a mirror, watches it, removes it.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use agent::{KernelRules, Selection};
use anyhow::{Context, bail};
use inventory::{Machine, Site};
use jiff::Zoned;
use plan::mirror::{Means, Way};
use platform::LiveSite;
use platform::mirror::{
    Address, Counts, Followed, Instruction, Mirroring, Order, Record, Removal, State,
};
use select::Ownership;
use select::bpf::InKernel;
use serde::Serialize;

use super::guard::Guard;
use super::tool::Addressee;
use super::{Make, MeansWord, detached};
use crate::Output;
use crate::commands::capture::{AnyName, Signals, explained, parse_filter};
use crate::controller;
use crate::exit::{Exit, WrongUsage};
use crate::quantity::show_bytes;
use crate::site;
use crate::table::plain;

pub(super) fn run(args: &Make) -> anyhow::Result<Exit> {
    let text = args.vm.as_deref().unwrap_or_default();
    let selection = selection(text)?;
    let expression = args.expression.join(" ");
    parse_filter(&expression, &AnyName)?;
    let addressee = Addressee::read(args.to.as_deref().unwrap_or_default())?;
    let to = addressee.destination.clone();
    if controller::login(args.local)?.is_some() {
        return Err(WrongUsage(
            "a mirror is made on the VM's own host: run it there, with --local".into(),
        )
        .into());
    }
    let register = super::register()?;
    if args.detach {
        return detached::start(&register, args.output);
    }
    super::reap(&register);
    let mut live = LiveSite::read(READ_WITHIN);
    let machines = selected(&selection, live.site())?;
    if machines.is_empty() {
        let all = live.site();
        site::say_problems(all);
        // One name that means nothing is a mistake; a pattern or a tenant may come to mean one.
        if !text.contains(['*', '?', ':', ',']) {
            site::one(all, text)?;
        }
    }
    let (machines, refusals) = addressee.permitted(machines);
    if machines.is_empty() && !refusals.is_empty() {
        bail!("{} may not have these packets: {}", addressee.name, refusals.join("; "));
    }
    let ways = plan::mirror::ways(&machines, &to);
    if args.plan {
        return print_plan(&ways, args.output);
    }
    let way = chosen(&ways, machines.is_empty(), args.means, &expression)?.clone();
    let program = program(&expression, live.site(), &machines, args.allow_more)?;
    let host = live.site().host.name.clone();
    let signals = Signals::take()?;
    let slot = register.take(|id| record(id, args, text, &expression, &addressee, &way, &host));
    let slot = slot.with_context(|| {
        format!("cannot write down what is mirrored in {}", register.directory().display())
    })?;
    let mut guard = Guard::start(&slot.record.id)?;
    let id = slot.record.id.clone();
    let order = Order {
        destination: to.clone(),
        means: way.means,
        ovn: ovn_nb(args)?.filter(|_| way.means == Means::Ovn),
        oversize: args.oversize.into(),
        program,
    };
    let mirroring = Mirroring::start(order, slot, &way)?;
    signals.keep_alive();
    let mut said = Said::new(args);
    said.beginning(&id, &way, &addressee.name, &mirroring);
    said.refused(refusals);
    if args.is_detached {
        println!("{id}");
        std::io::stdout().flush()?;
    }
    live.watch()?;
    let until = args.duration.map(|duration| Instant::now() + duration);
    let mut watched = Watched {
        mirroring,
        live: &mut live,
        selection: &selection,
        addressee: &addressee,
        guard: &mut guard,
    };
    let end = watched.until_it_ends(&signals, until, &mut said);
    let Watched { mirroring, .. } = watched;
    let removal = mirroring.end();
    said.clear();
    report(args, &id, text, &addressee.name, way.means, &end?, &removal)
}

/// A mirror while it lasts.
struct Watched<'a> {
    mirroring: Mirroring,
    live: &'a mut LiveSite,
    selection: &'a Selection,
    addressee: &'a Addressee,
    guard: &'a mut Guard,
}

/// Why a mirror was removed.
struct End {
    reason: String,
    is_failure: bool,
}

impl Watched<'_> {
    fn until_it_ends(
        &mut self,
        signals: &Signals,
        until: Option<Instant>,
        said: &mut Said,
    ) -> anyhow::Result<End> {
        let wanted = |reason: &str| Ok(End { reason: reason.to_owned(), is_failure: false });
        loop {
            if signals.have_come() {
                return wanted("somebody stopped it");
            }
            if self.mirroring.slot().is_asked_to_end() {
                return wanted("somebody removed it");
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return wanted("its time is over");
            }
            let now_ns = Zoned::now().timestamp().as_nanosecond();
            if self.addressee.until().is_some_and(|until| i128::from(until.as_nanos()) <= now_ns) {
                return wanted("the tool's grant is over");
            }
            if self.live.update_within(LOOK_EVERY) || self.mirroring.is_to_be_tried() {
                let machines = selected(self.selection, self.live.site())?;
                let (machines, refusals) = self.addressee.permitted(machines);
                said.refused(refusals);
                let followed = self.mirroring.follow(&machines);
                if let Some(end) = said.followed(followed) {
                    return Ok(end);
                }
            }
            if let Some(end) = said.followed(self.mirroring.look()) {
                return Ok(end);
            }
            said.progress(self.mirroring.counts());
            if self.guard.revive()? {
                said.now("the guard of the mirror had died; there is a new one");
            }
        }
    }
}

/// Where OVN's northbound database is.
fn ovn_nb(args: &Make) -> anyhow::Result<Option<Address>> {
    if args.means != MeansWord::Ovn {
        return Ok(None);
    }
    let text = args.ovn_nb.clone().or_else(|| std::env::var("OVN_NB_DB").ok());
    let text = text.unwrap_or_else(|| "unix:/var/run/ovn/ovnnb_db.sock".to_owned());
    text.parse().map(Some).map_err(|error: String| WrongUsage(error).into())
}

/// `web,db-*,tenant:acme`.
fn selection(text: &str) -> anyhow::Result<Selection> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let (tenants, names): (Vec<_>, Vec<_>) =
        words.map(str::to_owned).partition(|word| word.starts_with("tenant:"));
    let tenants: Vec<String> =
        tenants.iter().map(|word| word.trim_start_matches("tenant:").to_owned()).collect();
    Selection::new(&names, &tenants).map_err(|error| WrongUsage(error.to_string()).into())
}

fn selected<'a>(selection: &Selection, site: &'a Site) -> anyhow::Result<Vec<&'a Machine>> {
    Ok(selection.machines(site)?)
}

/// The means that is asked for, or the best that can do it.
fn chosen<'a>(
    ways: &'a [Way],
    is_nobody_here: bool,
    word: MeansWord,
    expression: &str,
) -> anyhow::Result<&'a Way> {
    let wanted = match word {
        MeansWord::Auto => None,
        MeansWord::Ovs => Some(Means::OpenVSwitch),
        MeansWord::Ovn => Some(Means::Ovn),
        MeansWord::Tc => Some(Means::TrafficControl),
    };
    if is_nobody_here {
        // Which means there will be depends on where they come.
        let way = ways.iter().find(|way| Some(way.means) == wanted);
        return way.ok_or_else(|| {
            anyhow::anyhow!("none of these VMs is here yet; say by --means what shall mirror them")
        });
    }
    let mut reasons = Vec::new();
    // What changes a database that is not this host's alone is done only when asked for.
    let is_wanted = |way: &&Way| match wanted {
        None => way.means != Means::Ovn,
        Some(wanted) => way.means == wanted,
    };
    for way in ways.iter().filter(is_wanted) {
        let refusal = match &way.refusal {
            Some(refusal) => refusal.clone(),
            None if !expression.trim().is_empty() && way.means != Means::TrafficControl => {
                "a switch copies whole ports and cannot decide an expression; use --means tc".into()
            }
            None => return Ok(way),
        };
        reasons.push(format!("{}: {refusal}", way.means));
    }
    bail!("no means can mirror that: {}", reasons.join("; "))
}

/// The kernel program of an expression, which decides alone: a virtual tap has nobody behind it who
/// would look again.
fn program(
    expression: &str,
    site: &Site,
    machines: &[&Machine],
    is_more_allowed: bool,
) -> anyhow::Result<Option<Vec<Instruction>>> {
    let Some(machine) = machines.first() else {
        return match expression.trim().is_empty() {
            true => Ok(None),
            false => bail!("an expression needs a VM that is here"),
        };
    };
    let explained = explained(expression, site, machine)?;
    let Some(filter) = parse_filter(expression, &explained)? else { return Ok(None) };
    let program = KernelRules::new(Some(&filter)).program(&Ownership::Whole, 0);
    match &program.expression {
        InKernel::Nothing => return Ok(None),
        InKernel::Attached(passed) if passed.is_empty() || is_more_allowed => {}
        inexact => bail!(
            "the mirror would copy more than the expression wants: {inexact}; accept that with \
             --allow-more, or capture instead: overtap capture {} '{expression}'",
            machine.name
        ),
    }
    let instructions = program.program.instructions().iter();
    Ok(Some(instructions.map(|i| (i.code, i.jt, i.jf, i.k)).collect()))
}

fn record(
    id: String,
    args: &Make,
    selection: &str,
    expression: &str,
    to: &Addressee,
    way: &Way,
    host: &str,
) -> Record {
    let now = milliseconds(&Zoned::now());
    let duration = args.duration.map(|duration| u64::try_from(duration.as_millis()));
    Record {
        id,
        selection: selection.to_owned(),
        expression: expression.to_owned(),
        to: to.name.clone(),
        means: way.means.word().to_owned(),
        host: host.to_owned(),
        watcher: std::process::id(),
        made_at_ms: now,
        until_ms: duration.and_then(Result::ok).map(|duration| now.saturating_add(duration)),
        state: State::Starting,
        sources: Vec::new(),
        notes: way.misses.iter().map(|miss| format!("misses {miss}")).collect(),
        counts: Counts::default(),
        handles: Vec::new(),
    }
}

fn milliseconds(time: &Zoned) -> u64 {
    u64::try_from(time.timestamp().as_millisecond()).unwrap_or_default()
}

fn print_plan(ways: &[Way], output: Output) -> anyhow::Result<Exit> {
    let text = match output {
        Output::Json => serde_json::to_string_pretty(ways)? + "\n",
        Output::Text => ways.iter().enumerate().map(|(n, way)| in_words(n + 1, way)).collect(),
    };
    crate::commands::print_out(text.as_bytes())?;
    let is_possible = ways.iter().any(|way| way.refusal.is_none());
    Ok(if is_possible { Exit::Done } else { Exit::Failed })
}

fn in_words(number: usize, way: &Way) -> String {
    let mut text = format!("{number}. {} (--means {})\n", way.means, way.means.word());
    let mut line = |label: &str, value: &str| {
        text += &format!("   {label:<9} {}\n", plain(value));
    };
    if let Some(refusal) = &way.refusal {
        line("cannot", refusal);
        return text;
    }
    for source in &way.sources {
        line("at", &format!("{} ({})", source.device, source.label));
    }
    line("sees", &way.sees);
    for miss in &way.misses {
        line("misses", miss);
    }
    line("costs", &way.costs);
    line("disturbs", &way.disturbs);
    text
}

/// Prints how it ended.
fn report(
    args: &Make,
    id: &str,
    selection: &str,
    to: &str,
    means: Means,
    end: &End,
    removal: &Removal,
) -> anyhow::Result<Exit> {
    #[derive(Serialize)]
    struct Report<'a> {
        id: &'a str,
        selection: &'a str,
        to: &'a str,
        means: &'a str,
        end: &'a str,
        copied: Counts,
        is_removed: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        problem: Option<&'a str>,
    }
    let report = Report {
        id,
        selection,
        to,
        means: means.word(),
        end: &end.reason,
        copied: removal.counts,
        is_removed: removal.problem.is_none(),
        problem: removal.problem.as_deref(),
    };
    match args.output {
        Output::Json if !args.is_detached => {
            println!("{}", serde_json::to_string_pretty(&report)?);
        }
        _ if args.quiet => {}
        _ => {
            let copied = copied(removal.counts);
            eprintln!("mirror {id} ended because {}: copied {copied}", plain(&end.reason));
        }
    }
    if let Some(problem) = &removal.problem {
        bail!("mirror {id} is not removed: {problem}; try again: overtap mirror list");
    }
    Ok(if end.is_failure { Exit::Failed } else { Exit::Done })
}

/// Figures of a mirror, with their age where that matters.
fn copied(counts: Counts) -> String {
    if counts.at_ms == 0 {
        return "nothing that its means has counted yet".into();
    }
    let mut text = format!("{} ({})", agent::packets(counts.packets), show_bytes(counts.bytes));
    if let Some(failed) = counts.failed.filter(|failed| *failed > 0) {
        text += &format!(", {} could not be sent", agent::packets(failed));
    }
    let age_ms = milliseconds(&Zoned::now()).saturating_sub(counts.at_ms);
    if age_ms >= 1000 {
        text += &format!(", as counted {} s ago", age_ms / 1000);
    }
    text
}

/// Lines on standard error.
struct Said {
    is_quiet: bool,
    is_terminal: bool,
    is_line_open: bool,
    refusals: Vec<String>,
    next_progress: Instant,
}

impl Said {
    fn new(args: &Make) -> Self {
        Self {
            is_quiet: args.quiet,
            is_terminal: std::io::stderr().is_terminal() && !args.is_detached,
            is_line_open: false,
            refusals: Vec::new(),
            next_progress: Instant::now(),
        }
    }

    fn beginning(&mut self, id: &str, way: &Way, to: &str, mirroring: &Mirroring) {
        let sources = mirroring.sources().iter();
        let sources: Vec<_> = sources.map(|s| format!("{} @ {}", s.label, s.device)).collect();
        let what = match sources.is_empty() {
            true => "waiting for its VMs".to_owned(),
            false => format!("mirroring {}", sources.join(", ")),
        };
        let kind = mirroring.kind().map_or_else(String::new, |kind| format!(": {kind}"));
        self.line(&format!("{what} -> {to} ({}{kind}, {id})", way.means));
        for miss in &way.misses {
            self.line(&format!("  misses {miss}"));
        }
        self.line("  Ctrl-C removes it");
    }

    /// Says whose packets are not mirrored, when that changes.
    fn refused(&mut self, refusals: Vec<String>) {
        for sentence in &refusals {
            if !self.refusals.contains(sentence) {
                self.line(&format!("  {sentence}"));
            }
        }
        self.refusals = refusals;
    }

    /// Says what happened; how it ended, if it did.
    fn followed(&mut self, followed: Followed) -> Option<End> {
        for sentence in &followed.sentences {
            self.now(sentence);
        }
        followed.ended.map(|reason| End { reason, is_failure: true })
    }

    fn progress(&mut self, counts: Counts) {
        if !self.is_terminal || self.is_quiet || Instant::now() < self.next_progress {
            return;
        }
        self.next_progress = Instant::now() + Duration::from_millis(500);
        eprint!("\r\x1b[K  copied {}", copied(counts));
        self.is_line_open = true;
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.is_line_open) {
            eprint!("\r\x1b[K");
        }
    }

    fn now(&mut self, text: &str) {
        self.line(&format!("{}: {text}", Zoned::now().strftime("%H:%M:%S%.3f")));
    }

    fn line(&mut self, text: &str) {
        if !self.is_quiet {
            self.clear();
            eprintln!("{}", plain(text));
        }
    }
}

const READ_WITHIN: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(20);
