//! `overtap record`: a flight recorder of the packets of VMs.

use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use agent::{
    Event, Outcome, Place, Recording, RecordingReceipt, RecordingWanted, Selection, StoreOrder,
    grouped, packets,
};
use anyhow::Context;
use jiff::Zoned;
use pipeline::Limits;
use plan::Names;
use platform::LiveSite;
use recorder::KeyRing;
use select::Resolved;

use super::capture::{AnyName, Signals, parse_filter};
use super::recorder::{DEFAULT_DIRECTORY, default_key_file};
use crate::Output;
use crate::exit::{Exit, WrongUsage};
use crate::names;
use crate::quantity::{parse_buffer, parse_bytes, parse_bytes_or_none, parse_duration, show_bytes};

/// Records the packets of VMs all the time, within a budget, for `overtap capture --last`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The VMs, containers or namespaces: names or ids, or patterns like 'web-*'. Those that come
    /// later are recorded from when they come.
    #[arg(value_name = "VM")]
    vms: Vec<String>,

    /// All machines of this tenant; can be given several times.
    #[arg(long, value_name = "NAME")]
    tenant: Vec<String>,

    /// Only these packets of them, as `overtap capture` understands it; behind `--`.
    #[arg(last = true, value_name = "EXPR")]
    expression: Vec<String>,

    /// Where the recording is kept; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIRECTORY)]
    dir: PathBuf,

    /// Bytes that all recordings in the directory may have; the oldest goes first.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "4GiB")]
    size: u64,

    /// How old a packet may get; nothing is kept much longer. Default: as old as --size allows.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    age: Option<Duration>,

    /// The key that seals the recording; made if it is not there. Without it nothing can be read.
    /// Default: the directory's name with `.key` behind it.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,

    /// Where to look: `auto`, `tap` (the VM's own ports), `uplink`, `inside`, or an interface.
    #[arg(long, value_name = "auto|tap|uplink|inside|IFACE", default_value = "auto")]
    point: String,

    /// Keep at most this many bytes of each packet.
    #[arg(short, long, value_name = "BYTES", default_value_t = 262_144,
          value_parser = clap::value_parser!(u32).range(1..=262_144))]
    snaplen: u32,

    /// Remove the oldest before less than this is free on the disk, and drop packets if that does
    /// not help. Default: 5 % of the disk, at most 2GiB.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes_or_none)]
    min_free: Option<u64>,

    /// Kernel memory for each interface. Default: 16MiB, shared down to 1MiB when there are many.
    #[arg(long, value_name = "SIZE", value_parser = parse_buffer)]
    buffer: Option<u64>,

    /// Stop after this time.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    duration: Option<Duration>,

    /// How to print the receipt at the end.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,

    /// Print nothing but errors.
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  overtap record web db --size 6GiB --age 1h
  overtap record 'web-*' --tenant acme --snaplen 128 -- 'not port 22'
  overtap recorder status
  overtap capture web --last 10m -w web.pcapng

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished but packets were lost.";

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let expression = args.expression.join(" ");
    parse_filter(&expression, &AnyName)?;
    let selection =
        Selection::new(&args.vms, &args.tenant).map_err(|error| WrongUsage(error.to_string()))?;
    let mut live = LiveSite::read(READ_WITHIN);
    let found = selection.machines(live.site())?.len();
    let (explained, filter) = understood(&expression, &live)?;
    let signals = Signals::take()?;
    let (keys, is_new_key) = open_store(args)?;
    let wanted = RecordingWanted {
        selection: selection.clone(),
        place: Place::parse(&args.point),
        filter: filter.map(|filter| (expression.clone(), filter)),
        explained,
        snaplen: args.snaplen,
        limits: limits(args.duration),
        output: output(args, keys),
        buffer_bytes: args.buffer.unwrap_or_else(|| ring_bytes(found)),
    };
    let said = Said { is_quiet: args.quiet };
    said.beginning(args, &selection, is_new_key);
    for absent in selection.absent(live.site()) {
        said.line(&format!("  {absent} is not here; recorded from when it comes"));
    }
    live.watch()?;
    let mut recording = Recording::start(wanted)?;
    signals.keep_alive();
    for sentence in recording.compare(live.site(), live.changed_at())? {
        said.line(&format!("  {sentence}"));
    }
    said.line("  Ctrl-C stops");
    let outcome = until_it_ends(&mut recording, &mut live, &signals, &said)?;
    let receipt = recording.receipt(&outcome);
    print(&receipt, args)?;
    Ok(if outcome.end.is_failure() || receipt.unaccounted != 0 {
        Exit::Failed
    } else if receipt.lost > 0 {
        Exit::Lost
    } else {
        Exit::Done
    })
}

