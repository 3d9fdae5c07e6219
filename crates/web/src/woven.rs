//! A session woven into one capture file, as `overtap sessions fetch` does, for somebody who reads
//! it while it is written.
//!
//! The weaving has a thread of its own, since it waits for slow readers; what waits then stays
//! with the agents.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use api::document::Session;
use remote::{Capture, Connection, Keeper, Output, Wanted};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A file that is being written. When it is dropped, the writing ends.
pub(crate) struct Woven {
    /// Its bytes.
    pub(crate) bytes: UnixStream,
    writing: JoinHandle<Result<(), String>>,
    _reader: watch::Sender<()>,
}

impl Woven {
    /// Begins to weave; if `is_live`, a host that is away is waited for only shortly.
    pub(crate) fn begin(
        controller: Connection,
        session: Session,
        application: String,
        is_live: bool,
    ) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let bytes = UnixStream::from_std(ours)?;
        let wanted = Wanted {
            packets: session.wish.limits.packets,
            session,
            output: Output {
                path: None,
                open: Some(Arc::new(OwnedFd::from(theirs))),
                force: false,
                ring: None,
                min_free_bytes: None,
                application,
            },
            is_live,
            ends_session: false,
            releases: false,
        };
        let (reader, is_read) = watch::channel(());
        let runtime = Handle::current();
        let writing = tokio::task::spawn_blocking(move || {
            let gone = || {
                let mut is_read = is_read.clone();
                // Nothing is ever sent: this ends when the reader does.
                async move { while is_read.changed().await.is_ok() {} }
            };
            let capture = Capture::new(wanted, Keeper::Controller(controller));
            let receipt = runtime.block_on(capture.run(gone, |_| {}));
            receipt.map(drop).map_err(|error| error.to_string())
        });
        Ok(Self { bytes, writing, _reader: reader })
    }

    /// Once its bytes have ended: whether all of it was written.
    pub(crate) async fn end(self) -> io::Result<()> {
        let written = self.writing.await.map_err(io::Error::other)?;
        written.map_err(io::Error::other)
    }
}
