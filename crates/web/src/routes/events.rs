//! Says when something is not as it was, so that nobody has to ask again and again.

use std::convert::Infallible;

use api::proto::WatchReply;
use axum::response::sse::{Event, KeepAlive, Sse};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use utoipa::ToSchema;

use crate::person::Person;
use crate::problem::Problem;

/// What is not as it was.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(crate) struct Changed {
    /// Hosts whose machines are not as they were.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hosts: Vec<String>,
    /// Sessions that are not as they were, or are no more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sessions: Vec<String>,
}

/// Why nothing more is told.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Refused {
    /// In words.
    because: String,
}

/// What is not as it was, of what the asker may see: events `ready` (from here on nothing is
/// missed), `machines`, `sessions` and `status`, within a second and at most two a second each.
/// Once the asker's token is good no more, the event `refused` says why and is the last.
#[utoipa::path(
    get, path = "/events", tag = "fleet",
    responses(
        (status = 200, description = "Server-sent events; their data is a Changed, that of `refused` a Refused.",
         body = String, content_type = "text/event-stream"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn events(
    person: Person,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let changes = person.controller.watch().await?;
    let (to, events) = mpsc::channel(16);
    tokio::spawn(tell(changes, to));
    Ok(Sse::new(ReceiverStream::new(events)).keep_alive(KeepAlive::default()))
}

async fn tell(mut changes: Streaming<WatchReply>, to: mpsc::Sender<Result<Event, Infallible>>) {
    let mut is_first = true;
    loop {
        let change = tokio::select! {
            change = changes.message() => change,
            () = to.closed() => return,
        };
        let WatchReply { host, session, is_status } = match change {
            Ok(Some(change)) => change,
            Ok(None) => return,
            Err(status) => {
                let refused = Refused { because: status.message().to_owned() };
                if let Ok(event) = Event::default().event("refused").json_data(refused) {
                    let _ = to.send(Ok(event)).await;
                }
                return;
            }
        };
        let said = [
            (std::mem::take(&mut is_first), "ready", Changed::default()),
            (!host.is_empty(), "machines", Changed { hosts: host, ..Changed::default() }),
            (!session.is_empty(), "sessions", Changed { sessions: session, ..Changed::default() }),
            (is_status, "status", Changed::default()),
        ];
        for (_, name, changed) in said.into_iter().filter(|(is_said, ..)| *is_said) {
            let Ok(event) = Event::default().event(name).json_data(changed) else { continue };
            if to.send(Ok(event)).await.is_err() {
                return;
            }
        }
    }
}