/// Records until somebody stops it.
fn until_it_ends(
    recording: &mut Recording,
    live: &mut LiveSite,
    signals: &Signals,
    said: &Said,
) -> anyhow::Result<Outcome> {
    let mut stopped_at: Option<Instant> = None;
    loop {
        match stopped_at {
            None if signals.have_come() => {
                stopped_at = Some(Instant::now());
                recording.stop()?;
            }
            Some(at) if at.elapsed() > PATIENCE => signals.give_up(),
            _ => {}
        }
        match recording.next(LOOK_EVERY)? {
            Some(Event::InterfaceGone(number)) => {
                said.now(&format!("the interface of {} was removed", recording.label(number)));
            }
            Some(Event::Said(text)) => said.now(&text),
            Some(Event::Ended(outcome)) => return Ok(*outcome),
            Some(Event::Progress(_) | Event::CaughtUp) | None => {}
        }
        if stopped_at.is_none() && live.update() {
            for sentence in recording.compare(live.site(), live.changed_at())? {
                said.now(&sentence);
            }
        }
    }
}

/// What the expression means, with the names in it as the site is now.
fn understood(
    expression: &str,
    live: &LiveSite,
) -> anyhow::Result<(Resolved, Option<select::Filter>)> {
    let history = names::of(live.site());
    let names = Names::new(&history);
    let explained = Resolved::of(expression, &names)
        .map_err(|error| WrongUsage(format!("cannot understand the filter\n{error}")))?;
    names::say_notes(&names);
    let filter = parse_filter(expression, &explained)?;
    Ok((explained, filter))
}

/// Makes directory and key file where they are not.
fn open_store(args: &Args) -> anyhow::Result<(KeyRing, bool)> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&args.dir);
    made.with_context(|| format!("cannot make the directory {}", args.dir.display()))?;
    Ok(KeyRing::read_or_make(&key_file(args))?)
}

fn key_file(args: &Args) -> PathBuf {
    args.key_file.clone().unwrap_or_else(|| default_key_file(&args.dir))
}

fn output(args: &Args, keys: KeyRing) -> agent::Output {
    let inside = args.dir.join(".");
    agent::Output {
        is_nothing: false,
        path: Some(args.dir.clone()),
        force: false,
        rotation: agent::Rotation::default(),
        min_free_bytes: args.min_free.unwrap_or_else(|| agent::default_reserve(&inside)),
        room_bytes: None,
        store: Some(StoreOrder {
            keys,
            max_bytes: args.size,
            max_age_s: args.age.map(|age| age.as_secs().max(1)),
        }),
    }
}

fn limits(duration: Option<Duration>) -> Limits {
    let until = duration.map(|duration| {
        let end = jiff::Timestamp::now().checked_add(duration).unwrap_or(jiff::Timestamp::MAX);
        u64::try_from(end.as_nanosecond()).unwrap_or(u64::MAX)
    });
    Limits { until, ..Limits::default() }
}

/// Memory for one ring: 256 MiB for all, and as much again for machines that come later.
fn ring_bytes(machines: usize) -> u64 {
    (HOST_BUDGET / (machines.max(1) as u64)).clamp(1 << 20, 16 << 20)
}

/// The receipt goes where a person or a program looks for it.
fn print(receipt: &RecordingReceipt, args: &Args) -> anyhow::Result<()> {
    match args.output {
        Output::Json => {
            let text = serde_json::to_string_pretty(receipt)? + "\n";
            std::io::stdout().write_all(text.as_bytes()).context("printing the receipt")
        }
        Output::Text if args.quiet => Ok(()),
        Output::Text => {
            std::io::stderr().write_all(text(receipt).as_bytes()).context("printing the receipt")
        }
    }
}

fn text(receipt: &RecordingReceipt) -> String {
    let mut text = format!(
        "Receipt: recorded {}; ended because {}\n  {:>15} {:>15} {:>11}\n",
        receipt.selection, receipt.end, "seen", "recorded", "lost"
    );
    for point in &receipt.points {
        let ledger = &point.ledger;
        let (seen, written, lost) =
            (grouped(ledger.received), grouped(ledger.written), grouped(ledger.lost()));
        text += &format!("  {seen:>15} {written:>15} {lost:>11}  {}\n", point.label);
    }
    let total = &receipt.total;
    text += &format!(
        "  {} in {}; not selected {}, other tenant {}, owner undecidable {}\n",
        packets(total.written),
        show_bytes(total.written_bytes),
        grouped(total.not_selected),
        grouped(total.other_tenant),
        grouped(total.undecidable)
    );
    if receipt.unaccounted != 0 {
        text += &format!("  NOT ACCOUNTED FOR: {}; please report this\n", receipt.unaccounted);
    }
    text
}

/// Lines on standard error.
struct Said {
    is_quiet: bool,
}

impl Said {
    fn beginning(&self, args: &Args, selection: &Selection, is_new_key: bool) {
        let age = args.age.map_or_else(String::new, |age| format!(", {} s", age.as_secs()));
        let size = show_bytes(args.size);
        self.line(&format!("recording {selection} -> {} ({size}{age})", args.dir.display()));
        let key = key_file(args);
        if is_new_key {
            self.line(&format!("  made the key {}; without it nothing can be read", key.display()));
        }
    }

    fn line(&self, text: &str) {
        if !self.is_quiet {
            eprintln!("{text}");
        }
    }

    fn now(&self, text: &str) {
        self.line(&format!("{}: {text}", Zoned::now().strftime("%H:%M:%S%.3f")));
    }
}

const READ_WITHIN: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long after the first signal another one means the same.
const PATIENCE: Duration = Duration::from_secs(1);
const HOST_BUDGET: u64 = 256 << 20;
