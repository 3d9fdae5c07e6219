//! Which packets of the files are wanted.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use select::Filter;
use wire::{Layers, Packet, PointId, StopReason, Timestamp, TunnelPorts};

use crate::Fate;

/// Which packets are wanted: those that satisfy everything said here.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// By what they are.
    pub wanted: Wanted,
    /// What that is at an interface where a name means other packets.
    pub elsewhere: Option<Elsewhere>,
    /// Nothing seen before this.
    pub from: Option<Timestamp>,
    /// Nothing seen at or after this.
    pub to: Option<Timestamp>,
    /// Which UDP ports carry tunnels.
    pub ports: TunnelPorts,
}

/// Which packets are wanted, by what they are.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Whose packets: the names of VMs as one filter. Asked before the expression, so that the
    /// receipt can tell "of other VMs" from "not selected".
    pub vms: Option<Filter>,
    /// What a person asked for.
    pub filter: Option<Filter>,
}

impl Wanted {
    /// Whether the headers of packets have to be known.
    const fn needs_headers(&self) -> bool {
        self.vms.is_some() || self.filter.is_some()
    }

    /// Why a packet is not wanted, where that can be seen without finding its headers.
    #[inline]
    fn refuses_at_a_glance(&self, packet: &Packet<'_>, ports: &TunnelPorts) -> Option<Fate> {
        let (filter, fate) = match (&self.vms, &self.filter) {
            (Some(vms), _) => (vms, Fate::OtherVm),
            (None, Some(filter)) => (filter, Fate::NotSelected),
            (None, None) => return None,
        };
        filter.refuses_at_a_glance(packet, ports).then_some(fate)
    }

    fn refuses(&self, packet: &Packet<'_>, layers: &Layers) -> Option<Fate> {
        if self.vms.as_ref().is_some_and(|vms| !vms.matches(packet, layers)) {
            return Some(Fate::OtherVm);
        }
        let is_unwanted =
            self.filter.as_ref().is_some_and(|filter| !filter.matches(packet, layers));
        is_unwanted.then_some(Fate::NotSelected)
    }

    fn refuses_piece(
        &self,
        packet: &Packet<'_>,
        layers: &Layers,
        first: Option<Option<Fate>>,
    ) -> Option<Fate> {
        let is_about_pieces = self.filter.as_ref().is_some_and(Filter::is_about_pieces);
        match first {
            Some(Some(Fate::NotSelected) | None) if is_about_pieces => {
                let is_wanted = self.filter.as_ref().is_none_or(|f| f.matches(packet, layers));
                (!is_wanted).then_some(Fate::NotSelected)
            }
            Some(first) => first,
            None => {
                let refused = self.refuses(packet, layers)?;
                // What it does not show may be what was asked for.
                let is_cut = layers.stop().is_some_and(|s| s.reason == StopReason::Fragment);
                let is_sure = !is_cut || refused == Fate::NotSelected && is_about_pieces;
                Some(if is_sure { refused } else { Fate::Undecidable })
            }
        }
    }
}

/// What is wanted at interfaces that show one machine's packets only, by their name.
#[derive(Clone)]
pub struct Elsewhere {
    by_name: Arc<ByName>,
    known: HashMap<(usize, PointId), Wanted>,
    asked: usize,
}

/// What is wanted at an interface of that name, if it is anything else.
type ByName = dyn Fn(&str) -> Option<Wanted> + Send + Sync;

impl Elsewhere {
    /// Asks for each interface by its name; `None` says that nothing is different there.
    pub fn new(by_name: impl Fn(&str) -> Option<Wanted> + Send + Sync + 'static) -> Self {
        Self { by_name: Arc::new(by_name), known: HashMap::new(), asked: 0 }
    }
}

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elsewhere").field("known", &self.known).finish_non_exhaustive()
    }
}

impl Selection {
    /// An interface of input number `input`.
    pub(crate) fn add_point(&mut self, input: usize, point: PointId, name: &str) {
        let Some(elsewhere) = &mut self.elsewhere else { return };
        elsewhere.asked += 1;
        if elsewhere.asked <= MAX_ASKED
            && let Some(wanted) = (elsewhere.by_name)(name)
        {
            elsewhere.known.insert((input, point), wanted);
        }
    }

    /// Whether the headers of packets have to be known.
    pub const fn needs_headers(&self) -> bool {
        self.wanted.needs_headers()
    }

    /// Whether a packet seen at `time` may be wanted.
    #[inline]
    pub fn wants_time(&self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| time >= from) && self.to.is_none_or(|to| time < to)
    }

    /// Why the packet of input number `input` is not wanted, where that can be seen without finding
    /// its headers. It is no fragment then.
    #[inline]
    pub(crate) fn refuses_at_a_glance(&self, input: usize, packet: &Packet<'_>) -> Option<Fate> {
        self.at(input, packet.point).refuses_at_a_glance(packet, &self.ports)
    }

    /// Why the packet of input number `input` is not wanted, if it is not. `layers` must come from
    /// the same bytes.
    #[inline]
    pub fn refuses(&self, input: usize, packet: &Packet<'_>, layers: &Layers) -> Option<Fate> {
        self.at(input, packet.point).refuses(packet, layers)
    }

    /// Why a fragment is not wanted, if it is not; `first` is what was said of the first one of its
    /// packet, if it is a later one and that is known.
    pub(crate) fn refuses_piece(
        &self,
        input: usize,
        packet: &Packet<'_>,
        layers: &Layers,
        first: Option<Option<Fate>>,
    ) -> Option<Fate> {
        self.at(input, packet.point).refuses_piece(packet, layers, first)
    }

    /// Whether the first fragment of a packet seen there has something to say about the others.
    pub(crate) fn depends_on_first(&self, input: usize, point: PointId) -> bool {
        let Wanted { vms, filter } = self.at(input, point);
        vms.is_some() || filter.as_ref().is_some_and(|filter| !filter.is_about_pieces())
    }

    /// What is wanted at an interface.
    #[inline]
    fn at(&self, input: usize, point: PointId) -> &Wanted {
        let here = self.elsewhere.as_ref().filter(|elsewhere| !elsewhere.known.is_empty());
        let here = here.and_then(|elsewhere| elsewhere.known.get(&(input, point)));
        here.unwrap_or(&self.wanted)
    }
}

/// No capture has more interfaces; those of a file made to be slow have no names.
const MAX_ASKED: usize = 1024;
