//! The controller's half of the keys of its agents' recorders.
//!
//! Without it nothing that an agent has recorded can be read, whoever has the host's disk. An agent
//! is told its own over its line. Another half in its place makes everything recorded before
//! unreadable for ever. `docs/decisions/0014-recorder-in-a-fleet.md`.

use std::fmt;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::AgentId;
use crate::store::{Kind, Stored};
use crate::tokens::{NoEntropy, random};

/// The half of one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecorderKey {
    /// Whose.
    pub agent: AgentId,
    /// Since when it holds.
    pub made_at: Timestamp,
    half: Half,
}

/// 32 random bytes, never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Half([u8; 32]);

impl RecorderKey {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn make(agent: AgentId, now: Timestamp) -> Result<Self, NoEntropy> {
        Ok(Self { agent, made_at: now, half: Half(random()?) })
    }

    /// For the agent, and nobody else.
    pub fn half(&self) -> [u8; 32] {
        self.half.0
    }
}

impl Stored for RecorderKey {
    const KIND: Kind = Kind::RecorderKey;

    fn key(&self) -> String {
        self.agent.to_string()
    }
}

impl fmt::Debug for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Half")
    }
}

impl From<Half> for String {
    fn from(half: Half) -> Self {
        HEXLOWER.encode(&half.0)
    }
}

impl TryFrom<String> for Half {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok();
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or("not half a key")
    }
}
