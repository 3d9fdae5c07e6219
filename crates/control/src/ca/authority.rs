//! The authority of a controller while it changes hands: the one that signs, and for a while the
//! one before it, whose certificates are still believed.
//!
//! `docs/decisions/0017-rotating-the-authority.md`. One file holds both, so a rotation is there
//! whole or not at all, whatever is killed; the key of the one before is gone from that moment on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use api::tls::CONTROLLER_NAME;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::ca::folder::{self, FolderError};
use crate::ca::{Ca, CaError, Certificate, Fingerprint, certificate};

/// The authority of a controller, kept in its folder.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    standing: watch::Sender<Arc<Standing>>,
    /// Held while it changes: two rotations at once would be none.
    changing: Mutex<()>,
}

/// The authority as it is now, and what the controller shows by it.
#[derive(Debug)]
pub struct Standing {
    /// The one that signs.
    pub ca: Ca,
    /// The one before, while it is still believed.
    pub before: Option<Before>,
    /// The controller's own certificate.
    pub(crate) leaf: Certificate,
    /// Its key, PEM. Secret; it is never written anywhere.
    pub(crate) leaf_key: String,
}

/// The authority before, of which there is no key any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    /// Its certificate.
    pub certificate: Certificate,
    /// The new authority's certificate, signed by this one: who believes this one alone believes
    /// the new one by it.
    pub cross: Certificate,
    /// Until when it is believed at least; then, until all agents have renewed.
    pub until: Timestamp,
}

/// Why an authority is not made or taken away.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// One at a time.
    #[error(
        "the authority before, {0}, is still believed; retire it first: overtap agents \
         retire-authority"
    )]
    UnderWay(Fingerprint),
    /// There is none before.
    #[error("there is no authority to retire: it was not rotated, or the one before is gone")]
    None,
    /// None can be made.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// It cannot be kept.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// An authority that was made and does not hold yet.
#[derive(Debug)]
pub struct Prepared(Standing);

impl Prepared {
    /// Which one it is.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.ca.fingerprint()
    }
}

impl Authority {
    /// The one of `folder`; made at the first call. The folder must exist.
    ///
    /// # Errors
    /// When its file cannot be used, or nothing can be signed with it.
    pub fn open_or_make(folder: &Path, now: Timestamp) -> Result<Self, FolderError> {
        let (ca, before) = folder::open_or_make(folder, now)?;
        let standing = Standing::new(ca, before, now);
        let standing = standing.map_err(|error| FolderError::Ca(folder.to_owned(), error))?;
        Ok(Self {
            folder: folder.to_owned(),
            standing: watch::Sender::new(Arc::new(standing)),
            changing: Mutex::new(()),
        })
    }

    /// As it is now.
    pub fn now(&self) -> Arc<Standing> {
        Arc::clone(&self.standing.borrow())
    }

    /// As it is, and whenever it changes.
    pub fn watch(&self) -> watch::Receiver<Arc<Standing>> {
        self.standing.subscribe()
    }

    /// Makes another authority beside this one, which is believed until `until` at least.
    ///
    /// # Errors
    /// While the one before is still believed, or when none can be made.
    pub fn prepare(&self, until: Timestamp, now: Timestamp) -> Result<Prepared, RotationError> {
        let standing = self.now();
        if let Some(before) = &standing.before {
            return Err(RotationError::UnderWay(before.certificate.fingerprint()));
        }
        let ca = Ca::make(now)?;
        let cross = standing.ca.vouch_for(&ca, now)?;
        let certificate = standing.ca.certificate().clone();
        let before = Some(Before { certificate, cross, until });
        Ok(Prepared(Standing::new(ca, before, now)?))
    }

    /// Lets it hold from now on. The key of the one before is gone when this returns.
    ///
    /// # Errors
    /// When another one was faster, or it cannot be kept: all is as it was.
    pub fn install(&self, prepared: Prepared) -> Result<(), RotationError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = &self.now().before {
            return Err(RotationError::UnderWay(before.certificate.fingerprint()));
        }
        folder::replace(&self.folder, &prepared.0.ca, prepared.0.before.as_ref())?;
        self.standing.send_replace(Arc::new(prepared.0));
        Ok(())
    }

    /// Believes the one before no more.
    ///
    /// # Errors
    /// When there is none, or that cannot be kept.
    pub fn retire(&self, now: Timestamp) -> Result<(), RotationError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = self.now();
        if standing.before.is_none() {
            return Err(RotationError::None);
        }
        let ca = Ca::from_pem(&standing.ca.to_pem())?;
        let next = Standing::new(ca, None, now)?;
        folder::replace(&self.folder, &next.ca, None)?;
        self.standing.send_replace(Arc::new(next));
        Ok(())
    }
}

