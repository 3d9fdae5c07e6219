//! The log of a role: one event a line, for people, for programs or for systemd's journal.
//!
//! An event is a sentence with a level, and says which session, agent or host it is about where
//! that is known. Anything that can happen for each packet is a counter, never an event.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use jiff::Timestamp;
use rustix::fs::fstat;

/// Where events go. Clones share one place.
#[derive(Clone)]
pub struct Log {
    sink: Arc<dyn Fn(&Event) + Send + Sync>,
    agent: Option<String>,
    host: Option<String>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// How grave it is.
    pub level: Level,
    /// A sentence.
    pub text: String,
    /// The session it is about.
    pub session: Option<String>,
    /// The agent it is about.
    pub agent: Option<String>,
    /// The host it is about.
    pub host: Option<String>,
}

/// How grave an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The ordinary course of things.
    Info,
    /// Odd, but nothing was lost.
    Warn,
    /// Loss, or someone must act.
    Error,
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `2026-11-21T19:40:12.345Z info agent hv-1 is away`, for people.
    Text,
    /// As `Text` without the time, which the journal has itself, and with its mark for the level.
    Journal,
    /// A JSON object.
    Json,
}

impl Log {
    /// A log on standard error. Text becomes the journal's where standard error is the journal.
    pub fn to_stderr(format: Format) -> Self {
        let format = match format {
            Format::Text if is_journal() => Format::Journal,
            format => format,
        };
        Self::new(move |event| {
            let line = event.line(format, Timestamp::now());
            // Whoever closed the other end does not want to hear it.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        })
    }

    /// A log that hands its events to `sink`.
    pub fn new(sink: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self { sink: Arc::new(sink), agent: None, host: None }
    }

    /// The same log, for events of this agent on this host where they do not say otherwise.
    #[must_use]
    pub fn of_agent(&self, agent: &str, host: &str) -> Self {
        let sink = Arc::clone(&self.sink);
        Self { sink, agent: Some(agent.to_owned()), host: Some(host.to_owned()) }
    }

    /// Writes an event.
    pub fn say(&self, mut event: Event) {
        event.agent = event.agent.or_else(|| self.agent.clone());
        event.host = event.host.or_else(|| self.host.clone());
        (self.sink)(&event);
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("agent", &self.agent).field("host", &self.host).finish()
    }
}

impl Event {
    /// The ordinary course of things.
    pub fn info(text: impl Into<String>) -> Self {
        Self::new(Level::Info, text)
    }

    /// Odd, but nothing was lost.
    pub fn warn(text: impl Into<String>) -> Self {
        Self::new(Level::Warn, text)
    }

    /// Loss, or someone must act.
    pub fn error(text: impl Into<String>) -> Self {
        Self::new(Level::Error, text)
    }

    /// About this session.
    #[must_use]
    pub fn session(self, id: &str) -> Self {
        Self { session: Some(id.to_owned()), ..self }
    }

    /// About this agent.
    #[must_use]
    pub fn agent(self, id: &str) -> Self {
        Self { agent: Some(id.to_owned()), ..self }
    }

    /// About this host.
    #[must_use]
    pub fn host(self, name: &str) -> Self {
        Self { host: Some(name.to_owned()), ..self }
    }

    /// The event as a line of a log, with its end.
    pub fn line(&self, format: Format, at: Timestamp) -> String {
        let body = match &self.session {
            Some(session) => format!("session {session}: {}", self.text),
            None => self.text.clone(),
        };
        match format {
            Format::Text => format!("{at:.3} {} {}\n", self.level.name(), OneLine(&body)),
            Format::Journal => format!("<{}>{}\n", self.level.syslog(), OneLine(&body)),
            Format::Json => self.json(at),
        }
    }

    fn json(&self, at: Timestamp) -> String {
        let mut fields = serde_json::Map::new();
        let known = [
            ("time", Some(format!("{at:.6}"))),
            ("level", Some(self.level.name().to_owned())),
            ("message", Some(self.text.clone())),
            ("session", self.session.clone()),
            ("agent", self.agent.clone()),
            ("host", self.host.clone()),
        ];
        for (name, value) in known {
            fields.extend(value.map(|value| (name.to_owned(), value.into())));
        }
        serde_json::Value::Object(fields).to_string() + "\n"
    }

    fn new(level: Level, text: impl Into<String>) -> Self {
        Self { level, text: text.into(), session: None, agent: None, host: None }
    }
}

impl Level {
    /// The word in a log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// The number before a line of the journal (sd-daemon(3), after syslog(3)).
    const fn syslog(self) -> u8 {
        match self {
            Self::Info => 6,
            Self::Warn => 4,
            Self::Error => 3,
        }
    }
}

/// Text without what would end the line or speak to a terminal: much of it came over the network.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            if letter.is_control() {
                write!(f, "{}", letter.escape_default())?;
            } else {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// Whether standard error is systemd's journal: then `JOURNAL_STREAM` has its device and inode
/// (systemd.exec(5)).
pub fn is_journal() -> bool {
    let Ok(told) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(found) = fstat(std::io::stderr()) else { return false };
    told == format!("{}:{}", found.st_dev, found.st_ino)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Mutex;

    use super::*;

    fn at() -> Timestamp {
        "2026-11-21T19:40:12.345678Z".parse().unwrap()
    }

    #[test]
    fn an_event_is_one_line_in_every_format() {
        let event = Event::warn("web is gone").session("s-1").agent("hv-1");
        let line = |format| event.line(format, at());
        assert_eq!(line(Format::Text), "2026-11-21T19:40:12.345Z warn session s-1: web is gone\n");
        assert_eq!(line(Format::Journal), "<4>session s-1: web is gone\n");
        let json: serde_json::Value = serde_json::from_str(&line(Format::Json)).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "time": "2026-11-21T19:40:12.345678Z", "level": "warn", "message": "web is gone",
                "session": "s-1", "agent": "hv-1",
            })
        );
    }

    #[test]
    fn what_came_over_the_network_cannot_write_a_line_of_its_own() {
        let event = Event::info("a\n<3>b\x1b[31m\u{85}c");
        for format in [Format::Text, Format::Journal, Format::Json] {
            let line = event.line(format, at());
            assert_eq!(line.find('\n'), Some(line.len() - 1), "{line:?}");
            assert!(!line.contains('\x1b'), "{line:?}");
        }
        assert_eq!(event.line(Format::Journal, at()), "<6>a\\n<3>b\\u{1b}[31m\\u{85}c\n");
    }

    #[test]
    fn an_agent_signs_what_does_not_say_whose_it_is() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = {
            let heard = Arc::clone(&heard);
            Log::new(move |event| heard.lock().unwrap().push(event.clone()))
        };
        let own = log.of_agent("hv-1", "host-1");
        own.say(Event::info("x"));
        own.say(Event::info("y").host("host-2"));
        log.say(Event::error("z"));
        let heard = heard.lock().unwrap();
        let signed: Vec<_> =
            heard.iter().map(|e| (e.agent.as_deref(), e.host.as_deref())).collect();
        assert_eq!(
            signed,
            [(Some("hv-1"), Some("host-1")), (Some("hv-1"), Some("host-2")), (None, None)]
        );
    }
}
