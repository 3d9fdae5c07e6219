//! A capture session on this host: sockets opened here, packets read elsewhere.
//!
//! The session holds the rights and the knowledge of the site and never sees a packet; the engine,
//! a process of its own, sees packets and holds no rights. Between them runs one line.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use broker::Owner;
use capture::{OpenError, Opening, RingSize, Side};
use deliver::{Relay, ToolSocket, ToolSocketKind};
use pipeline::Limits;
use plan::{Interface, Point, PointKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use select::bpf::{InKernel, MIN_KEPT_BYTES, Program};
use select::{Filter, Ownership};
use wire::Timestamp;

use crate::calls::{Arrival, Calls, Party};
use crate::channel::Channel;
use crate::defaults::free_bytes;
use crate::kernel::KernelRules;
use crate::mirror::MirrorSource;
use crate::orders::{Address, Job, News, Order, Outcome, Output, PastOrder, PointOrder, Progress};
use crate::sandbox::Sandbox;
use crate::tools::{self, ToolOrder, ToolWanted};

/// What is to be captured, where to, and until when.
#[derive(Debug)]
pub struct Request<'a> {
    /// Where to look.
    pub point: &'a Point,
    /// The mirror that ends at each interface of the point, if it is one of mirrors.
    pub mirrors: &'a [MirrorSource],
    /// Which packets, as typed and as understood.
    pub filter: Option<(&'a str, &'a Filter)>,
    /// What the inventory says that the names in it mean.
    pub explained: select::Resolved,
    /// Whether tunnels are removed before writing.
    pub is_stripped: bool,
    /// Most bytes kept of each packet.
    pub snaplen: u32,
    /// Where to stop.
    pub limits: Limits,
    /// Where the packets go.
    pub output: Output,
    /// Kernel memory for each ring in bytes; `None` chooses by the number of interfaces.
    pub buffer_bytes: Option<u64>,
    /// Lines for the beginning of the file: who, what, why.
    pub comments: Vec<String>,
    /// Names of IP addresses, for the file.
    pub ip_names: Vec<(std::net::IpAddr, String)>,
    /// Names of MACs, for the file.
    pub mac_names: Vec<(wire::Mac, String)>,
    /// What a flight recorder has seen and comes first.
    pub past: Option<PastOrder>,
    /// Tools that packets are sent to.
    pub tools: Vec<ToolWanted>,
    /// Whose packets they are, for the grants of the tools.
    pub owner: Owner,
}

