//! The people's service: finding, sessions, and the packets of one's own sessions.

mod meant;
mod start;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::document::{Note, Session, Status as Health, Wish};
use api::proto::people_server::People as Service;
use api::proto::{
    AdministerReply, AdministerRequest, AuditEntries, FetchRequest, FindReply, FindRequest,
    FollowRequest, ListSessionsReply, ListSessionsRequest, Piece, ReadAuditRequest,
    RefilterSessionRequest, ReleasePart, ReleaseReply, ReleaseRequest, RemoveSessionReply,
    RemoveSessionRequest, SendPart, SessionReply, StartSessionRequest, StatusReply, StatusRequest,
    StopSessionRequest, ToAgent, TrafficReply, TrafficRequest, WatchMachinesReply,
    WatchMachinesRequest, WatchReply, WatchRequest, WhoAmIReply, WhoAmIRequest, to_agent,
};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::admin::{AdminError, Command, Office, Over};
use crate::audit::{Action, Answer, Draft, Who};
use crate::grants::MachineFacts;

use super::desk::{Asker, Desk, broken, draft, facts, now, now_ns};
use super::gate;
use super::telling::{Telling, while_let_in};
use super::{audit, traffic, watch, whereabouts};

pub(super) use self::meant::shown;

pub(super) struct PeopleService(pub(super) Arc<Desk>);

#[tonic::async_trait]
impl Service for PeopleService {
    type ReadAuditStream = Telling<AuditEntries>;
    type WatchMachinesStream = Telling<WatchMachinesReply>;
    type FollowStream = Telling<SessionReply>;
    type FetchStream = Telling<Piece>;
    type WatchStream = Telling<WatchReply>;
    type TrafficStream = Telling<TrafficReply>;

    async fn who_am_i(
        &self,
        request: Request<WhoAmIRequest>,
    ) -> Result<Response<WhoAmIReply>, Status> {
        let user = gate::asker(&request)?.user;
        Ok(Response::new(WhoAmIReply { name: user.name.to_string(), role: user.role.to_string() }))
    }

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Telling<WatchReply>>, Status> {
        let asker = gate::asker(&request)?;
        let told = watch::watch(Arc::clone(&self.0), asker.clone())?;
        Ok(Response::new(while_let_in(&self.0, asker, "watch".into(), told)))
    }

    async fn traffic(
        &self,
        request: Request<TrafficRequest>,
    ) -> Result<Response<Telling<TrafficReply>>, Status> {
        let asker = gate::asker(&request)?;
        let question = request.into_inner().question_json;
        let told = traffic::ask(&self.0, &asker, &question).await?;
        Ok(Response::new(while_let_in(&self.0, asker, "traffic".into(), told)))
    }

