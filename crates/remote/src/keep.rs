//! Copies a session into an object store: each part from its agent as it comes, unwoven, and last
//! the document that says that all of it is there.
//!
//! What was copied stays when the copying is interrupted: another one goes on after the last part
//! that is all there.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::document::{Part, Session};
use api::proto::FetchRequest;
use object_store::MultipartUpload;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use crate::bucket::{Bucket, BucketError};
use crate::fetch::{AHEAD, News, fetch, follow};
use crate::stored::{
    DOCUMENT, Document, FORMAT, MOST_DOCUMENT_BYTES, StoredPart, hashes_name, packets_name, sha256,
};
use crate::{Connection, Told};

/// A session to be copied into a store.
#[derive(Debug)]
pub struct Keeping {
    /// The session, as it was found.
    pub session: Session,
    /// The controller.
    pub connection: Connection,
    /// Where it goes: the place that ends in its id.
    pub bucket: Bucket,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Parts.
    pub parts: usize,
    /// Parts that were there from an earlier time.
    pub were_there: usize,
    /// Bytes of all parts.
    pub bytes: u64,
}

/// Why a session was not copied.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The store.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The session cannot be followed.
    #[error("the session cannot be followed: {0}")]
    Lost(String),
    /// An agent does not send a part.
    #[error(
        "part {number} of {host} cannot be fetched: {why}; what is stored stays, and the same \
         command goes on from there"
    )]
    Away {
        /// The part's number.
        number: u32,
        /// Its host.
        host: String,
        /// Why.
        why: String,
    },
    /// It was stopped.
    #[error("it was stopped; what is stored stays, and the same command goes on from there")]
    Stopped,
    /// A fault of the program.
    #[error("a task broke off: {0}")]
    Task(#[from] JoinError),
}

/// What every task needs.
struct Tools {
    connection: Connection,
    bucket: Bucket,
    /// Parts at a time.
    turns: Semaphore,
}

impl Keeping {
    /// Copies until the session has ended and all of it is there, or `stop` comes.
    ///
    /// # Errors
    /// When not all of it could be copied. Nothing then says that it was.
    pub async fn run(
        self,
        stop: impl Future<Output = ()>,
        mut tell: impl FnMut(Told),
    ) -> Result<Kept, KeepError> {
        let mut session = self.session;
        let (to, mut news) = mpsc::channel(4);
        let following = follow(self.connection.clone(), session.id.clone(), to);
        let following = tokio::spawn(following);
        let tools = Arc::new(Tools {
            connection: self.connection,
            bucket: self.bucket,
            turns: Semaphore::new(AT_ONCE),
        });
        let (stopping, is_stopping) = watch::channel(());
        let mut tasks: JoinSet<Result<(StoredPart, bool), KeepError>> = JoinSet::new();
        let mut parts: BTreeMap<(String, u32), Option<StoredPart>> = BTreeMap::new();
        let mut were_there = 0;
        tokio::pin!(stop);
        let outcome = loop {
            for part in &session.parts {
                let key = (part.agent.clone(), part.number);
                if parts.contains_key(&key) {
                    continue;
                }
                parts.insert(key, None);
                let (tools, part) = (Arc::clone(&tools), part.clone());
                let mut is_stopping = is_stopping.clone();
                tasks.spawn(async move { tools.copy(&part, &mut is_stopping).await });
            }
            if session.is_complete() && tasks.is_empty() {
                break Ok(());
            }
            tokio::select! {
                heard = news.recv() => match heard {
                    Some(News::Session(now)) => session = *now,
                    Some(News::Lost(why)) => break Err(KeepError::Lost(why)),
                    _ => {}
                },
                Some(done) = tasks.join_next() => match done {
                    Ok(Ok((part, was_there))) => {
                        were_there += usize::from(was_there);
                        let place = tools.bucket.place(&part.name());
                        tell(Told::Sentence(format!("{place}: {} bytes", part.bytes)));
                        parts.insert((part.agent.clone(), part.number), Some(part));
                    }
                    Ok(Err(error)) => break Err(error),
                    Err(error) => break Err(error.into()),
                },
                () = &mut stop => break Err(KeepError::Stopped),
            }
        };
        following.abort();
        // Half an object is nobody's: what was begun in the store is given up there.
        drop(stopping);
        while tasks.join_next().await.is_some() {}
        outcome?;
        let parts: Vec<StoredPart> = parts.into_values().flatten().collect();
        let kept = Kept {
            parts: parts.len(),
            were_there,
            bytes: parts.iter().map(|part| part.bytes).sum(),
        };
        tools.say_all_is_there(session, parts).await?;
        Ok(kept)
    }
}

