//! The controller's own small certificate authority.
//!
//! It is made at the first start, and again when somebody has it rotated ([`Authority`]). It signs nothing but agents and the controller itself, and its key never leaves
//! its file. Nobody else's authority counts: agents trust this one only, by the fingerprint in
//! their enrolment token, and the controller believes no client certificate of another.
//!
//! What it does not do: OCSP, CRLs, intermediate authorities. Revoked serials are documents of the
//! store and are asked for at every connection.

mod authority;
mod certificate;
mod folder;
mod peer;
mod request;
mod revocation;

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType,
};
use time::OffsetDateTime;

use crate::names::AgentId;
use crate::tokens::{NoEntropy, random};

pub use authority::{Authority, Before, Prepared, RotationError, Standing};
pub use certificate::{Certificate, Fingerprint, Serial};
pub use folder::FolderError;
pub use peer::{Peer, PeerError};
pub use request::Request;
pub use revocation::Revocation;

/// A certificate authority: its certificate, and the key that signs.
#[derive(Debug)]
pub struct Ca {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    /// Makes a new one. Two never have the same name, so that both can be trusted for a while.
    pub fn make(now: Timestamp) -> Result<Self, CaError> {
        let [a, b, c, d] = random()?;
        let name = format!("overtap CA {a:02x}{b:02x}{c:02x}{d:02x}");
        let params = Self::params(&name, now.saturating_add(CA_LIFE).ok(), now)?;
        let key = KeyPair::generate().map_err(CaError::Signing)?;
        let made = params.self_signed(&key).map_err(CaError::Signing)?;
        let certificate = Certificate::read(made.der())?;
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// The certificate of `next`, signed by this one: to whoever believes this one, `next` is as
    /// good. Ends with this one.
    pub(super) fn vouch_for(&self, next: &Self, now: Timestamp) -> Result<Certificate, CaError> {
        let ours = self.certificate.not_after();
        if now >= ours {
            return Err(CaError::Expired(ours));
        }
        let name = next.certificate.common_name()?;
        let end = ours.min(next.certificate.not_after());
        self.sign(&Self::params(&name, Some(end), now)?, next.issuer.key())
    }

    fn params(
        name: &str,
        end: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<CertificateParams, CaError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.serial_number = Some(Serial::random()?.to_rcgen());
        (params.not_before, params.not_after) = dates(now, end)?;
        Ok(params)
    }

    /// One that was made before: certificate and key as PEM, in one text.
    pub fn from_pem(text: &str) -> Result<Self, CaError> {
        let der = certificate::first_der(text)?;
        let key = key_block(text).ok_or(CaError::NoKey)?;
        let key = KeyPair::from_pem(key).map_err(|_| CaError::NoKey)?;
        if certificate::public_key(&der)? != key.subject_public_key_info() {
            return Err(CaError::OtherKey);
        }
        let issuer = Issuer::from_ca_cert_der(&der.as_slice().into(), key);
        Ok(Self {
            certificate: Certificate::read(&der)?,
            issuer: issuer.map_err(CaError::Signing)?,
        })
    }

    /// Its own certificate: what agents trust.
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The fingerprint of its certificate, as enrolment tokens carry it.
    pub fn fingerprint(&self) -> Fingerprint {
        self.certificate.fingerprint()
    }

    /// Gives `agent` a certificate for the key of its request (PKCS #10, DER).
    ///
    /// Only the key is taken from the request, and only after its signature proved that the asker
    /// has it: names, usages and dates are ours. The caller has made sure that the asker is `agent`.
    pub fn issue_agent(
        &self,
        agent: &AgentId,
        request: &[u8],
        now: Timestamp,
    ) -> Result<Certificate, CaError> {
        if request.len() > MOST_REQUEST_BYTES {
            return Err(CaError::Request);
        }
        let request = CertificateSigningRequestParams::from_der(&request.into())
            .map_err(|_| CaError::Request)?;
        let accepted =
            [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519];
        if !accepted.contains(&request.public_key.algorithm()) {
            return Err(CaError::KeyKind);
        }
        let mut params = self.leaf(agent.as_str(), AGENT_LIFE, now)?;
        params.subject_alt_names = vec![dns(&peer::host_of(agent))?];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params, &request.public_key)
    }

    /// Makes a key and a certificate for the controller itself, by every name and address that
    /// agents and users may reach it under. Gives the certificate and the key as PEM.
    pub fn issue_server(
        &self,
        names: &[String],
        now: Timestamp,
    ) -> Result<(Certificate, String), CaError> {
        let first = names.first().ok_or(CaError::NoName)?;
        let mut params = self.leaf(first, SERVER_LIFE, now)?;
        params.subject_alt_names =
            names.iter().map(|n| server_name(n)).collect::<Result<_, _>>()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(CaError::Signing)?;
        Ok((self.sign(&params, &key)?, key.serialize_pem()))
    }

