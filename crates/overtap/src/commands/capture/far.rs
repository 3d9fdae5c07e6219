//! A capture through a controller: the same words, wherever the VM runs.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use api::document::{Session, WhenFull, Wish};
use jiff::Zoned;
use pipeline::Limits;
use remote::{Capture, Keeper, Login, SessionReceipt, Told, Wanted};
use tokio::runtime::Runtime;

use super::said::Said;
use super::{Args, is_stdout};
use crate::Output;
use crate::controller::{Far, stopped};
use crate::exit::{Exit, WrongUsage};

/// Captures what the words say, through the controller of this login.
pub(super) fn run(args: &Args, login: Login, said: Said) -> anyhow::Result<Exit> {
    if args.buffer.is_some() {
        bail!(WrongUsage("--buffer is for captures on this host: add --local".into()));
    }
    let far = Far::at(login)?;
    let is_kept = args.detach;
    let path = path(args);
    if let Some(path) = &path
        && !is_kept
        && !args.force
        && path.metadata().is_ok_and(|found| found.is_file())
    {
        bail!("{} is there already; --force replaces it", path.display());
    }
    let wish = wish(args, path.is_some());
    let session = far.wait(far.connection.start(&wish))?;
    if is_kept {
        println!("{}", session.id);
        eprintln!("overtap: it runs; fetch it: overtap sessions fetch {} -w FILE", session.id);
        return Ok(Exit::Done);
    }
    let ring = deliver::Ring {
        max_bytes: args.rotate_size,
        max_packets: None,
        interval: args.rotate_interval.map(deliver::Interval::SinceStart),
        keep: args.ring_files.and_then(std::num::NonZeroU32::new),
    };
    let output = remote::Output {
        min_free_bytes: args.min_free.or_else(|| path.as_deref().map(agent::default_reserve)),
        path,
        open: None,
        force: args.force,
        ring: (ring != deliver::Ring::default()).then_some(ring),
        application: application(),
    };
    let wanted = Wanted {
        is_live: output.path.is_none(),
        packets: wish.limits.packets,
        session,
        output,
        ends_session: true,
        // Nobody fetches it again: it is all in this file.
        releases: true,
    };
    follow(wanted, far.keeper(), &far.runtime, said, args.output)
}

/// A session that exists, to be fetched into a file.
pub(crate) struct Fetching {
    /// The session.
    pub(crate) session: Session,
    /// Where to; `-` is standard output.
    pub(crate) write: PathBuf,
    /// Whether an existing file may be replaced.
    pub(crate) force: bool,
    /// Whether its hosts may forget what has come here.
    pub(crate) releases: bool,
    /// Whether nothing is said but errors.
    pub(crate) is_quiet: bool,
    /// How the receipt is printed.
    pub(crate) output: Output,
}

impl Fetching {
    /// Fetches it from whoever has it.
    pub(crate) fn run(self, keeper: Keeper, runtime: &Runtime) -> anyhow::Result<Exit> {
        let path = (self.write != Path::new("-")).then_some(self.write);
        if let Some(path) = &path
            && !self.force
            && path.metadata().is_ok_and(|found| found.is_file())
        {
            bail!("{} is there already; --force replaces it", path.display());
        }
        let output = remote::Output {
            min_free_bytes: path.as_deref().map(agent::default_reserve),
            path,
            open: None,
            force: self.force,
            ring: None,
            application: application(),
        };
        let wanted = Wanted {
            packets: self.session.wish.limits.packets,
            session: self.session,
            output,
            is_live: false,
            ends_session: false,
            releases: self.releases,
        };
        let said = Said::new(self.is_quiet, std::io::stderr().is_terminal(), None);
        follow(wanted, keeper, runtime, said, self.output)
    }
}

