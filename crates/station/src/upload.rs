//! Sends one part to whoever asked for it, from an offset on and as it grows.

use std::io::SeekFrom;
use std::path::PathBuf;

use api::PIECE_BYTES;
use api::proto::Piece;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use crate::attend::LineError;
use crate::board::Reached;
use crate::identity::{Identity, client};

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Upload {
    /// What the pieces answer.
    pub(crate) transfer: String,
    /// The packets.
    pub(crate) path: PathBuf,
    /// How far they reach.
    pub(crate) reached: watch::Receiver<Reached>,
    /// Where to begin.
    pub(crate) offset: u64,
}

impl Upload {
    /// Sends until the part has ended or nobody takes any more.
    pub(crate) async fn run(self, identity: &Identity) -> Result<(), LineError> {
        // A connection of its own: whoever reads slowly stops it here, and nothing else.
        let mut client = client(identity.channel()?);
        let (sender, pieces) = mpsc::channel(1);
        let sending = self.send(sender);
        let (answer, sent) = tokio::join!(client.upload(ReceiverStream::new(pieces)), sending);
        sent?;
        answer?;
        Ok(())
    }

    async fn send(mut self, to: mpsc::Sender<Piece>) -> Result<(), LineError> {
        let transfer = std::mem::take(&mut self.transfer);
        let hello = Piece { transfer, ..Piece::default() };
        if to.send(hello).await.is_err() {
            return Ok(());
        }
        let mut file = File::open(&self.path).await?;
        file.seek(SeekFrom::Start(self.offset)).await?;
        loop {
            let reached = *self.reached.borrow_and_update();
            while self.offset < reached.bytes {
                let wanted = reached.bytes - self.offset;
                let wanted = usize::try_from(wanted).unwrap_or(usize::MAX).min(PIECE_BYTES);
                let mut bytes = vec![0; wanted];
                let len = file.read(&mut bytes).await?;
                if len == 0 {
                    return Err(LineError::Shorter(self.path));
                }
                bytes.truncate(len);
                self.offset += len as u64;
                if to.send(Piece { bytes: bytes.into(), ..Piece::default() }).await.is_err() {
                    return Ok(());
                }
            }
            let mark = Piece {
                settled_ns: reached.settled_ns,
                is_last: reached.is_last,
                ..Piece::default()
            };
            if to.send(mark).await.is_err() || reached.is_last {
                return Ok(());
            }
            tokio::select! {
                changed = self.reached.changed() => if changed.is_err() { return Ok(()) },
                () = to.closed() => return Ok(()),
            }
        }
    }
}
