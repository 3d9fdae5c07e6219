//! What an agent makes to get a certificate: a key, and a request that proves it has the key.

use rcgen::{CertificateParams, KeyPair};

use crate::ca::CaError;

/// A new private key and the request (PKCS #10) for a certificate of it.
///
/// The request names nobody: the controller decides what the certificate says.
pub struct Request {
    /// The private key, PKCS #8 as PEM. Secret: it never leaves the host.
    pub key_pem: String,
    /// The request, DER.
    pub der: Vec<u8>,
}

impl Request {
    /// Makes a new key (ECDSA P-256) and its request.
    pub fn make() -> Result<Self, CaError> {
        let key = KeyPair::generate().map_err(CaError::Signing)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(CaError::Signing)?;
        Ok(Self { key_pem: key.serialize_pem(), der: request.der().to_vec() })
    }
}
