//! `overtap capture`: captures a VM's packets into one pcapng file.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agent::{End, Event, InterfaceReceipt, Outcome, Progress, Receipt, Request, Rotation, Session};
use anyhow::Context;
use capture::InterfaceCounters;
use inventory::{Change, Machine, Site, What};
use jiff::{SignedDuration, Zoned};
use pipeline::{Ledger, Limits};
use plan::{Interface, Point, PointKind};
use select::{Filter, Ownership};

use crate::Output;
use crate::exit::{Exit, WrongUsage};
use crate::quantity::{parse_bytes, parse_bytes_or_none, parse_duration};
use crate::site::LiveSite;

/// Captures a VM's packets into one pcapng file, with an account of every packet.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The VM, container or namespace: name, UUID, MAC, IP, tap or port id.
    vm: String,

    /// Only these packets of it, in the words of tcpdump (pcap-filter(7)); looks at the packet as
    /// the VM sent it, inside any tunnel.
    #[arg(value_name = "EXPR")]
    expression: Vec<String>,

    /// Where to write; `-` is standard output. Default: VM-TIME.pcapng here.
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,

    /// Where to look: `auto`, `tap` (the VM's own ports), `uplink`, `inside`, or an interface.
    #[arg(long, value_name = "auto|tap|uplink|inside|IFACE", default_value = "auto")]
    point: String,

    /// Keep at most this many bytes of each packet.
    #[arg(short, long, value_name = "BYTES", default_value_t = 262_144,
          value_parser = clap::value_parser!(u32).range(1..=262_144))]
    snaplen: u32,

    /// Remove tunnel headers: write the packet as it is at the VM's own port.
    #[arg(long)]
    strip: bool,

    /// Stop after this time: 90s, 5m, 1h30m. Default: 1h.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    duration: Option<Duration>,

    /// Stop after this many packets. Default: 50 million.
    #[arg(short = 'c', long, value_name = "PACKETS",
          value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Stop after this many bytes of packets: 500MB, 2GiB. Default: 10GiB.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    max_bytes: Option<u64>,

    /// Stop before less than this is free on the disk; 0 fills it. Default: 5 % of it, at most
    /// 2GiB.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes_or_none)]
    min_free: Option<u64>,

    /// Lift the default limits of time, packets and bytes (not of the disk).
    #[arg(long)]
    no_limits: bool,

    /// Begin the next file before one gets larger than this.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    rotate_size: Option<u64>,

    /// Begin the next file after this time, with or without packets.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    rotate_interval: Option<Duration>,

    /// Keep this many files of the ring; the oldest of this capture is deleted.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    ring_files: Option<u32>,

    /// Replace an existing file.
    #[arg(long)]
    force: bool,

    /// Kernel memory for each interface. Default: 64MiB, shared down to 16MiB when there are many.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    buffer: Option<u64>,

    /// How to print the receipt.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,

    /// Print nothing but errors.
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  overtap capture web -w web.pcapng                 at the best place, until Ctrl-C
  overtap capture web 'tcp port 443' -w - | wireshark -k -i -
  overtap capture web --point uplink --strip -w web.pcapng
  overtap capture web --rotate-size 100MB --ring-files 10 -w web.pcapng

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished but packets were lost.";

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let expression = args.expression.join(" ");
    let filter = parse_filter(&expression)?;
    if args.ring_files.is_some() && args.rotate_size.is_none() && args.rotate_interval.is_none() {
        return Err(WrongUsage(
            "--ring-files needs to know when the next file begins: add --rotate-size or \
             --rotate-interval"
                .into(),
        )
        .into());
    }
    let mut live = LiveSite::read(READ_WITHIN)?;
    let (machine, point) = chosen(&live, args).inspect_err(|_| live.say_problems())?;
    let output = output(args, &machine)?;
    let limits = limits(args, output.path.is_some());
    let said = Said { is_quiet: args.quiet, is_terminal: std::io::stderr().is_terminal() };
    say_beginning(&said, &machine, &point, args, &output, limits);

    let is_stopped = Arc::new(AtomicBool::new(false));
    let mut signals = vec![signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM];
    // A terminal that closes ends a capture as Ctrl-C does; nohup means that it shall go on.
    if !agent::is_hangup_ignored() {
        signals.push(signal_hook::consts::SIGHUP);
    }
    for signal in signals {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&is_stopped))?;
        signal_hook::flag::register(signal, Arc::clone(&is_stopped))?;
    }
    let began = Zoned::now();
    let before = counters(&point);
    let request = Request {
        point: &point,
        filter: filter.as_ref().map(|filter| (expression.as_str(), filter)),
        is_stripped: args.strip,
        snaplen: args.snaplen,
        limits,
        output,
        buffer_bytes: args.buffer,
        comments: vec![comment(&machine, &live.site().host.name, &point, filter.as_ref())],
        ip_names: ip_names(live.site()),
        mac_names: mac_names(&machine),
    };
    let mut session = Session::start(&request)?;
    say_listening(&said, &point);
    live.watch()?;
    let mut follow = Following::new(&machine, &point);
    let outcome = supervise(&mut session, &mut live, &mut follow, &is_stopped, &said)?;
    let receipt = receipt(&Story {
        args,
        machine: &machine,
        host: &live.site().host.name,
        point: &point,
        filter: filter.as_ref(),
        began: &began,
        before: &before,
        outcome: &outcome,
        events: follow.events,
        sandbox: session.sandbox,
    });
    print(&receipt, args)?;
    Ok(exit(&receipt, &outcome.end))
}

