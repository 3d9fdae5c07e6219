//! Connections that come while a capture runs: tools that call us, tools and senders that are
//! called again because the connection to them was lost.
//!
//! All of it takes time that a session has not: names, TCP, TLS. So each is a thread that ends with
//! a connection or with the session, and there are never more than a few.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use broker::Outlet;
use deliver::{Relay, TlsEnd};
use select::Export;

use crate::mirror::MirrorSource;

/// What is connected, and by whom.
#[derive(Debug)]
pub(crate) struct Calls {
    /// The tools, each with its listener if it is one that readers call.
    tools: Vec<(Outlet, Option<Listener>)>,
    mirrors: Vec<MirrorSource>,
    sender: Sender<Arrival>,
    receiver: Receiver<Arrival>,
    /// Who is being called.
    calling: HashSet<Party>,
    /// What speaks TLS with whom.
    relays: Vec<(Party, Relay)>,
    is_over: Arc<AtomicBool>,
}

/// A socket that readers call.
#[derive(Debug)]
struct Listener {
    fd: OwnedFd,
    tls: Option<TlsEnd>,
    /// How many readers are shaking hands.
    greeting: Arc<AtomicUsize>,
}

/// Who is at the other end, by its number among those of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Party {
    /// A tool.
    Tool(u32),
    /// The sender of a capture that comes as a mirror.
    Mirror(u32),
}

/// A connection that has come, or why it has not.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) party: Party,
    pub(crate) connection: io::Result<Connection>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) fd: OwnedFd,
    pub(crate) export: Option<Export>,
    relay: Option<Relay>,
}

impl Calls {
    /// Nobody's yet.
    pub(crate) fn new(mirrors: &[MirrorSource]) -> Self {
        let (sender, receiver) = channel();
        Self {
            tools: Vec::new(),
            mirrors: mirrors.to_vec(),
            sender,
            receiver,
            calling: HashSet::new(),
            relays: Vec::new(),
            is_over: Arc::default(),
        }
    }

    /// The tool with the next number, and its listener if it is one that is called.
    pub(crate) fn add_tool(&mut self, outlet: Outlet, listener: Option<(OwnedFd, Option<TlsEnd>)>) {
        let listener =
            listener.map(|(fd, tls)| Listener { fd, tls, greeting: Arc::new(AtomicUsize::new(0)) });
        self.tools.push((outlet, listener));
    }

    /// This speaks TLS with somebody as long as the session lasts.
    pub(crate) fn keep(&mut self, party: Party, relay: Option<Relay>) {
        self.relays.retain(|(_, relay)| !relay.has_ended());
        self.relays.extend(relay.map(|relay| (party, relay)));
    }

    /// Why the last connection was lost, where its TLS knows more than the engine has seen.
    pub(crate) fn trouble(&self, party: Party) -> Option<String> {
        let mut relays = self.relays.iter().rev().filter(|(of, _)| *of == party);
        relays.find_map(|(_, relay)| relay.trouble())
    }

    /// Calls somebody until a connection has come. What fails at first is an arrival as well.
    pub(crate) fn call_again(&mut self, party: Party) {
        let Some(target) = self.target(party).filter(|_| self.calling.insert(party)) else {
            return;
        };
        let (sender, is_over) = (self.sender.clone(), Arc::clone(&self.is_over));
        let call = move || {
            let mut rest = FIRST_REST;
            let mut has_told = false;
            while sleep(rest, &is_over) {
                rest = (rest * 2).min(LONGEST_REST);
                let connection = target.connect();
                let is_here = connection.is_ok();
                if is_here || !has_told {
                    // A session that is gone hears nothing.
                    let _ = sender.send(Arrival { party, connection });
                }
                if is_here {
                    return;
                }
                has_told = true;
            }
        };
        if let Err(error) = std::thread::Builder::new().name("call".into()).spawn(call) {
            self.calling.remove(&party);
            let _ = self.sender.send(Arrival { party, connection: Err(error) });
        }
    }

    /// The next connection that has come, or that failed.
    pub(crate) fn next(&mut self) -> Option<Arrival> {
        self.greet();
        let mut arrival = self.receiver.try_recv().ok()?;
        if let Ok(connection) = &mut arrival.connection {
            self.calling.remove(&arrival.party);
            let relay = connection.relay.take();
            self.keep(arrival.party, relay);
        }
        Some(arrival)
    }

    /// Takes readers that have called. Who must show a certificate does it apart.
    fn greet(&self) {
        for (number, (_, listener)) in (0..).zip(&self.tools) {
            let Some(Listener { fd, tls, greeting }) = listener else { continue };
            // One that has gone again meanwhile is no reader.
            while let Ok(Some(connection)) = deliver::accept(fd) {
                let (party, sender) = (Party::Tool(number), self.sender.clone());
                let Some(tls) = tls.clone() else {
                    let _ = sender.send(Arrival { party, connection: reader(connection, None) });
                    continue;
                };
                if greeting.fetch_add(1, Ordering::Relaxed) >= MOST_GREETED {
                    // Closed at once: whoever says nothing must not keep others out for long.
                    greeting.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                let greeting = Arc::clone(greeting);
                let greet = move || {
                    let connection = reader(connection, Some(&tls));
                    greeting.fetch_sub(1, Ordering::Relaxed);
                    let _ = sender.send(Arrival { party, connection });
                };
                let _ = std::thread::Builder::new().name("greet".into()).spawn(greet);
            }
        }
    }

    fn target(&self, party: Party) -> Option<Target> {
        match party {
            Party::Tool(number) => {
                let (outlet, _) = self.tools.get(number as usize)?;
                Some(Target::Tool(outlet.clone()))
            }
            Party::Mirror(number) => {
                let mirror = self.mirrors.get(number as usize)?;
                Some(Target::Mirror(mirror.clone()))
            }
        }
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// Who is called.
enum Target {
    Tool(Outlet),
    Mirror(MirrorSource),
}

impl Target {
    fn connect(&self) -> io::Result<Connection> {
        match self {
            Self::Tool(outlet) => deliver::open_tool(outlet).map(Connection::from),
            Self::Mirror(mirror) => mirror.connect(),
        }
    }
}

impl From<deliver::ToolSocket> for Connection {
    fn from(socket: deliver::ToolSocket) -> Self {
        Self { fd: socket.fd, export: socket.export, relay: socket.relay }
    }
}

impl Connection {
    /// One whose packets nobody else sees on a wire of ours.
    pub(crate) const fn new(fd: OwnedFd, relay: Option<Relay>) -> Self {
        Self { fd, export: None, relay }
    }

    /// Its parts.
    pub(crate) fn into_parts(self) -> (OwnedFd, Option<Relay>) {
        (self.fd, self.relay)
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tool(number) => write!(f, "tool {number}"),
            Self::Mirror(number) => write!(f, "mirror {number}"),
        }
    }
}

fn reader(connection: TcpStream, tls: Option<&TlsEnd>) -> io::Result<Connection> {
    deliver::reader(connection, tls).map(Connection::from)
}

/// Sleeps, unless the session is over.
fn sleep(duration: Duration, is_over: &AtomicBool) -> bool {
    let until = Instant::now() + duration;
    while !is_over.load(Ordering::Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(LOOK_EVERY));
    }
    false
}

/// How long somebody is left alone who is called again: from half a second, doubled each time.
const FIRST_REST: Duration = Duration::from_millis(500);
const LONGEST_REST: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Readers of one tool that shake hands at the same time.
const MOST_GREETED: usize = 8;
