//! The agents' service: hears what hosts look like and how parts go, says what is to be done.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::document::{Note, Part};
use api::proto::agents_server::Agents as Service;
use api::proto::from_agent::Said;
use api::proto::{
    Certificate, FromAgent, Piece, Ping, Renew, RenewRequest, ToAgent, UploadEnd, to_agent,
};
use inventory::Look;
use jiff::Timestamp;
use telemetry::Event;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::audit::{Action, Answer, Draft, Who};
use crate::ca::{self, Fingerprint};
use crate::clock::{ASK_EVERY, Exchange};
use crate::enrolled::Enrolled;
use crate::fleet::Untaken;
use crate::names::AgentId;
use crate::store::{Change, Expected};

use super::desk::{Desk, broken, draft, now, now_ns, peer_of};
use super::gate;

pub(super) struct AgentsService(pub(super) Arc<Desk>);

#[tonic::async_trait]
impl Service for AgentsService {
    type AttendStream = Pin<Box<dyn Stream<Item = Result<ToAgent, Status>> + Send>>;

    async fn attend(
        &self,
        request: Request<Streaming<FromAgent>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        let desk = Arc::clone(&self.0);
        let agent = gate::agent(&request)?;
        let issuer = gate::issuer(&request)?;
        let known = desk.blocking(|store| store.one::<Enrolled>(agent.as_str()));
        let Some(known) = known.map_err(|error| broken(&error))? else {
            return Err(Status::permission_denied(format!(
                "agent {agent} was removed; enrol it again: overtap agent enrol --token TOKEN --force"
            )));
        };
        if known.value.attends_by != Some(issuer) {
            let enrolled = Enrolled { attends_by: Some(issuer), ..known.value };
            let change = Change::put(&enrolled, Expected::Version(known.version));
            change
                .and_then(|change| desk.blocking(|store| store.commit(&[change], &[])))
                .map_err(|error| broken(&error))?;
        }
        let from = peer_of(request.remote_addr());
        // Orders replace each other while they wait, so few are enough.
        let (to, outgoing) = mpsc::channel(4);
        let line = Line { desk, agent, issuer, from, to, number: 0, odd: 0 };
        tokio::spawn(line.attend(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }

    async fn upload(
        &self,
        request: Request<Streaming<Piece>>,
    ) -> Result<Response<UploadEnd>, Status> {
        let agent = gate::agent(&request)?;
        let mut pieces = request.into_inner();
        let hello = tokio::time::timeout(ASK_EVERY * 5, pieces.message()).await;
        let hello = hello.map_err(|_| Status::deadline_exceeded("nothing came"))??;
        let hello = hello.ok_or_else(|| Status::cancelled("nothing came"))?;
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
        let agent = gate::agent(&request)?;
        let from = peer_of(request.remote_addr());
        let known = desk.blocking(|store| store.one::<Enrolled>(agent.as_str()));
        let known = known.map_err(|error| broken(&error))?;
        let known = known.ok_or_else(|| Status::permission_denied("the agent was removed"))?;
        let standing = desk.authority.now();
        let issued =
            standing.ca.issue_agent(&agent, &request.into_inner().request, Timestamp::now());
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
            certificate_pem: standing.ca.chain_pem(&certificate),
            ca_pem: standing.ca.certificate().pem(),
            agent_id: agent.to_string(),
        }))
    }
}

/// The line of one agent, while it lasts.
struct Line {
    desk: Arc<Desk>,
    agent: AgentId,
    /// Who signed the certificate it showed.
    issuer: Fingerprint,
    from: String,
    to: mpsc::Sender<Result<ToAgent, Status>>,
    number: u64,
    /// Messages that made no sense.
    odd: u64,
}

impl Line {
    async fn attend(mut self, mut incoming: Streaming<FromAgent>) {
        let hello = tokio::time::timeout(ASK_EVERY * 5, incoming.message()).await;
        let Ok(Ok(Some(FromAgent { said: Some(Said::Hello(hello)) }))) = hello else { return };
        let before;
        (self.number, before) = {
            let mut state = self.desk.state();
            let number = state.next_line;
            state.next_line += 1;
            let agent = self.agent.as_str();
            let (host, version) = (&hello.host, &hello.version);
            let before = state.fleet.arrived(agent, host, version, number, now_ns());
            let before = before.and_then(|line| state.lines.remove(&line));
            state.lines.insert(number, self.to.clone());
            (number, before)
        };
        if let Some(before) = before {
            // Two that speak with one name would each undo what the other said. A line that was
            // cut and did not notice needs not be told.
            let _ = before.try_send(Err(Status::aborted("the agent speaks by another line now")));
        }
        self.say(Event::info(format!("agent {} is there, from {}", self.agent, self.from)));
        if hello.wants_key {
            // Before the orders, which may ask for what it opens.
            self.tell_key().await;
        }
        self.talk(&mut incoming).await;
        let was_own = {
            let mut state = self.desk.state();
            state.lines.remove(&self.number);
            state.fleet.left(self.agent.as_str(), self.number)
        };
        if self.odd > 1 {
            self.say(Event::warn(format!("agent {} said {} such things", self.agent, self.odd)));
        }
        if was_own {
            self.say(Event::warn(format!("agent {} is away", self.agent)));
            self.desk.ring();
        }
    }

    async fn tell_key(&self) {
        let key = match self.desk.recorder_key(&self.agent, &self.from) {
            Ok(key) => key,
            Err(error) => {
                let text = format!("agent {} gets no key for its recorder: {error}", self.agent);
                self.say(Event::error(text));
                return;
            }
        };
        let said = Some(to_agent::Said::RecorderKey(key.half().to_vec().into()));
        // One that is gone shows at the next word.
        let _ = self.to.send(Ok(ToAgent { said })).await;
    }

