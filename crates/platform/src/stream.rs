//! A socket that is read without ever blocking past a deadline or a wish to stop.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::watch::wait;

/// A connection to a daemon, of this host mostly.
#[derive(Debug)]
pub(crate) struct Stream {
    /// A socket; only what it has in common with a file is asked of it.
    socket: File,
    buffer: Vec<u8>,
}

/// How waiting for bytes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// There are some.
    Bytes,
    /// The deadline passed.
    Deadline,
    /// One of the other descriptors has something to read.
    Woken,
}

impl Stream {
    /// Connects to the socket at `path`.
    pub(crate) fn connect(path: &Path) -> io::Result<Self> {
        let socket = UnixStream::connect(path)?;
        socket.set_nonblocking(true)?;
        Ok(Self::of(socket.into()))
    }

    /// Connects to a daemon that may be elsewhere.
    pub(crate) fn connect_tcp(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        Ok(Self::of(socket.into()))
    }

    fn of(socket: OwnedFd) -> Self {
        Self { socket: socket.into(), buffer: vec![0; 64 << 10] }
    }

    /// Appends the bytes that arrive next to `bytes`. The end of the stream is an error: a
    /// daemon does not leave in the middle of a conversation. Waiting ends, too, when one of
    /// `others` has something to read.
    pub(crate) fn read(
        &mut self,
        bytes: &mut Vec<u8>,
        others: &[BorrowedFd<'_>],
        deadline: Option<Instant>,
    ) -> io::Result<Arrival> {
        loop {
            match self.socket.read(&mut self.buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => {
                    bytes.extend_from_slice(self.buffer.get(..len).unwrap_or_default());
                    return Ok(Arrival::Bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let mut fds = vec![self.socket.as_fd()];
            fds.extend_from_slice(others);
            match wait(&fds, deadline)?.split_first() {
                Some((_, others)) if others.contains(&true) => return Ok(Arrival::Woken),
                Some((true, _)) => {}
                _ => return Ok(Arrival::Deadline),
            }
        }
    }

    /// Sends all of `bytes`. What we say is short: a daemon that does not take it in time hangs.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let deadline = Instant::now() + WRITE_TIMEOUT;
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.socket.write(rest) {
                Ok(len) => rest = rest.get(len..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if Instant::now() >= deadline {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// How often a daemon that is away is looked for: soon at first, then once a second.
#[derive(Debug)]
pub(crate) struct BackOff(Duration);

impl BackOff {
    /// From the beginning.
    pub(crate) fn new() -> Self {
        Self(BACK_OFF_FIRST)
    }

    /// When to try again, from now.
    pub(crate) fn next(&mut self) -> Instant {
        let at = Instant::now() + self.0;
        self.0 = (self.0 * 2).min(BACK_OFF_LAST);
        at
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
const BACK_OFF_FIRST: Duration = Duration::from_millis(50);
/// Less than the second within which a change must be seen.
const BACK_OFF_LAST: Duration = Duration::from_millis(800);