    async fn find(&self, request: Request<FindRequest>) -> Result<Response<FindReply>, Status> {
        let asker = gate::asker(&request)?;
        let FindRequest { what, at_ns, host } = request.into_inner();
        let grants = self.0.grants()?;
        let is_shown = shown(&grants, &asker);
        let (mut found, suggestions) = {
            let state = self.0.state();
            match at_ns {
                0 => state.fleet.find(&what, is_shown),
                at => state.fleet.find_at(&what, wire::Timestamp::from_nanos(at), is_shown),
            }
        };
        self.note_hidden(&asker, &grants, &what, at_ns, &found)?;
        found.retain(|found| host.is_empty() || found.host == host);
        let host_json = found.iter().map(serde_json::to_string).collect::<Result<_, _>>();
        let host_json = host_json.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(FindReply { host_json, suggestions }))
    }

    async fn watch_machines(
        &self,
        request: Request<WatchMachinesRequest>,
    ) -> Result<Response<Telling<WatchMachinesReply>>, Status> {
        let asker = gate::asker(&request)?;
        let what = request.into_inner().what;
        let subject = format!("watch {what}").trim_end().to_owned();
        if !what.is_empty() {
            let grants = self.0.grants()?;
            let (found, _) = self.0.state().fleet.find(&what, shown(&grants, &asker));
            self.note_hidden(&asker, &grants, &what, 0, &found)?;
        }
        let told = whereabouts::watch(&self.0, asker.clone(), what)?;
        Ok(Response::new(while_let_in(&self.0, asker, subject, told)))
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusReply>, Status> {
        gate::asker(&request)?;
        let now_ns = now_ns();
        let state = self.0.state();
        let mut agents = state.fleet.status(now_ns);
        let running = || state.sessions.iter().filter(|session| session.ended.is_none());
        for part in running().flat_map(|session| &session.parts).filter(|p| p.ended.is_none()) {
            if let Some(agent) = agents.iter_mut().find(|agent| agent.id == part.agent) {
                agent.parts += 1;
                let lost = part.kernel_dropped.saturating_add(part.failed);
                agent.lost = agent.lost.saturating_add(lost);
            }
        }
        let status = Health {
            version: self.0.version.clone(),
            began_ns: self.0.began_ns,
            agents,
            sessions: running().count(),
            machines: state.fleet.machines().count(),
            resident_bytes: resident_bytes(),
        };
        let status_json =
            serde_json::to_string(&status).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(StatusReply { status_json }))
    }

    async fn start_session(
        &self,
        request: Request<StartSessionRequest>,
    ) -> Result<Response<SessionReply>, Status> {
        let asker = gate::asker(&request)?;
        let wish: Wish = serde_json::from_str(&request.into_inner().wish_json)
            .map_err(|error| Status::invalid_argument(format!("the wish: {error}")))?;
        self.start(&asker, wish).and_then(|session| self.reply(session)).map(Response::new)
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsReply>, Status> {
        let asker = gate::asker(&request)?;
        let sessions: Vec<Session> = {
            let state = self.0.state();
            let all = state.sessions.iter().filter(|session| may_see(&asker, session));
            all.cloned().collect()
        };
        let session_json = sessions
            .into_iter()
            .map(|session| self.reply(session).map(|reply| reply.session_json))
            .collect::<Result<_, _>>()?;
        Ok(Response::new(ListSessionsReply { session_json }))
    }

    async fn stop_session(
        &self,
        request: Request<StopSessionRequest>,
    ) -> Result<Response<SessionReply>, Status> {
        let asker = gate::asker(&request)?;
        let session = self.seen(&asker, &request.into_inner().session)?;
        let name = &asker.user.name;
        if self.0.end_session(&session.id, &format!("{name} stopped it")) {
            self.audit(&asker, Action::Session, &session.id, "stopped")?;
        }
        let session = self.seen(&asker, &session.id)?;
        self.reply(session).map(Response::new)
    }

    async fn refilter_session(
        &self,
        request: Request<RefilterSessionRequest>,
    ) -> Result<Response<SessionReply>, Status> {
        let asker = gate::asker(&request)?;
        let RefilterSessionRequest { session, expression } = request.into_inner();
        let session = self.seen(&asker, &session)?;
        if session.owner != asker.user.name.as_str() {
            let because = format!("session {} is {}'s", session.id, session.owner);
            self.audit_refusal(&asker, Action::Session, &session.id, &because)?;
            return Err(Status::permission_denied(because));
        }
        let grants = self.0.grants()?;
        // What it captures now is what a name at its point can mean.
        let machines: BTreeSet<MachineFacts> = {
            let state = self.0.state();
            let ids = session.parts.iter().filter_map(|part| part.machine_id.parse().ok());
            let known = ids.flat_map(|id| state.fleet.hosts_of(&id));
            known.map(|(_, machine)| facts(machine)).collect()
        };
        let machines: Vec<MachineFacts> = machines.into_iter().collect();
        let explained =
            self.explained(&asker, &grants, &expression, &machines).or_else(|status| {
                // A name in it may be there without their being allowed to know.
                let subject = format!("{} '{}'", session.id, expression.trim());
                self.audit_refusal(&asker, Action::Session, &subject, status.message())?;
                Err(status)
            })?;
        let what = match expression.trim() {
            "" => "the filter was removed".to_owned(),
            text => format!("the filter is now: {text}"),
        };
        self.audit(&asker, Action::Session, &session.id, &what)?;
        {
            let mut state = self.0.state();
            if !state.sessions.refilter(&session.id, expression.trim(), explained) {
                return Err(Status::failed_precondition("the session has ended"));
            }
            state.sessions.take_note(Note {
                session: session.id.clone(),
                host: String::new(),
                at_ns: now_ns(),
                text: what,
                is_refusal: false,
                is_in_part: false,
            });
        }
        self.0.keep_session(&session.id);
        self.0.publish();
        let session = self.seen(&asker, &session.id)?;
        self.reply(session).map(Response::new)
    }

    async fn remove_session(
        &self,
        request: Request<RemoveSessionRequest>,
    ) -> Result<Response<RemoveSessionReply>, Status> {
        let asker = gate::asker(&request)?;
        let session = self.seen(&asker, &request.into_inner().session)?;
        self.0.end_session(&session.id, "it was removed");
        self.0.forget_session(&session.id);
        self.audit(&asker, Action::Session, &session.id, "removed")?;
        Ok(Response::new(RemoveSessionReply {}))
    }

    async fn follow(
        &self,
        request: Request<FollowRequest>,
    ) -> Result<Response<Telling<SessionReply>>, Status> {
        let asker = gate::asker(&request)?;
        let session = self.seen(&asker, &request.into_inner().session)?;
        if !self.0.state().sessions.follow(&session.id) {
            let full = format!("too many follow session {} already", session.id);
            return Err(Status::resource_exhausted(full));
        }
        // What a slow reader has not read yet is old: one that waits is enough.
        let (to, replies) = mpsc::channel(1);
        let service = Self(Arc::clone(&self.0));
        let subject = format!("follow {}", session.id);
        tokio::spawn(async move { service.tell(&session.id, &to).await });
        let told = ReceiverStream::new(replies);
        Ok(Response::new(while_let_in(&self.0, asker, subject, told)))
    }

    async fn fetch(
        &self,
        request: Request<FetchRequest>,
    ) -> Result<Response<Telling<Piece>>, Status> {
        let asker = gate::asker(&request)?;
        let FetchRequest { session, agent, part, offset } = request.into_inner();
        let line = self.line_of_part(&asker, &session, &agent, part)?;
        let (transfer, pieces) = self.0.relay.await_from(&agent)?;
        let subject = format!("fetch {session}");
        let send = SendPart { transfer: transfer.clone(), session, part, offset };
        let send = ToAgent { said: Some(to_agent::Said::Send(send)) };
        let sent = tokio::time::timeout(BEGIN_WITHIN, line.send(Ok(send))).await;
        if !matches!(sent, Ok(Ok(()))) {
            self.0.relay.give_up(&transfer);
            return Err(Status::unavailable(format!("agent {agent} is away")));
        }
        // An agent that does not come after all must not keep anybody waiting.
        let desk = Arc::clone(&self.0);
        tokio::spawn(async move {
            tokio::time::sleep(BEGIN_WITHIN).await;
            desk.relay.give_up(&transfer);
        });
        let told = ReceiverStream::new(pieces);
        Ok(Response::new(while_let_in(&self.0, asker, subject, told)))
    }

    async fn release(
        &self,
        request: Request<ReleaseRequest>,
    ) -> Result<Response<ReleaseReply>, Status> {
        let asker = gate::asker(&request)?;
        let ReleaseRequest { session, agent, part, offset } = request.into_inner();
        let line = self.line_of_part(&asker, &session, &agent, part)?;
        let release = ReleasePart { session, part, offset };
        let release = ToAgent { said: Some(to_agent::Said::Release(release)) };
        let sent = tokio::time::timeout(BEGIN_WITHIN, line.send(Ok(release))).await;
        if !matches!(sent, Ok(Ok(()))) {
            return Err(Status::unavailable(format!("agent {agent} is away")));
        }
        Ok(Response::new(ReleaseReply {}))
    }

    async fn administer(
        &self,
        request: Request<AdministerRequest>,
    ) -> Result<Response<AdministerReply>, Status> {
        let asker = gate::asker(&request)?;
        let command: Command = serde_json::from_str(&request.into_inner().command_json)
            .map_err(|error| Status::invalid_argument(format!("the command: {error}")))?;
        let done = self.0.blocking(|store| {
            let office = Office {
                store,
                authority: &self.0.authority,
                by: &asker.user,
                from: &asker.from,
                now: Timestamp::now(),
            };
            office.act(&command)
        });
        let done = done.map_err(|error| match error {
            AdminError::NotAdmin(_) => Status::permission_denied(error.to_string()),
            AdminError::Store(_) | AdminError::NoEntropy(_) => Status::internal(error.to_string()),
            _ => Status::invalid_argument(error.to_string()),
        })?;
        // Sessions and streams that stand on what is no more end with it.
        self.0.see_changes();
        match &done.over {
            Some(Over::Agent(agent)) => self.0.turn_away(agent).await,
            Some(Over::Recorder(agent)) => {
                self.0.tell_recorder_key(agent).await.map_err(|error| broken(&error))?;
            }
            None => {}
        }
        let reply_json = serde_json::to_string(&done.reply)
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(AdministerReply { reply_json }))
    }

    async fn read_audit(
        &self,
        request: Request<ReadAuditRequest>,
    ) -> Result<Response<Telling<AuditEntries>>, Status> {
        let asker = gate::asker(&request)?;
        let told = audit::read(Arc::clone(&self.0), &asker, &request.into_inner())?;
        Ok(Response::new(while_let_in(&self.0, asker, "read".into(), told)))
    }
}

