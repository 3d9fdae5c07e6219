//! The walk along the headers of one frame: which header follows which is known here only. (But for
//! the few shapes that `glance` knows as well, which is held to find no less than the walk.)
//!
//! This file is the walk itself and the steps of common headers: Ethernet, tags, IP, transport,
//! VXLAN, GENEVE. The other steps stand beside it, by what names the next header:
//!
//! | module | names the next header by |
//! |---|---|
//! | `link` | the link type of the capture |
//! | `ether_type` | an EtherType, a length and LLC, a SNAP header |
//! | `ip` | an IP protocol number |
//! | `udp` | a UDP port |
//! | `gre` | the protocol type of GRE |
//! | `label` | nothing, or a number of its own: MPLS, PPP, NSH |
//! | `l2tp`, `stt` | how one end point told the other to read it |
//!
//! `guess` is asked where nothing names the next header. Every frame takes the path in `usual` as
//! far as it goes.

mod ether_type;
mod gre;
mod guess;
mod ip;
mod l2tp;
mod label;
mod link;
mod stt;
mod udp;
mod usual;

use crate::header::{Ethernet, Geneve, Icmp, Ipv4, Ipv6, Ports, Tcp, Udp, Vlan, Vxlan};
use crate::header::{ethertype, protocol};
use crate::layers::{Header, Layers, List, offset_32};
use crate::{Cursor, Layer, LinkType, Stop, StopReason, TunnelPorts, UdpTunnel};

/// A walk along the headers of one frame.
///
/// Steps that nearly every frame takes are inlined into [`run`](Self::run), where the walk lives in
/// registers; for that it must not be lent to the rare steps, but is given and taken back.
pub(crate) struct Walk<'a, 'h> {
    /// Where headers are listed; the first `len` of them are of this frame.
    list: &'h mut List,
    pub(crate) cursor: Cursor<'a>,
    frame: &'a [u8],
    ports: &'a TunnelPorts,
    pub(crate) len: usize,
    tunnels: u8,
}

/// What the next header is.
#[derive(Clone, Copy)]
enum Next {
    /// None: the payload begins.
    Payload,
    Ethernet,
    Ipv4,
    Ipv6,
    Vlan,
    Tcp,
    Udp,
    Vxlan,
    Geneve,
    /// ICMP or ICMPv6.
    Icmp(Layer),
    /// Another link type than Ethernet.
    Link(LinkType),
    /// Length, or an EtherType none of the above.
    TypeOrLength(u16),
    EtherType(u16),
    Llc,
    /// IPv4 or IPv6, told apart by the first nibble.
    Ip,
    /// An IP protocol number none of the above.
    Protocol(u8),
    UdpTunnel(UdpTunnel),
    Arp,
    Mpls,
    Gre,
    Ppp,
    Nsh,
    Wlan,
    Stt,
}

impl Next {
    #[inline(always)]
    const fn of_type_or_length(value: u16) -> Self {
        match value {
            ethertype::IPV4 => Self::Ipv4,
            ethertype::IPV6 => Self::Ipv6,
            ethertype::VLAN => Self::Vlan,
            _ => Self::TypeOrLength(value),
        }
    }

    #[inline(always)]
    const fn of_ether_type(value: u16) -> Self {
        match value {
            ethertype::IPV4 => Self::Ipv4,
            ethertype::IPV6 => Self::Ipv6,
            ethertype::ETHERNET => Self::Ethernet,
            _ => Self::EtherType(value),
        }
    }

    #[inline(always)]
    const fn of_protocol(number: u8) -> Self {
        match number {
            protocol::TCP => Self::Tcp,
            protocol::UDP => Self::Udp,
            protocol::ICMP => Self::Icmp(Layer::Icmp),
            protocol::ICMPV6 => Self::Icmp(Layer::Icmpv6),
            protocol::GRE => Self::Gre,
            _ => Self::Protocol(number),
        }
    }
}

impl<'a, 'h> Walk<'a, 'h> {
    /// At the first byte of `data`.
    #[inline(always)]
    pub(crate) const fn new(list: &'h mut List, data: &'a [u8], ports: &'a TunnelPorts) -> Self {
        list.clear();
        Self { list, cursor: Cursor::new(data), frame: data, ports, len: 0, tunnels: 0 }
    }

    /// Walks to the payload, or to what cannot be understood.
    #[inline(always)]
    pub(crate) fn run(mut self, link: LinkType) -> (Self, Option<Stop>) {
        let mut next = match link {
            LinkType::ETHERNET => Next::Ethernet,
            other => Next::Link(other),
        };
        loop {
            // A frame in a frame, and not in a tunnel, is not usual.
            if matches!(next, Next::Ethernet) && self.is_fresh() {
                next = self.usual();
            }
            if let Next::Payload = next {
                return (self, None);
            }
            let (walk, result) = self.careful(next);
            self = walk;
            match result {
                Ok(()) => next = Next::Ethernet,
                Err(stop) => return (self, stop),
            }
        }
    }

