//! Extract: selected packets of some capture files, changed if asked for, into others.
//!
//! The way of a packet is [`Rules::treat`]: read, selected, looked at for copies, stripped, sliced,
//! written. Each step is one line there.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use capture::InputError;
use pipeline::Tenants;
use wire::file::{Item, Record};
use wire::{Layers, LinkType, Packet, Strip};

use crate::copies::Copies;
use crate::outputs::{Encoding, OutputError, Outputs};
use crate::points::{Point, Points, is_fine};
use crate::sources::{Source, turn};
use crate::threads;
use crate::{Fate, OpenInputs, Receipt, Selection, Slice, Tally, Target};

/// What is to be extracted, and where to.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which packets.
    pub selection: Selection,
    /// Which headers go.
    pub strip: Strip,
    /// How much of each packet is kept.
    pub slice: Slice,
    /// Which packets are copies of others, if they are to be left out.
    pub dedup: Option<DedupRequest>,
    /// After how many packets written it ends.
    pub count: Option<u64>,
    /// Where the packets go.
    pub target: Target,
    /// How many threads share the work. One input that goes into one file can be shared, unless
    /// copies are left out or packets counted off; of all else one thread does it.
    pub threads: usize,
    /// Set by others to end early, with complete files.
    pub stop: Arc<AtomicBool>,
}

impl Request {
    fn needs_headers(&self) -> bool {
        self.selection.needs_headers()
            || !self.strip.is_nothing()
            || self.slice.needs_headers()
            || self.dedup.is_some()
            || self.target.split.is_some()
    }

    /// Whether several threads are asked for, and no packet's fate depends on others' before it.
    fn can_be_shared(&self) -> bool {
        self.threads > 1
            && self.dedup.is_none()
            && self.count.is_none()
            && self.target.split.is_none()
    }
}

/// What is known about copies before the first packet.
#[derive(Debug, Clone)]
pub struct DedupRequest {
    /// How far apart in time copies may be.
    pub window: Duration,
    /// Whose packets may be copies of each other.
    pub tenants: Tenants,
}

/// Why a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All inputs were read.
    Inputs,
    /// As many packets are written as were asked for; what follows was not read.
    Count,
    /// Somebody asked for the end.
    Stopped,
    /// Whoever read the output went away.
    ReaderGone,
    /// An output could not be written.
    Failed,
}

