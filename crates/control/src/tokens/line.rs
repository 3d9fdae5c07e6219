//! The line a token is written as, whatever its kind.

use std::fmt;

use data_encoding::BASE32_NOPAD_NOCASE;
use ring::digest::{SHA256, digest};

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It lets a host become a capture agent.
    Enrolment,
    /// It lets a person or program act as a user.
    User,
}

impl Kind {
    /// What its tokens begin with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Enrolment => "ovte_",
            Self::User => "ovtu_",
        }
    }

    fn of(line: &str) -> Option<Self> {
        [Self::Enrolment, Self::User].into_iter().find(|kind| line.starts_with(kind.prefix()))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enrolment => "an enrolment token",
            Self::User => "a user token",
        })
    }
}

/// Why a text is not the token that is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It has no known prefix.
    #[error(
        "this is no overtap token; one for an agent begins with ovte_, one for a user with ovtu_"
    )]
    NotAToken,
    /// It is for something else.
    #[error("this is {given}, and {wanted} is needed here: it begins with {}", wanted.prefix())]
    OtherKind {
        /// What it is.
        given: Kind,
        /// What was expected.
        wanted: Kind,
    },
    /// Cut, or changed on the way.
    #[error("the token was cut or changed when it was copied; copy the whole line again")]
    Damaged,
    /// Of a format this release does not know.
    #[error("the token has format {0}, made by a newer overtap; update overtap on this machine")]
    Newer(u8),
}

/// Writes the line of a token. `body` follows the version byte.
pub(super) fn write(kind: Kind, body: &[u8]) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(body);
    let check = check(kind, &bytes);
    bytes.extend_from_slice(&check);
    kind.prefix().to_owned() + &BASE32_NOPAD_NOCASE.encode(&bytes).to_ascii_lowercase()
}

/// Reads the line of a token and gives its body.
pub(super) fn read(wanted: Kind, text: &str) -> Result<Vec<u8>, TokenError> {
    if text.len() > MOST_BYTES {
        return Err(TokenError::NotAToken);
    }
    let line: String = text.split_ascii_whitespace().collect();
    let line = line.to_ascii_lowercase();
    let given = Kind::of(&line).ok_or(TokenError::NotAToken)?;
    if given != wanted {
        return Err(TokenError::OtherKind { given, wanted });
    }
    let encoded = line.strip_prefix(given.prefix()).unwrap_or_default();
    let bytes = BASE32_NOPAD_NOCASE.decode(encoded.as_bytes()).map_err(|_| TokenError::Damaged)?;
    let (bytes, stated) = bytes.split_last_chunk::<CHECK_LEN>().ok_or(TokenError::Damaged)?;
    if *stated != check(given, bytes) {
        return Err(TokenError::Damaged);
    }
    match bytes.split_first() {
        Some((&VERSION, body)) => Ok(body.to_vec()),
        Some((&version, _)) => Err(TokenError::Newer(version)),
        None => Err(TokenError::Damaged),
    }
}

/// Guards against accidents, not against people: whoever can make a token can make its check.
fn check(kind: Kind, bytes: &[u8]) -> [u8; CHECK_LEN] {
    let all = [kind.prefix().as_bytes(), bytes].concat();
    let hash = digest(&SHA256, &all);
    hash.as_ref().first_chunk().copied().unwrap_or_default()
}

const VERSION: u8 = 1;
const CHECK_LEN: usize = 4;
/// A host name has 253 bytes at most: a token of 333, 533 in base32, with room for line breaks.
const MOST_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back_however_it_was_pasted() {
        let line = write(Kind::User, b"body");
        assert!(line.starts_with("ovtu_"));
        let (left, right) = line.split_at(9);
        for pasted in [line.clone(), line.to_uppercase(), format!(" {left}\r\n  {right}\n")] {
            assert_eq!(read(Kind::User, &pasted).unwrap(), b"body", "{pasted}");
        }
    }

    #[test]
    fn every_way_of_being_wrong_has_its_words() {
        let line = write(Kind::User, b"body");
        assert_eq!(read(Kind::User, ""), Err(TokenError::NotAToken));
        assert_eq!(read(Kind::User, "ghp_abc"), Err(TokenError::NotAToken));
        assert_eq!(read(Kind::User, &"ovtu_a".repeat(1000)), Err(TokenError::NotAToken));
        let other = TokenError::OtherKind { given: Kind::User, wanted: Kind::Enrolment };
        assert_eq!(read(Kind::Enrolment, &line), Err(other));
        let mut newer = vec![2, 7];
        newer.extend_from_slice(&check(Kind::User, &[2, 7]));
        let newer = format!("ovtu_{}", BASE32_NOPAD_NOCASE.encode(&newer));
        assert_eq!(read(Kind::User, &newer), Err(TokenError::Newer(2)));
        // A check without a version.
        let empty = BASE32_NOPAD_NOCASE.encode(&check(Kind::User, &[]));
        assert_eq!(read(Kind::User, &format!("ovtu_{empty}")), Err(TokenError::Damaged));
    }

    #[test]
    fn a_token_cut_or_changed_anywhere_is_damaged() {
        let line = write(Kind::User, b"body");
        for end in "ovtu_".len()..line.len() {
            assert_eq!(read(Kind::User, &line[..end]), Err(TokenError::Damaged), "{end}");
        }
        for at in "ovtu_".len()..line.len() {
            let other = if line.as_bytes()[at] == b'a' { "b" } else { "a" };
            let mut changed = line.clone();
            changed.replace_range(at..=at, other);
            assert_eq!(read(Kind::User, &changed), Err(TokenError::Damaged), "{changed}");
        }
    }
}