/// Why a session could not start.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A packet socket could not be opened.
    #[error(transparent)]
    Open(#[from] capture::OpenError),
    /// The way to a tool could not be opened.
    #[error("cannot send to tool {name}: {source}")]
    Tool {
        /// The tool.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The sender of a capture could not be connected.
    #[error("cannot connect to {mirror}: {source}")]
    Sender {
        /// The mirror, as it was named.
        mirror: String,
        /// What the system said, or why the sender is not believed.
        source: io::Error,
    },
    /// The engine refused, with a sentence of its own.
    #[error("{0}")]
    Refused(String),
    /// The memory for the rings would be more than a host may spend.
    #[error(
        "{interfaces} interfaces need rings of {needed_mib} MiB together, more than the \
         {most_mib} MiB this host may spend; give a smaller --buffer"
    )]
    TooMuchMemory {
        /// How many interfaces.
        interfaces: usize,
        /// MiB they need.
        needed_mib: u64,
        /// MiB there are.
        most_mib: u64,
    },
    /// The disk has less free than is to stay free.
    #[error(
        "cannot write to {}: {free_mib} MiB are free there, and {reserve_mib} MiB are to stay so; \
         choose another disk, or say with --min-free how much is to stay",
        path.display()
    )]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// MiB that are free.
        free_mib: u64,
        /// MiB that are to stay free.
        reserve_mib: u64,
    },
    /// The engine could not be started or has ended unexpectedly.
    #[error("the process that reads packets {what}: {source}")]
    Engine {
        /// What happened to it.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// A running capture.
#[derive(Debug)]
pub struct Session {
    engine: Child,
    channel: Channel,
    /// Which fences stand around the engine.
    pub sandbox: Sandbox,
    /// The size of each ring.
    pub ring: RingSize,
    /// For each interface, what of the expression its kernel program decides.
    pub in_kernel: Vec<InKernel>,
    /// What makes this host the end of mirrors' tunnels, as long as it lives.
    _ends: Vec<OwnedFd>,
    /// Who is connected, and who is called again.
    calls: Calls,
    /// What mirrors and tools are called.
    names: Names,
}

/// What those are called to whom connections are made.
#[derive(Debug, Default)]
struct Names {
    mirrors: Vec<String>,
    tools: Vec<String>,
}

/// What happens to a running capture.
#[derive(Debug)]
pub enum Event {
    /// How it goes, five times a second.
    Progress(Progress),
    /// The interface with this number was removed.
    InterfaceGone(usize),
    /// What was recorded is nearly all written: time for [`Session::go_live`].
    CaughtUp,
    /// Something about what was recorded that a person should hear; the file has it.
    Said(String),
    /// It is over.
    Ended(Box<Outcome>),
}

impl Session {
    /// Starts the engine and opens every interface. Packets count from the return of this call.
    ///
    /// # Errors
    /// Whatever keeps the session from seeing all it was asked to see; nothing is left behind.
    pub fn start(request: &Request<'_>) -> Result<Self, SessionError> {
        let interfaces = &request.point.interfaces;
        let ring = ring_size(interfaces.len(), request.buffer_bytes)?;
        check_room(&request.output)?;
        let rules = KernelRules::at(request.point, request.filter.map(|(_, filter)| filter));
        if request.past.is_some() {
            // Sockets that nobody reads for a while would lose packets.
            return Self::launch(request, ring, Vec::new());
        }
        let tools = tools::open_all(&request.tools, &request.owner)?;
        // First what can fail without a trace; packets wait in the rings meanwhile.
        let mut relays = Vec::new();
        let opened = open_all(request, &rules, ring, &mut relays)?;
        let (sockets, in_kernel): (Vec<_>, _) = opened.into_iter().unzip();
        let ends = request.mirrors.iter().filter_map(MirrorSource::hold_open).collect();
        let launched = Self::launch(request, ring, tools)?;
        let mut session = Self { in_kernel, _ends: ends, ..launched };
        for (number, relay) in relays {
            session.calls.keep(Party::Mirror(number), Some(relay));
        }
        for socket in &sockets {
            session.order(&Order::AddSocket, Some(socket.as_fd()))?;
        }
        Ok(session)
    }

    /// Opens every interface of a request that began with what was recorded; what they see from
    /// now on joins that without hole or double.
    ///
    /// # Errors
    /// Whatever keeps the session from seeing all it was asked to see.
    pub fn go_live(&mut self, request: &Request<'_>) -> Result<(), SessionError> {
        let rules = KernelRules::at(request.point, request.filter.map(|(_, filter)| filter));
        let opened = open_all(request, &rules, self.ring, &mut Vec::new())?;
        let (sockets, in_kernel): (Vec<_>, _) = opened.into_iter().unzip();
        self.in_kernel = in_kernel;
        for socket in &sockets {
            self.order(&Order::AddSocket, Some(socket.as_fd()))?;
        }
        self.order(&Order::Live(now()), None)?;
        if let Some(past) = &request.past {
            recorder::ask_to_flush(&past.directory);
        }
        Ok(())
    }

    /// Takes the packets of another interface as well; its number is the next one. A flight recorder
    /// is told whose they are. A capture that began with what was recorded, or of mirrors, refuses.
    ///
    /// # Errors
    /// When the interface cannot be opened; nothing has changed then.
    pub fn add(
        &mut self,
        request: &Request<'_>,
        interface: &Interface,
        machine: Option<recorder::MachineRef>,
    ) -> Result<(), SessionError> {
        let mut rules = KernelRules::at(request.point, request.filter.map(|(_, filter)| filter));
        rules.add(&interface.ownership);
        let (socket, in_kernel) = open(interface, request, &rules, self.ring)?;
        let recorded = machine.map(|machine| (machine, now()));
        let point = Box::new(point_order(interface, kernel_snaplen(request), self.ring));
        self.order(&Order::AddPoint(point, recorded), Some(socket.as_fd()))?;
        self.in_kernel.push(in_kernel);
        Ok(())
    }

    /// Puts a sentence into a recording, for the machine of point `number`.
    ///
    /// # Errors
    /// When the engine cannot be told.
    pub fn note(&mut self, number: usize, text: &str) -> Result<(), SessionError> {
        let point = u32::try_from(number).unwrap_or(u32::MAX);
        self.order(&Order::Note(point, text.to_owned()), None)
    }

    /// From `at` on point `number` of a recording is of a machine that is called so or belongs to
    /// this owner; the point is called `label`.
    ///
    /// # Errors
    /// When the engine cannot be told.
    pub fn rename(
        &mut self,
        number: usize,
        machine: recorder::MachineRef,
        label: &str,
        at: Timestamp,
    ) -> Result<(), SessionError> {
        let point = u32::try_from(number).unwrap_or(u32::MAX);
        self.order(&Order::Rename(point, machine, label.to_owned(), at), None)
    }

    /// Ends the recording of point `number`: from `at` on nothing there is the machine's.
    ///
    /// # Errors
    /// When the engine cannot be told.
    pub fn end_point(&mut self, number: usize, at: Timestamp) -> Result<(), SessionError> {
        self.own(number, Ownership::Shared(Vec::new()), at)?;
        let point = u32::try_from(number).unwrap_or(u32::MAX);
        self.order(&Order::EndPoint(point), None)
    }

    /// Asks for the end; [`Event::Ended`] follows.
    ///
    /// # Errors
    /// When the engine cannot be told. One that has ended is no error: [`next`](Self::next) says why.
    pub fn stop(&mut self) -> Result<(), SessionError> {
        self.order(&Order::Stop, None)
    }

    /// From `at` on, these are the grants of the tools for the VM's packets.
    ///
    /// # Errors
    /// When the engine cannot be told.
    pub fn entitle(
        &mut self,
        grants: Vec<Option<broker::Grant>>,
        at: Timestamp,
    ) -> Result<(), SessionError> {
        self.order(&Order::Entitle(grants, at), None)
    }

    /// Hands connections that have come to the engine. Returns what a person should hear.
    fn take_calls(&mut self) -> Result<Option<String>, SessionError> {
        let Some(Arrival { party, connection }) = self.calls.next() else { return Ok(None) };
        let name = self.names.of(party);
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => return Ok(Some(format!("{name} cannot be connected: {error}"))),
        };
        let (order, said) = match party {
            Party::Tool(number) => (Order::AddReader(number, connection.export), None),
            Party::Mirror(number) => {
                (Order::Reconnect(number), Some(format!("{name} is connected again")))
            }
        };
        self.order(&order, Some(connection.fd.as_fd()))?;
        if let Some(said) = &said {
            self.comment(said)?;
        }
        Ok(said)
    }

    /// A connection is lost: it is made again. Returns what a person should hear.
    fn lost(&mut self, party: Party, why: Option<String>) -> Event {
        let why = self.calls.trouble(party).or(why);
        self.calls.call_again(party);
        let why = why.map_or_else(String::new, |why| format!(" ({why})"));
        Event::Said(format!(
            "the connection to {} is lost{why}; calling again",
            self.names.of(party)
        ))
    }

    /// From `at` on, these packets of interface `number` are the VM's, and no others.
    ///
    /// # Errors
    /// When the engine cannot be told. One that has ended is no error: [`next`](Self::next) says why.
    pub fn own(
        &mut self,
        number: usize,
        ownership: Ownership,
        at: Timestamp,
    ) -> Result<(), SessionError> {
        let point = u32::try_from(number).unwrap_or(u32::MAX);
        self.order(&Order::Own { point, ownership, at }, None)
    }

    /// Says how many bytes its output has room for now, those that are there included.
    ///
    /// # Errors
    /// When the engine cannot be told. One that has ended is no error: [`next`](Self::next) says why.
    pub fn set_room(&mut self, bytes: u64) -> Result<(), SessionError> {
        self.order(&Order::Room(bytes), None)
    }

    /// Puts a sentence into the file.
    ///
    /// # Errors
    /// When the engine cannot be told. One that has ended is no error: [`next`](Self::next) says why.
    pub fn comment(&mut self, text: &str) -> Result<(), SessionError> {
        self.order(&Order::Comment(text.to_owned()), None)
    }

    /// The next event, if one comes within `longest`. A signal ends the wait early.
    ///
    /// # Errors
    /// When the engine is gone without a word.
    pub fn next(&mut self, longest: Duration) -> Result<Option<Event>, SessionError> {
        if let Some(text) = self.take_calls()? {
            return Ok(Some(Event::Said(text)));
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: longest.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&self.channel, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(broken(error.into())),
        }
        match self.receive()? {
            News::Ready(_) => Ok(None),
            News::Progress(progress) => Ok(Some(Event::Progress(progress))),
            News::PointGone { point } => Ok(Some(Event::InterfaceGone(point as usize))),
            News::CaughtUp => Ok(Some(Event::CaughtUp)),
            News::Said(text) => Ok(Some(Event::Said(text))),
            News::Failed { message } => Err(SessionError::Refused(message)),
            News::SenderLost { point, why } => Ok(Some(self.lost(Party::Mirror(point), Some(why)))),
            News::ToolLost(number) => Ok(Some(self.lost(Party::Tool(number), None))),
            News::Ended(mut outcome) => {
                // It has said its last word; only its exit is left.
                let _ = self.engine.wait();
                for (number, tool) in (0..).zip(&mut outcome.tools) {
                    let trouble = self.calls.trouble(Party::Tool(number));
                    tool.trouble = trouble.or(tool.trouble.take());
                }
                Ok(Some(Event::Ended(outcome)))
            }
        }
    }

    /// Starts the engine and waits until its output is open and its fences are up.
    fn launch(
        request: &Request<'_>,
        ring: RingSize,
        tools: Vec<(ToolOrder, ToolSocket)>,
    ) -> Result<Self, SessionError> {
        let job = job(request, ring);
        let failed = |source| SessionError::Engine { what: "could not be started", source };
        let (channel, theirs) = Channel::pair().map_err(failed)?;
        let is_stdout = job.output.path.is_none() && !job.output.is_nothing;
        let stdout = if is_stdout { Stdio::inherit() } else { Stdio::null() };
        let program = std::env::current_exe().map_err(failed)?;
        let engine = Command::new(program)
            .arg(ENGINE_WORD)
            .stdin(Stdio::from(theirs))
            .stdout(stdout)
            .spawn()
            .map_err(failed)?;
        let (sandbox, in_kernel) = (Sandbox::default(), Vec::new());
        let (calls, _ends) = (Calls::new(request.mirrors), Vec::new());
        let names = Names {
            mirrors: request.mirrors.iter().map(ToString::to_string).collect(),
            tools: tools.iter().map(|(order, _)| format!("tool {}", order.tool.name)).collect(),
        };
        let mut session = Self { engine, channel, sandbox, ring, in_kernel, _ends, calls, names };
        session.order(&Order::Start(Box::new(job)), None)?;
        for (number, (order, socket)) in (0..).zip(tools) {
            let is_listening = order.kind == ToolSocketKind::Listener;
            let sent = Some(socket.fd.as_fd()).filter(|_| !is_listening);
            let outlet = order.tool.outlet.clone();
            session.order(&Order::AddTool(Box::new(order)), sent)?;
            let listener = is_listening.then_some((socket.fd, socket.tls));
            session.calls.add_tool(outlet, listener);
            session.calls.keep(Party::Tool(number), socket.relay);
        }
        match session.receive()? {
            News::Ready(sandbox) => Ok(Self { sandbox, ..session }),
            News::Failed { message } => Err(SessionError::Refused(message)),
            _ => Err(broken(io::Error::other("it spoke out of turn"))),
        }
    }

    fn order(&self, order: &Order, socket: Option<BorrowedFd<'_>>) -> Result<(), SessionError> {
        match self.channel.send(order, socket) {
            // It has ended meanwhile, and its last word, which comes next, says why.
            Err(error) if is_gone(&error) => Ok(()),
            sent => sent.map_err(broken),
        }
    }

    fn receive(&mut self) -> Result<News, SessionError> {
        match self.channel.receive::<News>() {
            Ok(Some(received)) => Ok(received.message),
            Ok(None) => Err(broken(io::Error::other(match self.engine.wait() {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            }))),
            Err(error) => Err(broken(error)),
        }
    }
}

