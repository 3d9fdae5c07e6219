//! `overtap capture`: captures a VM's packets into one pcapng file.

pub(super) mod far;
mod last;
mod said;
mod signals;
mod to_tools;
mod told;

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agent::{Capture, Event, MirrorSource, Outcome, Place, Receipt, Rotation, Wanted};
use anyhow::Context;
use clap::builder::ArgPredicate;
use inventory::{Machine, Site};
use jiff::Zoned;
use pipeline::Limits;
use plan::{Names, Point};
use platform::LiveSite;
use select::{Filter, Member, Name, ParseError, Resolved, Resolver, UnknownName};

pub(super) use self::said::Shown;
use self::said::{Listener, Said};
pub(super) use self::signals::Signals;
use crate::Output;
use crate::controller;
use crate::exit::{Exit, WrongUsage};
use crate::names;
use crate::quantity::{parse_buffer, parse_bytes, parse_bytes_or_none, parse_duration};
use crate::site;

/// Captures a VM's packets into one pcapng file, with an account of every packet.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The VM, container or namespace: name, UUID, MAC, IP, tap or port id. Through a controller
    /// also several with commas between them, `web-*` and `tenant:acme`, which include VMs that
    /// appear later. With --mirror `all`, which is the default there, takes every frame.
    #[arg(
        required_unless_present = "mirror",
        default_value_if("mirror", ArgPredicate::IsPresent, ALL)
    )]
    vm: Option<String>,

    /// Only these packets of it, in the words of tcpdump (pcap-filter(7)); looks at the packet as
    /// the VM sent it, inside any tunnel.
    #[arg(value_name = "EXPR")]
    expression: Vec<String>,

    /// Where to write; `-` is standard output. Default: VM-TIME.pcapng here.
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,

    /// Send the packets to these tools (overtap tools), several with commas between them. Nothing is
    /// written then unless -w says so.
    #[arg(long, value_name = "TOOL")]
    to: Option<String>,

    /// Where to look: `auto`, `tap` (the VM's own ports), `uplink`, `inside`, or an interface.
    #[arg(long, value_name = "auto|tap|uplink|inside|IFACE", default_value = "auto")]
    point: String,

    /// Receive what a mirror sends to this host, out of what it puts around frames: erspan://IP,
    /// gre://IP, vmware://IP, vxlan://IP:4789?vni=N, geneve://IP, tzsp://IP, rspan://IFACE?vlan=N,
    /// span://IFACE, pcap-over-ip://HOST:PORT. May be given several times; an interface may stand
    /// for the address.
    #[arg(long, value_name = "MIRROR", conflicts_with_all = ["point", "detach", "last"])]
    mirror: Vec<MirrorSource>,

    /// Keep at most this many bytes of each packet.
    #[arg(short, long, value_name = "BYTES", default_value_t = 262_144,
          value_parser = clap::value_parser!(u32).range(1..=262_144))]
    snaplen: u32,

    /// Remove tunnel headers: write the packet as it is at the VM's own port.
    #[arg(long)]
    strip: bool,

    /// Stop after this time: 90s, 5m, 1h30m. Default: 1h; none into a pipe.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    duration: Option<Duration>,

    /// Stop after this many packets. Default: 50 million; none into a pipe.
    #[arg(short = 'c', long, value_name = "PACKETS",
          value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Stop after this many bytes of packets: 500MB, 2GiB. Default: 10GiB; none into a pipe.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    max_bytes: Option<u64>,

    /// Stop before less than this is free on the disk; 0 fills it. Default: 5 % of it, at most
    /// 2GiB.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes_or_none)]
    min_free: Option<u64>,

    /// Lift the default limits of time, packets and bytes (not of the disk).
    #[arg(long)]
    no_limits: bool,

    /// Begin the next file before one gets larger than this. Files are then called
    /// FILE_NUMBER_TIME, as tshark calls them.
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

    /// Kernel memory for each interface, at most 2GiB. Default: 64MiB, shared down to 16MiB when
    /// there are many.
    #[arg(long, value_name = "SIZE", value_parser = parse_buffer)]
    buffer: Option<u64>,

    /// Why, for the audit log of the controller.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// Through a controller: the most bytes that a host keeps of it until they are fetched.
    /// Default: as --max-bytes, or 10GiB.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    spool: Option<u64>,

    /// Through a controller: whether the capture at a host ends when that much is kept there, or
    /// goes on and drops packets, counted, until some are fetched.
    #[arg(long, value_enum, value_name = "end|drop", default_value_t = WhenFull::End,
          hide_default_value = true, hide_possible_values = true)]
    when_full: WhenFull,

    /// Leave the capture to the controller: it goes on without this terminal, and is fetched with
    /// overtap sessions fetch.
    #[arg(long, conflicts_with_all = ["write", "local"])]
    detach: bool,

    /// On this host, although you are logged in at a controller.
    #[arg(long)]
    local: bool,

    #[command(flatten)]
    last: last::Words,

    /// How to print the receipt.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,

    /// Tell a program how it goes: one object a line on standard error.
    #[arg(long, hide = true)]
    tell: bool,

    /// Print nothing but errors.
    #[arg(short, long)]
    quiet: bool,
}

