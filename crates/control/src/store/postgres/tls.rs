//! The encryption of the way to the server.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::store::postgres::PostgresError;

/// Believes servers that show a certificate of one of `authorities` (PEM), and no other.
pub(super) fn believing(authorities: &str) -> Result<MakeRustlsConnect, PostgresError> {
    let wrong = |error: &dyn std::error::Error| PostgresError::Authorities(error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() {
        return Err(PostgresError::Authorities("there is no certificate in PEM".to_owned()));
    }
    // Named, not taken from the process: whoever comes first there decides for all.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}
