//! Who is at the other end of a connection, by the certificate it showed.

use jiff::Timestamp;
use x509_parser::extensions::GeneralName;

use crate::ca::{Certificate, Serial, certificate};
use crate::names::AgentId;

/// An agent, as its certificate names it.
///
/// TLS has checked by then that our CA signed the certificate and that it is in time; whether it
/// was revoked is for the store to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Which agent.
    pub agent: AgentId,
    /// The certificate's number, for the revocation list and the audit log.
    pub serial: Serial,
    /// When the certificate stops being good.
    pub not_after: Timestamp,
}

impl Peer {
    /// Reads the leaf certificate (DER) of a connection.
    pub fn read(der: &[u8]) -> Result<Self, PeerError> {
        let parsed = certificate::parsed(der).map_err(|_| PeerError)?;
        let names = parsed.subject_alternative_name().map_err(|_| PeerError)?.ok_or(PeerError)?;
        let [GeneralName::DNSName(name)] = names.value.general_names.as_slice() else {
            return Err(PeerError);
        };
        let agent = name.strip_suffix(DOMAIN).and_then(|agent| agent.parse().ok());
        let agent: AgentId = agent.ok_or(PeerError)?;
        let certificate = Certificate::read(der).map_err(|_| PeerError)?;
        let (serial, not_after) = (certificate.serial().clone(), certificate.not_after());
        Ok(Self { agent, serial, not_after })
    }
}

/// A certificate that names no agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the certificate is not that of a capture agent; enrol this host with a token")]
pub struct PeerError;

/// The name an agent's certificate carries.
///
/// A domain of their own, under a name nobody can register, keeps an agent that calls itself like
/// the controller from passing for it.
pub(super) fn host_of(agent: &AgentId) -> String {
    format!("{agent}{DOMAIN}")
}

pub(super) fn is_agents(name: &str) -> bool {
    format!(".{}", name.to_ascii_lowercase()).ends_with(DOMAIN)
}

const DOMAIN: &str = ".agents.overtap.internal";
