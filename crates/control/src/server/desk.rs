//! What all services share: the store, the fleet, the sessions, and who is who.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use api::document::Session;
use api::proto::{ToAgent, to_agent};
use jiff::Timestamp;
use telemetry::{Event, Log};
use tokio::sync::{Semaphore, watch};
use tonic::{Request, Status};

use crate::admin;
use crate::audit::{Action, Answer, Draft, Strangers, Who};
use crate::ca::{Authority, Before, Fingerprint, Peer, Revocation};
use crate::clock::Moment;
use crate::fleet::Fleet;
use crate::grants::{Grant, Grants, MachineFacts, Permit, User};
use crate::names::{AgentId, UserName};
use crate::recorder_key::RecorderKey;
use crate::sessions::Sessions;
use crate::store::{Change, Expected, Kind, Store, StoreError, Stored, Version};
use crate::tokens::{TokenId, UserCredential, UserToken};

use super::relay::Relay;
use super::threshold::Threshold;
use super::traffic::{Asking, Traffic};
use super::whereabouts::MOST_WATCHERS;

/// The desk.
pub(super) struct Desk {
    pub(super) authority: Arc<Authority>,
    pub(super) store: Box<dyn Store>,
    pub(super) version: String,
    pub(super) log: Log,
    pub(super) relay: Relay,
    pub(super) began_ns: u64,
    state: Mutex<State>,
    /// Rings when a session has changed.
    bell: watch::Sender<u64>,
    /// What every agent has to do.
    orders: watch::Sender<Written>,
    /// Held while a session is read and written into the store: no later state is ever replaced
    /// by an earlier one.
    keeping: Mutex<()>,
    /// Set when the controller ends.
    is_closing: watch::Sender<bool>,
    /// The version of the store that was seen last.
    changes: watch::Sender<Option<Version>>,
    /// Grants as of a version of the store.
    grants: Mutex<Option<(Version, Arc<Grants>)>>,
    strangers: Mutex<Strangers>,
    pub(super) threshold: Threshold,
    /// Places for those who watch where machines are.
    pub(super) watchers: Arc<Semaphore>,
    /// Who asks about traffic, and of what.
    pub(super) asking: Asking,
}

/// What changes all the time.
#[derive(Default)]
pub(super) struct State {
    pub(super) fleet: Fleet,
    pub(super) sessions: Sessions,
    /// The line to each agent that is there, by its number.
    pub(super) lines: BTreeMap<u64, tokio::sync::mpsc::Sender<Result<api::proto::ToAgent, Status>>>,
    pub(super) next_line: u64,
}

/// The orders as they are sent, written once for all agents.
#[derive(Debug, Clone, Default)]
pub(super) struct Written {
    revision: u64,
    /// `api::document::Orders` as JSON.
    pub(super) json: Arc<str>,
}

impl Written {
    fn of(sessions: &Sessions) -> Self {
        let orders = sessions.orders();
        // Nothing in them can fail to be written: keys are strings, numbers are finite.
        let json = serde_json::to_string(&orders).unwrap_or_default();
        Self { revision: orders.revision, json: json.into() }
    }
}

/// Who asks, and from where.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    pub(super) user: User,
    pub(super) from: String,
    /// The token they showed, and when it ends.
    pub(super) token: TokenId,
    pub(super) expires_at: Option<Timestamp>,
}

impl Stored for Session {
    const KIND: Kind = Kind::Session;

    fn key(&self) -> String {
        self.id.clone()
    }
}

impl Desk {
    /// With everything the store remembers.
    pub(super) fn open(
        authority: Arc<Authority>,
        store: Box<dyn Store>,
        version: String,
        log: Log,
        traffic: Traffic,
    ) -> Result<Self, StoreError> {
        let now_ns = now_ns();
        let mut state = State::default();
        for session in store.all::<Session>()? {
            state.sessions.add(session.value, now());
        }
        let orders = watch::Sender::new(Written::of(&state.sessions));
        let desk = Self {
            authority,
            store,
            version,
            log,
            relay: Relay::default(),
            began_ns: now_ns,
            state: Mutex::new(state),
            bell: watch::Sender::new(0),
            orders,
            keeping: Mutex::new(()),
            is_closing: watch::Sender::new(false),
            changes: watch::Sender::new(None),
            grants: Mutex::new(None),
            strangers: Mutex::new(Strangers::new(Timestamp::now())),
            threshold: Threshold::new(),
            watchers: Arc::new(Semaphore::new(MOST_WATCHERS)),
            asking: Asking::new(traffic),
        };
        desk.note(&Draft {
            who: Who::Controller,
            from: "local".into(),
            ..draft(Action::Serve, Answer::Granted)
        })?;
        Ok(desk)
    }

