//! Copies of packets, with the points they were seen at by name.
//!
//! What a copy is says `pipeline::dedup`. Here the interfaces of several files get numbers of
//! their own, because equal packets of two files were seen at two points.

use pipeline::Dedup;
use pipeline::dedup::{Delay, KeptApart, SeenAt, Sighting};
use wire::file::Interface;
use wire::{Layers, Packet, PointId};

use crate::DedupRequest;

/// Tells packets from their copies, over all inputs of a job.
#[derive(Debug)]
pub(crate) struct Copies {
    dedup: Dedup,
    /// The interfaces by number, as input and name.
    names: Vec<(usize, String)>,
    /// For each input the numbers of its interfaces.
    numbers: Vec<Vec<u32>>,
}

impl Copies {
    pub(crate) fn new(request: &DedupRequest) -> Self {
        let dedup = Dedup::new(request.window, request.tenants.clone());
        Self { dedup, names: Vec::new(), numbers: Vec::new() }
    }

    /// An interface of input number `input`; `file` is what it is called if it has no name. One
    /// that is described again under the same name, as in files put one behind the other, is the
    /// same point.
    pub(crate) fn add_point(&mut self, input: usize, interface: &Interface<'_>, file: &str) {
        let name = interface.name().map(|name| name.to_str().into_owned());
        let is_named = name.is_some();
        self.number(input, interface.point, name.as_deref().unwrap_or(file), is_named);
    }

    /// A point of input number `input` that no interface of it is.
    pub(crate) fn add_named(&mut self, input: usize, point: PointId, name: &str) {
        self.number(input, point, name, true);
    }

    fn number(&mut self, input: usize, point: PointId, name: &str, is_named: bool) {
        let name = name.replace(char::is_control, "\u{fffd}");
        let key = (input, name);
        let known = self.names.iter().position(|known| *known == key).filter(|_| is_named);
        let number = known.unwrap_or_else(|| {
            self.names.push(key.clone());
            self.names.len() - 1
        });
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        while self.numbers.len() <= input {
            self.numbers.push(Vec::new());
        }
        let index = point.0 as usize;
        if let Some(numbers) = self.numbers.get_mut(input)
            && index < MAX_INTERFACES
        {
            numbers.resize(numbers.len().max(index + 1), NOWHERE);
            if let Some(slot) = numbers.get_mut(index) {
                *slot = number;
            }
        }
        self.dedup.name_point(PointId(number), &key.1);
    }

    /// Whether the packet is a copy of one seen before.
    #[inline]
    pub(crate) fn is_copy(&mut self, input: usize, packet: &Packet<'_>, layers: &Layers) -> bool {
        let number = self.numbers.get(input).and_then(|n| n.get(packet.point.0 as usize));
        let mut packet = *packet;
        packet.point = PointId(number.copied().unwrap_or(NOWHERE));
        matches!(self.dedup.offer(&packet, layers), Sighting::Copy { .. })
    }

    pub(crate) fn report(self) -> CopiesReport {
        let name = |seen_at: SeenAt| {
            let number = seen_at.point.0 as usize;
            let name = self.names.get(number).map_or("?", |(_, name)| name.as_str());
            match seen_at.mirror {
                Some(mirror) => format!("{name} ({mirror})"),
                None => name.to_owned(),
            }
        };
        let mut pairs: Vec<PairReport> = self
            .dedup
            .pairs()
            .map(|pair| PairReport {
                first: name(pair.first),
                second: name(pair.second),
                copies: pair.copies,
                delay_ns: pair.delay_ns,
            })
            .collect();
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.copies));
        let mut kept_apart: Vec<KeptApart> = self.dedup.kept_apart().collect();
        kept_apart.sort_by_key(|apart| std::cmp::Reverse(apart.packets));
        CopiesReport {
            copies: self.dedup.copies(),
            pairs,
            copies_of_other_pairs: self.dedup.copies_of_other_pairs(),
            kept_apart,
            incomparable: self.dedup.incomparable(),
            overflowed: self.dedup.overflowed(),
        }
    }
}

/// What was found about copies.
#[derive(Debug, Clone)]
pub struct CopiesReport {
    /// How many packets are copies of others.
    pub copies: u64,
    /// Between which points, most copies first.
    pub pairs: Vec<PairReport>,
    /// Copies between points for which there was no room in `pairs`.
    pub copies_of_other_pairs: u64,
    /// Equal packets that were not merged, because their networks may be two tenants'.
    pub kept_apart: Vec<KeptApart>,
    /// Packets that show too little to be compared.
    pub incomparable: u64,
    /// Packets forgotten before their window was over.
    pub overflowed: u64,
}

/// The copies between two points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairReport {
    /// Where the packets were seen first.
    pub first: String,
    /// Where the copies were seen.
    pub second: String,
    /// How many copies.
    pub copies: u64,
    /// How much later, in nanoseconds.
    pub delay_ns: Delay,
}

/// The most interfaces of one input that are told apart; all others are one.
const MAX_INTERFACES: usize = 1 << 20;
const NOWHERE: u32 = u32::MAX;