impl Names {
    fn of(&self, party: Party) -> String {
        let (names, number) = match party {
            Party::Tool(number) => (&self.tools, number),
            Party::Mirror(number) => (&self.mirrors, number),
        };
        names.get(number as usize).cloned().unwrap_or_else(|| party.to_string())
    }
}

/// The clock that the kernel stamps packets with.
fn now() -> Timestamp {
    let now = jiff::Timestamp::now().as_nanosecond();
    Timestamp::from_nanos(u64::try_from(now).unwrap_or(u64::MAX))
}

/// The word after `overtap` that starts an engine; its standard input is the line.
///
/// Nothing that anybody types by mistake: a word like `capture` would be suggested for its typos.
pub const ENGINE_WORD: &str = "packet-engine";

/// Whether nobody is at the other end of the line any more.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn broken(source: io::Error) -> SessionError {
    SessionError::Engine { what: "is gone", source }
}

/// Refuses an output that would be over before its first packet.
fn check_room(output: &Output) -> Result<(), SessionError> {
    let Some(path) = output.path.as_ref().filter(|_| !output.is_nothing) else { return Ok(()) };
    // A pipe or a device takes no room.
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return Ok(());
    }
    match free_bytes(path) {
        Some(free) if free < output.min_free_bytes => Err(SessionError::NoRoom {
            path: path.clone(),
            free_mib: free / MIB,
            reserve_mib: output.min_free_bytes / MIB,
        }),
        _ => Ok(()),
    }
}

