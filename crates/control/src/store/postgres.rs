//! The store that several controllers share: a PostgreSQL database.
//!
//! Commits of all controllers come one after the other, because each begins by counting itself in
//! one row; versions and the audit chain have one order. Nothing else is locked.
//!
//! The connection lives on a thread of its own, so that calls may come from async code's blocking
//! threads and from others alike. It is made anew when it was lost; a commit that was under way
//! then fails, and whether it was made is seen by reading again.

mod line;
mod queries;
mod tls;
mod turn;

use std::error::Error;
use std::time::Duration;

use ::postgres::config::{Host, SslMode};
use ::postgres::{Client, Config, NoTls};

use crate::audit::{Draft, Entry, Head};
use crate::store::{Change, Commit, Document, Kind, Store, StoreError, Version};

use self::line::Line;

pub use self::turn::Turn;

/// A store in a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore(Line);

impl PostgresStore {
    /// Connects as `url` says (`postgres://user@host/database`, or `host=/run/postgresql
    /// user=overtap`), and brings an older layout up to date.
    ///
    /// With `authorities` (PEM), the connection is encrypted and the server must show a
    /// certificate of one of them for its name. Without, it is not encrypted, so the server must be
    /// on this machine: a socket or a loopback address.
    pub fn open(url: &str, authorities: Option<&str>) -> Result<Self, StoreError> {
        let connect = connector(url, authorities)?;
        let ready = move || -> Result<Client, StoreError> {
            let mut client = connect().map_err(PostgresError::Engine)?;
            queries::prepare(&mut client)?;
            Ok(client)
        };
        Ok(Self(Line::open(ready)?))
    }
}

type Connector = Box<dyn Fn() -> Result<Client, ::postgres::Error> + Send>;

/// What connects as `url` and `authorities` say: see [`PostgresStore::open`].
fn connector(url: &str, authorities: Option<&str>) -> Result<Connector, StoreError> {
    let mut config: Config = url.parse().map_err(PostgresError::Url)?;
    config.connect_timeout(PATIENCE).keepalives_idle(PATIENCE).tcp_user_timeout(PATIENCE);
    if config.get_application_name().is_none() {
        config.application_name("overtap");
    }
    let Some(authorities) = authorities else {
        if let Some(host) = config.get_hosts().iter().find_map(distant) {
            return Err(PostgresError::Distant(host).into());
        }
        return Ok(Box::new(move || config.connect(NoTls)));
    };
    let tls = tls::believing(authorities)?;
    config.ssl_mode(SslMode::Require);
    Ok(Box::new(move || config.connect(tls.clone())))
}

impl Store for PostgresStore {
    fn read(&self, kind: Kind, key: &str) -> Result<Option<Document>, StoreError> {
        let key = key.to_owned();
        self.0.ask(move |client| queries::read(client, kind, &key))
    }

    fn list(&self, kind: Kind) -> Result<Vec<Document>, StoreError> {
        self.0.ask(move |client| queries::list(client, kind))
    }

    fn commit(&self, changes: &[Change], entries: &[Draft]) -> Result<Commit, StoreError> {
        let (changes, entries) = (changes.to_vec(), entries.to_vec());
        self.0.ask(move |client| queries::commit(client, &changes, &entries))
    }

    fn version(&self) -> Result<Version, StoreError> {
        self.0.ask(queries::version)
    }

    fn audit(&self, first: u64, most: usize) -> Result<Vec<Entry>, StoreError> {
        self.0.ask(move |client| queries::audit(client, first, most))
    }

    fn audit_head(&self) -> Result<Head, StoreError> {
        self.0.ask(queries::head)
    }
}

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The words that say where it is cannot be read.
    #[error("not where a database is: {0}; write postgres://USER@HOST/DATABASE")]
    Url(#[source] ::postgres::Error),
    /// It is on another machine, and the way there is not encrypted.
    #[error(
        "the database on {0} would be reached without encryption; give the certificate of its \
         authority, or use a socket or a loopback address"
    )]
    Distant(String),
    /// The authorities cannot be used.
    #[error("the authorities of the database's certificate: {0}")]
    Authorities(String),
    /// PostgreSQL says no.
    #[error("the store: {}", spoken(.0))]
    Engine(#[source] ::postgres::Error),
    /// The thread that talks to it cannot be started, or ended.
    #[error("the store's thread is gone; restart the controller")]
    Gone,
    /// A number in it is none of ours.
    #[error("the store has a negative number where none can be; it was changed by hand")]
    Number,
}

/// The server's own words: the library's alone say only "db error". Or those of the cause.
fn spoken(error: &::postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(said), _) => said.to_string(),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    }
}

fn distant(host: &Host) -> Option<String> {
    match host {
        Host::Tcp(name) => {
            let is_near = name == "localhost"
                || name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
            (!is_near).then(|| name.clone())
        }
        Host::Unix(_) => None,
    }
}

/// How long an answer of the network is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
