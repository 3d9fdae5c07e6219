//! `overtap top --live`: who moves most on this host now, on a full screen or a line of JSON each
//! second.

use std::io::{ErrorKind, Write};
use std::thread;
use std::time::{Duration, Instant};

use flows::Split;
use jiff::Timestamp;
use plan::Names;
use screen::{Fault, MachineSums, Of, Top, TopAct};
use select::Filter;
use serde_json::{Value, json};

use crate::commands::capture::{AnyName, Signals, parse_filter};
use crate::commands::watch::{talk, view::Watching};
use crate::commands::{every_port, print_out};
use crate::exit::{Exit, WrongUsage};
use crate::watching::{Feed, Input, Surroundings, Terminal, Told, look, needs_terminal, with_time};

/// How it is shown.
pub(super) struct Wanted {
    /// What rows are of at first.
    pub(super) of: Of,
    /// Only packets that this expression takes; all of them if it is empty.
    pub(super) expression: String,
    /// How often it is counted anew.
    pub(super) every: Duration,
    /// One object a line instead of a screen.
    pub(super) is_json: bool,
    /// With JSON: end after so many lines.
    pub(super) count: Option<u64>,
    /// Rows of each list, with JSON; 0 is all.
    pub(super) most: usize,
}

/// This host, as it is watched.
struct Host {
    surroundings: Surroundings,
    feed: Feed,
    every: Duration,
}

/// Runs until somebody has enough.
pub(super) fn run(wanted: &Wanted) -> anyhow::Result<Exit> {
    if !wanted.is_json {
        needs_terminal("overtap top --live", "overtap top --live --output json")?;
    }
    parse_filter(&wanted.expression, &AnyName)?;
    let signals = Signals::take()?;
    let surroundings = Surroundings::here()?;
    let feed = Feed::begin(&[every_port::WORD.to_owned()])?;
    signals.keep_alive();
    feed.metering().set_history(surroundings.history());
    let mut host = Host { surroundings, feed, every: wanted.every };
    if !wanted.expression.is_empty() {
        host.understood(&wanted.expression).map_err(|error| WrongUsage(error.to_string()))?;
        host.feed.metering().set_expression(&wanted.expression);
    }
    if wanted.is_json {
        return host.lines(wanted, &signals);
    }
    let mut terminal = Terminal::take()?;
    let shown = host.show(&mut terminal, &signals, wanted);
    drop(terminal);
    if let Some(command) = shown? {
        print_out(format!("{command}\n").as_bytes())?;
    }
    Ok(Exit::Done)
}

impl Host {
    /// Shows it until a person or a signal ends that. Gives back what is to be printed then.
    fn show(
        &mut self,
        terminal: &mut Terminal,
        signals: &Signals,
        wanted: &Wanted,
    ) -> anyhow::Result<Option<String>> {
        let mut view = Top::new(look(), self.name(), wanted.of, wanted.expression.clone());
        let mut due = Instant::now();
        let mut is_changed = true;
        while !signals.have_come() {
            for told in self.news() {
                let (Told::Event(text) | Told::Over(text)) = told;
                view.happened(text);
                is_changed = true;
            }
            if Instant::now() >= due {
                due = Instant::now() + self.every;
                let seen = self.feed.metering().tick();
                view.tick(seen.snapshot, self.feed.dropped());
                is_changed = true;
            }
            if std::mem::take(&mut is_changed) {
                terminal.draw(|frame| view.draw(frame))?;
            }
            let input = terminal.next(LOOK_EVERY)?;
            is_changed |= input.is_some();
            let act = match input {
                Some(Input::Interrupt) => return Ok(None),
                Some(Input::Key(key)) => view.press(key, &|text| self.fault(text)),
                Some(Input::Other) | None => None,
            };
            match act {
                Some(TopAct::Leave) => return Ok(None),
                Some(TopAct::Filter(text)) => self.feed.metering().set_expression(&text),
                Some(TopAct::Watch(machine)) => match self.watch(&machine, terminal, signals) {
                    Ok(Some(command)) => return Ok(Some(command)),
                    Ok(None) => {}
                    Err(error) => view.happened(with_time(&format!("{error:#}"))),
                },
                None => {}
            }
        }
        Ok(None)
    }

