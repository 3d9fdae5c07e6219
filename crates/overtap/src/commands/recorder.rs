//! `overtap recorder`: what a flight recorder has, and its keys.

use std::path::{Path, PathBuf};

use agent::{grouped, packets};
use anyhow::bail;
use recorder::{KeyError, KeyRing, Recorded, Store};
use serde::Serialize;

use super::print_out;
use crate::Output;
use crate::exit::Exit;
use crate::quantity::show_bytes;

/// Shows what a flight recorder has; changes its key.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Budget, what is used of it, machines and when they were recorded, what was lost.
    Status {
        #[command(flatten)]
        place: Place,
        /// How to print it.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Makes a new key and seals the keys of all segments with it; the old one then opens none.
    Rotate {
        #[command(flatten)]
        place: Place,
    },
}

/// Which recorder.
#[derive(clap::Args)]
struct Place {
    /// Its directory.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIRECTORY)]
    dir: PathBuf,

    /// Its key file. Default: the directory's name with `.key` behind it.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  overtap recorder status --dir /var/lib/overtap/recorder
  overtap recorder rotate";

/// Where recordings are kept if nobody says otherwise.
pub(crate) const DEFAULT_DIRECTORY: &str = "/var/lib/overtap/recorder";

/// Beside the directory, so that both are not taken away together by accident.
pub(crate) fn default_key_file(directory: &Path) -> PathBuf {
    let mut name = directory.components().as_path().as_os_str().to_owned();
    name.push(".key");
    name.into()
}

/// The keys to read with; for want of them nothing can be read.
pub(crate) fn read_keys(path: &Path) -> Result<KeyRing, KeyError> {
    KeyRing::read(path)
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.what {
        What::Status { place, output } => status(place, *output),
        What::Rotate { place } => rotate(place),
    }
}

impl Place {
    fn key_file(&self) -> PathBuf {
        self.key_file.clone().unwrap_or_else(|| default_key_file(&self.dir))
    }
}

fn status(place: &Place, output: Output) -> anyhow::Result<Exit> {
    let store = Store::open(&place.dir, KeyRing::read(&place.key_file())?)?;
    let status = Status::of(&store);
    let text = match output {
        Output::Json => serde_json::to_string_pretty(&status)? + "\n",
        Output::Text => status.text(&place.dir),
    };
    print_out(text.as_bytes())?;
    Ok(Exit::Done)
}

fn rotate(place: &Place) -> anyhow::Result<Exit> {
    let path = place.key_file();
    let mut keys = KeyRing::read(&path)?;
    keys.add_new()?;
    // First the new key is safe, then it is needed.
    keys.write(&path)?;
    let mut store = Store::open(&place.dir, keys.clone())?;
    let done = store.rewrap();
    keys.keep(&done.needed);
    keys.write(&path)?;
    let mut text = format!("{} segments are sealed with a new key\n", done.changed);
    if !done.needed.is_empty() {
        text += &format!(
            "{} old keys stay in {}: a segment that is being written needs them; start the \
             recorder again, then rotate again\n",
            keys.count() - 1,
            path.display()
        );
    }
    print_out(text.as_bytes())?;
    if store.damages().next().is_some() {
        bail!("some segments cannot be read; see overtap recorder status");
    }
    Ok(Exit::Done)
}

/// What is in a store.
#[derive(Serialize)]
struct Status {
    budget_bytes: Option<u64>,
    budget_age_s: Option<u64>,
    used_bytes: u64,
    segments: usize,
    /// RFC 3339.
    oldest: Option<String>,
    machines: Vec<MachineStatus>,
    /// What cannot be read.
    damages: Vec<String>,
}

#[derive(Serialize)]
struct MachineStatus {
    id: String,
    name: String,
    tenant: Option<String>,
    points: Vec<String>,
    packets: u64,
    bytes: u64,
    kernel_dropped: u64,
    unwritten: u64,
    /// From and to, RFC 3339, oldest first.
    spans: Vec<(String, String)>,
}

impl Status {
    fn of(store: &Store) -> Self {
        let budget = store.budget();
        Self {
            budget_bytes: budget.map(|budget| budget.bytes),
            budget_age_s: budget.and_then(|budget| budget.age).map(|age| age.as_secs()),
            used_bytes: store.bytes(),
            segments: store.segments(),
            oldest: store.oldest().map(show_time),
            machines: store.machines().into_iter().map(MachineStatus::of).collect(),
            damages: store.damages().map(ToString::to_string).collect(),
        }
    }

    fn text(&self, directory: &Path) -> String {
        let mut text = format!(
            "{}: {} of {} in {} segments",
            directory.display(),
            show_bytes(self.used_bytes),
            self.budget_bytes.map_or_else(|| "?".to_owned(), show_bytes),
            grouped(self.segments as u64)
        );
        if let Some(age) = self.budget_age_s {
            text += &format!(", at most {} s", grouped(age));
        }
        if let Some(oldest) = &self.oldest {
            text += &format!(", since {oldest}");
        }
        text.push('\n');
        for machine in &self.machines {
            let MachineStatus { id, name, packets: count, bytes, .. } = machine;
            let lost = machine.kernel_dropped + machine.unwritten;
            text += &format!("  {name} ({id}): {}, {}", packets(*count), show_bytes(*bytes));
            if lost > 0 {
                text += &format!(", {} lost", grouped(lost));
            }
            text.push('\n');
            for label in &machine.points {
                text += &format!("    at {label}\n");
            }
            for (from, to) in &machine.spans {
                text += &format!("    {from} to {to}\n");
            }
        }
        for damage in &self.damages {
            text += &format!("  {damage}\n");
        }
        text
    }
}

impl MachineStatus {
    fn of(recorded: Recorded) -> Self {
        let spans = recorded.spans.iter().map(|span| (show_time(span.from), show_time(span.to)));
        Self {
            spans: spans.collect(),
            id: recorded.machine.id,
            name: recorded.machine.name,
            tenant: recorded.machine.tenant,
            points: recorded.labels,
            packets: recorded.packets,
            bytes: recorded.bytes,
            kernel_dropped: recorded.lost.kernel_dropped,
            unwritten: recorded.lost.unwritten,
        }
    }
}

fn show_time(time: wire::Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(time.as_nanos().into())
        .map_or_else(|_| "?".to_owned(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_beside_the_directory() {
        for directory in ["/var/lib/rec", "/var/lib/rec/"] {
            assert_eq!(default_key_file(Path::new(directory)), Path::new("/var/lib/rec.key"));
        }
    }
}
