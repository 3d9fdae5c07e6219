//! `overtap stat`: what capture files hold.

pub(crate) mod json;
mod text;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::ValueEnum;
use files::{DedupRequest, OpenInputs, StatRequest};
use inventory::History;
use pipeline::Tenants;
use plan::Names;
use select::NameKind;
use wire::TunnelPorts;

use super::extract::{said::Bar, words};
use crate::exit::Exit;
use crate::quantity::parse_duration;
use crate::tunnels::Tunnels;
use crate::{Output, names, tenants};

/// Counts what capture files hold, by interface, network, tunnel and VM.
///
/// Reads pcap and pcapng of any kind, also packed by gzip, zstd or lz4. What is counted is said in
/// bytes on the wire, whatever the file has of them.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The capture files; `-` is standard input.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Which tables to print; all unless told.
    #[arg(long, value_enum, value_delimiter = ',')]
    by: Vec<By>,

    /// How many rows of each table to print, those with most bytes first; 0 is all. Unless told,
    /// 20, and all as JSON.
    #[arg(long, value_name = "ROWS")]
    top: Option<usize>,

    /// Count copies too: packets that were seen before at another point, at most this long ago
    /// (10ms unless told).
    #[arg(long, value_name = "WINDOW", num_args = 0..=1, require_equals = true,
          default_missing_value = "10ms", value_parser = parse_duration)]
    dedup: Option<Duration>,

    /// Which networks are one tenant's, for --dedup; see `overtap extract --help`.
    #[arg(long, value_name = "FILE|one", requires = "dedup")]
    tenant_map: Option<PathBuf>,

    /// Count the packets of every VM of this inventory file too; may be given several times.
    #[arg(long, value_name = "FILE")]
    inventory: Vec<PathBuf>,

    #[command(flatten)]
    tunnels: Tunnels,

    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,

    /// Show no progress bar.
    #[arg(short, long)]
    quiet: bool,
}

/// What a table has a row for each of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// Interfaces of the files, with losses and order.
    Interface,
    /// Networks: overlay numbers and VLANs as the packets have them together.
    Network,
    /// Overlay numbers.
    Vni,
    /// VLANs of innermost frames.
    Vlan,
    /// Ends of outermost tunnels.
    Tunnel,
    /// Mirror sessions, with what was lost on the way by their sequence numbers. Unless asked for,
    /// without VXLAN and GENEVE, which may be overlays.
    Mirror,
    /// VMs of the inventory.
    Vm,
}

const EXAMPLES: &str = "\
Examples:
  overtap stat uplink.pcapng
  overtap stat uplink.pcapng --by vni --top 100
  overtap stat tap.pcapng uplink.pcapng --dedup --tenant-map one
  overtap stat big.pcapng.gz --inventory site.toml --by vm --output json | jq '.vms[0]'

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished but the file is damaged or cut.";

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let history = match args.inventory.as_slice() {
        [] => None,
        files => Some(Arc::new(names::history(files)?)),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let mut ports = TunnelPorts::default();
    if let Some(history) = &history {
        Names::new(history).add_tunnel_ports(&mut ports);
    }
    args.tunnels.add_to(&mut ports);
    let request = StatRequest {
        dedup: dedup(args, history.as_deref())?,
        vms: history.as_ref().map(|history| names::whose(history, NameKind::Vm)),
        ports,
        stop: Arc::clone(&stop),
    };
    let inputs = OpenInputs::open(&args.files)?;
    words::on_signals(&stop)?;
    let bar = Bar::begin(inputs.progress(), args.quiet);
    let report = files::stat(inputs, request);
    drop(bar);
    for (account, _) in &report.inputs {
        eprint!("{}", super::extract::said::input_problems(account));
    }
    let is_nothing_read = report.whole.packets == 0
        && report.inputs.iter().any(|(account, _)| account.failure.is_some());
    if is_nothing_read {
        return Ok(Exit::Failed);
    }
    let document = match args.output {
        Output::Text => text::of(&report, &args.by, args.top.unwrap_or(20))?,
        Output::Json => {
            serde_json::to_string_pretty(&json::of(&report, args.top.unwrap_or(0)))? + "\n"
        }
    };
    super::print_out(document.as_bytes())?;
    Ok(if report.is_whole() { Exit::Done } else { Exit::Lost })
}

fn dedup(args: &Args, history: Option<&History>) -> anyhow::Result<Option<DedupRequest>> {
    let Some(window) = args.dedup else { return Ok(None) };
    let tenants = match (&args.tenant_map, history) {
        (Some(word), _) => tenants::named(word)?,
        (None, Some(history)) => Tenants::Mapped(tenants::of_history(history)),
        (None, None) => Tenants::default(),
    };
    Ok(Some(DedupRequest { window, tenants }))
}
