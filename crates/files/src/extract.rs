//! Extract: selected packets of some capture files, changed if asked for, into others.
//!
//! The way of a packet is [`Job::treat`]: read, selected, looked at for copies, stripped, sliced,
//! written. Each step is one line there.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use capture::InputError;
use pipeline::{Known, Tenants};
use wire::file::{Item, Record};
use wire::{Layers, LinkType, Strip, Timestamp};

use crate::copies::Copies;
use crate::outputs::{Key, OutputError, Outputs};
use crate::pieces::{First, Held, Pieces};
use crate::points::{Point, Points, is_fine};
use crate::sources::{Source, turn};
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
        points: Points::default(),
        layers: Layers::empty(),
        scratch: Vec::new(),
        tally: Tally::default(),
        first_link: None,
        outputs,
        copies: request.dedup.as_ref().map(Copies::new),
        needs_headers: request.needs_headers(),
        pieces: Pieces::new(),
        request,
    };
    let mut sources = inputs.into_sources();
    let (ended, failure) = job.run(&mut sources);
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
    request: Request,
    points: Points,
    outputs: Outputs,
    tally: Tally,
    /// The headers of the packet in hand.
    layers: Layers,
    /// Where a stripped packet is put together.
    scratch: Vec<u8>,
    first_link: Option<LinkType>,
    copies: Option<Copies>,
    needs_headers: bool,
    pieces: Pieces,
}