impl Tools {
    /// Copies one part, unless it is there. Says whether it was.
    async fn copy(
        &self,
        part: &Part,
        stopping: &mut watch::Receiver<()>,
    ) -> Result<(StoredPart, bool), KeepError> {
        // It is never closed.
        let _turn = self.turns.acquire().await;
        if part.freed_bytes > 0 {
            let why = format!("its first {} bytes were fetched and released", part.freed_bytes);
            return Err(KeepError::Away { number: part.number, host: part.host.clone(), why });
        }
        if let Some(there) = self.find(part).await? {
            return Ok((there, true));
        }
        let name = packets_name(&part.agent, part.number);
        let mut upload = Upload::new(&self.bucket, &name);
        let copied = tokio::select! {
            copied = self.send(part, &mut upload) => copied,
            // Its other end is dropped when everybody is to stop.
            _ = stopping.changed() => Err(KeepError::Stopped),
        };
        let (bytes, hashes) = match copied {
            Ok(()) => upload.finish().await?,
            Err(error) => {
                upload.give_up().await;
                return Err(error);
            }
        };
        let stored = StoredPart {
            agent: part.agent.clone(),
            number: part.number,
            bytes,
            piece_bytes: UPLOAD_BYTES as u64,
            sha256: hashes,
        };
        let json = serde_json::to_vec(&stored).unwrap_or_default();
        self.bucket.put(&hashes_name(part), json).await?;
        Ok((stored, false))
    }

