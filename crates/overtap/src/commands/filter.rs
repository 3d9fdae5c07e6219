//! `overtap filter check`: how an expression is understood, and what of it runs in the kernel.

use std::fmt::Write as _;
use std::path::PathBuf;

use select::bpf::{Instruction, Kernel, MAX_INSTRUCTIONS, Passed, TagPlace};
use select::{Explanation, Filter, ParseError};
use serde::Serialize;
use wire::TunnelPorts;

use super::extract::whose::Inventory;
use crate::Output;
use crate::exit::{Exit, WrongUsage};

/// Looks at filter expressions, without capturing anything.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    word: Word,
}

#[derive(clap::Subcommand)]
enum Word {
    Check(Check),
}

/// Says how an expression is understood, its normal form, the kernel's program for it, and what
/// that lets through too much.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
struct Check {
    /// The expression, in the words of tcpdump (pcap-filter(7)) and those for tunnels and names.
    #[arg(value_name = "EXPR", required = true)]
    expression: Vec<String>,

    /// Where the names in it are explained: an inventory file; several are read as one. Default:
    /// what `find` remembers of this host, or what it shows now.
    #[arg(long, value_name = "FILE")]
    inventory: Vec<PathBuf>,

    /// Write the program for a capture that keeps at most this many bytes of each packet. Headers
    /// are kept in any case.
    #[arg(short, long, value_name = "BYTES", default_value_t = 262_144,
          value_parser = clap::value_parser!(u32).range(1..=262_144))]
    snaplen: u32,

    /// Print nothing but the program, as decimal numbers (tcpdump -ddd).
    #[arg(long, conflicts_with = "output")]
    ddd: bool,

    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

const EXAMPLES: &str = "\
Examples:
  overtap filter check 'tcp port 443 and not host 10.0.0.1'
  overtap filter check 'geneve 10 or geneve 11'
  overtap filter check 'vm web-01' --inventory site.toml
  overtap filter check --ddd 'vni 5001 and arp'         the program as numbers
  overtap filter check 'tcp[13] & 2 != 0' --output json | jq .kernel.passes

Exit codes: 0 understood, 1 failed, 2 not understood.";

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let Word::Check(args) = &args.word;
    let expression = args.expression.join(" ");
    let inventory = Inventory::new(&args.inventory);
    if !args.inventory.is_empty() {
        // A file that cannot be read is not told as a bad name.
        inventory.history().map_err(|error| anyhow::anyhow!(error.to_owned()))?;
    }
    let filter = match Filter::parse_with(&expression, &inventory) {
        Ok(filter) => filter,
        Err(error) if args.output == Output::Json => {
            let document = Misunderstood::new(&error);
            super::print_out((serde_json::to_string_pretty(&document)? + "\n").as_bytes())?;
            return Ok(Exit::Usage);
        }
        Err(error) => {
            return Err(WrongUsage(format!("cannot understand the filter\n{error}")).into());
        }
    };
    inventory.say_notes();
    let checked = Checked::new(&filter, &inventory.tunnel_ports(), args.snaplen);
    let text = match args.output {
        _ if args.ddd => numbers(&checked.instructions),
        Output::Text => checked.to_text(),
        Output::Json => {
            serde_json::to_string_pretty(&checked.to_document(&expression, args.snaplen))? + "\n"
        }
    };
    super::print_out(text.as_bytes())?;
    Ok(Exit::Done)
}

/// An expression that was understood.
struct Checked {
    explanation: Explanation,
    normal: String,
    kernel: Kernel,
    /// The kernel's program; where every packet passes, the one that says so.
    instructions: Vec<Instruction>,
    listing: String,
}

impl Checked {
    fn new(filter: &Filter, ports: &TunnelPorts, snaplen: u32) -> Self {
        let place = TagPlace::MetadataOrBytes;
        let kernel = Kernel::new(filter, ports, snaplen, place, MAX_INSTRUCTIONS);
        let program = kernel.program.or_keep_all(snaplen);
        Self {
            explanation: filter.explanation(),
            normal: filter.to_string(),
            listing: program.to_string(),
            instructions: program.instructions().to_vec(),
            kernel,
        }
    }

    fn to_text(&self) -> String {
        let mut out = "understood as\n".to_owned();
        for (depth, line) in self.explanation.lines() {
            let _ = writeln!(out, "  {:1$}{line}", "", depth * 2, line = shown(line));
        }
        let _ = writeln!(out, "\nnormal form\n  {}", shown(&self.normal));
        let count = self.instructions.len();
        let plural = if count == 1 { "" } else { "s" };
        let _ = writeln!(out, "\nin the kernel: {count} instruction{plural}");
        if self.kernel.is_exact() {
            out += "  lets exactly these packets pass\n";
        } else {
            out += "  lets these pass too, for overtap to decide:\n";
        }
        for passed in &self.kernel.passed {
            let _ = writeln!(out, "    {passed}");
        }
        for line in self.listing.lines() {
            let _ = writeln!(out, "  {line}");
        }
        out
    }

    fn to_document<'a>(&'a self, expression: &'a str, snaplen: u32) -> Document<'a> {
        Document {
            expression,
            normal: &self.normal,
            explanation: self
                .explanation
                .lines()
                .map(|(depth, line)| format!("{:1$}{line}", "", depth * 2))
                .collect(),
            kernel: InKernel {
                is_exact: self.kernel.is_exact(),
                passes: self
                    .kernel
                    .passed
                    .iter()
                    .map(|passed| Passes { what: *passed, text: passed.to_string() })
                    .collect(),
                snaplen,
                listing: self.listing.lines().collect(),
                program: self
                    .instructions
                    .iter()
                    .map(|i| [u32::from(i.code), i.jt.into(), i.jf.into(), i.k])
                    .collect(),
            },
        }
    }
}

/// What is printed for programs.
#[derive(Serialize)]
struct Document<'a> {
    expression: &'a str,
    normal: &'a str,
    /// One line a question, indented by what it belongs to.
    explanation: Vec<String>,
    kernel: InKernel<'a>,
}

#[derive(Serialize)]
struct InKernel<'a> {
    #[serde(rename = "exact")]
    is_exact: bool,
    /// What passes although it may not be wanted.
    passes: Vec<Passes>,
    snaplen: u32,
    listing: Vec<&'a str>,
    /// Code, jump if true, jump if false, operand.
    program: Vec<[u32; 4]>,
}

#[derive(Serialize)]
struct Passes {
    what: Passed,
    text: String,
}

/// An expression that was not understood, for programs.
#[derive(Serialize)]
struct Misunderstood<'a> {
    expression: &'a str,
    error: Mistake<'a>,
}

#[derive(Serialize)]
struct Mistake<'a> {
    /// In characters, from 1.
    column: usize,
    width: usize,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<&'a str>,
}

impl<'a> Misunderstood<'a> {
    fn new(error: &'a ParseError) -> Self {
        let &ParseError { column, width, .. } = error;
        let suggestion = error.suggestion.as_deref();
        let error_of = Mistake { column, width, message: &error.message, suggestion };
        Self { expression: &error.expression, error: error_of }
    }
}

/// How many instructions, then one a line.
fn numbers(instructions: &[Instruction]) -> String {
    let mut out = format!("{}\n", instructions.len());
    for Instruction { code, jt, jf, k } in instructions {
        let _ = writeln!(out, "{code} {jt} {jf} {k}");
    }
    out
}

/// A name without anything that could move a terminal's cursor.
fn shown(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}
