//! `overtap sessions`: captures that a controller has under way or keeps.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Context;
use api::document::Session;

use remote::{Access, Bucket, BucketAddress, Keeper, Keeping, StoredSession, Told};

use super::capture::far::Fetching;
use crate::Output;
use crate::controller::{Far, runtime, stopped};
use crate::exit::Exit;

/// Lists, shows, stops, fetches and removes capture sessions of the controller.
///
/// A session goes on without the terminal it was started in (overtap capture --detach), and what
/// its hosts have captured is kept for a day after its end.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,

    /// How to print.
    #[arg(long, value_enum, global = true, default_value_t = Output::Text)]
    output: Output,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Lists your sessions; an administrator's list has everybody's.
    List,
    /// Shows everything about one.
    Show {
        /// Its id.
        id: String,
    },
    /// Ends one; its packets stay to be fetched.
    Stop {
        /// Its id.
        id: String,
    },
    /// Fetches all its packets into one file; of one that runs, until it ends.
    Fetch {
        /// Its id, or where it was stored: s3://BUCKET/PREFIX/ID.
        id: String,
        /// Where to write; `-` is standard output.
        #[arg(short, long, value_name = "FILE")]
        write: PathBuf,
        /// Replace an existing file.
        #[arg(long)]
        force: bool,
        /// Let the hosts forget what has come here; it cannot be fetched again. Makes room for a
        /// session that runs with --when-full drop.
        #[arg(long)]
        release: bool,
        /// Print nothing but errors.
        #[arg(short, long)]
        quiet: bool,
        #[command(flatten)]
        access: AccessArgs,
    },
    /// Copies all its packets into an S3-compatible object store; of one that runs, until it ends.
    ///
    /// Credentials are yours, from the AWS_* environment. What was copied stays if the copying is
    /// interrupted, and the same command goes on from there. Fetch it with
    /// overtap sessions fetch s3://BUCKET/PREFIX/ID -w FILE, with neither agents nor controller.
    Store {
        /// Its id.
        id: String,
        /// Where to: s3://BUCKET/PREFIX. The session's objects are below PREFIX/ID.
        #[arg(value_name = "s3://BUCKET/PREFIX")]
        to: String,
        /// Print nothing but errors.
        #[arg(short, long)]
        quiet: bool,
        #[command(flatten)]
        access: AccessArgs,
    },
    /// Captures other packets of the same machines from now on; without EXPR all of them.
    Filter {
        /// Its id.
        id: String,
        /// Which packets, as for capture.
        #[arg(value_name = "EXPR")]
        expression: Vec<String>,
    },
    /// Ends one and removes its packets everywhere.
    Remove {
        /// Its id.
        id: String,
    },
}

/// How an object store is reached.
#[derive(clap::Args)]
struct AccessArgs {
    /// The object store's service, https://HOST[:PORT]; else AWS_ENDPOINT_URL, else Amazon.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The object store's region; else AWS_REGION.
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
}

