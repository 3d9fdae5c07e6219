//! The documents in the messages: what is asked for, what is to be done, how it goes.
//!
//! Fields are only ever added, with a default, so that neighbouring releases read each other's.
//! Times are nanoseconds since 1970 on the clock of whoever is named with them.

use inventory::{Machine, SourceState};
use pipeline::Limits;
use select::Resolved;
use serde::{Deserialize, Serialize};

/// What somebody wants captured, in the words they typed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wish {
    /// VMs: names, ids, MACs, addresses, ports, or patterns as `web-*`, which also mean VMs that
    /// appear later.
    pub vms: Vec<String>,
    /// Tenants, whose VMs are meant, also those that appear later.
    pub tenants: Vec<String>,
    /// Which packets of them; empty for all.
    pub expression: String,
    /// Where to look: `auto`, `tap`, `uplink`, `inside` or an interface.
    pub point: String,
    /// Most bytes kept of each packet.
    pub snaplen: u32,
    /// Whether tunnels are removed.
    pub is_stripped: bool,
    /// Where to stop.
    pub limits: Limits,
    /// How long the session lasts, in seconds; its packets stay for a while after that.
    pub lifetime_s: u64,
    /// Whether it must last so long. If not, a grant may end it before.
    pub is_lifetime_meant: bool,
    /// Why.
    pub reason: String,
    /// Whether the session ends with whoever follows it.
    pub is_attached: bool,
    /// Most bytes that a host keeps of this session until they are fetched.
    pub spool_bytes: u64,
    /// What becomes of it when a host keeps that much.
    pub when_full: WhenFull,
    /// How far back it begins, with what hosts have recorded, in seconds; 0 for now.
    pub last_s: u64,
    /// Whether it ends with what was recorded until now.
    pub is_past_only: bool,
}

/// What becomes of a session when a host has no more room for what was not fetched yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// The part ends, and so does the capture of its machine at that host.
    #[default]
    End,
    /// It goes on: packets are dropped, and counted, while there is no room. What was fetched and
    /// acknowledged makes room.
    Drop,
}

/// Everything an agent has to do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Orders {
    /// Counts up with every change, within one run of the controller.
    pub revision: u64,
    /// The sessions that run.
    pub sessions: Vec<Order>,
    /// Ids of sessions that have ended and whose packets are kept until they are fetched. What an
    /// agent holds of any other session is to be removed.
    pub kept: Vec<String>,
}

/// A session, for an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Its id.
    pub session: String,
    /// Whose packets, and how much of them its owner may see: a `control::grants::Permit`. What
    /// does not read as one permits nothing.
    pub permit: serde_json::Value,
    /// Which packets; empty for all.
    pub expression: String,
    /// What the names in the expression mean.
    pub explained: Resolved,
    /// Where to look.
    pub point: String,
    /// Most bytes kept of each packet.
    pub snaplen: u32,
    /// Whether tunnels are removed.
    pub is_stripped: bool,
    /// Where to stop.
    pub limits: Limits,
    /// Most bytes kept on the host until they are fetched.
    pub spool_bytes: u64,
    /// What becomes of it then.
    #[serde(default)]
    pub when_full: WhenFull,
    /// Who asked and why, for the file.
    pub comment: String,
    /// How far back it begins; `None` for now.
    #[serde(default)]
    pub past: Option<Past>,
    /// Machines of the session that are at no host with an agent, as they were when they were seen
    /// last: what they exchange with machines of other hosts can be seen there.
    #[serde(default)]
    pub elsewhere: Vec<Machine>,
}

/// How far back a session begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// From when on what was recorded belongs to it, by the controller's clock.
    pub from_ns: u64,
    /// Whether it ends with what was recorded until now.
    pub is_all: bool,
}

/// A part of a session: what one agent captured of one machine at one point, from a beginning to
/// an end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Of which session.
    pub session: String,
    /// Which agent has it; filled in by the controller.
    #[serde(default)]
    pub agent: String,
    /// The host.
    pub host: String,
    /// Its number among the parts of this session at this agent, from 1.
    pub number: u32,
    /// The machine, by its id as text.
    pub machine_id: String,
    /// The machine's name.
    pub machine: String,
    /// The observation point, in words: `port tap3 of br-int`.
    pub point: String,
    /// When it began, by the host's clock.
    pub began_ns: u64,
    /// Why it ended; `None` while it goes on.
    #[serde(default)]
    pub ended: Option<String>,
    /// Bytes there are of it, from its beginning on.
    pub bytes: u64,
    /// Bytes from its beginning on that are gone, because they were fetched and made room.
    #[serde(default)]
    pub freed_bytes: u64,
    /// Packets in it.
    pub packets: u64,
    /// Packets the kernel had no room for.
    pub kernel_dropped: u64,
    /// Packets that could not be written.
    pub failed: u64,
    /// The receipt, once it has ended well: that of `overtap capture --output json`.
    #[serde(default)]
    pub receipt: Option<serde_json::Value>,
    /// What it has of the time before it was asked for.
    #[serde(default)]
    pub recorded: Option<Recorded>,
    /// How the host's clock differs from the controller's; filled in by the controller.
    #[serde(default)]
    pub clock: Option<Clock>,
    /// Whether the agent is connected now; filled in by the controller.
    #[serde(default)]
    pub is_reachable: bool,
}

