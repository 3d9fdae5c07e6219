//! Enrolment: how a host becomes a capture agent with one pasted line.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ca::Fingerprint;
use crate::names::{AgentId, UserName};
use crate::tokens::line::{self, Kind, TokenError};
use crate::tokens::secret::{ID_LEN, SECRET_LEN};
use crate::tokens::{
    ControllerAddress, NoEntropy, Secret, SecretHash, TokenId, TokenRefusal, random,
};

/// What is pasted on a new host: where the controller is, how to know it, and the right to join.
///
/// Its `Display` is the line to paste and holds the secret; its `Debug` does not.
#[derive(Debug, Clone)]
pub struct EnrolmentToken {
    /// Where the controller is reached.
    pub address: ControllerAddress,
    /// Its CA's certificate. An agent that enrols sends nothing to a server whose chain does not
    /// end in this one.
    pub ca: Fingerprint,
    /// The public half.
    pub id: TokenId,
    /// The secret half.
    pub secret: Secret,
}

impl fmt::Display for EnrolmentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut body = Vec::new();
        body.extend_from_slice(&self.id.0);
        body.extend_from_slice(&self.secret.0);
        body.extend_from_slice(self.ca.as_bytes());
        body.extend_from_slice(&self.address.port().to_be_bytes());
        body.extend_from_slice(self.address.host().as_bytes());
        f.write_str(&line::write(Kind::Enrolment, &body))
    }
}

impl FromStr for EnrolmentToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let body = line::read(Kind::Enrolment, text)?;
        let parts = |body: &[u8]| {
            let (id, rest) = body.split_first_chunk::<ID_LEN>()?;
            let (secret, rest) = rest.split_first_chunk::<SECRET_LEN>()?;
            let (ca, rest) = rest.split_first_chunk::<{ Fingerprint::LEN }>()?;
            let (port, host) = rest.split_first_chunk::<2>()?;
            let host = std::str::from_utf8(host).ok()?;
            let address = ControllerAddress::from_parts(host, u16::from_be_bytes(*port)).ok()?;
            let (id, secret) = (TokenId(*id), Secret(*secret));
            Some(Self { address, ca: Fingerprint::from_bytes(*ca), id, secret })
        };
        parts(&body).ok_or(TokenError::Damaged)
    }
}

/// What a new enrolment token shall be good for.
#[derive(Debug, Clone)]
pub struct EnrolmentTerms {
    /// Who makes it.
    pub made_by: UserName,
    /// When it stops being good.
    pub expires_at: Timestamp,
    /// How many agents may enrol with it, at least 1.
    pub uses: u32,
    /// The one agent it is for; any where `None`.
    pub agent: Option<AgentId>,
    /// What it is for, in its maker's words; may be empty.
    pub note: String,
}

/// What the controller keeps of an enrolment token: everything but the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// The public half.
    pub id: TokenId,
    /// The hash of the secret half.
    pub hash: SecretHash,
    /// Who made it.
    pub made_by: UserName,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it stops being good.
    pub expires_at: Timestamp,
    /// How many agents may still enrol with it.
    pub uses_left: u32,
    /// The one agent it is for; any where `None`.
    pub agent: Option<AgentId>,
    /// What it is for, in its maker's words; may be empty.
    pub note: String,
}

impl Enrolment {
    /// Makes a token. The token is shown once and forgotten; the enrolment is stored.
    pub fn issue(
        terms: EnrolmentTerms,
        address: ControllerAddress,
        ca: Fingerprint,
        now: Timestamp,
    ) -> Result<(EnrolmentToken, Self), NoEntropy> {
        let (id, secret) = (TokenId(random()?), Secret(random()?));
        let enrolment = Self {
            id,
            hash: secret.hash(),
            made_by: terms.made_by,
            made_at: now,
            expires_at: terms.expires_at,
            uses_left: terms.uses,
            agent: terms.agent,
            note: terms.note,
        };
        Ok((EnrolmentToken { address, ca, id, secret }, enrolment))
    }

