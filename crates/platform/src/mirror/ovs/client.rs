//! One question and one answer at a time: the transactions of OVSDB (RFC 7047, section 4.1.3).

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::shown;
use crate::ovsdb::frame::{Framer, Unframed};
use crate::stream::{Arrival, Stream};

/// A connection for transactions.
#[derive(Debug)]
pub(super) struct Client {
    path: PathBuf,
    stream: Stream,
    framer: Framer,
    number: u64,
}

/// Why a transaction did not happen. Where the connection broke it may have happened.
#[derive(Debug, thiserror::Error)]
pub(in crate::mirror) enum Failure {
    /// There is no connection, or no more.
    #[error("cannot use Open vSwitch's database at {path}: {error}{}", remedy(error))]
    Connection {
        /// Its socket.
        path: String,
        /// Why not.
        error: io::Error,
    },
    /// The server speaks another language.
    #[error("cannot understand Open vSwitch's database: {0}")]
    Language(#[from] Unframed),
    /// The server refused an operation.
    #[error("{error}: {details}")]
    Refused {
        /// A word of RFC 7047, section 3.1, or of the server.
        error: String,
        /// What a person can read.
        details: String,
    },
    /// The database has it, but the switch does not act on it.
    #[error("ovs-vswitchd has not acted within {} s; is it running?", ACT_WITHIN.as_secs())]
    Idle,
    /// Anything else, a sentence.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// Whether another connection may help.
    pub(super) fn is_of_connection(&self) -> bool {
        matches!(self, Self::Connection { .. })
    }

    /// Whether the server does not know part of what we said.
    pub(super) fn is_of_version(&self) -> bool {
        matches!(self, Self::Refused { error, .. } if error == "syntax error" || error == "unknown column")
    }
}

impl Client {
    /// Connects to the database's socket.
    pub(super) fn connect(path: &Path) -> Result<Self, Failure> {
        let stream = Stream::connect(path)
            .map_err(|error| Failure::Connection { path: shown(path), error })?;
        Ok(Self { path: path.to_owned(), stream, framer: Framer::default(), number: 0 })
    }

    /// Does all of `operations` or nothing; the result of each.
    pub(super) fn transact(&mut self, operations: Vec<Value>) -> Result<Vec<Value>, Failure> {
        self.number += 1;
        let mut parameters = vec![json!("Open_vSwitch")];
        parameters.extend(operations);
        let request = json!({ "method": "transact", "params": parameters, "id": self.number });
        self.stream.write(request.to_string().as_bytes()).map_err(|error| self.broken(error))?;
        let reply = self.reply()?;
        if let Some(error) = reply.get("error").filter(|error| !error.is_null()) {
            return Err(refusal(error));
        }
        let Some(Value::Array(results)) = reply.get("result") else {
            return Err(Failure::Other("Open vSwitch's database gave no result".into()));
        };
        // The result of a transaction that fails as a whole comes behind those of its operations.
        match results.iter().find(|result| result.get("error").is_some()) {
            Some(error) => Err(refusal(error)),
            None => Ok(results.clone()),
        }
    }

    fn reply(&mut self) -> Result<Value, Failure> {
        let deadline = Instant::now() + ANSWER_WITHIN;
        loop {
            while let Some(object) = self.framer.next()? {
                let message: Value = serde_json::from_slice(&object)
                    .map_err(|error| Failure::Other(format!("no JSON: {error}")))?;
                let id = message.get("id").unwrap_or(&Value::Null);
                if message.get("method").and_then(Value::as_str) == Some("echo") {
                    let parameters = message.get("params").unwrap_or(&Value::Null);
                    let reply = json!({ "result": parameters, "error": null, "id": id });
                    let written = self.stream.write(reply.to_string().as_bytes());
                    written.map_err(|error| self.broken(error))?;
                } else if id.as_u64() == Some(self.number) {
                    return Ok(message);
                }
            }
            let read = self.stream.read(self.framer.bytes(), &[], Some(deadline));
            match read.map_err(|error| self.broken(error))? {
                Arrival::Bytes => {}
                Arrival::Deadline | Arrival::Woken => {
                    return Err(self.broken(io::ErrorKind::TimedOut.into()));
                }
            }
        }
    }

    fn broken(&self, error: io::Error) -> Failure {
        Failure::Connection { path: shown(&self.path), error }
    }
}

fn refusal(error: &Value) -> Failure {
    let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    match error.as_str() {
        Some(word) => Failure::Refused { error: word.to_owned(), details: String::new() },
        None => Failure::Refused { error: text("error"), details: text("details") },
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run as root or join the group that owns the socket",
        io::ErrorKind::NotFound => "; is Open vSwitch running?",
        io::ErrorKind::ConnectionRefused => "; start ovsdb-server",
        _ => "",
    }
}

/// The database is in memory; only a machine that stands still is slower.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long the switch may take to do what the database says.
pub(super) const ACT_WITHIN: Duration = Duration::from_secs(5);
