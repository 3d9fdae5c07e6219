//! Extract: selected packets of some capture files, changed if asked for, into others.
//!
//! The way of a packet is [`Way::take`]: read, selected, looked at for copies, stripped, sliced,
//! written. What can be said of a packet by itself is said by [`Rules`], which threads can share.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use capture::InputError;
use pipeline::{Known, Tenants};
use wire::file::{Item, Record};
use wire::mirror::MirrorForm;
use wire::{Layers, LinkType, Packet, Strip, Timestamp, TunnelPorts};

use crate::copies::Copies;
use crate::feed::ToolFeed;
use crate::mirrors::Mirrors;
use crate::outputs::{Encoding, Key, OutputError, Outputs};
use crate::pieces::{First, Held, Pieces};
use crate::points::{Point, Points, is_fine};
use crate::sources::{Source, turn};
use crate::threads;
use crate::{Fate, OpenInputs, Receipt, Selection, Slice, Tally, Target};

/// What is to be extracted, and where to.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which packets.
    pub selection: Selection,
    /// Which mirrors' frames are taken out of what the mirror has put around them, before anything
    /// else is asked of them; what is of no mirror is left out then.
    pub mirror: Option<MirrorForm>,
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
            && self.mirror.is_none()
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
    extract_to(inputs, request, None)
}

/// Extracts packets as [`extract`] does, and offers each that is written to tools as well.
///
/// # Errors
/// As [`extract`].
pub fn extract_to(
    inputs: OpenInputs,
    request: Request,
    feed: Option<ToolFeed>,
) -> Result<Receipt, ExtractError> {
    let taken = inputs.identities().collect();
    let mut outputs = Outputs::open(request.target.clone(), taken, Arc::clone(&request.stop))?;
    if request.mirror.is_some() {
        outputs.keep_nanoseconds();
    }
    let mut job = Job {
        copies: request.dedup.as_ref().map(Copies::new),
        mirrors: request.mirror.map(Mirrors::new),
        rules: Rules {
            needs_headers: request.needs_headers(),
            points: Points::default(),
            encoding: outputs.only_file().0,
            request,
        },
        results: Results {
            outputs,
            tally: Tally::default(),
            first_link: None,
            pieces: Pieces::new(),
            feed,
        },
        hands: Hands::default(),
    };
    let mut sources = inputs.into_sources();
    let (ended, failure) = match &mut sources[..] {
        [source] if job.rules.request.can_be_shared() && job.results.feed.is_none() => {
            job.run_threads(source)
        }
        _ => job.run(&mut sources),
    };
    Ok(job.finish(sources, ended, failure))
}

