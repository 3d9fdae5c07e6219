//! The end of a mirror tunnel: frames out of the packets that a mirror sends to this host.
//!
//! What mirrors put around frames is said in `wire::mirror`. Here it is what a receiver decides:
//! whether a packet is for it, and that every frame it gives has an Ethernet header.

use std::net::IpAddr;

use wire::mirror::{
    Admitted, MirrorForm, MirrorSession, MirrorSessions, Mirrored, NotMirrored, SessionNumber,
};
use wire::{Layers, LinkType, Packet, TunnelPorts, UdpTunnel};

/// What a receiver takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorRule {
    /// What the mirror puts around frames; `None` for nothing, as on a SPAN port.
    pub form: Option<MirrorForm>,
    /// The address it sends to; `None` for any.
    pub address: Option<IpAddr>,
    /// The number of the only session that is wanted: VNI, key or ERSPAN session.
    pub session: Option<u32>,
    /// The UDP port, where it is not the standard's.
    pub udp_port: Option<u16>,
}

/// Takes frames out of a mirror's packets.
#[derive(Debug)]
pub struct MirrorReceiver {
    rule: MirrorRule,
    ports: TunnelPorts,
    sessions: MirrorSessions,
    layers: Layers,
    frame: Vec<u8>,
    opened: u64,
}

/// A frame and its session.
#[derive(Debug)]
pub struct Received<'a> {
    /// The frame, with Ethernet around it.
    pub packet: Packet<'a>,
    /// Its session; `None` for those of sessions that are too many to be told apart.
    pub session: Option<SessionNumber>,
    /// Whether it is the first of its session.
    pub is_first: bool,
}

impl MirrorReceiver {
    /// The most sessions of one mirror: each is an interface of the file and a line of the receipt,
    /// which goes to the session in one message.
    pub const MOST_SESSIONS: usize = 64;

    /// A receiver that has seen nothing yet.
    pub fn new(rule: MirrorRule) -> Self {
        let mut ports = TunnelPorts::default();
        let tunnel = match rule.form {
            Some(MirrorForm::Vxlan) => Some(UdpTunnel::Vxlan),
            Some(MirrorForm::Geneve) => Some(UdpTunnel::Geneve),
            Some(MirrorForm::Tzsp) => Some(UdpTunnel::Tzsp),
            _ => None,
        };
        if let (Some(port), Some(tunnel)) = (rule.udp_port, tunnel) {
            ports.add(port, tunnel);
        }
        Self {
            rule,
            ports,
            sessions: MirrorSessions::with_most(Self::MOST_SESSIONS),
            layers: Layers::empty(),
            frame: Vec::new(),
            opened: 0,
        }
    }

    /// The frame in a packet that came where the mirror sends to. Its time is the switch's, if that
    /// says so, and never after its arrival: whose it is may depend on the time, and nobody shall
    /// choose that.
    ///
    /// # Errors
    /// Why there is none.
    pub fn open<'a>(&'a mut self, packet: Packet<'a>) -> Result<Received<'a>, NotMirrored> {
        let Some(form) = self.rule.form else {
            self.opened += u64::from(packet.link == LinkType::ETHERNET || is_ip(packet.link));
            let packet = match packet.link {
                LinkType::ETHERNET => packet,
                link if is_ip(link) => self.with_ethernet(packet),
                _ => return Err(NotMirrored::Unreadable),
            };
            return Ok(Received { packet, session: None, is_first: false });
        };
        self.layers.fill(packet.link, packet.data, &self.ports);
        let found = Mirrored::find(&packet, &self.layers, form)?;
        let is_here = self.rule.address.is_none_or(|address| found.destination == Some(address));
        let is_wanted = self.rule.session.is_none_or(|id| found.session.id == Some(id));
        if !is_here || !is_wanted {
            return Err(NotMirrored::NoMirror);
        }
        if !matches!(found.link, LinkType::ETHERNET | LinkType::RAW) {
            return Err(NotMirrored::Unreadable);
        }
        let Admitted { session, is_first, lost, time } = self.sessions.admit(&found, &packet);
        self.opened += 1;
        let lost_before = packet.lost_before + lost;
        let packet = Packet { time: time.min(packet.time), lost_before, ..packet };
        let opened = if found.link == LinkType::RAW {
            let mut unused = Vec::new();
            let opened = found.open(packet, &mut unused);
            self.with_ethernet(opened)
        } else {
            found.open(packet, &mut self.frame)
        };
        Ok(Received { packet: opened, session, is_first })
    }

    /// What is known of the sessions.
    pub const fn sessions(&self) -> &MirrorSessions {
        &self.sessions
    }

    /// One session.
    pub fn session(&self, number: SessionNumber) -> Option<&MirrorSession> {
        self.sessions.get(number)
    }

    /// Frames taken out so far.
    pub const fn opened(&self) -> u64 {
        self.opened
    }

    /// An IP packet that was mirrored without its frame, in one whose addresses are all zero: a file
    /// has one link type, and most mirrors send Ethernet.
    fn with_ethernet<'a>(&'a mut self, packet: Packet<'_>) -> Packet<'a> {
        let Packet { time, direction, checksum, lost_before, point, wire_len, data, .. } = packet;
        let is_ipv6 = data.first().is_some_and(|first| first >> 4 == 6);
        let kind = if is_ipv6 { IPV6 } else { IPV4 };
        self.frame.clear();
        self.frame.extend_from_slice(&[0; 12]);
        self.frame.extend_from_slice(&kind);
        self.frame.extend_from_slice(data);
        let wire_len = wire_len.saturating_add(HEAD_LEN);
        let (link, data) = (LinkType::ETHERNET, self.frame.as_slice());
        Packet { time, point, link, data, wire_len, direction, checksum, lost_before }
    }
}

const fn is_ip(link: LinkType) -> bool {
    matches!(link, LinkType::RAW | LinkType::RAW_BSD | LinkType::IPV4 | LinkType::IPV6)
}

const HEAD_LEN: u32 = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
