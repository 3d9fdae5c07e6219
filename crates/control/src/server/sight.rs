//! What somebody may see while they watch: the grants, as of a moment.

use std::sync::Arc;

use jiff::Timestamp;
use tonic::Status;

use crate::grants::Grants;

use super::desk::Desk;

/// The grants as of a moment.
pub(super) struct Sight {
    grants: Arc<Grants>,
    at: Timestamp,
}

impl Sight {
    /// As of now.
    pub(super) fn new(desk: &Desk) -> Result<Self, Status> {
        Ok(Self { grants: desk.grants()?, at: Timestamp::now() })
    }

    /// Looks again. Says whether somebody may see something else than at the last look: grants
    /// were made or removed, or have begun or ended.
    pub(super) fn look(&mut self, desk: &Desk) -> Result<bool, Status> {
        let now = Self::new(desk)?;
        // The same grants are the same object: see `Desk::grants`.
        let is_same = Arc::ptr_eq(&self.grants, &now.grants);
        let is_other = !is_same || self.grants.turned(self.at, now.at);
        *self = now;
        Ok(is_other)
    }

    pub(super) fn grants(&self) -> Arc<Grants> {
        Arc::clone(&self.grants)
    }
}
