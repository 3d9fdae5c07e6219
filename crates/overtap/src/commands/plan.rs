//! `overtap plan`: ranks every place where a VM's packets can be seen.

use std::fmt::Write as _;
use std::time::Duration;

use inventory::{Machine, Site};
use plan::{Interface, Plan, Point};
use platform::LiveSite;
use select::bpf::{InKernel, PointProgram, Program};
use select::{Filter, Ownership};
use serde::Serialize;

use remote::Login;

use super::capture;
use crate::Output;
use crate::controller::{self, Far};
use crate::exit::Exit;
use crate::site;

/// Ranks every place where a VM's packets can be seen: what each misses, costs and disturbs.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The VM, container or namespace: name, UUID, MAC, IP, tap or port id.
    vm: String,

    /// Only these packets of it, as for `capture`: says what of that the kernel decides where.
    #[arg(value_name = "EXPR")]
    expression: Vec<String>,

    /// Show for each interface what a capture does there: namespace, identities, kernel program.
    #[arg(long)]
    explain: bool,

    /// On this host, although you are logged in at a controller.
    #[arg(long)]
    local: bool,

    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

const EXAMPLES: &str = "\
Examples:
  overtap plan web                  every place on this host, best first
  overtap plan web --explain        and what a capture would do there, to the instruction
  overtap plan web 'tcp port 443'   and what of the expression the kernel decides there
  overtap plan web --output json | jq '.points[0].interfaces'";

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let expression = args.expression.join(" ");
    capture::parse_filter(&expression, &capture::AnyName)?;
    let site = match controller::login(args.local)? {
        Some(login) => far_site(&args.vm, login)?,
        None => LiveSite::read(READ_WITHIN).site().clone(),
    };
    let machine = site::one(&site, &args.vm).inspect_err(|_| site::say_problems(&site))?;
    let plan = plan::plan(&site, machine);
    let explained = capture::explained(&expression, &site, machine)?;
    let filter = capture::parse_filter(&expression, &explained)?;
    let name = name_of(&site, machine);
    let capture = Wanted { name: &name, expression: &expression, filter: filter.as_ref() };
    let text = match args.output {
        Output::Text => text(&site, machine, &plan, &capture, args.explain),
        Output::Json => json(&site, machine, &plan, &capture)?,
    };
    crate::commands::print_out(text.as_bytes())?;
    site::say_problems(&site);
    Ok(if plan.best().is_some() { Exit::Done } else { Exit::Failed })
}

/// The site of the host that a VM is on now, as far as the user may know it.
pub(super) fn far_site(vm: &str, login: Login) -> anyhow::Result<Site> {
    let far = Far::at(login)?;
    let (found, _) = far.wait(far.connection.find(vm, 0))?;
    let hosts = |site: &Site| found.iter().any(|found| found.host == site.host.name);
    let (all, _) = far.wait(far.connection.find("", 0))?;
    let mut sites = all.into_iter().map(site::of_host);
    let first = sites.clone().find(hosts).or_else(|| sites.next());
    Ok(first.unwrap_or_default())
}

/// What names this machine and no other: its name, unless another one is called so too.
fn name_of(site: &Site, machine: &Machine) -> String {
    let is_it = site.one(&machine.name).is_ok_and(|found| found.id == machine.id);
    if is_it { machine.name.clone() } else { machine.id.to_string() }
}

/// The packets that a capture is planned for.
struct Wanted<'a> {
    /// Names the machine.
    name: &'a str,
    /// As typed.
    expression: &'a str,
    filter: Option<&'a Filter>,
}

impl Wanted<'_> {
    /// The program of each interface of a point.
    fn programs(&self, point: &Point) -> Vec<PointProgram> {
        let rules = agent::KernelRules::at(point, self.filter);
        point.interfaces.iter().map(|interface| rules.program(&interface.ownership, 0)).collect()
    }
}

/// The plan as one document.
fn json(
    site: &Site,
    machine: &Machine,
    plan: &Plan,
    wanted: &Wanted<'_>,
) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Document<'a> {
        vm: &'a str,
        host: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        filter: Option<String>,
        points: Vec<Place<'a>>,
    }
    #[derive(Serialize)]
    struct Place<'a> {
        rank: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        command: Option<String>,
        /// For each interface.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        expression_in_kernel: Vec<InKernel>,
        #[serde(flatten)]
        point: &'a Point,
    }
    let in_kernel = |point| match wanted.filter {
        Some(_) => wanted.programs(point).into_iter().map(|program| program.expression).collect(),
        None => Vec::new(),
    };
    let places = plan.points.iter().enumerate().map(|(number, point)| Place {
        rank: number + 1,
        command: point.is_usable().then(|| command(point, wanted)),
        expression_in_kernel: in_kernel(point),
        point,
    });
    let document = Document {
        vm: &machine.name,
        host: &site.host.name,
        filter: wanted.filter.map(Filter::to_string),
        points: places.collect(),
    };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn text(
    site: &Site,
    machine: &Machine,
    plan: &Plan,
    wanted: &Wanted<'_>,
    is_explained: bool,
) -> String {
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
        let programs = wanted.programs(point);
        let mut in_kernel: Vec<_> = programs.iter().map(|program| &program.expression).collect();
        in_kernel.dedup();
        for in_kernel in in_kernel.into_iter().filter(|it| **it != InKernel::Nothing) {
            line(&mut out, "kernel", &in_kernel.to_string());
        }
        // In one line, however long: it is there to be copied.
        let command = command(point, wanted);
        let _ = writeln!(out, "   {:<9} {command}", "run");
        if is_explained {
            let mut shown_at = None;
            for (interface, program) in point.interfaces.iter().zip(programs) {
                explain(&mut out, interface, program, &mut shown_at);
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
    point_program: PointProgram,
    shown_at: &mut Option<(&'a str, Program)>,
) {
    let precision = point_program.precision(&interface.ownership);
    let program = point_program.program;
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
    let mut size = format!("{} instructions", program.len());
    if matches!(interface.ownership, Ownership::Shared(_)) {
        let _ = write!(size, ", tells apart {precision}");
    }
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
fn command(point: &Point, wanted: &Wanted<'_>) -> String {
    // Behind `--` nothing is an option, whatever it begins with.
    let end_of_options = if wanted.name.starts_with('-') { "-- " } else { "" };
    let name = quoted(wanted.name);
    let mut command =
        format!("overtap capture --point {} {end_of_options}{name}", point.kind.word());
    if !wanted.expression.trim().is_empty() {
        let _ = write!(command, " {}", quoted(wanted.expression));
    }
    command
}

/// A name as one word of a shell, whatever is in it. What could move a terminal's cursor is in the
/// escapes of bash, zsh and ksh.
fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._:/@-".contains(c);
    if !name.is_empty() && name.chars().all(is_plain) {
        return name.to_owned();
    }
    if !name.contains(char::is_control) {
        return format!("'{}'", name.replace('\'', r"'\''"));
    }
    let mut word = String::from("$'");
    for c in name.chars() {
        match c {
            '\'' | '\\' => word.extend(['\\', c]),
            c if c.is_control() => {
                // Byte by byte: `\u` would depend on the shell's locale.
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(word, "\\x{byte:02x}");
                }
            }
            c => word.push(c),
        }
    }
    word + "'"
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
        assert_eq!(quoted("a\n'b'\\\u{85}ß"), r"$'a\x0a\'b\'\\\xc2\x85ß'");
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
