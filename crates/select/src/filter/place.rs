//! Where in a packet the words of an expression look: the parts of one level.
//!
//! Tests read bytes here as libpcap does, whatever the headers' own lengths say: an expression
//! means the same to both on broken packets too.

use wire::{Layer, Layers, Level, LinkType, Mac, Packet};

/// One level of a packet.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) packet: &'a Packet<'a>,
    pub(super) layers: &'a Layers,
    pub(super) level: Level<'a>,
    /// Its number, from the outermost, which has 0.
    pub(super) number: usize,
    /// Whether the expression said where to look. If not, words for tunnels and names look at
    /// every level.
    pub(super) is_scoped: bool,
    place: Place,
}

/// Where the parts of a level are.
#[derive(Clone, Copy)]
struct Place {
    /// First byte of the frame.
    start: usize,
    /// What the frame carries.
    carried: Carried,
    /// First byte of what it carries.
    payload: usize,
    link: Link,
}

/// The kind of frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    Ethernet,
    Wlan,
    Other,
}

/// What a frame says it carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Carried {
    /// This EtherType, or length of an LLC frame.
    Type(u16),
    /// Something without an EtherType.
    Other,
    /// The bytes end before it.
    Cut,
}

impl<'a> View<'a> {
    /// The innermost level.
    #[inline]
    pub(super) fn innermost(packet: &'a Packet<'a>, layers: &'a Layers) -> Self {
        let mut levels = layers.levels(packet.data);
        let number = levels.len().saturating_sub(1);
        let level = match levels.next_back() {
            Some(level) => level,
            None => layers.innermost(packet.data),
        };
        Self::new(packet, layers, level, number, false)
    }

    /// Every level, outermost first, each as if the expression had said to look there.
    pub(super) fn levels(&self) -> impl Iterator<Item = View<'a>> + use<'a> {
        let (packet, layers) = (self.packet, self.layers);
        let levels = layers.levels(packet.data).enumerate();
        levels.map(move |(number, level)| Self::of_level(packet, layers, level, number))
    }

    /// One level, as if the expression had said to look there.
    pub(super) fn of_level(
        packet: &'a Packet<'a>,
        layers: &'a Layers,
        level: Level<'a>,
        number: usize,
    ) -> Self {
        Self::new(packet, layers, level, number, true)
    }

    #[inline]
    fn new(
        packet: &'a Packet<'a>,
        layers: &'a Layers,
        level: Level<'a>,
        number: usize,
        is_scoped: bool,
    ) -> Self {
        let place = Place::of(packet, &level, number);
        Self { packet, layers, level, number, is_scoped, place }
    }

    /// What the frame carries, behind its tags.
    #[inline]
    pub(super) const fn carried(&self) -> Carried {
        self.place.carried
    }

    /// First byte of what the frame carries.
    #[inline]
    pub(super) const fn payload(&self) -> usize {
        self.place.payload
    }

    /// First byte of the frame.
    #[inline]
    pub(super) const fn start(&self) -> usize {
        self.place.start
    }

    /// Whether a header of the frame, or a tag in it, says that `number` follows.
    pub(super) fn names(&self, number: u16) -> bool {
        let headers = self.level.headers().iter();
        self.place.link == Link::Ethernet
            && headers
                .filter(|header| header.offset as usize >= self.place.start + ETHERNET_LEN)
                .take_while(|header| !is_payload(header.layer))
                .any(|header| self.u16_at(header.offset as usize - 2) == Some(number))
    }

    /// The first `len` octets of a MAC, or `None` if the bytes end before; `Some(None)` if the
    /// frame has no MACs.
    #[inline]
    pub(super) fn mac(&self, is_source: bool, len: usize) -> Option<Option<Mac>> {
        if self.place.link != Link::Ethernet {
            let macs = self.level.macs();
            return Some(macs.map(|m| if is_source { m.source } else { m.destination }));
        }
        let at = self.place.start + if is_source { MAC_LEN } else { 0 };
        let bytes = self.packet.data.get(at..)?;
        if let Some(mac) = bytes.first_chunk() {
            return Some(Some(Mac(*mac)));
        }
        let (first, _) = bytes.split_first().filter(|_| len == 1)?;
        Some(Some(Mac([*first, 0, 0, 0, 0, 0])))
    }

