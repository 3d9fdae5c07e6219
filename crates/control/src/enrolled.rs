//! Agents that were let in, and the certificates they have.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ca::{Certificate, Fingerprint, Revocation, Serial};
use crate::names::{AgentId, UserName};
use crate::store::{Kind, Stored};
use crate::tokens::TokenId;

/// A capture agent that was let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// Who it is.
    pub id: AgentId,
    /// When it was let in.
    pub at: Timestamp,
    /// By which invitation.
    pub by: TokenId,
    /// Its certificates that are still in time, the newest last. There are several for a while
    /// after a renewal: an agent that crashed before it kept the new one comes back with the old.
    pub certificates: Vec<Issued>,
    /// The authority that signed the certificate it was enrolled with or has shown last; `None`
    /// where that was before this was kept.
    #[serde(default)]
    pub attends_by: Option<Fingerprint>,
}

/// A certificate that was given to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// Its number.
    pub serial: Serial,
    /// When it ends by itself.
    pub not_after: Timestamp,
}

impl Enrolled {
    /// One that is let in now.
    pub fn new(id: AgentId, by: TokenId, certificate: &Certificate, now: Timestamp) -> Self {
        Self { id, at: now, by, certificates: Vec::new(), attends_by: None }
            .renewed(certificate, now)
    }

    /// With one certificate more. Those that are over are forgotten, and so are the oldest of very
    /// many: an agent cannot make this grow by asking again and again, but their end is near too.
    pub fn renewed(mut self, certificate: &Certificate, now: Timestamp) -> Self {
        self.certificates.retain(|issued| now < issued.not_after);
        let (serial, not_after) = (certificate.serial().clone(), certificate.not_after());
        self.certificates.push(Issued { serial, not_after });
        self
    }

    /// Whether it must renew before every authority but `authority` can be retired. One whose
    /// certificates are all over has to be enrolled again anyway.
    pub fn is_behind(&self, authority: Fingerprint, now: Timestamp) -> bool {
        self.attends_by != Some(authority)
            && self.certificates.iter().any(|issued| now < issued.not_after)
    }

    /// What takes all its certificates away.
    pub fn revocations(&self, by: &UserName, reason: &str, now: Timestamp) -> Vec<Revocation> {
        let issued = self.certificates.iter();
        let revoked = issued.map(|issued| Revocation {
            serial: issued.serial.clone(),
            agent: self.id.clone(),
            by: by.clone(),
            at: now,
            reason: reason.to_owned(),
            not_after: issued.not_after,
        });
        revoked.collect()
    }
}

impl Stored for Enrolled {
    const KIND: Kind = Kind::Agent;

    fn key(&self) -> String {
        self.id.to_string()
    }
}
