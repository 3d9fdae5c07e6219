//! The names the controller gives: of agents and of users.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A capture agent, by the name it was enrolled with: usually its host's.
///
/// A DNS name in lower case, at most 200 bytes, so that a certificate can carry it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentId(String);

impl AgentId {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AgentId {
    type Err = NameError;

    /// Reads a name in any case.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = text.to_ascii_lowercase();
        let is_label = |label: &str| {
            let inside = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            matches!(label.len(), 1..=63)
                && label.chars().all(inside)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() <= MOST_AGENT_BYTES && name.split('.').all(is_label) {
            Ok(Self(name))
        } else {
            Err(NameError::Agent(shown(text)))
        }
    }
}

/// A user: one local account.
///
/// 1 to 64 letters, digits and `. _ @ + -`, beginning with a letter or digit. Case counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);

impl UserName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let inside = |c: char| c.is_ascii_alphanumeric() || "._@+-".contains(c);
        let begins_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if begins_well && text.len() <= MOST_USER_BYTES && text.chars().all(inside) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::User(shown(text)))
        }
    }
}

/// A name that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not the name of an agent.
    #[error(
        "`{0}` cannot be an agent's name; use a host name: letters, digits, `-`, `_` and dots, \
         at most {MOST_AGENT_BYTES} bytes"
    )]
    Agent(String),
    /// Not the name of a user.
    #[error(
        "`{0}` cannot be a user's name; use 1 to {MOST_USER_BYTES} letters, digits and `. _ @ + -`, \
         beginning with a letter or digit"
    )]
    User(String),
}

/// A hostile name must not fill the log or the terminal.
fn shown(text: &str) -> String {
    text.chars().take(MOST_USER_BYTES).flat_map(char::escape_default).collect()
}

const MOST_AGENT_BYTES: usize = 200;
const MOST_USER_BYTES: usize = 64;

macro_rules! as_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

as_text!(AgentId);
as_text!(UserName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_has_a_host_name_in_lower_case() {
        assert_eq!("HV-1.Example.com".parse::<AgentId>().unwrap().as_str(), "hv-1.example.com");
        for bad in ["", ".", "a..b", "-a", "a-", "a b", "a/b", "ä", "*.x", &"a".repeat(64)] {
            assert_eq!(bad.parse::<AgentId>(), Err(NameError::Agent(shown(bad))), "{bad}");
        }
        assert!(["a".repeat(60).as_str(); 4].join(".").parse::<AgentId>().is_err());
    }

    #[test]
    fn a_user_has_a_short_plain_name() {
        for good in ["ann", "Ann.Lee", "ann@example.com", "7", "ci+nightly"] {
            assert_eq!(good.parse::<UserName>().unwrap().as_str(), good);
        }
        for bad in ["", "-ann", "a nn", "ann\n", "änn", &"a".repeat(65)] {
            assert!(bad.parse::<UserName>().is_err(), "{bad}");
        }
    }
}
