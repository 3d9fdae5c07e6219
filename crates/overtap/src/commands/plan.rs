//! `overtap plan`: ranks every place where a VM's packets can be seen.

use std::fmt::Write as _;
use std::time::Duration;

use inventory::{Machine, Site};
use plan::{Interface, Plan, Point};
use select::Ownership;
use select::bpf::{Program, TagPlace, prefilter};
use serde::Serialize;

use crate::Output;
use crate::exit::Exit;
use crate::site::LiveSite;

/// Ranks every place where a VM's packets can be seen: what each misses, costs and disturbs.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The VM, container or namespace: name, UUID, MAC, IP, tap or port id.
    vm: String,

    /// Show for each interface what a capture does there: namespace, identities, kernel program.
    #[arg(long)]
    explain: bool,

    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

const EXAMPLES: &str = "\
Examples:
  overtap plan web                  every place on this host, best first
  overtap plan web --explain        and what a capture would do there, to the instruction
  overtap plan web --output json | jq '.points[0].interfaces'";

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let live = LiveSite::read(READ_WITHIN)?;
    let site = live.site();
    let machine = live.one(&args.vm).inspect_err(|_| live.say_problems())?;
    let plan = plan::plan(site, machine);
    let text = match args.output {
        Output::Text => text(site, machine, &plan, args.explain),
        Output::Json => json(site, machine, &plan)?,
    };
    crate::commands::print_out(text.as_bytes())?;
    live.say_problems();
    Ok(if plan.best().is_some() { Exit::Done } else { Exit::Failed })
}

/// The plan as one document.
fn json(site: &Site, machine: &Machine, plan: &Plan) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Document<'a> {
        vm: &'a str,
        host: &'a str,
        points: Vec<Place<'a>>,
    }
    #[derive(Serialize)]
    struct Place<'a> {
        rank: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        command: Option<String>,
        #[serde(flatten)]
        point: &'a Point,
    }
    let places = plan.points.iter().enumerate().map(|(number, point)| Place {
        rank: number + 1,
        command: point.is_usable().then(|| command(machine, point)),
        point,
    });
    let document = Document { vm: &machine.name, host: &site.host.name, points: places.collect() };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn text(site: &Site, machine: &Machine, plan: &Plan, is_explained: bool) -> String {
    let mut out = format!("{} on {}\n", shown(&machine.name), shown(&site.host.name));
    for (number, point) in plan.points.iter().enumerate() {
        let _ = writeln!(out, "\n{}. {}", number + 1, point.kind);
        if let Some(refusal) = &point.refusal {
            line(&mut out, "cannot", refusal);
            continue;
        }
        let interfaces: Vec<_> = point.interfaces.iter().map(where_it_is).collect();
        line(&mut out, "at", &interfaces.join(", "));
        line(&mut out, "sees", &point.sees);
        for miss in &point.misses {
            line(&mut out, "misses", miss);
        }
        line(&mut out, "costs", &point.costs);
        line(&mut out, "disturbs", &point.disturbs);
        line(&mut out, "run", &command(machine, point));
        if is_explained {
            let mut shown_at = None;
            for interface in &point.interfaces {
                explain(&mut out, interface, &mut shown_at);
            }
        }
    }
    out
}

/// What a capture does at an interface, to the instruction. A program that was shown for an
/// interface of the same point is not shown again.
fn explain<'a>(
    out: &mut String,
    interface: &'a Interface,
    shown_at: &mut Option<(&'a str, Program)>,
) {
    let program = prefilter(&interface.ownership, 0, TagPlace::MetadataOrBytes);
    let _ = writeln!(out, "\n   {}: {}", shown(&interface.name), shown(&interface.description));
    let place = match (&interface.namespace_path, interface.ifindex) {
        (Some(path), _) => format!("enter the network namespace {path}, "),
        (None, _) => String::new(),
    };
    let index = interface.ifindex.map(|index| format!(" (index {index})")).unwrap_or_default();
    line(out, "do", &format!("{place}open a packet socket on {}{index}", interface.name));
    match &interface.ownership {
        Ownership::Whole => line(out, "keep", "every frame"),
        Ownership::Shared(identities) => {
            for identity in identities {
                line(out, "keep", &format!("frames of {identity}"));
            }
            line(out, "keep", "no other: the guard refuses what the kernel lets through");
        }
    }
    if program.is_empty() {
        line(out, "kernel", "no program");
        return;
    }
    if let Some((name, shown)) = shown_at
        && *shown == program
    {
        line(out, "kernel", &format!("the same program as at {name}"));
        return;
    }
    let size = format!("{} instructions, tells apart {}", program.len(), program.precision());
    line(out, "kernel", &size);
    for instruction in Program::to_string(&program).lines() {
        let _ = writeln!(out, "             {instruction}");
    }
    *shown_at = Some((&interface.name, program));
}

fn where_it_is(interface: &Interface) -> String {
    let mut text = shown(&interface.name);
    if let Some(path) = &interface.namespace_path {
        let _ = write!(text, " in {}", shown(path));
    }
    let _ = write!(text, " ({})", shown(&interface.vnic));
    text
}

/// The command that captures at this point.
fn command(machine: &Machine, point: &Point) -> String {
    // Behind `--` nothing is an option, whatever it begins with.
    let end_of_options = if machine.name.starts_with('-') { "-- " } else { "" };
    let name = quoted(&machine.name);
    format!("overtap capture --point {} {end_of_options}{name}", point.kind.word())
}

/// A name as one word of a shell, whatever is in it.
fn quoted(name: &str) -> String {
    let name = shown(name);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._:/@-".contains(c);
    if !name.is_empty() && name.chars().all(is_plain) {
        return name;
    }
    format!("'{}'", name.replace('\'', r"'\''"))
}

/// A name without anything that could move a terminal's cursor.
fn shown(name: &str) -> String {
    name.replace(char::is_control, "\u{fffd}")
}

fn line(out: &mut String, label: &str, text: &str) {
    let text = shown(text);
    let mut label = label;
    let mut rest = text.as_str();
    loop {
        let end = wrap_at(rest, TEXT_WIDTH);
        let (now, later) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let _ = writeln!(out, "   {label:<9} {}", now.trim_end());
        rest = later.trim_start();
        label = "";
        if rest.is_empty() {
            return;
        }
    }
}

/// Where to break a text so that at most `width` characters come before, at a blank if there is.
fn wrap_at(text: &str, width: usize) -> usize {
    let Some((limit, _)) = text.char_indices().nth(width) else { return text.len() };
    let head = text.get(..limit).unwrap_or(text);
    head.rfind(' ').filter(|blank| *blank > 0).unwrap_or(limit)
}

/// How long one source of the inventory may take.
const READ_WITHIN: Duration = Duration::from_secs(3);
/// Columns behind the labels, so that lines end before column 100.
const TEXT_WIDTH: usize = 84;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a8_a_name_is_one_word_of_the_shell_whatever_is_in_it() {
        assert_eq!(quoted("web-01"), "web-01");
        assert_eq!(quoted("it's; rm -rf /"), r"'it'\''s; rm -rf /'");
        assert_eq!(quoted("a\nb"), "'a\u{fffd}b'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn long_texts_are_broken_at_blanks() {
        let mut out = String::new();
        line(&mut out, "sees", &"word ".repeat(30));
        assert_eq!(out.lines().count(), 2);
        assert!(out.lines().all(|line| line.len() < 100), "{out}");
    }
}