/// Why nothing could be extracted.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// An input could not be opened.
    #[error(transparent)]
    Input(#[from] InputError),
    /// An output could not be opened.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Extracts packets of `inputs` as `request` says.
///
/// # Errors
/// An output cannot be opened. Whatever happens later is in the receipt.
pub fn extract(inputs: OpenInputs, request: Request) -> Result<Receipt, ExtractError> {
    let taken = inputs.identities().collect();
    let outputs = Outputs::open(request.target.clone(), taken, Arc::clone(&request.stop))?;
    let mut job = Job {
        copies: request.dedup.as_ref().map(Copies::new),
        rules: Rules {
            needs_headers: request.needs_headers(),
            points: Points::default(),
            encoding: outputs.only_file().0,
            request,
        },
        results: Results { outputs, tally: Tally::default(), first_link: None },
        hands: Hands::default(),
    };
    let mut sources = inputs.into_sources();
    let (ended, failure) = match &mut sources[..] {
        [source] if job.rules.request.can_be_shared() => job.run_threads(source),
        _ => job.run(&mut sources),
    };
    Ok(job.finish(sources, ended, failure))
}

/// Why packets are no longer taken.
enum Broken {
    Count,
    Failed(OutputError),
}

/// A job while it runs.
struct Job {
    rules: Rules,
    results: Results,
    copies: Option<Copies>,
    hands: Hands,
}

impl Job {
    fn run(&mut self, sources: &mut [Source]) -> (Ended, Option<OutputError>) {
        for (number, source) in sources.iter_mut().enumerate() {
            self.advance(number, source);
        }
        while let Some((number, bound)) = turn(sources) {
            if self.rules.request.stop.load(Ordering::Relaxed) {
                return (Ended::Stopped, None);
            }
            let Some(source) = sources.get_mut(number) else { break };
            match source.each(bound, |record| self.take(number, record)) {
                ControlFlow::Continue(false) => {}
                ControlFlow::Continue(true) => self.advance(number, source),
                ControlFlow::Break(Broken::Count) => return (Ended::Count, None),
                ControlFlow::Break(Broken::Failed(error)) => return self.failed(error),
            }
        }
        self.flush()
    }

    fn run_threads(&mut self, source: &mut Source) -> (Ended, Option<OutputError>) {
        let result = threads::run(&mut self.rules, &mut self.results, source);
        source.account.read = self.results.tally.read;
        match result {
            Ok(true) => self.flush(),
            Ok(false) => (Ended::Stopped, None),
            Err(error) => self.failed(error),
        }
    }

    fn flush(&mut self) -> (Ended, Option<OutputError>) {
        match self.results.outputs.flush_all() {
            Ok(()) => (Ended::Inputs, None),
            Err(error) => self.failed(error),
        }
    }

    /// Gives one packet its fate.
    #[inline]
    fn take(&mut self, input: usize, record: &Record<'_>) -> ControlFlow<Broken> {
        let Self { rules, results, copies, hands } = self;
        if let Err(error) = results.take(rules, copies.as_mut(), hands, input, record) {
            return ControlFlow::Break(Broken::Failed(error));
        }
        let count = rules.request.count;
        if count.is_some_and(|most| results.tally.of(Fate::Written) >= most) {
            return ControlFlow::Break(Broken::Count);
        }
        ControlFlow::Continue(())
    }

    /// Brings a source to its next packet, and notes what stands before that.
    fn advance(&mut self, number: usize, source: &mut Source) {
        let Self { rules, results, copies, .. } = self;
        let name = source.name.clone();
        source.advance(|item| {
            rules.note(results, number, &name, item);
            if let (Some(copies), Item::Interface(interface)) = (&mut *copies, item) {
                copies.add_point(number, interface, &name);
            }
        });
    }

    fn failed(&mut self, error: OutputError) -> (Ended, Option<OutputError>) {
        let ended = match &error {
            OutputError::Write { error: deliver::WriteError::ReaderGone, lost, .. } => {
                self.results.tally.unwrite(*lost);
                return (Ended::ReaderGone, None);
            }
            OutputError::Write { lost, .. } => {
                self.results.tally.unwrite(*lost);
                Ended::Failed
            }
            _ => {
                self.results.tally.unwrite(1);
                Ended::Failed
            }
        };
        (ended, Some(error))
    }

    fn finish(self, sources: Vec<Source>, ended: Ended, failure: Option<OutputError>) -> Receipt {
        let Results { outputs, mut tally, first_link } = self.results;
        let link = first_link.unwrap_or(LinkType::ETHERNET);
        let repeated = outputs.repeated;
        let (outputs, late) = outputs.finish(link, &self.rules.points);
        let mut ended = ended;
        if let Some(OutputError::Write { lost, error, .. }) = &late {
            tally.unwrite(*lost);
            let is_gone = matches!(error, deliver::WriteError::ReaderGone);
            ended = if is_gone { Ended::ReaderGone } else { Ended::Failed };
        }
        let late = late.filter(|_| ended == Ended::Failed);
        Receipt {
            inputs: sources.into_iter().map(|source| source.account).collect(),
            outputs,
            tally,
            repeated,
            copies: self.copies.map(Copies::report),
            ended,
            failure: failure.or(late).map(|error| error.to_string()),
        }
    }
}

/// What the fate of a packet depends on. It changes at what stands between packets, not at them.
pub(crate) struct Rules {
    pub(crate) request: Request,
    pub(crate) points: Points,
    needs_headers: bool,
    /// How packets are written into the only file, if there is one.
    pub(crate) encoding: Encoding,
}

impl Rules {
    /// The way of one packet up to where it is written; what it is then, or why it is not.
    #[inline]
    pub(crate) fn treat<'a>(
        &self,
        copies: Option<&mut Copies>,
        hands: &'a mut Hands,
        input: usize,
        record: &Record<'a>,
    ) -> Result<Treated<'a>, Fate> {
        let request = &self.request;
        let selection = &request.selection;
        if !selection.wants_time(record.packet.time) {
            return Err(Fate::OutsideTime);
        }
        let point = self.points.of(input, record.packet.point).ok_or(Fate::OtherLink)?;
        let packet = record.packet;
        if self.needs_headers {
            hands.layers.fill(packet.link, packet.data, &selection.ports);
        }
        if let Some(fate) = selection.refuses(input, &packet, &hands.layers) {
            return Err(fate);
        }
        if let Some(copies) = copies
            && copies.is_copy(input, &packet, &hands.layers)
        {
            return Err(Fate::Duplicate);
        }
        let stripped = request.strip.apply(packet, &hands.layers, &mut hands.scratch);
        let mut packet = stripped.packet;
        let whole = packet.data;
        let kept = request.slice.kept(&hands.layers, stripped.removed as usize);
        packet.data = whole.get(..kept).unwrap_or(whole);
        let is_sliced = packet.data.len() < whole.len();
        let is_stripped = stripped.removed > 0;
        Ok(Treated { packet, layers: &hands.layers, point, is_sliced, is_stripped })
    }

    /// Takes in what stands between packets of input number `input`, called `name`.
    pub(crate) fn note(
        &mut self,
        results: &mut Results,
        input: usize,
        name: &str,
        item: &Item<'_>,
    ) {
        let outputs = &mut results.outputs;
        match item {
            Item::Section(section) => {
                self.points.begin_section(input);
                let text = |text: Option<wire::file::Text<'_>>| {
                    text.map(|text| text.to_str().into_owned()).unwrap_or_default()
                };
                let comments = section.options.comments();
                let comments = comments.map(|text| text.to_str().into_owned()).collect();
                outputs.add_origin(&text(section.hardware()), &text(section.os()), comments);
            }
            Item::Interface(interface) => {
                results.first_link.get_or_insert(interface.link);
                if let Some(name) = interface.name() {
                    let selection = &mut self.request.selection;
                    selection.add_point(input, interface.point, &name.to_str());
                    outputs.add_point(input, interface.point, &name.to_str());
                }
                if is_fine(interface.resolution) {
                    outputs.keep_nanoseconds();
                }
                let has_ethernet = !self.request.strip.is_nothing();
                self.points.add(input, interface, name, has_ethernet);
            }
            Item::Names(names) => outputs.add_names(|out| wire::file::copy_names(out, names)),
            Item::Statistics(statistics) => {
                if let Some(point) = self.points.of(input, statistics.point) {
                    outputs.add_statistics(point, statistics);
                }
            }
            Item::Record(_) | Item::Other(_) | Item::Damage(_) => {}
        }
        self.encoding = outputs.only_file().0;
    }
}

