//! One forward pass over a frame: which headers it holds and where they are.
//!
//! Nothing is allocated and nothing is copied but kinds and offsets; what a header says is read
//! when somebody asks, through a [`Level`]. Which header follows which is known here only.

use crate::header::{
    Ah, Arp, Capwap, CiscoMetadata, ETag, Erspan2, Erspan3, EtherIp, Ethernet, FabricPath, Geneve,
    Gre, Gtpu, Gue, Icmp, Ipv4, Ipv6, Ipv6Extension, Ipv6Fragment, L2tp, Lisp, Llc, Macsec, Mpls,
    Nsh, Null, Pbb, Ports, Ppp, Pppoe, Prefix, PwControlWord, Sctp, Sll, Sll2, Tcp, Teredo, Ttag,
    Tzsp, Udp, Vlan, VnTag, Vxlan, VxlanGpe, Wlan, ethertype,
};
use crate::{Cursor, Layer, Level, LinkType, Stop, StopReason, TunnelPorts, UdpTunnel};

/// One header found in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub layer: Layer,
    /// Its first byte, counted from the start of the frame.
    pub offset: u32,
}

/// The headers of one frame, outermost first, and where understanding them ended.
#[derive(Debug, Clone, Copy)]
pub struct Layers {
    len: u8,
    /// Bit i is set where header i begins a level. Bit `len` is set where a level begins of which
    /// no header could be read.
    starts: u64,
    /// Bit i is set where header i was guessed.
    guessed: u64,
    payload: u32,
    payload_end: u32,
    stop: Option<Stop>,
    headers: [Header; Self::MAX_HEADERS],
}

impl Layers {
    /// How many headers of one frame are kept; a frame with more stops there.
    pub const MAX_HEADERS: usize = 40;

    /// How many tunnels in each other are followed; a frame with more stops there.
    pub const MAX_TUNNELS: u8 = 16;

    /// No headers: what [`fill`](Self::fill) is for.
    #[inline]
    pub const fn empty() -> Self {
        Self {
            len: 0,
            starts: 1,
            guessed: 0,
            payload: 0,
            payload_end: 0,
            stop: None,
            headers: [Header { layer: Layer::Raw, offset: 0 }; Self::MAX_HEADERS],
        }
    }

    /// Finds the headers of `data`, a frame that begins as `link` says.
    ///
    /// Never fails: what could not be understood is told by [`stop`](Self::stop). Takes time
    /// linear in the number of headers, which is bounded.
    #[inline]
    pub fn decode(link: LinkType, data: &[u8], ports: &TunnelPorts) -> Self {
        let mut layers = Self::empty();
        layers.fill(link, data, ports);
        layers
    }

    /// The same as [`decode`](Self::decode), in place of what was found in another frame: for a
    /// loop over many frames, where making room anew is a third of the work.
    pub fn fill(&mut self, link: LinkType, data: &[u8], ports: &TunnelPorts) {
        // Offsets are kept in 32 bits; no frame is that long.
        let data = data.get(..u32::MAX as usize).unwrap_or(data);
        let walk = Walk {
            headers: &mut self.headers,
            cursor: Cursor::new(data),
            ports,
            starts: 0,
            guessed: 0,
            payload: 0,
            len: 0,
            tunnels: 0,
            is_fresh: true,
        };
        let (Walk { cursor, starts, guessed, payload, len, is_fresh, .. }, stop) = walk.run(link);
        // A tunnel of which nothing could be read makes an empty level, so that what is around it
        // is not taken for the innermost.
        self.starts = starts | if is_fresh { 1 << len } else { 0 };
        self.guessed = guessed;
        self.len = len;
        self.payload = payload;
        self.payload_end = offset_32(cursor.offset() + cursor.ahead().len()).max(payload);
        self.stop = stop;
    }

    /// The headers, outermost first. All of each header but the last of a stopped walk is there.
    #[inline]
    pub fn headers(&self) -> &[Header] {
        self.headers.get(..usize::from(self.len)).unwrap_or(&self.headers)
    }

    /// Where and why the rest was not understood; `None` if all headers were.
    #[inline]
    pub const fn stop(&self) -> Option<Stop> {
        self.stop
    }

    /// The levels of encapsulation, outermost first: one if there is no tunnel.
    #[inline]
    pub fn levels<'a>(&'a self, data: &'a [u8]) -> Levels<'a> {
        Levels { layers: self, data, starts: self.starts }
    }

    /// The last level: the frame as its sender sent it, the only one if there is no tunnel.
    ///
    /// It is empty if a tunnel was found but nothing in it could be read; see
    /// [`is_innermost_hidden`](Self::is_innermost_hidden).
    #[inline]
    pub fn innermost<'a>(&'a self, data: &'a [u8]) -> Level<'a> {
        self.level(data, self.starts.checked_ilog2().unwrap_or_default())
    }

