//! Who is at the other end: certificates of the controller's own CA, known by a fingerprint.
//!
//! A person carries the fingerprint of the CA from the controller to the host, inside the token.
//! [`authority`] fetches the certificate that belongs to it and believes no other; from then on
//! ordinary TLS with that one CA is enough, wherever the controller is reached.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// The name in every controller's certificate: it is who it is wherever it is reached.
pub const CONTROLLER_NAME: &str = "controller.overtap.internal";

/// The header by which a controller announces to people the certificate (DER, base64) of an
/// authority that has taken the place of the one they know.
pub const AUTHORITY_HEADER: &str = "overtap-authority";

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers.
    #[error("cannot reach a controller at {address}: {source}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody else answers.
    #[error(
        "what answers at {address} is not the controller that was meant: it shows the CA of \
         another one"
    )]
    Impostor {
        /// Where.
        address: String,
    },
    /// Something in the set-up.
    #[error("cannot speak TLS to {address}: {reason}")]
    Tls {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
}

/// How a controller is reached and known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Controller {
    /// `HOST:PORT`.
    pub address: String,
    /// Its CA's certificate, PEM.
    pub ca_pem: String,
}

impl Controller {
    /// A channel to it, which connects when it is first used, and again whenever it has to;
    /// `identity` is an agent's certificate and key.
    ///
    /// # Errors
    /// When the address is none or the certificates cannot be used.
    pub fn channel(&self, identity: Option<(&str, &str)>) -> Result<Channel, ConnectError> {
        let failed = |error: tonic::transport::Error| ConnectError::Tls {
            address: self.address.clone(),
            reason: whole(&error),
        };
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca_pem))
            .domain_name(CONTROLLER_NAME);
        if let Some((certificate, key)) = identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address))
            .and_then(|endpoint| endpoint.tls_config(tls))
            .map_err(failed)?;
        Ok(endpoint
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .connect_lazy())
    }
}

/// How often a silent line is tried, and how long an answer may take.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Makes the one TLS provider that is compiled in the one that is used. To be called once, before
/// anything else here.
pub fn install_provider() {
    // A second call finds it done, which is what was wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The PEM of the CA that is meant, from the controller at `address`: `is_meant` is asked about
/// each certificate (DER) that is shown. What else answers there is refused; nothing is said to it.
///
/// # Errors
/// When nobody or somebody else answers.
pub async fn authority(
    address: &str,
    is_meant: impl Fn(&[u8]) -> bool + Send + Sync + 'static,
) -> Result<String, ConnectError> {
    let tls = |reason: String| ConnectError::Tls { address: address.to_owned(), reason };
    let is_meant: Meant = Arc::new(is_meant);
    let pinned = Arc::new(Pinned { is_meant: Arc::clone(&is_meant) });
    let config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(pinned)
        .with_no_client_auth();
    let name = ServerName::try_from(CONTROLLER_NAME).map_err(|error| tls(error.to_string()))?;
    let connect = TcpStream::connect(address);
    let unreachable = |source| ConnectError::Unreachable { address: address.to_owned(), source };
    let stream = match tokio::time::timeout(Duration::from_secs(5), connect).await {
        Ok(stream) => stream.map_err(unreachable)?,
        Err(_) => return Err(unreachable(std::io::ErrorKind::TimedOut.into())),
    };
    let hello = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let stream = match tokio::time::timeout(Duration::from_secs(5), hello).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.to_string().contains(NOT_MEANT) => {
            return Err(ConnectError::Impostor { address: address.to_owned() });
        }
        Ok(Err(error)) => return Err(tls(error.to_string())),
        Err(_) => return Err(tls("it does not answer".into())),
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let found = chain.iter().find(|certificate| is_meant(certificate));
    let found = found.ok_or_else(|| ConnectError::Impostor { address: address.to_owned() })?;
    Ok(pem(found))
}

/// Whether an error says that the other end is of an authority that is not believed.
pub fn is_other_authority(error: &str) -> bool {
    // As rustls has it; there is no type any more where this is asked.
    error.contains("UnknownIssuer") || error.contains("UnknownCA")
}

/// An error with its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A certificate as text (RFC 7468).
pub fn pem(der: &[u8]) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in BASE64.encode(der).as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

/// Takes a chain that ends in the CA that is meant, and checks nothing else: the chain itself is
/// checked by ordinary TLS afterwards, with that CA.
struct Pinned {
    is_meant: Meant,
}

type Meant = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pinned")
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut chain = std::iter::once(end).chain(above);
        if chain.any(|certificate| (self.is_meant)(certificate)) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(NOT_MEANT.into()))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

const NOT_MEANT: &str = "not the CA that was meant";
