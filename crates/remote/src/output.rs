//! The woven file: opened at the first interface, so that it is none before there is one.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use deliver::{
    Destination, Existing, FileSettings, FileSink, PointCounters, Ring, SinkError, Summary,
    WhenSlow,
};
use weave::{Counters, Step};
use wire::Timestamp;
use wire::file::{InterfaceHeader, PacketOptions, SectionHeader};

/// Where a woven file goes.
#[derive(Debug, Clone)]
pub struct Output {
    /// The file or the first part of the names of a ring's files; `None` is standard output.
    pub path: Option<PathBuf>,
    /// What is open already and is written to instead: a pipe or a socket.
    pub open: Option<Arc<OwnedFd>>,
    /// Whether an existing file may be replaced.
    pub force: bool,
    /// How a ring of files turns; `None` for one file.
    pub ring: Option<Ring>,
    /// Bytes of the file system that stay free.
    pub min_free_bytes: Option<u64>,
    /// The program, for the file.
    pub application: String,
}

/// The file.
#[derive(Debug)]
pub(crate) struct WovenFile {
    output: Output,
    /// Lines for its beginning, before it is open.
    beginning: Vec<String>,
    /// What time it is in the story that is told, and when that ends; `None` while it is now.
    story: Option<(Timestamp, Timestamp)>,
    sink: Option<FileSink>,
}

impl WovenFile {
    /// A file of what happens now, or of what happened in a `span` of time.
    pub(crate) const fn new(
        output: Output,
        beginning: Vec<String>,
        span: Option<(Timestamp, Timestamp)>,
    ) -> Self {
        Self { output, beginning, story: span, sink: None }
    }

    /// Takes a step of the weave; `false` if the file takes no more packets.
    pub(crate) fn take(&mut self, step: Step<'_>) -> Result<bool, SinkError> {
        let now = self.now();
        match step {
            Step::Point(header) => match &mut self.sink {
                Some(sink) => _ = sink.add_interface(now, header)?,
                None => self.sink = Some(self.open(header, now)?),
            },
            Step::Comment(text) => match &mut self.sink {
                Some(sink) => sink.add_comment(text),
                None => self.beginning.push(text),
            },
            Step::Names(names) => {
                if let Some(sink) = &mut self.sink {
                    sink.add_names(now, &names)?;
                }
            }
            Step::Counters(point, counters) => {
                if let Some(sink) = &mut self.sink {
                    sink.update_counters(point, point_counters(counters));
                }
            }
            Step::Packet(woven) => {
                if let Some((now, _)) = &mut self.story {
                    *now = woven.packet.time.max(*now);
                }
                let options = PacketOptions {
                    id: None,
                    is_super_frame: woven.is_super_frame,
                    comments: &woven.comments,
                };
                if let Some(sink) = &mut self.sink {
                    let outcome = sink.write_with(woven.packet.time, &woven.packet, &options)?;
                    return Ok(matches!(outcome, deliver::Outcome::Written));
                }
            }
            Step::Wait => {}
        }
        Ok(true)
    }

    /// Says something at this place.
    pub(crate) fn comment(&mut self, text: &str) {
        match &mut self.sink {
            Some(sink) => sink.add_comment(text),
            None => self.beginning.push(text.to_owned()),
        }
    }

    /// Sends what waits, and turns to the next file when it is time.
    pub(crate) fn tick(&mut self) -> Result<(), SinkError> {
        let now = self.now();
        let Some(sink) = &mut self.sink else { return Ok(()) };
        sink.tick(now)?;
        sink.flush()
    }

    /// Bytes that were taken and that neither file nor reader has yet.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.sink.as_ref().map_or(0, FileSink::waiting_bytes)
    }

    /// Packets written at an interface.
    pub(crate) fn written(&self) -> u64 {
        self.sink.as_ref().map_or(0, |sink| sink.totals().packets)
    }

    /// Closes it. A session in which nothing could be seen has a file all the same, which says so.
    pub(crate) fn finish(mut self, receipt: Vec<String>) -> Result<Summary, SinkError> {
        if let Some((now, end)) = &mut self.story {
            *now = (*end).max(*now);
        }
        let now = self.now();
        let mut sink = match self.sink.take() {
            Some(sink) => sink,
            None => self.open(InterfaceHeader::ethernet("nothing was seen"), now)?,
        };
        sink.set_last_words(receipt);
        Ok(sink.finish(now))
    }

    fn now(&self) -> Timestamp {
        self.story.map_or_else(now, |(now, _)| now)
    }

    fn open(&mut self, first: InterfaceHeader, now: Timestamp) -> Result<FileSink, SinkError> {
        let destination = match (&self.output.path, self.output.ring) {
            _ if let Some(fd) = &self.output.open => {
                Destination::Open { fd: Arc::clone(fd), name: PathBuf::from("-") }
            }
            (None, _) => Destination::Stdout,
            (Some(path), Some(ring)) => Destination::Ring { base: path.clone(), ring },
            (Some(path), None) => {
                let existing = if self.output.force { Existing::Replace } else { Existing::Refuse };
                Destination::File { path: path.clone(), existing }
            }
        };
        let mut settings = FileSettings::new(destination, vec![first]);
        settings.section = SectionHeader {
            application: self.output.application.clone(),
            comments: std::mem::take(&mut self.beginning),
            ..SectionHeader::default()
        };
        settings.min_free_bytes = self.output.min_free_bytes.filter(|bytes| *bytes > 0);
        // What is not written yet waits with the agents.
        settings.when_slow = WhenSlow::Wait;
        FileSink::open(settings, now)
    }
}

const fn point_counters(counters: Counters) -> PointCounters {
    PointCounters {
        received: counters.received,
        filter_accepted: counters.accepted,
        kernel_dropped: counters.os_dropped,
        interface_dropped: counters.interface_dropped,
    }
}

fn now() -> Timestamp {
    let now = jiff::Timestamp::now().as_nanosecond();
    Timestamp::from_nanos(u64::try_from(now).unwrap_or(0))
}
