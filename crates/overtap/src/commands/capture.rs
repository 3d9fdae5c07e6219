//! `overtap capture`: captures a VM's packets into one pcapng file.

use crate::Output;
use crate::exit::Exit;

/// Captures a VM's packets into one pcapng file.
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