    /// Uses the token once for `agent`: what is to be stored in place of this, before the agent
    /// gets its certificate, and only if nobody stored another in between.
    pub fn redeem(
        &self,
        secret: &Secret,
        agent: &AgentId,
        now: Timestamp,
    ) -> Result<Self, TokenRefusal> {
        if !self.hash.is_of(secret) {
            return Err(TokenRefusal::Unknown);
        }
        if now >= self.expires_at {
            return Err(TokenRefusal::Expired(self.expires_at));
        }
        if self.agent.as_ref().is_some_and(|only| only != agent) {
            return Err(TokenRefusal::OtherAgent);
        }
        let uses_left = self.uses_left.checked_sub(1).ok_or(TokenRefusal::UsedUp)?;
        Ok(Self { uses_left, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(uses: u32, agent: Option<&str>) -> (EnrolmentToken, Enrolment) {
        let terms = EnrolmentTerms {
            made_by: "ann".parse().unwrap(),
            expires_at: at(100),
            uses,
            agent: agent.map(|a| a.parse().unwrap()),
            note: String::new(),
        };
        let address = "control.example.com:7443".parse().unwrap();
        Enrolment::issue(terms, address, Fingerprint::from_bytes([7; 32]), at(0)).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_line_says_where_and_whom_to_trust() {
        let (token, _) = issued(1, None);
        let line = token.to_string();
        let read: EnrolmentToken = line.parse().unwrap();
        assert_eq!((read.address, read.ca, read.id), (token.address, token.ca, token.id));
        assert_eq!(read.secret.0, token.secret.0);
        assert!(line.len() < 170, "{line} is too long to be read out");
    }

    #[test]
    fn a_line_with_a_body_cut_short_is_damaged_not_a_panic() {
        for len in 0..80 {
            let line = line::write(Kind::Enrolment, &vec![0; len]);
            assert_eq!(line.parse::<EnrolmentToken>().err(), Some(TokenError::Damaged), "{len}");
        }
    }

    #[test]
    fn a_token_is_used_as_often_as_it_may_be() {
        let (token, first) = issued(2, None);
        let agent = "hv-1".parse().unwrap();
        let second = first.redeem(&token.secret, &agent, at(1)).unwrap();
        let third = second.redeem(&token.secret, &agent, at(2)).unwrap();
        assert_eq!((first.uses_left, second.uses_left, third.uses_left), (2, 1, 0));
        assert_eq!(third.redeem(&token.secret, &agent, at(3)), Err(TokenRefusal::UsedUp));
    }

    #[test]
    fn a_token_ends_at_its_time_and_opens_to_its_agent_only() {
        let (token, enrolment) = issued(1, Some("hv-1"));
        let (right, other) = ("hv-1".parse().unwrap(), "hv-2".parse().unwrap());
        let redeem = |agent, second| enrolment.redeem(&token.secret, agent, at(second)).err();
        assert_eq!(redeem(&right, 99), None);
        assert_eq!(redeem(&right, 100), Some(TokenRefusal::Expired(at(100))));
        assert_eq!(redeem(&other, 99), Some(TokenRefusal::OtherAgent));
    }

    #[test]
    fn without_the_secret_nothing_is_learnt() {
        let (_, enrolment) = issued(0, Some("hv-1"));
        let refused = enrolment.redeem(&Secret([0; 32]), &"hv-2".parse().unwrap(), at(1000));
        assert_eq!(refused, Err(TokenRefusal::Unknown));
    }

    #[test]
    fn what_is_stored_does_not_open_anything() {
        let (token, enrolment) = issued(1, None);
        let stored = serde_json::to_string(&enrolment).unwrap();
        let secret = data_encoding::HEXLOWER.encode(&token.secret.0);
        assert!(!stored.contains(&secret));
        assert_eq!(serde_json::from_str::<Enrolment>(&stored).unwrap(), enrolment);
    }
}