    /// One header of any kind, and those behind it, up to Ethernet or the end; `Err` is the end.
    #[inline(never)]
    fn careful(mut self, next: Next) -> (Self, Result<(), Option<Stop>>) {
        let mut next = next;
        loop {
            next = match self.step(next) {
                Ok(Next::Ethernet) => return (self, Ok(())),
                Ok(Next::Payload) => return (self, Err(None)),
                Ok(next) => next,
                Err(stop) => return (self, Err(Some(stop))),
            }
        }
    }

    /// All headers without the usual path, for comparison.
    #[cfg(test)]
    fn careful_to_the_end(mut self, next: Next) -> (Self, Result<(), Option<Stop>>) {
        let mut result = Ok(());
        while result.is_ok() {
            (self, result) = self.careful(next);
        }
        (self, result)
    }

    /// One header of any kind.
    fn step(&mut self, next: Next) -> Result<Next, Stop> {
        match next {
            Next::Payload => Ok(Next::Payload),
            Next::Ethernet => self.ethernet(),
            Next::Vlan => self.vlan(),
            Next::Ipv4 => self.ipv4(),
            Next::Ipv6 => self.ipv6(),
            Next::Tcp => self.tcp(),
            Next::Udp => self.udp(),
            Next::Vxlan => self.vxlan(),
            Next::Geneve => self.geneve(),
            Next::Icmp(layer) => self.icmp(layer),
            Next::Link(link) => self.link(link),
            Next::TypeOrLength(value) => self.type_or_length(value),
            Next::EtherType(value) => self.ether_type(value),
            Next::Llc => self.llc(),
            Next::Ip => self.ip(),
            Next::Protocol(number) => self.protocol(number),
            Next::UdpTunnel(tunnel) => self.udp_tunnel(tunnel),
            Next::Arp => self.arp(),
            Next::Mpls => self.mpls(),
            Next::Gre => self.gre(),
            Next::Ppp => self.ppp(),
            Next::Nsh => self.nsh(),
            Next::Wlan => self.wlan(),
            Next::Stt => self.stt(),
        }
    }

    fn ethernet(&mut self) -> Result<Next, Stop> {
        // An Ethernet header within a level is the frame of somebody else.
        if !self.is_fresh() {
            self.enter_tunnel(Layer::Ethernet)?;
        }
        let offset = self.cursor.offset();
        let ethernet = Ethernet::decode(&mut self.cursor)?;
        self.push(Layer::Ethernet, offset)?;
        Ok(Next::of_type_or_length(ethernet.type_or_length))
    }

    fn vlan(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let tag = Vlan::decode(&mut self.cursor)?;
        self.push(Layer::Vlan, offset)?;
        Ok(Next::of_type_or_length(tag.type_or_length))
    }

    fn ipv4(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let ip = Ipv4::decode(&mut self.cursor)?;
        self.push(Layer::Ipv4, offset)?;
        self.list.has_fragment |= ip.has_more_fragments || ip.fragment_offset != 0;
        let end =
            if ip.has_more_fragments { StopReason::Fragment } else { StopReason::BeyondLength };
        // Packets larger than the field can say have 0 there (Linux BIG TCP); then the capture
        // knows better.
        if ip.total_len != 0 {
            match usize::from(ip.total_len).checked_sub(ip.header_len) {
                Some(len) => self.cursor.limit(len, end),
                None => return Err(self.cursor.stop(Layer::Ipv4, StopReason::Malformed)),
            }
        }
        if ip.fragment_offset != 0 {
            return Err(self.cursor.stop(Layer::Ipv4, StopReason::Fragment));
        }
        Ok(Next::of_protocol(ip.protocol))
    }

    fn ipv6(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let ip = Ipv6::decode(&mut self.cursor)?;
        self.push(Layer::Ipv6, offset)?;
        // 0 in jumbograms (RFC 2675, section 2), which Linux also makes without their option.
        if ip.payload_len != 0 {
            self.cursor.limit(usize::from(ip.payload_len), StopReason::BeyondLength);
        }
        Ok(Next::of_protocol(ip.next_header))
    }

