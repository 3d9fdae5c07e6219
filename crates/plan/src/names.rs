//! Names in an expression, made into the MACs, networks and times that they mean.
//!
//! On a wire that others share a vNIC is its MAC within each network the history gives it. At a
//! point that is one machine's own (its tap, or an uplink where only its frames were kept) no
//! tunnel or tag tells networks apart any more: there a MAC counts without them, for the machine
//! itself and for who is in a network with it. Where another machine that is not meant has the same
//! name on the wire at the same time, nobody can know whose a packet is: that time is left out, and
//! said in a note.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use inventory::{Card, History, Network, Period, Unclear, Wording};
use select::{Identity, Member, Name, NameKind, OnWire, Ownership, Resolver, UnknownName};
use wire::{Mac, TunnelPorts};

use crate::point::{machine_label, vnic_label};
use crate::uplink::{is_same, on_wire};

/// Explains names on a wire that others share.
#[derive(Debug)]
pub struct Names<'a> {
    history: &'a History,
    by_mac: BTreeMap<Mac, Vec<Card<'a>>>,
    notes: RefCell<BTreeSet<String>>,
}

/// Explains names at a point that shows nothing but one machine's packets.
#[derive(Debug)]
pub struct AtPoint<'n, 'a> {
    names: &'n Names<'a>,
    /// The vNICs whose packets it shows.
    shown: Vec<Card<'a>>,
}

impl<'a> Names<'a> {
    /// The names of a history.
    pub fn new(history: &'a History) -> Self {
        let mut by_mac: BTreeMap<Mac, Vec<Card<'_>>> = BTreeMap::new();
        for card in history.cards() {
            if let Some(mac) = card.vnic.mac {
                by_mac.entry(mac).or_default().push(card);
            }
        }
        Self { history, by_mac, notes: RefCell::default() }
    }

    /// The point whose label overtap wrote into a capture file (the interface's name), if it is
    /// one machine's own. The label is believed: whoever wrote the file had the packets.
    pub fn at_point(&self, label: &str) -> Option<AtPoint<'_, 'a>> {
        let is_shown = |card: &Card<'a>| {
            let (machine, host) = (&card.episode.machine.name, &card.episode.host.name);
            label.starts_with(&vnic_label(machine, &card.vnic.name, host))
                || label.starts_with(&machine_label(machine, host))
        };
        self.only(self.history.cards().filter(is_shown).collect())
    }

    /// A point where somebody knows that nothing but this VM's packets are.
    ///
    /// # Errors
    /// There is no such VM.
    pub fn at_point_of(&self, vm: &str) -> Result<Option<AtPoint<'_, 'a>>, UnknownName> {
        let shown = self.meaning(&Name { kind: NameKind::Vm, text: vm.to_owned() })?;
        Ok(self.only(shown))
    }

    /// Makes a decoder see all tunnels of the history, at whatever UDP port they are.
    pub fn add_tunnel_ports(&self, ports: &mut TunnelPorts) {
        let of_card = |card: Card<'a>| {
            let wires = card.vnic.attachment.iter().flat_map(|place| &place.networks);
            let mac = card.vnic.mac.unwrap_or_default();
            wires.filter_map(on_wire_of).map(move |network| Identity { mac, network })
        };
        Ownership::Shared(self.history.cards().flat_map(of_card).collect()).add_tunnel_ports(ports);
    }

    /// What whoever typed the names should know, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        self.notes.borrow().iter().cloned().collect()
    }

    /// Of two machines with one name at different times nobody knows whose the point is.
    fn only(&self, shown: Vec<Card<'a>>) -> Option<AtPoint<'_, 'a>> {
        let first = *shown.first()?;
        let is_one = shown.iter().all(|card| card.is_of_same_machine(first));
        is_one.then_some(AtPoint { names: self, shown })
    }

    fn meaning(&self, name: &Name) -> Result<Vec<Card<'a>>, UnknownName> {
        let wording = match name.kind {
            NameKind::Vm => Wording::Vm,
            NameKind::Tenant => Wording::Tenant,
            NameKind::HostOf => Wording::HostOf,
            NameKind::PortGroup => Wording::PortGroup,
            NameKind::Host => return Err(UnknownName::default()),
        };
        let meaning = self.history.meaning(wording, &name.text).map_err(|error| match error {
            Unclear::Unknown { nearest } => UnknownName {
                reason: Some(format!("the inventory has no {wording} `{}`", name.text)),
                nearest,
            },
            Unclear::Ambiguous(reason) => UnknownName::because(reason),
        })?;
        self.notes.borrow_mut().extend(meaning.note);
        Ok(meaning.cards)
    }

    /// What is left of `period` when the times are taken out at which somebody else who is not
    /// meant has this MAC, where `is_met` says that it would be met.
    fn certain(
        &self,
        period: Period,
        mac: Mac,
        card: Card<'a>,
        meant: &Meant<'a>,
        is_met: impl Fn(Card<'a>) -> bool,
    ) -> Vec<Period> {
        let mut certain = vec![period];
        for other in self.by_mac.get(&mac).into_iter().flatten() {
            let during = other.episode.during;
            if period.intersection(during).is_none()
                || meant.has(*other)
                || other.is_of_same_machine(card)
                || !is_met(*other)
            {
                continue;
            }
            certain = certain.into_iter().flat_map(|span| span.without(during)).collect();
            self.notes.borrow_mut().insert(format!(
                "{} and {} have the same MAC {mac} in one network: no packet of that time is taken \
                 to be of either",
                card.episode.machine.name, other.episode.machine.name
            ));
        }
        certain
    }
}

