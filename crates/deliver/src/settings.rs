//! What a file sink is asked to do.

use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use wire::file::{InterfaceHeader, NamedAddress, SectionHeader};

/// Everything a file sink must know before its first packet.
#[derive(Debug, Clone)]
pub struct FileSettings {
    /// Where the bytes go.
    pub destination: Destination,
    /// What each file says about its origin.
    pub section: SectionHeader,
    /// The observation points, in the order of their numbers. All have one link type.
    pub interfaces: Vec<InterfaceHeader>,
    /// Names of addresses, for readers that show them.
    pub names: Vec<(NamedAddress, String)>,
    /// When to take no more.
    pub limits: StopLimits,
    /// Bytes of all files together that there is room for at first; packets beyond that are not
    /// taken, as while a reader is slow, until there is more ([`set_room`](crate::FileSink::set_room)).
    pub room_bytes: Option<u64>,
    /// Bytes that must stay free on the file system.
    pub min_free_bytes: Option<u64>,
    /// What to do with packets while the reader of a pipe is slow.
    pub when_slow: WhenSlow,
    /// Set by others to say that nobody wants to wait for a slow reader any more.
    pub stop: Arc<AtomicBool>,
}

impl FileSettings {
    /// To `destination`, with these observation points and nothing else asked for.
    pub fn new(destination: Destination, interfaces: Vec<InterfaceHeader>) -> Self {
        Self {
            destination,
            section: SectionHeader::default(),
            interfaces,
            names: Vec::new(),
            limits: StopLimits::default(),
            room_bytes: None,
            min_free_bytes: None,
            when_slow: WhenSlow::Refuse,
            stop: Arc::new(AtomicBool::new(false)),
        }
    }
}

/// Where a capture is written.
#[derive(Debug, Clone)]
pub enum Destination {
    /// To standard output.
    Stdout,
    /// To a socket or file that somebody else has opened.
    Open {
        /// It.
        fd: Arc<OwnedFd>,
        /// What it is called.
        name: PathBuf,
    },
    /// To one file; a pipe or device that is there already is written to as it is.
    File {
        /// Its path.
        path: PathBuf,
        /// What to do if it is there already.
        existing: Existing,
    },
    /// To files `BASE_NNNNN_YYYYmmddHHMMSS.pcapng`, one after the other.
    Ring {
        /// Their directory and the beginning of their names.
        base: PathBuf,
        /// When the next one begins, and how many stay.
        ring: Ring,
    },
}

/// What to do with a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Leave it alone and fail.
    Refuse,
    /// Write over it.
    Replace,
}

/// When a ring goes to its next file. Each limit holds by itself; without any there is one file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ring {
    /// The most bytes of a file; no file ever has more.
    pub max_bytes: Option<u64>,
    /// The most packets of a file.
    pub max_packets: Option<u64>,
    /// How long a file is written to.
    pub interval: Option<Interval>,
    /// How many files stay, the newest included; all if not told. Only files of this sink are
    /// ever deleted.
    pub keep: Option<NonZeroU32>,
}

/// How long a file of a ring is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// This long, counted from the start of the capture.
    SinceStart(Duration),
    /// Up to the next multiple of this since 1970 UTC: `3600 s` begins a file at each full hour.
    Aligned(Duration),
}

/// When the sink is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StopLimits {
    /// After this many packets.
    pub packets: Option<u64>,
    /// Before the bytes of packets, without headers, would be more than this.
    pub payload_bytes: Option<u64>,
    /// Before the bytes of all files together would be more than this.
    pub file_bytes: Option<u64>,
}

/// What to do with packets while the reader of a pipe is slower than the traffic and the buffer
/// is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenSlow {
    /// Take none and say so: for live sources, which would lose them elsewhere, uncounted.
    Refuse,
    /// Wait for the reader: for sources that can wait, as files.
    Wait,
}