/// Whether a fragment may still wait for the first one of its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    Some,
    Over,
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
    mirrors: Option<Mirrors>,
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

    /// Decides about fragments that still wait, and writes what is waiting.
    fn flush(&mut self) -> (Ended, Option<OutputError>) {
        let mut way = self.way();
        match way.give_up(None).and_then(|()| way.results.outputs.flush_all()) {
            Ok(()) => (Ended::Inputs, None),
            Err(error) => self.failed(error),
        }
    }

    /// Gives one packet its fate.
    #[inline(always)]
    fn take(&mut self, input: usize, record: &Record<'_>) -> ControlFlow<Broken> {
        if self.mirrors.is_some() {
            return self.take_mirrored(input, record);
        }
        self.way().take_or_end(input, record)
    }

    /// Gives the frame in a mirror's packet its fate.
    #[inline(never)]
    fn take_mirrored(&mut self, input: usize, record: &Record<'_>) -> ControlFlow<Broken> {
        let Self { rules, results, copies, mirrors, hands } = self;
        let Some(mirrors) = mirrors else { return ControlFlow::Continue(()) };
        match mirrors.open(input, record, rules, copies.as_mut()) {
            Ok(record) => {
                Way { rules, results, copies: copies.as_mut(), hands }.take_or_end(input, &record)
            }
            Err(fate) => {
                results.tally.read += 1;
                results.tally.count(fate);
                ControlFlow::Continue(())
            }
        }
    }

    #[inline(always)]
    fn way(&mut self) -> Way<'_> {
        let Self { rules, results, copies, hands, .. } = self;
        Way { rules, results, copies: copies.as_mut(), hands }
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
        let Results { mut outputs, mut tally, first_link, feed, .. } = self.results;
        let tools = feed.map(ToolFeed::finish).unwrap_or_default();
        let mirrors = self.mirrors.map(|mirrors| mirrors.finish(&self.rules, &mut outputs));
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
            tools,
            repeated,
            copies: self.copies.map(Copies::report),
            mirrors: mirrors.unwrap_or_default(),
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
    /// Which UDP ports carry tunnels.
    pub(crate) const fn ports(&self) -> &TunnelPorts {
        &self.request.selection.ports
    }

    /// The first part of the way of a packet: whether it is wanted.
    #[inline(always)]
    pub(crate) fn look(&self, hands: &mut Hands, input: usize, record: &Record<'_>) -> Look {
        let selection = &self.request.selection;
        let packet = &record.packet;
        if !selection.wants_time(packet.time) {
            return Look::Refused(Fate::OutsideTime);
        }
        let Some(point) = self.points.of(input, packet.point) else {
            return Look::Refused(Fate::OtherLink);
        };
        if self.needs_headers {
            if let Some(fate) = selection.refuses_at_a_glance(input, packet) {
                return Look::Refused(fate);
            }
            hands.layers.fill(packet.link, packet.data, &selection.ports);
            if hands.layers.has_fragment() {
                return Look::Piece(point);
            }
        }
        match selection.refuses(input, packet, &hands.layers) {
            Some(fate) => Look::Refused(fate),
            None => Look::Wanted(point),
        }
    }

    /// What is to be written of a packet that is wanted, whose headers are at hand.
    #[inline]
    pub(crate) fn shape<'a>(
        &self,
        hands: &'a mut Hands,
        record: &Record<'a>,
        point: Point,
    ) -> Shaped<'a> {
        let Request { strip, slice, .. } = &self.request;
        let stripped = strip.apply(record.packet, &hands.layers, &mut hands.scratch);
        let mut packet = stripped.packet;
        let whole = packet.data;
        let kept = slice.kept(&hands.layers, stripped.removed as usize);
        packet.data = whole.get(..kept).unwrap_or(whole);
        let is_sliced = packet.data.len() < whole.len();
        let is_stripped = stripped.removed > 0;
        Shaped { packet, layers: &hands.layers, point, is_sliced, is_stripped }
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

/// What is known of a packet by itself.
pub(crate) enum Look {
    /// It is not wanted.
    Refused(Fate),
    /// Some level of it is a fragment: that depends on others.
    Piece(Point),
    /// It is wanted.
    Wanted(Point),
}

/// A packet that is wanted, as it is to be written.
pub(crate) struct Shaped<'a> {
    pub(crate) packet: Packet<'a>,
    /// The headers it had.
    layers: &'a Layers,
    pub(crate) point: Point,
    is_sliced: bool,
    is_stripped: bool,
}

impl Shaped<'_> {
    /// Counts what is in it, if it was written.
    #[inline]
    pub(crate) fn count(&self, tally: &mut Tally, fate: Fate) {
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
    /// What is known of packets in fragments.
    pub(crate) pieces: Pieces,
    /// The tools that get what is written.
    feed: Option<ToolFeed>,
}

/// The way of packets that come one after the other.
pub(crate) struct Way<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) results: &'a mut Results,
    pub(crate) copies: Option<&'a mut Copies>,
    pub(crate) hands: &'a mut Hands,
}