impl PeopleService {
    /// A session that the asker may see. Of others nobody learns that they exist; the audit log
    /// knows who tried.
    fn seen(&self, asker: &Asker, id: &str) -> Result<Session, Status> {
        let found = self.0.state().sessions.session(id).cloned();
        match found {
            Some(session) if may_see(asker, &session) => return Ok(session),
            Some(session) => {
                let because = format!("the session is {}'s", session.owner);
                self.audit_refusal(asker, Action::Session, id, &because)?;
            }
            None => {}
        }
        Err(Status::not_found(format!("there is no session {id}; see overtap sessions list")))
    }

    /// The line to the agent that has a part, for the part's owner.
    fn line_of_part(
        &self,
        asker: &Asker,
        session: &str,
        agent: &str,
        part: u32,
    ) -> Result<mpsc::Sender<Result<ToAgent, Status>>, Status> {
        let found = self.seen(asker, session)?;
        // An administrator may end a session; the packets are its owner's alone.
        if found.owner != asker.user.name.as_str() {
            let because = format!("the packets of session {session} are {}'s", found.owner);
            self.audit_refusal(asker, Action::Session, session, &because)?;
            return Err(Status::permission_denied(because));
        }
        if !found.parts.iter().any(|p| p.agent == agent && p.number == part) {
            return Err(Status::not_found("the session has no such part"));
        }
        let state = self.0.state();
        let line = state.fleet.seat(agent).and_then(|seat| seat.line);
        let line = line.and_then(|line| state.lines.get(&line).cloned());
        line.ok_or_else(|| Status::unavailable(format!("agent {agent} is away")))
    }

