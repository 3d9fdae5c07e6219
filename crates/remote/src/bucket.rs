//! A place in an S3-compatible object store: objects below one prefix of one bucket.
//!
//! Credentials are those of whoever runs the program, from where the field has them: the `AWS_*`
//! environment, a web identity, the metadata of a machine or container. TLS is asked of every
//! store that is not on this machine: what goes there is packets.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::{Path, PathPart};
use object_store::{
    Certificate, ClientOptions, GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt,
    RetryConfig,
};

/// Where a session is kept or looked for: `s3://BUCKET/PREFIX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketAddress {
    bucket: String,
    /// Without `/` at its ends; may be empty.
    prefix: String,
}

/// How a store is reached, where the environment does not say so.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The address of the service, `https://HOST[:PORT]`; Amazon's own if nobody says.
    pub endpoint: Option<String>,
    /// The region; `us-east-1` if nobody says.
    pub region: Option<String>,
}

/// A place in a store, open.
#[derive(Debug)]
pub struct Bucket {
    store: AmazonS3,
    address: BucketAddress,
}

/// Why a store does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// That is no address of a place in a store.
    #[error("`{0}` is no place in an object store: it is written s3://BUCKET/PREFIX")]
    Address(String),
    /// The address would have packets go over a network as they are.
    #[error(
        "{0} is not on this machine and speaks no TLS: packets are kept in stores that are \
         reached by https:// only"
    )]
    Plain(String),
    /// The settings make no sense together.
    #[error("cannot use the object store: {0}")]
    SetUp(String),
    /// There is no such object.
    #[error("{0} is not there")]
    Absent(String),
    /// The store says no to these credentials.
    #[error("{place}: the store refuses the credentials it was shown: {reason}")]
    Refused {
        /// The object.
        place: String,
        /// What the store said.
        reason: String,
    },
    /// Nobody said with which credentials, and this machine has none of its own.
    #[error(
        "{0}: there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (this \
         machine was asked for its own and has none)"
    )]
    NoCredentials(String),
    /// An object is another one than it was.
    #[error("{0} is not what was stored: somebody changed it")]
    Changed(String),
    /// Anything else.
    #[error("{place}: {reason}")]
    Failed {
        /// The object.
        place: String,
        /// What the store said, or why it could not be asked.
        reason: String,
    },
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    /// Its length.
    pub(crate) bytes: u64,
    /// Names its content, for whoever reads it in pieces.
    pub(crate) tag: Option<String>,
}

impl BucketAddress {
    /// Whether a word is meant as one.
    pub fn is_meant(word: &str) -> bool {
        word.starts_with(SCHEME)
    }

    /// Reads `s3://BUCKET/PREFIX`.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, BucketError> {
        let wrong = || BucketError::Address(text.to_owned());
        let rest = text.strip_prefix(SCHEME).ok_or_else(wrong)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_matches('/').to_owned();
        let is_named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if bucket.is_empty() || !bucket.chars().all(is_named) || Path::parse(&prefix).is_err() {
            return Err(wrong());
        }
        Ok(Self { bucket: bucket.to_owned(), prefix })
    }

    /// The place below this one that has a name.
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        let prefix =
            if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        Self { bucket: self.bucket.clone(), prefix: prefix + name }
    }
}

impl fmt::Display for BucketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.bucket)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