    /// Whether there is or may be a frame within the innermost level that could not be reached:
    /// the bytes end, a fragment lacks what names its owner, something is encrypted or broken.
    ///
    /// Such a packet must not be attributed by its innermost level.
    pub fn is_innermost_hidden(&self) -> bool {
        let Some(stop) = self.stop else { return false };
        // Those carry nobody's frame; of UDP that can be said only if its ports are no tunnel's.
        let ends_in_transport = matches!(
            stop.layer,
            Layer::Tcp | Layer::UdpLite | Layer::Sctp | Layer::Dccp | Layer::Icmp | Layer::Icmpv6
        ) && self
            .headers()
            .last()
            .is_some_and(|last| last.layer == stop.layer);
        match stop.reason {
            // What cannot be named is the payload of the level that was reached, if one was.
            StopReason::UnknownEtherType(_)
            | StopReason::UnknownProtocol(_)
            | StopReason::UnknownPppProtocol(_)
            | StopReason::Unsupported => {
                stop.layer.is_tunnel() || self.starts >> self.len & 1 == 1 || self.len == 0
            }
            _ => !ends_in_transport,
        }
    }

    /// The first byte behind the last header that was understood.
    #[inline]
    pub const fn payload_offset(&self) -> usize {
        self.payload as usize
    }

    /// The first byte that is not payload any more: padding, a trailer, or the end of the bytes.
    ///
    /// At least [`payload_offset`](Self::payload_offset), at most the length of the frame.
    #[inline]
    pub const fn payload_end(&self) -> usize {
        self.payload_end as usize
    }

    /// Whether something in the frame was guessed because no field says what it is: what MPLS
    /// labels carry.
    #[inline]
    pub const fn is_guessed(&self) -> bool {
        self.guessed != 0
    }

    /// The level whose first header has number `start`.
    #[inline]
    fn level<'a>(&'a self, data: &'a [u8], start: u32) -> Level<'a> {
        let headers = self.headers();
        let later_starts = self.starts.checked_shr(start + 1).unwrap_or_default();
        let limit = (start + 1).saturating_add(later_starts.trailing_zeros()) as usize;
        let start = (start as usize).min(headers.len());
        let own = headers.get(start..limit.min(headers.len())).unwrap_or_default();
        let len = own.iter().position(|header| header.layer.is_tunnel()).unwrap_or(own.len());
        Level::new(data, headers, start, len, self.guessed & ((1 << (start + len)) - 1) != 0)
    }
}

/// The levels of encapsulation of a frame, outermost first.
#[derive(Debug, Clone)]
pub struct Levels<'a> {
    layers: &'a Layers,
    data: &'a [u8],
    /// The bits of `layers.starts` still to come.
    starts: u64,
}

impl<'a> Iterator for Levels<'a> {
    type Item = Level<'a>;

    fn next(&mut self) -> Option<Level<'a>> {
        if self.starts == 0 {
            return None;
        }
        let start = self.starts.trailing_zeros();
        self.starts &= !(1 << start);
        Some(self.layers.level(self.data, start))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.starts.count_ones() as usize;
        (len, Some(len))
    }
}

impl DoubleEndedIterator for Levels<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let start = self.starts.checked_ilog2()?;
        self.starts &= !(1 << start);
        Some(self.layers.level(self.data, start))
    }
}

impl ExactSizeIterator for Levels<'_> {}

/// A walk along the headers of one frame.
///
/// Steps that nearly every frame takes are inlined into [`run`](Self::run), where the walk lives in
/// registers; for that it must not be lent to the rare steps, but is given and taken back.
struct Walk<'a, 'h> {
    headers: &'h mut [Header; Layers::MAX_HEADERS],
    cursor: Cursor<'a>,
    ports: &'a TunnelPorts,
    starts: u64,
    guessed: u64,
    payload: u32,
    len: u8,
    tunnels: u8,
    /// Whether the next header that is not a tunnel begins a level.
    is_fresh: bool,
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
    #[inline(always)]
    fn run(self, link: LinkType) -> (Self, Option<Stop>) {
        let mut walk = self;
        let mut next = if link == LinkType::ETHERNET { Next::Ethernet } else { Next::Link(link) };
        loop {
            let result = match next {
                Next::Payload => return (walk, None),
                Next::Ethernet => walk.usual(),
                rare => {
                    let (back, result) = walk.rare(rare);
                    walk = back;
                    result
                }
            };
            match result {
                Ok(following) => next = following,
                Err(stop) => return (walk, Some(stop)),
            }
        }
    }

    /// What most frames are, level by level: Ethernet, tags, IP, transport, an overlay's header.
    /// Ends before the first header that is something else.
    #[inline(always)]
    fn usual(&mut self) -> Result<Next, Stop> {
        let mut next = self.ethernet()?;
        while let Next::Vlan = next {
            next = self.vlan()?;
        }
        next = match next {
            Next::Ipv4 => self.ipv4()?,
            Next::Ipv6 => self.ipv6()?,
            other => return Ok(other),
        };
        next = match next {
            Next::Tcp => return self.tcp(),
            Next::Udp => self.udp()?,
            Next::Icmp(layer) => return self.icmp(layer),
            other => return Ok(other),
        };
        match next {
            Next::Vxlan => self.vxlan(),
            Next::Geneve => self.geneve(),
            other => Ok(other),
        }
    }

