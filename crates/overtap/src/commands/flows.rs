//! `overtap flows`: who talks to whom in capture files, one row for each conversation.

mod export;
pub(super) mod gather;
mod live;
pub(super) mod rows;

use std::io::{self, BufWriter, Write};

use clap::ValueEnum;
use flows::{EndReason, Row};

use self::gather::{Counting, Gather, Gathered};
use crate::exit::Exit;

/// Prints the flows in capture files, or in captures of flow exports.
///
/// A flow is what two ends send each other by one protocol and one pair of ports, inside any
/// tunnel, within one overlay network or VLAN. With an inventory each end is the machine it was at
/// the time. Of a flow that several interfaces or exporters saw, one sighting counts; the others
/// say what they are a copy of.
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
}

const EXAMPLES: &str = "\
Examples:
  overtap flows uplink.pcapng
  overtap flows uplink.pcapng 'vni 5001 and tcp port 443' --output csv
  overtap flows hv-1.pcapng hv-2.pcapng --inventory site.toml --once
  overtap flows --from exports.pcap --output json | jq .octets
  overtap flows --live web-01 --idle 15s --active 60s --export 192.0.2.9:4739
  overtap flows uplink.pcapng --export collector.example:2055 --as netflow9

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished but the file is damaged or cut.";

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    if let Some(export) = args.target.open()? {
        return run_export(args, export);
    }
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut printer = rows::Printer::new(args.output);
    let mut failure = None;
    let gathered = args.gather.run(|flow, counted, sight| {
        let is_copy = counted.iter().all(|way| way.octets == 0 && way.packets == 0);
        if failure.is_none() && !(args.once && is_copy) {
            let row = Row::new(flow, *counted, sight.places, sight.points);
            failure = printer.add(&mut out, &row).err();
        }
    })?;
    if failure.is_none() {
        failure = printer.finish(&mut out).and_then(|()| out.flush()).err();
    }
    match failure {
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Done),
        Some(error) => return Err(error.into()),
        None => {}
    }
    say_account(&gathered, args.gather.is_quiet());
    Ok(gathered.exit)
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
