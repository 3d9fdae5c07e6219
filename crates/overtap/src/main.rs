//! overtap: shows the packets of any virtual machine, wherever it runs now.
//!
//! Words and wiring only: each command parses its words, calls the crates and prints.

mod commands;
mod controller;
mod copies;
mod csv;
mod exit;
mod mirrors;
mod names;
mod orders;
mod quantity;
mod role;
mod site;
mod state;
mod table;
mod tenants;
mod tools;
mod tunnels;
mod watching;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::exit::{Exit, WrongUsage};

/// Shows the packets of any virtual machine, wherever it runs now.
#[derive(Parser)]
#[command(name = "overtap", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  overtap find                               every machine of this host
  overtap plan web                           every place where the packets of web can be seen
  overtap capture web -w web.pcapng          at the best of them, until Ctrl-C
  overtap watch web                          on a full screen: where it is, who talks to it
  overtap record 'web-*' --size 6GiB          a flight recorder of these
  overtap capture web --last 10m             what it has seen, then live
  overtap mirror web --to vxlan://10.0.0.9?vni=7    its packets to a tool, until Ctrl-C
  overtap decode web.pcapng                  what was captured
  overtap extract web.pcapng 'tcp port 443' -w https.pcapng

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished but packets were lost.";

#[derive(Subcommand)]
enum Command {
    Find(commands::find::Args),
    Plan(commands::plan::Args),
    Capture(commands::capture::Args),
    Record(commands::record::Args),
    Recorder(commands::recorder::Args),
    Watch(commands::watch::Args),
    Mirror(Box<commands::mirror::Args>),
    Decode(commands::decode::Args),
    Stat(commands::stat::Args),
    Extract(commands::extract::Args),
    Filter(commands::filter::Args),
    Extcap(commands::extcap::Args),
    Receipt(commands::receipt::Args),
    Tools(commands::tools::Args),
    Serve(commands::serve::Args),
    Agent(commands::agent::Args),
    Login(commands::login::Args),
    Logout(commands::login::LogoutArgs),
    Status(commands::status::Args),
    Sessions(commands::sessions::Args),
    Users(commands::users::Args),
    Tokens(commands::tokens::Args),
    Grants(commands::grants::Args),
    Agents(commands::agents::Args),
    Audit(commands::audit::Args),
    Flows(commands::flows::Args),
    Top(commands::top::TopArgs),
    Pairs(commands::top::PairsArgs),
    Matrix(commands::top::MatrixArgs),
    Collect(commands::collect::Args),
    Exporters(commands::exporters::Args),
    /// Prints the completions of a shell: bash, zsh, fish, elvish, powershell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Prints the man page of overtap or of one of its commands.
    Man {
        /// The command, as `capture`.
        command: Option<String>,
    },
    /// Reads packets for a capture; started by it, never by hand.
    #[command(name = agent::ENGINE_WORD, hide = true)]
    CaptureEngine,
    /// Captures every machine of this host for `top --live`; started by it, never by hand.
    #[command(name = commands::every_port::WORD, hide = true)]
    EveryPort,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// For programs, one document or one object a line.
    Json,
}

fn main() -> Exit {
    let result = commands::extcap::answer(std::env::args()).unwrap_or_else(obey);
    result.unwrap_or_else(|error| {
        eprintln!("overtap: {}", sentence(&error));
        Exit::of(&error)
    })
}

/// Does what a person typed.
fn obey() -> anyhow::Result<Exit> {
    match Cli::parse().command {
        Command::Find(args) => commands::find::run(&args),
        Command::Plan(args) => commands::plan::run(&args),
        Command::Capture(args) => commands::capture::run(&args),
        Command::Record(args) => commands::record::run(&args),
        Command::Recorder(args) => commands::recorder::run(&args),
        Command::Watch(args) => commands::watch::run(&args),
        Command::Mirror(args) => commands::mirror::run(&args),
        Command::Decode(args) => commands::decode::run(&args),
        Command::Stat(args) => commands::stat::run(&args),
        Command::Extract(args) => commands::extract::run(&args),
        Command::Filter(args) => commands::filter::run(&args),
        Command::Extcap(args) => commands::extcap::run(&args),
        Command::Receipt(args) => commands::receipt::run(&args),
        Command::Tools(args) => commands::tools::run(args),
        Command::Serve(args) => commands::serve::run(&args),
        Command::Agent(args) => commands::agent::run(&args),
        Command::Login(args) => commands::login::run(&args),
        Command::Logout(args) => commands::login::logout(&args),
        Command::Status(args) => commands::status::run(&args),
        Command::Sessions(args) => commands::sessions::run(&args),
        Command::Users(args) => commands::users::run(&args),
        Command::Tokens(args) => commands::tokens::run(args),
        Command::Grants(args) => commands::grants::run(args),
        Command::Agents(args) => commands::agents::run(args),
        Command::Audit(args) => commands::audit::run(&args),
        Command::Flows(args) => commands::flows::run(&args),
        Command::Top(args) => commands::top::run_top(&args),
        Command::Pairs(args) => commands::top::run_pairs(&args),
        Command::Matrix(args) => commands::top::run_matrix(&args),
        Command::Collect(args) => commands::collect::run(&args),
        Command::Exporters(args) => commands::exporters::run(&args),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "overtap", &mut text);
            commands::print_out(&text).map(|()| Exit::Done)
        }
        Command::Man { command } => man(command.as_deref()),
        Command::CaptureEngine => commands::capture::run_engine(),
        Command::EveryPort => commands::every_port::run(),
    }
}

/// An error with its causes, each said once: many errors say their cause themselves.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn man(command: Option<&str>) -> anyhow::Result<Exit> {
    let mut page = Cli::command();
    // Only a built command knows that it is called `overtap find`.
    page.build();
    if let Some(name) = command {
        let found = page.find_subcommand(name).cloned();
        page =
            found.ok_or_else(|| WrongUsage(format!("there is no command {name}; see --help")))?;
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    commands::print_out(&text).map(|()| Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let cause = anyhow::anyhow!("no such file");
        let spoken = cause.context("cannot open x: no such file").context("reading");
        assert_eq!(sentence(&spoken), "reading: cannot open x: no such file");
    }
}
