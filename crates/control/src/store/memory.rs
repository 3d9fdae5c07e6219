//! A store that forgets: for tests, and the plainest reading of what a store must do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::audit::{Draft, Entry, Head};
use crate::store::{Change, Commit, Document, Kind, Store, StoreError, Version};

/// A store in memory. Clones are the same store.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

#[derive(Debug, Clone, Default)]
struct State {
    documents: BTreeMap<(Kind, String), Document>,
    entries: Vec<Entry>,
    version: u64,
}

impl MemoryStore {
    /// Changes are made on a copy, so a panic in between leaves the last commit.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn read(&self, kind: Kind, key: &str) -> Result<Option<Document>, StoreError> {
        Ok(self.state().documents.get(&(kind, key.to_owned())).cloned())
    }

    fn list(&self, kind: Kind) -> Result<Vec<Document>, StoreError> {
        Ok(self.state().documents.values().filter(|d| d.kind == kind).cloned().collect())
    }

    fn commit(&self, changes: &[Change], entries: &[Draft]) -> Result<Commit, StoreError> {
        let mut state = self.state();
        let mut next = state.clone();
        let commit = next.commit(changes, entries)?;
        *state = next;
        Ok(commit)
    }

    fn version(&self) -> Result<Version, StoreError> {
        Ok(Version(self.state().version))
    }

    fn audit(&self, first: u64, most: usize) -> Result<Vec<Entry>, StoreError> {
        let state = self.state();
        Ok(state.entries.iter().filter(|entry| entry.seq >= first).take(most).cloned().collect())
    }

    fn audit_head(&self) -> Result<Head, StoreError> {
        Ok(self.state().head())
    }
}

impl State {
    fn commit(&mut self, changes: &[Change], entries: &[Draft]) -> Result<Commit, StoreError> {
        self.version += 1;
        let version = Version(self.version);
        for change in changes {
            let at = (change.kind(), change.key().to_owned());
            change.check(self.documents.get(&at).map(|found| found.version))?;
            match change.body() {
                None => self.documents.remove(&at),
                Some(body) => {
                    let (kind, key) = at.clone();
                    let document = Document { kind, key, version, body: body.to_owned() };
                    self.documents.insert(at, document)
                }
            };
        }
        for entry in entries {
            self.entries.push(entry.chain(self.head()).map_err(StoreError::Entry)?);
        }
        Ok(Commit { version, head: self.head() })
    }

    fn head(&self) -> Head {
        self.entries.last().map_or(Head::EMPTY, Entry::head)
    }
}
