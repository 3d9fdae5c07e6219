//! Where things are in the innermost frame of a packet: what masking and segmenting go by.

use wire::{Layer, Layers, StopReason};

/// Offsets of the innermost frame, in bytes from the start of the packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// The Ethernet header.
    pub(crate) ethernet: Option<usize>,
    pub(crate) arp: Option<usize>,
    /// The IP header, and whether it is IPv4.
    pub(crate) ip: Option<(usize, bool)>,
    pub(crate) transport: Option<(Layer, usize)>,
    /// The first byte behind the last header.
    pub(crate) payload: usize,
    /// The first byte behind the payload: padding or a trailer.
    pub(crate) payload_end: usize,
    /// From here on headers were cut or broken: nobody knows what the bytes are.
    pub(crate) unknown: Option<usize>,
    /// Whether there is no tunnel around it.
    pub(crate) is_only_level: bool,
    /// Headers of UDP around it.
    pub(crate) outer_udp: [Option<usize>; MOST_OUTER],
    /// Whether there are options between the IP and the transport header, or fragments.
    pub(crate) is_plain: bool,
}

impl Shape {
    /// `layers` must be those of `data`.
    pub(crate) fn of(data: &[u8], layers: &Layers) -> Self {
        let own = layers.innermost(data);
        let start = own.headers().first().map_or(usize::MAX, |header| header.offset as usize);
        let mut shape = Self {
            ethernet: None,
            arp: None,
            ip: None,
            transport: None,
            payload: layers.payload_offset(),
            payload_end: layers.payload_end(),
            unknown: layers
                .stop()
                .filter(|stop| {
                    use StopReason::{BeyondLength, Malformed, Truncated};
                    matches!(stop.reason, Truncated | BeyondLength | Malformed)
                })
                .map(|stop| stop.offset),
            is_only_level: layers.levels(data).len() == 1,
            outer_udp: [None; MOST_OUTER],
            is_plain: !layers.has_fragment(),
        };
        let mut outer = shape.outer_udp.iter_mut();
        for header in layers.headers() {
            let at = header.offset as usize;
            if at < start {
                if header.layer == Layer::Udp
                    && let Some(slot) = outer.next()
                {
                    *slot = Some(at);
                }
                continue;
            }
            match header.layer {
                Layer::Ethernet => shape.ethernet = Some(at),
                Layer::Arp => shape.arp = Some(at),
                Layer::Ipv4 | Layer::Ipv6 => {
                    shape.ip = Some((at, header.layer == Layer::Ipv4));
                }
                Layer::Tcp
                | Layer::Udp
                | Layer::UdpLite
                | Layer::Sctp
                | Layer::Dccp
                | Layer::Icmp
                | Layer::Icmpv6 => shape.transport = Some((header.layer, at)),
                layer if layer.is_ip_extension() => shape.is_plain = false,
                _ => {}
            }
        }
        shape
    }
}

/// How many UDP headers around a frame are looked at.
const MOST_OUTER: usize = 4;
