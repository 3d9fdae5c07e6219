//! `overtap status`: how the controller and its agents are.

use std::fmt::Write;

use api::document::Status;

use crate::Output;
use crate::controller::Far;
use crate::exit::Exit;

/// Says how the controller and its agents are: versions, clocks, captures, losses.
#[derive(clap::Args)]
#[command(after_help = "Exit codes: 0 all agents are there, 1 failed, 3 some are away.")]
pub(crate) struct Args {
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let far = Far::open()?;
    let status = far.wait(far.connection.status())?;
    let text = match args.output {
        Output::Json => serde_json::to_string_pretty(&status)? + "\n",
        Output::Text => text(&status, &far.login.controller.address),
    };
    super::print_out(text.as_bytes())?;
    let are_all_there = status.agents.iter().all(|agent| agent.is_connected);
    Ok(if are_all_there { Exit::Done } else { Exit::Lost })
}

fn text(status: &Status, address: &str) -> String {
    let mut text = format!(
        "controller {address}, version {}, {} MiB\n{} machines, {} sessions\n",
        status.version,
        status.resident_bytes >> 20,
        status.machines,
        status.sessions
    );
    for agent in &status.agents {
        let presence = if agent.is_connected { "there" } else { "AWAY" };
        let clock = agent.clock.map_or_else(String::new, |clock| {
            #[expect(clippy::cast_precision_loss, reason = "for people")]
            let (ahead, within) = (clock.ahead_ns as f64 / 1e6, clock.uncertainty_ns as f64 / 1e6);
            format!(", clock {ahead:+.3} ms within {within:.3}")
        });
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  {:20} {presence}, {} machines, {} captures{clock}, version {}",
            agent.host, agent.machines, agent.parts, agent.version
        );
        if agent.lost > 0 {
            let _ = writeln!(text, "    {} packets lost in running captures", agent.lost);
        }
        for problem in &agent.problems {
            let _ = writeln!(text, "    {problem}");
        }
    }
    text
}
