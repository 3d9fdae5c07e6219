//! A session in an object store: its parts as objects, and a document that knows each of them.
//!
//! ```text
//! PREFIX/ID/AGENT-0001.pcapng   a part, byte for byte as its agent has it
//! PREFIX/ID/AGENT-0001.json     its hashes, once it is all there
//! PREFIX/ID/session.json        the session and all parts; written last: it says that all is there
//! ```
//!
//! A part is hashed in pieces, and read in the same pieces: no byte is used before it is known to
//! be the one that was stored.

use std::ops::Range;
use std::sync::Arc;

use api::document::{Part, Session};
use api::proto::Piece;
use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};

use crate::bucket::{Access, Bucket, BucketAddress, BucketError};
use crate::fetch::News;

/// A session that is kept in an object store.
#[derive(Debug, Clone)]
pub struct StoredSession {
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) document: Document,
}

/// `session.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Document {
    /// The shape of this document: [`FORMAT`].
    pub(crate) format: u32,
    /// The session as the controller told it at the end, without its permit.
    pub(crate) session: Session,
    /// The parts there are.
    pub(crate) parts: Vec<StoredPart>,
}

/// A part in the store: `AGENT-0001.json`, and a row of `session.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredPart {
    /// The agent that had it.
    pub(crate) agent: String,
    /// Its number there.
    pub(crate) number: u32,
    /// Its length.
    pub(crate) bytes: u64,
    /// The length of the pieces it was hashed in, all but the last.
    pub(crate) piece_bytes: u64,
    /// The SHA-256 of each piece, in hexadecimal digits.
    pub(crate) sha256: Vec<String>,
}

impl StoredSession {
    /// Opens the session at `address`, which ends in its id.
    ///
    /// # Errors
    /// When it is not there, not all there, or cannot be read.
    pub async fn open(address: BucketAddress, access: &Access) -> Result<Self, BucketError> {
        let bucket = Bucket::open(address, access)?;
        let bytes = match bucket.read(DOCUMENT, MOST_DOCUMENT_BYTES).await {
            Err(BucketError::Absent(place)) => {
                let reason = "no session is here, or not all of it: one that was interrupted on \
                              its way is completed by another overtap sessions store"
                    .into();
                return Err(BucketError::Failed { place, reason });
            }
            other => other?,
        };
        let failed = |reason: String| BucketError::Failed { place: bucket.place(DOCUMENT), reason };
        let document: Document =
            serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
        if document.format > FORMAT {
            return Err(failed("a newer overtap has written it".into()));
        }
        Ok(Self { bucket: Arc::new(bucket), document })
    }

    /// The session, as it was when it was stored.
    pub const fn session(&self) -> &Session {
        &self.document.session
    }

    /// Where it is.
    pub fn address(&self) -> &BucketAddress {
        self.bucket.address()
    }

    /// What is known of a part; `None` if it is not kept here.
    pub(crate) fn part(&self, agent: &str, number: u32) -> Option<StoredPart> {
        let mut parts = self.document.parts.iter();
        parts.find(|part| part.agent == agent && part.number == number).cloned()
    }
}

impl StoredPart {
    /// Where its packets are.
    pub(crate) fn name(&self) -> String {
        packets_name(&self.agent, self.number)
    }

    /// Its pieces, with the hash of each.
    fn pieces(&self) -> impl Iterator<Item = (Range<u64>, &str)> {
        let starts = (0..).map(|i: u64| i.saturating_mul(self.piece_bytes));
        let end = |start: u64| start.saturating_add(self.piece_bytes).min(self.bytes);
        starts.zip(&self.sha256).map(move |(start, hash)| (start..end(start), hash.as_str()))
    }

    /// Whether as many pieces are named as there are.
    fn is_consistent(&self) -> bool {
        self.piece_bytes > 0
            && self.piece_bytes <= MOST_PIECE_BYTES
            && self.sha256.len() as u64 == self.bytes.div_ceil(self.piece_bytes)
    }
}

/// Reads one part from the store, as [`fetch`](crate::fetch::fetch) does from its agent.
pub(crate) async fn fetch_stored(
    bucket: Arc<Bucket>,
    part: StoredPart,
    number: usize,
    ahead: Arc<Semaphore>,
    to: mpsc::Sender<News>,
) {
    if let Err(error) = read(&bucket, &part, number, &ahead, &to).await {
        let _ = to.send(News::Gone(number, error.to_string())).await;
    }
}

async fn read(
    bucket: &Bucket,
    part: &StoredPart,
    number: usize,
    ahead: &Semaphore,
    to: &mpsc::Sender<News>,
) -> Result<(), BucketError> {
    let name = part.name();
    let object = bucket.look(&name).await?;
    let changed = || BucketError::Changed(bucket.place(&name));
    if object.bytes != part.bytes || !part.is_consistent() {
        return Err(changed());
    }
    for (range, hash) in part.pieces() {
        let bytes = bucket.read_range(&name, &object, range).await?;
        if sha256(&bytes) != hash {
            return Err(changed());
        }
        for bytes in bytes.chunks(api::PIECE_BYTES) {
            let piece = Piece { bytes: bytes.to_vec().into(), ..Piece::default() };
            send(number, piece, ahead, to).await;
        }
    }
    send(number, Piece { is_last: true, ..Piece::default() }, ahead, to).await;
    Ok(())
}

async fn send(number: usize, piece: Piece, ahead: &Semaphore, to: &mpsc::Sender<News>) {
    // One for each piece; given back when it has been woven in.
    if let Ok(permit) = ahead.acquire().await {
        permit.forget();
    }
    // Nobody listens any more: the others will notice, too.
    let _ = to.send(News::Piece(number, piece)).await;
}

/// The object of a part's packets.
pub(crate) fn packets_name(agent: &str, number: u32) -> String {
    format!("{agent}-{number:04}.pcapng")
}

/// The object of a part's hashes.
pub(crate) fn hashes_name(part: &Part) -> String {
    format!("{}-{:04}.json", part.agent, part.number)
}

/// A hash as it is written.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest(&SHA256, bytes).as_ref())
}

/// The object that is written last.
pub(crate) const DOCUMENT: &str = "session.json";

/// What this release writes.
pub(crate) const FORMAT: u32 = 1;

/// What is read of a document before it is held to be something else.
pub(crate) const MOST_DOCUMENT_BYTES: u64 = 256 << 20;

/// The largest piece that is read at once.
const MOST_PIECE_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_part_has_as_many_pieces_as_hashes() {
        let part = StoredPart {
            agent: "a-1".into(),
            number: 7,
            bytes: 25,
            piece_bytes: 10,
            sha256: vec!["a".into(), "b".into(), "c".into()],
        };
        assert!(part.is_consistent());
        let pieces: Vec<_> = part.pieces().collect();
        assert_eq!(pieces, [(0..10, "a"), (10..20, "b"), (20..25, "c")]);
        assert_eq!(part.name(), "a-1-0007.pcapng");
        assert!(!StoredPart { bytes: 31, ..part.clone() }.is_consistent());
        assert!(!StoredPart { piece_bytes: 0, ..part }.is_consistent());
    }
}
