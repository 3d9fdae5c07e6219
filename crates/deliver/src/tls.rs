//! TLS around a stream: who we are, who the peer must be, and a relay that speaks it.
//!
//! Who reads or writes packets has no rights, and shall hold no keys either. So TLS ends in a
//! [`Relay`], a thread on the side where the rights are; the packets' side has the other end of a
//! socket pair, which is a stream like any other.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use broker::Tls;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::ServerConnection;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig};

/// TLS as it is spoken with one peer or those of one listener: its files are read and fit together.
#[derive(Debug, Clone)]
pub struct TlsEnd {
    kind: EndKind,
}

#[derive(Debug, Clone)]
enum EndKind {
    /// We call.
    Caller(Arc<ClientConfig>, ServerName<'static>),
    /// We are called.
    Called(Arc<ServerConfig>),
}

impl TlsEnd {
    /// For calling the peer that is called `host`, a name or an address.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn caller(tls: &Tls, host: &str) -> io::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(authorities(&tls.ca)?);
        let config = match own(tls)? {
            Some((chain, key)) => {
                builder.with_client_auth_cert(chain, key).map_err(|error| misfit(&error))?
            }
            None => builder.with_no_client_auth(),
        };
        let name = tls.name.as_deref().unwrap_or(host).to_owned();
        let wrong = |_| invalid(format!("`{name}` can be in no certificate"));
        let name = match name.parse::<IpAddr>() {
            Ok(address) => ServerName::IpAddress(address.into()),
            Err(_) => ServerName::try_from(name.clone()).map_err(wrong)?,
        };
        Ok(Self { kind: EndKind::Caller(Arc::new(config), name) })
    }

    /// For those who call; each must show a certificate.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn called(tls: &Tls) -> io::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(authorities(&tls.ca)?);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_client_cert_verifier(verifier.map_err(io::Error::other)?);
        let needs = || invalid("who is called over TLS needs a certificate and its key".into());
        let (chain, key) = own(tls)?.ok_or_else(needs)?;
        let config = builder.with_single_cert(chain, key).map_err(|error| misfit(&error))?;
        Ok(Self { kind: EndKind::Called(Arc::new(config)) })
    }

    /// Shakes hands on a connection, within a bounded time, and leaves the rest to a relay. Returns
    /// our end of it, to be read and written as if there were no TLS.
    ///
    /// # Errors
    /// Why the peer is not believed, or does not believe us; or that it does not speak TLS.
    pub fn connect(&self, mut socket: TcpStream) -> io::Result<(OwnedFd, Relay)> {
        let mut tls = match &self.kind {
            EndKind::Caller(config, name) => {
                ClientConnection::new(Arc::clone(config), name.clone()).map(Connection::Client)
            }
            EndKind::Called(config) => {
                ServerConnection::new(Arc::clone(config)).map(Connection::Server)
            }
        }
        .map_err(io::Error::other)?;
        shake_hands(&mut tls, &mut socket)?;
        socket.set_read_timeout(None)?;
        socket.set_write_timeout(None)?;
        socket.set_nonblocking(true)?;
        let (ours, plain) = UnixStream::pair()?;
        plain.set_nonblocking(true)?;
        let end = Arc::new(Mutex::new(None));
        let told = Arc::clone(&end);
        let thread = std::thread::Builder::new().name("tls".into()).spawn(move || {
            let mut running = Running { tls, socket, plain, unread: Vec::new() };
            let result = running.run();
            // Before the other side sees the end, so that it can ask why.
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(match result {
                Ok(()) => None,
                Err(error) => Some(error.to_string()),
            });
        })?;
        Ok((ours.into(), Relay { thread: Some(thread), end }))
    }
}

/// A thread that carries bytes between a socket pair and a peer that speaks TLS.
///
/// It ends when either side does. Dropped, it is given some seconds to send what it has.
#[derive(Debug)]
pub struct Relay {
    thread: Option<JoinHandle<()>>,
    end: Arc<Mutex<Option<Option<String>>>>,
}

impl Relay {
    /// Whether it is over.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Why it is over, if it is and that was not somebody's proper goodbye.
    pub fn trouble(&self) -> Option<String> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).clone().flatten()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let deadline = Instant::now() + SENDING_REST;
        while !self.has_ended() && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
        // A peer that takes nothing keeps its thread until the process ends.
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            let _ = thread.join();
        }
    }
}

/// What the thread works on.
struct Running {
    tls: Connection,
    socket: TcpStream,
    plain: UnixStream,
    /// What the peer has sent and nobody has taken yet.
    unread: Vec<u8>,
}

