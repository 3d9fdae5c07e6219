//! The line on standard error that says how it goes.

use std::io::{IsTerminal, Write};
use std::time::Instant;

use agent::grouped;
use collector::Counters;
use wire::export::Collector;

/// One line that is rewritten, on a terminal only.
pub(super) struct Line {
    is_shown: bool,
    last: Option<(Instant, u64)>,
}

impl Line {
    pub(super) fn new(is_quiet: bool) -> Self {
        Self { is_shown: !is_quiet && std::io::stderr().is_terminal(), last: None }
    }

    pub(super) fn show(&mut self, collector: &Collector, counters: &Counters) {
        if !self.is_shown {
            return;
        }
        let (now, records) = (Instant::now(), taken(collector));
        let lost: u64 = collector.exporters().iter().filter_map(|e| e.sequence().lost()).sum();
        let text = line(self.last.map(|last| (now - last.0, last.1)), records)
            + &format!(
                ", {} exporters, {lost} lost on the way, {} dropped here",
                grouped(collector.exporters().len() as u64),
                grouped(counters.kernel_drops.unwrap_or_default()),
            );
        self.last = Some((now, records));
        // A line that wraps could not be rewritten.
        let columns = rustix::termios::tcgetwinsize(std::io::stderr())
            .map_or(80, |size| usize::from(size.ws_col));
        let shown: String = text.chars().take(columns.saturating_sub(1)).collect();
        eprint!("{REWRITE}{shown}");
        let _ = std::io::stderr().flush();
    }

    pub(super) fn clear(&self) {
        if self.last.is_some() {
            eprint!("{REWRITE}");
        }
    }
}

/// Records and samples of all.
fn taken(collector: &Collector) -> u64 {
    let of = |account: &wire::export::Account| {
        account.records + account.flow_samples + account.discard_samples
    };
    collector.exporters().iter().map(|exporter| of(&exporter.account)).sum()
}

fn line(last: Option<(std::time::Duration, u64)>, records: u64) -> String {
    let per_second = last.map_or(0.0, |(elapsed, before)| {
        #[expect(clippy::cast_precision_loss, reason = "shown without decimals")]
        let new = records.saturating_sub(before) as f64;
        new / elapsed.as_secs_f64().max(0.001)
    });
    format!("{} records, {per_second:.0}/s", grouped(records))
}

/// Back to the first column, and nothing on the line.
const REWRITE: &str = "\r\x1b[2K";