fn job(request: &Request<'_>, ring: RingSize) -> Job {
    let ips = request.ip_names.iter().map(|(ip, name)| (Address::Ip(*ip), name.clone()));
    let macs = request.mac_names.iter().map(|(mac, name)| (Address::Mac(mac.0), name.clone()));
    Job {
        output: request.output.clone(),
        points: request
            .point
            .interfaces
            .iter()
            .enumerate()
            .map(|(number, interface)| PointOrder {
                mirror: request.mirrors.get(number).map(MirrorSource::order),
                ..point_order(interface, kernel_snaplen(request), ring)
            })
            .collect(),
        expression: request.filter.map(|(text, _)| text.to_owned()),
        explained: request.explained.clone(),
        is_stripped: request.is_stripped,
        limits: request.limits,
        snaplen: request.snaplen,
        comments: request.comments.clone(),
        names: ips.chain(macs).collect(),
        tools: u32::try_from(request.tools.len()).unwrap_or(u32::MAX),
        past: request.past.clone(),
    }
}

/// A socket at each interface.
fn open_all(
    request: &Request<'_>,
    rules: &KernelRules,
    ring: RingSize,
    relays: &mut Vec<(u32, Relay)>,
) -> Result<Vec<(OwnedFd, InKernel)>, SessionError> {
    let interfaces = request.point.interfaces.iter().enumerate();
    let open = |(number, interface): (usize, _)| match request.mirrors.get(number) {
        Some(mirror) if mirror.is_stream() => {
            let failed = |source| SessionError::Sender { mirror: mirror.to_string(), source };
            let (socket, relay) = mirror.connect().map_err(failed)?.into_parts();
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            relays.extend(relay.map(|relay| (number, relay)));
            Ok((socket, InKernel::Nothing))
        }
        Some(mirror) => open_mirror(interface, mirror, kernel_snaplen(request), ring),
        None => open(interface, request, rules, ring),
    };
    interfaces.map(open).collect()
}