    fn icmp(&mut self, layer: Layer) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        Icmp::decode(&mut self.cursor, layer)?;
        self.push(layer, offset)?;
        // What an error quotes is not a payload (DESIGN.md, facts on decoding).
        Ok(Next::Payload)
    }

    fn tcp(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let mut ahead = self.cursor;
        match self.transport(Layer::Tcp, |cursor| Tcp::decode(cursor).map(drop)) {
            Ok(_) if self.is_stt(offset) => Ok(Next::Stt),
            // Too little is there to tell.
            Err(stop)
                if Ports::decode(&mut ahead, Layer::Tcp)
                    .is_ok_and(|ports| ports.destination == self.ports.stt()) =>
            {
                Err(Stop { layer: Layer::Stt, ..stop })
            }
            result => result,
        }
    }

    fn udp(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let udp = match Udp::decode(&mut self.cursor) {
            Ok(udp) => udp,
            Err(stop) => {
                if Ports::decode(&mut self.cursor.clone(), Layer::Udp).is_ok() {
                    self.push(Layer::Udp, offset)?;
                }
                return Err(stop);
            }
        };
        self.push(Layer::Udp, offset)?;
        if udp.len != 0 {
            match udp.len.checked_sub(Udp::LEN) {
                Some(len) => self.cursor.limit(usize::from(len), StopReason::BeyondLength),
                None => return Err(self.cursor.stop(Layer::Udp, StopReason::Malformed)),
            }
        }
        self.udp_payload(udp.ports)
    }

    fn vxlan(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        Vxlan::decode(&mut self.cursor)?;
        self.push(Layer::Vxlan, offset)?;
        self.enter_tunnel(Layer::Vxlan)?;
        Ok(Next::Ethernet)
    }

    fn geneve(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let geneve = Geneve::decode(&mut self.cursor)?;
        self.push(Layer::Geneve, offset)?;
        self.enter_tunnel(Layer::Geneve)?;
        Ok(Next::of_ether_type(geneve.protocol))
    }

    /// A header that begins with ports. They are enough for it to be listed: a cut one is known by
    /// them.
    fn transport(
        &mut self,
        layer: Layer,
        decode: impl FnOnce(&mut Cursor<'_>) -> Result<(), Stop>,
    ) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let mut ahead = self.cursor;
        let result = decode(&mut self.cursor);
        if result.is_ok() || Ports::decode(&mut ahead, layer).is_ok() {
            self.push(layer, offset)?;
        }
        result.map(|()| Next::Payload)
    }

    /// A header that is named but not read: the payload of its level.
    fn leaf(&mut self, layer: Layer) -> Result<Next, Stop> {
        self.cursor.peek(layer)?;
        self.push(layer, self.cursor.offset())?;
        Ok(Next::Payload)
    }

    /// Lists a header that begins at `offset` and ends where the cursor is.
    #[inline(always)]
    fn push(&mut self, layer: Layer, offset: usize) -> Result<(), Stop> {
        let Some(slot) = self.list.headers.get_mut(self.len) else {
            return Err(Stop { layer, offset, reason: StopReason::TooManyHeaders });
        };
        *slot = Header::new(layer, offset_32(offset));
        self.mark(layer);
        debug_assert!(!layer.has_macs() || self.is_fresh(), "each frame begins a level");
        // A level begins behind the last header of what carries it.
        if (layer.is_tunnel() || layer == Layer::Capture) && self.is_fresh() {
            self.list.starts ^= 0b11 << self.len;
        }
        self.len += 1;
        Ok(())
    }

    /// Notes what kind of header the next one is.
    #[inline(always)]
    const fn mark(&mut self, layer: Layer) {
        if layer.is_tunnel() {
            self.list.carriers |= 1 << self.len;
        }
    }

    /// Notes that what follows is the frame of somebody else.
    #[inline(always)]
    fn enter_tunnel(&mut self, layer: Layer) -> Result<(), Stop> {
        self.begin_level();
        if self.tunnels > Layers::MAX_TUNNELS {
            return Err(self.cursor.stop(layer, StopReason::TooManyTunnels));
        }
        Ok(())
    }

    #[inline(always)]
    const fn begin_level(&mut self) {
        self.list.starts |= 1 << self.len;
        self.tunnels = self.tunnels.saturating_add(1);
    }

    /// Whether the next header begins a level, if it does not carry one.
    #[inline(always)]
    const fn is_fresh(&self) -> bool {
        self.list.starts >> self.len & 1 == 1
    }

    /// The last header that was listed.
    fn last(&self) -> Layer {
        let last = self.len.checked_sub(1).and_then(|last| self.list.headers.get(last));
        last.map_or(Layer::Raw, |header| header.layer)
    }

    /// A stop because the last header names something unknown.
    #[cold]
    fn unknown(&self, reason: StopReason) -> Stop {
        self.cursor.stop(self.last(), reason)
    }
}
