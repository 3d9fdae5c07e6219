//! A certificate as it is handed out, and the numbers that name it.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use jiff::{SignedDuration, Timestamp};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, Pem, X509Certificate};

use crate::ca::CaError;
use crate::tokens::{NoEntropy, random};

/// A certificate: its bytes and what is read from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    serial: Serial,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Certificate {
    /// Reads the first certificate of a PEM text.
    pub fn from_pem(text: &str) -> Result<Self, CaError> {
        Self::read(&first_der(text)?)
    }

    /// Reads a certificate from DER. Says nothing about who signed it.
    pub fn read(der: &[u8]) -> Result<Self, CaError> {
        let certificate = parsed(der)?;
        let time = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp());
        let validity = certificate.validity();
        Ok(Self {
            der: der.to_vec(),
            serial: Serial::from_bytes(certificate.raw_serial()).ok_or(CaError::NotACertificate)?,
            not_before: time(validity.not_before).map_err(|_| CaError::NotACertificate)?,
            not_after: time(validity.not_after).map_err(|_| CaError::NotACertificate)?,
        })
    }

    /// Its bytes.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its text, one PEM block with a line break at its end.
    pub fn pem(&self) -> String {
        let base64 = data_encoding::BASE64.encode(&self.der);
        let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
        for (at, letter) in base64.chars().enumerate() {
            if at > 0 && at % 64 == 0 {
                text.push('\n');
            }
            text.push(letter);
        }
        text + "\n-----END CERTIFICATE-----\n"
    }

    /// The number that names it among those of its CA.
    pub const fn serial(&self) -> &Serial {
        &self.serial
    }

    /// When it begins to be good.
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// When it stops being good.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// When to ask for the next one: at two thirds of its life, so that a third is left for a
    /// controller that is away.
    pub fn renew_at(&self) -> Timestamp {
        let life = self.not_after.duration_since(self.not_before);
        self.not_before.saturating_add(life / 3 * 2).unwrap_or(self.not_after)
    }

    /// The name it was given to.
    pub(super) fn common_name(&self) -> Result<String, CaError> {
        let parsed = parsed(&self.der)?;
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        name.map(str::to_owned).ok_or(CaError::NotACertificate)
    }

    /// The SHA-256 of its bytes.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    /// How long it is still good at `now`; zero or less when it is over.
    pub fn left(&self, now: Timestamp) -> SignedDuration {
        self.not_after.duration_since(now)
    }
}

/// The SHA-256 of a certificate's DER bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; Self::LEN]);

impl Fingerprint {
    /// Its length in bytes.
    pub const LEN: usize = 32;

    /// That of a certificate's DER bytes.
    pub fn of(der: &[u8]) -> Self {
        Self(digest(&SHA256, der).as_ref().first_chunk().copied().unwrap_or_default())
    }

    /// One that was stored.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    /// 64 hexadecimal digits, as `openssl x509 -fingerprint -sha256` has them without colons.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl FromStr for Fingerprint {
    type Err = NotANumber;

    /// Reads the digits in any case, with or without colons.
    fn from_str(text: &str) -> Result<Self, NotANumber> {
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        let bytes = HEXLOWER.decode(digits.to_ascii_lowercase().as_bytes());
        bytes.ok().and_then(|b| b.try_into().ok()).map(Self).ok_or(NotANumber)
    }
}

/// The serial number of a certificate: 1 to 20 bytes (RFC 5280, section 4.1.2.2).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial(Vec<u8>);

impl Serial {
    /// A new one of 127 bits, of which 126 are random.
    pub(super) fn random() -> Result<Self, NoEntropy> {
        let mut bytes: [u8; 16] = random()?;
        if let Some(first) = bytes.first_mut() {
            // Positive, and as long for everyone: DER would cut a leading zero.
            *first = *first & 0x7f | 0x40;
        }
        Ok(Self(bytes.to_vec()))
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        matches!(bytes.len(), 1..=20).then(|| Self(bytes.to_vec()))
    }

    pub(super) fn to_rcgen(&self) -> rcgen::SerialNumber {
        rcgen::SerialNumber::from_slice(&self.0)
    }
}

impl fmt::Display for Serial {
    /// Two hexadecimal digits a byte.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Serial {
    type Err = NotANumber;

    fn from_str(text: &str) -> Result<Self, NotANumber> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| NotANumber)?;
        Self::from_bytes(&bytes).ok_or(NotANumber)
    }
}

/// A text that is not the serial number or fingerprint of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the serial number or fingerprint of a certificate, in hexadecimal digits")]
pub struct NotANumber;

pub(super) fn parsed(der: &[u8]) -> Result<X509Certificate<'_>, CaError> {
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_| CaError::NotACertificate)?;
    if rest.is_empty() { Ok(certificate) } else { Err(CaError::NotACertificate) }
}

pub(super) fn first_der(text: &str) -> Result<Vec<u8>, CaError> {
    Pem::iter_from_buffer(text.as_bytes())
        .filter_map(Result::ok)
        .find(|block| block.label == "CERTIFICATE")
        .map(|block| block.contents)
        .ok_or(CaError::NotACertificate)
}

/// The public key of a certificate, with its algorithm.
pub(super) fn public_key(der: &[u8]) -> Result<Vec<u8>, CaError> {
    Ok(parsed(der)?.public_key().raw.to_vec())
}

macro_rules! as_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = NotANumber;

            fn try_from(text: String) -> Result<Self, NotANumber> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(number: $name) -> String {
                number.to_string()
            }
        }
    };
}

as_text!(Fingerprint);
as_text!(Serial);
