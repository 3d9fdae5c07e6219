//! One question and one answer at a time: the transactions of OVSDB (RFC 7047, section 4.1.3).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ovsdb::frame::{Framer, Unframed};
use crate::stream::{Arrival, Stream};

/// A database and the server that has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::mirror) struct Server {
    /// Its name, as the server knows it.
    pub(in crate::mirror) database: String,
    /// Where the server is.
    pub(in crate::mirror) address: Address,
}

/// Where a database server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Address {
    /// A socket of this host.
    Unix(PathBuf),
    /// Somewhere, without TLS.
    Tcp(SocketAddr),
}

/// A connection for transactions.
#[derive(Debug)]
pub(super) struct Client {
    /// What it speaks with, and where that is, for sentences.
    server: Server,
    stream: Stream,
    framer: Framer,
    number: u64,
}

/// Why a transaction did not happen. Where the connection broke it may have happened.
#[derive(Debug, thiserror::Error)]
pub(in crate::mirror) enum Failure {
    /// There is no connection, or no more.
    #[error("cannot use {server}: {error}{}", remedy(error, server))]
    Connection {
        /// The database and its address.
        server: Server,
        /// Why not.
        error: io::Error,
    },
    /// The server speaks another language.
    #[error("cannot understand the database: {0}")]
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
    pub(in crate::mirror) fn connect(path: &Path) -> Result<Self, Failure> {
        let address = Address::Unix(path.to_owned());
        Self::connect_to(Server { database: OPEN_VSWITCH.to_owned(), address })
    }

    /// Connects to a database server.
    pub(in crate::mirror) fn connect_to(server: Server) -> Result<Self, Failure> {
        let stream = match &server.address {
            Address::Unix(path) => Stream::connect(path),
            Address::Tcp(address) => Stream::connect_tcp(*address),
        };
        match stream {
            Ok(stream) => Ok(Self { server, stream, framer: Framer::default(), number: 0 }),
            Err(error) => Err(Failure::Connection { server, error }),
        }
    }

    /// Does all of `operations` or nothing; the result of each.
    pub(in crate::mirror) fn transact(
        &mut self,
        operations: Vec<Value>,
    ) -> Result<Vec<Value>, Failure> {
        self.number += 1;
        let mut parameters = vec![json!(self.server.database)];
        parameters.extend(operations);
        let request = json!({ "method": "transact", "params": parameters, "id": self.number });
        self.stream.write(request.to_string().as_bytes()).map_err(|error| self.broken(error))?;
        let reply = self.reply()?;
        if let Some(error) = reply.get("error").filter(|error| !error.is_null()) {
            return Err(refusal(error));
        }
        let Some(Value::Array(results)) = reply.get("result") else {
            return Err(Failure::Other(format!("{} gave no result", self.server)));
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
        Failure::Connection { server: self.server.clone(), error }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.database.as_str() {
            OPEN_VSWITCH => write!(f, "Open vSwitch's database at {}", self.address),
            _ => write!(f, "OVN's northbound database at {}", self.address),
        }
    }
}

impl fmt::Display for Address {
    /// A path, or as `ovn-nbctl --db` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    /// Reads `unix:PATH` or `tcp:IP:PORT`; of several with commas between them only the first.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.split(',').next().unwrap_or_default();
        match text.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            Some(("tcp", address)) => address
                .parse()
                .map(Self::Tcp)
                .map_err(|_| format!("`{address}` is no address: write tcp:10.0.0.1:6641")),
            Some(("ssl", _)) => Err("the database is not spoken with over TLS yet".into()),
            _ => Err(format!("`{text}` is no database's address: unix:PATH or tcp:IP:PORT")),
        }
    }
}

fn refusal(error: &Value) -> Failure {
    let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    match error.as_str() {
        Some(word) => Failure::Refused { error: word.to_owned(), details: String::new() },
        None => Failure::Refused { error: text("error"), details: text("details") },
    }
}

fn remedy(error: &io::Error, server: &Server) -> &'static str {
    match error.kind() {
        _ if server.database != OPEN_VSWITCH => "; its address is given by --ovn-nb or OVN_NB_DB",
        io::ErrorKind::PermissionDenied => "; run as root or join the group that owns the socket",
        io::ErrorKind::NotFound => "; is Open vSwitch running?",
        io::ErrorKind::ConnectionRefused => "; start ovsdb-server",
        _ => "",
    }
}

const OPEN_VSWITCH: &str = "Open_vSwitch";
/// The database is in memory; only a machine that stands still is slower.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long the switch may take to do what the database says.
pub(super) const ACT_WITHIN: Duration = Duration::from_secs(5);
