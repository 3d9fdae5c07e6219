//! Where flows come from: packets of capture files through the meter, or exports in them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use files::{FlowRequest, InputAccount, OpenInputs, Selection, Wanted};
use flows::{Counted, Exports, Flow, Gathering, MeterCounters, Places, Point, Timeouts};
use wire::Timestamp;
use wire::export::{Collector, Limits};

use super::live::Capture;
use crate::commands::collect;
use crate::commands::extract::said::{Bar, input_problems};
use crate::commands::extract::whose::Inventory;
use crate::commands::extract::words;
use crate::commands::store::{Asked, Stored};
use crate::exit::{Exit, WrongUsage};
use crate::quantity::parse_duration;
use crate::tunnels::Tunnels;

/// Where flows come from, and how they are made.
#[derive(clap::Args)]
pub(crate) struct Gather {
    /// The capture files, `-` is standard input; then, if wanted, an expression in the words of
    /// tcpdump (pcap-filter(7)). It begins with the first word that names no file.
    #[arg(value_name = "FILE... [EXPR]")]
    words: Vec<String>,

    /// Take the flow exports found in this capture instead; may be given several times.
    #[arg(long, value_name = "FILE", conflicts_with = "words")]
    from: Vec<PathBuf>,

    /// Capture this VM now, as overtap capture does, until Ctrl-C; what else is typed is the
    /// expression. For overtap top without VM: show all VMs of this host as it is now.
    #[arg(long, value_name = "VM", conflicts_with = "from", num_args = 0..=1,
          default_missing_value = "")]
    live: Option<String>,

    /// Where machines are looked up: an inventory file; may be given several times. Without, ends
    /// are addresses.
    #[arg(long, value_name = "FILE")]
    inventory: Vec<PathBuf>,

    #[command(flatten)]
    tunnels: Tunnels,

    #[command(flatten)]
    stored: Stored,

    /// Only packets seen, or flows going on, at this time or later: 2026-11-21T10:03:00Z, '2026-11-21 10:03', or
    /// seconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = words::parse_time)]
    since: Option<Timestamp>,

    /// Only packets seen, or flows going on, before this time.
    #[arg(long, value_name = "TIME", value_parser = words::parse_time)]
    until: Option<Timestamp>,

    /// A flow that was silent for so long has ended.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    idle: Duration,

    /// A flow that goes on for so long is told, and goes on as another.
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = parse_duration)]
    active: Duration,

    /// The most flows at one time; of more, old ones are told early.
    #[arg(long, value_name = "FLOWS", default_value_t = 1 << 20,
          value_parser = clap::value_parser!(u32).range(1..))]
    max_flows: u32,

    /// Show no progress bar, and say nothing of what is in no row.
    #[arg(short, long)]
    quiet: bool,
}

/// Whether sightings of one flow are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counting {
    /// They wait for each other, and one of them counts.
    Once,
    /// Each is shown when it is over; nothing is said of what counts.
    Every,
}

/// What is known beside a flow.
pub(crate) struct Sight<'a> {
    /// All machines.
    pub(crate) places: &'a Places,
    /// All points.
    pub(crate) points: &'a [Point],
}

/// What became of everything that was read.
pub(crate) struct Gathered {
    pub(crate) exit: Exit,
    pub(crate) counters: MeterCounters,
    pub(crate) not_selected: u64,
    pub(crate) without_addresses: u64,
    pub(crate) settled_early: u64,
}