/// A packet that is wanted, as it is to be written.
pub(crate) struct Treated<'a> {
    pub(crate) packet: Packet<'a>,
    /// The headers it had.
    layers: &'a Layers,
    pub(crate) point: Point,
    is_sliced: bool,
    is_stripped: bool,
}

impl Treated<'_> {
    /// Counts what became of it.
    #[inline]
    pub(crate) fn count(&self, tally: &mut Tally, fate: Fate) {
        tally.count(fate);
        if fate == Fate::Written {
            tally.written_bytes += self.packet.data.len() as u64;
            tally.sliced += u64::from(self.is_sliced);
            tally.stripped += u64::from(self.is_stripped);
        }
    }
}

/// What came of the packets so far.
pub(crate) struct Results {
    pub(crate) outputs: Outputs,
    pub(crate) tally: Tally,
    first_link: Option<LinkType>,
}

impl Results {
    /// Gives one packet its fate.
    #[inline]
    pub(crate) fn take(
        &mut self,
        rules: &Rules,
        copies: Option<&mut Copies>,
        hands: &mut Hands,
        input: usize,
        record: &Record<'_>,
    ) -> Result<(), OutputError> {
        self.tally.read += 1;
        let treated = match rules.treat(copies, hands, input, record) {
            Ok(treated) => treated,
            Err(fate) => {
                self.tally.count(fate);
                return Ok(());
            }
        };
        let Treated { packet, layers, point, .. } = &treated;
        match self.outputs.take(input, packet, record, layers, *point, &rules.points) {
            Ok(fate) => treated.count(&mut self.tally, fate),
            Err(error) => {
                self.tally.count(Fate::Written);
                return Err(error);
            }
        }
        Ok(())
    }
}

/// What is at hand for one packet at a time.
pub(crate) struct Hands {
    /// The headers of the packet.
    layers: Layers,
    /// Where a stripped packet is put together.
    scratch: Vec<u8>,
}

impl Default for Hands {
    fn default() -> Self {
        Self { layers: Layers::empty(), scratch: Vec::new() }
    }
}