    /// One header of any kind.
    #[inline(never)]
    fn rare(mut self, next: Next) -> (Self, Result<Next, Stop>) {
        let result = match next {
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
            Next::Ipv4 => self.ipv4(),
            Next::Ipv6 => self.ipv6(),
            Next::Vlan => self.vlan(),
            Next::Tcp => self.tcp(),
            Next::Udp => self.udp(),
            Next::Vxlan => self.vxlan(),
            Next::Geneve => self.geneve(),
            Next::Icmp(layer) => self.icmp(layer),
            Next::Ethernet => self.ethernet(),
            Next::Payload => Ok(Next::Payload),
        };
        (self, result)
    }

    #[inline(always)]
    fn ethernet(&mut self) -> Result<Next, Stop> {
        // An Ethernet header within a level is the frame of somebody else.
        if !self.is_fresh {
            self.enter_tunnel(Layer::Ethernet)?;
        }
        let offset = self.cursor.offset();
        let ethernet = Ethernet::decode(&mut self.cursor)?;
        self.push(Layer::Ethernet, offset)?;
        Ok(Next::of_type_or_length(ethernet.type_or_length))
    }

    #[inline(always)]
    fn vlan(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let tag = Vlan::decode(&mut self.cursor)?;
        self.push(Layer::Vlan, offset)?;
        Ok(Next::of_type_or_length(tag.type_or_length))
    }

    #[inline(always)]
    fn ipv4(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let ip = Ipv4::decode(&mut self.cursor)?;
        self.push(Layer::Ipv4, offset)?;
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

    #[inline(always)]
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

    #[inline(always)]
    fn icmp(&mut self, layer: Layer) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        Icmp::decode(&mut self.cursor, layer)?;
        self.push(layer, offset)?;
        // What an error quotes is not a payload (DESIGN.md, facts on decoding).
        Ok(Next::Payload)
    }

    #[inline(always)]
    fn tcp(&mut self) -> Result<Next, Stop> {
        self.transport(Layer::Tcp, |cursor| Tcp::decode(cursor).map(drop))
    }

