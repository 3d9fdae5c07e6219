//! Mirrors: what the headers around a mirrored frame say, and where the frame itself begins.
//!
//! A mirror sends copies of frames to whoever looks at them, in a tunnel that names the mirror
//! session, or in a VLAN of their own. [`Mirrored::find`] reads the headers of one packet;
//! [`MirrorSessions`] knows the sessions, their losses and their clocks.

mod clock;
mod sequence;
mod sessions;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::header::{
    Erspan2, Erspan3, Geneve, Gre, Ipv4, Ipv6, Ipv6Fragment, Tzsp, Vlan, Vxlan, ethertype,
};
use crate::{Cursor, Direction, Header, Layer, Layers, LinkType, Packet, VlanId};

pub use clock::{MirrorClock, MirrorTime};
pub use sequence::{Sequence, SequenceCounts, Step, WINDOW};
pub use sessions::{Admitted, MirrorNumbering, MirrorSession, MirrorSessions, SessionNumber};

/// What a mirror puts around frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MirrorKind {
    /// ERSPAN type I: GRE and nothing else.
    Erspan1,
    /// ERSPAN type II.
    Erspan2,
    /// ERSPAN type III.
    Erspan3,
    /// Ethernet in GRE; the key, if there is one, names the session.
    Gre,
    /// Ethernet in GRE as vSphere's switches send it; the key says which way the frame went.
    Vmware,
    /// VXLAN, as the clouds of AWS and Azure and many vSwitches send it.
    Vxlan,
    /// GENEVE, as the cloud of Google and many vSwitches send it.
    Geneve,
    /// TZSP.
    Tzsp,
    /// A VLAN of its own.
    Rspan,
}

impl MirrorKind {
    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Erspan1 => "ERSPAN I",
            Self::Erspan2 => "ERSPAN II",
            Self::Erspan3 => "ERSPAN III",
            Self::Gre => "GRE",
            Self::Vmware => "VMware GRE",
            Self::Vxlan => "VXLAN",
            Self::Geneve => "GENEVE",
            Self::Tzsp => "TZSP",
            Self::Rspan => "RSPAN",
        }
    }

    /// What its session numbers are called.
    pub const fn session_word(self) -> &'static str {
        match self {
            Self::Erspan1 | Self::Erspan2 | Self::Erspan3 => "session",
            Self::Gre | Self::Vmware => "key",
            Self::Vxlan | Self::Geneve => "VNI",
            Self::Tzsp => "sender",
            Self::Rspan => "VLAN",
        }
    }

    /// Whether an ordinary overlay network looks the same: only who knows the site can tell.
    pub const fn may_be_overlay(self) -> bool {
        matches!(self, Self::Vxlan | Self::Geneve)
    }
}

/// Which mirrors are looked for in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MirrorForm {
    /// Any tunnel that mirrors use. Which VLAN is an RSPAN's cannot be seen.
    Any,
    /// ERSPAN of all types.
    Erspan,
    /// Ethernet or IP in GRE.
    Gre,
    /// vSphere's GRE.
    Vmware,
    /// VXLAN.
    Vxlan,
    /// GENEVE.
    Geneve,
    /// TZSP.
    Tzsp,
    /// The VLAN with this number.
    Rspan(VlanId),
}

impl MirrorForm {
    /// The words for them; `rspan` needs a VLAN: `rspan=999`.
    pub const WORDS: [(&'static str, Self); 7] = [
        ("auto", Self::Any),
        ("erspan", Self::Erspan),
        ("gre", Self::Gre),
        ("vmware", Self::Vmware),
        ("vxlan", Self::Vxlan),
        ("geneve", Self::Geneve),
        ("tzsp", Self::Tzsp),
    ];
}

impl FromStr for MirrorForm {
    type Err = UnknownMirror;

    fn from_str(text: &str) -> Result<Self, UnknownMirror> {
        let unknown = || UnknownMirror(text.to_owned());
        if let Some(vlan) = text.strip_prefix("rspan=") {
            let vlan = vlan.parse().ok().and_then(VlanId::new);
            return vlan.map(Self::Rspan).ok_or_else(unknown);
        }
        let found = Self::WORDS.iter().find(|(word, _)| *word == text);
        found.map(|(_, form)| *form).ok_or_else(unknown)
    }
}

impl fmt::Display for MirrorForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Rspan(vlan) = self {
            return write!(f, "rspan={vlan}");
        }
        let found = Self::WORDS.iter().find(|(_, form)| form == self);
        f.write_str(found.map_or("", |(word, _)| word))
    }
}

