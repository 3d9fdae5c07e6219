//! Fields that a tool does not get to see: zeroed, with checksums that stay as right or wrong as
//! they were.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use wire::Layer;

use crate::shape::Shape;
use crate::sum::{Sum, without};

/// Fields of the innermost frame that are zeroed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mask {
    names: u8,
}

/// A field that can be masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum MaskField {
    /// Everything behind the transport header, or behind the last header there is.
    Payload,
    /// Both MACs.
    Macs,
    /// The source MAC.
    SourceMac,
    /// The destination MAC.
    DestinationMac,
    /// Both IP addresses.
    Ips,
    /// The source IP address.
    SourceIp,
    /// The destination IP address.
    DestinationIp,
    /// Both ports.
    Ports,
}

impl MaskField {
    /// All of them with the words that name them.
    pub const NAMES: [(&'static str, Self); 8] = [
        ("payload", Self::Payload),
        ("macs", Self::Macs),
        ("source-mac", Self::SourceMac),
        ("destination-mac", Self::DestinationMac),
        ("ips", Self::Ips),
        ("source-ip", Self::SourceIp),
        ("destination-ip", Self::DestinationIp),
        ("ports", Self::Ports),
    ];
}

impl Mask {
    /// This, and `field` as well.
    #[must_use]
    pub const fn and(self, field: MaskField) -> Self {
        Self { names: self.names | 1 << field as u8 }
    }

    /// Whether nothing is masked.
    pub const fn is_nothing(self) -> bool {
        self.names == 0
    }

    pub(crate) const fn has(self, field: MaskField) -> bool {
        self.names & 1 << field as u8 != 0
    }
}

impl Mask {
    /// Zeroes the fields of a packet's innermost frame, whose shape this is. What of its headers
    /// was cut or broken is zeroed to the end: a field may be in it.
    pub(crate) fn apply(self, data: &mut [u8], shape: &Shape) {
        let frame = shape.ethernet.unwrap_or_else(|| shape.ip.map_or(shape.payload, |(at, _)| at));
        let outer = outer_sum(data, frame, shape);
        // What becomes zero of what the transport's checksum covers: of its own, and of the
        // addresses, which only some cover.
        let (mut own, mut addresses) = (Sum::default(), Sum::default());
        for range in self.addresses(shape).into_iter().flatten() {
            let sum = zero(data, range, 0);
            addresses.add_sum(sum);
            if let Some((at, true)) = shape.ip {
                without(data, at + 10, sum);
            }
        }
        if let Some((layer, at)) = shape.transport {
            if self.has(MaskField::Ports) && has_ports(layer) {
                own.add_sum(zero(data, at..at + 4, 0));
            }
            if self.has(MaskField::Payload) {
                own.add_sum(zero(data, shape.payload..shape.payload_end, shape.payload - at));
            }
            mend(data, layer, at, own, addresses);
        } else if self.has(MaskField::Payload) {
            zero(data, shape.payload..shape.payload_end, 0);
        }
        if self.has(MaskField::Payload) {
            // Padding and trailers can hold anything.
            zero(data, shape.payload_end..data.len(), 0);
        }
        for range in self.plain(shape).into_iter().flatten() {
            zero(data, range, 0);
        }
        if let Some(unknown) = shape.unknown {
            zero(data, unknown..data.len(), 0);
        }
        if let Some(before) = outer {
            mend_outer(data, frame, shape, before);
        }
    }

    /// The IP addresses to be zeroed.
    fn addresses(self, shape: &Shape) -> [Option<Range<usize>>; 2] {
        let all = self.has(MaskField::Ips);
        let Some((at, is_v4)) = shape.ip else { return [None, None] };
        let (first, len) = if is_v4 { (at + 12, 4) } else { (at + 8, 16) };
        let source = all || self.has(MaskField::SourceIp);
        let destination = all || self.has(MaskField::DestinationIp);
        [source.then_some(first..first + len), destination.then_some(first + len..first + 2 * len)]
    }

