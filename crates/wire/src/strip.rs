//! Taking headers off a frame: tunnels from the outside in, tags from between the MACs and what
//! they carry.
//!
//! Exactly the named headers go. Both lengths of the packet become smaller by what was removed, so
//! it stays known how long the packet was on the wire. What was inside a tunnel without a link
//! header of its own, as IP in GRE, keeps the addresses of the frame around it, with the EtherType
//! of what now follows; where there is no such frame it becomes a raw IP packet. What cannot be
//! taken off, because it is cut, in fragments or not understood, stays.

use std::fmt;
use std::str::FromStr;

use crate::header::ethertype;
use crate::{Checksum, Header, Layer, Layers, Level, LinkType, Packet, Tunnel};

/// Headers to take off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Strip {
    names: u32,
}

/// What can be taken off, each by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Strippable {
    /// Every tunnel, with everything around it.
    Outer,
    /// VXLAN, also with the generic protocol extension.
    Vxlan,
    /// GENEVE.
    Geneve,
    /// GRE and NVGRE.
    Gre,
    /// ERSPAN of all types.
    Erspan,
    /// GTP-U.
    Gtpu,
    /// IP directly in IP.
    IpIp,
    /// MPLS labels, and pseudowires in them.
    Mpls,
    /// Provider backbone bridging (IEEE 802.1ah).
    Pbb,
    /// FabricPath.
    FabricPath,
    /// 802.1Q and 802.1ad tags.
    Vlan,
    /// Cisco VN-Tags.
    VnTag,
    /// 802.1BR E-Tags.
    ETag,
    /// PPPoE with its PPP header.
    Pppoe,
    /// Cisco metadata with a security group tag.
    Metadata,
    /// Cisco's time stamp tag.
    Ttag,
}

impl Strippable {
    /// All of them with the words that name them.
    pub const NAMES: [(&'static str, Self); 16] = [
        ("outer", Self::Outer),
        ("vxlan", Self::Vxlan),
        ("geneve", Self::Geneve),
        ("gre", Self::Gre),
        ("erspan", Self::Erspan),
        ("gtpu", Self::Gtpu),
        ("ipip", Self::IpIp),
        ("mpls", Self::Mpls),
        ("pbb", Self::Pbb),
        ("fabricpath", Self::FabricPath),
        ("vlan", Self::Vlan),
        ("vntag", Self::VnTag),
        ("etag", Self::ETag),
        ("pppoe", Self::Pppoe),
        ("cmd", Self::Metadata),
        ("ttag", Self::Ttag),
    ];
}

impl Strip {
    /// Nothing is taken off.
    pub const NOTHING: Self = Self { names: 0 };
    /// Everything that can be: what is left is the frame as the VM sent it, without tags.
    pub const ALL: Self = Self { names: u32::MAX };

    /// This, and `name` as well.
    #[must_use]
    pub const fn and(self, name: Strippable) -> Self {
        Self { names: self.names | 1 << name as u8 }
    }

    /// Whether nothing is taken off.
    pub const fn is_nothing(self) -> bool {
        self.names == 0
    }

    const fn has(self, name: Strippable) -> bool {
        self.names & 1 << name as u8 != 0
    }

