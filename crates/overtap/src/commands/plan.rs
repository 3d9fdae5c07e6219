//! `overtap plan`: ranks every place where a VM's packets can be seen.

use crate::Output;
use crate::exit::Exit;

/// Ranks every place where a VM's packets can be seen.
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
