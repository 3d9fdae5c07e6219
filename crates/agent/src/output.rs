//! Where the engine's packets go: the file sink, as a sink of the pipeline, or a recorder's store.

use std::os::fd::BorrowedFd;

use capture::RingCounters;
use deliver::{
    Destination, Existing, FileSettings, FileSink, Interval, PointCounters, Ring, SinkError,
    WhenSlow,
};
use pipeline::{Ledger, Sink};
use recorder::PointInfo;
use select::{Cleared, DropReason};
use wire::file::{InterfaceHeader, NamedAddress, SectionHeader};
use wire::{Mac, PointId, Timestamp};

use crate::orders::{Address, End, FileReport, Job, Outcome, PointOrder};
use crate::store_output::StoreOutput;
use crate::tools::ToolSink;

/// The output of a capture.
#[derive(Debug)]
pub(crate) enum OutputSink {
    /// A file, a ring of them or a pipe.
    File(Box<FileOutput>),
    /// The store of a flight recorder.
    Store(Box<StoreOutput>),
}

impl OutputSink {
    /// Opens it. The points of `past` come behind those of the job.
    pub(crate) fn open(job: &Job, past: &[PointInfo], now: Timestamp) -> Result<Self, String> {
        Ok(match &job.output.store {
            Some(order) => Self::Store(Box::new(StoreOutput::open(job, order, now)?)),
            None => {
                let file = FileOutput::open(job, past, now).map_err(|error| error.to_string())?;
                Self::File(Box::new(file))
            }
        })
    }

    /// The store, if it is one.
    pub(crate) fn store(&mut self) -> Option<&mut StoreOutput> {
        match self {
            Self::File(_) => None,
            Self::Store(store) => Some(store),
        }
    }

    /// Whether it is a store: points come and go, and each is for itself.
    pub(crate) const fn is_store(&self) -> bool {
        matches!(self, Self::Store(_))
    }

    /// The one directory in which files are still made; `None` where the only one is open already.
    pub(crate) fn directory(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::File(file) => file.directory(),
            Self::Store(store) => Some(store.directory()),
        }
    }

    /// Whether the reader of a pipe is behind: then packets wait better in the kernel's rings.
    pub(crate) fn is_crowded(&mut self) -> bool {
        match self {
            Self::File(file) => file.is_crowded(),
            Self::Store(_) => false,
        }
    }

    /// Packets go to these tools as well.
    pub(crate) fn set_tools(&mut self, tools: ToolSink) {
        if let Self::File(file) = self {
            file.tools = Some(Box::new(tools));
        }
    }

    /// The tools, if there are any.
    pub(crate) fn tools(&mut self) -> Option<&mut ToolSink> {
        match self {
            Self::File(file) => file.tools.as_deref_mut(),
            Self::Store(_) => None,
        }
    }

    /// Does what is due. Nothing older than `settled` will come any more.
    pub(crate) fn tick(&mut self, now: Timestamp, settled: Timestamp) {
        match self {
            Self::File(file) => file.tick(now),
            Self::Store(store) => store.tick(now, settled),
        }
    }

    /// Says something at this place of the file.
    pub(crate) fn comment(&mut self, text: &str) {
        match self {
            Self::File(file) => file.comment(text),
            // What concerns a machine comes as a note on its point.
            Self::Store(_) => {}
        }
    }

    /// There is room for so many bytes now, those that are there included.
    pub(crate) fn set_room(&mut self, bytes: u64) {
        match self {
            Self::File(file) => {
                if let Some(file) = &mut file.file {
                    file.set_room(bytes);
                }
            }
            // It makes its room itself.
            Self::Store(_) => {}
        }
    }

    /// Adds a recorded point behind all others.
    pub(crate) fn add_recorded(&mut self, info: &PointInfo, now: Timestamp) {
        if let Self::File(file) = self {
            file.keep(|file| file.add_interface(now, recorded_interface(info)).map(drop));
        }
    }

    /// Adds a point behind all others: a mirror session, or a vNIC that came meanwhile.
    pub(crate) fn add_point(&mut self, header: InterfaceHeader, now: Timestamp) {
        if let Self::File(file) = self {
            if let Some(tools) = &mut file.tools {
                tools.add_point(&header, now);
            }
            file.keep(|file| file.add_interface(now, header).map(drop));
        }
    }

    /// Tells how many frames of a mirror session came, and how many did not.
    pub(crate) fn count_session(&mut self, point: PointId, received: u64, lost: u64) {
        if let Self::File(file) = self {
            let counters = PointCounters {
                received: None,
                filter_accepted: Some(received),
                kernel_dropped: 0,
                interface_dropped: lost,
            };
            if let Some(file) = &mut file.file {
                file.update_counters(point, counters);
            }
        }
    }

    /// Tells what the kernel counted for a point.
    pub(crate) fn count(&mut self, point: PointId, counters: RingCounters) {
        match self {
            Self::File(file) => file.count(point, counters),
            Self::Store(store) => store.count(point, counters),
        }
    }

    /// Why nothing more is taken, once that is so.
    pub(crate) fn end(&self) -> Option<End> {
        match self {
            Self::File(file) => file.end(),
            // The recorder of a full disk goes on: there may be room again.
            Self::Store(_) => None,
        }
    }

    /// Closes it and completes the accounts with what only the closing could tell.
    pub(crate) fn close(
        self,
        now: Timestamp,
        ledgers: Vec<Ledger>,
        end: End,
        out_of_order: u64,
    ) -> Outcome {
        match self {
            Self::File(file) => file.close(now, ledgers, end, out_of_order),
            Self::Store(store) => store.close(now, ledgers, end),
        }
    }
}

