//! Which packets of the files are wanted.

use select::Filter;
use wire::{Layers, Packet, Timestamp, TunnelPorts};

use crate::Fate;

/// Which packets are wanted: those that satisfy everything said here.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Whose packets: the names of VMs as one filter. Asked before the expression, so that the
    /// receipt can tell "of other VMs" from "not selected".
    pub vms: Option<Filter>,
    /// What a person asked for.
    pub filter: Option<Filter>,
    /// Nothing seen before this.
    pub from: Option<Timestamp>,
    /// Nothing seen at or after this.
    pub to: Option<Timestamp>,
    /// Which UDP ports carry tunnels.
    pub ports: TunnelPorts,
}

impl Selection {
    /// Whether the headers of packets have to be known.
    pub const fn needs_headers(&self) -> bool {
        self.vms.is_some() || self.filter.is_some()
    }

    /// Whether a packet seen at `time` may be wanted.
    #[inline]
    pub fn wants_time(&self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| time >= from) && self.to.is_none_or(|to| time < to)
    }

    /// Why the packet is not wanted, if it is not. `layers` must come from the same bytes.
    #[inline]
    pub fn refuses(&self, packet: &Packet<'_>, layers: &Layers) -> Option<Fate> {
        if self.vms.as_ref().is_some_and(|vms| !vms.matches(packet, layers)) {
            return Some(Fate::OtherVm);
        }
        let is_unwanted =
            self.filter.as_ref().is_some_and(|filter| !filter.matches(packet, layers));
        is_unwanted.then_some(Fate::NotSelected)
    }
}
