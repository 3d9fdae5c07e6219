//! TLS of a connection that was accepted: shows the controller's certificate and asks for an
//! agent's, by the authority as it is in this moment.

use std::io;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;

use crate::ca::{Authority, Certificate, Standing};

/// What connections begin with, made anew whenever the authority has changed.
pub(super) struct Hello {
    authority: Arc<Authority>,
    made_for: Arc<Standing>,
    acceptor: TlsAcceptor,
}

impl Hello {
    /// By the authority as it is now.
    pub(super) fn new(authority: Arc<Authority>) -> io::Result<Self> {
        let made_for = authority.now();
        let acceptor = acceptor(&made_for)?;
        Ok(Self { authority, made_for, acceptor })
    }

    /// For the next connection.
    pub(super) fn acceptor(&mut self) -> io::Result<TlsAcceptor> {
        let now = self.authority.now();
        if !Arc::ptr_eq(&now, &self.made_for) {
            self.acceptor = acceptor(&now)?;
            self.made_for = now;
        }
        Ok(self.acceptor.clone())
    }
}

fn acceptor(standing: &Standing) -> io::Result<TlsAcceptor> {
    let mut roots = RootCertStore::empty();
    for authority in standing.believed().map(Certificate::der) {
        roots.add(CertificateDer::from(authority.to_vec())).map_err(io::Error::other)?;
    }
    // People come with a token, and new agents with an invitation.
    let verifier = WebPkiClientVerifier::builder(roots.into()).allow_unauthenticated().build();
    let chain = standing.chain().into_iter().map(|der| CertificateDer::from(der.to_vec()));
    let key = PrivateKeyDer::from_pem_slice(standing.leaf_key.as_bytes());
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(verifier.map_err(io::Error::other)?)
        .with_single_cert(chain.collect(), key.map_err(io::Error::other)?)
        .map_err(io::Error::other)?;
    config.alpn_protocols.push(b"h2".to_vec());
    Ok(TlsAcceptor::from(Arc::new(config)))
}