impl Bucket {
    /// Opens a place. Whether it is there shows at the first question.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub fn open(address: BucketAddress, access: &Access) -> Result<Self, BucketError> {
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(&address.bucket);
        if let Some(region) = &access.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &access.endpoint {
            builder = builder
                .with_endpoint(endpoint)
                .with_config(AmazonS3ConfigKey::S3Endpoint, endpoint.as_str());
        }
        let endpoint = builder
            .get_config_value(&AmazonS3ConfigKey::S3Endpoint)
            .or_else(|| builder.get_config_value(&AmazonS3ConfigKey::Endpoint));
        let is_plain = endpoint.as_ref().is_some_and(|endpoint| !endpoint.starts_with("https://"));
        if let Some(endpoint) = endpoint.filter(|endpoint| is_plain && !is_own_machine(endpoint)) {
            return Err(BucketError::Plain(endpoint));
        }
        let mut options = ClientOptions::new()
            .with_allow_http(is_plain)
            .with_connect_timeout(CONNECT_WITHIN)
            .with_timeout(ANSWER_WITHIN);
        for certificate in authorities()? {
            options = options.with_root_certificate(certificate);
        }
        let retry = RetryConfig {
            max_retries: 5,
            retry_timeout: Duration::from_secs(60),
            ..RetryConfig::default()
        };
        let store = builder.with_client_options(options).with_retry(retry).build();
        let store = store.map_err(|error| BucketError::SetUp(error.to_string()))?;
        Ok(Self { store, address })
    }

    /// Where it is.
    pub const fn address(&self) -> &BucketAddress {
        &self.address
    }

    /// Puts a whole object there, instead of what was there.
    pub(crate) async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), BucketError> {
        let put = self.store.put(&self.path(name), bytes.into()).await;
        put.map_err(|error| self.error(name, &error))?;
        Ok(())
    }

    /// Begins an object that is put there piece by piece; nothing is there before it is complete.
    pub(crate) async fn begin(&self, name: &str) -> Result<Box<dyn MultipartUpload>, BucketError> {
        let begun = self.store.put_multipart(&self.path(name)).await;
        begun.map_err(|error| self.error(name, &error))
    }

    /// What is known of an object.
    pub(crate) async fn look(&self, name: &str) -> Result<Object, BucketError> {
        let found = self.store.head(&self.path(name)).await;
        let found = found.map_err(|error| self.error(name, &error))?;
        Ok(Object { bytes: found.size, tag: found.e_tag })
    }

    /// A whole object, if it has at most `most` bytes.
    pub(crate) async fn read(&self, name: &str, most: u64) -> Result<Vec<u8>, BucketError> {
        let found = self.store.get(&self.path(name)).await;
        let found = found.map_err(|error| self.error(name, &error))?;
        if found.meta.size > most {
            let reason = format!("it has {} bytes, which is too much", found.meta.size);
            return Err(BucketError::Failed { place: self.place(name), reason });
        }
        let bytes = found.bytes().await.map_err(|error| self.error(name, &error))?;
        Ok(bytes.into())
    }

    /// Some bytes of an object, as long as it is still the one that was looked at.
    pub(crate) async fn read_range(
        &self,
        name: &str,
        of: &Object,
        range: Range<u64>,
    ) -> Result<Vec<u8>, BucketError> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            if_match: of.tag.clone(),
            ..GetOptions::default()
        };
        let found = self.store.get_opts(&self.path(name), options).await;
        let found = found.map_err(|error| self.error(name, &error))?;
        let bytes = found.bytes().await.map_err(|error| self.error(name, &error))?;
        Ok(bytes.into())
    }

    /// An object, for people.
    pub(crate) fn place(&self, name: &str) -> String {
        self.address.below(name).to_string()
    }

    /// What went wrong with an object.
    pub(crate) fn error(&self, name: &str, error: &object_store::Error) -> BucketError {
        use object_store::Error as E;
        let place = self.place(name);
        let reason = said(&error.to_string());
        match error {
            E::NotFound { .. } if reason.contains("NoSuchBucket") => {
                let place = format!("{SCHEME}{}", self.address.bucket);
                BucketError::Failed { place, reason: "there is no such bucket".into() }
            }
            E::NotFound { .. } => BucketError::Absent(place),
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
                BucketError::Refused { place, reason }
            }
            E::Precondition { .. } => BucketError::Changed(place),
            _ if METADATA.iter().any(|address| reason.contains(address)) => {
                BucketError::NoCredentials(place)
            }
            _ => BucketError::Failed { place, reason },
        }
    }

    fn path(&self, name: &str) -> Path {
        // The prefix was read as a path before; a name is one part of one, whatever is in it.
        let parts = self.address.prefix.split('/').filter(|part| !part.is_empty());
        parts.chain([name]).map(PathPart::from).collect()
    }
}

/// The authorities that `AWS_CA_BUNDLE` names, beside those of the system.
fn authorities() -> Result<Vec<Certificate>, BucketError> {
    let Some(file) = std::env::var_os("AWS_CA_BUNDLE").filter(|file| !file.is_empty()) else {
        return Ok(Vec::new());
    };
    let failed = |reason: String| {
        BucketError::SetUp(format!("AWS_CA_BUNDLE, {}: {reason}", file.to_string_lossy()))
    };
    let pem = std::fs::read(&file).map_err(|error| failed(error.to_string()))?;
    Certificate::from_pem_bundle(&pem).map_err(|error| failed(error.to_string()))
}

/// Whether an address of a service is on this machine.
fn is_own_machine(endpoint: &str) -> bool {
    let rest = endpoint.strip_prefix("http://").unwrap_or(endpoint);
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// What a store said, without the XML it said it in.
fn said(text: &str) -> String {
    let within = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        rest.split_once(&format!("</{tag}>")).map(|(inside, _)| inside)
    };
    match (within("Code"), within("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => text.to_owned(),
    }
}

/// Where machines and containers of Amazon's ask for credentials of their own.
const METADATA: [&str; 2] = ["169.254.169.254", "169.254.170.2"];

const SCHEME: &str = "s3://";
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A piece of some MiB over a slow line.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn an_address_is_a_bucket_and_a_prefix() {
        let address = BucketAddress::parse("s3://captures/2026/web/").unwrap();
        assert_eq!(address.to_string(), "s3://captures/2026/web");
        assert_eq!(address.below("s-1").to_string(), "s3://captures/2026/web/s-1");
        assert_eq!(BucketAddress::parse("s3://captures").unwrap().below("x").prefix, "x");
        for wrong in ["captures", "s3://", "s3:///x", "s3://a b/x", "s3://b/../x", "http://b/x"] {
            assert!(BucketAddress::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn without_tls_only_this_machine() {
        for own in ["http://127.0.0.1:9000", "http://localhost", "http://[::1]:9000/x"] {
            assert!(is_own_machine(own), "{own}");
        }
        for far in
            ["http://10.0.0.1:9000", "http://localhost.example.org", "http://127.0.0.1.nip.io"]
        {
            assert!(!is_own_machine(far), "{far}");
        }
    }

    #[test]
    fn a_refusal_is_told_without_its_xml() {
        let text = "403: <Error><Code>AccessDenied</Code><Message>no</Message></Error>";
        assert_eq!(said(text), "AccessDenied: no");
        assert_eq!(said("timed out"), "timed out");
    }
}
