//! From "this VM" to the places where its packets can be seen, best first.
//!
//! Pure: a site in, a plan out. For each place the plan says what it cannot see, what it costs and
//! whom it disturbs, and which packets there are the VM's. A place that cannot be used is in the
//! plan too, with the reason.

pub mod mirror;
mod mirror_end;
mod names;
mod point;
mod port;
mod uplink;

use inventory::{Machine, MachineState, Site};
use serde::Serialize;

pub use mirror_end::mirrored;
pub use names::{AtPoint, Names};
pub use point::{Interface, Point, PointKind, Side};
pub use uplink::peer;

/// The places where a machine's packets can be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Usable ones first, the one that misses least before the others; then the refused ones.
    pub points: Vec<Point>,
}

impl Plan {
    /// The best point that can be used.
    pub fn best(&self) -> Option<&Point> {
        self.points.iter().find(|point| point.is_usable())
    }
}

/// Ranks every place on this host where the packets of `machine` can be seen.
pub fn plan(site: &Site, machine: &Machine) -> Plan {
    // In the order of what they miss: the own port sees everything, its inner end too but from
    // within the guest, an uplink only what leaves the host.
    let mut points = vec![port::port(site, machine)];
    points.extend(port::inside(site, machine));
    points.push(uplink::uplink(site, machine));
    if machine.state == MachineState::Shutoff {
        for point in &mut points {
            point.refusal = Some(format!("{} does not run here", machine.name));
            point.interfaces.clear();
        }
    }
    points.sort_by_key(|point| !point.is_usable());
    Plan { points }
}
