//! `overtap agents`: the hosts that belong to a controller.

use std::collections::BTreeMap;

use anyhow::Context;
use api::document::AgentStatus;
use control::AgentId;
use control::admin::{Command as Order, NewInvitation, Reply};
use control::enrolled::Enrolled;
use control::tokens::ControllerAddress;
use jiff::Zoned;
use serde::Serialize;

use crate::Output;
use crate::controller::{Far, logged_in};
use crate::exit::Exit;
use crate::orders::{ahead, made, order, shown, unexpected};
use crate::table::table;

/// Lists, invites and removes capture agents. For administrators.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  overtap agents invite                      prints what to type on the new host
  overtap agents invite --uses 40 --until 2d one line for forty hosts
  overtap agents invite --agent hv-1         for hv-1 alone, also if it is enrolled already
  overtap agents remove hv-1 --reason 'sold' at once: its certificates are worth nothing
  overtap agents revoke-recorder hv-1        what it has recorded can never be read again
  overtap agents rotate-authority --keep 7d  a new key for the controller's own authority
  overtap agents authority                   which one it is, and who must still renew")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,

    /// How to print.
    #[arg(long, value_enum, global = true, default_value_t = Output::Text)]
    output: Output,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Lists them, with the end of their newest certificate.
    List,
    /// Makes a token that lets a host become an agent.
    Invite {
        /// Where agents reach the controller. Default: where you reach it.
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<ControllerAddress>,
        /// The one agent it is for.
        #[arg(long, value_name = "NAME")]
        agent: Option<AgentId>,
        /// How many agents may enrol with it.
        #[arg(long, value_name = "N", default_value_t = 1)]
        uses: u32,
        /// When it stops being good: a date, a time, or so long from now.
        #[arg(long, value_name = "TIME", default_value = "24h")]
        until: String,
        /// What it is for.
        #[arg(long, value_name = "WORDS", default_value = "")]
        note: String,
    },
    /// Removes one and revokes its certificates.
    Remove {
        /// Its name.
        id: AgentId,
        /// Why, for the audit log.
        #[arg(long, value_name = "WORDS", default_value = "")]
        reason: String,
    },
    /// Destroys the controller's half of the key of an agent's recorder: nothing recorded there
    /// until now can ever be read again. The recorder goes on with another key.
    RevokeRecorder {
        /// The agent's name.
        id: AgentId,
        /// Why, for the audit log.
        #[arg(long, value_name = "WORDS", default_value = "")]
        reason: String,
    },
    /// Shows the controller's authority; while it is a new one, the one before and the agents
    /// that have no certificate of the new one yet.
    Authority,
    /// Puts a new authority in the place of the controller's. Agents renew at once, logins learn
    /// of it with their next word, invitations go on. The key of the one before is destroyed; its
    /// certificates are believed until the time of --keep is over and all agents have renewed.
    RotateAuthority {
        /// Until when the one before is believed at least, for people and hosts that are away: a
        /// date, a time, or so long from now.
        #[arg(long, value_name = "TIME", default_value = "7d")]
        keep: String,
        /// Why, for the audit log.
        #[arg(long, value_name = "WORDS", default_value = "")]
        reason: String,
    },
    /// Believes the authority before no more, at once.
    RetireAuthority {
        /// Also if agents have not renewed yet: they have to be enrolled again.
        #[arg(long)]
        force: bool,
        /// Why, for the audit log.
        #[arg(long, value_name = "WORDS", default_value = "")]
        reason: String,
    },
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let text = match args.command {
        Command::List => list(args.output)?,
        Command::Invite { address, agent, uses, until, note } => {
            let expires_at = ahead(&until, &Zoned::now())?;
            let address = match address {
                Some(address) => address,
                None => {
                    let login = logged_in()?;
                    let own = login.controller.address.parse();
                    own.context("your login's address; name another with --address")?
                }
            };
            let invitation = NewInvitation { address, agent, uses, expires_at, note };
            let made = made(order(&Order::Invite(invitation))?)?;
            match args.output {
                Output::Json => serde_json::to_string_pretty(&made)? + "\n",
                Output::Text => {
                    eprintln!("overtap: invitation {}; it is shown only now:", made.id);
                    format!("overtap agent enrol --token {}\n", made.token)
                }
            }
        }
        Command::Remove { id, reason } => match order(&Order::RemoveAgent { id, reason })? {
            Reply::Done => String::new(),
            _ => return unexpected(),
        },
        Command::RevokeRecorder { id, reason } => {
            match order(&Order::RevokeRecorder { id: id.clone(), reason })? {
                Reply::Done => {
                    eprintln!("overtap: what the recorder of {id} has recorded is gone for ever");
                    String::new()
                }
                _ => return unexpected(),
            }
        }
        Command::Authority => authority(&Order::ShowAuthority, args.output)?,
        Command::RotateAuthority { keep, reason } => {
            let until = ahead(&keep, &Zoned::now())?;
            authority(&Order::RotateAuthority { until, reason }, args.output)?
        }
        Command::RetireAuthority { force, reason } => {
            authority(&Order::RetireAuthority { is_forced: force, reason }, args.output)?
        }
    };
    super::print_out(text.as_bytes())?;
    Ok(Exit::Done)
}

/// Has an order about the authority carried out, and says how it is then.
fn authority(command: &Order, output: Output) -> anyhow::Result<String> {
    let Reply::Authority(row) = order(command)? else { return unexpected() };
    if output == Output::Json {
        return Ok(serde_json::to_string_pretty(&row)? + "\n");
    }
    let mut text = format!("authority {}, until {}\n", row.fingerprint, shown(Some(row.not_after)));
    if let Some(before) = row.before {
        let until = shown(Some(before.until));
        text += &format!("the one before, {}, is believed until {until}", before.fingerprint);
        text += &match before.behind.as_slice() {
            [] => "; all agents have renewed\n".to_owned(),
            behind => {
                let names: Vec<&str> = behind.iter().map(AgentId::as_str).collect();
                format!(" and until these have renewed: {}\n", names.join(", "))
            }
        };
    }
    Ok(text)
}

/// An agent in the list.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    agent: Enrolled,
    /// How it is; nothing where it was never there since the controller began.
    status: Option<AgentStatus>,
}

fn list(output: Output) -> anyhow::Result<String> {
    let Reply::Agents(agents) = order(&Order::ListAgents)? else { return unexpected() };
    let far = Far::open()?;
    let status = far.wait(far.connection.status())?.agents.into_iter();
    let mut status: BTreeMap<String, AgentStatus> = status.map(|a| (a.id.clone(), a)).collect();
    let row = |agent: Enrolled| Row { status: status.remove(agent.id.as_str()), agent };
    let rows: Vec<Row> = agents.into_iter().map(row).collect();
    if output == Output::Json {
        return Ok(serde_json::to_string_pretty(&rows)? + "\n");
    }
    let cells = |Row { agent, status }: &Row| {
        let presence = match status {
            Some(status) if status.is_connected => "there",
            _ => "AWAY",
        };
        let end = agent.certificates.last().map(|certificate| certificate.not_after);
        [
            agent.id.to_string(),
            presence.to_owned(),
            status.as_ref().map_or_else(|| "-".to_owned(), |status| status.version.clone()),
            shown(Some(agent.at)),
            shown(end),
        ]
    };
    let rows: Vec<_> = rows.iter().map(cells).collect();
    Ok(table(["AGENT", "STATE", "VERSION", "SINCE", "CERTIFICATE UNTIL"], &rows))
}
