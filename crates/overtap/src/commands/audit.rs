//! `overtap audit`: what was asked of a controller, given and refused.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use control::UserName;
use control::audit::{Answer, Body, Entry, Fault, Head, Verified, Verifier, Who};

use crate::Output;
use crate::controller::Far;
use crate::exit::Exit;
use crate::orders::shown;
use crate::table::plain;

/// Lists, exports and verifies the audit log. For administrators.
///
/// The entries form a chain: verify names the first that was changed, removed or put in. Keep the
/// head that it prints somewhere else; given back with --head it shows that nothing up to there was
/// cut off or made anew.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  overtap audit list --refused               the last refusals
  overtap audit list --user ann --output json
  overtap audit export > audit.log
  overtap audit verify --head 4711:9f86d0...
  overtap audit verify audit.log             needs no controller

Exit codes: 0 done or whole, 1 failed or not whole, 2 wrong usage.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,

    /// How to print.
    #[arg(long, value_enum, global = true, default_value_t = Output::Text)]
    output: Output,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Lists the last entries.
    List {
        /// How many entries to look through; 0 for all.
        #[arg(long, value_name = "N", default_value_t = 100)]
        last: u64,
        /// Only of this user.
        #[arg(long, value_name = "NAME")]
        user: Option<UserName>,
        /// Only what was refused or failed.
        #[arg(long)]
        refused: bool,
    },
    /// Prints every entry, one line each, for verify and for other programs.
    Export,
    /// Says whether the log is whole, and where it first is not.
    Verify {
        /// An exported log; the controller's own if none is given.
        file: Option<PathBuf>,
        /// A head that was kept: number and hash of the last entry at some time.
        #[arg(long, value_name = "SEQ:HASH")]
        head: Vec<KeptHead>,
    },
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.command {
        Command::List { last, user, refused } => {
            each_line(*last, |line| {
                let entry: Entry = line.parse()?;
                let body = entry.read()?;
                let is_of = |user| matches!(&body.who, Who::User(name) if name == user);
                let is_wanted =
                    user.as_ref().is_none_or(is_of) && (!refused || body.answer != Answer::Granted);
                match args.output {
                    _ if !is_wanted => Ok(()),
                    Output::Text => super::print_out(text(&body).as_bytes()),
                    Output::Json => super::print_out(json(&entry)?.as_bytes()),
                }
            })?;
            Ok(Exit::Done)
        }
        Command::Export => {
            each_line(0, |line| super::print_out(format!("{line}\n").as_bytes()))?;
            Ok(Exit::Done)
        }
        Command::Verify { file, head } => {
            let mut verifier = Verifier::new(head.iter().map(|kept| kept.0).collect());
            let mut fault = None;
            let mut take = |line: &str| {
                // A line that is none is a fault of the log, not of the reading.
                let entry = line.parse::<Entry>().context(format!("not an entry: {}", cut(line)));
                if fault.is_none() {
                    fault = verifier.take(&entry?).err();
                }
                Ok(())
            };
            match file {
                Some(path) => each_line_of(path, &mut take)?,
                None => each_line(0, &mut take)?,
            }
            let found = match fault {
                Some(fault) => Err(fault),
                None => verifier.finish(),
            };
            report(&found, args.output)
        }
    }
}

fn report(found: &Result<Verified, Fault>, output: Output) -> anyhow::Result<Exit> {
    let exit = if found.is_ok() { Exit::Done } else { Exit::Failed };
    let text = match (found, output) {
        (Ok(verified), Output::Text) => format!(
            "whole: {} entries, proven by kept heads up to {}\nhead {}:{}\n",
            verified.head.seq, verified.vouched, verified.head.seq, verified.head.hash
        ),
        (Err(fault), Output::Text) => format!("NOT WHOLE: {fault}\n"),
        (Ok(verified), Output::Json) => {
            let head = format!("{}:{}", verified.head.seq, verified.head.hash);
            let document = serde_json::json!({
                "is_whole": true, "entries": verified.head.seq, "vouched": verified.vouched,
                "head": head,
            });
            format!("{document}\n")
        }
        (Err(fault), Output::Json) => {
            format!("{}\n", serde_json::json!({ "is_whole": false, "fault": fault.to_string() }))
        }
    };
    super::print_out(text.as_bytes())?;
    Ok(exit)
}

/// Every line of the controller's log; the last `last` of them unless that is 0.
fn each_line(last: u64, mut take: impl FnMut(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let far = Far::open()?;
    far.wait(async {
        let mut pages = far.connection.audit(0, last).await?;
        while let Some(page) = far.connection.audit_page(&mut pages).await? {
            page.iter().try_for_each(|line| take(line))?;
        }
        Ok(())
    })
}

fn each_line_of(
    path: &Path,
    mut take: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let about = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(about)?;
    for line in BufReader::new(file).lines() {
        take(&line.with_context(about)?)?;
    }
    Ok(())
}

fn text(body: &Body) -> String {
    let who = match &body.who {
        Who::User(name) => name.to_string(),
        Who::Agent(id) => format!("agent {id}"),
        Who::Controller => "controller".to_owned(),
        Who::Unknown(words) => format!("UNKNOWN {words}"),
    };
    let mut about = body.subject.clone();
    for machine in &body.machines {
        let owner = machine.tenant.as_ref().map(|tenant| format!("{tenant}/"));
        about += &format!(" {}{}", owner.unwrap_or_default(), machine.name);
    }
    if body.more_machines > 0 {
        about += &format!(" and {} more", body.more_machines);
    }
    let answer = match &body.answer {
        Answer::Granted => String::new(),
        Answer::Refused { because } => format!(": REFUSED, {because}"),
        Answer::Failed { because } => format!(": FAILED, {because}"),
    };
    let reason = match body.reason.as_str() {
        "" => String::new(),
        reason => format!(" (reason: {reason})"),
    };
    let action = serde_json::to_value(body.action).unwrap_or_default();
    let action = action.as_str().unwrap_or_default();
    let (seq, at, from) = (body.seq, shown(Some(body.at)), &body.from);
    plain(&format!("{seq:6}  {at}  {who} from {from}  {action} {about}{reason}{answer}")) + "\n"
}

/// The body with its hash, on one line.
fn json(entry: &Entry) -> anyhow::Result<String> {
    let mut document: serde_json::Value = serde_json::from_str(&entry.body)?;
    if let Some(fields) = document.as_object_mut() {
        fields.insert("hash".to_owned(), entry.hash.to_string().into());
    }
    Ok(format!("{document}\n"))
}

fn cut(line: &str) -> String {
    plain(line).chars().take(80).collect()
}

/// A head as it is printed.
#[derive(Debug, Clone, Copy)]
struct KeptHead(Head);

impl FromStr for KeptHead {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':').and_then(|(seq, hash)| {
            Some(Head { seq: seq.parse().ok()?, hash: hash.parse().ok()? })
        });
        parts.map(Self).ok_or_else(|| {
            format!("`{text}` is no head; give it as verify has printed it, SEQ:HASH")
        })
    }
}
