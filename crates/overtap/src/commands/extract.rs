//! `overtap extract`: selected packets of capture files into another one.

pub(crate) mod said;
mod to_tools;
pub(crate) mod whose;
pub(crate) mod words;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use deliver::Existing;
use files::{
    Ended, FileFormat, OpenInputs, Receipt, Request, Selection, Slice, Split, Target, Wanted,
};
use select::NameKind;
use wire::file::{PcapTime, SectionHeader};
use wire::mirror::MirrorForm;
use wire::{Strip, Timestamp};

use self::whose::Inventory;
use crate::Output;
use crate::exit::{Exit, WrongUsage};
use crate::quantity::{parse_bytes, parse_duration};
use crate::tunnels::Tunnels;

/// Extracts packets of capture files into another one, with an account of every packet.
///
/// Reads pcap and pcapng of any kind, also packed by gzip, zstd or lz4; several files are merged
/// in the order of time. An expression looks at each packet as the VM sent it, inside any tunnel.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The capture files, `-` is standard input; then, if wanted, an expression in the words of
    /// tcpdump (pcap-filter(7)). It begins with the first word that names no file.
    #[arg(value_name = "FILE... [EXPR]", required = true)]
    words: Vec<String>,

    /// Where to write; `-` is standard output.
    #[arg(short, long, value_name = "OUT", required_unless_present = "to")]
    write: Option<PathBuf>,

    /// Only packets of this VM, by its MAC within its networks at the time of each packet. May be
    /// given several times.
    #[arg(long, value_name = "NAME")]
    vm: Vec<String>,

    /// Where VMs are looked up: an inventory file; may be given several times. Default: what
    /// `overtap find` remembers or sees on this host.
    #[arg(long, value_name = "FILE")]
    inventory: Vec<PathBuf>,

    #[command(flatten)]
    tunnels: Tunnels,

    /// Take mirrored frames out of what the mirror has put around them, before anything else is
    /// asked of them: any tunnel that mirrors use (auto), or only erspan, gre, vmware, vxlan,
    /// geneve, tzsp or rspan=VLAN. Each session becomes an interface; time and length are those at
    /// the switch where it says so. Packets of no mirror are left out.
    #[arg(long, value_name = "MIRROR", num_args = 0..=1, require_equals = true,
          default_missing_value = "auto", value_parser = str::parse::<MirrorForm>)]
    decapsulate: Option<MirrorForm>,

    /// Remove headers: `all`, or some of outer (every tunnel), vxlan, geneve, gre, erspan, gtpu,
    /// ipip, mpls, pbb, fabricpath, vlan, vntag, etag, pppoe, cmd, ttag.
    #[arg(long, value_name = "HEADERS", num_args = 0..=1, require_equals = true,
          default_missing_value = "all", value_parser = str::parse::<Strip>)]
    strip: Option<Strip>,

    /// Keep at most this many bytes of each packet.
    #[arg(short, long, value_name = "BYTES",
          value_parser = clap::value_parser!(u32).range(1..=262_144))]
    slice: Option<u32>,

    /// Keep at most this many bytes behind the innermost transport header of each packet.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(0..=262_144))]
    slice_after_headers: Option<u32>,

    /// Leave out copies: packets that were seen before at another point, at most this long ago
    /// (10ms unless told). See --tenant-map.
    #[arg(long, value_name = "WINDOW", num_args = 0..=1, require_equals = true,
          default_missing_value = "10ms", value_parser = parse_duration)]
    dedup: Option<Duration>,

    /// Which networks are one tenant's, for --dedup: a file with lines such as
    /// `acme: vni 5001, vlan 100`, or `one` if all are. Otherwise by the inventory, or else only
    /// networks with one name are one tenant's, and a packet that names none may be a copy of any
    /// one that does.
    #[arg(long, value_name = "FILE|one", requires = "dedup")]
    tenant_map: Option<PathBuf>,

    /// Only packets seen at this time or later: 2026-11-21T10:03:00Z, '2026-11-21 10:03', or
    /// seconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = words::parse_time)]
    from: Option<Timestamp>,

    /// Only packets seen before this time.
    #[arg(long, value_name = "TIME", value_parser = words::parse_time)]
    until: Option<Timestamp>,

    /// Send the packets to these tools (overtap tools), several with commas between them, each
    /// within its grant. Nothing is written then unless -w says so. A TIME means --until.
    #[arg(long, value_name = "TOOL|TIME", value_parser = parse_to)]
    to: Option<To>,

    /// Stop after writing this many packets.
    #[arg(short = 'c', long, value_name = "PACKETS",
          value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Share the work among this many threads. One file read into one can be shared; what is
    /// merged, split, counted off or searched for copies one thread does alone.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=8))]
    threads: u8,

    /// Begin a file of its own for each of these; the files are called OUT-KEY. By VM and by tenant
    /// they are those of the inventory; a packet between two is in the file of each.
    #[arg(long, value_name = "vm|tenant|vni|link|size=SIZE|time=TIME", value_parser = parse_split)]
    split_by: Option<SplitBy>,

    /// The format to write. Default: pcap if OUT ends in .pcap, else pcapng.
    #[arg(short = 'F', long, value_enum)]
    format: Option<Format>,

    /// Replace existing files.
    #[arg(long)]
    force: bool,

    /// How to print the receipt.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,

    /// Print nothing but errors.
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  overtap extract uplink.pcapng --vm web-01 --strip -w web.pcapng
  overtap extract uplink.pcapng 'vni 5001 and tcp port 443' -w web.pcapng
  overtap extract hv-1.pcapng hv-2.pcap.gz -w both.pcapng       merged by time
  overtap extract uplink.pcapng 'host 10.0.7.12' --strip -w - | tshark -r -
  overtap extract tap.pcapng uplink.pcapng --dedup --tenant-map one -w once.pcapng
  overtap extract mirror.pcapng --decapsulate -w frames.pcapng   out of ERSPAN, GRE, VXLAN ...
  overtap extract uplink.pcapng --vm web-01 --strip --to ids-1      to a tool, within its grant
  overtap extract big.pcapng --slice-after-headers 0 -w headers.pcapng

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished but packets were lost or are damaged.";

