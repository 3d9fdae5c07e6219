//! Who this agent is: a key that never leaves the host, and the controller's certificate for it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::kept::Kept;
use api::MAX_MESSAGE_BYTES;
use api::proto::EnrolRequest;
use api::proto::agents_client::AgentsClient;
use api::proto::enrolment_client::EnrolmentClient;
use api::tls::{ConnectError, Controller, authority};
use control::ca::{Certificate, Fingerprint, Request};
use control::tokens::EnrolmentToken;
use serde::{Deserialize, Serialize};
use tonic::transport::Channel;

/// An enrolled agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Identity {
    /// Whom it attends.
    pub controller: Controller,
    /// Who it is there.
    pub agent_id: String,
    /// Its certificate, PEM.
    pub certificate_pem: String,
    key_pem: String,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// Nobody enrolled this agent.
    #[error(
        "this agent belongs to no controller yet ({} is missing); on the controller: overtap \
         agents invite; then here: overtap agent enrol --token TOKEN", path.display()
    )]
    NotEnrolled {
        /// The file that is missing.
        path: PathBuf,
    },
    /// It belongs to one already.
    #[error(
        "this agent is {agent} of {address} already; with --force it leaves there and enrols anew"
    )]
    IsEnrolled {
        /// Who it is.
        agent: String,
        /// Where.
        address: String,
    },
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The controller cannot be reached, or is another one.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The controller refused.
    #[error("the controller refuses: {0}")]
    Refused(String),
    /// The key could not be made or the answer makes no sense.
    #[error("{0}")]
    Certificate(#[from] control::ca::CaError),
}

impl Identity {
    /// Makes this host an agent of the controller that the token speaks of, called `host` there.
    ///
    /// # Errors
    /// When it is one already, and `is_forced` does not say that this ends; when the controller is
    /// not there, is not the one that is meant, or does not take the token.
    pub async fn enrol(
        folder: &Path,
        token: &EnrolmentToken,
        host: &str,
        version: &str,
        is_forced: bool,
    ) -> Result<Self, EnrolError> {
        match Self::open(folder) {
            Ok(found) if !is_forced => {
                let address = found.controller.address;
                return Err(EnrolError::IsEnrolled { agent: found.agent_id, address });
            }
            Err(EnrolError::File { path, source }) => {
                return Err(EnrolError::File { path, source });
            }
            _ => {}
        }
        let address = token.address.to_string();
        let wanted = token.ca;
        let ca_pem = authority(&address, move |der| Fingerprint::of(der) == wanted).await?;
        let controller = Controller { address, ca_pem };
        let request = Request::make()?;
        let ask = EnrolRequest {
            token: token.to_string(),
            host: host.to_owned(),
            request: request.der.into(),
            version: version.to_owned(),
        };
        let mut client = EnrolmentClient::new(controller.channel(None)?);
        let given = client
            .enrol(ask)
            .await
            .map_err(|refusal| EnrolError::Refused(refusal.message().to_owned()))?
            .into_inner();
        let identity = Self {
            // The token's authority may be one that is about to be retired.
            controller: Controller { ca_pem: given.ca_pem, ..controller },
            agent_id: given.agent_id,
            certificate_pem: given.certificate_pem,
            key_pem: request.key_pem,
        };
        // What another controller said, or the same one to another, opens nothing any more.
        let kept = Kept::of(&identity.agent_id);
        kept.remove()
            .map_err(|source| EnrolError::File { path: kept.path().to_owned(), source })?;
        identity.save(folder)?;
        Ok(identity)
    }

    /// The identity kept in `folder`.
    ///
    /// # Errors
    /// When there is none or it cannot be read.
    pub fn open(folder: &Path) -> Result<Self, EnrolError> {
        let path = folder.join(FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(EnrolError::NotEnrolled { path });
            }
            text => text.map_err(|source| EnrolError::File { path: path.clone(), source })?,
        };
        serde_json::from_str(&text)
            .map_err(|error| EnrolError::File { path, source: io::Error::other(error) })
    }

    /// A channel to the controller, as this agent.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub fn channel(&self) -> Result<Channel, ConnectError> {
        self.controller.channel(Some((&self.certificate_pem, &self.key_pem)))
    }

    /// Until when its certificate is good.
    pub(crate) fn not_after(&self) -> Result<jiff::Timestamp, EnrolError> {
        Ok(Certificate::from_pem(&self.certificate_pem)?.not_after())
    }

    /// When to ask for the next certificate.
    pub(crate) fn renew_at(&self) -> Result<jiff::Timestamp, EnrolError> {
        Ok(Certificate::from_pem(&self.certificate_pem)?.renew_at())
    }

    /// Asks for the next certificate, for a new key, and keeps it.
    pub(crate) async fn renew(&self, folder: &Path) -> Result<Self, EnrolError> {
        let request = Request::make()?;
        let ask = api::proto::RenewRequest { request: request.der.into() };
        let mut client = client(self.channel()?);
        let given = client
            .renew(ask)
            .await
            .map_err(|refusal| EnrolError::Refused(refusal.message().to_owned()))?
            .into_inner();
        let identity = Self {
            controller: Controller { ca_pem: given.ca_pem, ..self.controller.clone() },
            agent_id: given.agent_id,
            certificate_pem: given.certificate_pem,
            key_pem: request.key_pem,
        };
        identity.save(folder)?;
        Ok(identity)
    }

    /// Writes it whole or not at all, readable for its owner alone.
    fn save(&self, folder: &Path) -> Result<(), EnrolError> {
        let path = folder.join(FILE);
        let failed = |source| EnrolError::File { path: path.clone(), source };
        let text = serde_json::to_string_pretty(self).map_err(io::Error::other).map_err(failed)?;
        fs::create_dir_all(folder).map_err(failed)?;
        let new = folder.join(format!("{FILE}.new"));
        let write = || {
            let _ = fs::remove_file(&new);
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(failed)
    }
}

/// The agents' service on a channel.
pub(crate) fn client(channel: Channel) -> AgentsClient<Channel> {
    AgentsClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

const FILE: &str = "identity.json";