    #[inline(always)]
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
        let (source, destination) = (udp.ports.source, udp.ports.destination);
        match self.ports.find(source, destination) {
            // Any client may have the number of a tunnel for its own port, so what is named by
            // the source port must look like the tunnel too.
            Some(tunnel)
                if self.ports.at(destination).is_some() || may_be(tunnel, self.cursor.ahead()) =>
            {
                Ok(match tunnel {
                    UdpTunnel::Vxlan => Next::Vxlan,
                    UdpTunnel::Geneve => Next::Geneve,
                    _ => Next::UdpTunnel(tunnel),
                })
            }
            _ => Ok(Next::Payload),
        }
    }

    #[inline(always)]
    fn vxlan(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        Vxlan::decode(&mut self.cursor)?;
        self.push(Layer::Vxlan, offset)?;
        self.enter_tunnel(Layer::Vxlan)?;
        Ok(Next::Ethernet)
    }

    #[inline(always)]
    fn geneve(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let geneve = Geneve::decode(&mut self.cursor)?;
        self.push(Layer::Geneve, offset)?;
        self.enter_tunnel(Layer::Geneve)?;
        Ok(Next::of_ether_type(geneve.protocol))
    }

    /// A header that begins with ports. They are enough for it to be listed: a cut one is known by
    /// them.
    #[inline(always)]
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

    /// The first header of a link type other than Ethernet.
    fn link(&mut self, link: LinkType) -> Result<Next, Stop> {
        match link {
            LinkType::ETHERNET => Ok(Next::Ethernet),
            LinkType::RAW => Ok(Next::Ip),
            LinkType::IPV4 => Ok(Next::Ipv4),
            LinkType::IPV6 => Ok(Next::Ipv6),
            LinkType::NULL | LinkType::LOOP => self.null(),
            LinkType::LINUX_SLL => self.sll(),
            LinkType::LINUX_SLL2 => self.sll2(),
            _ => self.rare_link(link),
        }
    }

    fn rare_link(&mut self, link: LinkType) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        if let Some(prefix) = Prefix::decode(&mut self.cursor, link) {
            let prefix = prefix?;
            // Notes within notes end here, for every one of them is a header.
            self.push(Layer::Capture, offset)?;
            return Ok(Next::Link(prefix.link));
        }
        match link {
            LinkType::RAW_BSD => Ok(Next::Ip),
            LinkType::MPLS => Ok(Next::Mpls),
            LinkType::PPPOE => Ok(Next::EtherType(ethertype::PPPOE)),
            LinkType::IEEE802_11 => Ok(Next::Wlan),
            // RFC 1547, section 4.3.1: Cisco's addresses are 0x0f and 0x8f, PPP's is 0xff.
            LinkType::PPP_HDLC | LinkType::PPP
                if matches!(self.cursor.ahead(), [0x0f | 0x8f, ..]) =>
            {
                self.chdlc()
            }
            LinkType::PPP_HDLC | LinkType::PPP => Ok(Next::Ppp),
            LinkType::CISCO_HDLC => self.chdlc(),
            LinkType::FRAME_RELAY => self.frame_relay(),
            LinkType::IPOIB => {
                // A global routing header of 40 bytes, an EtherType, 2 bytes of reserve
                // (RFC 4391, section 6).
                let [.., t0, t1, _, _] = *self.cursor.take::<44>(Layer::Capture)?;
                self.push(Layer::Capture, offset)?;
                Ok(Next::EtherType(u16::from_be_bytes([t0, t1])))
            }
            LinkType(other) => {
                Err(self.cursor.stop(Layer::Raw, StopReason::UnknownLinkType(other)))
            }
        }
    }

    /// Cisco HDLC: address, control, EtherType (RFC 1547, section 4.3.1).
    fn chdlc(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let [_, _, t0, t1] = *self.cursor.take::<4>(Layer::ChdlcCisco)?;
        self.push(Layer::ChdlcCisco, offset)?;
        match u16::from_be_bytes([t0, t1]) {
            CHDLC_KEEPALIVE => Ok(Next::Payload),
            protocol => Ok(Next::EtherType(protocol)),
        }
    }

    /// Q.922 address of 2 bytes, control, network layer identifier (RFC 2427, section 3).
    fn frame_relay(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let [_, last, control, nlpid] = *self.cursor.take::<4>(Layer::FrameRelay)?;
        self.push(Layer::FrameRelay, offset)?;
        match (last & 1, control, nlpid) {
            (1, 0x03, 0xcc) => Ok(Next::Ipv4),
            (1, 0x03, 0x8e) => Ok(Next::Ipv6),
            (1, 0x03, 0xcf) => Ok(Next::Ppp),
            // Cisco's encapsulation has an EtherType in place of control and identifier.
            (1, 0x08, 0x00) => Ok(Next::Ipv4),
            (1, 0x86, 0xdd) => Ok(Next::Ipv6),
            _ => Err(self.unknown(StopReason::Unsupported)),
        }
    }

    fn wlan(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let wlan = Wlan::decode(&mut self.cursor)?;
        self.push(Layer::Wlan, offset)?;
        let stop = |reason| Err(self.cursor.stop(Layer::Wlan, reason));
        match wlan {
            Wlan { carries_packet: false, .. } => Ok(Next::Payload),
            Wlan { is_protected: true, .. } => stop(StopReason::Encrypted),
            Wlan { fragment: 1.., .. } => stop(StopReason::Fragment),
            Wlan { is_aggregate: true, .. } => stop(StopReason::Unsupported),
            _ => Ok(Next::Llc),
        }
    }

    fn macsec(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let tag = Macsec::decode(&mut self.cursor)?;
        self.push(Layer::Macsec, offset)?;
        if tag.is_encrypted {
            return Err(self.cursor.stop(Layer::Macsec, StopReason::Encrypted));
        }
        let len = match usize::from(tag.short_len) {
            0 => self.cursor.ahead().len().saturating_sub(Macsec::ICV_LEN),
            len => len,
        };
        self.cursor.limit(len, StopReason::BeyondLength);
        let value = u16::from_be_bytes(*self.cursor.take::<2>(Layer::Macsec)?);
        self.payload = offset_32(self.cursor.offset());
        Ok(Next::TypeOrLength(value))
    }

    fn type_or_length(&mut self, value: u16) -> Result<Next, Stop> {
        if value >= ethertype::FIRST {
            return self.ether_type(value);
        }
        if value > ethertype::LAST_LENGTH {
            return Err(self.unknown(StopReason::UnknownEtherType(value)));
        }
        self.cursor.limit(usize::from(value), StopReason::BeyondLength);
        Ok(Next::Llc)
    }

    fn arp(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        Arp::decode(&mut self.cursor)?;
        self.push(Layer::Arp, offset)?;
        Ok(Next::Payload)
    }

    fn ether_type(&mut self, value: u16) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        match value {
            ethertype::IPV4 => Ok(Next::Ipv4),
            ethertype::IPV6 => Ok(Next::Ipv6),
            ethertype::VLAN
            | ethertype::SERVICE_VLAN
            | ethertype::OLD_OUTER_VLAN
            | ethertype::OLD_OUTER_VLAN_2 => Ok(Next::Vlan),
            ethertype::ARP | ethertype::RARP => Ok(Next::Arp),
            ethertype::ETHERNET => Ok(Next::Ethernet),
            ethertype::MPLS | ethertype::MPLS_UPSTREAM => Ok(Next::Mpls),
            ethertype::PPP => Ok(Next::Ppp),
            ethertype::NSH => Ok(Next::Nsh),
            ethertype::VN_TAG => {
                let tag = VnTag::decode(&mut self.cursor)?;
                self.push(Layer::VnTag, offset)?;
                Ok(Next::TypeOrLength(tag.type_or_length))
            }
            ethertype::E_TAG => {
                let tag = ETag::decode(&mut self.cursor)?;
                self.push(Layer::ETag, offset)?;
                Ok(Next::TypeOrLength(tag.type_or_length))
            }
            ethertype::CISCO_METADATA => {
                let in_gre = self.last() == Layer::Gre;
                let metadata = if in_gre {
                    CiscoMetadata::decode_in_gre(&mut self.cursor)?
                } else {
                    CiscoMetadata::decode(&mut self.cursor)?
                };
                self.push(Layer::CiscoMetadata, offset)?;
                Ok(Next::TypeOrLength(metadata.type_or_length))
            }
            ethertype::TTAG => {
                let tag = Ttag::decode(&mut self.cursor)?;
                self.push(Layer::Ttag, offset)?;
                Ok(Next::TypeOrLength(tag.type_or_length))
            }
            ethertype::PBB => {
                Pbb::decode(&mut self.cursor)?;
                self.push(Layer::Pbb, offset)?;
                Ok(Next::Ethernet)
            }
            ethertype::FABRIC_PATH => {
                FabricPath::decode(&mut self.cursor)?;
                self.push(Layer::FabricPath, offset)?;
                Ok(Next::Ethernet)
            }
            ethertype::PPPOE => {
                let pppoe = Pppoe::decode(&mut self.cursor)?;
                self.push(Layer::Pppoe, offset)?;
                self.cursor.limit(usize::from(pppoe.len), StopReason::BeyondLength);
                if pppoe.code == 0 { Ok(Next::Ppp) } else { Ok(Next::Payload) }
            }
            ethertype::PPPOE_DISCOVERY => self.leaf(Layer::PppoeDiscovery),
            ethertype::LLDP => self.leaf(Layer::Lldp),
            ethertype::SLOW => self.leaf(Layer::Slow),
            ethertype::EAPOL => self.leaf(Layer::Eapol),
            ethertype::LOOP => self.leaf(Layer::Loop),
            ethertype::MACSEC => self.macsec(),
            _ => Err(self.unknown(StopReason::UnknownEtherType(value))),
        }
    }

    fn llc(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let llc = Llc::decode(&mut self.cursor)?;
        self.push(Layer::Llc, offset)?;
        match (llc.snap, llc.destination) {
            // 0x0000f8: EtherTypes bridged between media (IEEE 802.1H); 0x00000c: Cisco.
            (Some(snap), _) => match (snap.organisation, snap.protocol) {
                (0x00_000c, 0x2000) => self.leaf(Layer::Cdp),
                (0x00_000c, 0x010b) => self.leaf(Layer::Stp),
                (0x00_0000 | 0x00_00f8, protocol) => Ok(Next::EtherType(protocol)),
                // RFC 2684, section 5.2: bridged frames, behind two bytes of padding on ATM.
                (0x00_80c2, 0x0001 | 0x0007) => Ok(Next::Ethernet),
                (_, protocol) => Err(self.unknown(StopReason::UnknownEtherType(protocol))),
            },
            (None, SAP_IP) => Ok(Next::Ipv4),
            (None, SAP_STP) => self.leaf(Layer::Stp),
            (None, _) => Ok(Next::Payload),
        }
    }

    fn mpls(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let label = Mpls::decode(&mut self.cursor)?;
        self.push(Layer::Mpls, offset)?;
        if !label.is_bottom {
            return Ok(Next::Mpls);
        }
        let offset = self.cursor.offset();
        match label.label {
            LABEL_IPV4_EXPLICIT_NULL => return Ok(Next::Ipv4),
            LABEL_IPV6_EXPLICIT_NULL => return Ok(Next::Ipv6),
            // RFC 5586, section 4: an associated channel follows, which carries no user's frame.
            LABEL_GAL => return Ok(Next::Payload),
            _ => {}
        }
        self.guessed |= 1 << self.len;
        match (self.cursor.peek(Layer::Mpls)? >> 4, self.cursor.ahead()) {
            (4, _) => Ok(Next::Ipv4),
            (6, _) => Ok(Next::Ipv6),
            // RFC 5586, section 2.1: an associated channel.
            (1, _) => Ok(Next::Payload),
            // RFC 4448, section 4.6: all but the sequence is zero. Beginning alike, an Ethernet
            // address would have to be one of the first 256 blocks ever given out.
            (0, [0, 0, _, _, ..]) => {
                self.enter_tunnel(Layer::PwControlWord)?;
                PwControlWord::decode(&mut self.cursor)?;
                self.push(Layer::PwControlWord, offset)?;
                Ok(Next::Ethernet)
            }
            _ => Ok(Next::Ethernet),
        }
    }

    #[inline]
    fn ip(&mut self) -> Result<Next, Stop> {
        match self.cursor.peek(Layer::Ipv4)? >> 4 {
            4 => Ok(Next::Ipv4),
            6 => Ok(Next::Ipv6),
            _ => Err(self.cursor.stop(Layer::Ipv4, StopReason::Malformed)),
        }
    }

    fn protocol(&mut self, number: u8) -> Result<Next, Stop> {
        match number {
            protocol::IPV4 => {
                self.enter_tunnel(Layer::Ipv4)?;
                Ok(Next::Ipv4)
            }
            protocol::IPV6 => {
                self.enter_tunnel(Layer::Ipv6)?;
                Ok(Next::Ipv6)
            }
            protocol::HOP_BY_HOP => self.extension(Layer::Ipv6HopByHop),
            protocol::DESTINATION => self.extension(Layer::Ipv6Destination),
            protocol::ROUTING => self.extension(Layer::Ipv6Routing),
            protocol::MOBILITY | protocol::HIP | protocol::SHIM6 => {
                self.extension(Layer::Ipv6Mobility)
            }
            protocol::FRAGMENT => self.ipv6_fragment(),
            protocol::AH => {
                let offset = self.cursor.offset();
                let header = Ah::decode(&mut self.cursor)?;
                self.push(Layer::Ah, offset)?;
                Ok(Next::of_protocol(header.next_header))
            }
            protocol::ESP => {
                self.leaf(Layer::Esp)?;
                Err(self.cursor.stop(Layer::Esp, StopReason::Encrypted))
            }
            protocol::NO_NEXT_HEADER => Ok(Next::Payload),
            protocol::SCTP => self.transport(Layer::Sctp, |cursor| Sctp::decode(cursor).map(drop)),
            protocol::DCCP => {
                // RFC 4340, section 5.1: 12 bytes, of which only the ports matter here.
                self.transport(Layer::Dccp, |cursor| cursor.take::<12>(Layer::Dccp).map(drop))
            }
            protocol::UDP_LITE => {
                self.transport(Layer::UdpLite, |cursor| cursor.take::<8>(Layer::UdpLite).map(drop))
            }
            protocol::IGMP => self.leaf(Layer::Igmp),
            protocol::OSPF => self.leaf(Layer::Ospf),
            protocol::EIGRP => self.leaf(Layer::Eigrp),
            protocol::PIM => self.leaf(Layer::Pim),
            protocol::VRRP => self.leaf(Layer::Vrrp),
            protocol::RSVP => self.leaf(Layer::Rsvp),
            protocol::ETHER_IP => {
                let offset = self.cursor.offset();
                EtherIp::decode(&mut self.cursor)?;
                self.push(Layer::EtherIp, offset)?;
                self.enter_tunnel(Layer::EtherIp)?;
                Ok(Next::Ethernet)
            }
            protocol::ETHERNET => {
                self.enter_tunnel(Layer::Ethernet)?;
                Ok(Next::Ethernet)
            }
            protocol::MPLS => {
                self.enter_tunnel(Layer::Mpls)?;
                Ok(Next::Mpls)
            }
            protocol::L2TP => {
                // RFC 3931, section 4.1.1: cookie and kind of frame are not in the packet.
                Err(self.cursor.stop(Layer::L2tp, StopReason::Unsupported))
            }
            protocol::NSH => Ok(Next::Nsh),
            _ => Err(self.unknown(StopReason::UnknownProtocol(number))),
        }
    }

    fn extension(&mut self, layer: Layer) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let header = Ipv6Extension::decode(&mut self.cursor, layer)?;
        self.push(layer, offset)?;
        Ok(Next::of_protocol(header.next_header))
    }

    fn ipv6_fragment(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let header = Ipv6Fragment::decode(&mut self.cursor)?;
        self.push(Layer::Ipv6Fragment, offset)?;
        if header.offset != 0 {
            return Err(self.cursor.stop(Layer::Ipv6Fragment, StopReason::Fragment));
        }
        if header.has_more {
            self.cursor.limit(self.cursor.ahead().len(), StopReason::Fragment);
        }
        Ok(Next::of_protocol(header.next_header))
    }

    fn udp_tunnel(&mut self, tunnel: UdpTunnel) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        match tunnel {
            UdpTunnel::Vxlan => Ok(Next::Vxlan),
            UdpTunnel::Geneve => Ok(Next::Geneve),
            UdpTunnel::VxlanGpe => {
                let gpe = VxlanGpe::decode(&mut self.cursor)?;
                self.push(Layer::VxlanGpe, offset)?;
                self.enter_tunnel(Layer::VxlanGpe)?;
                self.next_protocol(Layer::VxlanGpe, gpe.next_protocol)
            }
            UdpTunnel::Gtpu => {
                let gtpu = Gtpu::decode(&mut self.cursor)?;
                self.push(Layer::Gtpu, offset)?;
                if gtpu.message != Gtpu::T_PDU {
                    return Ok(Next::Payload);
                }
                self.enter_tunnel(Layer::Gtpu)?;
                Ok(Next::Ip)
            }
            UdpTunnel::Teredo => {
                Teredo::decode(&mut self.cursor)?;
                self.push(Layer::Teredo, offset)?;
                self.enter_tunnel(Layer::Teredo)?;
                Ok(Next::Ipv6)
            }
            UdpTunnel::L2tp => {
                let l2tp = L2tp::decode(&mut self.cursor)?;
                self.push(Layer::L2tp, offset)?;
                if l2tp.is_control {
                    return Ok(Next::Payload);
                }
                self.enter_tunnel(Layer::L2tp)?;
                if l2tp.version == 3 {
                    return Err(self.cursor.stop(Layer::L2tp, StopReason::Unsupported));
                }
                Ok(Next::Ppp)
            }
            UdpTunnel::Capwap => {
                let capwap = Capwap::decode(&mut self.cursor)?;
                self.push(Layer::Capwap, offset)?;
                if capwap.is_keep_alive {
                    return Ok(Next::Payload);
                }
                self.enter_tunnel(Layer::Capwap)?;
                if capwap.fragment_offset.is_some_and(|offset| offset != 0) {
                    return Err(self.cursor.stop(Layer::Capwap, StopReason::Fragment));
                }
                if capwap.is_native {
                    return Err(self.cursor.stop(Layer::Capwap, StopReason::Unsupported));
                }
                Ok(Next::Ethernet)
            }
            UdpTunnel::Mpls => {
                self.enter_tunnel(Layer::Mpls)?;
                Ok(Next::Mpls)
            }
            UdpTunnel::Gre => Ok(Next::Gre),
            UdpTunnel::Gue => {
                // Variant 1 is IP at once (draft-ietf-intarea-gue-09, section 4).
                if matches!(self.cursor.peek(Layer::Gue)? >> 4, 4 | 6) {
                    self.enter_tunnel(Layer::Gue)?;
                    return Ok(Next::Ip);
                }
                let gue = Gue::decode(&mut self.cursor)?;
                self.push(Layer::Gue, offset)?;
                if gue.is_control {
                    return Ok(Next::Payload);
                }
                self.enter_tunnel(Layer::Gue)?;
                match gue.protocol {
                    protocol::IPV4 => Ok(Next::Ipv4),
                    protocol::IPV6 => Ok(Next::Ipv6),
                    protocol::ETHERNET => Ok(Next::Ethernet),
                    number => Ok(Next::of_protocol(number)),
                }
            }
            UdpTunnel::Lisp => {
                Lisp::decode(&mut self.cursor)?;
                self.push(Layer::Lisp, offset)?;
                self.enter_tunnel(Layer::Lisp)?;
                Ok(Next::Ip)
            }
            UdpTunnel::Tzsp => {
                let tzsp = Tzsp::decode(&mut self.cursor)?;
                self.push(Layer::Tzsp, offset)?;
                // Only these two kinds carry a frame; others keep the connection open.
                if tzsp.kind > 1 {
                    return Ok(Next::Payload);
                }
                self.enter_tunnel(Layer::Tzsp)?;
                if tzsp.encapsulated != 1 {
                    return Err(self.cursor.stop(Layer::Tzsp, StopReason::Unsupported));
                }
                Ok(Next::Ethernet)
            }
        }
    }

    fn gre(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let gre = Gre::decode(&mut self.cursor)?;
        self.push(Layer::Gre, offset)?;
        // RFC 2637, section 4.1: the upper half of the key is the length of the payload; without
        // one the packet acknowledges. A keepalive has protocol 0.
        let is_empty = match gre.version {
            1 => gre.key.is_none_or(|key| key >> 16 == 0),
            _ => gre.protocol == 0 && self.cursor.ahead().is_empty(),
        };
        if is_empty {
            return Ok(Next::Payload);
        }
        self.enter_tunnel(Layer::Gre)?;
        match gre.protocol {
            // draft-foschiano-erspan-03, section 4.1: type I has neither sequence nor header.
            ethertype::ERSPAN if gre.sequence.is_none() => Ok(Next::Ethernet),
            ethertype::ERSPAN => {
                let offset = self.cursor.offset();
                Erspan2::decode(&mut self.cursor)?;
                self.push(Layer::Erspan2, offset)?;
                Ok(Next::Ethernet)
            }
            ethertype::ERSPAN3 => {
                let offset = self.cursor.offset();
                let erspan = Erspan3::decode(&mut self.cursor)?;
                self.push(Layer::Erspan3, offset)?;
                match erspan.frame_type {
                    Erspan3::FRAME_ETHERNET => Ok(Next::Ethernet),
                    Erspan3::FRAME_IP => Ok(Next::Ip),
                    _ => Err(self.cursor.stop(Layer::Erspan3, StopReason::Unsupported)),
                }
            }
            // Aruba numbers its radio interfaces; what it carries are their frames.
            ARUBA_FIRST..=ARUBA_LAST => Ok(Next::Wlan),
            protocol => Ok(Next::EtherType(protocol)),
        }
    }

    fn ppp(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let ppp = Ppp::decode(&mut self.cursor)?;
        self.push(Layer::Ppp, offset)?;
        match ppp.protocol {
            Ppp::IPV4 => Ok(Next::Ipv4),
            Ppp::IPV6 => Ok(Next::Ipv6),
            Ppp::MPLS => Ok(Next::Mpls),
            // RFC 1661, section 2: control protocols carry no user's packet.
            0x8000.. => Ok(Next::Payload),
            protocol => Err(self.unknown(StopReason::UnknownPppProtocol(protocol))),
        }
    }

    fn nsh(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let nsh = Nsh::decode(&mut self.cursor)?;
        self.push(Layer::Nsh, offset)?;
        self.enter_tunnel(Layer::Nsh)?;
        self.next_protocol(Layer::Nsh, nsh.next_protocol)
    }

    /// What follows VXLAN-GPE and NSH, which number it alike (RFC 8300, section 2.2).
    fn next_protocol(&mut self, layer: Layer, number: u8) -> Result<Next, Stop> {
        match number {
            VxlanGpe::IPV4 => Ok(Next::Ipv4),
            VxlanGpe::IPV6 => Ok(Next::Ipv6),
            VxlanGpe::ETHERNET => Ok(Next::Ethernet),
            VxlanGpe::NSH => Ok(Next::Nsh),
            VxlanGpe::MPLS => Ok(Next::Mpls),
            _ => Err(self.cursor.stop(layer, StopReason::Unsupported)),
        }
    }

    fn null(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let null = Null::decode(&mut self.cursor)?;
        self.push(Layer::Null, offset)?;
        match null.family {
            2 => Ok(Next::Ipv4),
            10 | 24 | 28 | 30 => Ok(Next::Ipv6),
            _ => Err(self.unknown(StopReason::Unsupported)),
        }
    }

    fn sll(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let sll = Sll::decode(&mut self.cursor)?;
        self.push(Layer::Sll, offset)?;
        self.cooked_protocol(sll.protocol)
    }

    fn sll2(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let sll = Sll2::decode(&mut self.cursor)?;
        self.push(Layer::Sll2, offset)?;
        self.cooked_protocol(sll.protocol)
    }

    /// Linux numbers what has no EtherType from 1 (ETH_P_802_2 is 4).
    fn cooked_protocol(&mut self, protocol: u16) -> Result<Next, Stop> {
        match protocol {
            4 => Ok(Next::Llc),
            ethertype::FIRST.. => Ok(Next::EtherType(protocol)),
            _ => Err(self.unknown(StopReason::UnknownEtherType(protocol))),
        }
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
        let Some(slot) = self.headers.get_mut(usize::from(self.len)) else {
            return Err(Stop { layer, offset, reason: StopReason::TooManyHeaders });
        };
        *slot = Header { layer, offset: offset_32(offset) };
        if self.is_fresh && !layer.is_tunnel() && layer != Layer::Capture {
            self.starts |= 1 << self.len;
            self.is_fresh = false;
        }
        self.len += 1;
        self.payload = offset_32(self.cursor.offset());
        Ok(())
    }

    /// Notes that what follows is the frame of somebody else.
    #[inline(always)]
    fn enter_tunnel(&mut self, layer: Layer) -> Result<(), Stop> {
        self.is_fresh = true;
        self.tunnels += 1;
        if self.tunnels > Layers::MAX_TUNNELS {
            return Err(self.cursor.stop(layer, StopReason::TooManyTunnels));
        }
        Ok(())
    }

    /// The last header that was listed.
    fn last(&self) -> Layer {
        let last = usize::from(self.len).checked_sub(1).and_then(|last| self.headers.get(last));
        last.map_or(Layer::Raw, |header| header.layer)
    }

    /// A stop because the last header names something unknown.
    #[cold]
    fn unknown(&self, reason: StopReason) -> Stop {
        self.cursor.stop(self.last(), reason)
    }
}

