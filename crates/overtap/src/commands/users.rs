//! `overtap users`: the accounts of a controller.

use control::UserName;
use control::admin::{Command as Order, Reply, UserRow};
use control::grants::Role;

use crate::Output;
use crate::exit::Exit;
use crate::orders::{order, shown, unexpected};
use crate::table::table;

/// Lists, adds and changes the users of the controller. For administrators.
///
/// A new user has no token and no grant: see overtap tokens add and overtap grants add. Users are
/// disabled, not removed, so that the audit log keeps meaning somebody.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  overtap users add ann                      an operator: may capture what grants allow
  overtap users add audit --role viewer      may find, and no more
  overtap users change ann --role admin
  overtap users disable ann                  at once: her captures end, her tokens open nothing")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,

    /// How to print.
    #[arg(long, value_enum, global = true, default_value_t = Output::Text)]
    output: Output,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Lists all users.
    List,
    /// Adds one.
    Add {
        /// Its name.
        name: UserName,
        /// What it may do at all: viewer, operator or admin.
        #[arg(long, default_value = "operator")]
        role: Role,
        /// Whose it is.
        #[arg(long, value_name = "WORDS", default_value = "")]
        note: String,
    },
    /// Changes what one may do at all.
    Change {
        /// Its name.
        name: UserName,
        /// Its role from now on.
        #[arg(long)]
        role: Role,
    },
    /// Lets one do nothing any more; its running captures end.
    Disable {
        /// Its name.
        name: UserName,
    },
    /// Lets one do again what its role and grants allow.
    Enable {
        /// Its name.
        name: UserName,
    },
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let change = |name: &UserName, role, is_enabled| Order::ChangeUser {
        name: name.clone(),
        role,
        is_enabled,
    };
    let command = match &args.command {
        Command::List => Order::ListUsers,
        Command::Add { name, role, note } => {
            Order::AddUser { name: name.clone(), role: *role, note: note.clone() }
        }
        Command::Change { name, role } => change(name, Some(*role), None),
        Command::Disable { name } => change(name, None, Some(false)),
        Command::Enable { name } => change(name, None, Some(true)),
    };
    let text = match (order(&command)?, args.output) {
        (Reply::Done, _) => String::new(),
        (Reply::Users(users), Output::Json) => serde_json::to_string_pretty(&users)? + "\n",
        (Reply::Users(users), Output::Text) => list(&users),
        _ => return unexpected(),
    };
    super::print_out(text.as_bytes())?;
    Ok(Exit::Done)
}

fn list(users: &[UserRow]) -> String {
    let row = |row: &UserRow| {
        let state = if row.user.is_enabled { "enabled" } else { "DISABLED" };
        [
            row.user.name.to_string(),
            row.user.role.to_string(),
            state.to_owned(),
            row.grants.to_string(),
            row.tokens.to_string(),
            shown(Some(row.user.made_at)),
            row.user.note.clone(),
        ]
    };
    let rows: Vec<_> = users.iter().map(row).collect();
    table(["USER", "ROLE", "STATE", "GRANTS", "TOKENS", "SINCE", "NOTE"], &rows)
}
