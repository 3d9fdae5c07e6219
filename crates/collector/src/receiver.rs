//! The thread that receives: from all sockets into batches, and these to whoever decodes.
//!
//! A bounded number of batches goes round. When all are full, datagrams wait in the kernel, and
//! what finds no room there is counted by it; connections are simply not read.

use std::io::{self, ErrorKind};
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver as Queue, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::ServerConfig;
use wire::Timestamp;

use crate::batch::Batch;
use crate::kernel::Drops;
use crate::listen::{Listener, Socket};
use crate::stream::{Closed, Stream};

/// What was received, from the thread that receives.
#[derive(Debug)]
pub struct Receiver {
    filled: Queue<Batch>,
    spare: SyncSender<Batch>,
    shared: Arc<Shared>,
    drops: Drops,
    thread: Option<JoinHandle<()>>,
}

/// What became of connections, and of datagrams before they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Datagrams for which the kernel had no room; `None` if it does not say.
    pub kernel_drops: Option<u64>,
    /// Connections taken.
    pub connections: u64,
    /// Connections refused because there were too many, of all or of one address.
    pub connections_refused: u64,
    /// Connections closed because what came was not IPFIX, or not in the TLS that was asked for.
    pub connections_not_ipfix: u64,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    /// Batches that wait to be decoded.
    waiting: AtomicUsize,
    connections: AtomicU64,
    refused: AtomicU64,
    not_ipfix: AtomicU64,
}

impl Receiver {
    /// How many connections there may be at one time.
    pub const MOST_CONNECTIONS: usize = 1024;
    /// How many of them from one address: one that holds many shuts no other out.
    pub const MOST_OF_ONE: usize = 64;
    /// How many batches there are, of a MiB each.
    const BATCHES: usize = 64;