/// A word that names no mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownMirror(pub String);

impl fmt::Display for UnknownMirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no mirror; there are ", self.0)?;
        MirrorForm::WORDS.iter().try_for_each(|(word, _)| write!(f, "{word}, "))?;
        f.write_str("rspan=VLAN")
    }
}

impl std::error::Error for UnknownMirror {}

/// What tells one mirror session from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    /// What is around its frames.
    pub kind: MirrorKind,
    /// Who sends them; `None` in an RSPAN VLAN.
    pub source: Option<IpAddr>,
    /// Its number: ERSPAN session, GRE key, VNI, VLAN; `None` where there is none.
    pub id: Option<u32>,
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        if let Some(id) = self.id {
            write!(f, " {} {id}", self.kind.session_word())?;
        }
        match self.source {
            Some(source) => write!(f, " from {source}"),
            None => Ok(()),
        }
    }
}

/// What the headers around one mirrored frame say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mirrored {
    /// The session.
    pub session: SessionKey,
    /// Where the mirror sends to; `None` in an RSPAN VLAN.
    pub destination: Option<IpAddr>,
    /// The port the frame was seen at, as the switch numbers it.
    pub port: Option<u32>,
    /// The VLAN the frame was seen in, as the switch says; 0 where it does not know.
    pub vlan: Option<VlanId>,
    /// Which way it went, where the headers say so of the VM and not of a switch's port.
    pub direction: Option<Direction>,
    /// Whether it was leaving the switch's port.
    pub is_egress: Option<bool>,
    /// The number of the packet.
    pub sequence: Option<MirrorSequence>,
    /// When the switch saw it.
    pub time: Option<MirrorTime>,
    /// Whether the mirror cut the frame.
    pub is_truncated: bool,
    /// Bytes the frame had before that.
    pub original_len: u32,
    /// What the frame begins with.
    pub link: LinkType,
    /// The frame's first byte in the packet.
    pub start: usize,
    /// The byte behind its last in the packet.
    pub end: usize,
    /// Whether the mirror has put a tag of its own between the MACs and the rest.
    pub has_own_tag: bool,
}

/// The number of a packet, as far as its byte order is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorSequence {
    /// As the standard has it.
    Known(u32),
    /// TZSP's, whose senders use either byte order.
    Either([u8; 4]),
}

/// Why no mirrored frame is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotMirrored {
    /// There is no such mirror's header.
    NoMirror,
    /// The mirror's packet is in fragments, of which this is the first; the others show no mirror.
    Fragment,
    /// The mirror's headers are cut or malformed, or it sends something else than frames.
    Unreadable,
}

impl Mirrored {
    /// Finds the frame in the outermost mirror tunnel of the kind that is looked for. `layers` must
    /// come from the same bytes.
    pub fn find(
        packet: &Packet<'_>,
        layers: &Layers,
        form: MirrorForm,
    ) -> Result<Self, NotMirrored> {
        if let MirrorForm::Rspan(vlan) = form {
            return Self::in_vlan(packet, layers, vlan);
        }
        let headers = layers.headers();
        let mut found = Err(NotMirrored::NoMirror);
        for (number, header) in headers.iter().enumerate() {
            let (before, rest) = headers.split_at_checked(number).unwrap_or_default();
            let around = Around { packet, before, header: *header, rest };
            found = match (header.layer, form) {
                (Layer::Gre, _) => around.gre(form),
                (Layer::Vxlan, MirrorForm::Any | MirrorForm::Vxlan) => around.vxlan(),
                (Layer::Geneve, MirrorForm::Any | MirrorForm::Geneve) => around.geneve(),
                (Layer::Tzsp, MirrorForm::Any | MirrorForm::Tzsp) => around.tzsp(),
                _ => continue,
            };
            if found != Err(NotMirrored::NoMirror) {
                break;
            }
        }
        let is_cut = layers.stop().is_some_and(|stop| stop.layer.is_tunnel());
        match found {
            Err(NotMirrored::NoMirror) if is_cut => Err(NotMirrored::Unreadable),
            found => found,
        }
    }

