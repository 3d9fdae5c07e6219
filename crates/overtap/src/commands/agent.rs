//! `overtap agent`: the capture agent of a host or guest.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use agent::Selection;
use control::tokens::EnrolmentToken;
use station::{Identity, RecordWanted, RecorderKey, RecorderSettings, Settings};

use super::recorder::default_key_file;
use crate::controller::block_on;
use crate::exit::{Exit, WrongUsage};
use crate::quantity::{parse_bytes, parse_duration};
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

    /// Keep a flight recorder of these machines: names, ids, or patterns like 'web-*'; several
    /// times. Whoever has a grant gets them with overtap capture VM --last TIME.
    #[arg(long, value_name = "VM")]
    record: Vec<String>,

    /// Keep a flight recorder of all machines of this tenant; several times.
    #[arg(long, value_name = "NAME")]
    record_tenant: Vec<String>,

    /// Bytes that the recording may have; the oldest goes first.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "4GiB")]
    record_size: u64,

    /// How old a recorded packet may get. Default: as old as --record-size allows.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    record_age: Option<Duration>,

    /// Most bytes recorded of each packet.
    #[arg(long, value_name = "BYTES", default_value_t = 262_144,
          value_parser = clap::value_parser!(u32).range(1..=262_144))]
    record_snaplen: u32,

    /// The recorder's directory. Default: FOLDER/recorder with --record. Without --record the
    /// agent reads there what overtap record keeps.
    #[arg(long, value_name = "DIR")]
    recorder: Option<PathBuf>,

    /// The key file of what overtap record keeps in --recorder. Default: the directory's name with
    /// `.key` behind it.
    #[arg(long, value_name = "FILE", requires = "recorder")]
    recorder_key: Option<PathBuf>,

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
  overtap agent --record-tenant acme --record-size 8GiB
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
            super::mirror::reap_left();
            let is_stopped = Arc::new(AtomicBool::new(false));
            for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
                signal_hook::flag::register(signal, Arc::clone(&is_stopped))?;
            }
            let settings = Settings {
                folder: args.dir.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                log: args.role.log(),
                metrics: args.role.metrics,
                recorder: recorder(args)?,
            };
            station::run(&settings, &is_stopped)?;
            Ok(Exit::Done)
        }
    }
}

/// The recorder that the words speak of, if they speak of one.
fn recorder(args: &Args) -> anyhow::Result<Option<RecorderSettings>> {
    if args.record.is_empty() && args.record_tenant.is_empty() {
        // Somebody else records, with a key of their own.
        return Ok(args.recorder.clone().map(|directory| RecorderSettings {
            key: RecorderKey::File(
                args.recorder_key.clone().unwrap_or_else(|| default_key_file(&directory)),
            ),
            directory,
            record: None,
        }));
    }
    if args.recorder_key.is_some() {
        let text = "--recorder-key is for a recorder that is not the agent's: leave --record out";
        return Err(WrongUsage(text.into()).into());
    }
    let directory = args.recorder.clone().unwrap_or_else(|| args.dir.join("recorder"));
    let selection = Selection::new(&args.record, &args.record_tenant)
        .map_err(|error| WrongUsage(error.to_string()))?;
    Ok(Some(RecorderSettings {
        key: RecorderKey::Halves(default_key_file(&directory)),
        directory,
        record: Some(RecordWanted {
            selection,
            max_bytes: args.record_size,
            max_age: args.record_age,
            snaplen: args.record_snaplen,
        }),
    }))
}
