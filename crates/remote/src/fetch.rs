//! Follows a session and fetches its parts, again and again until all is there.

use std::sync::Arc;
use std::time::Duration;

use api::PIECE_BYTES;
use api::document::Session;
use api::proto::{FetchRequest, Piece, ReleaseRequest};
use tokio::sync::{Semaphore, mpsc};

use crate::connection::session;
use crate::{Connection, RemoteError};

/// What the tasks have to say.
#[derive(Debug)]
pub(crate) enum News {
    /// The session, as it is now.
    Session(Box<Session>),
    /// The session cannot be followed any more.
    Lost(String),
    /// A piece of the part with this number among the parts fetched.
    Piece(usize, Piece),
    /// A part cannot be fetched now, and why; it is tried again.
    Away(usize, String),
    /// The packets may not be fetched, or not any more, and why. Nothing more is asked: each time
    /// would be a line in the audit log.
    Refused(RemoteError),
    /// A part, or what is left of it, is not to be had at all, and why.
    #[cfg_attr(not(feature = "s3"), allow(dead_code, reason = "agents come back"))]
    Gone(usize, String),
}

/// Follows a session until nobody listens.
pub(crate) async fn follow(connection: Connection, id: String, to: mpsc::Sender<News>) {
    loop {
        let why = match connection.follow(&id).await {
            Ok(mut replies) => loop {
                match replies.message().await {
                    Ok(Some(reply)) => {
                        let Ok(session) = session(&reply) else { continue };
                        if to.send(News::Session(Box::new(session))).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => break connection.error(&tonic::Status::unavailable("it ended")),
                    Err(status) => break connection.error(&status),
                }
            },
            Err(error) => error,
        };
        if !why.is_passing() {
            let _ = to.send(News::Lost(why.to_string())).await;
            return;
        }
        if to.is_closed() {
            return;
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Fetches one part until its last piece, at most as far ahead as there are permits in `ahead`.
pub(crate) async fn fetch(
    connection: Connection,
    mut ask: FetchRequest,
    number: usize,
    ahead: Arc<Semaphore>,
    to: mpsc::Sender<News>,
) {
    loop {
        let why = match connection.fetch(ask.clone()).await {
            Ok(mut pieces) => loop {
                // One for each piece; given back when it has been woven in.
                if let Ok(permit) = ahead.acquire().await {
                    permit.forget();
                }
                match pieces.message().await {
                    Ok(Some(piece)) => {
                        let is_last = piece.is_last;
                        ask.offset += piece.bytes.len() as u64;
                        if to.send(News::Piece(number, piece)).await.is_err() || is_last {
                            return;
                        }
                    }
                    Ok(None) => {
                        ahead.add_permits(1);
                        break RemoteError::Failed("the agent broke off".to_owned());
                    }
                    Err(status) => {
                        ahead.add_permits(1);
                        break connection.error(&status);
                    }
                }
            },
            Err(error) => error,
        };
        if why.is_final() {
            let _ = to.send(News::Refused(why)).await;
            return;
        }
        let why = match why {
            // Which controller it is is known.
            RemoteError::Away { reason, .. } => reason,
            why => why.to_string(),
        };
        if to.send(News::Away(number, why)).await.is_err() {
            return;
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Tells agents what was taken of their parts, until nobody has more to tell. What is not heard now
/// is told with the next.
pub(crate) async fn release(connection: Connection, mut told: mpsc::Receiver<ReleaseRequest>) {
    while let Some(release) = told.recv().await {
        let _ = connection.release(release).await;
    }
}

/// How many pieces of a part may wait to be woven in: 8 MiB.
pub(crate) const AHEAD: usize = 8 * 1024 * 1024 / PIECE_BYTES;

const AGAIN_AFTER: Duration = Duration::from_millis(500);
