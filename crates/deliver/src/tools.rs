//! The outlets to a broker's tools: datagrams into tunnels, pcapng into streams.
//!
//! A tool is opened where there are rights and is written to where there are none: [`open_tool`]
//! makes a socket, which may be handed to another process, and [`ToolOutlets`] writes to it.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use broker::{Mtu, Outlet, Outlets, Tls, Tool, ToolAccount, ToolDrop};
use rustix::net::sockopt;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, connect, getsockname};
use select::Export;
use wire::file::{InterfaceHeader, SectionHeader};
use wire::{Packet, Timestamp};

use crate::datagrams::Datagrams;
use crate::tls::{Relay, TlsEnd};
use crate::{Destination, FileSettings, FileSink, WhenSlow};

/// A tool that was opened.
#[derive(Debug)]
pub struct ToolSocket {
    /// A connected socket, a file, or a socket that listens.
    pub fd: OwnedFd,
    /// What it is.
    pub kind: ToolSocketKind,
    /// What the way takes, where that limits anything.
    pub mtu: Mtu,
    /// How its packets are known on the wire, so that they are not captured again.
    pub export: Option<Export>,
    /// What speaks TLS for it as long as it lives.
    pub relay: Option<Relay>,
    /// How those who call a listener are spoken with; `None` for plain TCP.
    pub tls: Option<TlsEnd>,
}

/// How a tool's socket is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolSocketKind {
    /// Each packet in a datagram of its own.
    Datagrams,
    /// A stream of pcapng.
    Stream,
    /// A stream of pcapng to somebody who is called again when the connection is lost.
    Caller,
    /// Readers are taken from it; each gets a stream of pcapng.
    Listener,
}