/// What becomes of a capture when a host keeps as much as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum WhenFull {
    End,
    Drop,
}

const EXAMPLES: &str = "\
Examples:
  overtap capture web -w web.pcapng                 at the best place, until Ctrl-C
  overtap capture web 'tcp port 443' -w - | wireshark -k -i -
  overtap capture web 'vm db or tenant acme'        only to and from these
  overtap capture web --point uplink --strip -w web.pcapng
  overtap capture web --last 10m -w web.pcapng       what the flight recorder has, then live
  overtap capture --mirror erspan://10.0.0.9 -w mirror.pcapng       what a switch mirrors here
  overtap capture web 'tcp port 443' --to ids-1     to a tool, within its grant
  overtap capture web --rotate-size 100MB --ring-files 10 -w web.pcapng

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished but packets were lost.";

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    run_shown(args, args.tell.then(told::listener))
}

/// Runs the command; `listener` hears what a terminal would show.
pub(super) fn run_shown(args: &Args, listener: Option<Listener>) -> anyhow::Result<Exit> {
    let mut said = Said::new(args.quiet, std::io::stderr().is_terminal(), listener);
    let expression = args.expression.join(" ");
    // Mistakes first, then what takes time.
    parse_filter(&expression, &AnyName)?;
    check_ring(args)?;
    if let Some(login) = controller::login(args.local || !args.mirror.is_empty())? {
        args.last.refuse_far()?;
        if args.to.is_some() {
            return Err(WrongUsage(
                "tools are reached from the host they are named on; add --local".into(),
            )
            .into());
        }
        return far::run(args, login, said);
    }
    if args.detach {
        return Err(WrongUsage("--detach needs a controller; see overtap login".into()).into());
    }
    if args.spool.is_some() || args.when_full != WhenFull::End {
        let text = "--spool and --when-full are for captures through a controller";
        return Err(WrongUsage(text.into()).into());
    }
    let mut live = LiveSite::read(READ_WITHIN);
    let (machine, point) = match chosen(&live, args) {
        Ok(chosen) => chosen,
        Err(error) => args.last.instead(args.vm(), error).inspect_err(|_| {
            site::say_problems(live.site());
        })?,
    };
    let past = args.last.order(&machine, &point)?;
    // Of a mirror everything is taken, whosever it is, where no VM is named.
    let owner = Some(&machine).filter(|_| args.mirror.is_empty() || args.vm() != ALL);
    let tools = to_tools::wanted(args.to.as_deref(), live.site(), owner)?;
    if past.is_some() && !tools.is_empty() {
        return Err(
            WrongUsage("what was recorded goes into files only, not to tools".into()).into()
        );
    }
    let explained = explained(&expression, live.site(), &machine)?;
    let filter = parse_filter(&expression, &explained)?;
    let host = live.site().host.name.clone();
    let output = output(args, &machine);
    let is_file = output.path.is_some();
    let duration = duration(args, is_file);
    let signals = Signals::take()?;
    let wanted = Wanted {
        limits: limits(args, duration, is_file),
        comments: vec![comment(&machine, &host, &point, filter.as_ref())],
        ip_names: agent::ip_names(live.site()),
        machine,
        host,
        point,
        mirrors: args.mirror.clone(),
        filter: filter.map(|filter| (expression, filter)),
        explained,
        is_stripped: args.strip,
        snaplen: args.snaplen,
        output,
        buffer_bytes: args.buffer,
        past,
        tools,
        grows: !matches!(Place::parse(&args.point), Place::Interface(_)),
    };
    let mut capture = Capture::start(wanted)?;
    signals.keep_alive();
    said.beginning(capture.wanted(), duration, args.no_limits);
    live.watch()?;
    let outcome = until_it_ends(&mut capture, &mut live, &signals, &mut said)?;
    let receipt = capture.receipt(&outcome);
    print(&receipt, args)?;
    Ok(exit(&receipt, &outcome))
}

