//! Sampling: one of how many packets a record stands for, and who says so.
//!
//! Counts are never multiplied here. A rate nobody stated is unknown, which is not 1, and a stated
//! rate of 0 is unknown as well.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::column::{Column, Columns};

/// How many packets were taken of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Stated")]
pub struct Ratio {
    /// Of so many packets ...
    pub population: u32,
    /// ... so many were taken; never 0, nor more than `population`.
    pub taken: u32,
}

impl Ratio {
    /// Every packet.
    pub const ALL: Self = Self { population: 1, taken: 1 };

    /// One in `population`; `None` for 0, which says nothing.
    pub fn one_in(population: u64) -> Option<Self> {
        Self::new(population, 1)
    }

    /// `taken` of `population`; `None` if that cannot be.
    pub fn new(population: u64, taken: u64) -> Option<Self> {
        let (population, taken) = (u32::try_from(population).ok()?, u32::try_from(taken).ok()?);
        (taken != 0 && population >= taken).then_some(Self { population, taken })
    }

    /// What `count` stands for.
    pub fn scale(self, count: u64) -> u64 {
        let scaled = u128::from(count) * u128::from(self.population) / u128::from(self.taken);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }

    /// What the columns of one record say of it (RFC 5477, section 8; IANA's registry).
    pub(super) fn stated(columns: &Columns) -> Option<Self> {
        let interval = [Column::SamplingInterval, Column::SamplerRandomInterval];
        let one_in = interval.iter().find_map(|column| Self::one_in(columns.get(*column)?));
        one_in.or_else(|| {
            let population = columns.get(Column::SamplingPopulation);
            let size = columns.get(Column::SamplingSize);
            // Packets taken without packets skipped are no rate.
            let taken = columns.get(Column::SamplingPacketInterval);
            let skipped = columns.get(Column::SamplingPacketSpace);
            match (population, size, taken, skipped) {
                (Some(population), Some(size), ..) => Self::new(population, size),
                (_, _, Some(taken), Some(skipped)) => {
                    Self::new(taken.saturating_add(skipped), taken)
                }
                _ => None,
            }
        })
    }
}

/// A ratio as it is written down, which may be none.
#[derive(Deserialize)]
struct Stated {
    population: u64,
    taken: u64,
}

impl TryFrom<Stated> for Ratio {
    type Error = &'static str;

    fn try_from(stated: Stated) -> Result<Self, Self::Error> {
        Self::new(stated.population, stated.taken).ok_or("no sampling rate")
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.taken, self.population)
    }
}

/// A rate and who stated it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// The rate; [`Ratio::ALL`] where it is not known.
    pub ratio: Ratio,
    /// Who says so.
    pub origin: RateOrigin,
}

impl Rate {
    /// Nobody said anything.
    pub const UNKNOWN: Self = Self { ratio: Ratio::ALL, origin: RateOrigin::Unknown };
}

/// Who stated a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RateOrigin {
    /// The record or sample itself.
    Record,
    /// An options record about the sampler that the record names.
    Sampler,
    /// An options record about the record's template.
    Template,
    /// An options record about the interface the flow came in by.
    Interface,
    /// An options record about all of the exporter.
    Exporter,
    /// The header of the message, in NetFlow version 5.
    Header,
    /// Nobody.
    Unknown,
}

impl RateOrigin {
    /// One word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Sampler => "sampler",
            Self::Template => "template",
            Self::Interface => "interface",
            Self::Exporter => "exporter",
            Self::Header => "header",
            Self::Unknown => "unknown",
        }
    }
}

/// What an exporter said of its sampling, in one observation domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Samplers {
    by_id: BTreeMap<u64, Ratio>,
    by_template: BTreeMap<u16, Ratio>,
    by_interface: BTreeMap<u64, Ratio>,
    of_all: Option<Ratio>,
}

impl Samplers {
    /// Learns from an options record; says whether there was something to learn.
    pub(super) fn learn(&mut self, columns: &Columns) -> bool {
        let Some(ratio) = Ratio::stated(columns) else { return false };
        let template = columns.get(Column::ScopeTemplate).or(columns.get(Column::TemplateId));
        let interface =
            columns.get(Column::ScopeInterface).or(columns.get(Column::IngressInterface));
        let is_full = self.len() >= MAX_SAMPLERS;
        match (sampler(columns), template, interface) {
            _ if is_full && self.of_all.is_some() => return false,
            (Some(id), _, _) => _ = self.by_id.insert(id, ratio),
            (None, Some(template), _) => {
                let template = u16::try_from(template).unwrap_or_default();
                self.by_template.insert(template, ratio);
            }
            (None, None, Some(interface)) => _ = self.by_interface.insert(interface, ratio),
            _ => self.of_all = Some(ratio),
        }
        true
    }