/// A file format, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Keeps interfaces, names, counters and comments.
    Pcapng,
    /// With microseconds, or nanoseconds where an input has them.
    Pcap,
    /// With microseconds.
    Usecpcap,
    /// With nanoseconds.
    Nsecpcap,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let (paths, expression) = words::split(&args.words)?;
    let stop = Arc::new(AtomicBool::new(false));
    let inventory = Inventory::new(&args.inventory);
    let tools = match &args.to {
        Some(To::Tools(names)) => to_tools::wanted(names, &args.vm, &inventory)?,
        _ => Vec::new(),
    };
    let request = request(args, &expression, &inventory, Arc::clone(&stop))?;
    let inputs = OpenInputs::open(&paths)?;
    words::on_signals(&stop)?;
    let feed = to_tools::feed(tools, &request)?;
    let bar = said::Bar::begin(inputs.progress(), args.quiet);
    let receipt = match files::extract_to(inputs, request, feed) {
        Ok(receipt) => receipt,
        Err(files::ExtractError::Output(error @ files::OutputError::IsInput { .. })) => {
            return Err(WrongUsage(error.to_string()).into());
        }
        Err(error) => return Err(error.into()),
    };
    drop(bar);
    said::print(&receipt, args.output, args.quiet, is_stdout(args))?;
    Ok(exit(&receipt))
}