    /// The frame, without the tag of an RSPAN VLAN if it has one: that can only go by copying the
    /// rest, into `scratch`.
    pub fn open<'a>(&self, packet: Packet<'a>, scratch: &'a mut Vec<u8>) -> Packet<'a> {
        let data = packet.data.get(self.start..self.end).unwrap_or_default();
        let mut opened = Packet { data, wire_len: self.original_len, link: self.link, ..packet };
        if self.has_own_tag
            && let Some((macs, tagged)) = data.split_at_checked(MACS_LEN)
            && let Some(rest) = tagged.get(TAG_LEN..)
        {
            scratch.clear();
            scratch.extend_from_slice(macs);
            scratch.extend_from_slice(rest);
            opened.data = scratch;
        }
        if self.start > 0 {
            // That was the outer one.
            opened.checksum = crate::Checksum::Unknown;
        }
        opened.direction = self.direction.or(if self.start > 0 { None } else { packet.direction });
        opened
    }

    fn in_vlan(packet: &Packet<'_>, layers: &Layers, vlan: VlanId) -> Result<Self, NotMirrored> {
        let [Header { layer: Layer::Ethernet, offset: 0 }, tag, rest @ ..] = layers.headers()
        else {
            return Err(NotMirrored::NoMirror);
        };
        let decoded = Vlan::decode(&mut Cursor::at(packet.data, tag.offset as usize));
        if tag.layer != Layer::Vlan || decoded.is_ok_and(|tag| tag.id != vlan) {
            return Err(NotMirrored::NoMirror);
        }
        let session =
            SessionKey { kind: MirrorKind::Rspan, source: None, id: Some(vlan.value().into()) };
        let mut found = Self::new(session, packet, 0, LinkType::ETHERNET);
        found.has_own_tag = true;
        found.restore_len(packet, rest);
        found.original_len = found.original_len.saturating_sub(len_u32(TAG_LEN));
        Ok(found)
    }

    /// A frame that reaches from `start` to the end of the packet, of which nothing is known.
    fn new(session: SessionKey, packet: &Packet<'_>, start: usize, link: LinkType) -> Self {
        Self {
            session,
            destination: None,
            port: None,
            vlan: None,
            direction: None,
            is_egress: None,
            sequence: None,
            time: None,
            is_truncated: false,
            original_len: packet.wire_len.saturating_sub(len_u32(start)),
            link,
            start,
            end: packet.data.len(),
            has_own_tag: false,
        }
    }

    /// An IP packet in the frame that says that it is longer than the frame was cut by the mirror,
    /// whether that says so or not. `headers` are those of the frame.
    fn restore_len(&mut self, packet: &Packet<'_>, headers: &[Header]) {
        let ip = headers
            .iter()
            .take_while(|header| !header.layer.is_tunnel())
            .find(|header| matches!(header.layer, Layer::Ipv4 | Layer::Ipv6));
        let Some(ip) = ip else { return };
        let Some(end) = ip_end(packet.data, *ip) else { return };
        let len = len_u32(end.saturating_sub(self.start));
        if len > self.original_len {
            self.original_len = len;
            self.is_truncated = true;
        }
    }
}

/// A header that may be a mirror's, and what is around it.
struct Around<'p, 'a> {
    packet: &'p Packet<'a>,
    /// The headers before it.
    before: &'p [Header],
    header: Header,
    /// It and the headers behind it.
    rest: &'p [Header],
}

