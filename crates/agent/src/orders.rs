//! What a session tells its engine, and what the engine tells the session.

use std::path::PathBuf;
use std::time::Duration;

use capture::{RingSize, Side};
use deliver::ToolReport;
use pipeline::{Ledger, Limit, Limits};
use serde::{Deserialize, Serialize};

use crate::Sandbox;
use crate::tools::ToolOrder;

/// From the session to its engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Order {
    /// First of all: what to write where. Answered by [`News::Ready`] or [`News::Failed`].
    Start(Box<Job>),
    /// The packet socket of the job's next point comes with this message: read it from now on.
    AddSocket,
    /// From this time on other packets of a point are the VM's.
    Own {
        /// Number of the point.
        point: u32,
        /// Which packets.
        ownership: select::Ownership,
        /// The time.
        at: wire::Timestamp,
    },
    /// Something a reader of the file must know.
    Comment(String),
    /// Take the packets of another point as well; its packet socket comes with this message. A
    /// recorder is told the machine, and since when the socket has been open.
    AddPoint(Box<PointOrder>, Option<(recorder::MachineRef, wire::Timestamp)>),
    /// Something a reader of a recorded point's machine must know.
    Note(u32, String),
    /// From this time on a recorded point is of a machine that is called so or belongs to this
    /// owner, and the point has this name.
    Rename(u32, recorder::MachineRef, String, wire::Timestamp),
    /// Nothing of a recorded point is seen any more.
    EndPoint(u32),
    /// All sockets have come; what was recorded comes before this time, what they see after it.
    Live(wire::Timestamp),
    /// The output has room for so many bytes now, those that are there included.
    Room(u64),
    /// A tool that packets are sent to as well; its socket comes with this message unless it is one
    /// that readers call. All come behind the start and before the first point's socket.
    AddTool(Box<ToolOrder>),
    /// A reader of the tool with this number; its connection comes with this message.
    AddReader(u32, Option<select::Export>),
    /// Another connection of the mirror at the point with this number comes with this message; what
    /// became of the one before is known.
    Reconnect(u32),
    /// From this time on these are the grants of the tools for the VM's packets, in their order;
    /// `None` for none.
    Entitle(Vec<Option<broker::Grant>>, wire::Timestamp),
    /// Let nothing in any more, write what is there, close the file.
    Stop,
}

/// From the engine to its session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum News {
    /// The output is open and the fences are up.
    Ready(Sandbox),
    /// Nothing is captured (any more), and why.
    Failed {
        /// A sentence that says what to do.
        message: String,
    },
    /// How it goes.
    Progress(Progress),
    /// The interface of a point was removed.
    PointGone {
        /// Number of the point.
        point: u32,
    },
    /// The connection to the sender of a point is lost, and why.
    SenderLost {
        /// Number of the point.
        point: u32,
        /// What was seen of it.
        why: String,
    },
    /// The connection to the tool with this number is lost.
    ToolLost(u32),
    /// What was recorded is nearly all written: the sockets may come.
    CaughtUp,
    /// A sentence about what was recorded; it is in the file as well.
    Said(String),
    /// The file is closed; the engine ends.
    Ended(Box<Outcome>),
}

/// What an engine has to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Where the packets go.
    pub(crate) output: Output,
    /// The observation points, in the order in which their sockets come.
    pub(crate) points: Vec<PointOrder>,
    /// The expression, as typed.
    pub(crate) expression: Option<String>,
    /// What the names in it mean.
    pub(crate) explained: select::Resolved,
    /// Whether tunnels are removed.
    pub(crate) is_stripped: bool,
    /// Where to stop.
    pub(crate) limits: Limits,
    /// Most bytes kept of each packet.
    pub(crate) snaplen: u32,
    /// Lines for the beginning of the file: who, what, why.
    pub(crate) comments: Vec<String>,
    /// Names of addresses, for the file.
    pub(crate) names: Vec<(Address, String)>,
    /// How many tools come behind the start.
    pub(crate) tools: u32,
    /// What was recorded comes first.
    pub(crate) past: Option<PastOrder>,
}

/// What a flight recorder has seen and is written before anything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastOrder {
    /// The directory of the recorder.
    pub directory: PathBuf,
    /// The host's keys.
    pub keys: recorder::KeyRing,
    /// The machine, by all names and owners under which its packets may be seen. What was recorded
    /// of it otherwise is withheld, and counted.
    pub machines: Vec<recorder::MachineRef>,
    /// From when on.
    pub from: wire::Timestamp,
    /// Whether it goes on with what is seen live.
    pub is_live: bool,
    /// Whether gaps are said; not where other hosts may have seen what is missing here.
    pub are_gaps_said: bool,
}

/// An address that has a name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Address {
    /// IPv4 or IPv6.
    Ip(std::net::IpAddr),
    /// A MAC.
    Mac([u8; 6]),
}

/// Where packets go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The file, or the first part of the names of a ring's files; `None` is standard output.
    pub path: Option<PathBuf>,
    /// Whether an existing file may be replaced.
    pub force: bool,
    /// How a ring of files turns; all `None` for one file.
    pub rotation: Rotation,
    /// Bytes of the file system that stay free.
    pub min_free_bytes: u64,
    /// Bytes there is room for at first: packets beyond that are dropped and counted until there is
    /// more ([`Capture::set_room`](crate::Capture::set_room)). `None` for no such bound.
    #[serde(default)]
    pub room_bytes: Option<u64>,
    /// Whether nothing is written at all: packets go to tools only.
    #[serde(default)]
    pub is_nothing: bool,
    /// Whether the path is the directory of a flight recorder.
    pub store: Option<StoreOrder>,
}

