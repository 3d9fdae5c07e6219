//! Lets hosts in that show an invitation.

use std::sync::Arc;

use api::proto::enrolment_server::Enrolment as Service;
use api::proto::{Certificate, EnrolRequest};
use jiff::Timestamp;
use telemetry::Event;
use tonic::{Request, Response, Status};

use crate::audit::{Action, Answer, Draft, Who};
use crate::enrolled::Enrolled;
use crate::names::AgentId;
use crate::store::{Change, Expected, StoreError};
use crate::tokens::{Enrolment, EnrolmentToken};

use super::desk::{Desk, broken, draft, peer_of};

pub(super) struct EnrolmentService(pub(super) Arc<Desk>);

#[tonic::async_trait]
impl Service for EnrolmentService {
    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<Certificate>, Status> {
        let desk = &self.0;
        let from = peer_of(request.remote_addr());
        let ask = request.into_inner();
        let host = ask.host.clone();
        let answer = enrol(desk, &ask, &from);
        if let Err(refusal) = &answer {
            let because = refusal.message().to_owned();
            let who = Who::Unknown(host.clone());
            desk.note_stranger(Draft {
                who,
                from,
                subject: host,
                ..draft(Action::Enrol, Answer::Refused { because })
            });
        }
        answer.map(Response::new)
    }
}

fn enrol(desk: &Desk, ask: &EnrolRequest, from: &str) -> Result<Certificate, Status> {
    let invalid = |error: String| Status::invalid_argument(error);
    let token: EnrolmentToken = ask.token.parse().map_err(|e| invalid(format!("{e}")))?;
    let agent: AgentId = ask.host.parse().map_err(|e| invalid(format!("{e}")))?;
    let now = Timestamp::now();
    let id = token.id.to_string();
    let found = desk.blocking(|store| store.one::<Enrolment>(&id)).map_err(|e| broken(&e))?;
    let refused = |why: String| Status::permission_denied(why);
    let found = found.ok_or_else(|| {
        refused("the invitation is not known here; ask for another: overtap agents invite".into())
    })?;
    let known = desk.blocking(|store| store.one::<Enrolled>(agent.as_str()));
    let known = known.map_err(|e| broken(&e))?;
    if known.is_some() && found.value.agent.as_ref() != Some(&agent) {
        return Err(refused(format!(
            "there is an agent {agent} already; remove it first (overtap agents remove {agent}), \
             or invite it by its name (overtap agents invite --agent {agent})"
        )));
    }
    let left = found.value.redeem(&token.secret, &agent, now);
    let left = left.map_err(|refusal| refused(refusal.to_string()))?;
    let standing = desk.authority.now();
    let issued = standing.ca.issue_agent(&agent, &ask.request, now);
    let certificate = issued.map_err(|e| invalid(e.to_string()))?;
    let enrolled = Enrolled::new(agent.clone(), token.id, &certificate, now);
    let enrolled = Enrolled { attends_by: Some(standing.ca.fingerprint()), ..enrolled };
    // Who comes back under its name is another: what the one before had is worth nothing.
    let revoked = known.as_ref().map(|known| {
        let by = found.value.made_by.clone();
        known.value.revocations(&by, "the agent was enrolled anew", now)
    });
    let changes = || -> Result<Vec<Change>, StoreError> {
        let expected = known.as_ref().map_or(Expected::Absent, |k| Expected::Version(k.version));
        let mut changes = vec![
            Change::put(&left, Expected::Version(found.version))?,
            Change::put(&enrolled, expected)?,
        ];
        for revocation in revoked.iter().flatten() {
            changes.push(Change::put(revocation, Expected::Anything)?);
        }
        Ok(changes)
    };
    let changes = changes().map_err(|e| broken(&e))?;
    let entry = Draft {
        who: Who::Agent(agent.clone()),
        from: from.to_owned(),
        subject: id,
        ..draft(Action::Enrol, Answer::Granted)
    };
    desk.blocking(|store| store.commit(&changes, &[entry])).map_err(|e| broken(&e))?;
    let event = Event::info(format!("agent {agent} was enrolled from {from}"));
    desk.log.say(event.agent(agent.as_str()));
    Ok(Certificate {
        certificate_pem: standing.ca.chain_pem(&certificate),
        ca_pem: standing.ca.certificate().pem(),
        agent_id: agent.to_string(),
    })
}
