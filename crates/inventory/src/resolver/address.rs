//! What is learned about a vNIC from frames others saw: its addresses, its MAC, that it runs.
//!
//! A neighbour entry counts only for a vNIC in the same broadcast domain: two tenants may use the
//! same MAC and the same IP.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use wire::Mac;

use super::draft::Draft;
use super::way_out::{self, Segment};
use super::world::{World, is_link_local};
use super::{Place, SwitchKey, Tag, card_device};
use crate::facts::{NamespaceId, Source};
use crate::site::{Evidence, KnownIp, MachineState};

/// Completes a draft by what bridges learned on its own tap: a frame that came out of a tap was
/// sent by the VM, so the VM runs, and its sender address is the VM's.
pub(super) fn believe_frames(world: &World<'_>, draft: &mut Draft) {
    let mut has_sent = None;
    for card in &mut draft.cards {
        if card.inside.is_some() {
            continue;
        }
        let Some(device) = card_device(world, card) else { continue };
        let Some(facts) = world.networks().find(|n| n.namespace == device.namespace) else {
            continue;
        };
        let learned: BTreeSet<Mac> = facts
            .fdb
            .iter()
            .filter(|e| e.link == device.link.index && Some(e.mac) != device.link.mac)
            .map(|e| e.mac)
            .collect();
        if card.mac.is_none()
            && let Some(only) = learned.first().filter(|_| learned.len() == 1)
        {
            card.mac = Some(*only);
        }
        if card.mac.is_some_and(|mac| learned.contains(&mac)) {
            has_sent = Some((device.link.name.clone(), device.namespace));
        }
    }
    if let (MachineState::Incoming, Some((tap, namespace))) = (draft.state, has_sent) {
        draft.state = MachineState::Running;
        draft.evidence.push(Evidence {
            claim: format!("it has sent frames from {tap}, so it runs"),
            source: Source::Netlink(namespace),
        });
    }
}

/// Gives cards the addresses that neighbours in their broadcast domain know them by.
pub(super) fn learn(world: &World<'_>, drafts: &mut [Draft], places: &[Vec<Place>]) {
    let mut by_mac: HashMap<Mac, Vec<(usize, usize)>> = HashMap::new();
    let mut inside: BTreeMap<(NamespaceId, u32), (usize, usize)> = BTreeMap::new();
    for (machine, draft) in drafts.iter().enumerate() {
        for (index, card) in draft.cards.iter().enumerate() {
            if let Some(mac) = card.mac {
                by_mac.entry(mac).or_default().push((machine, index));
            }
            if let Some(key) = card.inside {
                inside.insert(key, (machine, index));
            }
        }
    }
    let segments_of = |(machine, index): (usize, usize)| -> Option<&BTreeSet<Segment>> {
        places.get(machine).and_then(|p| p.get(index)).map(|p| &p.segments)
    };
    for facts in world.networks() {
        for neighbour in &facts.neighbours {
            let Some(holders) = by_mac.get(&neighbour.mac) else { continue };
            let key = (facts.namespace, neighbour.link);
            let seen_in: Vec<Segment> = match inside.get(&key) {
                Some(at) => segments_of(*at).into_iter().flatten().cloned().collect(),
                None => world
                    .link(facts.namespace, neighbour.link)
                    .map(|d| way_out::segments_of_device(world, d))
                    .unwrap_or_default(),
            };
            let here: Vec<(usize, usize)> = holders
                .iter()
                .copied()
                .filter(|at| segments_of(*at).is_some_and(|own| is_shared(own, &seen_in)))
                .collect();
            // Two machines with one MAC in one network: whose address it is cannot be known.
            if here.iter().any(|(machine, _)| Some(machine) != here.first().map(|(m, _)| m)) {
                continue;
            }
            for (machine, index) in here {
                let card = drafts.get_mut(machine).and_then(|d| d.cards.get_mut(index));
                if let Some(card) = card {
                    card.ips.push((neighbour.ip, Source::Netlink(facts.namespace)));
                }
            }
        }
    }
}

/// Whether one broadcast domain is part of the other.
fn is_shared(own: &BTreeSet<Segment>, seen_in: &[Segment]) -> bool {
    let has_trunk = |switch: &SwitchKey| own.contains(&(switch.clone(), Tag::Any));
    seen_in.iter().any(|segment| own.contains(segment) || has_trunk(&segment.0))
}

/// Each address once, those of wide scope first.
pub(super) fn in_order(mut ips: Vec<(IpAddr, Source)>) -> Vec<KnownIp> {
    ips.sort_by(|(a, by_a), (b, by_b)| {
        (is_link_local(*a), a, by_a).cmp(&(is_link_local(*b), b, by_b))
    });
    ips.dedup_by_key(|(ip, _)| *ip);
    ips.into_iter().map(|(ip, source)| KnownIp { ip, source }).collect()
}
