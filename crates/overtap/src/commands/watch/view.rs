//! A VM that is watched: its capture, its surroundings, and the view of both.

use std::time::{Duration, Instant};

use screen::{Leave, Subject, Watch};

use crate::commands::capture::Signals;
use crate::watching::{
    Feed, Input, Seen, Surroundings, TELL, Terminal, Told, Where, look, with_time,
};

/// A VM that is watched.
pub(crate) struct Watching {
    surroundings: Surroundings,
    machine: Where,
    subject: Subject,
    feed: Feed,
    expression: String,
    point: String,
}

impl Watching {
    /// Begins to look at the VM that is called so, wherever it is.
    pub(crate) fn begin(
        surroundings: Surroundings,
        vm: &str,
        point: &str,
        expression: &str,
    ) -> anyhow::Result<Self> {
        let mut machine = surroundings.find(vm, point)?;
        let (subject, _) = machine.look(&surroundings);
        let mut words: Vec<String> =
            ["capture", "--quiet", TELL, "--write=-", "--snaplen", SNAPLEN, "--point", point]
                .map(str::to_owned)
                .to_vec();
        if surroundings.is_here() {
            words.push("--local".into());
        } else {
            words.extend(["--reason".into(), "overtap watch".into()]);
        }
        words.extend(["--".into(), machine.word(&surroundings)]);
        words.extend((!expression.is_empty()).then(|| expression.to_owned()));
        let feed = Feed::begin(&words)?;
        feed.metering().set_history(surroundings.history());
        let (expression, point) = (expression.to_owned(), point.to_owned());
        Ok(Self { surroundings, machine, subject, feed, expression, point })
    }

    /// The VM and its surroundings as they were at the last [`news`](Self::news).
    pub(crate) const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// What was seen until now.
    pub(crate) fn seen(&self) -> Seen {
        self.feed.metering().tick()
    }

    /// Packets that were lost on the way here.
    pub(crate) const fn dropped(&self) -> u64 {
        self.feed.dropped()
    }

    /// What has happened since the last call, each with its time.
    pub(crate) fn news(&mut self) -> Vec<Told> {
        let mut told = self.feed.told();
        if self.surroundings.update() {
            let (subject, changes) = self.machine.look(&self.surroundings);
            self.feed.metering().set_history(self.surroundings.history());
            self.subject = subject;
            // On this host the capture itself tells of them.
            if !self.surroundings.is_here() {
                told.extend(changes.into_iter().map(Told::Event));
            }
        }
        for told in &mut told {
            let (Told::Event(text) | Told::Over(text)) = told;
            *text = with_time(text);
        }
        told
    }

    /// Shows it until a person or a signal ends that.
    pub(in crate::commands) fn show(
        &mut self,
        terminal: &mut Terminal,
        signals: &Signals,
        every: Duration,
        is_nested: bool,
    ) -> anyhow::Result<Leave> {
        let mut view = Watch::new(look(), self.subject.clone(), is_nested);
        let mut due = Instant::now();
        let mut is_changed = true;
        loop {
            for told in self.news() {
                match told {
                    Told::Event(text) => view.happened(text),
                    Told::Over(text) => view.ended(text),
                }
                is_changed = true;
            }
            view.place(self.subject.clone());
            if Instant::now() >= due {
                due = Instant::now() + every;
                let seen = self.seen();
                view.tick(seen.frames, self.dropped(), seen.snapshot);
                is_changed = true;
            }
            if std::mem::take(&mut is_changed) {
                terminal.draw(|frame| view.draw(frame))?;
            }
            match terminal.next(LOOK_EVERY)? {
                Some(Input::Interrupt) => return Ok(Leave::Quietly),
                Some(Input::Key(key)) => {
                    if let Some(leave) = view.press(key) {
                        return Ok(leave);
                    }
                    is_changed = true;
                }
                Some(Input::Other) => is_changed = true,
                None => {}
            }
            if signals.have_come() {
                return Ok(Leave::Quietly);
            }
        }
    }

    /// The command that captures what is watched, or one talk of it.
    pub(crate) fn command(&self, talk: Option<&str>, is_local: bool) -> String {
        let name = self.machine.name();
        let mut words = vec!["overtap capture".to_owned(), quoted(name)];
        let expression = match (self.expression.as_str(), talk) {
            ("", Some(talk)) => talk.to_owned(),
            (expression, Some(talk)) => format!("({expression}) and {talk}"),
            (expression, None) => expression.to_owned(),
        };
        words.extend((!expression.is_empty()).then(|| quoted(&expression)));
        if self.point != "auto" {
            words.push(format!("--point {}", quoted(&self.point)));
        }
        words.extend(is_local.then(|| "--local".to_owned()));
        words.push(format!("-w {}.pcapng", quoted(&agent::file_name(name))));
        words.join(" ")
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Headers within any tunnel, and the first bytes that name an application.
const SNAPLEN: &str = "256";

/// How often it is looked for signals and for what is told, where nobody presses a key.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pasted_into_a_shell_means_what_it_says() {
        assert_eq!(quoted("web-01"), "web-01");
        assert_eq!(quoted("host 10.0.0.1 and icmp"), "'host 10.0.0.1 and icmp'");
        assert_eq!(quoted("it's; rm"), r"'it'\''s; rm'");
        assert_eq!(quoted(""), "''");
    }
}