    /// One object a line.
    fn lines(&mut self, wanted: &Wanted, signals: &Signals) -> anyhow::Result<Exit> {
        let mut out = std::io::stdout().lock();
        let mut due = Instant::now() + self.every;
        let (mut left, mut events, mut is_over) = (wanted.count, Vec::new(), false);
        loop {
            for told in self.news() {
                is_over |= matches!(told, Told::Over(_));
                let (Told::Event(text) | Told::Over(text)) = told;
                events.push(text);
            }
            if Instant::now() >= due || is_over {
                due += self.every;
                let line = self.line(&std::mem::take(&mut events), wanted.most)?;
                match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Exit::Done),
                    written => written?,
                }
                left = left.map(|left| left.saturating_sub(1));
            }
            match (left, is_over) {
                _ if signals.have_come() => return Ok(Exit::Done),
                (Some(0), _) => return Ok(Exit::Done),
                (_, true) => return Ok(Exit::Failed),
                _ => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn line(&self, events: &[String], most: usize) -> anyhow::Result<String> {
        let seen = self.feed.metering().tick();
        let snapshot = seen.snapshot;
        let most = if most == 0 { usize::MAX } else { most };
        let (mut vms, mut talks) = (snapshot.machines, snapshot.talks);
        vms.sort_by_key(|vm| std::cmp::Reverse(vm.both.octets));
        talks.sort_by_key(|talk| std::cmp::Reverse(talk.both.octets));
        let splits = Split::ALL.iter().zip(&snapshot.splits);
        let splits = splits.map(|(split, traffic)| {
            let figures = json!({
                "packets": traffic.packets,
                "bytes": traffic.octets,
                "bits_per_s": traffic.octets_per_s * 8.0,
            });
            (split.name().to_owned(), figures)
        });
        let object = json!({
            "time": Timestamp::now().to_string(),
            "host": self.name(),
            "packets": snapshot.total.packets,
            "bytes": snapshot.total.octets,
            "packets_per_s": snapshot.total.packets_per_s,
            "bits_per_s": snapshot.total.octets_per_s * 8.0,
            "dropped": self.feed.dropped(),
            "splits": splits.collect::<serde_json::Map<_, _>>(),
            "vms": vms.iter().take(most).map(vm).collect::<Vec<_>>(),
            "talkers": talks.iter().take(most).map(talk).collect::<Vec<_>>(),
            "events": events,
        });
        Ok(serde_json::to_string(&object)? + "\n")
    }

    /// The VM of a row, until somebody comes back. Gives back the command that is to be printed, if
    /// this was how it was left.
    fn watch(
        &self,
        label: &str,
        terminal: &mut Terminal,
        signals: &Signals,
    ) -> anyhow::Result<Option<String>> {
        let surroundings = Surroundings::here()?;
        let is_it = |machine: &&inventory::Machine| match &machine.tenant {
            Some(tenant) => label == format!("{tenant}/{}", machine.name),
            None => label == machine.name,
        };
        let sites = surroundings.sites();
        let found = sites.iter().flat_map(|site| &site.machines).find(is_it);
        let id = found.map(|machine| machine.id.to_string());
        let Some(id) = id else { anyhow::bail!("{label} is not here any more") };
        let mut watching = Watching::begin(surroundings, &id, "auto", "")?;
        let left = watching.show(terminal, signals, self.every, true)?;
        Ok(match left {
            screen::Leave::WithCommand(talk) => Some(watching.command(talk.as_deref(), true)),
            screen::Leave::Quietly => None,
        })
    }

    fn news(&mut self) -> Vec<Told> {
        let told = self.feed.told();
        if self.surroundings.update() {
            self.feed.metering().set_history(self.surroundings.history());
        }
        let timed = told.into_iter().map(|told| match told {
            Told::Event(text) => Told::Event(with_time(&text)),
            Told::Over(text) => Told::Over(with_time(&text)),
        });
        timed.collect()
    }

    /// What is wrong with an expression, if anything is.
    fn fault(&self, text: &str) -> Option<Fault> {
        let error = self.understood(text).err()?;
        Some(Fault {
            column: error.column,
            width: error.width,
            message: error.message,
            suggestion: error.suggestion,
        })
    }

    fn understood(&self, text: &str) -> Result<Filter, select::ParseError> {
        Filter::parse_with(text, &Names::new(&self.surroundings.history()))
    }

    fn name(&self) -> String {
        self.surroundings.sites().first().map(|site| site.host.name.clone()).unwrap_or_default()
    }
}

/// A machine's sums.
fn vm(sums: &MachineSums) -> Value {
    json!({
        "vm": sums.name,
        "sent_packets": sums.sent.packets,
        "sent_bytes": sums.sent.octets,
        "received_packets": sums.received.packets,
        "received_bytes": sums.received.octets,
        "bits_per_s": sums.both.octets_per_s * 8.0,
    })
}

/// How often it is looked for signals and for what is told, where nobody presses a key.
const LOOK_EVERY: Duration = Duration::from_millis(100);
