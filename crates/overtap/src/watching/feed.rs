//! A capture that runs beside us: its packets are metered, what it says is passed on.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use agent::Progress;
use anyhow::{Context, bail};
use jiff::Zoned;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::metering::Metering;

/// A capture that runs beside us. Ended with it, whatever becomes of us.
pub(crate) struct Feed {
    child: Child,
    said: Receiver<Said>,
    metering: Metering,
    /// How the capture goes, by its own word.
    progress: Progress,
    is_over: bool,
}

/// Something that a capture tells.
pub(crate) enum Told {
    /// It happened just now.
    Event(String),
    /// It has ended, and why.
    Over(String),
}

/// What a capture says on standard error with [`TELL`]: one of these as JSON a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Said {
    /// Where it looks, before the first packet.
    Beginning(String),
    /// Something that happened.
    Event(String),
    /// How it goes now.
    Progress(Progress),
    /// Words for people: an error, mostly.
    Plain(String),
}

impl Feed {
    /// Starts `overtap WORDS`, which must write packets on standard output and tell on standard
    /// error, and waits until it sees packets.
    ///
    /// # Errors
    /// What it said when it could not.
    pub(crate) fn begin(words: &[String]) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start a capture")?;
        let (packets, words) = (child.stdout.take(), child.stderr.take());
        let (Some(packets), Some(words)) = (packets, words) else {
            bail!("the capture has no pipes");
        };
        let said = listen(words)?;
        let metering = Metering::begin(packets)?;
        let mut feed =
            Self { child, said, metering, progress: Progress::default(), is_over: false };
        feed.wait_for_packets()?;
        Ok(feed)
    }

    /// What is metered.
    pub(crate) const fn metering(&self) -> &Metering {
        &self.metering
    }

    /// Packets that were lost on the way here.
    pub(crate) const fn dropped(&self) -> u64 {
        self.progress.kernel_dropped + self.progress.failed
    }

    /// What was told since the last call.
    pub(crate) fn told(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        loop {
            match self.said.try_recv() {
                Ok(Said::Progress(progress)) => self.progress = progress,
                Ok(Said::Event(text)) => told.push(Told::Event(text)),
                Ok(Said::Plain(text)) => told.push(Told::Event(text)),
                Ok(Said::Beginning(_)) => {}
                Err(mpsc::TryRecvError::Empty) => return told,
                Err(mpsc::TryRecvError::Disconnected) => {
                    if !std::mem::replace(&mut self.is_over, true) {
                        told.push(Told::Over("the capture has ended".to_owned()));
                    }
                    return told;
                }
            }
        }
    }

    /// Waits for its first word on how it goes; before that it may still fail.
    fn wait_for_packets(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + LONGEST_START;
        let mut words = Vec::new();
        loop {
            match self.said.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Said::Progress(progress)) => {
                    self.progress = progress;
                    return Ok(());
                }
                Ok(Said::Plain(text)) => words.push(text),
                Ok(Said::Beginning(_) | Said::Event(_)) => {}
                Err(RecvTimeoutError::Timeout) => bail!("the capture does not begin"),
                Err(RecvTimeoutError::Disconnected) => {
                    let words = words.join("\n");
                    bail!("{}", words.strip_prefix("overtap: ").unwrap_or(&words));
                }
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may be gone already.
            let _ = kill_process(pid, Signal::INT);
        }
        let end = Instant::now() + LONGEST_END;
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A sentence with its time before it, which sentences of a capture have already.
pub(crate) fn with_time(text: &str) -> String {
    let is_time = |start: &str| {
        start.bytes().zip("00:00:00".bytes()).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            form => byte == form,
        })
    };
    match text.get(..8).is_some_and(is_time) {
        true => text.to_owned(),
        false => format!("{}: {}", Zoned::now().strftime("%H:%M:%S"), text.trim()),
    }
}

/// Reads what a capture says, line by line.
fn listen(words: impl Read + Send + 'static) -> std::io::Result<Receiver<Said>> {
    let (sender, said) = mpsc::channel();
    thread::Builder::new().name("listening".into()).spawn(move || {
        for line in BufReader::new(words).lines().map_while(Result::ok) {
            let word = serde_json::from_str(&line).unwrap_or(Said::Plain(line));
            if sender.send(word).is_err() {
                return;
            }
        }
    })?;
    Ok(said)
}

/// The option with which a capture speaks to a program.
pub(crate) const TELL: &str = "--tell";

/// Reading the site, opening sockets, and through a controller the agents' answers.
const LONGEST_START: Duration = Duration::from_secs(30);

/// How long a capture may take to end; through a controller its hosts are told.
const LONGEST_END: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_has_one_time() {
        assert_eq!(with_time("10:03:07.250: web is paused"), "10:03:07.250: web is paused");
        let told = with_time("  the capture has ended");
        assert!(told.ends_with(": the capture has ended") && told.len() == 31, "{told}");
        assert!(with_time("ää:öö:üü x").ends_with("ää:öö:üü x"));
    }
}
