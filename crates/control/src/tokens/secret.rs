//! The secret of a token, and what is stored instead of it.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

/// The public half of a token: names it in lists, in the store and in the audit log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId(pub(super) [u8; ID_LEN]);

impl fmt::Display for TokenId {
    /// 16 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for TokenId {
    type Err = NotHex;

    fn from_str(text: &str) -> Result<Self, NotHex> {
        octets(text).map(Self)
    }
}

/// The secret half of a token. Its `Debug` tells nothing, and it has no other text of its own.
#[derive(Clone)]
pub struct Secret(pub(super) [u8; SECRET_LEN]);

impl Secret {
    /// What may be stored of it.
    pub fn hash(&self) -> SecretHash {
        let hash = digest(&SHA256, &self.0);
        SecretHash(hash.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The SHA-256 of a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretHash([u8; HASH_LEN]);

impl SecretHash {
    /// Whether `secret` is the one this is the hash of; takes as long whatever the answer.
    pub fn is_of(&self, secret: &Secret) -> bool {
        self.0.ct_eq(&secret.hash().0).into()
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash")
    }
}

/// Why a token that can be read lets nobody in.
///
/// Whoever has not the secret learns nothing but [`Self::Unknown`]: it is compared first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// No such token, or not its secret.
    #[error("the token is not valid here; it may have been removed: ask for a new one")]
    Unknown,
    /// Its time is over.
    #[error("the token expired at {0}; ask for a new one")]
    Expired(Timestamp),
    /// As many agents as it was for have enrolled with it.
    #[error("the token was used already as often as it may be; ask for a new one")]
    UsedUp,
    /// It is for an agent of another name.
    #[error("the token is for an agent of another name; ask for one for this host")]
    OtherAgent,
}

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes (getrandom failed)")]
pub struct NoEntropy;

/// A text that is not the hexadecimal it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a token: 16 hexadecimal digits, as `tokens list` shows it")]
pub struct NotHex;

/// Random bytes fit for secrets.
pub fn random<const N: usize>() -> Result<[u8; N], NoEntropy> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoEntropy)?;
    Ok(bytes)
}

fn octets<const N: usize>(text: &str) -> Result<[u8; N], NotHex> {
    let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| NotHex)?;
    bytes.try_into().map_err(|_| NotHex)
}

impl TryFrom<String> for TokenId {
    type Error = NotHex;

    fn try_from(text: String) -> Result<Self, NotHex> {
        text.parse()
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for SecretHash {
    type Error = NotHex;

    fn try_from(text: String) -> Result<Self, NotHex> {
        octets(&text).map(Self)
    }
}

impl From<SecretHash> for String {
    fn from(hash: SecretHash) -> String {
        HEXLOWER.encode(&hash.0)
    }
}

pub(super) const ID_LEN: usize = 8;
pub(super) const SECRET_LEN: usize = 32;
const HASH_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha_256_and_only_its_own_secret_fits() {
        // FIPS 180-4: SHA-256 of 32 zero bytes.
        let hash = Secret([0; 32]).hash();
        let text = "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925";
        assert_eq!(String::from(hash.clone()), text);
        assert!(hash.is_of(&Secret([0; 32])));
        assert!(!hash.is_of(&Secret([1; 32])));
    }

    #[test]
    fn what_is_printed_for_debugging_has_no_secret_in_it() {
        let secret = Secret([0xab; 32]);
        assert_eq!(format!("{secret:?} {:?}", secret.hash()), "Secret SecretHash");
    }

    #[test]
    fn an_id_is_sixteen_digits() {
        let id = TokenId([1, 2, 3, 4, 5, 6, 7, 0xff]);
        assert_eq!(id.to_string(), "01020304050607ff");
        assert_eq!("01020304050607ff".parse::<TokenId>(), Ok(id));
        assert_eq!("01".parse::<TokenId>(), Err(NotHex));
    }
}