/// A socket where a mirror's packets come: the kernel looks at what is around the frames, never at
/// the frames.
fn open_mirror(
    interface: &Interface,
    mirror: &MirrorSource,
    kept: u32,
    ring: RingSize,
) -> Result<(OwnedFd, InKernel), SessionError> {
    let filter = mirror.expression();
    let rules = KernelRules::new(filter.as_ref());
    let is_too_long = |error: &OpenError| matches!(error, OpenError::Filter { .. });
    let (socket, _) = rules.attach(&Ownership::Whole, kept, is_too_long, |program| {
        let filter = (!program.is_empty()).then_some(program);
        let takes_all = mirror.takes_all();
        Opening { takes_all, ..opening(interface, filter, kept, ring) }.open()
    })?;
    Ok((socket, InKernel::Nothing))
}

fn opening<'a>(
    interface: &'a Interface,
    filter: Option<&'a Program>,
    kept: u32,
    ring: RingSize,
) -> Opening<'a> {
    Opening {
        name: &interface.name,
        ifindex: interface.ifindex,
        namespace: interface.namespace_path.as_ref().map(Into::into),
        filter,
        snaplen: kept,
        size: ring,
        takes_all: false,
    }
}

/// A socket at an interface, and what of the expression its program decides.
fn open(
    interface: &Interface,
    request: &Request<'_>,
    rules: &KernelRules,
    ring: RingSize,
) -> Result<(OwnedFd, InKernel), SessionError> {
    let kept = kernel_snaplen(request);
    let is_too_long = |error: &OpenError| matches!(error, OpenError::Filter { .. });
    let opened = rules.attach(&interface.ownership, kept, is_too_long, |program| {
        opening(interface, (!program.is_empty()).then_some(program), kept, ring).open()
    });
    Ok(opened?)
}