impl<'a> Around<'_, 'a> {
    fn gre(&self, form: MirrorForm) -> Result<Mirrored, NotMirrored> {
        let mut cursor = self.cursor();
        let gre = Gre::decode(&mut cursor).map_err(|_| NotMirrored::Unreadable)?;
        if gre.version != 0 {
            return Err(NotMirrored::NoMirror);
        }
        let sequence = gre.sequence.map(MirrorSequence::Known);
        match (gre.protocol, form) {
            (ethertype::ERSPAN | ethertype::ERSPAN3, MirrorForm::Any | MirrorForm::Erspan) => {
                let found = match (gre.protocol, gre.sequence, cursor.ahead()) {
                    // draft-foschiano-erspan-03, section 4.1: neither number nor header.
                    (ethertype::ERSPAN, None, _) => self.erspan_1(&cursor)?,
                    (_, _, [version, ..]) if version >> 4 == 1 => self.erspan_2(&mut cursor)?,
                    (_, _, [version, ..]) if version >> 4 == 2 => self.erspan_3(&mut cursor)?,
                    _ => return Err(NotMirrored::Unreadable),
                };
                Ok(Mirrored { sequence, ..found })
            }
            (ethertype::ETHERNET, MirrorForm::Any | MirrorForm::Gre) => {
                let found = self.found(MirrorKind::Gre, gre.key, &cursor, LinkType::ETHERNET)?;
                Ok(Mirrored { sequence, ..found })
            }
            (ethertype::ETHERNET, MirrorForm::Vmware) => {
                let found = self.found(MirrorKind::Vmware, gre.key, &cursor, LinkType::ETHERNET)?;
                let direction = match gre.key {
                    Some(VMWARE_SENT) => Some(Direction::FromVm),
                    Some(0) => Some(Direction::ToVm),
                    _ => None,
                };
                Ok(Mirrored { sequence, direction, ..found })
            }
            (ethertype::IPV4 | ethertype::IPV6, MirrorForm::Gre) => {
                let found = self.found(MirrorKind::Gre, gre.key, &cursor, LinkType::RAW)?;
                Ok(Mirrored { sequence, ..found })
            }
            _ => Err(NotMirrored::NoMirror),
        }
    }

    fn erspan_1(&self, cursor: &Cursor<'a>) -> Result<Mirrored, NotMirrored> {
        self.found(MirrorKind::Erspan1, None, cursor, LinkType::ETHERNET)
    }

    fn erspan_2(&self, cursor: &mut Cursor<'a>) -> Result<Mirrored, NotMirrored> {
        let erspan = Erspan2::decode(cursor).map_err(|_| NotMirrored::Unreadable)?;
        let session = Some(erspan.session.into());
        let mut found = self.found(MirrorKind::Erspan2, session, cursor, LinkType::ETHERNET)?;
        found.port = Some(erspan.index);
        found.vlan = Some(erspan.vlan);
        found.is_truncated |= erspan.is_truncated;
        Ok(found)
    }

    fn erspan_3(&self, cursor: &mut Cursor<'a>) -> Result<Mirrored, NotMirrored> {
        let erspan = Erspan3::decode(cursor).map_err(|_| NotMirrored::Unreadable)?;
        let link = match erspan.frame_type {
            Erspan3::FRAME_ETHERNET => LinkType::ETHERNET,
            Erspan3::FRAME_IP => LinkType::RAW,
            _ => return Err(NotMirrored::Unreadable),
        };
        let session = Some(erspan.session.into());
        let mut found = self.found(MirrorKind::Erspan3, session, cursor, link)?;
        found.port = erspan.port();
        found.vlan = Some(erspan.vlan);
        found.is_egress = Some(erspan.is_egress);
        found.time = erspan_time(&erspan);
        found.is_truncated |= erspan.is_truncated;
        Ok(found)
    }

    fn vxlan(&self) -> Result<Mirrored, NotMirrored> {
        let mut cursor = self.cursor();
        let vxlan = Vxlan::decode(&mut cursor).map_err(|_| NotMirrored::Unreadable)?;
        let vni = Some(vxlan.vni.value());
        self.found(MirrorKind::Vxlan, vni, &cursor, LinkType::ETHERNET)
    }

    fn geneve(&self) -> Result<Mirrored, NotMirrored> {
        let mut cursor = self.cursor();
        let geneve = Geneve::decode(&mut cursor).map_err(|_| NotMirrored::Unreadable)?;
        if geneve.is_control {
            return Err(NotMirrored::NoMirror);
        }
        let is_balancers = geneve.options().any(|option| option.class == CLASS_AWS);
        let is_vxlan_inside = || self.rest.iter().any(|header| header.layer == Layer::Vxlan);
        if is_balancers && is_vxlan_inside() {
            // A load balancer has put its own header around the mirror's, which is looked at next.
            return Err(NotMirrored::NoMirror);
        }
        let link = match geneve.protocol {
            ethertype::ETHERNET => LinkType::ETHERNET,
            ethertype::IPV4 | ethertype::IPV6 => LinkType::RAW,
            _ => return Err(NotMirrored::Unreadable),
        };
        let vni = Some(geneve.vni.value());
        let mut found = self.found(MirrorKind::Geneve, vni, &cursor, link)?;
        for option in geneve.options() {
            match (option.class, option.kind, option.value) {
                // Google: 28 bits of a network's number, and whether the VM sent the packet.
                (CLASS_GOOGLE, 1, &[a, b, c, d]) => {
                    let word = u32::from_be_bytes([a, b, c, d]);
                    let is_sent = word & 1 != 0;
                    found.direction =
                        Some(if is_sent { Direction::FromVm } else { Direction::ToVm });
                    found.port = Some(word >> 4);
                }
                // Open Virtual Network: the logical ports the packet came in by and goes to.
                (CLASS_OVN, 0, &[a, b, _, _]) => {
                    found.port = Some(u16::from_be_bytes([a & 0x7f, b]).into());
                }
                _ => {}
            }
        }
        Ok(found)
    }

    fn tzsp(&self) -> Result<Mirrored, NotMirrored> {
        let mut cursor = self.cursor();
        let tzsp = Tzsp::decode(&mut cursor).map_err(|_| NotMirrored::Unreadable)?;
        if tzsp.kind > 1 {
            return Err(NotMirrored::NoMirror);
        }
        let link = match tzsp.encapsulated {
            Tzsp::ETHERNET => LinkType::ETHERNET,
            Tzsp::WLAN => LinkType::IEEE802_11,
            _ => return Err(NotMirrored::Unreadable),
        };
        let mut found = self.found(MirrorKind::Tzsp, None, &cursor, link)?;
        found.sequence = tzsp.packet_id.map(MirrorSequence::Either);
        if let Some(bytes) = tzsp.original_len {
            // The order in which it is not shorter than what is here, and not far longer.
            let held = len_u32(found.end - found.start);
            let orders = [u16::from_be_bytes(bytes), u16::from_le_bytes(bytes)];
            if let Some(len) = orders.into_iter().map(u32::from).filter(|len| *len >= held).min() {
                found.is_truncated |= len > found.original_len;
                found.original_len = found.original_len.max(len);
            }
        }
        Ok(found)
    }

    fn cursor(&self) -> Cursor<'a> {
        Cursor::at(self.packet.data, self.header.offset as usize)
    }

    /// The frame at `cursor`, with what the headers around the mirror's say.
    fn found(
        &self,
        kind: MirrorKind,
        id: Option<u32>,
        cursor: &Cursor<'a>,
        link: LinkType,
    ) -> Result<Mirrored, NotMirrored> {
        let packet = self.packet;
        let start = cursor.offset();
        let mut session = SessionKey { kind, source: None, id };
        let mut found = Mirrored::new(session, packet, start, link);
        let is_ip = |header: &Header| matches!(header.layer, Layer::Ipv4 | Layer::Ipv6);
        let outer = self.before.iter().rposition(is_ip);
        if let Some((ip, behind)) = outer.and_then(|at| self.before.get(at..)?.split_first()) {
            let at = &mut Cursor::at(packet.data, ip.offset as usize);
            let (source, destination, is_piece) = if ip.layer == Layer::Ipv4 {
                let ip = Ipv4::decode(at).map_err(|_| NotMirrored::Unreadable)?;
                let is_piece = ip.has_more_fragments || ip.fragment_offset != 0;
                (IpAddr::V4(ip.source), IpAddr::V4(ip.destination), is_piece)
            } else {
                let ip = Ipv6::decode(at).map_err(|_| NotMirrored::Unreadable)?;
                let is_piece = behind.iter().any(|header| is_piece_of_ipv6(packet.data, *header));
                (IpAddr::V6(ip.source), IpAddr::V6(ip.destination), is_piece)
            };
            if is_piece {
                return Err(NotMirrored::Fragment);
            }
            session.source = Some(source);
            found.session = session;
            found.destination = Some(destination);
            if let Some(end) = ip_end(packet.data, *ip) {
                if end <= start {
                    return Err(NotMirrored::Unreadable);
                }
                // Behind it there is padding. Before it the vSwitch has cut its own packet.
                found.end = found.end.min(end);
                let len = len_u32(end - start);
                found.is_truncated |= len > found.original_len;
                found.original_len = len;
            }
        }
        let own = self.rest.iter().position(|header| header.offset as usize >= start);
        let own = own.and_then(|own| self.rest.get(own..)).unwrap_or_default();
        found.restore_len(packet, own);
        Ok(found)
    }
}

