//! What a recording knows of the places where it looks.

use std::fmt;

use select::Ownership;
use serde::{Deserialize, Serialize};
use wire::Timestamp;

/// An observation point of one machine, as a recording describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointInfo {
    /// Whose packets they are.
    pub machine: MachineRef,
    /// Name for people and files: `web-01/net0 @ hv-1:vnet3`.
    pub label: String,
    /// One sentence about the point.
    pub description: String,
    /// MAC of the vNIC, where it is the vNIC's own port.
    pub mac: Option<[u8; 6]>,
    /// The expression the packets were chosen with; empty for all.
    pub filter: String,
    /// Most bytes kept of each packet.
    pub snaplen: u32,
    /// Which packets there were the machine's.
    pub ownership: Ownership,
    /// Since when it is recorded.
    pub since: Timestamp,
}

/// A machine as a recording names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MachineRef {
    /// Its identity, `uuid:...`.
    pub id: String,
    /// Its name when the point was added.
    pub name: String,
    /// Its tenant then.
    pub tenant: Option<String>,
}

impl fmt::Display for MachineRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.id)
    }
}

impl PointInfo {
    /// Counts in what is the machine's at the point from now on. What was before stays: packets
    /// are judged again when they are read, with all that was ever right.
    pub(crate) fn own(&mut self, ownership: &Ownership) {
        match (&mut self.ownership, ownership) {
            (Ownership::Shared(known), Ownership::Shared(new)) => {
                for identity in new {
                    if !known.contains(identity) {
                        known.push(*identity);
                    }
                }
            }
            (known, _) => *known = Ownership::Whole,
        }
    }
}