/// How much of each packet the kernel keeps. Guard and filter need the headers, and what is
/// stripped does not count; the engine cuts to what was asked for.
fn kernel_snaplen(request: &Request<'_>) -> u32 {
    let is_shared =
        matches!(request.point.kind, PointKind::Uplink | PointKind::Peer | PointKind::Mirror);
    let is_decided = !is_shared && request.filter.is_none();
    // What a mirror puts around frames goes as well.
    let is_stripped = request.is_stripped || request.point.kind == PointKind::Mirror;
    match (is_decided, is_stripped) {
        (true, _) => request.snaplen,
        (false, false) => request.snaplen.max(MIN_KEPT_BYTES),
        (false, true) => request.snaplen.saturating_add(MIN_KEPT_BYTES),
    }
}

fn point_order(interface: &Interface, kept: u32, ring: RingSize) -> PointOrder {
    PointOrder {
        label: interface.label.clone(),
        description: interface.description.clone(),
        mac: interface.mac.map(|mac| mac.0),
        ownership: interface.ownership.clone(),
        side: match interface.side {
            plan::Side::Host => Side::Host,
            plan::Side::Guest => Side::Guest,
            plan::Side::Shared => Side::Shared,
        },
        ring,
        kept,
        mirror: None,
    }
}

/// One budget of kernel memory for the host: 64 MiB for one ring, down to 16 MiB when there are
/// many, 256 MiB in all.
fn ring_size(interfaces: usize, asked: Option<u64>) -> Result<RingSize, SessionError> {
    let count = interfaces.max(1) as u64;
    let each = asked.unwrap_or_else(|| (HOST_BUDGET / count).clamp(16 * MIB, 64 * MIB));
    let needed = each * count;
    if asked.is_none() && needed > HOST_BUDGET {
        return Err(SessionError::TooMuchMemory {
            interfaces,
            needed_mib: needed / MIB,
            most_mib: HOST_BUDGET / MIB,
        });
    }
    Ok(RingSize::of_bytes(each))
}

const MIB: u64 = 1024 * 1024;
const HOST_BUDGET: u64 = 256 * MIB;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_is_refused_before_anything_is_made() {
        let folder = std::env::temp_dir();
        let mut output =
            crate::fixture::request(&crate::fixture::point(PointKind::Port, &[])).output;
        output.min_free_bytes = u64::MAX;
        assert!(check_room(&output).is_ok(), "standard output takes no room");
        output.path = Some(folder.join("overtap-no-such-file.pcapng"));
        assert!(matches!(check_room(&output), Err(SessionError::NoRoom { .. })));
        output.path = Some("/dev/null".into());
        assert!(check_room(&output).is_ok());
    }

    #[test]
    fn many_rings_share_one_budget() {
        assert_eq!(ring_size(1, None).unwrap().bytes(), 64 * MIB);
        assert_eq!(ring_size(8, None).unwrap().bytes(), 32 * MIB);
        assert_eq!(ring_size(16, None).unwrap().bytes(), 16 * MIB);
        assert!(matches!(
            ring_size(17, None),
            Err(SessionError::TooMuchMemory { needed_mib: 272, .. })
        ));
        assert_eq!(ring_size(200, Some(MIB)).unwrap().bytes(), MIB);
    }
}
