//! `overtap receipt`: the account of a capture, read again from its file.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, bail};
use remote::receipt_in;
use wire::file::{Damage, DamageReason, Item, Options, Progress, Reader};

use crate::Output;
use crate::exit::Exit;

/// Explains a capture file again: hosts, points, migrations, gaps, drops.
///
/// Files of a controller's sessions have their whole receipt in them; of others the counters and
/// comments are shown.
#[derive(clap::Args)]
#[command(after_help = "Exit codes: 0 nothing is known to be lost, 1 failed, 3 packets were lost.")]
pub(crate) struct Args {
    /// The file.
    file: PathBuf,

    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let read = || -> anyhow::Result<Story> {
        let mut file = File::open(&args.file)?;
        let mut reader = Reader::new();
        let mut story = Story::default();
        loop {
            match reader.advance() {
                Progress::Item => match reader.item() {
                    Item::Damage(
                        damage @ Damage { reason: DamageReason::NotACapture { .. }, .. },
                    ) => {
                        bail!("{damage}")
                    }
                    item => story.take(&item),
                },
                Progress::NeedBytes => {
                    let len = file.read(reader.space())?;
                    reader.filled(len);
                }
                Progress::End => return Ok(story),
            }
        }
    };
    let story = read().with_context(|| format!("cannot read {}", args.file.display()))?;
    let receipts: Vec<_> = story.comments.iter().filter_map(|text| receipt_in(text)).collect();
    let text = match (args.output, receipts.as_slice()) {
        (Output::Json, [receipt]) => serde_json::to_string_pretty(receipt)? + "\n",
        (Output::Json, _) => {
            serde_json::to_string_pretty(&serde_json::json!({
                "receipts": receipts,
                "interfaces": story.interfaces,
                "packets": story.packets,
                "dropped": story.dropped,
                "comments": story.said(),
            }))? + "\n"
        }
        (Output::Text, []) => story.text(),
        (Output::Text, receipts) => {
            receipts.iter().map(|receipt| format!("{receipt}\n")).collect::<String>()
        }
    };
    super::print_out(text.as_bytes())?;
    let is_lost = story.dropped > 0 || receipts.iter().any(|receipt| !receipt.is_complete());
    Ok(if is_lost { Exit::Lost } else { Exit::Done })
}

/// What a file says of itself.
#[derive(Default)]
struct Story {
    interfaces: Vec<String>,
    comments: Vec<String>,
    packets: u64,
    dropped: u64,
}

impl Story {
    fn take(&mut self, item: &Item<'_>) {
        match item {
            Item::Section(section) => self.hear(section.options),
            Item::Interface(interface) => {
                let name = interface.name().map(|name| name.to_string()).unwrap_or_default();
                self.interfaces.push(name);
                self.hear(interface.options);
            }
            Item::Record(record) => {
                self.packets += 1;
                self.hear(record.options);
            }
            Item::Statistics(statistics) => {
                self.dropped += statistics.os_dropped().unwrap_or(0);
                self.dropped += statistics.interface_dropped().unwrap_or(0);
                self.hear(statistics.options);
            }
            Item::Damage(damage) => self.comments.push(format!("damaged: {damage}")),
            Item::Names(_) | Item::Other(_) => {}
        }
    }

    fn hear(&mut self, options: Options<'_>) {
        self.comments.extend(options.comments().map(|text| text.to_string()));
    }

    /// The comments for people.
    fn said(&self) -> Vec<&str> {
        let all = self.comments.iter().map(String::as_str);
        all.filter(|text| receipt_in(text).is_none()).collect()
    }

    fn text(&self) -> String {
        let mut lines = vec![format!(
            "{} packets at {} interfaces; {} were dropped before the file",
            self.packets,
            self.interfaces.len(),
            self.dropped
        )];
        lines.extend(self.interfaces.iter().map(|name| format!("  {name}")));
        lines.extend(self.said().into_iter().map(|text| text.replace('\n', "\n  ")));
        lines.join("\n") + "\n"
    }
}
