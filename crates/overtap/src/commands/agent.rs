//! `overtap agent`: the capture agent of a host or guest.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use control::tokens::EnrolmentToken;
use station::{Identity, Settings};

use crate::controller::block_on;
use crate::exit::Exit;
use crate::role::Role;

/// Makes this host a capture agent of a controller, and runs it.
///
/// The agent connects to its controller; the host needs no open port. While the controller is
/// away, what was ordered goes on.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Where to keep its identity, and packets until they are fetched.
    #[arg(long, global = true, value_name = "FOLDER", default_value = "/var/lib/overtap/agent")]
    dir: PathBuf,

    #[command(flatten)]
    role: Role,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Makes this host an agent of the controller that the invitation comes from.
    Enrol {
        /// The invitation: what overtap agents invite has printed.
        #[arg(long, value_name = "TOKEN")]
        token: String,
        /// What the controller shall call this host. Default: its host name.
        #[arg(long)]
        name: Option<String>,
        /// Leave the controller this host belongs to.
        #[arg(long)]
        force: bool,
    },
    /// Runs the agent; so does overtap agent without a word.
    Run,
}

const EXAMPLES: &str = "\
Examples:
  overtap agent enrol --token ovte_...   once, with what overtap agents invite has printed
  overtap agent                          as root; until Ctrl-C or SIGTERM
  overtap agent --metrics 127.0.0.1:9743 --log json";

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.command {
        Some(Command::Enrol { token, name, force }) => {
            api::tls::install_provider();
            let token: EnrolmentToken = token.parse()?;
            let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
            let name = name.clone().unwrap_or_else(host);
            let version = env!("CARGO_PKG_VERSION");
            let enrolled = Identity::enrol(&args.dir, &token, &name, version, *force);
            let identity = block_on(enrolled)??;
            println!(
                "agent {} of the controller at {}; run it: overtap agent",
                identity.agent_id, identity.controller.address
            );
            Ok(Exit::Done)
        }
        Some(Command::Run) | None => {
            let is_stopped = Arc::new(AtomicBool::new(false));
            for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
                signal_hook::flag::register(signal, Arc::clone(&is_stopped))?;
            }
            let settings = Settings {
                folder: args.dir.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                log: args.role.log(),
                metrics: args.role.metrics,
            };
            station::run(&settings, &is_stopped)?;
            Ok(Exit::Done)
        }
    }
}
