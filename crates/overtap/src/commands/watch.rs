//! `overtap watch`: one VM as it is now, on a full screen or one line of JSON each second.

mod json;
pub(crate) mod view;

use std::io::{ErrorKind, Write};
use std::thread;
use std::time::{Duration, Instant};

use screen::Leave;

pub(crate) use self::json::talk;
use self::view::Watching;
use super::capture::Signals;
use crate::Output;
use crate::controller;
use crate::exit::Exit;
use crate::quantity::parse_duration;
use crate::watching::{Surroundings, Terminal, Told, needs_terminal};

/// Shows a VM as it is now: where it is, what comes and goes, who with, and what happens to it.
///
/// Fills the terminal; ? lists the keys. Packets are metered as they come, by their first bytes,
/// and never stored. Through a controller (overtap login) the VM is watched wherever it runs, as a
/// capture session like any other: with a grant, and in the audit log.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The VM, container or namespace: name, UUID, MAC, IP, tap or port id.
    vm: String,

    /// Only these packets of it, in the words of tcpdump (pcap-filter(7)).
    #[arg(value_name = "EXPR")]
    expression: Vec<String>,

    /// Where to look: `auto`, `tap` (the VM's own ports), `uplink`, `inside`, or an interface.
    #[arg(long, value_name = "auto|tap|uplink|inside|IFACE", default_value = "auto")]
    point: String,

    /// How often what is shown is counted anew.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    every: Duration,

    /// With --output json: end after so many lines.
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// On this host, although you are logged in at a controller.
    #[arg(long)]
    local: bool,

    /// A full screen, or one object a line, each time it is counted.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

const EXAMPLES: &str = "\
Examples:
  overtap watch web                    until q; c leaves with the command that captures it
  overtap watch web 'not tcp port 22'
  overtap watch web --output json | jq .bits_per_s
  overtap watch web --output json --count 10 --every 5s

Exit codes: 0 done, 1 failed, 2 wrong usage.";

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    if args.output == Output::Text {
        let instead = format!("overtap watch {} --output json", args.vm);
        needs_terminal("overtap watch", &instead)?;
    }
    let expression = args.expression.join(" ");
    super::capture::parse_filter(&expression, &super::capture::AnyName)?;
    let surroundings = match controller::login(args.local)? {
        Some(login) => Surroundings::far(login)?,
        None => Surroundings::here()?,
    };
    let signals = Signals::take()?;
    let mut watching = Watching::begin(surroundings, &args.vm, &args.point, &expression)?;
    signals.keep_alive();
    if args.output == Output::Json {
        return lines(&mut watching, args, &signals);
    }
    let left = {
        let mut terminal = Terminal::take()?;
        watching.show(&mut terminal, &signals, args.every, false)?
    };
    if let Leave::WithCommand(talk) = left {
        let command = watching.command(talk.as_deref(), args.local);
        super::print_out(format!("{command}\n").as_bytes())?;
    }
    Ok(Exit::Done)
}

/// One object a line, until somebody has enough.
fn lines(watching: &mut Watching, args: &Args, signals: &Signals) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    let mut due = Instant::now() + args.every;
    let (mut left, mut events) = (args.count, Vec::new());
    loop {
        let mut is_over = false;
        for told in watching.news() {
            match told {
                Told::Event(text) => events.push(text),
                Told::Over(text) => {
                    events.push(text);
                    is_over = true;
                }
            }
        }
        if Instant::now() >= due || is_over {
            due += args.every;
            let line = json::line(watching, &std::mem::take(&mut events))?;
            match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Exit::Done),
                written => written?,
            }
            left = left.map(|left| left.saturating_sub(1));
        }
        if left == Some(0) || signals.have_come() {
            return Ok(Exit::Done);
        }
        if is_over {
            return Ok(Exit::Failed);
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// How often it is looked for signals and for what is told.
const LOOK_EVERY: Duration = Duration::from_millis(20);
