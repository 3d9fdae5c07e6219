//! `overtap exporters`: who exports flows to a collector, from what that remembers.

use std::path::PathBuf;

use anyhow::bail;
use collector::Memory;
use wire::export::{Collector, Limits};

use super::collect::{json, text};
use crate::Output;
use crate::exit::Exit;

/// Prints who exports flows to a collector, as of when it last wrote its state.
///
/// A collector that was started with `--state` writes it every five seconds, and in the end.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The directory that the collector was given.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,

    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

const EXAMPLES: &str = "\
Examples:
  overtap exporters --state /var/lib/overtap/collect
  overtap exporters --state /var/lib/overtap/collect --output json | jq '.exporters[].lost'

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a part of the state is damaged.";

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    if !args.state.is_dir() {
        bail!(
            "{} is not there: give the directory that overtap collect --state was given",
            args.state.display()
        );
    }
    let remembered = Memory::read(&args.state)?;
    let mut collector = Collector::new(Limits::of_what_was_kept());
    let mut is_damaged = !remembered.damage.is_empty();
    for damage in &remembered.damage {
        eprintln!("overtap: line {} of the state cannot be read: {}", damage.line, damage.reason);
    }
    for saved in remembered.exporters {
        let key = saved.key();
        if collector.restore(saved).is_err() {
            eprintln!("overtap: the state of {} domain {} cannot be", key.address, key.domain);
            is_damaged = true;
        }
    }
    let document = match args.output {
        Output::Text => text::of(&collector),
        Output::Json => {
            let document = json::remembered(&collector, remembered.written);
            serde_json::to_string_pretty(&document)? + "\n"
        }
    };
    super::print_out(document.as_bytes())?;
    Ok(if is_damaged { Exit::Lost } else { Exit::Done })
}
