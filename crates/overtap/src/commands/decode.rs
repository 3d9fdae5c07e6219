//! `overtap decode`: prints one line for each packet of a file with its layers.

use crate::Output;
use crate::exit::Exit;

/// Prints one line for each packet of a file with its layers.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    anyhow::bail!("not there yet ({:?})", args.output)
}