impl Job {
    fn run(&mut self, sources: &mut [Source]) -> (Ended, Option<OutputError>) {
        for (number, source) in sources.iter_mut().enumerate() {
            self.advance(number, source);
        }
        while let Some((number, bound)) = turn(sources) {
            if self.request.stop.load(Ordering::Relaxed) {
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
        match self.give_up(None).and_then(|()| self.outputs.flush_all()) {
            Ok(()) => (Ended::Inputs, None),
            Err(error) => self.failed(error),
        }
    }

    /// Gives one packet its fate.
    #[inline]
    fn take(&mut self, input: usize, record: &Record<'_>) -> ControlFlow<Broken> {
        self.tally.read += 1;
        match self.treat(input, record) {
            Ok(fate) => self.tally.count(fate),
            Err(error) => {
                self.tally.count(Fate::Written);
                return ControlFlow::Break(Broken::Failed(error));
            }
        }
        if self.is_enough() {
            return ControlFlow::Break(Broken::Count);
        }
        ControlFlow::Continue(())
    }

    /// The way of one packet.
    fn treat(&mut self, input: usize, record: &Record<'_>) -> Result<Fate, OutputError> {
        if record.packet.time >= self.pieces.deadline() {
            self.give_up(Some(record.packet.time)).map_err(|error| self.and_this(error))?;
        }
        let selection = &self.request.selection;
        if !selection.wants_time(record.packet.time) {
            return Ok(Fate::OutsideTime);
        }
        let Some(point) = self.points.of(input, record.packet.point) else {
            return Ok(Fate::OtherLink);
        };
        let packet = &record.packet;
        if self.needs_headers {
            self.layers.fill(packet.link, packet.data, &selection.ports);
            if self.layers.has_fragment() {
                return self.treat_piece(input, record, point, Patience::Some);
            }
        }
        match selection.refuses(input, packet, &self.layers) {
            Some(fate) => Ok(fate),
            None => self.deliver(input, record, point, &[]),
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
        let selection = &self.request.selection;
        let packet = &record.packet;
        let found = self.pieces.look_up(packet, &self.layers, point);
        let depends =
            selection.depends_on_first(input, packet.point) || self.outputs.looks_inside();
        if depends && patience == Patience::Some && self.pieces.hold(&found, input, point, record) {
            // For the time being.
            return Ok(Fate::Undecidable);
        }
        let first = match &found.known {
            Known::As(first) => Some(first),
            Known::Nothing | Known::Ambiguous => None,
        };
        let refused = first.map(|first| first.refused);
        let refused = selection.refuses_piece(input, packet, &self.layers, refused);
        let keys = match first {
            Some(first) => Arc::clone(&first.keys),
            None => self.outputs.keys_inside(input, packet, &self.layers).into(),
        };
        let decided = First { refused, keys };
        let released = self.pieces.begin(&found, packet, &decided);
        if !released.is_empty() {
            for held in &released {
                // They were seen before.
                self.treat_again(held, Patience::Some).map_err(|error| self.and_this(error))?;
            }
            self.layers.fill(packet.link, packet.data, &self.request.selection.ports);
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
        self.layers.fill(packet.link, packet.data, &self.request.selection.ports);
        match self.treat_piece(held.input, &record, held.point, patience) {
            Ok(fate) => self.tally.decide(fate),
            Err(error) => {
                self.tally.decide(Fate::Written);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Waits no longer for the first pieces of packets that should have come by `time`.
    #[cold]
    fn give_up(&mut self, time: Option<Timestamp>) -> Result<(), OutputError> {
        while let Some(held) = self.pieces.overdue(time) {
            self.treat_again(&held, Patience::Over)?;
        }
        Ok(())
    }

    /// Another packet could not be written, and so the one in hand will not be: whoever counts it
    /// takes it for written.
    fn and_this(&mut self, error: OutputError) -> OutputError {
        self.tally.unwrite(1);
        error
    }

    /// Whether as many packets are written as were asked for.
    fn is_enough(&self) -> bool {
        self.request.count.is_some_and(|most| self.tally.of(Fate::Written) >= most)
    }

    /// The rest of the way of a packet that is wanted; `keys` are its files, where those are known.
    fn deliver(
        &mut self,
        input: usize,
        record: &Record<'_>,
        point: Point,
        keys: &[Key],
    ) -> Result<Fate, OutputError> {
        let request = &self.request;
        let mut packet = record.packet;
        if let Some(copies) = &mut self.copies
            && copies.is_copy(input, &packet, &self.layers)
        {
            return Ok(Fate::Duplicate);
        }
        let stripped = request.strip.apply(packet, &self.layers, &mut self.scratch);
        packet = stripped.packet;
        let whole = packet.data;
        let kept = request.slice.kept(&self.layers, stripped.removed as usize);
        packet.data = whole.get(..kept).unwrap_or(whole);
        let fate = if keys.is_empty() {
            self.outputs.take(input, &packet, record, &self.layers, point, &self.points)?
        } else {
            self.outputs.take_as(keys, &packet, record, point, &self.points)?
        };
        if fate == Fate::Written {
            self.tally.written_bytes += packet.data.len() as u64;
            self.tally.sliced += u64::from(packet.data.len() < whole.len());
            self.tally.stripped += u64::from(stripped.removed > 0);
        }
        Ok(fate)
    }

    /// Brings a source to its next packet, and notes what stands before that.
    fn advance(&mut self, number: usize, source: &mut Source) {
        let name = source.name.clone();
        source.advance(|item| match item {
            Item::Section(section) => {
                self.points.begin_section(number);
                let text = |text: Option<wire::file::Text<'_>>| {
                    text.map(|text| text.to_str().into_owned()).unwrap_or_default()
                };
                let comments = section.options.comments();
                let comments = comments.map(|text| text.to_str().into_owned()).collect();
                self.outputs.add_origin(&text(section.hardware()), &text(section.os()), comments);
            }
            Item::Interface(interface) => {
                self.first_link.get_or_insert(interface.link);
                if let Some(name) = interface.name() {
                    let selection = &mut self.request.selection;
                    selection.add_point(number, interface.point, &name.to_str());
                    self.outputs.add_point(number, interface.point, &name.to_str());
                }
                if is_fine(interface.resolution) {
                    self.outputs.keep_nanoseconds();
                }
                let has_ethernet = !self.request.strip.is_nothing();
                self.points.add(number, interface, &name, has_ethernet);
                if let Some(copies) = &mut self.copies {
                    copies.add_point(number, interface, &name);
                }
            }
            Item::Names(names) => {
                self.outputs.add_names(|out| wire::file::copy_names(out, names));
            }
            Item::Statistics(statistics) => {
                if let Some(point) = self.points.of(number, statistics.point) {
                    self.outputs.add_statistics(point, statistics);
                }
            }
            Item::Record(_) | Item::Other(_) | Item::Damage(_) => {}
        });
    }

    fn failed(&mut self, error: OutputError) -> (Ended, Option<OutputError>) {
        let ended = match &error {
            OutputError::Write { error: deliver::WriteError::ReaderGone, lost, .. } => {
                self.tally.unwrite(*lost);
                return (Ended::ReaderGone, None);
            }
            OutputError::Write { lost, .. } => {
                self.tally.unwrite(*lost);
                Ended::Failed
            }
            _ => {
                self.tally.unwrite(1);
                Ended::Failed
            }
        };
        (ended, Some(error))
    }

    fn finish(
        mut self,
        sources: Vec<Source>,
        ended: Ended,
        failure: Option<OutputError>,
    ) -> Receipt {
        let link = self.first_link.unwrap_or(LinkType::ETHERNET);
        let repeated = self.outputs.repeated;
        let (outputs, late) = self.outputs.finish(link, &self.points);
        let mut ended = ended;
        if let Some(OutputError::Write { lost, error, .. }) = &late {
            self.tally.unwrite(*lost);
            let is_gone = matches!(error, deliver::WriteError::ReaderGone);
            ended = if is_gone { Ended::ReaderGone } else { Ended::Failed };
        }
        let late = late.filter(|_| ended == Ended::Failed);
        Receipt {
            inputs: sources.into_iter().map(|source| source.account).collect(),
            outputs,
            tally: self.tally,
            repeated,
            copies: self.copies.map(Copies::report),
            ended,
            failure: failure.or(late).map(|error| error.to_string()),
        }
    }
}
