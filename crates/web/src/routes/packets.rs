//! The packets of a session: as a capture file, and as lines for somebody who looks on.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use api::document::Session;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;
use wire::file::{Item, Progress, Reader};

use crate::door::Door;
use crate::person::Person;
use crate::problem::{Problem, Query};
use crate::view::{Counted, PacketView};
use crate::woven::Woven;

/// How the file is written.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct How {
    /// `true` for somebody who looks on: packets come within half a second, and a host that is
    /// away is waited for only shortly.
    #[serde(default)]
    live: bool,
}

/// All packets of a session in one file; of one that runs, until it ends.
#[utoipa::path(
    get, path = "/sessions/{id}/capture.pcapng", tag = "sessions",
    params(("id" = String, Path, description = "Its id."), How),
    responses(
        (status = 200, description = "The file, as it is written.", body = Vec<u8>, content_type = "application/x-pcapng"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The packets are somebody else's.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is none that the asker may see.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many are read at this moment.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn capture(
    person: Person,
    State(door): State<Arc<Door>>,
    Path(id): Path<String>,
    Query(how): Query<How>,
) -> Result<Response, Problem> {
    let session = readable(&person, &id).await?;
    let name = file_name(&session);
    let reading = Reading::begin(&door, person, session, how.live)?;
    let (to, pieces) = mpsc::channel(2);
    tokio::spawn(reading.send(to));
    let headers = [
        (header::CONTENT_TYPE, "application/x-pcapng".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    Ok((headers, Body::from_stream(ReceiverStream::new(pieces))).into_response())
}

/// The packets of a session as they come, for somebody who looks on: events `packet` (at most 100
/// a second), `count` (how many there were, and how many of them were not shown) and `end`.
#[utoipa::path(
    get, path = "/sessions/{id}/packets", tag = "sessions",
    params(("id" = String, Path, description = "Its id.")),
    responses(
        (status = 200, description = "Server-sent events; the data of `packet` is a Packet, that of `count` and `end` a Counted.",
         body = String, content_type = "text/event-stream"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The packets are somebody else's.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is none that the asker may see.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many are read at this moment.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn packets(
    person: Person,
    State(door): State<Arc<Door>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let session = readable(&person, &id).await?;
    let reading = Reading::begin(&door, person, session, true)?;
    // A browser that comes back says what it has had.
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let (to, events) = mpsc::channel(64);
    tokio::spawn(reading.tell(last.unwrap_or(0), to));
    Ok(Sse::new(ReceiverStream::new(events)).keep_alive(KeepAlive::default()))
}

/// A session whose packets the person may have; if not, that is in the audit log.
async fn readable(person: &Person, id: &str) -> Result<Session, Problem> {
    let session = person.controller.session(id).await?;
    person.controller.may_fetch(&session).await?;
    Ok(session)
}

/// Somebody who reads the packets of a session.
struct Reading {
    woven: Woven,
    _place: tokio::sync::OwnedSemaphorePermit,
}

impl Reading {
    fn begin(
        door: &Door,
        person: Person,
        session: Session,
        is_live: bool,
    ) -> Result<Self, Problem> {
        let place = Arc::clone(&door.readers).try_acquire_owned().map_err(|_| {
            let busy = "too many captures are read at this moment; try again when one has ended";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, busy)
        })?;
        let application = door.application.clone();
        let woven = Woven::begin(person.controller, session, application, is_live);
        Ok(Self { woven: woven.map_err(Problem::internal)?, _place: place })
    }

    /// Sends the file, until nobody reads any more. One that is not whole ends in an error, so
    /// that it is not taken to be whole.
    async fn send(mut self, to: mpsc::Sender<io::Result<Bytes>>) {
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            let read = tokio::select! {
                read = self.woven.bytes.read_buf(&mut piece) => read,
                () = to.closed() => return,
            };
            let end = match read {
                Ok(0) => match self.woven.end().await {
                    Ok(()) => return,
                    Err(error) => Err(error),
                },
                Ok(_) => {
                    if to.send(Ok(piece.into())).await.is_err() {
                        return;
                    }
                    continue;
                }
                Err(error) => Err(error),
            };
            let _ = to.send(end).await;
            return;
        }
    }

    /// Tells the packets behind number `last`.
    async fn tell(mut self, last: u64, to: mpsc::Sender<Result<Event, Infallible>>) {
        let mut reader = Reader::new();
        let mut view = PacketView::default();
        let mut counted = Counted::default();
        let mut pace = Pace::new(Instant::now());
        let mut every = tokio::time::interval(COUNT_EVERY);
        loop {
            match reader.advance() {
                Progress::Item => match reader.item() {
                    Item::Interface(interface) => view.add_point(&interface),
                    Item::Record(record) => {
                        counted.packets = record.number;
                        if record.number <= last {
                            continue;
                        }
                        if !pace.takes_one(Instant::now()) {
                            counted.skipped += 1;
                            continue;
                        }
                        let event = event("packet", &view.packet(&record));
                        let event = event.map(|event| event.id(record.number.to_string()));
                        if let Some(event) = event
                            && to.send(Ok(event)).await.is_err()
                        {
                            return;
                        }
                    }
                    _ => {}
                },
                Progress::NeedBytes => {
                    let read = tokio::select! {
                        read = self.woven.bytes.read(reader.space()) => read.unwrap_or(0),
                        _ = every.tick() => {
                            if let Some(event) = event("count", &counted)
                                && to.send(Ok(event)).await.is_err()
                            {
                                return;
                            }
                            continue;
                        }
                        () = to.closed() => return,
                    };
                    reader.filled(read);
                }
                Progress::End => break,
            }
        }
        for name in ["count", "end"] {
            if let Some(event) = event(name, &counted) {
                let _ = to.send(Ok(event)).await;
            }
        }
    }
}

fn event<T: serde::Serialize>(name: &str, data: &T) -> Option<Event> {
    Event::default().event(name).json_data(data).ok()
}

/// How many packets a person is shown: as many as their browser draws with ease.
struct Pace {
    /// How many may be shown at this moment.
    left: f64,
    at: Instant,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { left: MOST_AT_ONCE, at: now }
    }

    fn takes_one(&mut self, now: Instant) -> bool {
        let earned = now.duration_since(self.at).as_secs_f64() * MOST_A_SECOND;
        (self.left, self.at) = ((self.left + earned).min(MOST_AT_ONCE), now);
        let is_due = self.left >= 1.0;
        if is_due {
            self.left -= 1.0;
        }
        is_due
    }
}

/// `web-01-s-abcdefgh.pcapng`: nothing in it may be a path or end the header.
fn file_name(session: &Session) -> String {
    let is_safe = |c: &char| c.is_ascii_alphanumeric() || "._-".contains(*c);
    let what = session.wish.vms.first().or(session.wish.tenants.first());
    let what: String =
        what.map(|name| name.chars().filter(is_safe).take(60).collect()).unwrap_or_default();
    let what = what.trim_start_matches(['.', '-']);
    let id: String = session.id.chars().filter(is_safe).collect();
    if what.is_empty() { format!("{id}.pcapng") } else { format!("{what}-{id}.pcapng") }
}

const MOST_A_SECOND: f64 = 100.0;
const MOST_AT_ONCE: f64 = 200.0;

/// How often it is told how many there were.
const COUNT_EVERY: Duration = Duration::from_secs(1);

const PIECE_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_shown_and_then_a_hundred_a_second() {
        let began = Instant::now();
        let mut pace = Pace::new(began);
        let at = |ms: u64| began + Duration::from_millis(ms);
        assert_eq!((0..1000).filter(|_| pace.takes_one(at(0))).count(), 200);
        assert_eq!((0..1000).filter(|_| pace.takes_one(at(500))).count(), 50);
        assert_eq!((0..1000).filter(|_| pace.takes_one(at(60_500))).count(), 200);
    }

    #[test]
    fn a_name_of_a_file_is_neither_a_path_nor_the_end_of_a_header() {
        let mut session: Session = serde_json::from_value(serde_json::json!({
            "id": "s-abc", "owner": "ann", "wish": {}, "began_ns": 0, "until_ns": 0,
        }))
        .unwrap();
        assert_eq!(file_name(&session), "s-abc.pcapng");
        session.wish.vms = vec!["../x\"\r\ny: z".to_owned()];
        assert_eq!(file_name(&session), "xyz-s-abc.pcapng");
    }
}