    /// The part, if an earlier copying has brought all of it there.
    async fn find(&self, part: &Part) -> Result<Option<StoredPart>, BucketError> {
        if part.ended.is_none() {
            return Ok(None);
        }
        let json = match self.bucket.read(&hashes_name(part), MOST_DOCUMENT_BYTES).await {
            Err(BucketError::Absent(_)) => return Ok(None),
            other => other?,
        };
        let Ok(there) = serde_json::from_slice::<StoredPart>(&json) else { return Ok(None) };
        let is_this = there.agent == part.agent && there.number == part.number;
        if !is_this || there.bytes != part.bytes {
            return Ok(None);
        }
        match self.bucket.look(&there.name()).await {
            Ok(object) if object.bytes == there.bytes => Ok(Some(there)),
            Ok(_) | Err(BucketError::Absent(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends all of a part as its agent does.
    async fn send(&self, part: &Part, upload: &mut Upload<'_>) -> Result<(), KeepError> {
        let ask = FetchRequest {
            session: part.session.clone(),
            agent: part.agent.clone(),
            part: part.number,
            offset: 0,
        };
        let (to, mut news) = mpsc::channel(4);
        let ahead = Arc::new(Semaphore::new(AHEAD));
        let connection = self.connection.clone();
        // It ends when nobody listens any more.
        tokio::spawn(fetch(connection, ask, 0, Arc::clone(&ahead), to));
        let mut away_since: Option<Instant> = None;
        while let Some(heard) = news.recv().await {
            match heard {
                News::Piece(_, piece) => {
                    away_since = None;
                    ahead.add_permits(1);
                    upload.take(&piece.bytes).await?;
                    if piece.is_last {
                        return Ok(());
                    }
                }
                News::Refused(why) => return Err(KeepError::Lost(why.to_string())),
                News::Away(_, why) => {
                    let since = *away_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > PATIENCE {
                        let (number, host) = (part.number, part.host.clone());
                        return Err(KeepError::Away { number, host, why });
                    }
                }
                _ => {}
            }
        }
        Err(KeepError::Stopped)
    }

    async fn say_all_is_there(
        &self,
        mut session: Session,
        parts: Vec<StoredPart>,
    ) -> Result<(), BucketError> {
        session.permit = serde_json::Value::Null;
        let document = Document { format: FORMAT, session, parts };
        let json = serde_json::to_vec_pretty(&document).map_err(|error| BucketError::Failed {
            place: self.bucket.place(DOCUMENT),
            reason: error.to_string(),
        })?;
        self.bucket.put(DOCUMENT, json).await
    }
}

/// An object on its way into the store.
struct Upload<'a> {
    bucket: &'a Bucket,
    name: &'a str,
    /// What is not sent yet: less than a piece.
    waiting: Vec<u8>,
    bytes: u64,
    hashes: Vec<String>,
    /// What was begun in the store; `None` while one piece is all there is.
    begun: Option<Box<dyn MultipartUpload>>,
    /// The piece that is being sent.
    sending: Option<tokio::task::JoinHandle<object_store::Result<()>>>,
}

impl<'a> Upload<'a> {
    const fn new(bucket: &'a Bucket, name: &'a str) -> Self {
        Self {
            bucket,
            name,
            waiting: Vec::new(),
            bytes: 0,
            hashes: Vec::new(),
            begun: None,
            sending: None,
        }
    }

    async fn take(&mut self, mut bytes: &[u8]) -> Result<(), BucketError> {
        self.bytes += bytes.len() as u64;
        while self.waiting.len() + bytes.len() > UPLOAD_BYTES {
            let (now, later) = bytes.split_at(UPLOAD_BYTES - self.waiting.len());
            self.waiting.extend_from_slice(now);
            bytes = later;
            self.send_piece().await?;
        }
        self.waiting.extend_from_slice(bytes);
        Ok(())
    }

    /// Sends what waits as a piece, once the last one is there.
    async fn send_piece(&mut self) -> Result<(), BucketError> {
        let piece = std::mem::take(&mut self.waiting);
        self.hashes.push(sha256(&piece));
        self.wait().await?;
        if self.begun.is_none() {
            self.begun = Some(self.bucket.begin(self.name).await?);
        }
        if let Some(begun) = &mut self.begun {
            self.sending = Some(tokio::spawn(begun.put_part(piece.into())));
        }
        Ok(())
    }

    /// Waits for the piece that is being sent.
    async fn wait(&mut self) -> Result<(), BucketError> {
        let Some(sending) = self.sending.take() else { return Ok(()) };
        let sent = sending.await.unwrap_or_else(|error| Err(error.into()));
        sent.map_err(|error| self.bucket.error(self.name, &error))
    }

    /// Makes the object what was taken. Its length and the hashes of its pieces.
    async fn finish(mut self) -> Result<(u64, Vec<String>), BucketError> {
        if self.begun.is_none() {
            let piece = std::mem::take(&mut self.waiting);
            if !piece.is_empty() {
                self.hashes.push(sha256(&piece));
            }
            self.bucket.put(self.name, piece).await?;
        } else if let Err(error) = self.complete().await {
            self.give_up().await;
            return Err(error);
        }
        let there = self.bucket.look(self.name).await?;
        if there.bytes != self.bytes {
            let reason = format!("{} bytes were sent, {} are there", self.bytes, there.bytes);
            return Err(BucketError::Failed { place: self.bucket.place(self.name), reason });
        }
        Ok((self.bytes, self.hashes))
    }

    async fn complete(&mut self) -> Result<(), BucketError> {
        if !self.waiting.is_empty() {
            self.send_piece().await?;
        }
        self.wait().await?;
        if let Some(begun) = &mut self.begun {
            let done = begun.complete().await;
            done.map_err(|error| self.bucket.error(self.name, &error))?;
        }
        Ok(())
    }

    /// Removes from the store what was begun there. One that cannot be reached keeps it, unseen,
    /// until its own rules remove it.
    async fn give_up(mut self) {
        if let Some(sending) = self.sending.take() {
            sending.abort();
        }
        if let Some(mut begun) = self.begun.take() {
            let _ = tokio::time::timeout(GIVE_UP_WITHIN, begun.abort()).await;
        }
    }
}

/// A piece of an upload; an object has at most 10 000 of them, so a part at most 78 GiB.
const UPLOAD_BYTES: usize = 8 << 20;

/// Parts that are copied at a time.
const AT_ONCE: usize = 4;

/// How long an agent that does not send is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the store may take to forget what was begun.
const GIVE_UP_WITHIN: Duration = Duration::from_secs(5);
