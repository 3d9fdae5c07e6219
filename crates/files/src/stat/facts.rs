//! What is counted of a packet, by its headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pipeline::{Network, OverlayKind};
use wire::{Header, Layer, Layers, Packet};

use super::counts::RowKey;

/// What is counted of one packet.
pub(super) struct Facts {
    pub(super) network: Network,
    pub(super) tunnel: Option<TunnelKey>,
    /// Whether the innermost frame is IP.
    pub(super) is_ip: bool,
    /// Whether one of the IP packets in it is a piece of another.
    pub(super) is_fragment: bool,
}

impl Facts {
    #[inline]
    pub(super) fn of(packet: &Packet<'_>, layers: &Layers) -> Self {
        let data = packet.data;
        let (network, _) = Network::of(data, layers);
        let mut tunnel = None;
        let mut ip: Option<&Header> = None;
        let mut is_ip = false;
        let mut is_fragment = false;
        let mut headers = layers.headers().iter();
        while let Some(header) = headers.next() {
            match header.layer {
                Layer::Ipv4 | Layer::Ipv6 => {
                    // IP within IP with nothing between is a tunnel as well.
                    if tunnel.is_none()
                        && let Some(outer) = ip
                    {
                        tunnel = TunnelKey::new(data, header.layer, outer);
                    }
                    is_fragment |= header.layer == Layer::Ipv4 && is_piece(data, header);
                    is_ip = true;
                    ip = Some(header);
                }
                Layer::Ipv6Fragment => is_fragment |= is_piece_of_v6(data, header),
                layer if layer.is_tunnel() => {
                    is_ip = false;
                    if tunnel.is_none() {
                        // ERSPAN says more than the GRE it comes in.
                        let next = headers.as_slice().first().map(|next| next.layer);
                        let kind = match next {
                            Some(next @ (Layer::Erspan2 | Layer::Erspan3)) => next,
                            _ => layer,
                        };
                        tunnel = ip.and_then(|ip| TunnelKey::new(data, kind, ip));
                    }
                }
                Layer::Ethernet => is_ip = false,
                _ => {}
            }
        }
        Self { network, tunnel, is_ip, is_fragment }
    }
}

/// Whether more-fragments or an offset is set (RFC 791, section 3.1).
#[inline]
fn is_piece(data: &[u8], header: &Header) -> bool {
    let field = data.get(header.offset as usize + 6..).and_then(|bytes| bytes.first_chunk());
    field.is_some_and(|field| u16::from_be_bytes(*field) & 0x3fff != 0)
}

/// The same of RFC 8200, section 4.5; one piece that is all is none (RFC 6946).
fn is_piece_of_v6(data: &[u8], header: &Header) -> bool {
    let field = data.get(header.offset as usize + 2..).and_then(|bytes| bytes.first_chunk());
    field.is_some_and(|field| u16::from_be_bytes(*field) & 0xfff9 != 0)
}

/// A tunnel: its kind and its two ends, the lower address first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelKey {
    /// The header that makes it; IP where IP stands in IP.
    pub kind: Layer,
    /// Its ends, whichever of them sends.
    pub ends: [IpAddr; 2],
}

impl TunnelKey {
    #[inline]
    fn new(data: &[u8], kind: Layer, ip: &Header) -> Option<Self> {
        let bytes = data.get(ip.offset as usize..)?;
        let ends: [IpAddr; 2] = if ip.layer == Layer::Ipv4 {
            let [a, b, c, d, e, f, g, h] = *bytes.get(12..)?.first_chunk::<8>()?;
            let ends = [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])];
            sorted(ends).map(|end| Ipv4Addr::from(end).into())
        } else {
            let (one, rest) = bytes.get(8..)?.split_first_chunk::<16>()?;
            let ends = [u128::from_be_bytes(*one), u128::from_be_bytes(*rest.first_chunk()?)];
            sorted(ends).map(|end| Ipv6Addr::from(end).into())
        };
        Some(Self { kind, ends })
    }
}

/// The lower one first.
#[inline]
fn sorted<T: Ord + Copy>([one, other]: [T; 2]) -> [T; 2] {
    if other < one { [other, one] } else { [one, other] }
}

impl RowKey for TunnelKey {
    #[inline]
    fn hash(&self) -> u64 {
        self.ends.iter().fold(self.kind as u64, |hash, end| match end {
            IpAddr::V4(address) => mix(hash, u64::from(address.to_bits())),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
                let (high, low) = ((bits >> 64) as u64, bits as u64);
                mix(mix(hash, high), low)
            }
        })
    }
}

impl RowKey for Network {
    #[inline]
    fn hash(&self) -> u64 {
        let overlay = self
            .overlay
            .map_or(0, |overlay| u64::from(overlay.number) << 8 | (overlay.kind as u64 + 1));
        mix(overlay, u64::from(self.vlans))
    }
}

/// The networks of NVGRE have a byte of the flow in their key; nothing in a packet says whether a
/// key is one of these.
pub(super) const fn is_gre(network: &Network) -> bool {
    matches!(network.overlay, Some(overlay) if matches!(overlay.kind, OverlayKind::Gre))
}

const fn mix(hash: u64, value: u64) -> u64 {
    let product = (hash ^ 0x9e37_79b9_7f4a_7c15) as u128 * (value ^ 0xd6e8_feb8_6659_fd93) as u128;
    #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
    let (high, low) = ((product >> 64) as u64, product as u64);
    high ^ low
}