fn follow(
    wanted: Wanted,
    keeper: Keeper,
    runtime: &Runtime,
    mut said: Said,
    output: Output,
) -> anyhow::Result<Exit> {
    let is_stdout = wanted.output.path.is_none();
    let place = match &keeper {
        Keeper::Controller(connection) => connection.address().to_owned(),
        Keeper::Store(stored) => stored.address().to_string(),
    };
    said.line(&format!("session {} at {place}; Ctrl-C stops", wanted.session.id));
    let mut told_hosts = Vec::new();
    let tell = |told: Told| match told {
        Told::Sentence(text) => said.line(&text),
        Told::Progress { packets, lost, hosts } => {
            if hosts != told_hosts && !hosts.is_empty() {
                said.line(&format!("listening on {}", hosts.join(", ")));
                told_hosts = hosts;
            }
            said.far_progress(packets, lost);
        }
    };
    let capture = Capture::new(wanted, keeper);
    let receipt = runtime.block_on(capture.run(stopped, tell))?;
    said.clear();
    print(&receipt, said.is_quiet(), is_stdout, output)?;
    Ok(if receipt.unaccounted != 0 {
        Exit::Failed
    } else if receipt.is_complete() {
        Exit::Done
    } else {
        Exit::Lost
    })
}

/// The receipt goes where it cannot get into the packets.
fn print(
    receipt: &SessionReceipt,
    is_quiet: bool,
    is_stdout: bool,
    output: Output,
) -> anyhow::Result<()> {
    match output {
        Output::Json if is_stdout => eprintln!("{}", serde_json::to_string_pretty(receipt)?),
        Output::Json => println!("{}", serde_json::to_string_pretty(receipt)?),
        Output::Text if is_quiet => {}
        Output::Text => eprintln!("{receipt}"),
    }
    Ok(())
}

fn wish(args: &Args, is_file: bool) -> Wish {
    let is_limited = (is_file || args.detach) && !args.no_limits;
    let (mut vms, mut tenants) = (Vec::new(), Vec::new());
    for word in args.vm().split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word.split_once(':') {
            Some(("tenant", tenant)) => tenants.push(tenant.to_owned()),
            Some(("vm", vm)) => vms.push(vm.to_owned()),
            _ => vms.push(word.to_owned()),
        }
    }
    let lifetime =
        args.duration.unwrap_or(if is_limited { agent::DEFAULT_DURATION } else { LONGEST });
    Wish {
        vms,
        tenants,
        expression: args.expression.join(" "),
        point: args.point.clone(),
        snaplen: args.snaplen,
        is_stripped: args.strip,
        limits: Limits {
            packets: args.count.or_else(|| is_limited.then_some(agent::DEFAULT_PACKETS)),
            bytes: args.max_bytes.or_else(|| is_limited.then_some(agent::DEFAULT_BYTES)),
            until: None,
        },
        lifetime_s: lifetime.as_secs().max(1),
        is_lifetime_meant: args.duration.is_some(),
        reason: args.reason.clone().unwrap_or_default(),
        is_attached: !args.detach,
        spool_bytes: args.spool.or(args.max_bytes).unwrap_or(agent::DEFAULT_BYTES),
        when_full: match args.when_full {
            super::WhenFull::End => WhenFull::End,
            super::WhenFull::Drop => WhenFull::Drop,
        },
        last_s: args.last.seconds(),
        is_past_only: args.last.is_past_only(),
    }
}

/// What a capture that nobody waits for is where nobody says otherwise.
pub(crate) fn detached_wish() -> Wish {
    Wish {
        point: "auto".to_owned(),
        snaplen: 262_144,
        limits: Limits {
            packets: Some(agent::DEFAULT_PACKETS),
            bytes: Some(agent::DEFAULT_BYTES),
            until: None,
        },
        lifetime_s: agent::DEFAULT_DURATION.as_secs(),
        spool_bytes: agent::DEFAULT_BYTES,
        ..Wish::default()
    }
}

fn path(args: &Args) -> Option<PathBuf> {
    match &args.write {
        _ if is_stdout(args) => None,
        Some(path) => Some(path.clone()),
        None => Some(PathBuf::from(format!(
            "{}-{}.pcapng",
            agent::file_name(args.vm()),
            Zoned::now().strftime("%Y%m%dT%H%M%S")
        ))),
    }
}

fn application() -> String {
    concat!("overtap ", env!("CARGO_PKG_VERSION")).into()
}

/// How long a session lasts that nobody limits.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
