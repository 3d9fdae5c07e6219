//! overtap: shows the packets of any virtual machine, wherever it runs now.
//!
//! Words and wiring only: each command parses its words, calls the crates and prints.

mod commands;
mod copies;
mod csv;
mod exit;
mod names;
mod quantity;
mod site;
mod table;
mod tenants;
mod tunnels;

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
  overtap decode web.pcapng                  what was captured
  overtap extract web.pcapng 'tcp port 443' -w https.pcapng

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished but packets were lost.";

#[derive(Subcommand)]
enum Command {
    Find(commands::find::Args),
    Plan(commands::plan::Args),
    Capture(commands::capture::Args),
    Decode(commands::decode::Args),
    Stat(commands::stat::Args),
    Extract(commands::extract::Args),
    Filter(commands::filter::Args),
    Flows(commands::flows::Args),
    Top(commands::top::TopArgs),
    Pairs(commands::top::PairsArgs),
    Matrix(commands::top::MatrixArgs),
    Collect(commands::collect::Args),
    /// Prints the completions of a shell: bash, zsh, fish, elvish, powershell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Prints the man page of overtap or of one of its commands.
    Man {
        /// The command: find, plan, capture, decode, extract, filter, stat, flows, top,
        /// pairs, matrix, collect.
        command: Option<String>,
    },
    /// Reads packets for a capture; started by it, never by hand.
    #[command(name = agent::ENGINE_WORD, hide = true)]
    CaptureEngine,
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
    let result = match Cli::parse().command {
        Command::Find(args) => commands::find::run(&args),
        Command::Plan(args) => commands::plan::run(&args),
        Command::Capture(args) => commands::capture::run(&args),
        Command::Decode(args) => commands::decode::run(&args),
        Command::Stat(args) => commands::stat::run(&args),
        Command::Extract(args) => commands::extract::run(&args),
        Command::Filter(args) => commands::filter::run(&args),
        Command::Flows(args) => commands::flows::run(&args),
        Command::Top(args) => commands::top::run_top(&args),
        Command::Pairs(args) => commands::top::run_pairs(&args),
        Command::Matrix(args) => commands::top::run_matrix(&args),
        Command::Collect(args) => commands::collect::run(&args),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "overtap", &mut text);
            commands::print_out(&text).map(|()| Exit::Done)
        }
        Command::Man { command } => man(command.as_deref()),
        Command::CaptureEngine => commands::capture::run_engine(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("overtap: {}", sentence(&error));
        Exit::of(&error)
    })
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