    /// Does what time brings: sessions that are over, machines that are nowhere.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut often = tokio::time::interval(LOOK_EVERY);
        let mut seldom = tokio::time::interval(RETIRE_EVERY);
        loop {
            tokio::select! {
                _ = often.tick() => self.look(),
                _ = seldom.tick() => self.retire_authority(),
            }
        }
    }

    fn look(&self) {
        self.see_changes();
        let now = now();
        let (overdue, forgotten, notes, past_over, are_orders_new) = {
            let mut state = self.state();
            let State { fleet, sessions, .. } = &mut *state;
            let before = sessions.revision();
            let notes = sessions.look_around(fleet, now);
            let is_new = sessions.revision() != before;
            let (overdue, forgotten) = (sessions.overdue(now), sessions.forgotten(now.wall_ns));
            (overdue, forgotten, notes, sessions.past_over(fleet, now), is_new)
        };
        if are_orders_new {
            self.publish();
        }
        for session in past_over {
            self.end_session(&session, "all that was recorded is there");
        }
        for (session, why) in overdue {
            self.end_session(&session, &why);
        }
        for session in forgotten {
            self.forget_session(&session);
        }
        let mut is_new = false;
        for note in notes {
            self.log.say(Event::warn(note.text.clone()).session(&note.session));
            is_new |= self.state().sessions.take_note(note);
        }
        if is_new {
            self.ring();
        }
        self.keep_changed();
    }

    /// Acts on what has become different in the store, whoever made it so: this controller, or
    /// another one.
    pub(super) fn see_changes(&self) {
        // One that cannot be read says so wherever it is needed.
        let Ok(version) = self.blocking(|store| store.version()) else { return };
        let is_new = self.changes.send_if_modified(|seen| {
            let before = seen.replace(version);
            before != Some(version)
        });
        if is_new {
            self.end_unfounded();
        }
    }

    /// Ends sessions whose owners may not see their packets any more: a grant they stand on is
    /// gone, or the account.
    fn end_unfounded(&self) {
        let running: Vec<(String, Permit)> = {
            let state = self.state();
            let running = state.sessions.iter().filter(|session| session.ended.is_none());
            let permit = |session: &Session| serde_json::from_value(session.permit.clone()).ok();
            running.filter_map(|session| Some((session.id.clone(), permit(session)?))).collect()
        };
        if running.is_empty() {
            return;
        }
        let Ok(grants) = self.grants() else { return };
        for (id, permit) in running {
            let name = permit.user().as_str();
            let Ok(user) = self.blocking(|store| store.one::<User>(name)) else { return };
            let may = |user: User| user.is_enabled && user.role.may(permit.purpose());
            let is_founded = user.is_some_and(|user| may(user.value))
                && permit.grants().all(|grant| grants.has(grant));
            if !is_founded {
                self.end_session(&id, "its owner may not see these packets any more");
            }
        }
    }

    /// Retires the authority before once its time is over and all agents have renewed.
    fn retire_authority(&self) {
        let standing = self.authority.now();
        let is_due = |before: &Before| before.until <= Timestamp::now();
        if !standing.before.as_ref().is_some_and(is_due) {
            return;
        }
        let retired = self.blocking(|store| {
            let last = standing.ca.fingerprint();
            if !admin::behind(store, last, Timestamp::now())?.is_empty() {
                return Ok(false);
            }
            let entry = Draft {
                subject: "retire the authority before: its time is over, and all agents have \
                          renewed"
                    .to_owned(),
                ..draft(Action::Setting, Answer::Granted)
            };
            store.commit(&[], &[entry])?;
            Ok(true)
        });
        let text = match retired {
            Ok(false) => return,
            Ok(true) => match self.authority.retire(Timestamp::now()) {
                Ok(()) => {
                    self.log.say(Event::info("the authority before is believed no more"));
                    return;
                }
                Err(error) => error.to_string(),
            },
            Err::<_, StoreError>(error) => error.to_string(),
        };
        self.log.say(Event::error(format!("the authority before cannot be retired: {text}")));
    }

    /// Writes what agents said of sessions into the store: all of the last half second at once,
    /// however many they are. What a crash loses of it they say again when they come back.
    pub(super) fn keep_changed(&self) {
        let unkept = self.state().sessions.take_unkept();
        for session in unkept {
            self.keep_session(&session);
        }
    }

    /// What changes. To be held shortly, and never while waiting.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings when a session has changed.
    pub(super) fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    /// Says that a session has changed.
    pub(super) fn ring(&self) {
        self.bell.send_modify(|rings| *rings += 1);
    }

    /// What every agent has to do.
    pub(super) fn orders(&self) -> watch::Receiver<Written> {
        self.orders.subscribe()
    }

    /// Ends the line of an agent that was removed. It is refused when it comes back.
    pub(super) async fn turn_away(&self, agent: &AgentId) {
        let line = {
            let state = self.state();
            let line = state.fleet.seat(agent.as_str()).and_then(|seat| seat.line);
            line.and_then(|line| state.lines.get(&line).cloned())
        };
        if let Some(line) = line {
            let removed = Status::permission_denied(format!("agent {agent} was removed"));
            // Who is gone already needs not be told.
            let _ = line.send(Err(removed)).await;
        }
    }

    /// Tells an agent our half of the key of its recorder, if it is there.
    pub(super) async fn tell_recorder_key(&self, agent: &AgentId) -> Result<(), StoreError> {
        let key = self.recorder_key(agent, "local")?;
        let line = {
            let state = self.state();
            let line = state.fleet.seat(agent.as_str()).and_then(|seat| seat.line);
            line.and_then(|line| state.lines.get(&line).cloned())
        };
        if let Some(line) = line {
            let said = to_agent::Said::RecorderKey(key.half().to_vec().into());
            // Who is gone already is told at its return.
            let _ = line.send(Ok(ToAgent { said: Some(said) })).await;
        }
        Ok(())
    }

    /// Our half of the key of an agent's recorder; it is made when it is asked for first.
    pub(super) fn recorder_key(
        &self,
        agent: &AgentId,
        from: &str,
    ) -> Result<RecorderKey, StoreError> {
        if let Some(key) = self.blocking(|store| store.one::<RecorderKey>(agent.as_str()))? {
            return Ok(key.value);
        }
        let made = RecorderKey::make(agent.clone(), Timestamp::now());
        let key = made.map_err(|_| StoreError::NoRandomness)?;
        let entry = Draft {
            who: Who::Agent(agent.clone()),
            from: from.to_owned(),
            subject: format!("make the recorder key of agent {agent}"),
            ..draft(Action::Agent, Answer::Granted)
        };
        let change = Change::put(&key, Expected::Absent)?;
        self.blocking(|store| store.commit(&[change], &[entry]))?;
        Ok(key)
    }

    /// Ends every line, so that the server can end.
    pub(super) fn close(&self) {
        self.is_closing.send_replace(true);
    }

    /// Comes when the controller ends.
    pub(super) async fn closing(&self) {
        let mut closing = self.is_closing.subscribe();
        // The sender lives as long as we do.
        let _ = closing.wait_for(|is_closing| *is_closing).await;
    }

    /// Tells that the store is not as it was, within half a second.
    pub(super) fn changes(&self) -> watch::Receiver<Option<Version>> {
        self.changes.subscribe()
    }

    /// Sends the orders as they are now to all agents.
    pub(super) fn publish(&self) {
        let orders = Written::of(&self.state().sessions);
        // Of two that publish at the same time the later orders stay, whoever comes first.
        self.orders.send_if_modified(|known| {
            let is_later = known.revision < orders.revision;
            if is_later {
                *known = orders;
            }
            is_later
        });
        self.ring();
    }

    /// Ends a session, tells the agents, and keeps that. Says whether it was running.
    pub(super) fn end_session(&self, id: &str, why: &str) -> bool {
        let was_running = self.state().sessions.end(id, why, now_ns());
        if was_running {
            self.log.say(Event::info(format!("ended: {why}")).session(id));
            self.keep_session(id);
            self.publish();
        }
        was_running
    }

    /// Forgets a session and everything of it.
    pub(super) fn forget_session(&self, id: &str) {
        self.state().sessions.remove(id);
        let _keeping = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        let change = Change::remove(Kind::Session, id.to_owned(), Expected::Anything);
        self.trouble(
            "a session cannot be removed from the store",
            change.and_then(|change| self.blocking(|store| store.commit(&[change], &[])).map(drop)),
        );
        self.publish();
    }

    /// Writes a session into the store. What is too much for it is left out there: agents have
    /// the receipts of their parts, and the parts, and say them again.
    pub(super) fn keep_session(&self, id: &str) {
        let _keeping = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut session) = self.state().sessions.to_keep(id) else { return };
        let mut change = Change::put(&session, Expected::Anything);
        if matches!(change, Err(StoreError::TooLarge { .. })) {
            session.parts.iter_mut().for_each(|part| part.receipt = None);
            change = Change::put(&session, Expected::Anything);
        }
        if matches!(change, Err(StoreError::TooLarge { .. })) {
            session.parts.clear();
            session.notes.truncate(NOTES_KEPT);
            change = Change::put(&session, Expected::Anything);
        }
        self.trouble(
            "a session cannot be kept in the store",
            change.and_then(|change| self.blocking(|store| store.commit(&[change], &[])).map(drop)),
        );
    }

    fn trouble(&self, what: &str, result: Result<(), StoreError>) {
        if let Err(error) = result {
            self.log.say(Event::error(format!("{what}: {error}")));
        }
    }

    /// Puts an entry into the audit log.
    pub(super) fn note(&self, draft: &Draft) -> Result<(), StoreError> {
        self.blocking(|store| store.commit(&[], std::slice::from_ref(draft))).map(drop)
    }

    /// Puts an entry into the audit log about something that is so whether or not it can be.
    pub(super) fn audit(&self, draft: &Draft) {
        self.trouble("an audit entry cannot be written", self.note(draft));
    }

    /// Puts an entry about somebody who was not let in into the audit log, unless it is one of too
    /// many.
    pub(super) fn note_stranger(&self, draft: Draft) {
        let admitted = {
            let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
            strangers.admit(draft)
        };
        if let Some(draft) = admitted {
            self.audit(&draft);
        }
    }

    /// Uses the store where waiting is allowed.
    pub(super) fn blocking<T>(&self, act: impl FnOnce(&dyn Store) -> T) -> T {
        match tokio::runtime::Handle::try_current() {
            Ok(_) => tokio::task::block_in_place(|| act(&*self.store)),
            Err(_) => act(&*self.store),
        }
    }

    /// All grants, as they are now.
    pub(super) fn grants(&self) -> Result<Arc<Grants>, Status> {
        let version = self.blocking(|store| store.version()).map_err(|e| broken(&e))?;
        let mut known = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((then, grants)) = &*known
            && *then == version
        {
            return Ok(Arc::clone(grants));
        }
        let grants = self.blocking(|store| store.all::<Grant>()).map_err(|e| broken(&e))?;
        let grants = grants.into_iter().map(|grant| grant.value).collect();
        let grants = Arc::new(Grants::new(grants));
        *known = Some((version, Arc::clone(&grants)));
        Ok(grants)
    }

    /// Who asks, by the token they show. Whoever shows none that is good is in the audit log.
    pub(super) fn let_in_user(&self, request: &Request<()>) -> Result<Asker, Status> {
        let from = peer_of(request.remote_addr());
        self.asker(request, &from).map_err(|(who, because)| {
            let answer = Answer::Refused { because: because.clone() };
            self.note_stranger(Draft { who, from, ..draft(Action::LogIn, answer) });
            Status::unauthenticated(because)
        })
    }

    fn asker(&self, request: &Request<()>, from: &str) -> Result<Asker, (Who, String)> {
        let nobody = |why: String| (Who::Unknown(String::new()), why);
        let shown = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.strip_prefix("Bearer "));
        let shown = shown.ok_or_else(|| nobody("no token was shown; see overtap login".into()))?;
        let token: UserToken = shown.parse().map_err(|error| nobody(format!("{error}")))?;
        let unknown = |why: String| (Who::Unknown(token.id.to_string()), why);
        let failed = |error: StoreError| unknown(error.to_string());
        let found = self.credential(token.id).map_err(failed)?;
        let refused = || unknown("the token is not known here; see overtap login".into());
        let credential = found.ok_or_else(refused)?;
        let name = credential
            .open(&token.secret, Timestamp::now())
            .map_err(|refusal| unknown(refusal.to_string()))?;
        let disabled = || (Who::User(name.clone()), format!("the account {name} is disabled"));
        Ok(Asker {
            user: self.account(name).map_err(failed)?.ok_or_else(disabled)?,
            from: from.to_owned(),
            token: token.id,
            expires_at: credential.expires_at,
        })
    }

    /// Whether somebody who was let in would be let in now; if not, why.
    pub(super) fn still_let_in(&self, asker: &Asker) -> Result<Result<(), String>, StoreError> {
        let name = &asker.user.name;
        Ok(if asker.expires_at.is_some_and(|end| end <= Timestamp::now()) {
            Err("the token has ended meanwhile; log in again: overtap login".to_owned())
        } else if self.credential(asker.token)?.is_none() {
            Err("the token was removed meanwhile; log in again: overtap login".to_owned())
        } else if self.account(name)?.is_none() {
            Err(format!("the account {name} was disabled meanwhile"))
        } else {
            Ok(())
        })
    }

    fn credential(&self, token: TokenId) -> Result<Option<UserCredential>, StoreError> {
        let found = self.blocking(|store| store.one::<UserCredential>(&token.to_string()))?;
        Ok(found.map(|credential| credential.value))
    }

    /// The account of that name, if there is one and it is enabled.
    fn account(&self, name: &UserName) -> Result<Option<User>, StoreError> {
        let found = self.blocking(|store| store.one::<User>(name.as_str()))?;
        Ok(found.map(|user| user.value).filter(|user| user.is_enabled))
    }

    /// Which agent is at the other end, by its certificate, and which authority signed that.
    pub(super) fn let_in_agent(
        &self,
        request: &Request<()>,
    ) -> Result<(AgentId, Fingerprint), Status> {
        let refused = |because: String| {
            let from = peer_of(request.remote_addr());
            let answer = Answer::Refused { because: because.clone() };
            let who = Who::Unknown(String::new());
            self.note_stranger(Draft { who, from, ..draft(Action::Connect, answer) });
            Status::unauthenticated(because)
        };
        let certificates = request.peer_certs();
        let shown = certificates.as_ref().and_then(|shown| shown.first());
        let shown = shown.ok_or_else(|| refused("no certificate was shown".into()))?;
        let peer = Peer::read(shown).map_err(|error| refused(error.to_string()))?;
        // A connection may be older than the end of the authority that let it in.
        let issuer = self.authority.now().issuer_of(shown);
        let issuer = issuer.ok_or_else(|| {
            refused(format!(
                "the authority that signed the certificate of {} was retired",
                peer.agent
            ))
        })?;
        let serial = peer.serial.to_string();
        let revoked = self.blocking(|store| store.one::<Revocation>(&serial));
        if revoked.map_err(|error| broken(&error))?.is_some() {
            return Err(refused(format!("the certificate of {} was revoked", peer.agent)));
        }
        Ok((peer.agent, issuer))
    }
}

