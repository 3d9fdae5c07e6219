//! How controller and agents are.

use api::document;
use serde::Serialize;
use utoipa::ToSchema;

use super::machine::HostState;
use super::{Clock, time, time_if_any};

/// How controller and agents are.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Status {
    /// The controller's version.
    version: String,
    /// Since when it runs.
    began: String,
    /// The agents, by their ids.
    agents: Vec<AgentStatus>,
    /// Sessions that run.
    sessions: usize,
    /// Machines known.
    machines: usize,
    /// Bytes of memory in use by the controller.
    resident_bytes: u64,
}

/// How one agent is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct AgentStatus {
    /// Its id.
    id: String,
    /// Its host.
    host: String,
    /// Its version.
    version: String,
    /// Whether it is there.
    state: HostState,
    /// When it was last heard, by the controller's clock.
    heard: Option<String>,
    /// Its clock, once known.
    clock: Option<Clock>,
    /// Machines on it.
    machines: usize,
    /// Parts of sessions that run there.
    parts: usize,
    /// Packets lost in them.
    lost: u64,
    /// What its sources complain of.
    problems: Vec<String>,
}

impl From<document::Status> for Status {
    fn from(status: document::Status) -> Self {
        Self {
            version: status.version,
            began: time(status.began_ns),
            agents: status.agents.into_iter().map(AgentStatus::from).collect(),
            sessions: status.sessions,
            machines: status.machines,
            resident_bytes: status.resident_bytes,
        }
    }
}

impl From<document::AgentStatus> for AgentStatus {
    fn from(agent: document::AgentStatus) -> Self {
        Self {
            id: agent.id,
            host: agent.host,
            version: agent.version,
            state: HostState::of(agent.is_connected),
            heard: time_if_any(agent.heard_ns),
            clock: agent.clock.map(Clock::from),
            machines: agent.machines,
            parts: agent.parts,
            lost: agent.lost,
            problems: agent.problems,
        }
    }
}