fn request(
    args: &Args,
    expression: &str,
    inventory: &Inventory,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<Request> {
    let is_stdout = is_stdout(args);
    let until = match (args.until, &args.to) {
        (Some(_), Some(To::Time(_))) => {
            return Err(WrongUsage("--to with a time means --until; give one".into()).into());
        }
        (None, Some(To::Time(time))) => Some(*time),
        (until, _) => until,
    };
    if args.write.is_none() && matches!(args.to, None | Some(To::Time(_))) {
        return Err(WrongUsage("give -w OUT, or a tool with --to".into()).into());
    }
    let vms = inventory.filter_of(&args.vm)?;
    let filter = words::parse_filter(expression, inventory)?;
    let wanted = Wanted { vms, filter };
    let elsewhere = inventory.elsewhere(&wanted, &args.vm, expression);
    let split = split(args, inventory)?;
    let mut ports = inventory.tunnel_ports();
    args.tunnels.add_to(&mut ports);
    inventory.say_notes();
    if is_stdout && args.split_by.is_some() {
        return Err(
            WrongUsage("standard output cannot be several files; give -w FILE".into()).into()
        );
    }
    let bytes = |bytes: Option<u32>| bytes.map(|bytes| bytes as usize);
    Ok(Request {
        selection: Selection { wanted, elsewhere, from: args.from, to: until, ports },
        mirror: args.decapsulate,
        strip: args.strip.unwrap_or(Strip::NOTHING),
        slice: Slice { bytes: bytes(args.slice), after_headers: bytes(args.slice_after_headers) },
        dedup: dedup(args, inventory)?,
        count: args.count,
        threads: usize::from(args.threads),
        target: Target {
            path: args.write.clone().filter(|_| !is_stdout),
            is_nothing: args.write.is_none(),
            existing: if args.force { Existing::Replace } else { Existing::Refuse },
            format: format(args),
            split,
            section: SectionHeader {
                application: concat!("overtap ", env!("CARGO_PKG_VERSION")).into(),
                ..SectionHeader::default()
            },
        },
        stop,
    })
}

fn dedup(args: &Args, inventory: &Inventory) -> anyhow::Result<Option<files::DedupRequest>> {
    let Some(window) = args.dedup else { return Ok(None) };
    let tenants = match &args.tenant_map {
        Some(word) => crate::tenants::named(word)?,
        None if args.inventory.is_empty() => pipeline::Tenants::default(),
        None => {
            let history = inventory.history().map_err(|error| anyhow::anyhow!(error.to_owned()))?;
            pipeline::Tenants::Mapped(crate::tenants::of_history(history))
        }
    };
    Ok(Some(files::DedupRequest { window, tenants }))
}

fn format(args: &Args) -> FileFormat {
    let extension = args.write.as_deref().and_then(Path::extension);
    let is_pcap = extension.is_some_and(|extension| extension == "pcap");
    match args.format {
        Some(Format::Pcapng) => FileFormat::Pcapng,
        Some(Format::Pcap) => FileFormat::Pcap(None),
        Some(Format::Usecpcap) => FileFormat::Pcap(Some(PcapTime::Micros)),
        Some(Format::Nsecpcap) => FileFormat::Pcap(Some(PcapTime::Nanos)),
        None if is_pcap => FileFormat::Pcap(None),
        None => FileFormat::Pcapng,
    }
}

fn is_stdout(args: &Args) -> bool {
    args.write.as_deref() == Some(Path::new("-"))
}

/// What `--to` says.
#[derive(Debug, Clone)]
enum To {
    Time(Timestamp),
    Tools(String),
}

fn parse_to(text: &str) -> Result<To, String> {
    match words::parse_time(text) {
        Ok(time) => Ok(To::Time(time)),
        Err(error) => {
            let is_name = |name: &str| name.trim().parse::<broker::ToolName>().is_ok();
            let are_names = text.split(',').all(is_name);
            if are_names { Ok(To::Tools(text.to_owned())) } else { Err(error.to_string()) }
        }
    }
}

/// What `--split-by` says, before the inventory is asked.
#[derive(Debug, Clone)]
enum SplitBy {
    Named(NameKind),
    Seen(Split),
}

fn parse_split(text: &str) -> Result<SplitBy, String> {
    let seen = match text.split_once('=') {
        None if text == "vm" => return Ok(SplitBy::Named(NameKind::Vm)),
        None if text == "tenant" => return Ok(SplitBy::Named(NameKind::Tenant)),
        None if text == "vni" => Split::Vni,
        None if text == "link" => Split::Link,
        Some(("size", size)) => Split::Bytes(parse_bytes(size)?),
        Some(("time", time)) => Split::Time(parse_duration(time)?.max(Duration::from_millis(1))),
        _ => return Err("use vm, tenant, vni, link, size=100MB or time=1h".into()),
    };
    Ok(SplitBy::Seen(seen))
}

fn split(args: &Args, inventory: &Inventory) -> anyhow::Result<Option<Split>> {
    Ok(match &args.split_by {
        None => None,
        Some(SplitBy::Seen(split)) => Some(split.clone()),
        Some(SplitBy::Named(kind)) => Some(Split::Whose(inventory.whose(*kind)?)),
    })
}

fn exit(receipt: &Receipt) -> Exit {
    let is_nothing_read =
        receipt.tally.read == 0 && receipt.inputs.iter().any(|input| input.failure.is_some());
    if receipt.ended == Ended::Failed || is_nothing_read || receipt.tally.unaccounted() != 0 {
        Exit::Failed
    } else if receipt.is_complete() && receipt.ended != Ended::Stopped {
        Exit::Done
    } else {
        Exit::Lost
    }
}