    /// A session as it is told: with the clocks and presence of its agents.
    fn reply(&self, mut session: Session) -> Result<SessionReply, Status> {
        {
            let (state, now_ns) = (self.0.state(), now_ns());
            session.awaited = state.sessions.awaited(&session.id, &state.fleet);
            for part in &mut session.parts {
                let seat = state.fleet.seat(&part.agent);
                // Of a part that has ended the clock is as it was then: clocks drift, and are set.
                let now = || seat.and_then(|seat| seat.clock(now_ns));
                part.clock = match (&part.ended, part.clock) {
                    (Some(_), Some(then)) => Some(then),
                    (_, then) => now().or(then),
                };
                part.is_reachable = seat.is_some_and(|seat| seat.line.is_some());
            }
        }
        // Agents need it, nobody else.
        session.permit = serde_json::Value::Null;
        let session_json =
            serde_json::to_string(&session).map_err(|error| Status::internal(error.to_string()))?;
        Ok(SessionReply { session_json })
    }

    /// Tells a session again whenever it has changed, until nobody listens.
    async fn tell(&self, id: &str, to: &mpsc::Sender<Result<SessionReply, Status>>) {
        let mut bell = self.0.bell();
        let mut told = String::new();
        let mut revision = None;
        loop {
            let found = {
                let state = self.0.state();
                let known = state.sessions.session(id);
                known.map(|known| (Some(known.revision) != revision).then(|| known.clone()))
            };
            match found {
                None => {
                    let _ = to.send(Err(Status::not_found("the session was removed"))).await;
                    break;
                }
                // Another session has changed.
                Some(None) => {}
                Some(Some(session)) => {
                    revision = Some(session.revision);
                    let reply = self.reply(session);
                    let is_news = reply.as_ref().map_or(true, |reply| reply.session_json != told);
                    if let (true, Ok(reply)) = (is_news, &reply) {
                        told.clone_from(&reply.session_json);
                    }
                    if is_news && to.send(reply).await.is_err() {
                        break;
                    }
                }
            }
            tokio::select! {
                // The more there is to tell, the less often it is told.
                _ = bell.changed() => tokio::time::sleep(tell_every(told.len())).await,
                // Clocks become better known, and agents come and go, without a word.
                () = tokio::time::sleep(Duration::from_secs(2)) => revision = None,
                () = to.closed() => break,
            }
        }
        self.0.state().sessions.unfollow(id, now());
    }

    fn audit(
        &self,
        asker: &Asker,
        action: Action,
        subject: &str,
        what: &str,
    ) -> Result<(), Status> {
        let entry = Draft {
            who: Who::User(asker.user.name.clone()),
            from: asker.from.clone(),
            subject: format!("{subject} {what}"),
            ..draft(action, Answer::Granted)
        };
        self.0.note(&entry).map_err(|error| broken(&error))
    }

    fn audit_refusal(
        &self,
        asker: &Asker,
        action: Action,
        subject: &str,
        because: &str,
    ) -> Result<(), Status> {
        let entry = Draft {
            who: Who::User(asker.user.name.clone()),
            from: asker.from.clone(),
            subject: subject.to_owned(),
            ..draft(action, Answer::Refused { because: because.to_owned() })
        };
        self.0.note(&entry).map_err(|error| broken(&error))
    }
}

pub(super) fn may_see(asker: &Asker, session: &Session) -> bool {
    session.owner == asker.user.name.as_str() || asker.user.role.administers()
}

/// Memory in use, by the kernel's count; 0 where it does not say.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kb.unwrap_or(0) * 1024
}

/// How long an agent may take to begin a transfer.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);

/// How often a session of so many bytes is told again at most: every 50 ms, and 20 MB/s.
const fn tell_every(bytes: usize) -> Duration {
    Duration::from_millis(50 + bytes as u64 / 20_000)
}