/// Runs the engine of another capture command, on the line that is our standard input.
pub(crate) fn run_engine() -> anyhow::Result<Exit> {
    use std::os::fd::AsFd;
    let line = std::io::stdin().as_fd().try_clone_to_owned()?;
    match agent::run_engine(line) {
        // The capture that started us is gone, and with it whoever would listen.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::Failed),
        result => result.context("the engine of a capture").map(|()| Exit::Done),
    }
}

pub(super) fn parse_filter(
    expression: &str,
    names: &dyn Resolver,
) -> Result<Option<Filter>, WrongUsage> {
    if expression.trim().is_empty() {
        return Ok(None);
    }
    Filter::parse_with(expression, names).map(Some).map_err(|error| misunderstood(&error))
}

fn misunderstood(error: &ParseError) -> WrongUsage {
    WrongUsage(format!("cannot understand the filter\n{error}"))
}

/// What the names in an expression mean at a point that shows the packets of `machine`, as the site
/// is now.
pub(super) fn explained(
    expression: &str,
    site: &Site,
    machine: &Machine,
) -> Result<Resolved, WrongUsage> {
    let history = names::of(site);
    let names = Names::new(&history);
    let explained = match names.at_point_of(&machine.id.to_string()) {
        Ok(Some(at_point)) => Resolved::of(expression, &at_point),
        _ => Resolved::of(expression, &names),
    };
    names::say_notes(&names);
    explained.map_err(|error| misunderstood(&error))
}

/// Takes every name to be known, to look at the rest of an expression.
pub(super) struct AnyName;

impl Resolver for AnyName {
    fn members(&self, _: &Name) -> Result<Vec<Member>, UnknownName> {
        Ok(Vec::new())
    }
}

/// Refuses what cannot be a ring of files.
fn check_ring(args: &Args) -> Result<(), WrongUsage> {
    let is_turning = args.rotate_size.is_some() || args.rotate_interval.is_some();
    if args.ring_files.is_some() && !is_turning {
        return Err(WrongUsage(
            "--ring-files needs to know when the next file begins: add --rotate-size or \
             --rotate-interval"
                .into(),
        ));
    }
    if is_stdout(args) && is_turning {
        return Err(WrongUsage("standard output cannot be a ring of files; give -w FILE".into()));
    }
    Ok(())
}

fn is_stdout(args: &Args) -> bool {
    args.write.as_deref() == Some(Path::new("-"))
}

/// The VM and the observation point that were asked for.
fn chosen(live: &LiveSite, args: &Args) -> anyhow::Result<(Machine, Point)> {
    if !args.mirror.is_empty() {
        let machine = match args.vm() {
            ALL => None,
            vm => Some(site::one(live.site(), vm)?),
        };
        let point = agent::mirror_point(&args.mirror, live.site(), machine)?;
        return Ok((machine.cloned().unwrap_or_else(agent::every_machine), point));
    }
    let machine = site::one(live.site(), args.vm())?;
    let plan = plan::plan(live.site(), machine);
    let point = Place::parse(&args.point).choose(&plan, &machine.name)?;
    Ok((machine.clone(), point))
}

