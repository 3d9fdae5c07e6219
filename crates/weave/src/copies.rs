//! Packets that two hosts saw while a machine moved: flooded frames reach both its ports.

use std::time::Duration;

use pipeline::dedup::{Dedup, Sighting, Tenants};
use wire::{Layers, Packet, Timestamp, TunnelPorts};

/// Tells copies among the strands of one machine. Compares only while there is more than one, and a
/// moment longer.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    open: usize,
    comparing: Option<Comparing>,
}

#[derive(Debug)]
struct Comparing {
    dedup: Dedup,
    layers: Layers,
    ports: TunnelPorts,
    /// When the last packet was seen while there was more than one strand.
    last: Timestamp,
}

impl Copies {
    /// One more strand may have packets.
    pub(crate) fn strand_began(&mut self) {
        self.open += 1;
        if self.open > 1 && self.comparing.is_none() {
            self.comparing = Some(Comparing {
                // All of it is one machine's, so it is one tenant's.
                dedup: Dedup::new(WINDOW, Tenants::One),
                layers: Layers::empty(),
                ports: TunnelPorts::default(),
                last: Timestamp::ZERO,
            });
        }
    }

    /// All packets of a strand were seen.
    pub(crate) fn strand_ended(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// Whether a packet was seen in another strand; its `point` is the number of its strand.
    pub(crate) fn is_copy(&mut self, packet: &Packet<'_>) -> bool {
        let Some(Comparing { dedup, layers, ports, last }) = &mut self.comparing else {
            return false;
        };
        if self.open > 1 {
            *last = packet.time;
        } else if packet.time > last.saturating_add(WINDOW) {
            // Until now it could be a copy of what the strand that ended has seen last.
            self.comparing = None;
            return false;
        }
        layers.fill(packet.link, packet.data, ports);
        matches!(dedup.offer(packet, layers), Sighting::Copy { .. })
    }
}

/// How far apart two hosts may see one packet: the way between them, and what their clocks are
/// not known to agree on.
const WINDOW: Duration = Duration::from_millis(200);
