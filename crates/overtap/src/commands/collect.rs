//! `overtap collect`: flow exports, as they come or replayed from captures of them.

pub(super) mod json;
mod live;
mod records;
mod stored;
pub(super) mod text;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::ValueEnum;
use files::{DatagramReport, OpenInputs};
use wire::TunnelPorts;
use wire::export::{Collector, Datagram, Limits};

use super::extract::said::{Bar, input_problems};
use super::extract::words;
use super::store::Keeping;
use crate::Output;
use crate::exit::{Exit, WrongUsage};
use crate::quantity::parse_duration;
use crate::tunnels::Tunnels;

/// Collects exports of flows and says what each exporter sent.
///
/// NetFlow versions 5 and 9, IPFIX and sFlow version 5, told apart by content at any port. Receives
/// them until Ctrl-C, or reads them from captures of the exports.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("origin").required(true).args(["from", "listen"]))]
pub(crate) struct Args {
    /// Receive at `[udp://|tcp://|tls://][ADDRESS:]PORT`; may be given several times. A port alone
    /// is UDP at all addresses; TCP and TLS carry IPFIX.
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<collector::Address>,

    /// Replay the exports found in this capture; may be given several times. `-` is standard
    /// input.
    #[arg(long, value_name = "FILE", conflicts_with = "listen")]
    from: Vec<PathBuf>,

    /// What to show: exporters unless told; with --listen and --output json, flows.
    #[arg(long, value_enum)]
    show: Option<Show>,

    /// Where records or flows go, one JSON object a line; standard output unless told.
    #[arg(short, long, value_name = "FILE", requires = "listen")]
    write: Option<PathBuf>,

    /// Remember here what was learnt of exporters: templates, sampling rates, numbers. Read again
    /// at the next start, and by `overtap exporters`.
    #[arg(long, value_name = "DIR", requires = "listen")]
    state: Option<PathBuf>,

    #[command(flatten)]
    keeping: Keeping,

    /// Where the machines of flows are looked up: an inventory file; may be given several times.
    #[arg(long, value_name = "FILE")]
    inventory: Vec<PathBuf>,

    /// How long a flow waits to be compared with what others have seen of it.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    settle: Duration,

    /// Stop after so long.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "listen")]
    duration: Option<Duration>,

    /// The certificate shown to exporters that speak TLS, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Its key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Only exporters that show a certificate of these authorities, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_clients: Option<PathBuf>,

    #[command(flatten)]
    tunnels: Tunnels,

    /// How to print; records are one JSON object a line in any case.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,

    /// Show no progress, and no account beside records.
    #[arg(short, long)]
    quiet: bool,
}

impl Args {
    fn shown(&self) -> Show {
        let is_live_json = !self.listen.is_empty() && self.output == Output::Json;
        let is_written = self.write.is_some();
        let usual = if is_live_json || is_written { Show::Flows } else { Show::Exporters };
        self.show.unwrap_or(usual)
    }
}

/// What is shown of exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Show {
    /// Who exports, how much, and what was wrong with it.
    Exporters,
    /// Every record and sample, with the fields it has.
    Records,
    /// Flows, with their machines, each counted once; as they come only.
    Flows,
}

const EXAMPLES: &str = "\
Examples:
  overtap collect --listen 2055 --listen 6343 --state /var/lib/overtap/collect
  overtap collect --listen 4739 --inventory site.toml --output json | jq .split
  overtap collect --listen tls://4740 --tls-cert here.pem --tls-key here.key
  overtap collect --listen 2055 --inventory site.toml --store /var/lib/overtap/flows
  overtap collect --from exports.pcap
  overtap collect --from exports.pcap --output json | jq '.exporters[].lost'
  overtap collect --from exports.pcap --show records

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished but the file is damaged or cut, or
datagrams were lost here.";

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    if !args.listen.is_empty() {
        return live::run(args);
    }
    let show = args.shown();
    if show == Show::Flows {
        let what = "flows of a capture of exports are shown by overtap flows --from FILE";
        return Err(WrongUsage(what.into()).into());
    }
    let mut ports = TunnelPorts::default();
    args.tunnels.add_to(&mut ports);
    let mut collector = Collector::new(Limits::default());
    let mut out = BufWriter::new(io::stdout().lock());
    let mut failure = None;
    let mut storing = stored::Storing::open(args, &ports)?;
    let report = replay(&args.from, &ports, args.quiet, &mut collector, |event| {
        if let Some(storing) = &mut storing {
            storing.take(event);
        } else if show == Show::Records && failure.is_none() {
            failure = records::write(&mut out, event, &ports).err();
        }
    })?;
    match failure {
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Done),
        Some(error) => return Err(error.into()),
        None => out.flush()?,
    }
    drop(out);
    let stored = storing.map_or(Ok(Exit::Done), stored::Storing::finish)?;
    if show == Show::Exporters {
        let document = match args.output {
            Output::Text => text::of(&collector),
            Output::Json => serde_json::to_string_pretty(&json::of(&collector, &report))? + "\n",
        };
        super::print_out(document.as_bytes())?;
    }
    Ok(if stored == Exit::Done { exit(&report) } else { stored })
}

/// Shows the exports in captures to a collector, and what comes of them to `each`.
pub(super) fn replay(
    files: &[PathBuf],
    ports: &TunnelPorts,
    is_quiet: bool,
    collector: &mut Collector,
    mut each: impl FnMut(wire::export::Event<'_>),
) -> anyhow::Result<DatagramReport> {
    let stop = Arc::new(AtomicBool::new(false));
    let inputs = OpenInputs::open(files)?;
    words::on_signals(&stop)?;
    let bar = Bar::begin(inputs.progress(), is_quiet);
    let report = files::datagrams(inputs, ports, &stop, |datagram| {
        let files::Datagram { time, source, payload, .. } = *datagram;
        collector.take(&Datagram { time, source, payload }, &mut each);
    });
    drop(bar);
    for account in &report.inputs {
        eprint!("{}", input_problems(account));
    }
    Ok(report)
}

/// How a replay ended.
pub(super) fn exit(report: &DatagramReport) -> Exit {
    let is_failed = |input: &files::InputAccount| input.read == 0 && input.failure.is_some();
    if report.inputs.iter().any(is_failed) {
        Exit::Failed
    } else if report.inputs.iter().all(files::InputAccount::is_whole) {
        Exit::Done
    } else {
        Exit::Lost
    }
}