    /// How long the frame is that begins with this level.
    #[inline]
    pub(super) fn wire_len(&self) -> u32 {
        let start = self.level.headers().first().map_or(0, |header| header.offset);
        self.packet.wire_len.saturating_sub(start)
    }

    /// `width` bytes at `at`, high byte first; `None` if they are not all there.
    #[inline]
    pub(super) fn bytes(&self, at: usize, width: super::arithmetic::Width) -> Option<u32> {
        use super::arithmetic::Width;

        let bytes = self.packet.data.get(at..)?;
        match width {
            Width::One => bytes.first().copied().map(u32::from),
            Width::Two => bytes.first_chunk().copied().map(u16::from_be_bytes).map(u32::from),
            Width::Four => bytes.first_chunk().copied().map(u32::from_be_bytes),
        }
    }

    fn u16_at(&self, at: usize) -> Option<u16> {
        self.packet.data.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
    }
}

impl Place {
    #[inline]
    fn of(packet: &Packet<'_>, level: &Level<'_>, number: usize) -> Self {
        let headers = level.headers();
        let Some(first) = headers.first() else {
            // Of a tunnel's contents nothing could be read: nothing is true of it.
            let end = packet.data.len();
            return if number == 0 && packet.link == LinkType::ETHERNET {
                Self::ethernet(packet.data, 0)
            } else {
                Self { start: end, carried: Carried::Other, payload: end, link: Link::Other }
            };
        };
        let mut place = Self {
            start: first.offset as usize,
            carried: Carried::Other,
            payload: first.offset as usize,
            link: Link::Other,
        };
        for header in headers {
            let at = header.offset as usize;
            match header.layer {
                Layer::Ethernet => place = Self::ethernet(packet.data, at),
                Layer::Vlan => place.follow(packet.data, at + 2),
                Layer::Sll => place.follow(packet.data, at + 14),
                Layer::ChdlcCisco => place.follow(packet.data, at + 2),
                Layer::Wlan => place.link = Link::Wlan,
                // An Ethernet frame with a length carries LLC, whatever is in it.
                Layer::Llc if place.link == Link::Ethernet => break,
                payload if is_payload(payload) => {
                    // What stands behind labels and tags of other kinds is known by itself.
                    if place.payload != at || place.carried == Carried::Other {
                        place.carried = Carried::of(packet.data, payload, at);
                    }
                    place.payload = at;
                    break;
                }
                Layer::Ipv4 | Layer::Ipv6 | Layer::Arp => break,
                _ => {}
            }
        }
        place
    }

    #[inline]
    fn ethernet(data: &[u8], start: usize) -> Self {
        let mut place = Self { start, carried: Carried::Cut, payload: start, link: Link::Ethernet };
        place.follow(data, start + ETHERNET_LEN - 2);
        place
    }

    /// Goes behind the EtherType at `at`.
    #[inline]
    fn follow(&mut self, data: &[u8], at: usize) {
        let found = data.get(at..).and_then(<[u8]>::first_chunk).copied();
        self.carried = found.map_or(Carried::Cut, |found| Carried::Type(u16::from_be_bytes(found)));
        self.payload = at + 2;
    }
}

impl Carried {
    /// The EtherType that a header without one before it would have.
    fn of(data: &[u8], layer: Layer, at: usize) -> Self {
        match layer {
            Layer::Ipv4 => Self::Type(0x0800),
            Layer::Ipv6 => Self::Type(0x86dd),
            // RFC 903: operations 3 and 4 are RARP's.
            Layer::Arp if matches!(data.get(at + 6..at + 8), Some([0, 3..=4])) => {
                Self::Type(0x8035)
            }
            Layer::Arp => Self::Type(0x0806),
            _ => Self::Other,
        }
    }
}

/// Whether a header is none of a frame any more.
#[inline]
const fn is_payload(layer: Layer) -> bool {
    matches!(layer, Layer::Ipv4 | Layer::Ipv6 | Layer::Arp)
}

const ETHERNET_LEN: usize = 14;
const MAC_LEN: usize = 6;