/// How a flight recorder keeps what it is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreOrder {
    /// The host's keys.
    pub keys: recorder::KeyRing,
    /// Bytes it may use.
    pub max_bytes: u64,
    /// How old packets may get, in seconds.
    pub max_age_s: Option<u64>,
}

/// When the next file of a ring begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// No file gets larger than this many bytes.
    pub bytes: Option<u64>,
    /// A file lasts this long; no file is shorter than a millisecond.
    pub interval: Option<Duration>,
    /// At most this many files are kept.
    pub files: Option<u32>,
}

impl Rotation {
    /// Whether there is more than one file.
    pub const fn is_ring(&self) -> bool {
        self.bytes.is_some() || self.interval.is_some() || self.files.is_some()
    }
}

/// An observation point as the engine needs it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PointOrder {
    /// Name for people and for the file: `web-01/net0 @ hv-1:vnet3`.
    pub(crate) label: String,
    /// One sentence about the point, for the file.
    pub(crate) description: String,
    /// MAC of the vNIC, where it is the vNIC's own port.
    pub(crate) mac: Option<[u8; 6]>,
    /// Whose packets may pass.
    pub(crate) ownership: select::Ownership,
    /// Which end of the vNIC it is.
    pub(crate) side: Side,
    /// The ring of the socket that comes with it.
    pub(crate) ring: RingSize,
    /// Most bytes of a packet that the kernel keeps.
    pub(crate) kept: u32,
    /// The mirror whose packets come there, if it is one's.
    #[serde(default)]
    pub(crate) mirror: Option<MirrorOrder>,
}

/// A mirror as the engine needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MirrorOrder {
    /// What it puts around frames; `None` for nothing.
    pub(crate) form: Option<wire::mirror::MirrorForm>,
    /// Where it sends to; `None` for anywhere.
    pub(crate) address: Option<std::net::IpAddr>,
    /// The only session wanted.
    pub(crate) session: Option<u32>,
    /// The UDP port of its tunnel, where it is not the standard's.
    pub(crate) udp_port: Option<u16>,
    /// How its connection is read, if it comes over one.
    #[serde(default)]
    pub(crate) stream: Option<StreamOrder>,
}

/// A capture that comes over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamOrder {
    /// Whether it ends with its first connection.
    pub(crate) ends: bool,
}

/// How a capture goes, since its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Packets written.
    pub packets: u64,
    /// Bytes of packets written.
    pub bytes: u64,
    /// Packets the kernel's rings had no room for.
    pub kernel_dropped: u64,
    /// Packets that were asked for and could not be written.
    pub failed: u64,
    /// Every packet older than this, in nanoseconds since 1970, is in the file; none will be added.
    pub settled_ns: u64,
    /// Whether what was recorded is still being written.
    #[serde(default)]
    pub is_past: bool,
    /// What became of every packet so far, at all points together.
    #[serde(default)]
    pub ledger: Ledger,
}

/// How a capture went.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// The account of each point, in the order they were added.
    pub ledgers: Vec<Ledger>,
    /// The files written, oldest first; those a ring has deleted again are not among them.
    pub files: Vec<FileReport>,
    /// Files that a ring has deleted again.
    pub deleted_files: u64,
    /// Time of the first and last packet written, in nanoseconds since 1970.
    pub span: Option<(u64, u64)>,
    /// Why it ended.
    pub end: End,
    /// Packets that had to be written out of the order of time, because a ring was filling up.
    pub out_of_order: u64,
    /// Names of mirror sessions, whose accounts come behind all others.
    #[serde(default)]
    pub sessions: Vec<String>,
    /// What each tool got.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolReport>,
    /// Times in which nothing could come from a sender, one entry for each that had any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<GapReport>,
    /// Names of recorded points, whose accounts come behind those of the live ones.
    pub recorded: Vec<String>,
}

/// Times without a connection to the sender of a capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapReport {
    /// Which mirror it is.
    pub mirror: String,
    /// How many times the connection was lost.
    pub count: u64,
    /// How long there was none, in milliseconds, all times together.
    pub total_ms: u64,
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileReport {
    /// Where.
    pub path: PathBuf,
    /// Packets in it.
    pub packets: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Why a capture ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Somebody asked for it.
    #[default]
    Asked,
    /// A limit was reached.
    Limit(Limit),
    /// Every interface has gone.
    InterfacesGone,
    /// The reader of the pipe has closed it, which is how readers say that they have enough.
    ReaderClosed,
    /// The file system has no more room to give.
    DiskReserve,
    /// The output failed; what was written before is complete.
    OutputFailed(String),
    /// All that was recorded is written, and nothing else was asked for.
    Recorded,
    /// Who sent the capture has ended it.
    SenderEnded,
    /// What was sent is no capture, or cannot be read.
    SenderFailed(String),
}

impl End {
    /// Whether it ended because it could not go on.
    pub const fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::OutputFailed(_)
                | Self::InterfacesGone
                | Self::DiskReserve
                | Self::SenderFailed(_)
        )
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Asked => f.write_str("it was stopped"),
            Self::Limit(limit) => limit.fmt(f),
            Self::InterfacesGone => f.write_str("the interface vanished"),
            Self::ReaderClosed => f.write_str("the reader closed the pipe"),
            Self::DiskReserve => f.write_str("the disk space that must stay free was reached"),
            Self::Recorded => f.write_str("all that was recorded is written"),
            Self::SenderEnded => f.write_str("its sender has ended it"),
            Self::SenderFailed(why) => write!(f, "nothing can be read: {why}"),
            Self::OutputFailed(reason) => write!(f, "the output failed: {reason}"),
        }
    }
}