/// Runs the engine of another capture command, on the line that is our standard input.
pub(crate) fn run_engine() -> anyhow::Result<Exit> {
    use std::os::fd::AsFd;
    let line = std::io::stdin().as_fd().try_clone_to_owned()?;
    agent::run_engine(line).context("the capture that started this engine is gone")?;
    Ok(Exit::Done)
}

fn parse_filter(expression: &str) -> anyhow::Result<Option<Filter>> {
    if expression.trim().is_empty() {
        return Ok(None);
    }
    match Filter::parse(expression) {
        Ok(filter) => Ok(Some(filter)),
        Err(error) => Err(WrongUsage(format!("cannot understand the filter\n{error}")).into()),
    }
}

fn chosen(live: &LiveSite, args: &Args) -> anyhow::Result<(Machine, Point)> {
    let machine = live.site().one(&args.vm).map_err(anyhow::Error::new)?;
    Ok((machine.clone(), choose(live, machine, &args.point)?))
}

/// The observation point that was asked for, by kind or by one of its interfaces.
fn choose(live: &LiveSite, machine: &Machine, asked: &str) -> anyhow::Result<Point> {
    let plan = plan::plan(live.site(), machine);
    let usable = |kind: PointKind| {
        plan.points.iter().find(|point| point.kind == kind && point.refusal.is_none())
    };
    let refused = |kind: PointKind| plan.points.iter().find(|point| point.kind == kind);
    let chosen = match asked {
        "auto" => plan.points.iter().find(|point| point.refusal.is_none()),
        "tap" | "port" => usable(PointKind::Port),
        "uplink" => usable(PointKind::Uplink),
        "inside" => usable(PointKind::Inside),
        name => return choose_interface(&plan.points, machine, name),
    };
    if let Some(point) = chosen {
        return Ok(point.clone());
    }
    let reason = match asked {
        "tap" | "port" => refused(PointKind::Port),
        "uplink" => refused(PointKind::Uplink),
        "inside" => refused(PointKind::Inside),
        _ => plan.points.first(),
    }
    .and_then(|point| point.refusal.clone())
    .unwrap_or_else(|| "there is no such place on this host".into());
    anyhow::bail!(
        "cannot capture {} at {asked}: {reason}; see every place: overtap plan {}",
        machine.name,
        machine.name
    )
}