fn output(args: &Args, machine: &Machine) -> agent::Output {
    let is_nothing = args.to.is_some() && args.write.is_none();
    let path = match &args.write {
        _ if is_stdout(args) || is_nothing => None,
        Some(path) => Some(path.clone()),
        None => Some(PathBuf::from(format!(
            "{}-{}.pcapng",
            agent::file_name(&machine.name),
            Zoned::now().strftime("%Y%m%dT%H%M%S")
        ))),
    };
    let rotation = Rotation {
        bytes: args.rotate_size,
        interval: args.rotate_interval,
        files: args.ring_files,
    };
    let default_reserve = || path.as_deref().map_or(0, agent::default_reserve);
    let min_free_bytes = args.min_free.unwrap_or_else(default_reserve);
    agent::Output {
        path,
        force: args.force,
        rotation,
        min_free_bytes,
        is_nothing,
        room_bytes: None,
        store: None,
    }
}

/// How long the capture lasts at most. Who reads a pipe stops when they like.
fn duration(args: &Args, is_file: bool) -> Option<Duration> {
    let is_limited = is_file && !args.no_limits;
    args.duration.or_else(|| is_limited.then_some(agent::DEFAULT_DURATION))
}

fn limits(args: &Args, duration: Option<Duration>, is_file: bool) -> Limits {
    let is_limited = is_file && !args.no_limits;
    Limits {
        packets: args.count.or_else(|| is_limited.then_some(agent::DEFAULT_PACKETS)),
        bytes: args.max_bytes.or_else(|| is_limited.then_some(agent::DEFAULT_BYTES)),
        until: duration.map(|duration| {
            let now = jiff::Timestamp::now();
            let end = now.checked_add(duration).unwrap_or(jiff::Timestamp::MAX);
            u64::try_from(end.as_nanosecond()).unwrap_or(u64::MAX)
        }),
    }
}

/// Waits for the end of a capture: by itself, or because somebody stops it. What happens meanwhile
/// is said.
fn until_it_ends(
    capture: &mut Capture,
    live: &mut LiveSite,
    signals: &Signals,
    said: &mut Said,
) -> anyhow::Result<Outcome> {
    let mut stopped_at: Option<Instant> = None;
    loop {
        match stopped_at {
            None if signals.have_come() => {
                stopped_at = Some(Instant::now());
                capture.stop()?;
            }
            // timeout(1) and some shells send the signal twice in a row.
            Some(at) if at.elapsed() > PATIENCE => signals.give_up(),
            _ => {}
        }
        match capture.next(LOOK_EVERY)? {
            Some(Event::Progress(progress)) => said.progress(progress),
            Some(Event::Said(text)) => said.line(&text),
            Some(Event::Ended(outcome)) => {
                said.clear();
                return Ok(*outcome);
            }
            Some(Event::InterfaceGone(_) | Event::CaughtUp) | None => {}
        }
        for happened in to_tools::regranted(capture)? {
            said.line(&happened.to_string());
        }
        if live.update() {
            for happened in capture.compare(live.site(), live.changed_at())? {
                said.line(&happened.to_string());
            }
        }
    }
}

/// The receipt goes where it cannot get into the packets.
fn print(receipt: &Receipt, args: &Args) -> anyhow::Result<()> {
    let text = match args.output {
        Output::Json => serde_json::to_string_pretty(receipt)? + "\n",
        Output::Text if args.quiet => return Ok(()),
        Output::Text => receipt.to_string(),
    };
    let result = if is_stdout(args) || args.output == Output::Text {
        std::io::stderr().write_all(text.as_bytes())
    } else {
        std::io::stdout().write_all(text.as_bytes())
    };
    result.context("printing the receipt")
}

fn exit(receipt: &Receipt, outcome: &Outcome) -> Exit {
    if outcome.end.is_failure() || receipt.unaccounted != 0 {
        Exit::Failed
    } else if receipt.is_complete() {
        Exit::Done
    } else {
        Exit::Lost
    }
}

/// The first lines of the file: who, where, what it cannot hold.
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

impl Args {
    /// What is to be captured.
    fn vm(&self) -> &str {
        self.vm.as_deref().unwrap_or(ALL)
    }
}

/// What stands for every machine where a mirror ends.
const ALL: &str = "all";

/// How long one source of the inventory may take.
const READ_WITHIN: Duration = Duration::from_secs(3);

/// How long after the first signal another one means the same.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it is looked for signals and for changes of the site.
const LOOK_EVERY: Duration = Duration::from_millis(20);