/// Whether `payload` may begin with the header of a tunnel that is named by either port.
fn may_be(tunnel: UdpTunnel, payload: &[u8]) -> bool {
    match (tunnel, payload) {
        (UdpTunnel::Gtpu, [first, ..]) => first >> 4 == 0b0011,
        (UdpTunnel::Teredo, [first, second, ..]) => {
            first >> 4 == 6 || (*first == 0 && *second <= 1)
        }
        (UdpTunnel::L2tp, [_, second, ..]) => matches!(second & 0x0f, 2 | 3),
        (UdpTunnel::Capwap, [first, ..]) => *first <= 1,
        _ => false,
    }
}

/// An offset in a frame as it is kept; `decode` cuts frames to what fits.
#[inline]
#[allow(clippy::cast_possible_truncation)]
const fn offset_32(offset: usize) -> u32 {
    offset as u32
}

/// IP protocol numbers (IANA registry "Protocol Numbers").
mod protocol {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ICMP: u8 = 1;
    pub(super) const IGMP: u8 = 2;
    pub(super) const IPV4: u8 = 4;
    pub(super) const TCP: u8 = 6;
    pub(super) const UDP: u8 = 17;
    pub(super) const DCCP: u8 = 33;
    pub(super) const IPV6: u8 = 41;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const RSVP: u8 = 46;
    pub(super) const GRE: u8 = 47;
    pub(super) const ESP: u8 = 50;
    pub(super) const AH: u8 = 51;
    pub(super) const ICMPV6: u8 = 58;
    pub(super) const NO_NEXT_HEADER: u8 = 59;
    pub(super) const DESTINATION: u8 = 60;
    pub(super) const EIGRP: u8 = 88;
    pub(super) const OSPF: u8 = 89;
    pub(super) const ETHER_IP: u8 = 97;
    pub(super) const PIM: u8 = 103;
    pub(super) const VRRP: u8 = 112;
    pub(super) const L2TP: u8 = 115;
    pub(super) const SCTP: u8 = 132;
    pub(super) const MOBILITY: u8 = 135;
    pub(super) const UDP_LITE: u8 = 136;
    pub(super) const MPLS: u8 = 137;
    pub(super) const HIP: u8 = 139;
    pub(super) const SHIM6: u8 = 140;
    pub(super) const ETHERNET: u8 = 143;
    pub(super) const NSH: u8 = 145;
}

/// LLC service access points (IEEE 802, appendix of assigned addresses).
const SAP_IP: u8 = 0x06;
const SAP_STP: u8 = 0x42;

/// The protocol types of GRE that Aruba uses between access points and their controller.
const ARUBA_FIRST: u16 = 0x8200;
const ARUBA_LAST: u16 = 0x8240;

/// Keepalives of Cisco HDLC, in place of an EtherType.
const CHDLC_KEEPALIVE: u16 = 0x8035;

/// Reserved labels (RFC 3032, section 2.1; RFC 5586, section 4).
const LABEL_IPV4_EXPLICIT_NULL: u32 = 0;
const LABEL_IPV6_EXPLICIT_NULL: u32 = 2;
const LABEL_GAL: u32 = 13;