fn choose_interface(points: &[Point], machine: &Machine, name: &str) -> anyhow::Result<Point> {
    for point in points.iter().filter(|point| point.refusal.is_none()) {
        let named: Vec<Interface> =
            point.interfaces.iter().filter(|i| i.name == name).cloned().collect();
        if !named.is_empty() {
            return Ok(Point { interfaces: named, ..point.clone() });
        }
    }
    let names: Vec<&str> =
        points.iter().flat_map(|point| &point.interfaces).map(|i| i.name.as_str()).collect();
    anyhow::bail!(
        "{} cannot be seen at {name}; it can be seen at: {}",
        machine.name,
        if names.is_empty() { "no interface".into() } else { names.join(", ") }
    )
}

fn output(args: &Args, machine: &Machine) -> anyhow::Result<agent::Output> {
    let path = match &args.write {
        Some(path) if path == Path::new("-") => None,
        Some(path) => Some(path.clone()),
        None => Some(PathBuf::from(format!(
            "{}-{}.pcapng",
            file_name(&machine.name),
            Zoned::now().strftime("%Y%m%dT%H%M%S")
        ))),
    };
    let rotation = Rotation {
        bytes: args.rotate_size,
        interval_s: args.rotate_interval.map(|interval| interval.as_secs().max(1)),
        files: args.ring_files,
    };
    if path.is_none() && rotation.is_ring() {
        return Err(
            WrongUsage("standard output cannot be a ring of files; give -w FILE".into()).into()
        );
    }
    let min_free_bytes = match (args.min_free, &path) {
        (Some(bytes), _) => bytes,
        (None, Some(path)) => default_reserve(path),
        (None, None) => 0,
    };
    Ok(agent::Output { path, force: args.force, rotation, min_free_bytes })
}

/// A VM's name as a part of a file's name: nothing in it may be a path or an option.
fn file_name(name: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '_' };
    name.trim_start_matches(['-', '.']).chars().map(safe).take(100).collect()
}

/// 5 % of the file system, at most 2 GiB.
fn default_reserve(path: &Path) -> u64 {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let Ok(stat) = rustix::fs::statvfs(folder) else { return 0 };
    (stat.f_blocks.saturating_mul(stat.f_frsize) / 20).min(2 << 30)
}

fn limits(args: &Args, is_file: bool) -> Limits {
    // A limit that somebody names is the one they want; the others then only guard the machine.
    let or_default = |asked: Option<u64>, default| match asked {
        Some(asked) => Some(asked),
        None if args.no_limits || !is_file => None,
        None => Some(default),
    };
    let seconds = or_default(
        args.duration.map(|d| d.as_millis().try_into().unwrap_or(u64::MAX)),
        DEFAULT_DURATION_MS,
    );
    Limits {
        packets: or_default(args.count, DEFAULT_PACKETS),
        bytes: or_default(args.max_bytes, DEFAULT_BYTES),
        until: seconds.map(|ms| {
            let end = Zoned::now().timestamp() + Duration::from_millis(ms);
            u64::try_from(end.as_nanosecond()).unwrap_or(u64::MAX)
        }),
    }
}

/// What goes to standard error while it runs.
struct Said {
    is_quiet: bool,
    is_terminal: bool,
}

impl Said {
    fn line(&self, text: &str) {
        if !self.is_quiet {
            self.clear();
            eprintln!("{text}");
        }
    }

    /// Rewrites the live line.
    fn live(&self, text: &str) {
        if self.is_terminal && !self.is_quiet {
            eprint!("\r\x1b[2K{text}");
            let _ = std::io::stderr().flush();
        }
    }

    fn clear(&self) {
        if self.is_terminal {
            eprint!("\r\x1b[2K");
        }
    }
}

