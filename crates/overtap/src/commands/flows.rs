//! `overtap flows`: who talks to whom in capture files, one row for each conversation.

mod export;
pub(super) mod gather;
mod live;
pub(super) mod rows;

use std::io::{self, BufWriter, Write};

use clap::ValueEnum;
use flows::{EndReason, Row, RowSink};

use self::gather::{Counting, Gather, Gathered};
use super::store::{RowFile, Writing};
use crate::exit::Exit;

/// Prints the flows in capture files, or in captures of flow exports.
///
/// A flow is what two ends send each other by one protocol and one pair of ports, inside any
/// tunnel, within one overlay network or VLAN. With an inventory each end is the machine it was at
/// the time. Of a flow that several interfaces or exporters saw, one sighting counts; the others
/// say what they are a copy of.
///
/// With --store they are kept there instead of printed; with --store and neither a capture nor
/// exports, those that are kept are printed. With none of them it is the controller you are logged in
/// at that is asked, for what your grants show.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    gather: Gather,

    #[command(flatten)]
    target: export::Target,

    /// Leave out what does not count because another sighting of the same flow does.
    #[arg(long)]
    once: bool,

    /// How to print.
    #[arg(long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Table,
    /// For programs: flows one object a line, sums one document.
    Json,
    /// For spreadsheets: a line of column names, then one line for each row.
    Csv,
    /// For engines: one Parquet file.
    Parquet,
}

const EXAMPLES: &str = "\
Examples:
  overtap flows uplink.pcapng
  overtap flows uplink.pcapng 'vni 5001 and tcp port 443' --output csv
  overtap flows hv-1.pcapng hv-2.pcapng --inventory site.toml --once
  overtap flows --from exports.pcap --output json | jq .octets
  overtap flows --live web-01 --idle 15s --active 60s --export 192.0.2.9:4739
  overtap flows uplink.pcapng --export collector.example:2055 --as netflow9
  overtap flows uplink.pcapng --inventory site.toml --store /var/lib/overtap/flows
  overtap flows --store /var/lib/overtap/flows --last 10m --where vm=acme/web-01
  overtap flows --last 10m --where vm=acme/web-01        the controller's

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished but the file is damaged or cut.";

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    if let Some(export) = args.target.open()? {
        return run_export(args, export);
    }
    if let Some(asked) = args.gather.asked()? {
        return asked.rows(args.once, args.output);
    }
    let mut out = Destination::open(args)?;
    let mut failure = None;
    let gathered = args.gather.run(|flow, counted, sight| {
        let is_copy = counted.iter().all(|way| way.octets == 0 && way.packets == 0);
        if failure.is_none() && !(args.once && is_copy) {
            let row = Row::new(flow, *counted, sight.places, sight.points);
            failure = out.take(&row).err();
        }
    })?;
    let stored = match failure {
        None => out.finish(),
        Some(failure) => Err(failure),
    };
    let is_pipe = |error: &anyhow::Error| {
        error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    };
    let exit = match stored {
        Err(error) if is_pipe(&error) => return Ok(Exit::Done),
        exit => exit?,
    };
    say_account(&gathered, args.gather.is_quiet());
    Ok(if gathered.exit == Exit::Done { exit } else { gathered.exit })
}

/// Where flows go.
enum Destination {
    Print(rows::Printer, BufWriter<io::StdoutLock<'static>>),
    Parquet(Box<RowFile>),
    Store(Box<Writing>),
}

impl Destination {
    fn open(args: &Args) -> anyhow::Result<Self> {
        if let Some(store) = args.gather.stored().keeping().open()? {
            return Ok(Self::Store(Box::new(store)));
        }
        Ok(match args.output {
            Form::Parquet => Self::Parquet(Box::new(RowFile::to_stdout()?)),
            form => {
                let out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
                Self::Print(rows::Printer::new(form), out)
            }
        })
    }

    fn take(&mut self, row: &Row<'_>) -> anyhow::Result<()> {
        match self {
            Self::Print(printer, out) => Ok(printer.add(out, row)?),
            Self::Parquet(file) => file.take(row),
            Self::Store(store) => store.take(row),
        }
    }

    fn finish(self) -> anyhow::Result<Exit> {
        match self {
            Self::Print(printer, mut out) => {
                printer.finish(&mut out)?;
                out.flush()?;
                Ok(Exit::Done)
            }
            Self::Parquet(file) => file.finish().map(|()| Exit::Done),
            Self::Store(mut store) => {
                store.finish()?;
                Ok(store.exit())
            }
        }
    }
}

/// Tells another collector, as soon as each flow has ended.
fn run_export(args: &Args, mut export: export::Export) -> anyhow::Result<Exit> {
    let counting = if args.once { Counting::Once } else { Counting::Every };
    let gathered = args.gather.run_with(counting, |flow, counted, _| {
        let is_copy = counted.iter().all(|way| way.octets == 0 && way.packets == 0);
        if !(args.once && is_copy) {
            export.add(flow);
            // Flows of a live capture come one by one, and none waits for the next.
            if args.gather.is_live() {
                export.flush();
            }
        }
    })?;
    let is_sent = export.finish(args.gather.is_quiet());
    say_account(&gathered, args.gather.is_quiet());
    Ok(if is_sent { gathered.exit } else { Exit::Lost })
}

/// Says on standard error what is in no row, or was told for want of room.
pub(super) fn say_account(gathered: &Gathered, is_quiet: bool) {
    if is_quiet {
        return;
    }
    let counters = &gathered.counters;
    for (count, what) in [
        (counters.not_ip, "packets are not IP"),
        (counters.hidden, "packets whose innermost frame cannot be reached"),
        (counters.fragments_without_first, "later fragments of packets whose first was not seen"),
        (gathered.not_selected, "packets were not selected"),
        (gathered.without_addresses, "records and samples without addresses"),
        (counters.ended(EndReason::CacheFull), "flows were cut because there were too many"),
        (gathered.settled_early, "times there were too many flows to compare all with each other"),
    ] {
        if count > 0 {
            eprintln!("overtap: {} {what}", agent::grouped(count));
        }
    }
}
