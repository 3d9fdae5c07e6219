//! A connection that carries IPFIX: messages one behind the other, plain or in TLS.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use rustls::{ServerConfig, ServerConnection};

use crate::batch::Batch;

/// A connection.
pub(crate) struct Stream {
    pub(crate) socket: TcpStream,
    pub(crate) peer: SocketAddr,
    tls: Option<Box<ServerConnection>>,
    /// What came of a message that is not whole yet.
    held: Vec<u8>,
    began: Instant,
    has_spoken: bool,
}

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The exporter has ended it, or the network.
    Ended,
    /// What came is not IPFIX, or no TLS of somebody we believe.
    NotIpfix,
}

impl Stream {
    pub(crate) fn new(
        socket: TcpStream,
        peer: SocketAddr,
        tls: Option<&Arc<ServerConfig>>,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // An exporter that lost its power says nothing, for ever.
        let _ = sockopt::set_socket_keepalive(&socket, true);
        let tls = tls.map(|config| ServerConnection::new(Arc::clone(config)).map(Box::new));
        let tls = tls.transpose().map_err(io::Error::other)?;
        Ok(Self { socket, peer, tls, held: Vec::new(), began: Instant::now(), has_spoken: false })
    }

    /// Whether it has something to say to the other side.
    pub(crate) fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Whether it should have spoken its first words long ago. One that has, and is silent now,
    /// is kept: there may be nothing to export.
    pub(crate) fn is_overdue(&self) -> bool {
        let is_handshaking = self.tls.as_ref().is_some_and(|tls| tls.is_handshaking());
        let age = self.began.elapsed();
        is_handshaking && age > HANDSHAKE || !self.has_spoken && age > FIRST_MESSAGE
    }

    /// Reads what is there, at most some 64 KiB, and shows the messages that are whole.
    pub(crate) fn read(&mut self, mut each: impl FnMut(&[u8])) -> Result<(), Closed> {
        let mut chunk = [0; CHUNK];
        if self.tls.is_some() {
            self.read_tls(&mut chunk)?;
        } else {
            match self.socket.read(&mut chunk) {
                Ok(0) => return Err(Closed::Ended),
                Ok(len) => self.held.extend_from_slice(chunk.get(..len).unwrap_or_default()),
                Err(error) if is_later(&error) => return Ok(()),
                Err(_) => return Err(Closed::Ended),
            }
        }
        self.messages(&mut each)
    }

    /// Sends what TLS has to say.
    pub(crate) fn write(&mut self) -> Result<(), Closed> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if is_later(&error) => return Ok(()),
                Err(_) => return Err(Closed::Ended),
            }
        }
        Ok(())
    }

    fn read_tls(&mut self, chunk: &mut [u8]) -> Result<(), Closed> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        match tls.read_tls(&mut self.socket) {
            Ok(0) => return Err(Closed::Ended),
            Ok(_) => {}
            Err(error) if is_later(&error) => return Ok(()),
            Err(_) => return Err(Closed::Ended),
        }
        if tls.process_new_packets().is_err() {
            // The alert says why; whether it arrives is the other side's business.
            let _ = tls.write_tls(&mut self.socket);
            return Err(Closed::NotIpfix);
        }
        loop {
            match tls.reader().read(chunk) {
                Ok(0) => return Err(Closed::Ended),
                Ok(len) => self.held.extend_from_slice(chunk.get(..len).unwrap_or_default()),
                Err(error) if is_later(&error) => break,
                Err(_) => return Err(Closed::Ended),
            }
        }
        self.write()
    }

    /// Shows whole messages and keeps the rest.
    fn messages(&mut self, each: &mut impl FnMut(&[u8])) -> Result<(), Closed> {
        let mut at = 0;
        while let Some([v0, v1, l0, l1, ..]) = self.held.get(at..) {
            // RFC 7011, section 3.1: the version, then the length with the header of 16 bytes.
            let len = usize::from(u16::from_be_bytes([*l0, *l1]));
            if u16::from_be_bytes([*v0, *v1]) != 10 || len < 16 {
                return Err(Closed::NotIpfix);
            }
            let Some(message) = self.held.get(at..at + len) else { break };
            each(message);
            self.has_spoken = true;
            at += len;
        }
        self.held.drain(..at);
        debug_assert!(self.held.len() <= Batch::LONGEST);
        Ok(())
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

const CHUNK: usize = 65_536;
/// How long the handshake of TLS may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the first message may take. RFC 7011, section 8: templates are sent when a connection
/// begins, before there is a flow to tell of.
const FIRST_MESSAGE: Duration = Duration::from_secs(60);