impl Way<'_> {
    /// Gives one packet its fate, and says whether it was the last.
    #[inline(always)]
    fn take_or_end(&mut self, input: usize, record: &Record<'_>) -> ControlFlow<Broken> {
        if let Err(error) = self.take(input, record) {
            return ControlFlow::Break(Broken::Failed(error));
        }
        if self.is_enough() {
            return ControlFlow::Break(Broken::Count);
        }
        ControlFlow::Continue(())
    }

    /// Gives one packet its fate.
    #[inline(always)]
    pub(crate) fn take(&mut self, input: usize, record: &Record<'_>) -> Result<(), OutputError> {
        self.results.tally.read += 1;
        match self.treat(input, record) {
            Ok(fate) => self.results.tally.count(fate),
            Err(error) => {
                self.results.tally.count(Fate::Written);
                return Err(error);
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn treat(&mut self, input: usize, record: &Record<'_>) -> Result<Fate, OutputError> {
        if record.packet.time >= self.results.pieces.deadline() {
            self.give_up(Some(record.packet.time)).map_err(|error| self.and_this(error))?;
        }
        match self.rules.look(self.hands, input, record) {
            Look::Refused(fate) => Ok(fate),
            Look::Piece(point) => self.treat_piece(input, record, point, Patience::Some),
            Look::Wanted(point) => self.deliver(input, record, point, &[]),
        }
    }

    /// The way of a packet of which some level is a fragment; its headers are at hand.
    #[cold]
    fn treat_piece(
        &mut self,
        input: usize,
        record: &Record<'_>,
        point: Point,
        patience: Patience,
    ) -> Result<Fate, OutputError> {
        let selection = &self.rules.request.selection;
        let Results { outputs, pieces, .. } = &mut *self.results;
        let layers = &self.hands.layers;
        let packet = &record.packet;
        let found = pieces.look_up(packet, layers, point);
        let depends = selection.depends_on_first(input, packet.point) || outputs.looks_inside();
        if depends && patience == Patience::Some && pieces.hold(&found, input, point, record) {
            // For the time being.
            return Ok(Fate::Undecidable);
        }
        let first = match &found.known {
            Known::As(first) => Some(first),
            Known::Nothing | Known::Ambiguous => None,
        };
        let refused = first.map(|first| first.refused);
        let refused = selection.refuses_piece(input, packet, layers, refused);
        let keys = match first {
            Some(first) => Arc::clone(&first.keys),
            None => outputs.keys_inside(input, packet, layers).into(),
        };
        let decided = First { refused, keys };
        let released = pieces.begin(&found, packet, &decided);
        if !released.is_empty() {
            for held in &released {
                // They were seen before.
                self.treat_again(held, Patience::Some).map_err(|error| self.and_this(error))?;
            }
            self.hands.layers.fill(packet.link, packet.data, &selection.ports);
        }
        match decided.refused {
            Some(fate) => Ok(fate),
            None if self.is_enough() => Ok(Fate::Undecidable),
            None => self.deliver(input, record, point, &decided.keys),
        }
    }

    /// The way of a piece that has waited, and that was counted as undecidable.
    fn treat_again(&mut self, held: &Held, patience: Patience) -> Result<(), OutputError> {
        let record = held.record.record();
        let packet = &record.packet;
        if self.is_enough() {
            return Ok(());
        }
        self.hands.layers.fill(packet.link, packet.data, &self.rules.request.selection.ports);
        match self.treat_piece(held.input, &record, held.point, patience) {
            Ok(fate) => self.results.tally.decide(fate),
            Err(error) => {
                self.results.tally.decide(Fate::Written);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Waits no longer for the first pieces of packets that should have come by `time`.
    #[cold]
    fn give_up(&mut self, time: Option<Timestamp>) -> Result<(), OutputError> {
        while let Some(held) = self.results.pieces.overdue(time) {
            self.treat_again(&held, Patience::Over)?;
        }
        Ok(())
    }

    /// Another packet could not be written, and so the one in hand will not be: whoever counts it
    /// takes it for written.
    fn and_this(&mut self, error: OutputError) -> OutputError {
        self.results.tally.unwrite(1);
        error
    }

    /// Whether as many packets are written as were asked for.
    #[inline]
    fn is_enough(&self) -> bool {
        let count = self.rules.request.count;
        count.is_some_and(|most| self.results.tally.of(Fate::Written) >= most)
    }

    /// The rest of the way of a packet that is wanted; `keys` are its files, where those are known.
    #[inline(never)]
    fn deliver(
        &mut self,
        input: usize,
        record: &Record<'_>,
        point: Point,
        keys: &[Key],
    ) -> Result<Fate, OutputError> {
        if let Some(copies) = &mut self.copies
            && copies.is_copy(input, &record.packet, &self.hands.layers)
        {
            return Ok(Fate::Duplicate);
        }
        let shaped = self.rules.shape(self.hands, record, point);
        let (packet, points) = (&shaped.packet, &self.rules.points);
        let outputs = &mut self.results.outputs;
        let fate = if keys.is_empty() {
            outputs.take(input, packet, record, shaped.layers, point, points)?
        } else {
            outputs.take_as(keys, packet, record, point, points)?
        };
        if fate == Fate::Written
            && let Some(feed) = &mut self.results.feed
        {
            let number = point.number_in(packet.link).unwrap_or(point.number);
            feed.offer(packet, number, points.name(point)).map_err(OutputError::Tool)?;
        }
        shaped.count(&mut self.results.tally, fate);
        Ok(fate)
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