impl Resolver for Names<'_> {
    fn members(&self, name: &Name) -> Result<Vec<Member>, UnknownName> {
        let meant = Meant::new(self.meaning(name)?);
        let mut members = Vec::new();
        let mut gaps = BTreeSet::new();
        for card in &meant.cards {
            let who = format!("{}/{}", card.episode.machine.name, card.vnic.name);
            let Some(mac) = card.vnic.mac else {
                gaps.insert(format!("{who}: its MAC is not known, and nothing else names it"));
                continue;
            };
            if networks(*card).is_empty() {
                gaps.insert(format!("{who}: the inventory names no network of it"));
            }
            for network in networks(*card) {
                let wire = match on_wire(network) {
                    Ok(wire) => wire,
                    Err(reason) => {
                        gaps.insert(format!("{who} in {network}: {reason}"));
                        continue;
                    }
                };
                let is_met =
                    |other: Card<'_>| networks(other).iter().any(|n| is_one_network(n, network));
                let certain = self.certain(card.episode.during, mac, *card, &meant, is_met);
                members.extend(certain.into_iter().map(|Period { from, until }| Member {
                    mac,
                    network: Some(wire),
                    from,
                    until,
                }));
            }
        }
        self.note_gaps(name, &gaps);
        Ok(members)
    }
}

impl Names<'_> {
    /// Packets of these are not found; one sentence, however many there are.
    fn note_gaps(&self, name: &Name, gaps: &BTreeSet<String>) {
        let Some(first) = gaps.first() else { return };
        let mut note = format!("{name}: {first}");
        if gaps.len() > 1 {
            note += &format!(" (and {} more like it)", gaps.len() - 1);
        }
        self.notes.borrow_mut().insert(note);
    }
}

impl AtPoint<'_, '_> {
    /// Whether the machine whose packets it shows is one that `name` means: then every packet is.
    ///
    /// # Errors
    /// There is no such name.
    pub fn is_of(&self, name: &Name) -> Result<bool, UnknownName> {
        let meant = self.names.meaning(name)?;
        Ok(meant.iter().any(|card| self.shown.iter().any(|own| own.is_of_same_machine(*card))))
    }

    /// The time for which `card` may be met at the point under its MAC alone, and by which of the
    /// networks that it shares with whoever is shown.
    fn met(&self, card: Card<'_>) -> Vec<(Period, Vec<&Network>)> {
        let mut met = Vec::new();
        for shown in &self.shown {
            let Some(common) = card.episode.during.intersection(shown.episode.during) else {
                continue;
            };
            let (own, theirs) = (networks(*shown), networks(card));
            let shared: Vec<&Network> =
                own.iter().filter(|n| theirs.iter().any(|m| is_one_network(n, m))).collect();
            // Of two networks nobody knows, they may be one.
            if !shared.is_empty() || own.is_empty() || theirs.is_empty() {
                met.push((common, shared));
            }
        }
        met
    }
}

impl Resolver for AtPoint<'_, '_> {
    fn members(&self, name: &Name) -> Result<Vec<Member>, UnknownName> {
        let meant = Meant::new(self.names.meaning(name)?);
        let mut members = Vec::new();
        let mut add = |mac, Period { from, until }| {
            members.push(Member { mac, network: None, from, until });
        };
        for card in &meant.cards {
            let Some(mac) = card.vnic.mac else { continue };
            if self.shown.iter().any(|shown| shown.is_of_same_machine(*card)) {
                add(mac, card.episode.during);
                continue;
            }
            for (period, shared) in self.met(*card) {
                let is_met = |other: Card<'_>| {
                    // The machine shown itself is here whatever its networks.
                    self.shown.iter().any(|shown| shown.is_of_same_machine(other))
                        || shared.is_empty()
                        || networks(other)
                            .iter()
                            .any(|n| shared.iter().any(|s| is_one_network(n, s)))
                };
                for certain in self.names.certain(period, mac, *card, &meant, is_met) {
                    add(mac, certain);
                }
            }
        }
        Ok(members)
    }
}

/// The cards of a name, with a quick way to ask whether one is among them.
struct Meant<'a> {
    cards: Vec<Card<'a>>,
    vnics: BTreeSet<*const inventory::Vnic>,
}

impl<'a> Meant<'a> {
    fn new(cards: Vec<Card<'a>>) -> Self {
        let vnics = cards.iter().map(|card| std::ptr::from_ref(card.vnic)).collect();
        Self { cards, vnics }
    }

    fn has(&self, card: Card<'_>) -> bool {
        self.vnics.contains(&std::ptr::from_ref(card.vnic))
    }
}

fn on_wire_of(network: &Network) -> Option<OnWire> {
    on_wire(network).ok()
}

fn networks(card: Card<'_>) -> &[Network] {
    card.vnic.attachment.as_ref().map_or(&[], |place| &place.networks)
}

/// Whether a MAC in one of them could be taken for the same MAC in the other.
fn is_one_network(left: &Network, right: &Network) -> bool {
    match (on_wire(left), on_wire(right)) {
        (Ok(left), Ok(right)) => is_same(left, right),
        _ => {
            (&left.tunnel, left.vni, left.tunnel_port)
                == (&right.tunnel, right.vni, right.tunnel_port)
        }
    }
}