fn say_beginning(
    said: &Said,
    machine: &Machine,
    point: &Point,
    args: &Args,
    output: &agent::Output,
    limits: Limits,
) {
    let target = output
        .path
        .as_ref()
        .map_or_else(|| "standard output".to_owned(), |path| path.display().to_string());
    said.line(&format!("{} at its {} -> {target}", machine.name, point.kind));
    for miss in &point.misses {
        said.line(&format!("  misses: {miss}"));
    }
    let mut words = Vec::new();
    if let Some(until) = limits.until {
        let left = SignedDuration::from_nanos(
            i64::try_from(until).unwrap_or(i64::MAX)
                - i64::try_from(Zoned::now().timestamp().as_nanosecond()).unwrap_or_default(),
        );
        words.push(format!("{:#}", left.round(jiff::Unit::Second).unwrap_or(left)));
    }
    words.extend(limits.packets.map(|packets| format!("{packets} packets")));
    words.extend(limits.bytes.map(|bytes| format!("{} MiB", bytes >> 20)));
    if output.min_free_bytes > 0 {
        words.push(format!("{} MiB of the disk left", output.min_free_bytes >> 20));
    }
    if !words.is_empty() {
        let lift = if args.no_limits { "" } else { " (see --no-limits, --min-free)" };
        said.line(&format!("  stops at: {}{lift}", words.join(", ")));
    }
}

fn say_listening(said: &Said, point: &Point) {
    let names: Vec<&str> = point.interfaces.iter().map(|i| i.label.as_str()).collect();
    said.line(&format!("  listening on {}; Ctrl-C stops", names.join(", ")));
}

/// Follows the session to its end: signals, changes of the site, the live line.
fn supervise(
    session: &mut Session,
    live: &mut LiveSite,
    follow: &mut Following,
    is_stopped: &AtomicBool,
    said: &Said,
) -> anyhow::Result<Outcome> {
    let mut is_stopping = false;
    let mut rate = Rate::default();
    loop {
        if is_stopped.load(Ordering::Relaxed) && !is_stopping {
            is_stopping = true;
            session.stop()?;
        }
        match session.next(LOOK_EVERY)? {
            Some(Event::Progress(progress)) => said.live(&rate.line(progress)),
            Some(Event::InterfaceGone(number)) => {
                let text = follow.interface_gone(number);
                said.line(&text);
            }
            Some(Event::Ended(outcome)) => {
                said.clear();
                return Ok(*outcome);
            }
            None => {}
        }
        if live.update() {
            for text in follow.compare(live, session)? {
                said.line(&text);
            }
        }
    }
}

/// Packets and bytes per second, from one report to the next.
#[derive(Default)]
struct Rate {
    last: Option<(Instant, Progress)>,
}

impl Rate {
    fn line(&mut self, progress: Progress) -> String {
        let now = Instant::now();
        let (packets, megabits) = self.last.map_or((0.0, 0.0), |(then, before)| {
            let seconds = now.duration_since(then).as_secs_f64().max(0.001);
            #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
            let per_second = |count: u64| count as f64 / seconds;
            (
                per_second(progress.packets - before.packets),
                per_second(progress.bytes - before.bytes) * 8.0 / 1e6,
            )
        });
        self.last = Some((now, progress));
        format!(
            "{} packets, {} bytes, {packets:.0} packets/s, {megabits:.1} Mbit/s, {} dropped",
            progress.packets,
            progress.bytes,
            progress.kernel_dropped + progress.failed
        )
    }
}

/// What changes around the VM while it is captured.
struct Following {
    machine: Machine,
    interfaces: Vec<Interface>,
    kind: PointKind,
    is_disowned: Vec<bool>,
    events: Vec<String>,
}

impl Following {
    fn new(machine: &Machine, point: &Point) -> Self {
        Self {
            machine: machine.clone(),
            interfaces: point.interfaces.clone(),
            kind: point.kind,
            is_disowned: vec![false; point.interfaces.len()],
            events: Vec::new(),
        }
    }

