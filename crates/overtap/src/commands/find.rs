//! `overtap find`: says where a VM is: host, vSwitch, port, overlay, uplink.

use crate::Output;
use crate::exit::Exit;

/// Says where a VM is: host, vSwitch, port, overlay, uplink.
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
