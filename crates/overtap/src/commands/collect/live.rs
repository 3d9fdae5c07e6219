//! `overtap collect --listen`: exports as they come, until somebody says that it is enough.

mod line;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use collector::{
    Address, Counters, Flowing, Listener, Memory, Receiver, Remembered, TlsFiles, Transport,
};
use flows::{Places, Timeouts};
use wire::export::{Collector, Datagram, Event, Limits, Unrestorable};
use wire::{Timestamp, TunnelPorts};

use self::line::Line;
use super::{Args, Show, json, records, text};
use crate::Output;
use crate::commands::extract::whose::Inventory;
use crate::commands::extract::words;
use crate::commands::flows::rows::JsonLines;
use crate::commands::store::Writing;
use crate::exit::{Exit, WrongUsage};

/// Runs the command.
pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let site = Site::read(args)?;
    let memory = args.state.as_deref().map(Memory::open).transpose()?;
    let mut collector = Collector::new(limits());
    if let Some(directory) = &args.state {
        restore(&mut collector, Memory::read(directory)?);
    }
    let listeners = listen(args)?;
    let mut out = Destination::new(args, &site)?;
    let stop = Arc::new(AtomicBool::new(false));
    words::on_signals(&stop)?;
    say_listening(&listeners, args.quiet);
    let mut receiver = Receiver::start(listeners)?;
    let mut keeping = Keeping { memory, next: Instant::now() + KEEP_EVERY };
    let mut line = Line::new(args.quiet);
    let mut next_tick = Instant::now() + TICK;
    let end = args.duration.map(|duration| Instant::now() + duration);
    while !receiver.is_over() {
        if let Some(batch) = receiver.next(Duration::from_millis(100)) {
            for arrival in batch.arrivals() {
                let Some(payload) = arrival.payload else {
                    collector.forget_session(arrival.source);
                    continue;
                };
                let datagram = Datagram { time: arrival.time, source: arrival.source, payload };
                collector.take(&datagram, |event| out.take(event));
            }
            receiver.give_back(batch);
            out.give(now())?;
        }
        let is_late = end.is_some_and(|end| Instant::now() >= end);
        if stop.load(Ordering::Relaxed) || is_late {
            receiver.stop();
        }
        if Instant::now() >= next_tick {
            next_tick = Instant::now() + TICK;
            out.tick(now())?;
            line.show(&collector, &receiver.counters());
            keeping.keep(&collector)?;
        }
    }
    line.clear();
    out.finish(now())?;
    keeping.keep_now(&collector)?;
    let counters = receiver.counters();
    tell(args, &collector, &counters, &out)?;
    if let Destination::Store { sink, .. } = &out
        && sink.exit() != Exit::Done
    {
        return Ok(sink.exit());
    }
    let is_lost = counters.kernel_drops.is_some_and(|drops| drops > 0) || collector.refused() > 0;
    Ok(if is_lost { Exit::Lost } else { Exit::Done })
}

/// What is asked of the site, and how its tunnels are found.
struct Site {
    places: Places,
    ports: TunnelPorts,
}

impl Site {
    fn read(args: &Args) -> anyhow::Result<Self> {
        let inventory = Inventory::new(&args.inventory);
        let places = if args.inventory.is_empty() {
            Places::default()
        } else {
            Places::new(inventory.history().map_err(|error| anyhow::anyhow!(error.to_owned()))?)
        };
        let mut ports = inventory.tunnel_ports();
        args.tunnels.add_to(&mut ports);
        Ok(Self { places, ports })
    }
}

/// More exporters than a file has, and data may wait for its template.
fn limits() -> Limits {
    Limits { exporters: 1 << 17, pending_bytes: 64 << 20, ..Limits::default() }
}

/// Takes back what was remembered, and says what could not be.
fn restore(collector: &mut Collector, remembered: Remembered) {
    for damage in &remembered.damage {
        eprintln!("overtap: line {} of the state cannot be read: {}", damage.line, damage.reason);
    }
    let oldest = remembered.written.saturating_sub(FORGET_AFTER);
    let (mut taken, mut no_room, mut malformed) = (0_u64, 0_u64, 0_u64);
    for saved in remembered.exporters {
        // Who was silent for a day has other templates by now, or is gone.
        if saved.last_seen < oldest {
            continue;
        }
        match collector.restore(saved) {
            Ok(()) => taken += 1,
            Err(Unrestorable::NoRoom) => no_room += 1,
            Err(Unrestorable::Known | Unrestorable::Malformed) => malformed += 1,
        }
    }
    for (count, what) in [
        (taken, "exporters are remembered"),
        (no_room, "exporters of the state find no room"),
        (malformed, "exporters of the state cannot be understood"),
    ] {
        if count > 0 {
            eprintln!("overtap: {} {what}", agent::grouped(count));
        }
    }
}

fn listen(args: &Args) -> anyhow::Result<Vec<Listener>> {
    let needs_tls = args.listen.iter().any(|address| address.transport == Transport::Tls);
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(collector::server_config(&TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
            clients: args.tls_clients.clone(),
        })?),
        _ if needs_tls => {
            return Err(WrongUsage("tls:// needs --tls-cert and --tls-key".into()).into());
        }
        _ => None,
    };
    let bind = |address: &Address| Listener::bind(*address, tls.as_ref());
    Ok(args.listen.iter().map(bind).collect::<Result<_, _>>()?)
}

fn say_listening(listeners: &[Listener], is_quiet: bool) {
    for listener in listeners {
        let bytes = listener.buffer_bytes;
        if !is_quiet {
            eprintln!("overtap: listening at {}", listener.address);
        }
        if bytes > 0 && bytes < LEAST_BUFFER {
            eprintln!(
                "overtap: the kernel holds only {bytes} bytes for {}; \
                 sysctl -w net.core.rmem_max=67108864 lets it hold more, or run with \
                 CAP_NET_ADMIN",
                listener.address
            );
        }
    }
}

