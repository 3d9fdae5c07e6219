//! `overtap collect`: flow exports, replayed from captures of them.

mod json;
mod records;
mod text;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::ValueEnum;
use files::{DatagramReport, OpenInputs};
use wire::TunnelPorts;
use wire::export::{Collector, Datagram, Limits};

use super::extract::said::{Bar, input_problems};
use super::extract::words;
use crate::Output;
use crate::exit::Exit;
use crate::tunnels::Tunnels;

/// Collects exports of flows and says what each exporter sent.
///
/// NetFlow versions 5 and 9, IPFIX and sFlow version 5, told apart by content at any port. Reads
/// them from captures of the exports.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Replay the exports found in this capture; may be given several times. `-` is standard
    /// input.
    #[arg(long, value_name = "FILE", required = true)]
    from: Vec<PathBuf>,

    /// What to show.
    #[arg(long, value_enum, default_value_t = Show::Exporters)]
    show: Show,

    #[command(flatten)]
    tunnels: Tunnels,

    /// How to print; records are one JSON object a line in any case.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,

    /// Show no progress bar.
    #[arg(short, long)]
    quiet: bool,
}

/// What is shown of exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Show {
    /// Who exports, how much, and what was wrong with it.
    Exporters,
    /// Every record and sample, with the fields it has.
    Records,
}

const EXAMPLES: &str = "\
Examples:
  overtap collect --from exports.pcap
  overtap collect --from exports.pcap --output json | jq '.exporters[].lost'
  overtap collect --from exports.pcap --show records

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished but the file is damaged or cut.";

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut ports = TunnelPorts::default();
    args.tunnels.add_to(&mut ports);
    let mut collector = Collector::new(Limits::default());
    let mut out = BufWriter::new(io::stdout().lock());
    let mut failure = None;
    let report = replay(&args.from, &ports, args.quiet, &mut collector, |event| {
        if args.show == Show::Records && failure.is_none() {
            failure = records::write(&mut out, event, &ports).err();
        }
    })?;
    match failure {
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Done),
        Some(error) => return Err(error.into()),
        None => out.flush()?,
    }
    drop(out);
    if args.show == Show::Exporters {
        let document = match args.output {
            Output::Text => text::of(&collector),
            Output::Json => serde_json::to_string_pretty(&json::of(&collector, &report))? + "\n",
        };
        super::print_out(document.as_bytes())?;
    }
    Ok(exit(&report))
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