/// An entry for the audit log about something that happens now.
pub(super) fn draft(action: Action, answer: Answer) -> Draft {
    Draft {
        at: Timestamp::now(),
        who: Who::Controller,
        from: "local".into(),
        action,
        subject: String::new(),
        machines: Vec::new(),
        answer,
        reason: String::new(),
    }
}

pub(super) fn facts(machine: &inventory::Machine) -> MachineFacts {
    MachineFacts {
        id: machine.id.clone(),
        name: machine.name.clone(),
        tenant: machine.tenant.clone(),
    }
}

/// The store cannot be used, which is not the asker's fault.
pub(super) fn broken(error: &StoreError) -> Status {
    Status::internal(error.to_string())
}

pub(super) fn peer_of(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "unknown".into(), |address| address.to_string())
}

pub(super) fn now_ns() -> u64 {
    u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(0)
}

/// Now, by both clocks.
pub(super) fn now() -> Moment {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let steady_ns = u64::try_from(BEGAN.elapsed().as_nanos()).unwrap_or(u64::MAX);
    Moment { wall_ns: now_ns(), steady_ns }
}

/// Notes that are kept of a session that is too much for the store.
const NOTES_KEPT: usize = 500;

const LOOK_EVERY: Duration = Duration::from_millis(500);
const RETIRE_EVERY: Duration = Duration::from_secs(2);
