//! How a session begins: what is asked for, held against the grants, and put down either way.

use std::time::Duration;

use api::document::{Note, Session, Wish};
use jiff::{SignedDuration, Timestamp};
use select::Resolved;
use telemetry::Event;
use tonic::Status;

use crate::audit::{Action, Answer, Draft, Who};
use crate::grants::{Ask, Asked, MachineFacts, Permit, Purpose, Snaplen};
use crate::tokens::random;

use super::PeopleService;
use crate::server::desk::{Asker, broken, draft, now, now_ns};

impl PeopleService {
    /// Starts a session, or says why not; either is in the audit log.
    pub(in crate::server) fn start(&self, asker: &Asker, wish: Wish) -> Result<Session, Status> {
        let grants = self.0.grants()?;
        let subject = subject(&wish);
        let reason = wish.reason.clone();
        let entry = |answer, machines: &[MachineFacts]| Draft {
            who: Who::User(asker.user.name.clone()),
            from: asker.from.clone(),
            subject: subject.clone(),
            machines: machines.to_vec(),
            reason: reason.clone(),
            ..draft(Action::Capture, answer)
        };
        let refused = |status: Status, machines: &[MachineFacts]| {
            let because = status.message().to_owned();
            match self.0.note(&entry(Answer::Refused { because }, machines)) {
                Ok(()) => status,
                Err(error) => broken(&error),
            }
        };
        if !self.0.state().sessions.has_room_for(asker.user.name.as_str()) {
            let full = "there are too many sessions; remove some: overtap sessions remove";
            return Err(refused(Status::resource_exhausted(full), &[]));
        }
        let asked = self.asked(asker, &grants, &wish).map_err(|status| {
            // What they named may be there without their being allowed to know.
            refused(status, &self.meant(&wish))
        })?;
        let machines = match &asked {
            Asked::Machines(machines) => machines.clone(),
            Asked::Growing { present, .. } => present.clone(),
        };
        let lifetime = Duration::from_secs(wish.lifetime_s);
        let ask = Ask {
            purpose: Purpose::Capture,
            asked,
            snaplen: Snaplen::new(wish.snaplen).filter(|_| wish.snaplen < WHOLE_SNAPLEN),
            duration: lifetime.try_into().ok().filter(|_| wish.is_lifetime_meant),
            past: past_of(&wish),
            reason: reason.clone(),
        };
        let permit = grants.decide(&asker.user, &ask, Timestamp::now()).map_err(|refusal| {
            refused(Status::permission_denied(refusal.to_string()), &machines)
        })?;
        // A name in the expression may be there without their being allowed to know.
        let explained = self
            .explained(asker, &grants, &wish.expression, &machines)
            .map_err(|status| refused(status, &machines))?;
        let session = session(asker, wish, &permit, explained)?;
        self.0.note(&entry(Answer::Granted, &machines)).map_err(|error| broken(&error))?;
        self.0.state().sessions.add(session.clone(), now());
        self.note_away(&session);
        self.0.keep_session(&session.id);
        self.0.publish();
        let event = Event::info(format!("begun by {}: {subject}", session.owner));
        self.0.log.say(event.session(&session.id));
        Ok(session)
    }

    /// Says which hosts cannot be asked what they have recorded.
    fn note_away(&self, session: &Session) {
        let mut state = self.0.state();
        let away = state.fleet.seats().filter(|(_, seat)| seat.line.is_none());
        let hosts: Vec<&str> = away.map(|(_, seat)| seat.host.as_str()).collect();
        if session.wish.last_s == 0 || hosts.is_empty() {
            return;
        }
        let text = format!("away, and not asked what they have recorded: {}", hosts.join(", "));
        state.sessions.take_note(Note {
            session: session.id.clone(),
            host: String::new(),
            at_ns: session.began_ns,
            text,
            is_refusal: false,
            is_in_part: false,
        });
    }
}

fn session(
    asker: &Asker,
    wish: Wish,
    permit: &Permit,
    explained: Resolved,
) -> Result<Session, Status> {
    let internal = |error: String| Status::internal(error);
    let id = random::<5>().map_err(|error| internal(error.to_string()))?;
    let id = data_encoding::BASE32_NOPAD.encode(&id).to_lowercase();
    let now = now_ns();
    let mut until_ns = now.saturating_add(wish.lifetime_s.saturating_mul(1_000_000_000));
    if let Some(end) = permit.until() {
        until_ns = until_ns.min(u64::try_from(end.as_nanosecond()).unwrap_or(0));
    }
    Ok(Session {
        id: format!("s-{id}"),
        owner: asker.user.name.to_string(),
        wish,
        began_ns: now,
        until_ns,
        ended: None,
        ended_ns: None,
        parts: Vec::new(),
        notes: Vec::new(),
        revision: 0,
        permit: serde_json::to_value(permit).map_err(|error| internal(error.to_string()))?,
        explained,
        elsewhere: Vec::new(),
        awaited: Vec::new(),
    })
}

/// How far back it goes.
fn past_of(wish: &Wish) -> Option<SignedDuration> {
    (wish.last_s > 0)
        .then(|| Duration::from_secs(wish.last_s).try_into().unwrap_or(SignedDuration::MAX))
}

fn subject(wish: &Wish) -> String {
    let tenants = wish.tenants.iter().map(|tenant| format!("tenant {tenant}"));
    let mut words: Vec<String> = wish.vms.iter().cloned().chain(tenants).collect();
    if !wish.expression.trim().is_empty() {
        words.push(format!("'{}'", wish.expression.trim()));
    }
    if wish.last_s > 0 {
        let only = if wish.is_past_only { " only" } else { "" };
        words.push(format!("the last {} s{only}", wish.last_s));
    }
    words.join(" ")
}

/// No packet is longer, so this asks for whole ones.
const WHOLE_SNAPLEN: u32 = 262_144;
