//! `overtap mirror list`, `show` and `remove`: the mirrors of this host.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::bail;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use platform::mirror::{Listed, Register, State};
use serde::Serialize;

use crate::Output;
use crate::exit::Exit;
use crate::quantity::show_bytes;
use crate::table::{plain, table};

/// A mirror as it is printed for programs.
#[derive(Serialize)]
struct Row<'a> {
    is_watched: bool,
    #[serde(flatten)]
    record: &'a platform::mirror::Record,
}

pub(super) fn list(output: Output) -> anyhow::Result<Exit> {
    let register = super::register()?;
    super::reap(&register);
    let listed = register.list()?;
    let text = match output {
        Output::Json => {
            let rows: Vec<_> = listed.iter().map(row).collect();
            serde_json::to_string_pretty(&rows)? + "\n"
        }
        Output::Text if listed.is_empty() => "no mirrors\n".to_owned(),
        Output::Text => {
            let rows: Vec<_> = listed.iter().map(cells).collect();
            table(["ID", "VM", "TO", "MEANS", "STATE", "COPIES", "BYTES", "MIRRORS"], &rows)
        }
    };
    crate::commands::print_out(text.as_bytes())?;
    Ok(Exit::Done)
}

pub(super) fn show(id: &str, output: Output) -> anyhow::Result<Exit> {
    let register = super::register()?;
    super::reap(&register);
    let listed = one(&register, id)?;
    let text = match output {
        Output::Json => serde_json::to_string_pretty(&row(&listed))? + "\n",
        Output::Text => sentences(&register, &listed),
    };
    crate::commands::print_out(text.as_bytes())?;
    Ok(Exit::Done)
}

/// Removes one, or all: asks the watcher, and does it itself if there is none or it does not.
pub(super) fn remove(id: Option<&str>) -> anyhow::Result<Exit> {
    let register = super::register()?;
    let listed = match id {
        Some(id) => vec![one(&register, id)?],
        None => register.list()?,
    };
    for mirror in listed.iter().filter(|mirror| mirror.is_watched) {
        register.ask_to_end(&mirror.record.id)?;
    }
    let mut exit = Exit::Done;
    for mirror in &listed {
        let id = &mirror.record.id;
        let deadline = Instant::now() + WATCHER_ENDS_WITHIN;
        let mut problem = None;
        loop {
            for reaped in register.reap(Some(id))? {
                problem = reaped.problem;
            }
            let is_there = register.list()?.iter().any(|listed| listed.record.id == *id);
            if !is_there {
                register.forget_wish(id);
                println!("removed {id}");
                break;
            }
            if problem.is_some() || Instant::now() > deadline {
                let problem = problem.unwrap_or("its watcher does not answer; end it".into());
                eprintln!("overtap: {id} is not removed: {problem}");
                exit = Exit::Failed;
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(exit)
}

/// The one mirror whose id begins so.
fn one(register: &Register, id: &str) -> anyhow::Result<Listed> {
    let mut found: Vec<_> = register.list()?;
    found.retain(|listed| listed.record.id.starts_with(id) && !id.is_empty());
    match found.len() {
        1 => found.pop().ok_or_else(|| anyhow::anyhow!("no mirror {id}")),
        0 => bail!("there is no mirror {id}; see all: overtap mirror list"),
        more => bail!("{more} mirrors begin with {id}; give more of it"),
    }
}

fn row(listed: &Listed) -> Row<'_> {
    Row { is_watched: listed.is_watched, record: &listed.record }
}

fn cells(listed: &Listed) -> [String; 8] {
    let record = &listed.record;
    [
        record.id.clone(),
        record.selection.clone(),
        record.to.clone(),
        record.means.clone(),
        state(listed).to_owned(),
        agent::grouped(record.counts.packets),
        show_bytes(record.counts.bytes),
        record.sources.join(", "),
    ]
}

fn state(listed: &Listed) -> &'static str {
    match (listed.is_watched, listed.record.state) {
        (false, _) => "NOT WATCHED",
        (true, State::Starting) => "starting",
        (true, State::Mirroring) => "mirroring",
        (true, State::Waiting) => "waiting",
    }
}

fn sentences(register: &Register, listed: &Listed) -> String {
    let record = &listed.record;
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(text, "{label:<9} {}", plain(value));
    };
    line("mirror", &record.id);
    line("of", &record.selection);
    if !record.expression.is_empty() {
        line("only", &record.expression);
    }
    line("to", &record.to);
    line("means", &record.means);
    line("state", state(listed));
    line("host", &record.host);
    line("made", &time(record.made_at_ms));
    line("until", &record.until_ms.map_or("it is removed".into(), time));
    for source in &record.sources {
        line("mirrors", source);
    }
    let counts = record.counts;
    let copied = format!(
        "{} ({}), as counted at {}",
        agent::packets(counts.packets),
        show_bytes(counts.bytes),
        time(counts.at_ms)
    );
    line("copied", if counts.at_ms == 0 { "nothing counted yet" } else { &copied });
    if let Some(failed) = counts.failed {
        line("failed", &agent::packets(failed));
    }
    for note in &record.notes {
        line("note", note);
    }
    let log = register.directory().join(format!("{}.log", record.id));
    for said in fs::read_to_string(log).unwrap_or_default().lines() {
        line("said", said);
    }
    text
}

fn time(ms: u64) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.map_or_else(String::new, |at| {
        at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    })
}

const WATCHER_ENDS_WITHIN: Duration = Duration::from_secs(10);