    /// Takes the headers off `packet`. `layers` must come from the same bytes. Headers that are
    /// put together anew are put together in `scratch`, with all that follows them.
    #[inline]
    pub fn apply<'a>(
        self,
        packet: Packet<'a>,
        layers: &Layers,
        scratch: &'a mut Vec<u8>,
    ) -> Stripped<'a> {
        let data = packet.data;
        let Some(plan) = self.plan(packet.link, data, layers, scratch) else {
            return Stripped { packet, removed: 0 };
        };
        let mut packet = packet;
        let rest = data.get(plan.rest..).unwrap_or_default();
        let kept = if plan.has_head { scratch.len() } else { 0 };
        let removed = plan.rest.saturating_sub(kept);
        if kept == 0 {
            packet.data = rest;
        } else {
            scratch.extend_from_slice(rest);
            packet.data = scratch;
        }
        let removed = u32::try_from(removed).unwrap_or(u32::MAX);
        packet.wire_len = packet.wire_len.saturating_sub(removed);
        packet.link = plan.link;
        if plan.is_peeled && packet.checksum == Checksum::Valid {
            // That was the outer one.
            packet.checksum = Checksum::Unknown;
        }
        Stripped { packet, removed }
    }

    /// How the frame is put together without the headers; `None` if it stays as it is. What its
    /// head becomes is put into `head`.
    #[inline]
    fn plan(
        self,
        link: LinkType,
        data: &[u8],
        layers: &Layers,
        head: &mut Vec<u8>,
    ) -> Option<Plan> {
        if self.names == 0 {
            return None;
        }
        let (level, carrier) = self.peel(data, layers);
        let first = *level.headers().first()?;
        let is_peeled = carrier.is_some();
        let start = first.offset as usize;
        let mut plan = Plan { has_head: false, rest: start, link, is_peeled };
        if first.layer == Layer::Ethernet {
            plan.link = if is_peeled { LinkType::ETHERNET } else { link };
            // Only the frame that the packet itself is can be known to be one.
            if is_peeled || start == 0 && link == LinkType::ETHERNET {
                let tags = level.headers().get(1..).unwrap_or_default();
                if tags.first().is_some_and(|tag| self.takes(tag.layer)) {
                    head.clear();
                    if let Some(rest) = self.untag(data, start, tags, layers, head) {
                        (plan.has_head, plan.rest) = (true, rest);
                        return Some(plan);
                    }
                }
            }
            return is_peeled.then_some(plan);
        }
        let carrier = carrier?;
        let followed = match first.layer {
            Layer::Ipv4 => ethertype::IPV4,
            Layer::Ipv6 => ethertype::IPV6,
            _ => return None,
        };
        match carrier {
            Carrier::Ethernet(offset) => {
                let macs = data.get(offset..offset + MACS_LEN)?;
                head.clear();
                head.extend_from_slice(macs);
                head.extend_from_slice(&followed.to_be_bytes());
                plan.has_head = true;
                plan.link = LinkType::ETHERNET;
            }
            Carrier::None => plan.link = LinkType::RAW,
        }
        Some(plan)
    }

    /// The level that is left when tunnels are taken off, and what there was around it, if any
    /// was.
    #[inline]
    fn peel<'a>(self, data: &'a [u8], layers: &'a Layers) -> (Level<'a>, Option<Carrier>) {
        let mut levels = layers.levels(data);
        let Some(mut level) = levels.next() else { return (layers.innermost(data), None) };
        let mut carrier = None;
        for inner in levels {
            let is_readable = inner.headers().first().is_some_and(|header| {
                matches!(header.layer, Layer::Ethernet | Layer::Ipv4 | Layer::Ipv6)
            });
            if !is_readable || !self.peels(&inner) {
                break;
            }
            // Only all pieces of a packet together make what is in it.
            if layers.has_fragment() && level.ip().is_some_and(|ip| ip.fragment.is_some()) {
                break;
            }
            carrier = match level.headers().first() {
                Some(Header { layer: Layer::Ethernet, offset, .. }) => {
                    Some(Carrier::Ethernet(*offset as usize))
                }
                _ => carrier.or(Some(Carrier::None)),
            };
            level = inner;
        }
        (level, carrier)
    }

    /// Whether the tunnel that carries this level goes.
    #[inline]
    fn peels(self, level: &Level<'_>) -> bool {
        if self.has(Strippable::Outer) {
            return level.is_carried();
        }
        let Some(tunnel) = level.tunnel() else { return false };
        self.has(match tunnel {
            Tunnel::Vxlan { .. } | Tunnel::VxlanGpe { .. } => Strippable::Vxlan,
            Tunnel::Geneve { .. } => Strippable::Geneve,
            Tunnel::Gre { .. } => Strippable::Gre,
            Tunnel::Erspan { .. } => Strippable::Erspan,
            Tunnel::Gtpu { .. } => Strippable::Gtpu,
            Tunnel::IpInIp => Strippable::IpIp,
            Tunnel::Mpls { .. } => Strippable::Mpls,
            Tunnel::Pbb { .. } => Strippable::Pbb,
            Tunnel::FabricPath { .. } => Strippable::FabricPath,
            _ => return false,
        })
    }

    /// Puts the frame that begins at `start`, as far as its tags go and without those that go, into
    /// `head`. Returns what follows them; `None` if that cannot be told.
    fn untag(
        self,
        data: &[u8],
        start: usize,
        tags: &[Header],
        layers: &Layers,
        head: &mut Vec<u8>,
    ) -> Option<usize> {
        let slice = |from: usize, to: usize| data.get(from..to);
        put(head, slice(start, start + MACS_LEN)?)?;
        // The type that says what follows; put down only when it is known to stay.
        let mut kind: [u8; 2] = *slice(start + MACS_LEN, start + MACS_LEN + 2)?.first_chunk()?;
        let mut at = start + MACS_LEN + 2;
        let mut headers = tags.iter().peekable();
        while let Some(header) = headers.next_if(|header| tag(header.layer).is_some()) {
            let from = header.offset as usize;
            let to = headers.peek().map_or(layers.payload_offset(), |next| next.offset as usize);
            // Something that is no header of its own stands between, as in multilink PPP.
            if from != at {
                return None;
            }
            match header.layer {
                // Labels and PPP end without a type: the header behind them is its own.
                Layer::Mpls | Layer::Pppoe | Layer::Ppp => {
                    if !self.takes(header.layer) {
                        break;
                    }
                    let following = headers.peek().map(|next| next.layer);
                    match following {
                        Some(Layer::Ipv4) => kind = ethertype::IPV4.to_be_bytes(),
                        Some(Layer::Ipv6) => kind = ethertype::IPV6.to_be_bytes(),
                        Some(Layer::Mpls) => kind = ethertype::MPLS.to_be_bytes(),
                        Some(Layer::Ppp) => {}
                        _ => return None,
                    }
                }
                layer => {
                    if !self.takes(layer) {
                        put(head, &kind)?;
                        put(head, slice(from, to - 2)?)?;
                    }
                    kind = *slice(from, to)?.last_chunk()?;
                }
            }
            at = to;
        }
        put(head, &kind)?;
        Some(at)
    }

    /// Whether a header between the MACs and what they carry goes.
    #[inline]
    fn takes(self, layer: Layer) -> bool {
        tag(layer).is_some_and(|name| self.has(name))
    }
}

