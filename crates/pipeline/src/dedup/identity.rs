//! What of a packet stays the same wherever it is seen, as a few numbers.
//!
//! Of IP packets: addresses, protocol, lengths, identification and fragment fields of the
//! innermost IP header, and all bytes behind it but the transport checksum. Neither MACs, tags and
//! tunnels, nor TTL, header checksum and traffic class: they change on the way. The transport
//! checksum does not change, but where it is left to a network card it is not there yet.
//! Of other frames: all of the innermost one but its tags and what pads it.

use wire::{Checksum, Header, Layer, Layers, Packet};
use xxhash_rust::xxh3::xxh3_64;

use crate::network::Around;

/// What is compared of a packet.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Identity {
    /// A hash of the header and the first [`DEPTHS`] bytes behind it; 0 beyond the captured ones.
    prefixes: [u64; DEPTHS.len()],
    /// A hash of the header and all captured bytes behind it.
    whole: u64,
    /// Bytes behind the header: those captured, and those the packet had.
    captured: u32,
    len: u32,
    /// The transport checksum, 0 where there is none or it is not filled in.
    checksum: u16,
}

/// Where and how a packet was carried, which differs between its copies.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Carriage {
    pub(super) around: Around,
    pub(super) ttl: u8,
    /// A hash of both MACs of the innermost frame, 0 if it has none.
    pub(super) macs: u32,
}

/// How much of a packet the index looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Depth(usize);

impl Depth {
    /// All of it: no copy seen so far was cut.
    pub(super) const WHOLE: Self = Self(DEPTHS.len());
}

impl Identity {
    /// What is compared of `packet`, whose headers are `layers`; `None` if it shows nothing that
    /// could be told from other packets.
    #[inline]
    pub(super) fn of(packet: &Packet<'_>, layers: &Layers) -> Option<(Self, Carriage)> {
        let data = packet.data;
        let innermost = layers.innermost(data).headers();
        let own = if innermost.is_empty() {
            // A tunnel of which nothing could be read is a payload of what carries it.
            layers.levels(data).rev().map(|level| level.headers()).find(|own| !own.is_empty())?
        } else {
            innermost
        };
        let part = Part::of_ip(packet, own).or_else(|| Part::of_frame(packet, layers, own))?;
        let around = Around::of(data, layers, own, part.start);
        let macs = own.iter().find(|header| header.layer == Layer::Ethernet);
        let macs = macs.and_then(|header| data.get(header.offset as usize..)?.first_chunk::<12>());
        let carriage =
            Carriage { around, ttl: part.ttl, macs: macs.map_or(0, |macs| hash_macs(*macs)) };
        let mut identity = part.identity(data);
        if packet.checksum == Checksum::NotReady {
            identity.checksum = 0;
        }
        Some((identity, carriage))
    }

    /// Whether bytes are missing at the end.
    pub(super) const fn is_cut(&self) -> bool {
        self.captured < self.len
    }

    /// A hash of all that was captured.
    pub(super) const fn whole(&self) -> u64 {
        self.whole
    }

    /// What the index finds it by; `None` if it is cut before `depth`.
    #[inline]
    pub(super) fn key(&self, depth: Depth) -> Option<u64> {
        match DEPTHS.get(depth.0) {
            Some(&depth_bytes) if self.len > depth_bytes => (self.captured >= depth_bytes)
                .then(|| self.prefixes.get(depth.0).copied().unwrap_or_default()),
            _ => (!self.is_cut()).then_some(self.whole),
        }
    }

    /// The depth at which the index can find a packet cut like this one; `None` if it shows less
    /// than any.
    pub(super) fn deepest(&self) -> Option<Depth> {
        let reached = DEPTHS.iter().filter(|depth| **depth <= self.captured).count();
        Some(Depth(reached.checked_sub(1)?))
    }

    /// Whether both are the same packet as far as both show it.
    #[inline]
    pub(super) fn matches(&self, other: &Self) -> bool {
        if !self.is_cut() && !other.is_cut() || self.captured == other.captured {
            return self.whole == other.whole && (!self.is_cut() || self.agrees_by_checksum(other));
        }
        let shorter = if self.captured < other.captured { self } else { other };
        let Some(Depth(depth)) = shorter.deepest() else { return false };
        self.prefixes.get(depth) == other.prefixes.get(depth) && self.agrees_by_checksum(other)
    }

    /// The checksum stands for the bytes that are cut off, where both have it.
    fn agrees_by_checksum(&self, other: &Self) -> bool {
        self.checksum == 0 || other.checksum == 0 || self.checksum == other.checksum
    }
}