    /// A leaf certificate and this one behind it, as a server sends them: an agent that enrols
    /// finds the certificate of its token's fingerprint there.
    pub fn chain_pem(&self, leaf: &Certificate) -> String {
        format!("{}{}", leaf.pem(), self.certificate.pem())
    }

    /// Certificate and key in one text, for [`Self::from_pem`]. Holds the secret.
    fn to_pem(&self) -> String {
        format!("{}{}", self.certificate.pem(), self.issuer.key().serialize_pem())
    }

    fn leaf(
        &self,
        name: &str,
        life: SignedDuration,
        now: Timestamp,
    ) -> Result<CertificateParams, CaError> {
        let ours = self.certificate.not_after();
        if now >= ours {
            return Err(CaError::Expired(ours));
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(Serial::random()?.to_rcgen());
        let end = now.saturating_add(life).ok().map(|end| end.min(ours));
        (params.not_before, params.not_after) = dates(now, end)?;
        Ok(params)
    }

    fn sign(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<Certificate, CaError> {
        let made = params.signed_by(key, &self.issuer).map_err(CaError::Signing)?;
        Certificate::read(made.der())
    }
}

/// Why a certificate authority cannot be made or read, or signs nothing.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// No random bytes.
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
    /// The text has no certificate that can be read.
    #[error("not a certificate")]
    NotACertificate,
    /// The text has no private key that can be read.
    #[error("no private key beside the certificate")]
    NoKey,
    /// The private key is that of another certificate.
    #[error("the private key does not belong to the certificate")]
    OtherKey,
    /// Its own certificate is over.
    #[error("the controller's CA ended at {0}; make a new one and enrol the agents again")]
    Expired(Timestamp),
    /// A certificate request that cannot be read or does not prove its key.
    #[error("not a certificate request that is signed with its own key")]
    Request,
    /// A certificate request with a key that is not taken.
    #[error("a key of this kind gets no certificate; use ECDSA P-256, P-384 or Ed25519")]
    KeyKind,
    /// A server without a name.
    #[error("a controller needs one name or address at least, under which agents reach it")]
    NoName,
    /// A name a server may not have.
    #[error("`{0}` cannot be a controller's name; give a DNS name or an IP address")]
    ServerName(String),
    /// A date no certificate can carry.
    #[error("the clock says {0}, which no certificate can carry; set it")]
    Clock(Timestamp),
    /// Signing itself failed.
    #[error("signing failed: {0}")]
    Signing(rcgen::Error),
}

/// Both dates, always: a certificate without them would be good from 1975 to 4096. It begins a
/// little in the past, for hosts whose clocks are behind.
fn dates(
    now: Timestamp,
    end: Option<Timestamp>,
) -> Result<(OffsetDateTime, OffsetDateTime), CaError> {
    let second = |time: Timestamp| OffsetDateTime::from_unix_timestamp(time.as_second()).ok();
    let begin = now.checked_sub(CLOCK_SLACK).ok();
    match (begin.and_then(second), end.and_then(second)) {
        // RFC 5280, section 4.1.2.5: years have four digits.
        (Some(begin), Some(end)) if begin.year() >= 1950 && end.year() <= 9999 => Ok((begin, end)),
        _ => Err(CaError::Clock(now)),
    }
}

fn common_name(name: &str) -> DistinguishedName {
    // RFC 5280, appendix A.1: ub-common-name is 64 characters. Names that count are in the SAN.
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    names
}

fn server_name(name: &str) -> Result<SanType, CaError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    // An agent's name in a controller's certificate, or the other way round, would make the one
    // the other. Wildcards would do the same.
    if name.parse::<AgentId>().is_err() || peer::is_agents(name) {
        return Err(CaError::ServerName(name.to_owned()));
    }
    dns(&name.to_ascii_lowercase())
}

fn dns(name: &str) -> Result<SanType, CaError> {
    let name = name.try_into().map_err(|_| CaError::ServerName(name.to_owned()))?;
    Ok(SanType::DnsName(name))
}

fn key_block(text: &str) -> Option<&str> {
    let begin = text.find("-----BEGIN PRIVATE KEY-----")?;
    text.get(begin..)
}

const CA_LIFE: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// How long an agent's certificate is good; it is renewed at two thirds of that.
const AGENT_LIFE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The controller makes itself a new one at each start and keeps the key in memory only, so it must
/// not end before the controller does.
const SERVER_LIFE: SignedDuration = SignedDuration::from_hours(3 * 365 * 24);
const CLOCK_SLACK: SignedDuration = SignedDuration::from_hours(1);
const MOST_REQUEST_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests;