    fn interface_gone(&mut self, number: usize) -> String {
        let label = self.interfaces.get(number).map_or("?", |i| i.label.as_str());
        let text = format!("{}: the interface of {label} was removed", time());
        self.events.push(text.clone());
        text
    }

    /// Compares the site with what it was; tells the engine what follows from it.
    fn compare(&mut self, live: &LiveSite, session: &mut Session) -> anyhow::Result<Vec<String>> {
        let mut news = Vec::new();
        let found = live.site().machines.iter().find(|m| m.id == self.machine.id);
        if let Some(now) = found {
            let (before, after) = (from_ref(&self.machine), from_ref(now));
            let changes = inventory::changes(live.changed_at(), before, after);
            news.extend(changes.iter().filter_map(|change| self.told(change)));
            self.machine = now.clone();
        }
        for number in 0..self.interfaces.len() {
            if let Some(owner) = self.other_owner(number, live.site()) {
                session.disown(number, live.changed_at())?;
                news.push(owner);
            }
        }
        for text in &mut news {
            text.insert_str(0, &format!("{}: ", time()));
            session.comment(text)?;
        }
        self.events.extend(news.iter().cloned());
        Ok(news)
    }

    /// What a change of the VM means for this capture, if it means anything.
    fn told(&self, change: &Change) -> Option<String> {
        let is_left_behind = match &change.what {
            What::Renamed { from } => {
                return Some(format!("{from} was renamed to {}", change.name));
            }
            What::State { to, .. } => return Some(format!("{} is {to}", change.name)),
            What::IpLearned { .. } | What::IpLost { .. } => return None,
            What::VnicAdded { .. } => true,
            What::WayOut { .. } | What::Moved { .. } => self.kind == PointKind::Uplink,
            _ => false,
        };
        let limit = if is_left_behind { "; this capture still looks where it began" } else { "" };
        Some(format!("{change}{limit}"))
    }

    /// Who the VM's own port belongs to now, if that is somebody else for the first time.
    fn other_owner(&mut self, number: usize, site: &Site) -> Option<String> {
        let interface = self.interfaces.get(number)?;
        let is_disowned = self.is_disowned.get_mut(number)?;
        if *is_disowned || self.kind != PointKind::Port {
            return None;
        }
        let owner = site.machines.iter().find(|machine| {
            machine.id != self.machine.id
                && machine.vnics.iter().filter_map(|vnic| vnic.attachment.as_ref()).any(|place| {
                    place.ifindex.is_some()
                        && place.ifindex == interface.ifindex
                        && place.namespace_path == interface.namespace_path
                })
        })?;
        *is_disowned = true;
        Some(format!("{} belongs to {} now; nothing of it is taken", interface.name, owner.name))
    }
}

fn time() -> String {
    Zoned::now().strftime("%H:%M:%S%.3f").to_string()
}

/// All that a receipt is made of.
struct Story<'a> {
    args: &'a Args,
    machine: &'a Machine,
    host: &'a str,
    point: &'a Point,
    filter: Option<&'a Filter>,
    began: &'a Zoned,
    before: &'a [Option<InterfaceCounters>],
    outcome: &'a Outcome,
    events: Vec<String>,
    sandbox: agent::Sandbox,
}

