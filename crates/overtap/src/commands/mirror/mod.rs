//! `overtap mirror`: has a switch or the kernel copy a VM's packets to a tool.

mod detached;
mod guard;
mod make;
mod register;
mod tool;

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use platform::mirror::{Oversize, Register};

use crate::Output;
use crate::exit::{Exit, WrongUsage};
use crate::quantity::parse_duration;

/// Copies a VM's packets to a tool, by a mirror of the switch or a virtual tap, and follows the VM
/// on this host; the copies end when the command does.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    word: Option<Word>,

    #[command(flatten)]
    make: Make,
}

/// What to mirror, and where to.
#[derive(clap::Args)]
pub(super) struct Make {
    /// The VM, or several: `web`, `web,db`, 'web-*', tenant:acme; VMs that come later are among
    /// them.
    #[arg(required = true)]
    vm: Option<String>,

    /// Only these packets of it, in the words of tcpdump; only some means can do that.
    #[arg(value_name = "EXPR")]
    expression: Vec<String>,

    /// Where to: a tool (overtap tools), within its grant; or port:IFACE, vlan:N, vxlan://IP?vni=N, geneve://IP?vni=N, gre://IP?key=N,
    /// erspan://IP?session=N (type=3 for type III).
    #[arg(long, value_name = "DESTINATION", required = true)]
    to: Option<String>,

    /// What makes the copies: a mirror of Open vSwitch or OVN, a virtual tap of traffic control, or
    /// the best of those that change nothing but this host.
    #[arg(long, value_enum, default_value_t = MeansWord::Auto)]
    means: MeansWord,

    /// With --means ovn: where OVN's northbound database is, unix:PATH or tcp:IP:PORT. Default:
    /// OVN_NB_DB, else its socket on this host.
    #[arg(long, value_name = "ADDRESS")]
    ovn_nb: Option<String>,

    /// What becomes of frames that are too long for the way to the tool: no mirror where there may
    /// be any, or these are lost.
    #[arg(long, value_enum, default_value_t = OversizeWord::Refuse)]
    oversize: OversizeWord,

    /// With an expression: accept that the kernel, which decides alone, copies more than it wants.
    #[arg(long)]
    allow_more: bool,

    /// End after this time: 90s, 5m, 1h30m. Default: never.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    duration: Option<Duration>,

    /// Say what each means would miss, cost and disturb, and make no mirror.
    #[arg(long, conflicts_with = "detach")]
    plan: bool,

    /// Go on without this terminal; end it with overtap mirror remove.
    #[arg(long)]
    detach: bool,

    /// Started by --detach.
    #[arg(long, hide = true)]
    is_detached: bool,

    /// On this host, although you are logged in at a controller.
    #[arg(long)]
    local: bool,

    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,

    /// Print nothing but errors.
    #[arg(short, long)]
    quiet: bool,
}

/// What is done with mirrors that are there.
#[derive(Subcommand)]
enum Word {
    /// Lists the mirrors of this host.
    List {
        /// How to print.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Shows all that is known of a mirror.
    Show {
        /// Its id, or the beginning of it.
        id: String,
        /// How to print.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Removes a mirror, and waits until it is gone.
    Remove {
        /// Its id, or the beginning of it.
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// All mirrors of this host.
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
    /// Removes a mirror when its watcher dies; started by it.
    #[command(hide = true)]
    Guard {
        /// Its id.
        id: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum MeansWord {
    /// The best that is possible.
    Auto,
    /// A mirror of Open vSwitch.
    Ovs,
    /// A mirror of OVN, by its northbound database; only when asked for.
    Ovn,
    /// A virtual tap: a kernel program at the VM's port.
    Tc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OversizeWord {
    /// No mirror where there may be such frames.
    Refuse,
    /// They are lost.
    Drop,
}

const EXAMPLES: &str = "\
Examples:
  overtap mirror web --to vxlan://10.0.0.9?vni=7            until Ctrl-C
  overtap mirror web --to ids-1                             a tool of overtap tools
  overtap mirror web --to erspan://10.0.0.9?session=5 --duration 1h --detach
  overtap mirror 'web-*' --to port:veth-ids                 into an interface of this host
  overtap mirror web 'tcp port 443' --means tc --to port:veth-ids
  overtap mirror web --to vlan:900 --plan                   what it would miss, cost and disturb
  overtap mirror list
  overtap mirror remove 1f2e

Every mirror has a watcher. When it ends, whatever ends it, the mirror is removed; what a crash of
the whole host leaves is removed by the next overtap mirror.";

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.word {
        None => make::run(&args.make),
        Some(Word::List { output }) => register::list(*output),
        Some(Word::Show { id, output }) => register::show(id, *output),
        Some(Word::Remove { id, all: _ }) => register::remove(id.as_deref()),
        Some(Word::Guard { id }) => guard::run(id),
    }
}

/// Removes mirrors that nobody watches any more, as after a crash of the host, and says so.
pub(crate) fn reap_left() {
    if let Ok(register) = register() {
        reap(&register);
    }
}

/// Where mirrors of this host are written down.
fn register() -> anyhow::Result<Register> {
    let directory = crate::state::directory().ok_or_else(|| {
        WrongUsage("no place to write down mirrors: set OVERTAP_STATE_DIR or HOME".into())
    })?;
    Ok(Register::new(&directory))
}

/// Removes what a watcher has left that died with its guard, and says so.
fn reap(register: &Register) {
    match register.reap(None) {
        Ok(reaped) => {
            for mirror in reaped {
                match mirror.problem {
                    None => eprintln!(
                        "overtap: removed mirror {} ({}): its watcher had died",
                        mirror.id, mirror.what
                    ),
                    Some(problem) => eprintln!(
                        "overtap: mirror {} ({}) has no watcher and cannot be removed: {problem}",
                        mirror.id, mirror.what
                    ),
                }
            }
        }
        Err(error) => {
            eprintln!("overtap: cannot read {}: {error}", register.directory().display());
        }
    }
}

impl From<OversizeWord> for Oversize {
    fn from(word: OversizeWord) -> Self {
        match word {
            OversizeWord::Refuse => Self::Refuse,
            OversizeWord::Drop => Self::Drop,
        }
    }
}
