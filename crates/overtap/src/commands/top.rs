//! `overtap top`, `overtap pairs` and `overtap matrix`: who moves how much, and between whom.

mod live;
mod said;

use std::time::Duration;

use clap::ValueEnum;
use flows::{By, Matrix, Summary};

use super::flows::Form;
use super::flows::gather::Gather;
use super::flows::say_account;
use crate::exit::{Exit, WrongUsage};
use crate::quantity::parse_duration;

/// Prints who moves most: machines, hosts, tenants, applications or ports.
///
/// Every flow counts once, whichever interfaces or exporters saw it; tunnels do not count beside
/// what they carry. Bytes are those of IP packets.
#[derive(clap::Args)]
#[command(after_help = TOP_EXAMPLES)]
pub(crate) struct TopArgs {
    /// Of what. With --live it may be left out.
    #[arg(value_enum, required_unless_present = "live")]
    of: Option<Of>,

    #[command(flatten)]
    gather: Gather,

    #[command(flatten)]
    shape: Shape,

    /// With --live: how often it is counted anew.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration,
          requires = "live")]
    every: Duration,

    /// With --live --output json: end after so many lines.
    #[arg(long, value_name = "LINES", requires = "live",
          value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// What rows are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Of {
    /// Machines of the inventory; what is none by its address.
    Vms,
    /// Hosts the machines are on.
    Hosts,
    /// Tenants the machines belong to.
    Tenants,
    /// Applications, by their first bytes or the server's port.
    Apps,
    /// Ports of servers.
    Ports,
    /// Addresses, whichever machine has them.
    Addresses,
}

/// How many rows are printed, and how.
#[derive(clap::Args)]
struct Shape {
    /// How many rows to print; 0 is all.
    #[arg(long, value_name = "ROWS", default_value_t = 20)]
    top: usize,

    /// How to print.
    #[arg(long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

const TOP_EXAMPLES: &str = "\
Examples:
  overtap top vms uplink.pcapng --inventory site.toml
  overtap top apps uplink.pcapng 'vm web-01' --inventory site.toml
  overtap top vms --from exports.pcap --output json
  overtap top tenants --store /var/lib/overtap/flows --last 1h
  overtap top vms --last 1h              what the controller knows, as far as your grants show it
  overtap top --live                     this host as it is now, on a full screen
  overtap top vms 'tcp port 443' --live
  overtap top --live --output json | jq '.vms[0]'

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished but the file is damaged or cut.";

/// Runs `overtap top`.
pub(crate) fn run_top(args: &TopArgs) -> anyhow::Result<Exit> {
    if args.gather.is_whole_host() {
        return run_live(args);
    }
    let Some(of) = args.of else {
        return Err(WrongUsage("say of what, before --live: overtap top vms --live".into()).into());
    };
    let by = match of {
        Of::Vms => By::Vms,
        Of::Hosts => By::Hosts,
        Of::Tenants => By::Tenants,
        Of::Apps => By::Apps,
        Of::Ports => By::Ports,
        Of::Addresses => By::Addresses,
    };
    let heading = of.to_possible_value().map(|value| value.get_name().to_owned());
    let heading = heading.as_deref().unwrap_or_default();
    if let Some(asked) = args.gather.asked()? {
        return said::print(&said::summary(&asked.summary(by)?, heading, &args.shape)?);
    }
    let mut summary = Summary::new(by);
    let gathered =
        args.gather.run(|flow, counted, sight| summary.add(flow, counted, sight.places))?;
    super::print_out(&said::summary(&summary, heading, &args.shape)?)?;
    say_account(&gathered, args.gather.is_quiet());
    Ok(gathered.exit)
}

/// Shows this host as it is now.
fn run_live(args: &TopArgs) -> anyhow::Result<Exit> {
    let of = match args.of {
        None | Some(Of::Vms) => screen::Of::Vms,
        Some(Of::Addresses) => screen::Of::Talkers,
        Some(_) => {
            return Err(
                WrongUsage("--live shows vms or addresses, and pairs of them".into()).into()
            );
        }
    };
    let is_json = match args.shape.output {
        Form::Table => false,
        Form::Json => true,
        Form::Csv | Form::Parquet => {
            return Err(WrongUsage("--live fills a screen, or writes --output json".into()).into());
        }
    };
    let expression = args.gather.whole_host_expression()?;
    let (every, count, most) = (args.every, args.count, args.shape.top);
    live::run(&live::Wanted { of, expression, every, is_json, count, most })
}

/// Prints who talks to whom, both directions in one row.
#[derive(clap::Args)]
#[command(after_help = PAIRS_EXAMPLES)]
pub(crate) struct PairsArgs {
    #[command(flatten)]
    gather: Gather,

    /// Between whom.
    #[arg(long, value_enum, default_value_t = Between::Vms)]
    by: Between,

    #[command(flatten)]
    shape: Shape,
}

/// Who the ends of a pair are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Between {
    /// Machines of the inventory; what is none by its address.
    Vms,
    /// Hosts the machines are on.
    Hosts,
    /// Tenants the machines belong to.
    Tenants,
    /// Addresses, whichever machine has them.
    Addresses,
}

impl Between {
    const fn by(self) -> By {
        match self {
            Self::Vms => By::Vms,
            Self::Hosts => By::Hosts,
            Self::Tenants => By::Tenants,
            Self::Addresses => By::Addresses,
        }
    }
}

const PAIRS_EXAMPLES: &str = "\
Examples:
  overtap pairs uplink.pcapng --inventory site.toml
  overtap pairs --from exports.pcap --inventory site.toml --by hosts

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished but the file is damaged or cut.";

/// Runs `overtap pairs`.
pub(crate) fn run_pairs(args: &PairsArgs) -> anyhow::Result<Exit> {
    if let Some(asked) = args.gather.asked()? {
        return said::print(&said::pairs(&asked.matrix(args.by.by())?, &args.shape)?);
    }
    let mut matrix = Matrix::new(args.by.by());
    let gathered =
        args.gather.run(|flow, counted, sight| matrix.add(flow, counted, sight.places))?;
    super::print_out(&said::pairs(&matrix, &args.shape)?)?;
    say_account(&gathered, args.gather.is_quiet());
    Ok(gathered.exit)
}

/// Prints a square of who sends how much to whom: rows send, columns receive.
#[derive(clap::Args)]
#[command(after_help = MATRIX_EXAMPLES)]
pub(crate) struct MatrixArgs {
    #[command(flatten)]
    gather: Gather,

    /// Between whom.
    #[arg(long, value_enum, default_value_t = Between::Hosts)]
    by: Between,

    #[command(flatten)]
    shape: Shape,
}

const MATRIX_EXAMPLES: &str = "\
Examples:
  overtap matrix uplink.pcapng --inventory site.toml
  overtap matrix uplink.pcapng --inventory site.toml --by tenants --output csv

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished but the file is damaged or cut.";

/// Runs `overtap matrix`.
pub(crate) fn run_matrix(args: &MatrixArgs) -> anyhow::Result<Exit> {
    if let Some(asked) = args.gather.asked()? {
        return said::print(&said::square(&asked.matrix(args.by.by())?, &args.shape)?);
    }
    let mut matrix = Matrix::new(args.by.by());
    let gathered =
        args.gather.run(|flow, counted, sight| matrix.add(flow, counted, sight.places))?;
    super::print_out(&said::square(&matrix, &args.shape)?)?;
    say_account(&gathered, args.gather.is_quiet());
    Ok(gathered.exit)
}