    /// The rate of a record with these columns, and of that template.
    pub(super) fn rate(&self, columns: &Columns, template: u16, header: Option<Ratio>) -> Rate {
        let found = |ratio: Option<Ratio>, origin| ratio.map(|ratio| Rate { ratio, origin });
        if let Some(ratio) = Ratio::stated(columns) {
            return Rate { ratio, origin: RateOrigin::Record };
        }
        if let Some(id) = sampler(columns) {
            // A sampler that is named but was not described is no reason to take another one's.
            let ratio = self.by_id.get(&id).copied();
            // 0 is the sampler of exporters that have none.
            if ratio.is_some() || id != 0 {
                return found(ratio, RateOrigin::Sampler).unwrap_or(Rate::UNKNOWN);
            }
        }
        let interface = columns.get(Column::IngressInterface);
        found(self.by_template.get(&template).copied(), RateOrigin::Template)
            .or_else(|| found(self.by_interface.get(&interface?).copied(), RateOrigin::Interface))
            .or_else(|| found(self.of_all, RateOrigin::Exporter))
            .or_else(|| found(header, RateOrigin::Header))
            .unwrap_or(Rate::UNKNOWN)
    }

    /// Every rate that was learnt, with what it is for.
    pub fn rates(&self) -> impl Iterator<Item = (RateOrigin, u64, Ratio)> + '_ {
        let by_id = self.by_id.iter().map(|(id, ratio)| (RateOrigin::Sampler, *id, *ratio));
        let by_template = self
            .by_template
            .iter()
            .map(|(template, ratio)| (RateOrigin::Template, u64::from(*template), *ratio));
        let by_interface =
            self.by_interface.iter().map(|(index, ratio)| (RateOrigin::Interface, *index, *ratio));
        let of_all = self.of_all.iter().map(|ratio| (RateOrigin::Exporter, 0, *ratio));
        by_id.chain(by_template).chain(by_interface).chain(of_all)
    }

    /// Whether they are no more than an exporter may have.
    pub(super) fn is_bounded(&self) -> bool {
        self.len() <= MAX_SAMPLERS
    }

    fn len(&self) -> usize {
        self.by_id.len() + self.by_template.len() + self.by_interface.len()
    }
}

/// The sampler that a record names.
fn sampler(columns: &Columns) -> Option<u64> {
    columns.get(Column::SamplerId).or(columns.get(Column::SelectorId))
}

/// No exporter has more; one that claims to keeps those it has.
const MAX_SAMPLERS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(values: &[(Column, u64)]) -> Columns {
        let mut columns = Columns::new();
        values.iter().for_each(|(column, value)| columns.set(*column, *value));
        columns
    }

    #[test]
    fn a_rate_is_what_the_fields_say_together() {
        use Column as C;
        let stated = |values: &[_]| Ratio::stated(&columns(values));
        assert_eq!(stated(&[(C::SamplingInterval, 2048)]), Ratio::one_in(2048));
        assert_eq!(
            stated(&[(C::SamplingPacketInterval, 1), (C::SamplingPacketSpace, 9)]),
            Ratio::one_in(10)
        );
        assert_eq!(
            stated(&[
                (C::SamplingPacketInterval, 1),
                (C::SamplingSize, 1),
                (C::SamplingPopulation, 256)
            ]),
            Ratio::one_in(256)
        );
        assert_eq!(stated(&[(C::SamplingPacketInterval, 1)]), None);
        assert_eq!(stated(&[(C::SamplingInterval, 0)]), None, "0 is unknown, never a factor");
    }

    #[test]
    fn a_named_sampler_that_was_never_described_is_unknown() {
        let mut samplers = Samplers::default();
        assert!(samplers.learn(&columns(&[(Column::SamplingInterval, 100)])));
        let record = columns(&[(Column::SamplerId, 1)]);
        assert_eq!(samplers.rate(&record, 256, None), Rate::UNKNOWN);
        let plain = samplers.rate(&columns(&[]), 256, None);
        assert_eq!(plain.origin, RateOrigin::Exporter);
        assert_eq!(plain.ratio.scale(5), 500);
    }
}
