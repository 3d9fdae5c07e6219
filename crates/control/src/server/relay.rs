//! Pieces of packets on their way from an agent to whoever asked: passed on, not looked into.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use api::proto::Piece;
use tokio::sync::mpsc;
use tonic::Status;

use crate::tokens::random;

/// The transfers that agents were asked for and have not begun.
#[derive(Debug, Default)]
pub(super) struct Relay {
    awaited: Mutex<HashMap<String, Awaited>>,
}

#[derive(Debug)]
struct Awaited {
    agent: String,
    to: mpsc::Sender<Result<Piece, Status>>,
}

impl Relay {
    /// Awaits a transfer from `agent`: its name, and where its pieces come out.
    pub(super) fn await_from(
        &self,
        agent: &str,
    ) -> Result<(String, mpsc::Receiver<Result<Piece, Status>>), Status> {
        let name = random::<16>().map_err(|error| Status::internal(error.to_string()))?;
        let name = data_encoding::HEXLOWER.encode(&name);
        let (to, pieces) = mpsc::channel(IN_FLIGHT);
        let mut awaited = self.awaited();
        awaited.retain(|_, awaited| !awaited.to.is_closed());
        if awaited.len() >= MOST_AWAITED {
            return Err(Status::resource_exhausted("too many transfers have been asked for"));
        }
        awaited.insert(name.clone(), Awaited { agent: agent.to_owned(), to });
        Ok((name, pieces))
    }

    /// The other end of a transfer that `agent` begins.
    pub(super) fn begin(
        &self,
        agent: &str,
        name: &str,
    ) -> Option<mpsc::Sender<Result<Piece, Status>>> {
        let mut awaited = self.awaited();
        let is_theirs = awaited.get(name).is_some_and(|awaited| awaited.agent == agent);
        awaited.remove(name).filter(|_| is_theirs).map(|awaited| awaited.to)
    }

    /// Gives up a transfer that nobody began.
    pub(super) fn give_up(&self, name: &str) {
        self.awaited().remove(name);
    }

    fn awaited(&self) -> MutexGuard<'_, HashMap<String, Awaited>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pieces between agent and asker: more would only be memory.
const IN_FLIGHT: usize = 4;
const MOST_AWAITED: usize = 10_000;
