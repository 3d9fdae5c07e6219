//! The interfaces of all inputs, and the numbers they have in the outputs.
//!
//! A file has one link type, so each link type has numbers of its own. An interface that is
//! described twice in the same words, as in files that were put one behind the other, is one
//! interface.

use std::collections::HashMap;

use wire::file::{Interface, InterfaceHeader, Resolution, copy_interface, write_interface};
use wire::{LinkType, PointId};

/// The interfaces of all inputs.
#[derive(Debug, Default)]
pub(crate) struct Points {
    /// For each input the numbers of its current section, and where that begins.
    sections: Vec<(u32, Vec<Option<Point>>)>,
    described: Vec<Described>,
    numbers: HashMap<(usize, Vec<u8>), Point>,
    counts: HashMap<LinkType, u32>,
    bytes: usize,
    /// What is taken out of packets has interfaces of its own, numbered from [`FIRST_OPENED`].
    opened: Vec<Option<Point>>,
    /// What interfaces are called, by number and link type.
    names: HashMap<(u32, LinkType), String>,
}

/// An interface as outputs know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    /// Its number among the interfaces with its own link type.
    pub(crate) number: u32,
    /// The number among the Ethernet interfaces, which its packets have once a tunnel is off.
    pub(crate) as_ethernet: Option<u32>,
    pub(crate) link: LinkType,
    /// Bytes of frame check sequence at the end of each packet.
    pub(crate) fcs_bytes: u8,
}

impl Point {
    /// Its number in a file with packets of this link type.
    pub(crate) fn number_in(self, link: LinkType) -> Option<u32> {
        if link == self.link {
            Some(self.number)
        } else if link == LinkType::ETHERNET {
            self.as_ethernet
        } else {
            None
        }
    }
}

/// The description of an interface, ready to be written into files with its link type.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) link: LinkType,
    pub(crate) block: Vec<u8>,
}

impl Points {
    /// A section of input number `input` begins.
    pub(crate) fn begin_section(&mut self, input: usize) {
        if let Some((_, points)) = self.sections.get_mut(input) {
            points.clear();
        }
    }

    /// An interface of input number `input`. `name` is what it is called if it has no name;
    /// `has_ethernet` says that its packets may become Ethernet frames.
    pub(crate) fn add(
        &mut self,
        input: usize,
        interface: &Interface<'_>,
        name: &str,
        has_ethernet: bool,
    ) {
        let mut block = Vec::new();
        copy_interface(&mut block, interface, interface.link, name);
        let known = self.numbers.get(&(input, block.clone())).copied();
        let point = known.or_else(|| self.describe(input, interface, block, name, has_ethernet));
        while self.sections.len() <= input {
            self.sections.push((0, Vec::new()));
        }
        let Some((first, points)) = self.sections.get_mut(input) else { return };
        if points.is_empty() {
            *first = interface.point.0;
        }
        // Interfaces that could not be read have a number as well.
        let index = interface.point.0.saturating_sub(*first) as usize;
        if index < MAX_OF_SECTION {
            points.resize(index.max(points.len()), None);
            points.push(point);
        }
    }

    /// An interface for what is taken out of the packets of `outer`. Its number is no interface's of
    /// any input.
    pub(crate) fn add_opened(&mut self, outer: Point, header: &InterfaceHeader) -> PointId {
        let mut block = Vec::new();
        write_interface(&mut block, header);
        self.bytes += block.len() + ENTRY_BYTES;
        let point = (self.bytes <= MAX_BYTES).then(|| Point {
            number: self.number(header.link, block),
            as_ethernet: None,
            link: header.link,
            fcs_bytes: outer.fcs_bytes,
        });
        let number = self.opened.len();
        self.opened.push(point);
        PointId(FIRST_OPENED.saturating_add(u32::try_from(number).unwrap_or(u32::MAX)))
    }

    /// What an interface is called.
    pub(crate) fn name(&self, point: Point) -> &str {
        self.names.get(&(point.number, point.link)).map_or("", String::as_str)
    }

    /// The interface `point` of input number `input`, or of what was taken out of its packets.
    #[inline]
    pub(crate) fn of(&self, input: usize, point: PointId) -> Option<Point> {
        if point.0 >= FIRST_OPENED && !self.opened.is_empty() {
            return *self.opened.get((point.0 - FIRST_OPENED) as usize)?;
        }
        let (first, points) = self.sections.get(input)?;
        *points.get(point.0.checked_sub(*first)? as usize)?
    }

    /// All descriptions in the order they came.
    pub(crate) fn described(&self) -> &[Described] {
        &self.described
    }

    fn describe(
        &mut self,
        input: usize,
        interface: &Interface<'_>,
        block: Vec<u8>,
        name: &str,
        has_ethernet: bool,
    ) -> Option<Point> {
        self.bytes += 2 * block.len() + ENTRY_BYTES;
        if self.bytes > MAX_BYTES {
            return None;
        }
        let link = interface.link;
        let number = self.number(link, block.clone());
        let as_ethernet = (has_ethernet && link != LinkType::ETHERNET).then(|| {
            let mut block = Vec::new();
            copy_interface(&mut block, interface, LinkType::ETHERNET, name);
            self.number(LinkType::ETHERNET, block)
        });
        let fcs_bytes = interface.fcs_bytes.unwrap_or_default();
        let point = Point { number, as_ethernet, link, fcs_bytes };
        let called = interface.name().map(|name| name.to_str().into_owned());
        self.names.insert((number, link), called.unwrap_or_else(|| name.to_owned()));
        self.numbers.insert((input, block), point);
        Some(point)
    }

    fn number(&mut self, link: LinkType, block: Vec<u8>) -> u32 {
        let count = self.counts.entry(link).or_default();
        let number = *count;
        *count += 1;
        self.described.push(Described { link, block });
        number
    }
}

/// Whether times of this resolution are lost in microseconds.
pub(crate) fn is_fine(resolution: Resolution) -> bool {
    resolution.0 & 0x80 != 0 || resolution.0 > Resolution::MICROSECONDS.0
}

/// What the descriptions of all inputs may take together. Packets of interfaces beyond that have
/// no number, and so no place in a file.
const MAX_BYTES: usize = 8 << 20;
/// What an entry takes beside its block.
const ENTRY_BYTES: usize = 200;
/// No file has so many interfaces.
const FIRST_OPENED: u32 = 1 << 19;
/// The most interfaces of a section that the reader shows.
const MAX_OF_SECTION: usize = 65_536;