/// Where the packet of an IP header ends, as that says; `None` if it does not.
fn ip_end(data: &[u8], header: Header) -> Option<usize> {
    let offset = header.offset as usize;
    let cursor = &mut Cursor::at(data, offset);
    let len = if header.layer == Layer::Ipv4 {
        usize::from(Ipv4::decode(cursor).ok()?.total_len)
    } else {
        let len = usize::from(Ipv6::decode(cursor).ok()?.payload_len);
        if len == 0 { 0 } else { Ipv6::LEN + len }
    };
    (len > 0).then_some(offset + len)
}

fn is_piece_of_ipv6(data: &[u8], header: Header) -> bool {
    header.layer == Layer::Ipv6Fragment
        && Ipv6Fragment::decode(&mut Cursor::at(data, header.offset as usize))
            .is_ok_and(|fragment| fragment.has_more || fragment.offset != 0)
}

impl Erspan3 {
    /// The port the frame was seen at, where the platform's sub-header says so
    /// (draft-foschiano-erspan-03, section 4.3.1).
    pub fn port(&self) -> Option<u32> {
        let (platform, first, second) = self.platform_words()?;
        match platform {
            1 => Some(second),
            3 => Some(first & 0x3fff),
            5 | 6 => Some(first & 0xffff),
            // 0 is an alias that some use.
            0 | 7 => Some(first & 0xf_ffff),
            _ => None,
        }
    }

