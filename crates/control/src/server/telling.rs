//! What is told for long: for as long as whoever asked listens, and may.
//!
//! A call that lasts outlives the moment in which its token was looked at. So whoever asked is let
//! in again whenever the store has changed, and is told no more once they would be refused: with a
//! word why, and an entry in the audit log.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::audit::{Action, Answer, Draft, Who};

use super::desk::{Asker, Desk, draft};

/// What somebody is told, one after the other.
pub(super) type Telling<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What `told` says, as long as `asker` would be let in and the controller runs. `what` is what
/// they do, for the audit log.
pub(super) fn while_let_in<T: 'static>(
    desk: &Arc<Desk>,
    asker: Asker,
    what: String,
    told: impl Stream<Item = Result<T, Status>> + Send + 'static,
) -> Telling<T> {
    let over = Box::pin(over(Arc::clone(desk), asker, what));
    Box::pin(WhileLetIn { told: Some(Box::pin(told)), over })
}

/// What `look` finds, at once and every so often; whoever reads slowly hears later of more at once.
/// An error is the last that is told.
pub(super) fn every<T: Send + 'static>(
    period: Duration,
    mut look: impl FnMut() -> Result<Option<T>, Status> + Send + 'static,
) -> ReceiverStream<Result<T, Status>> {
    let (to, told) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            if let Some(news) = look().transpose() {
                let is_last = news.is_err();
                if to.send(news).await.is_err() || is_last {
                    return;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(period) => {}
                () = to.closed() => return,
            }
        }
    });
    ReceiverStream::new(told)
}

/// Comes when somebody is to be told no more, with the word that is the last, if there is one.
async fn over(desk: Arc<Desk>, asker: Asker, what: String) -> Option<Status> {
    let mut changes = desk.changes();
    loop {
        changes.mark_unchanged();
        // What cannot be read is no reason: it is looked at again, and nobody can end a token in
        // a store that does not answer.
        if let Ok(Err(because)) = desk.still_let_in(&asker) {
            desk.audit(&Draft {
                who: Who::User(asker.user.name),
                from: asker.from,
                subject: what,
                ..draft(Action::LogIn, Answer::Refused { because: because.clone() })
            });
            return Some(Status::unauthenticated(because));
        }
        let expiry = async {
            match asker.expires_at {
                // In pieces: clocks are set, and a sleep does not hear of it.
                Some(end) => {
                    while jiff::Timestamp::now() < end {
                        tokio::time::sleep(GLANCE).await;
                    }
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = changes.changed() => {}
            () = expiry => {}
            () = desk.closing() => return None,
        }
    }
}

struct WhileLetIn<T, O> {
    /// `None` once it is over.
    told: Option<Telling<T>>,
    over: Pin<Box<O>>,
}

impl<T, O: Future<Output = Option<Status>>> Stream for WhileLetIn<T, O> {
    type Item = Result<T, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(told) = &mut this.told else { return Poll::Ready(None) };
        // First: what is ready to be told may be what they may not have any more.
        let end = match this.over.as_mut().poll(context) {
            Poll::Ready(last) => last.map(Err),
            Poll::Pending => match std::task::ready!(told.as_mut().poll_next(context)) {
                None => None,
                more => return Poll::Ready(more),
            },
        };
        this.told = None;
        Poll::Ready(end)
    }
}

/// How exactly the end of a token is kept.
const GLANCE: Duration = Duration::from_millis(250);