fn receipt(story: &Story<'_>) -> Receipt {
    let outcome = story.outcome;
    let after = counters(story.point);
    let total = outcome.ledgers.iter().fold(Ledger::default(), Ledger::plus);
    let interfaces = story
        .point
        .interfaces
        .iter()
        .zip(&outcome.ledgers)
        .zip(story.before.iter().zip(&after))
        .map(|((interface, ledger), (before, after))| {
            let packets = before
                .zip(*after)
                .map(|(before, after)| after.packets().saturating_sub(before.packets()));
            let is_filtered = matches!(interface.ownership, Ownership::Shared(_));
            InterfaceReceipt {
                label: interface.label.clone(),
                interface: interface.name.clone(),
                interface_packets: packets,
                passed_over: packets
                    .filter(|_| is_filtered)
                    .map(|packets| packets.saturating_sub(ledger.received)),
                ledger: *ledger,
            }
        })
        .collect();
    let ended = Zoned::now();
    Receipt {
        overtap: env!("CARGO_PKG_VERSION"),
        vm: story.machine.name.clone(),
        vm_id: story.machine.id.to_string(),
        host: story.host.to_owned(),
        point: story.point.kind.to_string(),
        filter: story.filter.map(ToString::to_string),
        snaplen: story.args.snaplen,
        seconds: ended.duration_since(story.began).as_secs_f64(),
        began: story.began.timestamp().to_string(),
        ended: ended.timestamp().to_string(),
        end: outcome.end.to_string(),
        interfaces,
        unaccounted: outcome.ledgers.iter().map(Ledger::unread).sum(),
        lost: total.lost(),
        total,
        out_of_order: outcome.out_of_order,
        files: outcome.files.clone(),
        deleted_files: outcome.deleted_files,
        events: story.events.clone(),
        sandbox: story.sandbox,
    }
}

/// The receipt goes where it cannot get into the packets.
fn print(receipt: &Receipt, args: &Args) -> anyhow::Result<()> {
    let text = match args.output {
        Output::Json => serde_json::to_string_pretty(receipt)? + "\n",
        Output::Text if args.quiet => return Ok(()),
        Output::Text => receipt.to_string(),
    };
    let is_stdout_taken = args.write.as_deref() == Some(Path::new("-"));
    let result = if is_stdout_taken || args.output == Output::Text {
        std::io::stderr().write_all(text.as_bytes())
    } else {
        std::io::stdout().write_all(text.as_bytes())
    };
    result.context("printing the receipt")
}

fn exit(receipt: &Receipt, end: &End) -> Exit {
    if Receipt::has_failed(end) || receipt.unaccounted != 0 {
        Exit::Failed
    } else if receipt.is_complete() {
        Exit::Done
    } else {
        Exit::Lost
    }
}

fn counters(point: &Point) -> Vec<Option<InterfaceCounters>> {
    point
        .interfaces
        .iter()
        .map(|interface| {
            let namespace = interface.namespace_path.as_ref().map(Path::new);
            InterfaceCounters::read(&interface.name, namespace).ok()
        })
        .collect()
}

fn comment(machine: &Machine, host: &str, point: &Point, filter: Option<&Filter>) -> String {
    let mut text = format!(
        "overtap capture of {} ({}) on host {host} at its {}",
        machine.name, machine.id, point.kind
    );
    if let Some(filter) = filter {
        text += &format!(", filter: {filter}");
    }
    for miss in &point.misses {
        text += &format!("\nmisses: {miss}");
    }
    text
}

fn ip_names(site: &Site) -> Vec<(std::net::IpAddr, String)> {
    // Two tenants may use one address; a name that is right for one of them only is left out.
    let mut names: BTreeMap<std::net::IpAddr, Option<String>> = BTreeMap::new();
    for machine in &site.machines {
        for known in machine.vnics.iter().flat_map(|vnic| &vnic.ips) {
            names
                .entry(known.ip)
                .and_modify(|name| {
                    if name.as_ref() != Some(&machine.name) {
                        *name = None;
                    }
                })
                .or_insert_with(|| Some(machine.name.clone()));
        }
    }
    names.into_iter().filter_map(|(ip, name)| Some((ip, name?))).take(MOST_NAMES).collect()
}

fn mac_names(machine: &Machine) -> Vec<(wire::Mac, String)> {
    machine
        .vnics
        .iter()
        .filter_map(|vnic| Some((vnic.mac?, format!("{}/{}", machine.name, vnic.name))))
        .collect()
}

const READ_WITHIN: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const DEFAULT_DURATION_MS: u64 = 3_600_000;
const DEFAULT_PACKETS: u64 = 50_000_000;
const DEFAULT_BYTES: u64 = 10 << 30;
const MOST_NAMES: usize = 1000;