impl Sink for OutputSink {
    #[inline]
    fn take(&mut self, packet: &Cleared<'_, '_>) -> Result<(), DropReason> {
        match self {
            Self::File(file) => file.take(packet),
            Self::Store(store) => store.take(packet),
        }
    }
}

/// A file and tools as output, each if it was asked for, and why the file takes nothing more, once
/// it does not.
#[derive(Debug)]
pub(crate) struct FileOutput {
    file: Option<FileSink>,
    tools: Option<Box<ToolSink>>,
    end: Option<End>,
    /// Times of the first and last packet taken.
    span: Option<(Timestamp, Timestamp)>,
}

impl FileOutput {
    /// Opens the first file and writes its beginning.
    fn open(job: &Job, past: &[PointInfo], now: Timestamp) -> Result<Self, SinkError> {
        if job.output.is_nothing {
            return Ok(Self { file: None, tools: None, end: None, span: None });
        }
        let common = session_header(job);
        let live = job.points.iter().map(|point| interface(point, &common));
        let interfaces = live.chain(past.iter().map(recorded_interface)).collect();
        let mut settings = FileSettings::new(destination(job), interfaces);
        settings.section = section(job);
        settings.names = job.names.iter().map(|(a, name)| (address(a), name.clone())).collect();
        settings.min_free_bytes =
            (job.output.min_free_bytes > 0).then_some(job.output.min_free_bytes);
        settings.room_bytes = job.output.room_bytes;
        settings.when_slow = WhenSlow::Refuse;
        let file = Some(FileSink::open(settings, now)?);
        Ok(Self { file, tools: None, end: None, span: None })
    }

    /// The one directory in which files are still made; `None` where the only one is open already.
    fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref()?.directory()
    }

    /// Whether the reader of a pipe is behind: then packets wait better in the kernel's rings.
    fn is_crowded(&mut self) -> bool {
        if self.file.as_ref().is_some_and(FileSink::is_crowded) {
            self.keep(FileSink::flush);
        }
        self.file.as_ref().is_some_and(FileSink::is_crowded)
    }

    /// Sends what waits, and turns to the next file when it is time.
    fn tick(&mut self, now: Timestamp) {
        self.keep(|file| file.tick(now));
        self.keep(FileSink::flush);
        if let Some(tools) = &mut self.tools {
            tools.flush();
        }
    }

    /// Says something at this place of the file.
    fn comment(&mut self, text: &str) {
        if let Some(file) = &mut self.file {
            file.add_comment(text);
        }
    }

    /// Tells what the kernel counted for a point.
    fn count(&mut self, point: PointId, counters: RingCounters) {
        let counters = PointCounters {
            received: None,
            filter_accepted: Some(counters.received),
            kernel_dropped: counters.kernel_dropped,
            interface_dropped: 0,
        };
        if let Some(file) = &mut self.file {
            file.update_counters(point, counters);
        }
    }

    /// Why nothing more is taken, once that is so.
    fn end(&self) -> Option<End> {
        self.end.clone()
    }

    /// Closes the file and completes the accounts with what only the closing could tell.
    fn close(
        self,
        now: Timestamp,
        mut ledgers: Vec<Ledger>,
        end: End,
        out_of_order: u64,
    ) -> Outcome {
        let refusal = self.refusal();
        let tools = self.tools.map(|tools| tools.finish(now)).unwrap_or_default();
        let span = self.span.map(|(first, last)| (first.as_nanos(), last.as_nanos()));
        let Some(file) = self.file else {
            return Outcome { ledgers, tools, span, end, out_of_order, ..Outcome::default() };
        };
        let summary = file.finish(now);
        for (ledger, written) in ledgers.iter_mut().zip(&summary.written) {
            // Taken into the buffer, and then the disk or the reader did not.
            let unwritten = ledger.written.saturating_sub(*written);
            ledger.written -= unwritten;
            match refusal {
                DropReason::AfterLimit => ledger.after_limit += unwritten,
                _ => ledger.sink_failed += unwritten,
            }
        }
        let end = match (self.end, summary.failure) {
            (None, Some(failure)) => End::OutputFailed(failure.to_string()),
            (Some(ended), _) => ended,
            (None, None) => end,
        };
        Outcome {
            ledgers,
            files: summary
                .files
                .into_iter()
                .map(|file| FileReport {
                    path: file.path,
                    packets: file.totals.packets,
                    bytes: file.totals.file_bytes,
                })
                .collect(),
            deleted_files: summary.files_deleted,
            tools,
            span,
            end,
            out_of_order,
            recorded: Vec::new(),
            gaps: Vec::new(),
            sessions: Vec::new(),
        }
    }

    /// A reader that has closed its pipe has enough: what comes after is past the end, not lost.
    fn refusal(&self) -> DropReason {
        match self.end {
            Some(End::ReaderClosed) => DropReason::AfterLimit,
            _ => DropReason::SinkFailed,
        }
    }

    fn keep(&mut self, act: impl FnOnce(&mut FileSink) -> Result<(), SinkError>) {
        let Some(file) = &mut self.file else { return };
        let result = act(file);
        self.note(result.err());
    }

    fn note(&mut self, error: Option<SinkError>) {
        if self.end.is_some() {
            return;
        }
        self.end = match (error, self.file.as_ref().and_then(FileSink::ended)) {
            (Some(error), _) => Some(End::OutputFailed(error.to_string())),
            (None, Some(deliver::End::FreeSpace)) => Some(End::DiskReserve),
            (None, Some(deliver::End::ReaderGone)) => Some(End::ReaderClosed),
            (None, Some(deliver::End::Failed)) => {
                Some(End::OutputFailed("the output takes nothing more".into()))
            }
            (None, _) => None,
        };
    }
}

