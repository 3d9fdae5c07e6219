//! Alerts: what somebody wants to be told of, and when it is so.
//!
//! Pure: [`Watch`] is shown how things are at a moment and says what began and what is over. It
//! remembers no more than that; after a restart what is still so is told again.

mod file;
mod watch;

pub use file::FileError;
pub use watch::{Agent, Exporter, Look, News, State, Watch};

use std::time::Duration;

/// An alert that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// What it is called, in what is sent and in the log.
    pub name: String,
    /// When it is so.
    pub when: When,
    /// Where it is told: a URL that takes a POST.
    pub to: String,
    /// Lines of the head that go with it, as a token.
    pub headers: Vec<(String, String)>,
}

/// When an alert is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// An agent was not there for so long.
    AgentGone(Duration),
    /// An exporter was not heard for so long.
    ExporterSilent(Duration),
    /// More packets than this were lost on a host within a minute, by captures that run.
    Drops(u64),
    /// More than this is missing within a minute from what an exporter numbered.
    ExporterLoss(u64),
    /// Somebody who moved nothing before moves much.
    NewTalker(Talker),
}

/// What makes somebody a new talker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Talker {
    /// More bytes than this, both ways.
    pub more_than: u64,
    /// Within this time.
    pub within: Duration,
    /// And none in so long a time before.
    pub unseen: Duration,
}

impl When {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::AgentGone(_) => "agent-gone",
            Self::ExporterSilent(_) => "exporter-silent",
            Self::Drops(_) => "drops",
            Self::ExporterLoss(_) => "exporter-loss",
            Self::NewTalker(_) => "new-talker",
        }
    }

    /// Whether it is about exporters.
    pub const fn is_of_exporters(self) -> bool {
        matches!(self, Self::ExporterSilent(_) | Self::ExporterLoss(_))
    }
}
