//! `overtap grants`: who may see which machines' packets.

use control::UserName;
use control::admin::{Command as Order, NewGrant, Reply};
use control::grants::{Grant, GrantId, Purpose, Selector, Snaplen};
use jiff::{SignedDuration, Zoned};

use crate::Output;
use crate::exit::Exit;
use crate::orders::{ahead, order, parse_length, shown, unexpected};
use crate::table::table;

/// Lists, makes and removes grants: who may see which machines' packets, how much of them, and
/// until when.
///
/// Nobody sees anything without a grant, administrators included. Users see their own grants.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  overtap grants add ann --machine tenant:acme
  overtap grants add bob --machine 'vm:acme/web-*' --snaplen headers --longest 1h --needs-reason
  overtap grants add eve --machine all --purpose find --until 30d
  overtap grants remove 0123abcd             at once: captures that stand on it end

MACHINE: all, tenant:NAME, vm:NAME (of no tenant), vm:TENANT/NAME, vm:*/NAME (of any), id:ID;
`*` and `?` may stand in a vm's name.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,

    /// How to print.
    #[arg(long, value_enum, global = true, default_value_t = Output::Text)]
    output: Output,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Lists them.
    List,
    /// Makes one.
    Add(New),
    /// Removes one; captures that stand on it end.
    Remove {
        /// Its id, as list shows it.
        id: GrantId,
    },
}

#[derive(clap::Args)]
struct New {
    /// Who gets it.
    user: UserName,
    /// Of which machines; several times for several.
    #[arg(long, value_name = "MACHINE", required = true)]
    machine: Vec<Selector>,
    /// For what: find, capture, record, mirror; each includes find.
    #[arg(long, value_delimiter = ',', default_value = "capture")]
    purpose: Vec<Purpose>,
    /// How much of each packet: bytes, `headers` (128) or `whole`.
    #[arg(long, default_value = "whole")]
    snaplen: Snaplen,
    /// How long one capture may last at most.
    #[arg(long, value_name = "TIME", value_parser = parse_length)]
    longest: Option<SignedDuration>,
    /// From when it is good: a date, a time, or so long from now.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// When it stops being good, for running captures too.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// A reason must be given with each capture.
    #[arg(long)]
    needs_reason: bool,
    /// What for.
    #[arg(long, value_name = "WORDS", default_value = "")]
    note: String,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let (command, is_new) = match args.command {
        Command::List => (Order::ListGrants, false),
        Command::Add(new) => (Order::AddGrant(grant(new)?), true),
        Command::Remove { id } => (Order::RemoveGrant { id }, false),
    };
    let text = match (order(&command)?, args.output) {
        (Reply::Done, _) => String::new(),
        (Reply::Grants(grants), Output::Json) => serde_json::to_string_pretty(&grants)? + "\n",
        (Reply::Grants(grants), Output::Text) if is_new => {
            grants.iter().map(|grant| format!("{}\n", grant.id)).collect()
        }
        (Reply::Grants(grants), Output::Text) => list(&grants),
        _ => return unexpected(),
    };
    super::print_out(text.as_bytes())?;
    Ok(Exit::Done)
}

fn grant(new: New) -> anyhow::Result<NewGrant> {
    let now = Zoned::now();
    let time = |text: Option<String>| text.map(|text| ahead(&text, &now)).transpose();
    Ok(NewGrant {
        to: new.user,
        machines: new.machine.into_iter().collect(),
        purposes: new.purpose.into_iter().collect(),
        snaplen: new.snaplen,
        longest: new.longest,
        from: time(new.from)?,
        until: time(new.until)?,
        needs_reason: new.needs_reason,
        note: new.note,
    })
}

fn list(grants: &[Grant]) -> String {
    let row = |grant: &Grant| {
        let longest = grant.longest.map_or_else(|| "-".to_owned(), |most| format!("{most:#}"));
        let reason = if grant.needs_reason { "needed" } else { "-" };
        [
            grant.id.to_string(),
            grant.to.to_string(),
            listed(&grant.purposes),
            listed(&grant.machines),
            grant.snaplen.to_string(),
            longest,
            shown(grant.until),
            reason.to_owned(),
            grant.note.clone(),
        ]
    };
    let rows: Vec<_> = grants.iter().map(row).collect();
    let heading =
        ["GRANT", "TO", "FOR", "MACHINES", "SNAPLEN", "LONGEST", "UNTIL", "REASON", "NOTE"];
    table(heading, &rows)
}

fn listed<'a, T: ToString + 'a>(items: impl IntoIterator<Item = &'a T>) -> String {
    items.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