/// Where records go.
enum Destination {
    /// Nowhere: only accounts are wanted.
    Nowhere,
    /// Every record as it was exported.
    Records { out: Box<dyn Write>, ports: TunnelPorts, failure: Option<io::Error> },
    /// Flows, joined and counted once.
    Flows { flowing: Box<Flowing>, sink: JsonLines<Box<dyn Write>> },
    /// The same into a store.
    Store { flowing: Box<Flowing>, sink: Box<Writing> },
}

impl Destination {
    fn new(args: &Args, site: &Site) -> anyhow::Result<Self> {
        let open = || -> anyhow::Result<Box<dyn Write>> {
            Ok(match &args.write {
                Some(path) => Box::new(BufWriter::with_capacity(1 << 18, create(path)?)),
                None => Box::new(BufWriter::with_capacity(1 << 16, io::stdout())),
            })
        };
        let flowing = || {
            let timeouts = Timeouts { active: Duration::from_secs(60), ..Timeouts::default() };
            let (places, ports) = (site.places.clone(), site.ports.clone());
            Box::new(Flowing::new(places, timeouts, ports, args.settle))
        };
        if let Some(store) = args.keeping.open()? {
            return Ok(Self::Store { flowing: flowing(), sink: Box::new(store) });
        }
        Ok(match args.shown() {
            Show::Exporters => Self::Nowhere,
            Show::Records => {
                Self::Records { out: open()?, ports: site.ports.clone(), failure: None }
            }
            Show::Flows => Self::Flows { flowing: flowing(), sink: JsonLines(open()?) },
        })
    }

    #[inline]
    fn take(&mut self, event: Event<'_>) {
        match self {
            Self::Nowhere => {}
            Self::Records { out, ports, failure } => {
                if failure.is_none() {
                    *failure = records::write(out, event, ports).err();
                }
            }
            Self::Flows { flowing, .. } | Self::Store { flowing, .. } => flowing.take(event),
        }
    }

    fn give(&mut self, now: Timestamp) -> anyhow::Result<()> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Records { failure, .. } => Ok(failure.take().map_or(Ok(()), Err)?),
            Self::Flows { flowing, sink } => Ok(flowing.give(now, sink)?),
            Self::Store { flowing, sink } => flowing.give(now, sink.as_mut()),
        }
    }

    fn tick(&mut self, now: Timestamp) -> anyhow::Result<()> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Records { out, .. } => Ok(out.flush()?),
            Self::Flows { flowing, sink } => Ok(flowing.tick(now, sink)?),
            Self::Store { flowing, sink } => flowing.tick(now, sink.as_mut()),
        }
    }

    fn finish(&mut self, now: Timestamp) -> anyhow::Result<()> {
        match self {
            Self::Flows { flowing, sink } => Ok(flowing.finish(now, sink)?),
            Self::Store { flowing, sink } => flowing.finish(now, sink.as_mut()),
            Self::Nowhere | Self::Records { .. } => self.tick(now),
        }
    }
}

fn create(path: &PathBuf) -> anyhow::Result<File> {
    let file = File::create(path);
    file.map_err(|error| anyhow::anyhow!("cannot write {}: {error}", path.display()))
}

/// What is remembered, and when it is written down.
struct Keeping {
    memory: Option<Memory>,
    next: Instant,
}

impl Keeping {
    fn keep(&mut self, collector: &Collector) -> anyhow::Result<()> {
        if Instant::now() < self.next { Ok(()) } else { self.keep_now(collector) }
    }

    fn keep_now(&mut self, collector: &Collector) -> anyhow::Result<()> {
        let Some(memory) = &self.memory else { return Ok(()) };
        let began = Instant::now();
        memory.write(now(), collector.exporters().iter())?;
        // Of very many exporters it takes a while: at most a fiftieth of the time.
        self.next = Instant::now() + KEEP_EVERY.max(began.elapsed() * 50);
        Ok(())
    }
}

/// The account, where no records go: they may stand on standard output.
fn tell(
    args: &Args,
    collector: &Collector,
    counters: &Counters,
    out: &Destination,
) -> anyhow::Result<()> {
    let mut text = match args.output {
        Output::Json if args.shown() == Show::Exporters => {
            let document = json::live(collector, counters);
            let document = serde_json::to_string_pretty(&document)? + "\n";
            return crate::commands::print_out(document.as_bytes());
        }
        _ if args.quiet => return Ok(()),
        _ => text::of(collector),
    };
    if let Destination::Flows { flowing, .. } | Destination::Store { flowing, .. } = out {
        text::count(&mut text, flowing.told(), "flows");
        text::count(
            &mut text,
            flowing.without_addresses(),
            "records and samples without addresses",
        );
        let more = "records and samples of more points than there may be";
        text::count(&mut text, flowing.without_point(), more);
        let early = "times flows did not wait for all their sightings, for want of room";
        text::count(&mut text, flowing.settled_early(), early);
    }
    text::live(&mut text, counters);
    if args.shown() == Show::Exporters {
        crate::commands::print_out(text.as_bytes())
    } else {
        eprint!("{text}");
        Ok(())
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_parts(since.as_secs(), since.subsec_nanos())
}

const TICK: Duration = Duration::from_secs(1);
const KEEP_EVERY: Duration = Duration::from_secs(5);
const FORGET_AFTER: Duration = Duration::from_secs(24 * 3600);
/// With less than this a second of a busy exporter does not fit.
const LEAST_BUFFER: usize = 4 << 20;
