//! Which of several sets of vNICs a packet is of: one look-up for each MAC, however many there are.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use wire::{Layers, Packet};

use super::members::{MacHasher, Stay};
use super::place::View;
use super::resolver::Member;
use super::test::mac_bits;

/// Sets of vNICs, each with a number: those of VMs, or of tenants.
///
/// A packet is of a set exactly if an expression that names the set (`vm web-01`) takes it.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    by_mac: HashMap<u64, Vec<(Stay, u32)>, BuildHasherDefault<MacHasher>>,
}

impl Groups {
    /// The sets, numbered from 0 in their order.
    pub fn new<'a>(groups: impl IntoIterator<Item = &'a [Member]>) -> Self {
        let mut sets = Self::default();
        for (number, members) in (0..).zip(groups) {
            for member in members {
                let stays = sets.by_mac.entry(mac_bits(member.mac)).or_default();
                let stay = (Stay::of(member), number);
                if !stays.contains(&stay) {
                    stays.push(stay);
                }
            }
        }
        sets
    }

    /// Adds the numbers of the sets that a packet is of to `found`, unless they are there: who sent
    /// it before whom it is for, the outermost level first. `layers` must come from the same bytes.
    pub fn find(&self, packet: &Packet<'_>, layers: &Layers, found: &mut Vec<u32>) {
        for (number, level) in layers.levels(packet.data).enumerate() {
            let Some(macs) = level.macs() else { continue };
            for mac in [macs.source, macs.destination] {
                let Some(stays) = self.by_mac.get(&mac_bits(mac)) else { continue };
                for (stay, group) in stays {
                    let view = || View::of_level(packet, layers, level, number);
                    if !found.contains(group)
                        && stay.holds(packet.time, |network| view().is_in(network))
                    {
                        found.push(*group);
                    }
                }
            }
        }
    }
}