impl Standing {
    fn new(ca: Ca, before: Option<Before>, now: Timestamp) -> Result<Self, CaError> {
        let (leaf, leaf_key) = ca.issue_server(&[CONTROLLER_NAME.to_owned()], now)?;
        Ok(Self { ca, before, leaf, leaf_key })
    }

    /// What the controller shows, its own certificate first (DER). Whoever knows either authority
    /// by its fingerprint finds it there, and can check the way from it.
    pub(crate) fn chain(&self) -> Vec<&[u8]> {
        let mut chain = vec![self.leaf.der(), self.ca.certificate().der()];
        if let Some(before) = &self.before {
            chain.extend([before.cross.der(), before.certificate.der()]);
        }
        chain
    }

    /// The authorities whose agents are let in (DER).
    pub(crate) fn believed(&self) -> impl Iterator<Item = &Certificate> {
        let before = self.before.iter().map(|before| &before.certificate);
        std::iter::once(self.ca.certificate()).chain(before)
    }

    /// Which of the believed authorities signed a certificate (DER); none of them if `None`.
    pub fn issuer_of(&self, der: &[u8]) -> Option<Fingerprint> {
        let leaf = certificate::parsed(der).ok()?;
        let signed = |authority: &&Certificate| {
            let authority = certificate::parsed(authority.der());
            authority.is_ok_and(|ca| leaf.verify_signature(Some(ca.public_key())).is_ok())
        };
        self.believed().find(signed).map(Certificate::fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::Request;

    fn now() -> Timestamp {
        "2026-11-21T18:00:00Z".parse().unwrap()
    }

    fn rotated(folder: &Path) -> (Authority, Fingerprint) {
        let authority = Authority::open_or_make(folder, now()).unwrap();
        let before = authority.now().ca.fingerprint();
        let prepared = authority.prepare(now(), now()).unwrap();
        authority.install(prepared).unwrap();
        (authority, before)
    }

    #[test]
    fn a_rotation_survives_a_start_and_ends_with_one_authority() {
        let folder = tempfile::tempdir().unwrap();
        let (authority, before) = rotated(folder.path());
        let now_ = authority.now();
        let read = Authority::open_or_make(folder.path(), now()).unwrap().now();
        assert_eq!(read.ca.fingerprint(), now_.ca.fingerprint());
        assert_eq!(read.before, now_.before);
        assert_eq!(read.before.as_ref().unwrap().certificate.fingerprint(), before);
        assert!(
            matches!(authority.prepare(now(), now()), Err(RotationError::UnderWay(f)) if f == before)
        );
        authority.retire(now()).unwrap();
        let read = Authority::open_or_make(folder.path(), now()).unwrap().now();
        assert_eq!(read.ca.fingerprint(), now_.ca.fingerprint());
        assert!(read.before.is_none());
        assert!(matches!(authority.retire(now()), Err(RotationError::None)));
    }

    #[test]
    fn the_file_has_one_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let (authority, _) = rotated(folder.path());
        let text = std::fs::read_to_string(folder.path().join("ca.pem")).unwrap();
        assert_eq!(text.matches("PRIVATE KEY").count(), 2, "begin and end of one");
        assert!(text.contains(&authority.now().ca.to_pem()));
        let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(files.len(), 1, "no draft is left");
    }

    #[test]
    fn agents_of_both_are_told_apart_until_one_is_retired() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_make(folder.path(), now()).unwrap();
        let issue = |authority: &Authority| {
            let request = Request::make().unwrap().der;
            authority.now().ca.issue_agent(&"hv-1".parse().unwrap(), &request, now()).unwrap()
        };
        let old = issue(&authority);
        let first = authority.now().ca.fingerprint();
        authority.install(authority.prepare(now(), now()).unwrap()).unwrap();
        let new = issue(&authority);
        let second = authority.now().ca.fingerprint();
        assert_eq!(authority.now().issuer_of(old.der()), Some(first));
        assert_eq!(authority.now().issuer_of(new.der()), Some(second));
        authority.retire(now()).unwrap();
        assert_eq!(authority.now().issuer_of(old.der()), None);
        assert_eq!(authority.now().issuer_of(new.der()), Some(second));
    }
}
