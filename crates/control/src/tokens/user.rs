//! User tokens: what a person or program shows to act as a user.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::UserName;
use crate::tokens::line::{self, Kind, TokenError};
use crate::tokens::secret::{ID_LEN, SECRET_LEN};
use crate::tokens::{NoEntropy, Secret, SecretHash, TokenId, TokenRefusal, random};

/// What a user shows. Its `Display` is the token with its secret; its `Debug` hides it.
#[derive(Debug, Clone)]
pub struct UserToken {
    /// The public half.
    pub id: TokenId,
    /// The secret half.
    pub secret: Secret,
}

impl fmt::Display for UserToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&line::write(Kind::User, &[&self.id.0[..], &self.secret.0].concat()))
    }
}

impl FromStr for UserToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let body = line::read(Kind::User, text)?;
        let (id, secret) = body.split_first_chunk::<ID_LEN>().ok_or(TokenError::Damaged)?;
        let secret = <[u8; SECRET_LEN]>::try_from(secret).map_err(|_| TokenError::Damaged)?;
        Ok(Self { id: TokenId(*id), secret: Secret(secret) })
    }
}

/// What the controller keeps of a user token. A user may have several: one for each machine or
/// program, so that one can be removed without the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserCredential {
    /// The public half.
    pub id: TokenId,
    /// The hash of the secret half.
    pub hash: SecretHash,
    /// Whom it lets in.
    pub user: UserName,
    /// Who made it.
    pub made_by: UserName,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it stops being good; never where `None`.
    pub expires_at: Option<Timestamp>,
    /// Where it is used, in its maker's words; may be empty.
    pub note: String,
}

impl UserCredential {
    /// Makes a token for `user`. The token is shown once and forgotten; the credential is stored.
    pub fn issue(
        user: UserName,
        made_by: UserName,
        expires_at: Option<Timestamp>,
        note: String,
        now: Timestamp,
    ) -> Result<(UserToken, Self), NoEntropy> {
        let (id, secret) = (TokenId(random()?), Secret(random()?));
        let hash = secret.hash();
        let credential = Self { id, hash, user, made_by, made_at: now, expires_at, note };
        Ok((UserToken { id, secret }, credential))
    }

    /// Whom `secret` lets in at `now`.
    pub fn open(&self, secret: &Secret, now: Timestamp) -> Result<&UserName, TokenRefusal> {
        if !self.hash.is_of(secret) {
            return Err(TokenRefusal::Unknown);
        }
        match self.expires_at {
            Some(end) if now >= end => Err(TokenRefusal::Expired(end)),
            _ => Ok(&self.user),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_token_opens_to_its_user_until_its_end() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let ann: UserName = "ann".parse().unwrap();
        let issue =
            |end| UserCredential::issue(ann.clone(), ann.clone(), end, String::new(), at(0));
        let (token, credential) = issue(Some(at(10))).unwrap();
        let read: UserToken = token.to_string().parse().unwrap();
        assert_eq!(read.id, credential.id);
        assert_eq!(credential.open(&read.secret, at(9)), Ok(&ann));
        assert_eq!(credential.open(&read.secret, at(10)), Err(TokenRefusal::Expired(at(10))));
        let (other, _) = issue(None).unwrap();
        assert_eq!(credential.open(&other.secret, at(10)), Err(TokenRefusal::Unknown));
    }

    #[test]
    fn a_user_token_of_another_length_is_damaged() {
        for len in (0..60).filter(|len| *len != ID_LEN + SECRET_LEN) {
            let line = line::write(Kind::User, &vec![0; len]);
            assert_eq!(line.parse::<UserToken>().err(), Some(TokenError::Damaged), "{len}");
        }
    }
}