/// Opens the way to a tool. Its IP packets are never fragmented.
///
/// [`Outlet::Rspan`] needs a packet socket, which `capture` makes.
///
/// # Errors
/// What the system says: no way there, nobody listens, no right.
pub fn open_tool(outlet: &Outlet) -> io::Result<ToolSocket> {
    match outlet {
        Outlet::Vxlan { target, port, .. }
        | Outlet::Geneve { target, port, .. }
        | Outlet::Tzsp { target, port } => open_udp(SocketAddr::new(*target, *port)),
        Outlet::Gre { target, .. }
        | Outlet::Erspan2 { target, .. }
        | Outlet::Erspan3 { target, .. } => open_gre(*target),
        Outlet::PcapOverIp { target, tls } => {
            let host = target.ip().to_string();
            let tls = tls.as_ref().map(|tls| TlsEnd::caller(tls, &host)).transpose()?;
            let connection = TcpStream::connect_timeout(target, CONNECT_WITHIN)?;
            Ok(ToolSocket { kind: ToolSocketKind::Caller, ..reader(connection, tls.as_ref())? })
        }
        Outlet::PcapOverIpListen { listen, tls } => {
            let tls = tls.as_ref().map(TlsEnd::called).transpose()?;
            let listener = TcpListener::bind(listen)?;
            listener.set_nonblocking(true)?;
            Ok(ToolSocket { tls, ..stream(listener.into(), ToolSocketKind::Listener, None) })
        }
        Outlet::Unix { path } => {
            Ok(stream(UnixStream::connect(path)?.into(), ToolSocketKind::Stream, None))
        }
        Outlet::File { path } => {
            // Packets are nobody else's business.
            let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            Ok(stream(open?.into(), ToolSocketKind::Stream, None))
        }
        Outlet::Stdout => {
            let stdout = io::stdout().as_fd().try_clone_to_owned()?;
            if rustix::termios::isatty(&stdout) {
                return Err(io::Error::other("standard output is a terminal"));
            }
            Ok(stream(stdout, ToolSocketKind::Stream, None))
        }
        Outlet::Rspan { .. } => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// The next connection of somebody who has called, if one has.
///
/// # Errors
/// What the system says.
pub fn accept(listener: &impl AsFd) -> io::Result<Option<TcpStream>> {
    let listener = TcpListener::from(listener.as_fd().try_clone_to_owned()?);
    match listener.accept() {
        Ok((connection, _)) => Ok(Some(connection)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// The reader at the other end of a connection. With TLS that takes as long as the handshake.
///
/// # Errors
/// What the system says, or why the reader is not believed.
pub fn reader(connection: TcpStream, tls: Option<&TlsEnd>) -> io::Result<ToolSocket> {
    let export = Some(Export::Tcp(connection.local_addr()?, connection.peer_addr()?));
    notice_silence(&connection)?;
    let Some(tls) = tls else {
        return Ok(stream(connection.into(), ToolSocketKind::Stream, export));
    };
    let (fd, relay) = tls.connect(connection)?;
    Ok(ToolSocket { relay: Some(relay), ..stream(fd, ToolSocketKind::Stream, export) })
}

/// Connects to somebody who sends a capture: a stream to be read.
///
/// # Errors
/// What the system says, or why the peer is not believed.
pub fn call(host: &str, port: u16, tls: Option<&Tls>) -> io::Result<(OwnedFd, Option<Relay>)> {
    let tls = tls.map(|tls| TlsEnd::caller(tls, host)).transpose()?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
            Ok(connection) => {
                let ToolSocket { fd, relay, .. } = reader(connection, tls.as_ref())?;
                return Ok((fd, relay));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A peer that has vanished without a word is noticed within a minute.
fn notice_silence(connection: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(connection, true)?;
    sockopt::set_tcp_keepidle(connection, Duration::from_secs(20))?;
    sockopt::set_tcp_keepintvl(connection, Duration::from_secs(10))?;
    Ok(sockopt::set_tcp_keepcnt(connection, 4)?)
}

fn open_udp(target: SocketAddr) -> io::Result<ToolSocket> {
    let unspecified: IpAddr = match target {
        SocketAddr::V4(_) => [0; 4].into(),
        SocketAddr::V6(_) => [0; 16].into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(unspecified, 0))?;
    socket.connect(target)?;
    let export = Export::Udp(socket.local_addr()?, target);
    datagrams(socket.into(), target.ip(), export)
}

fn open_gre(target: IpAddr) -> io::Result<ToolSocket> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let protocol = std::num::NonZeroU32::new(GRE).map(Protocol::from_raw);
    let socket = rustix::net::socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    connect(&socket, &SocketAddr::new(target, 0))?;
    let own = SocketAddr::try_from(getsockname(&socket)?)?;
    let export = Export::Gre(own.ip(), target);
    datagrams(socket, target, export)
}

/// Forbids fragments and asks how large a packet may be.
fn datagrams(fd: OwnedFd, target: IpAddr, export: Export) -> io::Result<ToolSocket> {
    let mtu = if target.is_ipv4() {
        sockopt::set_ip_mtu_discover(&fd, sockopt::Ipv4PathMtuDiscovery::DO)?;
        sockopt::ip_mtu(&fd)?
    } else {
        sockopt::set_ipv6_mtu_discover(&fd, sockopt::Ipv6PathMtuDiscovery::DO)?;
        sockopt::ipv6_mtu(&fd)?
    };
    // Only a hint: how much the kernel allows is the administrator's.
    let _ = sockopt::set_socket_send_buffer_size(&fd, SEND_BUFFER);
    let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
    let mtu = Mtu::try_from(mtu).map_err(io::Error::other)?;
    Ok(ToolSocket::datagrams(fd, mtu, export))
}

const fn stream(fd: OwnedFd, kind: ToolSocketKind, export: Option<Export>) -> ToolSocket {
    ToolSocket { fd, kind, mtu: Mtu::ETHERNET, export, relay: None, tls: None }
}

impl ToolSocket {
    /// A socket that takes each packet in a datagram or frame of its own.
    pub fn datagrams(fd: OwnedFd, mtu: Mtu, export: Export) -> Self {
        Self { mtu, ..stream(fd, ToolSocketKind::Datagrams, Some(export)) }
    }
}

/// What a tool got.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ToolReport {
    /// Its name.
    pub name: String,
    /// Its encapsulation and where it is.
    pub outlet: String,
    /// Every packet offered to it.
    #[serde(flatten)]
    pub account: ToolAccount,
    /// What went wrong last, if anything did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl ToolReport {
    /// As far as the broker knows it.
    pub fn new(tool: &Tool, account: ToolAccount) -> Self {
        let (name, outlet) = (tool.name.to_string(), tool.outlet.to_string());
        Self { name, outlet, account, trouble: None }
    }
}

/// The tools of a broker, in the order of their numbers.
#[derive(Debug)]
pub struct ToolOutlets {
    outlets: Vec<ToolOutlet>,
    section: SectionHeader,
    interfaces: Vec<InterfaceHeader>,
}

/// One tool's.
#[derive(Debug)]
enum ToolOutlet {
    Datagrams(Box<Datagrams>),
    Streams {
        readers: Vec<FileSink>,
        /// What readers got that have gone: packets that were taken and did not arrive.
        unwritten: u64,
        kind: ToolSocketKind,
        why: Option<String>,
    },
}

impl ToolOutlets {
    /// None yet. Streams begin with these words on their origin and their observation points.
    pub const fn new(section: SectionHeader, interfaces: Vec<InterfaceHeader>) -> Self {
        Self { outlets: Vec::new(), section, interfaces }
    }

    /// Adds the tool with the next free number. Of a listener the socket stays with whoever takes
    /// its readers.
    ///
    /// # Errors
    /// A sentence, when the stream cannot be begun.
    pub fn add(
        &mut self,
        kind: ToolSocketKind,
        fd: Option<OwnedFd>,
        now: Timestamp,
    ) -> Result<(), String> {
        match (kind, fd) {
            (ToolSocketKind::Datagrams, Some(fd)) => {
                self.outlets.push(ToolOutlet::Datagrams(Box::new(Datagrams::new(fd))));
            }
            (ToolSocketKind::Datagrams, None) => return Err("its socket is missing".into()),
            (_, fd) => {
                let readers = Vec::new();
                let outlet = ToolOutlet::Streams { readers, unwritten: 0, kind, why: None };
                self.outlets.push(outlet);
                if let Some(fd) = fd.filter(|_| kind != ToolSocketKind::Listener) {
                    self.add_reader(self.outlets.len() - 1, fd, now)?;
                }
            }
        }
        Ok(())
    }

    /// Adds a reader of tool `number`.
    ///
    /// # Errors
    /// A sentence, when its stream cannot be begun.
    pub fn add_reader(&mut self, number: usize, fd: OwnedFd, now: Timestamp) -> Result<(), String> {
        let Some(ToolOutlet::Streams { readers, .. }) = self.outlets.get_mut(number) else {
            return Err("it is no stream".into());
        };
        if readers.len() >= MOST_READERS {
            return Err(format!("it has {MOST_READERS} readers, and more are not taken"));
        }
        let destination = Destination::Open { fd: Arc::new(fd), name: PathBuf::from("tool") };
        let mut settings = FileSettings::new(destination, self.interfaces.clone());
        settings.section = self.section.clone();
        settings.when_slow = WhenSlow::Refuse;
        let mut sink = FileSink::open(settings, now).map_err(|error| error.to_string())?;
        sink.flush().map_err(|error| error.to_string())?;
        readers.push(sink);
        Ok(())
    }

    /// Streams say from now on what this observation point is; its number is the next one.
    pub fn add_interface(&mut self, header: &InterfaceHeader, now: Timestamp) {
        self.interfaces.push(header.clone());
        for outlet in &mut self.outlets {
            let ToolOutlet::Streams { readers, why, .. } = outlet else { continue };
            for reader in readers {
                if let Err(error) = reader.add_interface(now, header.clone()) {
                    why.get_or_insert_with(|| error.to_string());
                }
            }
        }
    }

    /// Whether tool `number` has nobody it could write to, and is one that is called again.
    pub fn is_lost(&self, number: usize) -> bool {
        let Some(ToolOutlet::Streams { readers, kind, .. }) = self.outlets.get(number) else {
            return false;
        };
        *kind == ToolSocketKind::Caller && readers.iter().all(|reader| reader.ended().is_some())
    }

    /// Sends what waits, as far as that takes no waiting. To be called some ten times a second.
    pub fn flush(&mut self) {
        for outlet in &mut self.outlets {
            match outlet {
                ToolOutlet::Datagrams(datagrams) => datagrams.flush(),
                ToolOutlet::Streams { readers, why, .. } => {
                    for reader in readers {
                        if let Err(error) = reader.flush() {
                            *why = Some(error.to_string());
                        }
                    }
                }
            }
        }
    }

    /// Whether some tool takes what it is sent more slowly than it comes, so that more would be
    /// refused soon.
    pub fn is_crowded(&self) -> bool {
        self.outlets.iter().any(|outlet| match outlet {
            ToolOutlet::Datagrams(datagrams) => datagrams.is_crowded(),
            ToolOutlet::Streams { readers, .. } => {
                readers.iter().any(|reader| reader.waiting_bytes() >= MANY_WAITING)
            }
        })
    }

    /// Ends all streams, gives up what nobody takes, and enters it into the accounts.
    pub fn finish(mut self, now: Timestamp, mut reports: Vec<ToolReport>) -> Vec<ToolReport> {
        for _ in 0..FINISHING_ROUNDS {
            self.flush();
            let is_waiting = |outlet: &ToolOutlet| match outlet {
                ToolOutlet::Datagrams(datagrams) => datagrams.is_waiting(),
                ToolOutlet::Streams { .. } => false,
            };
            if !self.outlets.iter().any(is_waiting) {
                break;
            }
            std::thread::sleep(FINISHING_REST);
        }
        for (outlet, report) in self.outlets.into_iter().zip(&mut reports) {
            report.trouble = outlet.finish(now, &mut report.account);
        }
        reports
    }
}

impl ToolOutlet {
    /// Closes it; says what went wrong last, if anything did.
    fn finish(self, now: Timestamp, account: &mut ToolAccount) -> Option<String> {
        match self {
            Self::Datagrams(mut datagrams) => {
                datagrams.give_up();
                let failed = datagrams.failed;
                account.unsend(failed.packets, failed.datagrams);
                failed.why.map(|errno| io::Error::from(errno).to_string())
            }
            Self::Streams { readers, unwritten, kind, mut why } => {
                let mut lost = unwritten;
                for reader in readers {
                    let summary = reader.finish(now);
                    lost += summary.packets_unwritten;
                    if let Some(failure) = summary.failure {
                        why = Some(failure.to_string());
                    }
                }
                if kind != ToolSocketKind::Listener {
                    account.unsend(lost, lost);
                } else if lost > 0 {
                    why = Some(format!("readers that went away had {lost} packets to come"));
                }
                why
            }
        }
    }
}

impl Outlets for ToolOutlets {
    #[inline]
    fn begin(&mut self, number: usize) -> Result<&mut Vec<u8>, ToolDrop> {
        match self.outlets.get_mut(number) {
            Some(ToolOutlet::Datagrams(datagrams)) => datagrams.begin(),
            _ => Err(ToolDrop::SinkFailed),
        }
    }

    #[inline]
    fn end(&mut self, number: usize, packet: u64) {
        if let Some(ToolOutlet::Datagrams(datagrams)) = self.outlets.get_mut(number) {
            datagrams.end(packet);
        }
    }

    fn write(&mut self, number: usize, packet: &Packet<'_>) -> Result<(), ToolDrop> {
        let Some(ToolOutlet::Streams { readers, unwritten, kind, why }) =
            self.outlets.get_mut(number)
        else {
            return Err(ToolDrop::SinkFailed);
        };
        let mut result = Err(match kind {
            ToolSocketKind::Listener => ToolDrop::NotConnected,
            _ => ToolDrop::SinkFailed,
        });
        let mut has_ended = false;
        for reader in &mut *readers {
            match reader.write(packet.time, packet) {
                Ok(crate::Outcome::Written) => result = Ok(()),
                Ok(crate::Outcome::Busy) if result.is_err() => result = Err(ToolDrop::QueueFull),
                Ok(crate::Outcome::Ended(end)) => {
                    has_ended = true;
                    why.get_or_insert_with(|| match end {
                        crate::End::ReaderGone => "its reader has gone".to_owned(),
                        end => format!("its stream has ended: {end:?}"),
                    });
                }
                Ok(_) => {}
                Err(error) => *why = Some(error.to_string()),
            }
        }
        if has_ended && *kind != ToolSocketKind::Stream {
            // Another may call, or be called.
            for reader in readers.extract_if(.., |reader| reader.ended().is_some()) {
                *unwritten += reader.finish(packet.time).packets_unwritten;
            }
        }
        result
    }
}

impl fmt::Display for ToolSocketKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Datagrams => "datagrams",
            Self::Stream => "stream",
            Self::Caller => "caller",
            Self::Listener => "listener",
        })
    }
}

const GRE: u32 = 47;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// What the kernel may hold for one tool, in bytes, if it allows so much.
const SEND_BUFFER: usize = 1 << 20;
const MOST_READERS: usize = 8;
/// Bytes waiting for a reader that is slow; it gets no more at twice as many.
const MANY_WAITING: u64 = 2 << 20;
/// How long what waits at the end is tried.
const FINISHING_ROUNDS: u32 = 25;
const FINISHING_REST: Duration = Duration::from_millis(20);