    /// The platform's number and the two words of its sub-header.
    fn platform_words(&self) -> Option<(u8, u32, u32)> {
        let [a, b, c, d, e, f, g, h] = self.platform?.to_be_bytes();
        Some((a >> 2, u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])))
    }
}

/// The switch's clock (draft-foschiano-erspan-03, section 4.3): the upper half of the counter, or
/// the seconds, are in the sub-header of some platforms.
fn erspan_time(erspan: &Erspan3) -> Option<MirrorTime> {
    let low = erspan.time;
    let platform = erspan.platform_words();
    let upper = platform.and_then(|(id, _, word)| matches!(id, 0 | 3 | 7).then_some(word));
    let seconds = platform.and_then(|(id, _, word)| matches!(id, 5 | 6).then_some(word));
    let unit = match erspan.granularity {
        0 => 100_000,
        1 => 100,
        2 => 1,
        _ => return None,
    };
    if let (2, Some(seconds)) = (erspan.granularity, seconds) {
        let nanos = u64::from(seconds) * SECOND + u64::from(low);
        return (u64::from(low) < SECOND).then_some(MirrorTime { nanos, period: None });
    }
    if let Some(upper) = upper {
        let ticks = u64::from(upper) << 32 | u64::from(low);
        return ticks.checked_mul(unit).map(|nanos| MirrorTime { nanos, period: None });
    }
    let nanos = u64::from(low) * unit;
    match erspan.granularity {
        2 if nanos >= SECOND => None,
        2 => Some(MirrorTime { nanos, period: Some(SECOND) }),
        _ => Some(MirrorTime { nanos, period: Some(unit << 32) }),
    }
}

/// A length within a packet, which is below 4 GiB.
fn len_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

const SECOND: u64 = 1_000_000_000;
const MACS_LEN: usize = 12;
/// An 802.1Q tag with its TPID.
const TAG_LEN: usize = 4;
/// The key of a frame that the mirrored VM sent; of one that goes to it the key is 0.
const VMWARE_SENT: u32 = 0x0200_0000;
/// Option classes of GENEVE.
const CLASS_OVN: u16 = 0x0102;
const CLASS_AWS: u16 = 0x0108;
const CLASS_GOOGLE: u16 = 0x0132;
