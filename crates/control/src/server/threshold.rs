//! Connections of those who were not let in yet: so many at once, so many of one address, each for
//! a short time. Whoever is let in, by a token or a certificate, has crossed it and may stay.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use api::places::{Place, Places};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// Who stands at it.
#[derive(Debug, Clone)]
pub(super) struct Threshold {
    waiting: Arc<Mutex<HashMap<SocketAddr, Waiting>>>,
    arrived: Arc<AtomicU64>,
    places: Arc<Semaphore>,
    of_one: Places,
}

/// The places that a connection holds until it is let in.
#[derive(Debug)]
struct Waiting {
    /// Tells it from another one that came from the same port before.
    number: u64,
    _place: OwnedSemaphorePermit,
    _of_one: Place,
}

/// A connection that began here.
#[derive(Debug)]
pub(super) struct Standing {
    threshold: Threshold,
    peer: SocketAddr,
    number: u64,
    /// When it must have been let in; `None` once it was.
    until: Option<Pin<Box<Sleep>>>,
}

impl Threshold {
    pub(super) fn new() -> Self {
        Self {
            waiting: Arc::default(),
            arrived: Arc::default(),
            places: Arc::new(Semaphore::new(MOST_STRANGERS)),
            of_one: Places::new(MOST_OF_ONE),
        }
    }

    /// A place for whoever comes next; waits while all are taken.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// Whoever came takes the place, unless their address has too many.
    pub(super) fn arrive(&self, peer: SocketAddr, place: OwnedSemaphorePermit) -> Option<Standing> {
        let of_one = self.of_one.take(peer.ip())?;
        let number = self.arrived.fetch_add(1, Ordering::Relaxed);
        self.waiting().insert(peer, Waiting { number, _place: place, _of_one: of_one });
        let until = Some(Box::pin(tokio::time::sleep(LET_IN_WITHIN)));
        Some(Standing { threshold: self.clone(), peer, number, until })
    }

    /// Somebody on this connection was let in.
    pub(super) fn let_in(&self, peer: SocketAddr) {
        self.waiting().remove(&peer);
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<SocketAddr, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    /// Whether it has stood here for too long.
    pub(super) fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        let Some(until) = &mut self.until else { return false };
        if until.as_mut().poll(context) == Poll::Pending {
            return false;
        }
        self.until = None;
        self.is_waiting()
    }

    fn is_waiting(&self) -> bool {
        let waiting = self.threshold.waiting();
        waiting.get(&self.peer).is_some_and(|waiting| waiting.number == self.number)
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        if self.is_waiting() {
            self.threshold.let_in(self.peer);
        }
    }
}

/// How long it may take to be let in: the greeting of TLS and a first word with a good token.
const LET_IN_WITHIN: Duration = Duration::from_secs(15);

/// Who stands here at the same time; the others wait.
const MOST_STRANGERS: usize = 2_000;

/// Of one address; more are turned away. As many hosts behind one address may come back at once.
const MOST_OF_ONE: usize = 500;