impl Gather {
    /// Shows every flow with what of it counts.
    pub(crate) fn run(
        &self,
        each: impl FnMut(&Flow, &[Counted; 2], &Sight<'_>),
    ) -> anyhow::Result<Gathered> {
        self.run_with(Counting::Once, each)
    }

    /// Shows every flow, counted as asked for.
    pub(crate) fn run_with(
        &self,
        counting: Counting,
        mut each: impl FnMut(&Flow, &[Counted; 2], &Sight<'_>),
    ) -> anyhow::Result<Gathered> {
        if !self.has_origin() {
            return Err(no_origin());
        }
        let inventory = Inventory::new(&self.inventory);
        let places = self.places(&inventory)?;
        if self.from.is_empty() {
            self.meter(&inventory, &places, counting, &mut each)
        } else {
            self.replay(&inventory, &places, &mut each)
        }
    }

    /// Whether packets come as they are captured.
    pub(super) const fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// The store that is asked, or the controller, if there is neither a capture nor exports.
    pub(crate) fn asked(&self) -> anyhow::Result<Option<Asked<'_>>> {
        if self.has_origin() {
            return self.stored.check_unasked().map(|()| None);
        }
        self.stored.asked(self.since, self.until)?.map(Some).ok_or_else(no_origin)
    }

    /// Whether flows are to be made of something.
    const fn has_origin(&self) -> bool {
        !self.words.is_empty() || !self.from.is_empty() || self.is_live()
    }

    /// Whether all VMs of this host are to be shown as it is now.
    pub(crate) fn is_whole_host(&self) -> bool {
        self.live.as_deref() == Some("")
    }

    /// The expression for that, if nothing was said beside it that means something only to files
    /// and stores.
    pub(crate) fn whole_host_expression(&self) -> Result<String, WrongUsage> {
        let is_of_files =
            !self.inventory.is_empty() || self.since.is_some() || self.until.is_some();
        if is_of_files || self.stored.keeping().is_named() {
            let text = "--live without a VM shows this host by its own inventory; \
                        --inventory, --store, --since and --until are for what was captured";
            return Err(WrongUsage(text.into()));
        }
        Ok(self.words.join(" "))
    }

    /// The store that rows go to.
    pub(crate) const fn stored(&self) -> &Stored {
        &self.stored
    }

    pub(crate) const fn is_quiet(&self) -> bool {
        self.quiet
    }

    fn places(&self, inventory: &Inventory) -> anyhow::Result<Places> {
        if self.inventory.is_empty() {
            return Ok(Places::default());
        }
        let history = inventory.history().map_err(|error| anyhow::anyhow!(error.to_owned()))?;
        Ok(Places::new(history))
    }

    /// Meters the packets of capture files.
    fn meter(
        &self,
        inventory: &Inventory,
        places: &Places,
        counting: Counting,
        each: &mut impl FnMut(&Flow, &[Counted; 2], &Sight<'_>),
    ) -> anyhow::Result<Gathered> {
        if self.is_whole_host() {
            let text = "--live needs a VM here; overtap top --live shows all of this host";
            return Err(WrongUsage(text.into()).into());
        }
        let mut capture =
            self.live.as_ref().map(|vm| Capture::begin(vm, &self.words)).transpose()?;
        let (paths, expression) = match &capture {
            // The capture selects by the expression; what it writes is wanted.
            Some(capture) => (vec![capture.path()], String::new()),
            None => words::split(&self.words)?,
        };
        let filter = words::parse_filter(&expression, inventory)?;
        let wanted = Wanted { vms: None, filter };
        let elsewhere = inventory.elsewhere(&wanted, &[], &expression);
        let mut ports = inventory.tunnel_ports();
        self.tunnels.add_to(&mut ports);
        inventory.say_notes();
        let stop = Arc::new(AtomicBool::new(false));
        // A capture ends first, and what it wrote is read to its end.
        let heeded = if capture.is_some() { Arc::default() } else { Arc::clone(&stop) };
        let request = FlowRequest {
            selection: Selection { wanted, elsewhere, from: self.since, to: self.until, ports },
            timeouts: self.timeouts(),
            nvgre: places.nvgre(),
            moves: places.moves().to_vec(),
            stop: heeded,
        };
        words::on_signals(&stop)?;
        if let Some(capture) = &mut capture {
            capture.end_with(&stop);
        }
        let inputs = OpenInputs::open(&paths);
        // Why there is no capture it has said itself.
        if inputs.is_err() && capture.is_some() {
            anyhow::bail!("nothing was captured");
        }
        let inputs = inputs?;
        if let Some(capture) = &mut capture {
            capture.release();
        }
        let bar = Bar::begin(inputs.progress(), self.quiet);
        let mut gathering = Gathering::default();
        let report = files::flows(inputs, request, |flow, points| {
            let sight = Sight { places, points };
            if counting == Counting::Every {
                return each(&flow, &[Counted::default(); 2], &sight);
            }
            gathering.add(flow, points, places, &mut |flow, counted| each(flow, counted, &sight));
        });
        drop(bar);
        let sight = Sight { places, points: &report.points };
        gathering.settle(&report.points, places, &mut |flow, counted| each(flow, counted, &sight));
        Ok(Gathered {
            exit: match capture.as_mut().map(Capture::finish).transpose()? {
                Some(false) => Exit::Lost,
                _ => exit(&report.inputs, report.is_complete),
            },
            counters: report.counters,
            not_selected: report.not_selected,
            without_addresses: 0,
            settled_early: gathering.settled_early(),
        })
    }

    /// Takes the flows that exporters have sent.
    fn replay(
        &self,
        inventory: &Inventory,
        places: &Places,
        each: &mut impl FnMut(&Flow, &[Counted; 2], &Sight<'_>),
    ) -> anyhow::Result<Gathered> {
        if self.since.is_some() || self.until.is_some() {
            return Err(
                WrongUsage("--since and --until are of packets, not of exports".into()).into()
            );
        }
        let mut ports = inventory.tunnel_ports();
        self.tunnels.add_to(&mut ports);
        let mut exports = Exports::new(self.timeouts(), places.nvgre(), ports.clone());
        let mut collector = Collector::new(Limits::default());
        let mut gathering = Gathering::default();
        let mut made = Vec::new();
        let report = collect::replay(&self.from, &ports, self.quiet, &mut collector, |event| {
            exports.take(event, |flow| made.push(flow));
            for flow in made.drain(..) {
                let points = exports.points();
                let sight = Sight { places, points };
                gathering
                    .add(flow, points, places, &mut |flow, counted| each(flow, counted, &sight));
            }
        })?;
        exports.finish(|flow| made.push(flow));
        let points = exports.points();
        let sight = Sight { places, points };
        let mut each = |flow: &Flow, counted: &[Counted; 2]| each(flow, counted, &sight);
        for flow in made {
            gathering.add(flow, points, places, &mut each);
        }
        gathering.settle(points, places, &mut each);
        Ok(Gathered {
            exit: collect::exit(&report),
            counters: *exports.counters(),
            not_selected: 0,
            without_addresses: exports.without_addresses(),
            settled_early: gathering.settled_early(),
        })
    }

    const fn timeouts(&self) -> Timeouts {
        Timeouts {
            idle: self.idle,
            active: self.active,
            ended: Duration::from_secs(2),
            flows: self.max_flows,
        }
    }
}

fn no_origin() -> anyhow::Error {
    let what = "flows of what? Name capture files, or exports with --from, a VM with --live, a \
                store with --store; or log in at a controller that has flows: overtap login";
    WrongUsage(what.into()).into()
}

fn exit(inputs: &[InputAccount], is_complete: bool) -> Exit {
    for input in inputs {
        eprint!("{}", input_problems(input));
    }
    let is_failed = |input: &InputAccount| input.read == 0 && input.failure.is_some();
    if inputs.iter().any(is_failed) {
        Exit::Failed
    } else if is_complete && inputs.iter().all(InputAccount::is_whole) {
        Exit::Done
    } else {
        Exit::Lost
    }
}
