//! Whose turn it is: of the controllers that share a database, one is at work and the others wait.
//!
//! The turn is an advisory lock, which PostgreSQL holds for one connection and gives to the next when
//! that ends, however it ends: a controller that was killed needs no time-out of ours.

use std::thread;
use std::time::Duration;

use ::postgres::Client;
use tokio::sync::oneshot;

use crate::store::StoreError;
use crate::store::postgres::{PostgresError, connector};

/// The turn, while we have it.
pub struct Turn(Client);

impl Turn {
    /// Takes it, if nobody has it. Waits for the network: not for async code.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub fn take(url: &str, authorities: Option<&str>) -> Result<Option<Self>, StoreError> {
        let mut client = connector(url, authorities)?().map_err(PostgresError::Engine)?;
        // Where our machine is cut off, the lock must not outlive our belief in it by long.
        let sql = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2;
            SET tcp_keepalives_count = 3";
        client.batch_execute(sql).map_err(PostgresError::Engine)?;
        let sql = "SELECT pg_try_advisory_lock($1)";
        let taken = client.query_one(sql, &[&LOCK]).map_err(PostgresError::Engine)?;
        Ok(taken.get::<_, bool>(0).then_some(Self(client)))
    }

    /// Keeps it. What is returned comes when it is lost: somebody else may have it from then on.
    pub fn keep(mut self) -> oneshot::Receiver<()> {
        let (lost, is_lost) = oneshot::channel();
        // If there can be no thread, the turn is given back, and that is said.
        let _ = thread::Builder::new().name("turn".to_owned()).spawn(move || {
            while !lost.is_closed() && self.0.is_valid(PATIENCE).is_ok() {
                thread::sleep(LOOK_EVERY);
            }
            let _ = lost.send(());
        });
        is_lost
    }
}

/// Names our lock among those of the database.
const LOCK: i64 = i64::from_be_bytes(*b"overtap\0");

const LOOK_EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);