impl AccessArgs {
    fn access(&self) -> Access {
        Access { endpoint: self.endpoint.clone(), region: self.region.clone() }
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    if let Command::Fetch { id, write, force, quiet, access, .. } = &args.command
        && BucketAddress::is_meant(id)
    {
        api::tls::install_provider();
        let runtime = runtime()?;
        let address = BucketAddress::parse(id)?;
        let stored = runtime.block_on(StoredSession::open(address, &access.access()))?;
        let fetching = Fetching {
            session: stored.session().clone(),
            write: write.clone(),
            force: *force,
            releases: false,
            is_quiet: *quiet,
            output: args.output,
        };
        return fetching.run(Keeper::Store(stored), &runtime);
    }
    let far = Far::open()?;
    match &args.command {
        Command::List => {
            let mut sessions = far.wait(far.connection.sessions())?;
            sessions.sort_by_key(|session| session.began_ns);
            let text = match args.output {
                Output::Json => serde_json::to_string_pretty(&sessions)? + "\n",
                Output::Text => list(&sessions),
            };
            super::print_out(text.as_bytes())?;
        }
        Command::Show { id } => {
            let session = find(&far, id)?;
            let text = match args.output {
                Output::Json => serde_json::to_string_pretty(&session)? + "\n",
                Output::Text => show(&session),
            };
            super::print_out(text.as_bytes())?;
        }
        Command::Stop { id } => {
            far.wait(far.connection.stop(id))?;
        }
        Command::Filter { id, expression } => {
            far.wait(far.connection.refilter(id, &expression.join(" ")))?;
        }
        Command::Remove { id } => far.wait(far.connection.remove(id))?,
        Command::Fetch { id, write, force, release, quiet, .. } => {
            let fetching = Fetching {
                session: fetchable(&far, id)?,
                write: write.clone(),
                force: *force,
                releases: *release,
                is_quiet: *quiet,
                output: args.output,
            };
            return fetching.run(far.keeper(), &far.runtime);
        }
        Command::Store { id, to, quiet, access } => {
            let bucket = Bucket::open(BucketAddress::parse(to)?.below(id), &access.access())?;
            store(&far, fetchable(&far, id)?, bucket, *quiet, args.output)?;
        }
    }
    Ok(Exit::Done)
}

fn find(far: &Far, id: &str) -> anyhow::Result<Session> {
    let sessions = far.wait(far.connection.sessions())?;
    let session = sessions.into_iter().find(|session| session.id == *id);
    session.with_context(|| format!("there is no session {id}; see overtap sessions list"))
}

/// A session whose packets are ours: an administrator sees those of others, but not their packets.
fn fetchable(far: &Far, id: &str) -> anyhow::Result<Session> {
    let session = find(far, id)?;
    far.wait(far.connection.may_fetch(&session))?;
    Ok(session)
}

fn store(
    far: &Far,
    session: Session,
    bucket: Bucket,
    is_quiet: bool,
    output: Output,
) -> anyhow::Result<()> {
    let place = bucket.address().to_string();
    let connection = far.connection.clone();
    let keeping = Keeping { session, connection, bucket };
    let tell = |told: Told| match told {
        Told::Sentence(text) if !is_quiet => eprintln!("overtap: {text}"),
        _ => {}
    };
    let kept = far.wait(keeping.run(stopped(), tell))?;
    match output {
        Output::Json => {
            let json = serde_json::json!({
                "place": place, "parts": kept.parts, "were_there": kept.were_there,
                "bytes": kept.bytes,
            });
            super::print_out(format!("{json:#}\n").as_bytes())?;
        }
        Output::Text if is_quiet => {}
        Output::Text => {
            eprintln!(
                "overtap: all of it is at {place}: {} parts, {} bytes; fetch it: overtap sessions \
                 fetch {place} -w FILE",
                kept.parts, kept.bytes
            );
        }
    }
    Ok(())
}

fn list(sessions: &[Session]) -> String {
    let mut text = String::new();
    for session in sessions {
        let state = match &session.ended {
            Some(why) => format!("ended: {why}"),
            None => "running".to_owned(),
        };
        let packets: u64 = session.parts.iter().map(|part| part.packets).sum();
        let asked = [session.wish.vms.clone(), session.wish.tenants.clone()].concat().join(",");
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}  {}  {asked} {}  {packets} packets  {state}",
            session.id, session.owner, session.wish.expression
        );
    }
    text
}

fn show(session: &Session) -> String {
    let mut text = list(std::slice::from_ref(session));
    if !session.wish.reason.is_empty() {
        let _ = writeln!(text, "  reason: {}", session.wish.reason);
    }
    for part in &session.parts {
        let state = part.ended.as_deref().unwrap_or("running");
        let away = if part.is_reachable { "" } else { ", its host is AWAY" };
        let _ = writeln!(
            text,
            "  {} on {}, {}: {} packets, {} dropped by the kernel; {state}{away}",
            part.machine, part.host, part.point, part.packets, part.kernel_dropped
        );
    }
    for note in &session.notes {
        let host = if note.host.is_empty() { "controller" } else { &note.host };
        let _ = writeln!(text, "  {host}: {}", note.text);
    }
    text
}