/// The part of a packet that is compared.
struct Part {
    /// Made of the fields of the header that do not change.
    seed: u64,
    /// The bytes behind the header: from where, to where they are captured, how many there were.
    start: usize,
    end: usize,
    len: usize,
    ttl: u8,
    /// Where in the packet the transport checksum is, and how many bytes it has.
    checksum: Option<(usize, usize)>,
    /// What stands in the place of the checksum before a network card has filled it in.
    unfilled: u16,
}

impl Part {
    #[inline]
    fn of_ip(packet: &Packet<'_>, own: &[Header]) -> Option<Self> {
        let data = packet.data;
        let index = own.iter().position(|h| matches!(h.layer, Layer::Ipv4 | Layer::Ipv6))?;
        let header = own.get(index)?;
        let offset = header.offset as usize;
        let bytes = data.get(offset..)?;
        let (seed, ttl, header_len, after, pseudo) = if header.layer == Layer::Ipv4 {
            let header = bytes.first_chunk::<20>()?;
            let [_, _, l0, l1, i0, i1, f0, f1, ttl, protocol, _, _, addresses @ ..] = *header;
            let total = usize::from(u16::from_be_bytes([l0, l1]));
            let fields = u64::from_be_bytes([4, protocol, l0, l1, i0, i1, f0, f1]);
            let after = if total == 0 { None } else { Some(total.checked_sub(20)?) };
            let ip_header_len = usize::from(header[0] & 0x0f) * 4;
            let pseudo = Sum::default()
                .add(&addresses)
                .plus(u64::from(protocol) + total.saturating_sub(ip_header_len) as u64);
            (fold(fields, u64::from_be_bytes(addresses)), ttl, 20, after, pseudo)
        } else {
            let header = bytes.first_chunk::<40>()?;
            let [_, c1, c2, c3, l0, l1, next, ttl, addresses @ ..] = *header;
            let payload = usize::from(u16::from_be_bytes([l0, l1]));
            let fields = u64::from_be_bytes([6, next, l0, l1, c1 & 0x0f, c2, c3, 0]);
            let after = (payload != 0).then_some(payload);
            let pseudo = Sum::default().add(&addresses).plus(u64::from(next) + payload as u64);
            (fold(fields, xxh3_64(&addresses)), ttl, 40, after, pseudo)
        };
        let start = offset + header_len;
        let there = data.len().checked_sub(start)?;
        // Larger packets than the field can say have 0 there; then the capture knows better.
        let len = after.unwrap_or_else(|| there + missing(packet));
        let transport = own.iter().skip(index + 1).find(|header| !header.layer.is_ip_extension());
        let checksum = transport.and_then(|header| {
            let (at, len) = match header.layer {
                Layer::Tcp => (16, 2),
                Layer::Udp => (6, 2),
                Layer::Sctp => (8, 4),
                _ => return None,
            };
            Some((header.offset as usize + at, len))
        });
        // A card that was to fill it in is told so by the sum of the pseudo header.
        let unfilled = pseudo.folded();
        Some(Self { seed, start, end: start + there.min(len), len, ttl, checksum, unfilled })
    }

    /// All of a frame but its tags: MACs, type, payload.
    fn of_frame(packet: &Packet<'_>, layers: &Layers, own: &[Header]) -> Option<Self> {
        let data = packet.data;
        let first = own.first()?;
        let is_tag =
            |layer| matches!(layer, Layer::Vlan | Layer::VnTag | Layer::ETag | Layer::Ttag);
        let (seed, start) = match own.split_first() {
            Some((ethernet, rest)) if ethernet.layer == Layer::Ethernet => {
                let offset = ethernet.offset as usize;
                let macs = data.get(offset..)?.first_chunk::<12>()?;
                let payload = rest.iter().find(|header| !is_tag(header.layer));
                let payload = payload.map_or(layers.payload_offset(), |h| h.offset as usize);
                // The two bytes before say what the payload is.
                (xxh3_64(macs), payload.checked_sub(2)?.max(offset + 12))
            }
            _ => (0, first.offset as usize),
        };
        let is_arp = own.last().is_some_and(|last| last.layer == Layer::Arp);
        // What follows an ARP packet pads the frame.
        let is_whole = is_arp && layers.stop().is_none();
        let end = if is_whole { layers.payload_offset() } else { layers.payload_end() };
        let end = end.clamp(start, data.len().max(start));
        let len = end - start + if is_whole { 0 } else { missing(packet) };
        let checksum = None;
        Some(Self { seed, start, end, len, ttl: 0, checksum, unfilled: 0 })
            .filter(|part| part.end <= data.len())
    }