impl Sink for FileOutput {
    #[inline]
    fn take(&mut self, packet: &Cleared<'_, '_>) -> Result<(), DropReason> {
        if let Some(tools) = &mut self.tools {
            tools.take(packet);
        }
        let packet = packet.packet();
        let written = match &mut self.file {
            Some(file) => file.write(packet.time, packet),
            None => Ok(deliver::Outcome::Written),
        };
        match written {
            Ok(deliver::Outcome::Written) => {
                let first = self.span.map_or(packet.time, |(first, _)| first);
                self.span = Some((first, packet.time));
                Ok(())
            }
            Ok(deliver::Outcome::Busy) => Err(DropReason::QueueFull),
            Ok(_) => {
                self.note(None);
                Err(self.refusal())
            }
            Err(error) => {
                self.note(Some(error));
                Err(self.refusal())
            }
        }
    }
}

fn destination(job: &Job) -> Destination {
    let output = &job.output;
    let Some(path) = &output.path else { return Destination::Stdout };
    if !output.rotation.is_ring() {
        let existing = if output.force { Existing::Replace } else { Existing::Refuse };
        return Destination::File { path: path.clone(), existing };
    }
    let ring = Ring {
        max_bytes: output.rotation.bytes,
        max_packets: None,
        interval: output.rotation.interval.map(Interval::SinceStart),
        keep: output.rotation.files.and_then(std::num::NonZeroU32::new),
    };
    Destination::Ring { base: path.clone(), ring }
}

/// What a file or a stream says of its origin.
pub(crate) fn section(job: &Job) -> SectionHeader {
    SectionHeader {
        hardware: std::env::consts::ARCH.into(),
        os: os(),
        application: concat!("overtap ", env!("CARGO_PKG_VERSION")).into(),
        comments: job.comments.clone(),
    }
}

/// The interface of a point, in a file whose interfaces have this in common.
pub(crate) fn interface(point: &PointOrder, common: &InterfaceHeader) -> InterfaceHeader {
    InterfaceHeader {
        name: point.label.clone(),
        description: point.description.clone(),
        mac: point.mac.map(Mac),
        ..common.clone()
    }
}

/// What the interfaces of a file have in common, said of a mirror session.
pub(crate) fn session_header(job: &Job) -> InterfaceHeader {
    InterfaceHeader {
        description: "Frames out of what a mirror has put around them.".to_owned(),
        filter: job.expression.clone().unwrap_or_default(),
        snaplen: job.snaplen,
        os: os(),
        ..InterfaceHeader::ethernet("")
    }
}

/// A recorded point in a file that begins with what was recorded.
fn recorded_interface(info: &PointInfo) -> InterfaceHeader {
    let space = if info.description.is_empty() { "" } else { " " };
    InterfaceHeader {
        description: format!("{}{space}From the flight recorder.", info.description),
        filter: info.filter.clone(),
        mac: info.mac.map(Mac),
        snaplen: info.snaplen,
        os: os(),
        ..InterfaceHeader::ethernet(info.label.clone())
    }
}

fn address(address: &Address) -> NamedAddress {
    match address {
        Address::Ip(std::net::IpAddr::V4(ip)) => NamedAddress::V4(*ip),
        Address::Ip(std::net::IpAddr::V6(ip)) => NamedAddress::V6(*ip),
        Address::Mac(mac) => NamedAddress::Mac(Mac(*mac)),
    }
}

fn os() -> String {
    let name = rustix::system::uname();
    format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy())
}