impl Part {
    /// The observation point, in words, of what a machine elsewhere exchanges with machines here.
    pub const AT_PEER: &str = "uplink of a peer";

    /// Whether its machine is elsewhere: what is in it is what the machine exchanged with others.
    pub fn is_at_peer(&self) -> bool {
        self.point == Self::AT_PEER
    }
}

/// What a part has of the time before it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// From when to when its host has recorded the machine, by the host's clock, oldest first. The
    /// end of time stands for a recording that goes on.
    pub spans_ns: Vec<(u64, u64)>,
    /// Whether all of it is written.
    pub is_written: bool,
    /// Whether the part ends with it.
    pub is_all: bool,
}

/// How a clock differs from the controller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Nanoseconds to take off its times to get the controller's.
    pub ahead_ns: i64,
    /// The true difference is at most this far from `ahead_ns`.
    pub uncertainty_ns: u64,
}

/// Something that whoever asked for a session must know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The session it is about.
    pub session: String,
    /// The host that says it; empty for the controller.
    #[serde(default)]
    pub host: String,
    /// When, by the clock of whoever says it.
    pub at_ns: u64,
    /// A sentence.
    pub text: String,
    /// Whether it says that packets were kept from the session's owner.
    #[serde(default)]
    pub is_refusal: bool,
    /// Whether it stands as a comment among the packets of a part already.
    #[serde(default)]
    pub is_in_part: bool,
}

/// A capture session, as the controller knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its id: a short word.
    pub id: String,
    /// Who asked for it.
    pub owner: String,
    /// What was asked for.
    pub wish: Wish,
    /// When it was asked for, by the controller's clock.
    pub began_ns: u64,
    /// When it ends at the latest.
    pub until_ns: u64,
    /// Why it ended; `None` while it runs.
    #[serde(default)]
    pub ended: Option<String>,
    /// When it ended.
    #[serde(default)]
    pub ended_ns: Option<u64>,
    /// The parts there are.
    #[serde(default)]
    pub parts: Vec<Part>,
    /// What happened.
    #[serde(default)]
    pub notes: Vec<Note>,
    /// Counts up with every change.
    #[serde(default)]
    pub revision: u64,
    /// What the owner may see; see [`Order::permit`].
    #[serde(default)]
    pub permit: serde_json::Value,
    /// What the names in the expression mean.
    #[serde(default)]
    pub explained: Resolved,
    /// Machines that are at no host with an agent; see [`Order::elsewhere`].
    #[serde(default)]
    pub elsewhere: Vec<Machine>,
    /// Hosts that are there and have not said yet what they have recorded; filled in by the
    /// controller.
    #[serde(default)]
    pub awaited: Vec<String>,
}

impl Session {
    /// Whether all its parts have ended, so that no packet will be added.
    pub fn is_complete(&self) -> bool {
        self.ended.is_some() && self.parts.iter().all(|part| part.ended.is_some())
    }
}

/// What was found at one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostFound {
    /// The host.
    pub host: String,
    /// Whether its agent is connected; if not, this is what was known last.
    pub is_connected: bool,
    /// As of when, by the host's clock.
    pub at_ns: u64,
    /// The machines that were asked for.
    pub machines: Vec<Machine>,
    /// For each machine and vNIC since when it was seen there, where the controller saw it.
    #[serde(default)]
    pub since_ns: Vec<Vec<Option<u64>>>,
    /// The sources of the host's inventory.
    #[serde(default)]
    pub sources: Vec<SourceState>,
}

/// How controller and agents are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The controller's version.
    pub version: String,
    /// Since when it runs.
    pub began_ns: u64,
    /// The agents, by host name.
    pub agents: Vec<AgentStatus>,
    /// Sessions that run.
    pub sessions: usize,
    /// Machines known.
    pub machines: usize,
    /// Bytes of memory in use by the controller.
    pub resident_bytes: u64,
}

/// How one agent is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentStatus {
    /// Its id.
    pub id: String,
    /// Its host.
    pub host: String,
    /// Its version.
    pub version: String,
    /// Whether it is connected.
    pub is_connected: bool,
    /// When it was last heard, by the controller's clock.
    pub heard_ns: u64,
    /// Its clock.
    pub clock: Option<Clock>,
    /// Machines on it.
    pub machines: usize,
    /// Parts running.
    pub parts: usize,
    /// Packets lost in running parts.
    pub lost: u64,
    /// What its sources complain of.
    pub problems: Vec<String>,
}