    async fn talk(&mut self, incoming: &mut Streaming<FromAgent>) {
        let mut orders = self.desk.orders();
        orders.mark_changed();
        let mut authority = self.desk.authority.watch();
        authority.mark_changed();
        let mut clock = tokio::time::interval(ASK_EVERY);
        loop {
            let said = tokio::select! {
                message = incoming.message() => match message {
                    Ok(Some(message)) => match self.hear(message) {
                        Ok(()) => continue,
                        Err(why) => {
                            self.say(Event::warn(format!("agent {} is not heard: {why}", self.agent)));
                            let end = Err(Status::resource_exhausted(why.to_string()));
                            let _ = self.to.try_send(end);
                            return;
                        }
                    },
                    Ok(None) | Err(_) => return,
                },
                _ = clock.tick() => to_agent::Said::Ping(Ping { asked_ns: now_ns() }),
                _ = orders.changed() => {
                    let orders = Arc::clone(&orders.borrow_and_update().json);
                    to_agent::Said::OrdersJson(orders.as_ref().to_owned())
                }
                _ = authority.changed() => {
                    let standing = Arc::clone(&authority.borrow_and_update());
                    let is_believed = |ca: &ca::Certificate| ca.fingerprint() == self.issuer;
                    if standing.ca.fingerprint() == self.issuer {
                        continue;
                    }
                    if !standing.believed().any(is_believed) {
                        let end = "the authority that signed the agent's certificate was retired";
                        let _ = self.to.try_send(Err(Status::unauthenticated(end)));
                        return;
                    }
                    to_agent::Said::Renew(Renew {})
                }
                () = self.desk.closing() => return,
            };
            // One that never reads is not there, whatever else it does.
            let send = self.to.send(Ok(ToAgent { said: Some(said) }));
            if !matches!(tokio::time::timeout(READ_WITHIN, send).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    /// Takes what the agent says, unless it is a line that is not its own any more or too much.
    fn hear(&mut self, message: FromAgent) -> Result<(), Untaken> {
        let (agent, now) = (self.agent.as_str(), now());
        match self.desk.state().fleet.seat_mut(agent) {
            Some(seat) if seat.line == Some(self.number) => seat.heard_ns = now.wall_ns,
            _ => return Err(Untaken::Stranger),
        }
        match message.said {
            Some(Said::LookJson(look)) => match Look::decode(&look) {
                Ok(look) => return self.desk.state().fleet.look(agent, self.number, look),
                Err(error) => self.odd(&error),
            },
            Some(Said::Pong(pong)) => {
                let exchange = Exchange {
                    asked_ns: pong.asked_ns,
                    received_ns: pong.received_ns,
                    answered_ns: pong.answered_ns,
                    heard_ns: now.wall_ns,
                };
                if let Some(seat) = self.desk.state().fleet.seat_mut(agent) {
                    seat.exchange(exchange);
                }
            }
            Some(Said::PartJson(part)) => match serde_json::from_str::<Part>(&part) {
                Ok(mut part) => {
                    let mut state = self.desk.state();
                    let seat = state.fleet.seat(agent);
                    part.clock = seat.and_then(|seat| seat.clock(now.wall_ns));
                    let is_news = state.sessions.take_part(agent, part, now);
                    drop(state);
                    if is_news {
                        self.desk.ring();
                    }
                }
                Err(error) => self.odd(&error),
            },
            Some(Said::NoteJson(note)) => match serde_json::from_str::<Note>(&note) {
                Ok(note) => self.take_note(note),
                Err(error) => self.odd(&error),
            },
            Some(Said::SourcesJson(problems)) => {
                match serde_json::from_str::<Vec<String>>(&problems) {
                    Ok(problems) => {
                        if let Some(seat) = self.desk.state().fleet.seat_mut(agent) {
                            seat.complain(&problems);
                        }
                    }
                    Err(error) => self.odd(&error),
                }
            }
            Some(Said::Looked(session)) => {
                let is_new = {
                    let mut state = self.desk.state();
                    state.sessions.take_looked(agent, &session)
                };
                if is_new {
                    self.desk.ring();
                }
            }
            Some(Said::Hello(_)) | None => {}
        }
        Ok(())
    }

    fn take_note(&self, note: Note) {
        let refused = note.is_refusal.then(|| Draft {
            who: Who::Agent(self.agent.clone()),
            from: self.from.clone(),
            subject: note.session.clone(),
            ..draft(Action::Withhold, Answer::Refused { because: note.text.clone() })
        });
        if !self.desk.state().sessions.take_note_of(self.agent.as_str(), note) {
            return;
        }
        self.desk.ring();
        if let Some(entry) = refused
            && let Err(error) = self.desk.note(&entry)
        {
            self.say(Event::error(format!("an audit entry cannot be written: {error}")));
        }
    }

    /// Counts what makes no sense; the log has the first of it.
    fn odd(&mut self, error: &serde_json::Error) {
        self.odd += 1;
        if self.odd == 1 {
            let agent = &self.agent;
            self.say(Event::warn(format!("agent {agent} says what makes no sense: {error}")));
        }
    }

    fn say(&self, event: Event) {
        self.desk.log.say(event.agent(self.agent.as_str()));
    }
}

/// How long an agent may leave unread what it is told.
const READ_WITHIN: Duration = Duration::from_secs(30);