    #[inline]
    fn identity(&self, data: &[u8]) -> Identity {
        let bytes = data.get(self.start..self.end).unwrap_or_default();
        let mut identity = Identity {
            captured: to_u32(bytes.len()),
            len: to_u32(self.len),
            ..Identity::default()
        };
        // The first bytes are copied, so that the checksum can be taken out of them.
        let mut head = [0; HEAD];
        let head_len = bytes.len().min(HEAD);
        if let Some(first) = bytes.first_chunk() {
            head = *first;
        } else if let Some(to) = head.get_mut(..head_len) {
            to.copy_from_slice(bytes);
        }
        if let Some((at, len)) = self.checksum
            && let Some(field) =
                at.checked_sub(self.start).and_then(|at| head.get_mut(at..at + len))
        {
            if let [high, low] = *field {
                let value = u16::from_be_bytes([high, low]);
                identity.checksum = if value == self.unfilled { 0 } else { value };
            }
            field.fill(0);
        }
        let mut hash = self.seed;
        let mut done = 0;
        let head = head.get(..head_len).unwrap_or_default();
        for (depth, prefix) in DEPTHS.iter().zip(&mut identity.prefixes) {
            let depth = *depth as usize;
            hash = if depth <= HEAD {
                let Some(segment) = head.get(done..depth) else { break };
                fold_words(hash, segment)
            } else {
                let Some(segment) = bytes.get(done..depth) else { break };
                fold(hash, xxh3_64(segment))
            };
            *prefix = hash;
            done = depth;
        }
        let rest = if done < HEAD { head } else { bytes };
        hash = fold(hash, xxh3_64(rest.get(done..).unwrap_or_default()));
        identity.whole = fold(hash, u64::from(identity.captured));
        identity
    }
}

/// The sum of a checksum (RFC 1071), before it is folded.
#[derive(Debug, Clone, Copy, Default)]
struct Sum(u64);

impl Sum {
    #[inline]
    fn add(self, bytes: &[u8]) -> Self {
        let (words, _) = bytes.as_chunks::<4>();
        // Words of 32 bits fold to the same sum (RFC 1071, section 2).
        Self(words.iter().fold(self.0, |sum, word| sum + u64::from(u32::from_be_bytes(*word))))
    }

    const fn plus(self, value: u64) -> Self {
        Self(self.0 + value)
    }

    #[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits")]
    const fn folded(self) -> u16 {
        let Self(sum) = self;
        let sum = (sum >> 32) + (sum & 0xffff_ffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        ((sum >> 16) + (sum & 0xffff)) as u16
    }
}

/// Both numbers in one, each bit of it made of all of theirs.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
pub(super) const fn fold(one: u64, other: u64) -> u64 {
    let product = (one ^ 0x9e37_79b9_7f4a_7c15) as u128 * (other ^ 0xd6e8_feb8_6659_fd93) as u128;
    // Where one factor is zero the product says nothing of the other.
    (product as u64) ^ ((product >> 64) as u64) ^ one.rotate_left(23) ^ other
}

/// A hash of some bytes, a multiple of 8, and `hash`: for so few that calling a hash costs more.
#[inline]
fn fold_words(hash: u64, bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<16>();
    let hash = pairs.iter().fold(hash, |hash, pair| {
        let [a @ .., _, _, _, _, _, _, _, _] = *pair;
        let [_, _, _, _, _, _, _, _, b @ ..] = *pair;
        fold(hash ^ u64::from_le_bytes(a), u64::from_le_bytes(b))
    });
    let (words, _) = rest.as_chunks::<8>();
    words.iter().fold(hash, |hash, word| fold(hash, u64::from_le_bytes(*word)))
}

fn hash_macs(macs: [u8; 12]) -> u32 {
    let [a @ .., _, _, _, _] = macs;
    let [_, _, _, _, b @ ..] = macs;
    let hash = fold(u64::from_be_bytes(a), u64::from_be_bytes(b));
    ((hash >> 32) as u32) | 1
}

/// Bytes of the packet that were not captured.
fn missing(packet: &Packet<'_>) -> usize {
    (packet.wire_len as usize).saturating_sub(packet.data.len())
}

fn to_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// How many bytes behind the header the prefixes have. Ports and what TCP counts with are in the
/// first.
const DEPTHS: [u32; 6] = [8, 16, 32, 64, 96, 256];

/// The bytes in which a transport checksum is looked for.
const HEAD: usize = 96;