/// A packet without the headers.
#[derive(Debug, Clone, Copy)]
pub struct Stripped<'a> {
    /// What is left.
    pub packet: Packet<'a>,
    /// How many bytes were taken off.
    pub removed: u32,
}

/// What there is around a packet that was in a tunnel.
#[derive(Debug, Clone, Copy)]
enum Carrier {
    /// An Ethernet header, which begins here.
    Ethernet(usize),
    /// Nothing with addresses.
    None,
}

/// How a frame is put together: a head of its own if it has one, then the old frame from `rest` on.
struct Plan {
    has_head: bool,
    rest: usize,
    link: LinkType,
    is_peeled: bool,
}

/// Adds to the head of a frame.
#[inline]
fn put(head: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    head.extend_from_slice(bytes);
    (head.len() <= HEAD_MAX).then_some(())
}

/// The name of a header that stands between the MACs and what they carry.
#[inline]
const fn tag(layer: Layer) -> Option<Strippable> {
    Some(match layer {
        Layer::Vlan => Strippable::Vlan,
        Layer::VnTag => Strippable::VnTag,
        Layer::ETag => Strippable::ETag,
        Layer::CiscoMetadata => Strippable::Metadata,
        Layer::Ttag => Strippable::Ttag,
        Layer::Mpls => Strippable::Mpls,
        Layer::Pppoe | Layer::Ppp => Strippable::Pppoe,
        _ => return None,
    })
}

impl FromStr for Strip {
    type Err = UnknownHeader;

    /// Reads names with commas between them; `all` is everything.
    fn from_str(text: &str) -> Result<Self, UnknownHeader> {
        let mut strip = Self::NOTHING;
        for word in text.split(',').map(str::trim) {
            if word == "all" {
                return Ok(Self::ALL);
            }
            let found = Strippable::NAMES.iter().find(|(name, _)| *name == word);
            let (_, name) = found.ok_or_else(|| UnknownHeader(word.to_owned()))?;
            strip = strip.and(*name);
        }
        Ok(strip)
    }
}

impl fmt::Display for Strip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("all");
        }
        let mut comma = "";
        for (word, name) in Strippable::NAMES {
            if self.has(name) {
                write!(f, "{comma}{word}")?;
                comma = ",";
            }
        }
        Ok(())
    }
}

/// A word that names no header that can be taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownHeader(pub String);

impl fmt::Display for UnknownHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no header that can be stripped; there are all", self.0)?;
        Strippable::NAMES.iter().try_for_each(|(name, _)| write!(f, ", {name}"))
    }
}

impl std::error::Error for UnknownHeader {}

const MACS_LEN: usize = 12;
/// MACs and more tags than any frame has; a frame with more stays as it is.
const HEAD_MAX: usize = 96;
