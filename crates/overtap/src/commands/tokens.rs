//! `overtap tokens`: what users log in with.

use control::UserName;
use control::admin::{Command as Order, Reply, TokenKind, TokenRow};
use control::tokens::TokenId;
use jiff::Zoned;

use crate::Output;
use crate::controller::logged_in;
use crate::exit::Exit;
use crate::orders::{ahead, login_line, made, order, shown, unexpected};
use crate::table::table;

/// Lists, makes and removes tokens.
///
/// A token is shown once, when it is made; the controller keeps only its hash. Users see and remove
/// their own; administrators see all, also those for agents (overtap agents invite), and make them.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  overtap tokens add ann                     good for 90 days; prints what ann has to type
  overtap tokens add ci --until 2027-01-01 --note 'nightly run'
  overtap tokens remove 0123456789abcdef     at once")]
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
    /// Makes one for a user.
    Add {
        /// The user.
        user: UserName,
        /// When it stops being good: a date, a time, or so long from now.
        #[arg(long, value_name = "TIME", default_value = "90d", conflicts_with = "endless")]
        until: String,
        /// It never stops being good.
        #[arg(long)]
        endless: bool,
        /// Where it will be used.
        #[arg(long, value_name = "WORDS", default_value = "")]
        note: String,
    },
    /// Removes one.
    Remove {
        /// Its id, as list shows it.
        id: TokenId,
    },
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let command = match args.command {
        Command::List => Order::ListTokens,
        Command::Add { user, until, endless, note } => {
            let until = (!endless).then(|| ahead(&until, &Zoned::now())).transpose()?;
            Order::AddToken { user, expires_at: until, note }
        }
        Command::Remove { id } => Order::RemoveToken { id },
    };
    let text = match (order(&command)?, args.output) {
        (Reply::Done, _) => String::new(),
        (Reply::Tokens(tokens), Output::Json) => serde_json::to_string_pretty(&tokens)? + "\n",
        (Reply::Tokens(tokens), Output::Text) => list(&tokens),
        (reply @ Reply::Made(_), Output::Json) => {
            serde_json::to_string_pretty(&made(reply)?)? + "\n"
        }
        (reply @ Reply::Made(_), Output::Text) => {
            let made = made(reply)?;
            let login = logged_in()?;
            eprintln!("overtap: token {}; it is shown only now:", made.id);
            login_line(&login, &made.token)? + "\n"
        }
        _ => return unexpected(),
    };
    super::print_out(text.as_bytes())?;
    Ok(Exit::Done)
}

fn list(tokens: &[TokenRow]) -> String {
    let row = |row: &TokenRow| {
        let opens = match &row.kind {
            TokenKind::User { user } => format!("user {user}"),
            TokenKind::Enrolment { agent: Some(agent), .. } => format!("agent {agent}"),
            TokenKind::Enrolment { agent: None, uses_left } => format!("{uses_left} agents"),
        };
        let (until, by) = (shown(row.expires_at), row.made_by.to_string());
        [row.id.to_string(), opens, until, by, row.note.clone()]
    };
    let rows: Vec<_> = tokens.iter().map(row).collect();
    table(["TOKEN", "FOR", "UNTIL", "MADE BY", "NOTE"], &rows)
}