    /// Begins to receive.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(listeners: Vec<Listener>) -> io::Result<Self> {
        let mut drops = Drops::default();
        for listener in &listeners {
            if let Socket::Udp(socket) = &listener.socket {
                drops.watch(socket);
            }
        }
        let (spare, spares) = mpsc::sync_channel(Self::BATCHES);
        let (full, filled) = mpsc::sync_channel(Self::BATCHES);
        let shared = Arc::new(Shared::default());
        let mut filling = Filling {
            batch: Batch::new(),
            made: 1,
            full,
            spares,
            shared: Arc::clone(&shared),
            deaf_until: Instant::now(),
        };
        let thread = thread::Builder::new().name("receive".into()).spawn(move || {
            // An end without a reason: nobody takes batches any more.
            let _ = run(&listeners, &mut filling);
        })?;
        Ok(Self { filled, spare, shared, drops, thread: Some(thread) })
    }

    /// The next batch, if one comes in time.
    pub fn next(&self, timeout: Duration) -> Option<Batch> {
        let batch = match self.filled.recv_timeout(timeout) {
            Ok(batch) => batch,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
        };
        self.shared.waiting.fetch_sub(1, Ordering::AcqRel);
        Some(batch)
    }

    /// Gives the memory of a batch back.
    pub fn give_back(&self, mut batch: Batch) {
        batch.clear();
        // There is room for all that there are.
        let _ = self.spare.try_send(batch);
    }

    /// Receives no more; what was received can still be taken.
    pub fn stop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }

    /// Whether nothing comes any more.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
            && self.shared.waiting.load(Ordering::Acquire) == 0
    }

    /// What became of connections and datagrams.
    pub fn counters(&self) -> Counters {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            kernel_drops: self.drops.count(),
            connections: count(&self.shared.connections),
            connections_refused: count(&self.shared.refused),
            connections_not_ipfix: count(&self.shared.not_ipfix),
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop();
        // The thread may wait for a batch to be taken or given back: then it finds nobody there.
        let (_, nobody) = mpsc::sync_channel(1);
        self.filled = nobody;
        (self.spare, _) = mpsc::sync_channel(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The batch that is being filled, and where the next one comes from.
struct Filling {
    batch: Batch,
    made: usize,
    full: SyncSender<Batch>,
    spares: Queue<Batch>,
    shared: Arc<Shared>,
    /// Until when no connection is taken, after one could not be.
    deaf_until: Instant,
}

/// Whoever took batches is gone.
struct Gone;

impl Filling {
    /// Hands the batch over and takes an empty one, waiting for it if need be.
    fn turn(&mut self) -> Result<(), Gone> {
        let next = match self.spares.try_recv() {
            Ok(spare) => spare,
            Err(_) if self.made < Receiver::BATCHES => {
                self.made += 1;
                Batch::new()
            }
            Err(_) => self.spares.recv().map_err(|_| Gone)?,
        };
        let full = std::mem::replace(&mut self.batch, next);
        self.shared.waiting.fetch_add(1, Ordering::AcqRel);
        self.full.send(full).map_err(|_| Gone)
    }

    /// Hands over what there is, if whoever decodes has nothing else to do.
    fn turn_if_wanted(&mut self) -> Result<(), Gone> {
        let is_idle = self.shared.waiting.load(Ordering::Acquire) == 0;
        if is_idle && !self.batch.is_empty() { self.turn() } else { Ok(()) }
    }

    /// The batch, with room for one more.
    fn with_room(&mut self) -> Result<&mut Batch, Gone> {
        if self.batch.is_full() {
            self.turn()?;
        }
        Ok(&mut self.batch)
    }
}

fn run(listeners: &[Listener], filling: &mut Filling) -> Result<(), Gone> {
    let mut streams: Vec<Stream> = Vec::new();
    while !filling.shared.is_over.load(Ordering::Relaxed) {
        let ready = wait(listeners, &streams, filling);
        let (sockets, connections) = ready.split_at_checked(listeners.len()).unwrap_or_default();
        read_streams(&mut streams, connections, filling)?;
        for (listener, ready) in listeners.iter().zip(sockets) {
            match &listener.socket {
                _ if ready.is_empty() => {}
                Socket::Udp(socket) => read_datagrams(socket, filling)?,
                Socket::Tcp(socket, tls) => {
                    accept(socket, tls.as_ref(), &mut streams, filling)?;
                }
            }
        }
        filling.turn_if_wanted()?;
    }
    if filling.batch.is_empty() { Ok(()) } else { filling.turn() }
}

/// Waits until something can be read, and says where.
fn wait(listeners: &[Listener], streams: &[Stream], filling: &Filling) -> Vec<PollFlags> {
    let connections = match Instant::now() < filling.deaf_until {
        true => PollFlags::empty(),
        false => PollFlags::IN,
    };
    let mut places: Vec<PollFd<'_>> = Vec::with_capacity(listeners.len() + streams.len());
    places.extend(listeners.iter().map(|listener| match &listener.socket {
        Socket::Udp(socket) => PollFd::new(socket, PollFlags::IN),
        Socket::Tcp(socket, _) => PollFd::new(socket, connections),
    }));
    places.extend(streams.iter().map(|stream| {
        let write = if stream.wants_write() { PollFlags::OUT } else { PollFlags::empty() };
        PollFd::new(&stream.socket, PollFlags::IN | write)
    }));
    let millis = if filling.batch.is_empty() { 200 } else { 2 };
    let timeout = Timespec { tv_sec: 0, tv_nsec: millis * 1_000_000 };
    // Interrupted or out of memory: nothing is ready, and the next round tries again.
    let _ = poll(&mut places, Some(&timeout));
    places.iter().map(PollFd::revents).collect()
}

fn read_datagrams(socket: &UdpSocket, filling: &mut Filling) -> Result<(), Gone> {
    // Other sockets and connections get their turn as well.
    for _ in 0..MOST_DATAGRAMS {
        let batch = filling.with_room()?;
        match socket.recv_from(batch.room()) {
            Ok((len, source)) => batch.filled(now(), source, len),
            // Interrupted, or an ICMP message about something we never sent: not our business.
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(_) => {}
        }
    }
    Ok(())
}

fn accept(
    socket: &TcpListener,
    tls: Option<&Arc<ServerConfig>>,
    streams: &mut Vec<Stream>,
    filling: &mut Filling,
) -> Result<(), Gone> {
    loop {
        let (connection, peer) = match socket.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(_) => {
                // No file is left, mostly. The listener stays ready: asked again and again it would
                // take all the time of this thread.
                filling.deaf_until = Instant::now() + DEAF;
                return Ok(());
            }
        };
        let shared = &filling.shared;
        let of_one = streams.iter().filter(|stream| stream.peer.ip() == peer.ip()).count();
        if streams.len() >= Receiver::MOST_CONNECTIONS || of_one >= Receiver::MOST_OF_ONE {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        shared.connections.fetch_add(1, Ordering::Relaxed);
        if let Ok(stream) = Stream::new(connection, peer, tls) {
            streams.push(stream);
            filling.with_room()?.push_connected(now(), peer);
        }
    }
}

fn read_streams(
    streams: &mut Vec<Stream>,
    ready: &[PollFlags],
    filling: &mut Filling,
) -> Result<(), Gone> {
    let mut gone = Ok(());
    let mut ready = ready.iter();
    streams.retain_mut(|stream| {
        let ready = ready.next().copied().unwrap_or(PollFlags::empty());
        let result = read_stream(stream, ready, filling, &mut gone);
        if result == Err(Closed::NotIpfix) {
            filling.shared.not_ipfix.fetch_add(1, Ordering::Relaxed);
        }
        result.is_ok() && gone.is_ok()
    });
    gone
}

fn read_stream(
    stream: &mut Stream,
    ready: PollFlags,
    filling: &mut Filling,
    gone: &mut Result<(), Gone>,
) -> Result<(), Closed> {
    if stream.is_overdue() {
        return Err(Closed::NotIpfix);
    }
    if ready.contains(PollFlags::OUT) {
        stream.write()?;
    }
    if !ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
        return Ok(());
    }
    let peer = stream.peer;
    stream.read(|message| match filling.with_room() {
        Ok(batch) => batch.push(now(), peer, message),
        Err(error) => *gone = Err(error),
    })
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_parts(since.as_secs(), since.subsec_nanos())
}

/// How long no connection is taken after one could not be.
const DEAF: Duration = Duration::from_millis(200);

/// Datagrams read from one socket before the others are looked at.
const MOST_DATAGRAMS: usize = 1024;
