//! Certificates that are no longer believed though they are in time.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ca::Serial;
use crate::names::{AgentId, UserName};

/// A certificate that was revoked. It is looked up at every connection of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// The certificate's number.
    pub serial: Serial,
    /// Whose it was.
    pub agent: AgentId,
    /// Who revoked it.
    pub by: UserName,
    /// When.
    pub at: Timestamp,
    /// Why, in their words; may be empty.
    pub reason: String,
    /// When the certificate ends by itself: from then on this may be forgotten.
    pub not_after: Timestamp,
}
