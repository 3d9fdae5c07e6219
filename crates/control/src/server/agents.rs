//! The agents' service: hears what hosts look like and how parts go, says what is to be done.

use std::pin::Pin;
use std::sync::Arc;

use api::document::{Note, Part};
use api::proto::agents_server::Agents as Service;
use api::proto::from_agent::Said;
use api::proto::{Certificate, FromAgent, Piece, Ping, RenewRequest, ToAgent, UploadEnd, to_agent};
use inventory::Look;
use jiff::Timestamp;
use telemetry::Event;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::audit::{Action, Answer, Draft, Who};
use crate::clock::{ASK_EVERY, Exchange};
use crate::enrolled::Enrolled;
use crate::names::AgentId;
use crate::store::{Change, Expected};

use super::desk::{Desk, broken, draft, now_ns, peer_of};

pub(super) struct AgentsService(pub(super) Arc<Desk>);

#[tonic::async_trait]
impl Service for AgentsService {
    type AttendStream = Pin<Box<dyn Stream<Item = Result<ToAgent, Status>> + Send>>;

    async fn attend(
        &self,
        request: Request<Streaming<FromAgent>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        let desk = Arc::clone(&self.0);
        let agent = desk.agent(&request)?;
        let known = desk.blocking(|store| store.one::<Enrolled>(agent.as_str()));
        if known.map_err(|error| broken(&error))?.is_none() {
            return Err(Status::permission_denied(format!(
                "agent {agent} was removed; enrol it again: overtap agent enrol TOKEN --force"
            )));
        }
        let from = peer_of(request.remote_addr());
        let (to, outgoing) = mpsc::channel(64);
        let line = Line { desk, agent, from, to, number: 0 };
        tokio::spawn(line.attend(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }

    async fn upload(
        &self,
        request: Request<Streaming<Piece>>,
    ) -> Result<Response<UploadEnd>, Status> {
        let agent = self.0.agent(&request)?;
        let mut pieces = request.into_inner();
        let hello = pieces.message().await?.ok_or_else(|| Status::cancelled("nothing came"))?;
        let to = self.0.relay.begin(agent.as_str(), &hello.transfer);
        let to = to.ok_or_else(|| Status::not_found("nobody asked for this"))?;
        loop {
            tokio::select! {
                piece = pieces.next() => match piece {
                    Some(Ok(piece)) => if to.send(Ok(piece)).await.is_err() { break },
                    Some(Err(error)) => {
                        let _ = to.send(Err(Status::unavailable(error.message()))).await;
                        break;
                    }
                    None => break,
                },
                // Whoever asked has gone: the agent is told by the end of this call.
                () = to.closed() => break,
            }
        }
        Ok(Response::new(UploadEnd {}))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<Certificate>, Status> {
        let desk = &self.0;
        let agent = desk.agent(&request)?;
        let from = peer_of(request.remote_addr());
        let known = desk.blocking(|store| store.one::<Enrolled>(agent.as_str()));
        let known = known.map_err(|error| broken(&error))?;
        let known = known.ok_or_else(|| Status::permission_denied("the agent was removed"))?;
        let issued = desk.ca.issue_agent(&agent, &request.into_inner().request, Timestamp::now());
        let certificate = issued.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let enrolled = known.value.renewed(&certificate, Timestamp::now());
        let change = Change::put(&enrolled, Expected::Version(known.version));
        let entry = Draft {
            who: Who::Agent(agent.clone()),
            from,
            ..draft(Action::Connect, Answer::Granted)
        };
        change
            .and_then(|change| desk.blocking(|store| store.commit(&[change], &[entry])))
            .map_err(|error| broken(&error))?;
        Ok(Response::new(Certificate {
            certificate_pem: desk.ca.chain_pem(&certificate),
            ca_pem: desk.ca.certificate().pem(),
            agent_id: agent.to_string(),
        }))
    }
}

/// The line of one agent, while it lasts.
struct Line {
    desk: Arc<Desk>,
    agent: AgentId,
    from: String,
    to: mpsc::Sender<Result<ToAgent, Status>>,
    number: u64,
}

impl Line {
    async fn attend(mut self, mut incoming: Streaming<FromAgent>) {
        let hello = tokio::time::timeout(ASK_EVERY * 5, incoming.message()).await;
        let Ok(Ok(Some(FromAgent { said: Some(Said::Hello(hello)) }))) = hello else { return };
        self.number = {
            let mut state = self.desk.state();
            let number = state.next_line;
            state.next_line += 1;
            let agent = self.agent.as_str();
            state.fleet.arrived(agent, &hello.host, &hello.version, number, now_ns());
            state.lines.insert(number, self.to.clone());
            number
        };
        self.say(Event::info(format!("agent {} is there, from {}", self.agent, self.from)));
        self.talk(&mut incoming).await;
        let was_own = {
            let mut state = self.desk.state();
            state.lines.remove(&self.number);
            state.fleet.left(self.agent.as_str(), self.number)
        };
        if was_own {
            self.say(Event::warn(format!("agent {} is away", self.agent)));
            self.desk.ring();
        }
    }

    async fn talk(&self, incoming: &mut Streaming<FromAgent>) {
        let mut orders = self.desk.orders();
        orders.mark_changed();
        let mut clock = tokio::time::interval(ASK_EVERY);
        loop {
            let said = tokio::select! {
                message = incoming.message() => match message {
                    Ok(Some(message)) => {
                        self.hear(message);
                        continue;
                    }
                    Ok(None) | Err(_) => return,
                },
                _ = clock.tick() => to_agent::Said::Ping(Ping { asked_ns: now_ns() }),
                _ = orders.changed() => {
                    let orders = Arc::clone(&orders.borrow_and_update());
                    match serde_json::to_string(&*orders) {
                        Ok(orders) => to_agent::Said::OrdersJson(orders),
                        Err(_) => continue,
                    }
                }
                () = self.desk.closing() => return,
            };
            if self.to.send(Ok(ToAgent { said: Some(said) })).await.is_err() {
                return;
            }
        }
    }

    fn hear(&self, message: FromAgent) {
        let (agent, now) = (self.agent.as_str(), now_ns());
        if let Some(seat) = self.desk.state().fleet.seat_mut(agent) {
            seat.heard_ns = now;
        }
        match message.said {
            Some(Said::LookJson(look)) => match Look::decode(&look) {
                Ok(look) => {
                    if let Some(seat) = self.desk.state().fleet.seat_mut(agent) {
                        seat.look(look);
                    }
                }
                Err(error) => self.odd(&error),
            },
            Some(Said::Pong(pong)) => {
                let exchange = Exchange {
                    asked_ns: pong.asked_ns,
                    received_ns: pong.received_ns,
                    answered_ns: pong.answered_ns,
                    heard_ns: now,
                };
                if let Some(seat) = self.desk.state().fleet.seat_mut(agent) {
                    seat.exchange(exchange);
                }
            }
            Some(Said::PartJson(part)) => match serde_json::from_str::<Part>(&part) {
                Ok(part) => {
                    let session = part.session.clone();
                    let is_news = self.desk.state().sessions.take_part(agent, part);
                    if is_news {
                        self.desk.keep_session(&session);
                    }
                    self.desk.ring();
                }
                Err(error) => self.odd(&error),
            },
            Some(Said::NoteJson(note)) => match serde_json::from_str::<Note>(&note) {
                Ok(note) => self.take_note(note),
                Err(error) => self.odd(&error),
            },
            Some(Said::SourcesJson(problems)) => {
                if let (Ok(problems), Some(seat)) =
                    (serde_json::from_str(&problems), self.desk.state().fleet.seat_mut(agent))
                {
                    seat.problems = problems;
                }
            }
            Some(Said::Hello(_)) | None => {}
        }
    }

    fn take_note(&self, note: Note) {
        let refused = note.is_refusal.then(|| Draft {
            who: Who::Agent(self.agent.clone()),
            from: self.from.clone(),
            subject: note.session.clone(),
            ..draft(Action::Withhold, Answer::Refused { because: note.text.clone() })
        });
        if !self.desk.state().sessions.take_note(note) {
            return;
        }
        self.desk.ring();
        if let Some(entry) = refused
            && let Err(error) = self.desk.note(&entry)
        {
            self.say(Event::error(format!("an audit entry cannot be written: {error}")));
        }
    }

    fn odd(&self, error: &serde_json::Error) {
        let agent = &self.agent;
        self.say(Event::warn(format!("agent {agent} says what makes no sense: {error}")));
    }

    fn say(&self, event: Event) {
        self.desk.log.say(event.agent(self.agent.as_str()));
    }
}