    /// What no checksum covers: the MACs of the frame, and the addresses in ARP.
    fn plain(self, shape: &Shape) -> [Option<Range<usize>>; 6] {
        let macs = self.has(MaskField::Macs);
        let destination_mac = macs || self.has(MaskField::DestinationMac);
        let source_mac = macs || self.has(MaskField::SourceMac);
        let ips = self.has(MaskField::Ips);
        let source_ip = ips || self.has(MaskField::SourceIp);
        let destination_ip = ips || self.has(MaskField::DestinationIp);
        let of = |start: Option<usize>, is_asked: bool, from: usize, to: usize| {
            start.filter(|_| is_asked).map(|start| start + from..start + to)
        };
        [
            of(shape.ethernet, destination_mac, 0, 6),
            of(shape.ethernet, source_mac, 6, 12),
            // RFC 826, for Ethernet and IPv4: sender and target, hardware and protocol.
            of(shape.arp, source_mac, 8, 14),
            of(shape.arp, source_ip, 14, 18),
            of(shape.arp, destination_mac, 18, 24),
            of(shape.arp, destination_ip, 24, 28),
        ]
    }
}

/// Brings the transport's checksum in line with what is gone of what it covers.
fn mend(data: &mut [u8], layer: Layer, at: usize, own: Sum, addresses: Sum) {
    let mut gone = own;
    let field = match layer {
        // Of ICMPv4 the addresses are no part (RFC 792). SCTP has a CRC, which stays as it was.
        Layer::Icmp => at + 2,
        Layer::Sctp => return,
        _ => {
            gone.add_sum(addresses);
            match layer {
                Layer::Tcp => at + 16,
                Layer::Icmpv6 => at + 2,
                // UDP, UDP-Lite and DCCP.
                _ => at + 6,
            }
        }
    };
    mend_field(data, field, layer == Layer::Udp, gone);
}

/// Mends one checksum; of UDP zero says that there is none, and is never what one comes to
/// (RFC 768).
fn mend_field(data: &mut [u8], at: usize, is_udp: bool, gone: Sum) {
    let field = |data: &[u8]| data.get(at..).and_then(<[u8]>::first_chunk::<2>).copied();
    if is_udp && field(data) == Some([0, 0]) {
        return;
    }
    without(data, at, gone);
    if is_udp && let Some(sum @ [0, 0]) = data.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<2>)
    {
        *sum = [0xff, 0xff];
    }
}

/// The sum of the frame as it was, if a checksum around it may cover it.
fn outer_sum(data: &[u8], frame: usize, shape: &Shape) -> Option<Sum> {
    shape.outer_udp.iter().flatten().next()?;
    let mut sum = Sum::default();
    sum.add(data.get(frame..)?);
    Some(sum)
}

/// Zeroes bytes and returns their sum, `offset` being how far into the checksum's words they begin.
fn zero(data: &mut [u8], range: Range<usize>, offset: usize) -> Sum {
    let mut sum = Sum::default();
    let range = range.start.min(data.len())..range.end.min(data.len());
    if let Some(bytes) = data.get_mut(range) {
        sum.add_at(offset, bytes);
        bytes.fill(0);
    }
    sum
}

/// Brings the checksums of UDP around a frame in line with what was changed in it.
fn mend_outer(data: &mut [u8], frame: usize, shape: &Shape, before: Sum) {
    let mut after = Sum::default();
    after.add(data.get(frame..).unwrap_or_default());
    let mut gone = before;
    gone.subtract(after);
    let has_sum =
        |at: usize| data.get(at + 6..).and_then(<[u8]>::first_chunk).is_some_and(|s| *s != [0, 0]);
    // One that is right again leaves the sums of those around it as they were.
    let nearest = shape.outer_udp.iter().flatten().copied().rfind(|at| has_sum(*at));
    if let Some(at) = nearest {
        mend_field(data, at + 6, true, gone);
    }
}

const fn has_ports(layer: Layer) -> bool {
    matches!(layer, Layer::Tcp | Layer::Udp | Layer::UdpLite | Layer::Sctp | Layer::Dccp)
}

impl FromStr for Mask {
    type Err = UnknownField;

    /// Reads names with commas between them.
    fn from_str(text: &str) -> Result<Self, UnknownField> {
        text.split(',').map(str::trim).try_fold(Self::default(), |mask, word| {
            let found = MaskField::NAMES.iter().find(|(name, _)| *name == word);
            let (_, field) = found.ok_or_else(|| UnknownField(word.to_owned()))?;
            Ok(mask.and(*field))
        })
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = MaskField::NAMES.iter().filter(|(_, field)| self.has(*field));
        let names: Vec<&str> = names.map(|(name, _)| *name).collect();
        f.write_str(&names.join(","))
    }
}

/// A word that names no field that can be masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownField(pub String);

impl fmt::Display for UnknownField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = MaskField::NAMES.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        write!(f, "`{}` is no field that can be masked; there are {names}", self.0)
    }
}

impl std::error::Error for UnknownField {}