impl Running {
    fn run(&mut self) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        let mut is_plain_over = false;
        loop {
            let is_over = self.read_peer(&mut chunk)?;
            self.give()?;
            if is_over && self.unread.is_empty() {
                return Ok(());
            }
            // The next plain bytes only when the last ones are on their way: memory is bounded.
            if !is_plain_over && !self.tls.wants_write() {
                is_plain_over = self.take(&mut chunk)?;
                if is_plain_over {
                    self.tls.send_close_notify();
                }
            }
            self.write_peer()?;
            if is_plain_over && !self.tls.wants_write() {
                return Ok(());
            }
            self.wait(is_plain_over)?;
        }
    }

    /// Reads what the peer has sent; whether it has said goodbye.
    fn read_peer(&mut self, chunk: &mut [u8]) -> io::Result<bool> {
        if !self.unread.is_empty() {
            return Ok(false);
        }
        match self.tls.read_tls(&mut self.socket) {
            // Without a goodbye somebody else may have cut it off (RFC 8446, section 6.1).
            Ok(0) => return Err(io::Error::other("it was cut off")),
            Ok(_) => {}
            // Some may have come with the last words of the handshake.
            Err(error) if is_later(&error) => {}
            Err(error) => return Err(error),
        }
        self.tls.process_new_packets().map_err(|error| {
            // The alert says why; whether it arrives is the peer's business.
            let _ = self.tls.write_tls(&mut self.socket);
            io::Error::other(error)
        })?;
        loop {
            match self.tls.reader().read(chunk) {
                Ok(0) => return Ok(true),
                Ok(len) => self.unread.extend_from_slice(chunk.get(..len).unwrap_or_default()),
                Err(error) if is_later(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives on what the peer has sent, as far as it is taken.
    fn give(&mut self) -> io::Result<()> {
        while !self.unread.is_empty() {
            match self.plain.write(&self.unread) {
                Ok(len) => drop(self.unread.drain(..len)),
                Err(error) if is_later(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes what is to be sent; whether nothing will come any more.
    fn take(&mut self, chunk: &mut [u8]) -> io::Result<bool> {
        match self.plain.read(chunk) {
            Ok(0) => Ok(true),
            Ok(len) => {
                self.tls.writer().write_all(chunk.get(..len).unwrap_or_default())?;
                Ok(false)
            }
            Err(error) if is_later(&error) => Ok(false),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn write_peer(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if is_later(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn wait(&self, is_plain_over: bool) -> io::Result<()> {
        let (mut peer, mut plain) = (PollFlags::empty(), PollFlags::empty());
        if self.tls.wants_write() {
            peer |= PollFlags::OUT;
        } else if !is_plain_over {
            plain |= PollFlags::IN;
        }
        if self.unread.is_empty() {
            peer |= PollFlags::IN;
        } else {
            plain |= PollFlags::OUT;
        }
        let mut watched = vec![PollFd::new(&self.socket, peer)];
        // Poll would tell again and again that a pair has ended.
        if !plain.is_empty() {
            watched.push(PollFd::new(&self.plain, plain));
        }
        match poll(&mut watched, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The handshake, in which each side proves who it is.
fn shake_hands(tls: &mut Connection, socket: &mut TcpStream) -> io::Result<()> {
    let deadline = Instant::now() + HANDSHAKE;
    socket.set_nonblocking(true)?;
    while tls.is_handshaking() || tls.wants_write() {
        let is_writing = tls.wants_write();
        let flags = if is_writing { PollFlags::OUT } else { PollFlags::IN };
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&socket.as_fd(), flags)], Some(&timeout)) {
            Ok(0) => return Err(io::Error::new(ErrorKind::TimedOut, "no TLS came in time")),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let step = match is_writing {
            true => tls.write_tls(socket).map(|_| ()),
            false => read_hello(tls, socket),
        };
        match step {
            Err(error) if is_later(&error) => {}
            step => step?,
        }
    }
    Ok(())
}

fn read_hello(tls: &mut Connection, socket: &mut TcpStream) -> io::Result<()> {
    if tls.read_tls(socket)? == 0 {
        let text = "it closed the connection instead of speaking TLS";
        return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
    }
    tls.process_new_packets().map_err(|error| {
        let _ = tls.write_tls(socket);
        io::Error::other(error)
    })?;
    Ok(())
}

fn authorities(path: &Path) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unusable(path, &error))?;
    }
    Ok(roots)
}

type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Our certificate and its key, if we have one.
fn own(tls: &Tls) -> io::Result<Option<Own>> {
    match (&tls.certificate, &tls.key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
            Ok(Some((chain, key)))
        }
        _ => Err(invalid("a certificate needs its key, and a key its certificate".into())),
    }
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| unusable(path, &error))?;
    let all: Result<Vec<_>, _> = read.collect();
    let all = all.map_err(|error| unusable(path, &error))?;
    if all.is_empty() { Err(unusable(path, &"it has no certificate")) } else { Ok(all) }
}

fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> io::Error {
    invalid(format!("cannot use {}: {reason}", path.display()))
}

fn misfit(error: &rustls::Error) -> io::Error {
    invalid(format!("this certificate and key do not go together: {error}"))
}

fn invalid(text: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, text)
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

const CHUNK: usize = 32 * 1024;
/// How long the handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long what is on its way at the end is waited for.
const SENDING_REST: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(5);
