//! What a capture says on standard error while it runs.

use std::io::Write;
use std::time::{Duration, Instant};

use agent::{Progress, Wanted, grouped, packets};
use jiff::SignedDuration;

use crate::quantity::show_bytes;

/// Standard error: lines that stay, and on a terminal one that is rewritten.
pub(super) struct Said {
    is_quiet: bool,
    is_terminal: bool,
    last: Option<(Instant, Progress)>,
    /// Who hears the same.
    listener: Option<Listener>,
}

/// What is shown of a capture.
pub(in crate::commands) enum Shown<'a> {
    /// Where it looks and until when, before the first packet.
    Beginning(&'a str),
    /// Something that happened.
    Line(&'a str),
    /// How it goes now, in words and in figures.
    Progress(&'a str, Progress),
}

/// Somebody who is shown it, whether standard error is quiet or not.
pub(in crate::commands) type Listener = Box<dyn FnMut(Shown<'_>)>;

impl Said {
    pub(super) fn new(is_quiet: bool, is_terminal: bool, listener: Option<Listener>) -> Self {
        Self { is_quiet, is_terminal, last: None, listener }
    }

    /// Whether nothing is said but errors.
    pub(super) const fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// Where it listens, what it cannot see there, where it will stop.
    pub(super) fn beginning(
        &mut self,
        wanted: &Wanted,
        duration: Option<Duration>,
        is_lifted: bool,
    ) {
        let point = &wanted.point;
        let file = match &wanted.output.path {
            _ if wanted.output.is_nothing => None,
            Some(path) => Some(path.display().to_string()),
            None => Some("standard output".to_owned()),
        };
        let tools = wanted.tools.iter().map(|wanted| {
            let tool = &wanted.tool;
            format!("{} ({})", tool.name, tool.outlet)
        });
        let targets: Vec<String> = file.into_iter().chain(tools).collect();
        let targets = targets.join(", ");
        self.first(&format!("{} at its {} -> {targets}", wanted.machine.name, point.kind));
        for miss in &point.misses {
            self.first(&format!("  misses: {miss}"));
        }
        if let Some(stops) = stops(wanted, duration) {
            self.first(&format!("  stops {stops}"));
            if !is_lifted {
                self.first("    (--no-limits lifts what you did not ask for, --min-free the last)");
            }
        }
        if let Some(past) = &wanted.past {
            let then = if past.is_live { ", then live" } else { "" };
            self.first(&format!("  first what {} has recorded{then}", past.directory.display()));
            if !past.is_live {
                return;
            }
        }
        let labels: Vec<&str> = point.interfaces.iter().map(|i| i.label.as_str()).collect();
        self.first(&format!("  listening on {}; Ctrl-C stops", labels.join(", ")));
    }

    /// A line of the beginning.
    fn first(&mut self, text: &str) {
        self.stay(text, Shown::Beginning(text));
    }

    /// A line that stays.
    pub(super) fn line(&mut self, text: &str) {
        self.stay(text, Shown::Line(text));
    }

    fn stay(&mut self, text: &str, shown: Shown<'_>) {
        if let Some(listener) = &mut self.listener {
            listener(shown);
        }
        if !self.is_quiet {
            self.clear();
            eprintln!("{text}");
        }
    }

    /// Rewrites the line that tells how it goes.
    pub(super) fn progress(&mut self, progress: Progress) {
        let is_shown = self.is_terminal && !self.is_quiet;
        if !is_shown && self.listener.is_none() {
            return;
        }
        let now = Instant::now();
        let text = progress_line(self.last, now, progress);
        self.last = Some((now, progress));
        if let Some(listener) = &mut self.listener {
            listener(Shown::Progress(&text, progress));
        }
        if !is_shown {
            return;
        }
        // A line that wraps could not be rewritten.
        let columns = rustix::termios::tcgetwinsize(std::io::stderr())
            .map_or(80, |size| usize::from(size.ws_col));
        let shown: String = text.chars().take(columns.saturating_sub(1)).collect();
        eprint!("{REWRITE}{shown}");
        let _ = std::io::stderr().flush();
    }

    /// As [`progress`](Self::progress), of a capture elsewhere.
    pub(super) fn far_progress(&mut self, packets: u64, lost: u64) {
        self.progress(Progress { packets, kernel_dropped: lost, ..Progress::default() });
    }

    /// Takes the line that tells how it goes away.
    pub(super) fn clear(&self) {
        if self.is_terminal && self.last.is_some() {
            eprint!("{REWRITE}");
        }
    }
}

/// `after 1h, 50 000 000 packets or 10 GiB, or when less than 2 GiB of the disk are free`.
fn stops(wanted: &Wanted, duration: Option<Duration>) -> Option<String> {
    let limits = wanted.limits;
    let mut after = Vec::new();
    after.extend(duration.map(|duration| match SignedDuration::try_from(duration) {
        Ok(duration) => format!("{duration:#}"),
        Err(_) => "a lifetime".to_owned(),
    }));
    after.extend(limits.packets.map(packets));
    after.extend(limits.bytes.map(show_bytes));
    let reserve = wanted.output.min_free_bytes;
    let mut words = Vec::new();
    if let Some((last, first)) = after.split_last() {
        let first = first.join(", ");
        let or = if first.is_empty() { "" } else { " or " };
        words.push(format!("after {first}{or}{last}"));
    }
    if reserve > 0 {
        words.push(format!("when less than {} of the disk are free", show_bytes(reserve)));
    }
    (!words.is_empty()).then(|| words.join(", or "))
}

/// Packets and bytes so far, and each second since the last report.
fn progress_line(last: Option<(Instant, Progress)>, now: Instant, progress: Progress) -> String {
    let (packets_per_s, megabits_per_s) = last.map_or((0.0, 0.0), |(then, before)| {
        let seconds = now.duration_since(then).as_secs_f64().max(0.001);
        #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
        let per_second = |count: u64| count as f64 / seconds;
        (
            per_second(progress.packets - before.packets),
            per_second(progress.bytes - before.bytes) * 8.0 / 1e6,
        )
    });
    format!(
        "{}, {}, {packets_per_s:.0} packets/s, {megabits_per_s:.1} Mbit/s, {} dropped",
        packets(progress.packets),
        show_bytes(progress.bytes),
        grouped(progress.kernel_dropped + progress.failed)
    )
}

/// Back to the first column, and nothing on the line.
const REWRITE: &str = "\r\x1b[2K";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_counts_from_the_last_report() {
        let then = Instant::now();
        let before = Progress { packets: 1000, bytes: 100_000, ..Progress::default() };
        let progress = Progress { packets: 3000, bytes: 2_097_152, ..Progress::default() };
        let now = then + Duration::from_secs(2);
        assert_eq!(
            progress_line(Some((then, before)), now, progress),
            "3 000 packets, 2 MiB, 1000 packets/s, 8.0 Mbit/s, 0 dropped"
        );
    }
}
