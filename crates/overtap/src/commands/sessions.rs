//! `overtap sessions`: captures that a controller has under way or keeps.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::bail;
use api::document::Session;

use super::capture::far::Fetching;
use crate::Output;
use crate::controller::Far;
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
        /// Its id.
        id: String,
        /// Where to write; `-` is standard output.
        #[arg(short, long, value_name = "FILE")]
        write: PathBuf,
        /// Replace an existing file.
        #[arg(long)]
        force: bool,
        /// Print nothing but errors.
        #[arg(short, long)]
        quiet: bool,
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

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
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
            let sessions = far.wait(far.connection.sessions())?;
            let Some(session) = sessions.iter().find(|session| session.id == *id) else {
                bail!("there is no session {id}; see overtap sessions list");
            };
            let text = match args.output {
                Output::Json => serde_json::to_string_pretty(session)? + "\n",
                Output::Text => show(session),
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
        Command::Fetch { id, write, force, quiet } => {
            let sessions = far.wait(far.connection.sessions())?;
            let Some(session) = sessions.into_iter().find(|session| session.id == *id) else {
                bail!("there is no session {id}; see overtap sessions list");
            };
            let fetching = Fetching {
                session,
                write: write.clone(),
                force: *force,
                is_quiet: *quiet,
                output: args.output,
            };
            return fetching.run(&far);
        }
    }
    Ok(Exit::Done)
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
