//! Which authority a store belongs to.
//!
//! A controller of another authority would be known by no agent and no login of those in the store, and
//! would sign what nobody believes. So several that share a store must have one authority, and
//! one that has another does not begin.

use serde::{Deserialize, Serialize};

use crate::ca::{Fingerprint, Standing};
use crate::store::{Change, Expected, Kind, Store, StoreError, Stored};

/// The authority that a store belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Belonging {
    /// Its certificate.
    pub authority: Fingerprint,
}

impl Stored for Belonging {
    const KIND: Kind = Kind::Setting;

    fn key(&self) -> String {
        KEY.to_owned()
    }
}

impl Belonging {
    /// Sees to it that `store` belongs to the authority `ours`: it does, or belongs to none yet,
    /// or to the one before ours. If `is_new`, whatever it belonged to is no more.
    ///
    /// # Errors
    /// When it belongs to another one, or cannot be asked.
    pub fn settle(store: &dyn Store, ours: &Standing, is_new: bool) -> Result<(), BelongingError> {
        let settled = Self { authority: ours.ca.fingerprint() };
        let known = store.one::<Self>(KEY)?;
        let expected = match &known {
            Some(known) if known.value == settled => return Ok(()),
            Some(known) => {
                let is_ours = |believed: Fingerprint| believed == known.value.authority;
                if !is_new && !ours.believed().any(|believed| is_ours(believed.fingerprint())) {
                    let (store, ours) = (known.value.authority, settled.authority);
                    return Err(BelongingError::Another { store, ours });
                }
                Expected::Version(known.version)
            }
            None => Expected::Absent,
        };
        store.commit(&[Change::put(&settled, expected)?], &[])?;
        Ok(())
    }
}

/// Why a controller cannot work with a store.
#[derive(Debug, thiserror::Error)]
pub enum BelongingError {
    /// It belongs to another authority.
    #[error(
        "the store belongs to controllers with the authority {store}, and this one has {ours}: copy \
         ca.pem from the folder of another controller into this one's. If that authority is lost for \
         good, say --new-authority: then every agent is to be enrolled and every user to log in again"
    )]
    Another {
        /// The store's.
        store: Fingerprint,
        /// Ours.
        ours: Fingerprint,
    },
    /// It cannot be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

const KEY: &str = "authority";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail this way")]

    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::ca::Authority;
    use crate::store::MemoryStore;

    #[test]
    fn a_store_belongs_to_the_first_authority_and_to_those_after_it() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let now = Timestamp::now();
        let first = Authority::open_or_make(one.path(), now).unwrap();
        let another = Authority::open_or_make(other.path(), now).unwrap();
        let store = MemoryStore::default();
        let settle = |ours: &Authority, is_new| Belonging::settle(&store, &ours.now(), is_new);
        settle(&first, false).unwrap();
        settle(&first, false).unwrap();
        assert!(matches!(settle(&another, false), Err(BelongingError::Another { .. })));
        let next = first.prepare(now + SignedDuration::from_hours(1), now).unwrap();
        first.install(next).unwrap();
        settle(&first, false).unwrap();
        settle(&another, true).unwrap();
        assert!(matches!(settle(&first, false), Err(BelongingError::Another { .. })));
    }
}
