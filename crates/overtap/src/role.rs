//! What the two roles that run for months have in common: where they log, where they are scraped.

use std::net::SocketAddr;

use clap::ValueEnum;
use telemetry::{Format, Log};

/// How a role speaks to whoever runs it.
#[derive(Debug, clap::Args)]
pub(crate) struct Role {
    /// Answer Prometheus there, in plain HTTP: GET /metrics. Whoever can connect can read.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics: Option<SocketAddr>,

    /// How to write the log, which goes to standard error.
    #[arg(long = "log", value_enum, default_value_t = LogFormat::Text)]
    format: LogFormat,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people: time, level, sentence; in systemd's journal without what it has itself.
    Text,
    /// For programs: one object a line.
    Json,
}

impl Role {
    /// The log.
    pub(crate) fn log(&self) -> Log {
        Log::to_stderr(match self.format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        })
    }

    /// Whether somebody may be looking on who is the only one to read it.
    pub(crate) fn is_for_people(&self) -> bool {
        self.format == LogFormat::Text && !telemetry::log::is_journal()
    }
}
