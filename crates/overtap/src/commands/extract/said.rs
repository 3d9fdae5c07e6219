//! What is said while files are read, and the receipt.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use files::{Ended, Fate, InputAccount, Progress, Receipt};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::Output;
use crate::quantity::show_bytes;

/// A progress bar on a terminal, until it is dropped.
pub(crate) struct Bar {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bar {
    /// Shows how far reading is, if somebody looks.
    pub(crate) fn begin(progress: Progress, is_quiet: bool) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let is_shown = !is_quiet && std::io::stderr().is_terminal();
        let thread = is_shown.then(|| {
            let is_over = Arc::clone(&is_over);
            std::thread::spawn(move || show(&progress, &is_over))
        });
        Self { is_over, thread }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It only draws; if it failed there is nothing to save.
            let _ = thread.join();
        }
    }
}

fn show(progress: &Progress, is_over: &AtomicBool) {
    let (bar, template) = match progress.size() {
        Some(size) => (
            ProgressBar::new(size),
            "{bar:40} {percent:>3} %  {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes}, {bytes_per_sec}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    while !is_over.load(Ordering::Relaxed) {
        bar.set_position(progress.taken());
        std::thread::park_timeout(DRAW_EVERY);
    }
    bar.finish_and_clear();
}

/// Prints the receipt: where it cannot get into the packets.
pub(super) fn print(
    receipt: &Receipt,
    output: Output,
    is_quiet: bool,
    is_stdout_taken: bool,
) -> anyhow::Result<()> {
    let problems = problems(receipt);
    std::io::stderr().write_all(problems.as_bytes())?;
    match output {
        Output::Json => {
            let text = serde_json::to_string_pretty(&json(receipt))? + "\n";
            if is_stdout_taken {
                std::io::stderr().write_all(text.as_bytes())?;
            } else {
                crate::commands::print_out(text.as_bytes())?;
            }
        }
        Output::Text if is_quiet => {}
        Output::Text => std::io::stderr().write_all(text(receipt)?.as_bytes())?,
    }
    Ok(())
}

/// What went wrong, one line for each.
fn problems(receipt: &Receipt) -> String {
    let mut text = String::new();
    for input in &receipt.inputs {
        text += &input_problems(input);
    }
    if let Some(failure) = &receipt.failure {
        text += &format!("overtap: {failure}\n");
    }
    text
}

/// What is wrong with an input, one line for each.
pub(crate) fn input_problems(input: &InputAccount) -> String {
    let mut text = String::new();
    let path = input.path.display();
    for damage in &input.damages {
        text += &format!("overtap: {path}: at byte {}: {}\n", damage.offset, damage.reason);
    }
    let more = input.damages_total - input.damages.len() as u64;
    if more > 0 {
        text += &format!("overtap: {path}: and {} more\n", agent::grouped(more));
    }
    if let Some(failure) = &input.failure {
        text += &format!("overtap: {failure}\n");
    }
    text
}

fn text(receipt: &Receipt) -> Result<String, std::fmt::Error> {
    let tally = &receipt.tally;
    let mut text = String::new();
    let number = |count: u64| agent::grouped(count);
    writeln!(text, "{:>15} packets read", number(tally.read))?;
    for fate in Fate::ALL {
        let count = tally.of(fate);
        if count > 0 || fate == Fate::Written {
            writeln!(text, "{:>15} {}", number(count), fate.sentence())?;
        }
    }
    for (count, what) in [
        (tally.sliced, "of them sliced"),
        (tally.stripped, "of them without headers they had"),
        (receipt.repeated, "times one of them is in another file too"),
        (receipt.damaged(), "damaged records or more in the inputs, which are in no output"),
    ] {
        if count > 0 {
            writeln!(text, "{:>15} {what}", number(count))?;
        }
    }
    if let Some(copies) = &receipt.copies {
        text += &crate::copies::text(copies)?;
    }
    text += &crate::mirrors::text(&receipt.mirrors)?;
    if tally.of(Fate::OtherLink) > 0 {
        writeln!(text, "a file has one link type; --split-by link writes one for each")?;
    }
    match receipt.ended {
        Ended::Inputs | Ended::ReaderGone | Ended::Failed => {}
        Ended::Count => writeln!(text, "ended after as many packets as asked for")?,
        Ended::Stopped => writeln!(text, "stopped before the end of the inputs")?,
    }
    for output in &receipt.outputs {
        let path = output.path.display();
        let (packets, bytes) = (number(output.packets), show_bytes(output.bytes));
        writeln!(text, "{path}: {packets} packets, {bytes}")?;
    }
    for tool in &receipt.tools {
        text += &agent::tool_text(tool);
    }
    Ok(text)
}

fn json(receipt: &Receipt) -> serde_json::Value {
    let tally = &receipt.tally;
    let fates: serde_json::Map<String, serde_json::Value> =
        Fate::ALL.iter().map(|fate| (fate.name().to_owned(), tally.of(*fate).into())).collect();
    let inputs: Vec<_> = receipt
        .inputs
        .iter()
        .map(|input| {
            json!({
                "path": input.path.display().to_string(),
                "read": input.read,
                "damaged": input.damaged,
                "damages": damages(input),
                "damages_total": input.damages_total,
                "failure": input.failure,
            })
        })
        .collect();
    let outputs: Vec<_> = receipt
        .outputs
        .iter()
        .map(|output| {
            json!({
                "path": output.path.display().to_string(),
                "packets": output.packets,
                "bytes": output.bytes,
                "link_type": output.link.map(|link| link.0),
            })
        })
        .collect();
    json!({
        "read": tally.read,
        "packets": fates,
        "unaccounted": i64::try_from(tally.unaccounted()).unwrap_or(i64::MAX),
        "damaged": receipt.damaged(),
        "written_bytes": tally.written_bytes,
        "sliced": tally.sliced,
        "stripped": tally.stripped,
        "repeated": receipt.repeated,
        "mirrors": crate::mirrors::json(&receipt.mirrors),
        "lost_of_mirrors": receipt.lost_of_mirrors(),
        "copies": receipt.copies.as_ref().map(crate::copies::json),
        "ended": match receipt.ended {
            Ended::Inputs => "end of inputs",
            Ended::Count => "count",
            Ended::Stopped => "stopped",
            Ended::ReaderGone => "reader gone",
            Ended::Failed => "failed",
        },
        "tools": receipt.tools,
        "complete": receipt.is_complete(),
        "failure": receipt.failure,
        "inputs": inputs,
        "outputs": outputs,
    })
}

/// The damages of an input that are told one by one.
pub(crate) fn damages(input: &InputAccount) -> Vec<serde_json::Value> {
    let said = input.damages.iter().map(|damage| {
        json!({
            "offset": damage.offset,
            "reason": damage.reason.to_string(),
            "costs_packet": damage.costs_packet,
            "ends_file": damage.is_final,
        })
    });
    said.collect()
}

const DRAW_EVERY: Duration = Duration::from_millis(100);
