//! One record of a flow export, and what it says in the words of the standard.
//!
//! Numbers come from the columns its template filled; text and what no column is for stays in the
//! bytes and is walked through on demand.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::column::{Column, Columns, WideColumn};
use super::element::Element;
use super::protocol::Protocol;
use super::sampling::{Rate, Ratio, Samplers};
use super::template::Template;
use crate::header::Ports;
use crate::{Mac, Timestamp, VlanId, Vni};

/// What the header of a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageHeader {
    /// Which protocol it is.
    pub protocol: Protocol,
    /// When the exporter sent it, by its own clock.
    pub export_time: Timestamp,
    /// How long the exporter had run then, in milliseconds; wraps after 49.7 days. Not in IPFIX.
    pub uptime_ms: Option<u32>,
    /// Its sequence number; what it counts differs, see [`Sequence`](super::Sequence).
    pub sequence: u32,
    /// Observation domain: source id of NetFlow version 9, engine of version 5, sub-agent of sFlow.
    pub domain: u32,
    /// The sampling rate that the header states, in NetFlow version 5.
    pub rate: Option<Ratio>,
}

/// A record of flows or of options.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    pub(super) header: &'a MessageHeader,
    pub(super) template: &'a Template,
    pub(super) bytes: &'a [u8],
    pub(super) columns: &'a Columns,
    pub(super) samplers: &'a Samplers,
    /// When the exporter was started, in milliseconds since 1970, as its options say.
    pub(super) system_init_ms: Option<u64>,
}

impl<'a> Record<'a> {
    /// The header of the message it came in.
    pub const fn header(&self) -> &'a MessageHeader {
        self.header
    }

    /// Its layout.
    pub const fn template(&self) -> &'a Template {
        self.template
    }

    /// The number in a column, if it has that.
    #[inline]
    pub fn get(&self, column: Column) -> Option<u64> {
        self.columns.get(column)
    }

    /// The bytes in a column of 16, if it has that.
    #[inline]
    pub fn get_wide(&self, column: WideColumn) -> Option<[u8; 16]> {
        self.columns.get_wide(column)
    }

    /// All its fields in their order, with the bytes of their values.
    pub fn fields(&self) -> impl Iterator<Item = (Element, &'a [u8])> + use<'a> {
        self.template.values(self.bytes)
    }

    /// The bytes of the first field of this element.
    pub fn field(&self, element: Element) -> Option<&'a [u8]> {
        self.fields().find(|(found, _)| *found == element).map(|(_, value)| value)
    }

    /// The first field of this element as text, without trailing zeros.
    pub fn text(&self, element: Element) -> Option<&'a str> {
        text(self.field(element)?)
    }

    /// One of how many packets it stands for, and who says so.
    pub fn rate(&self) -> Rate {
        self.samplers.rate(self.columns, self.template.id(), self.header.rate)
    }

    /// Bytes and packets of the flow, or of the way there of a flow with two ways.
    ///
    /// Running totals (elements 85 and 86) count only where there are no others: Open vSwitch sends
    /// both, and its totals run over many flows.
    pub fn counts(&self) -> Counts {
        use Column as C;
        let first = |columns: [C; 4]| columns.iter().find_map(|column| self.get(*column));
        let octets =
            [C::OctetDeltaCount, C::InitiatorOctets, C::PostOctetDeltaCount, C::OctetTotalCount];
        let packets = [
            C::PacketDeltaCount,
            C::InitiatorPackets,
            C::PostPacketDeltaCount,
            C::PacketTotalCount,
        ];
        Counts { octets: first(octets), packets: first(packets) }
    }

    /// Bytes and packets of the way back, if the record has both ways (RFC 5103).
    pub fn reverse_counts(&self) -> Option<Counts> {
        use Column as C;
        let first = |columns: [C; 3]| columns.iter().find_map(|column| self.get(*column));
        let octets = [C::ReverseOctetDeltaCount, C::ResponderOctets, C::ReverseOctetTotalCount];
        let packets = [C::ReversePacketDeltaCount, C::ResponderPackets, C::ReversePacketTotalCount];
        let counts = Counts { octets: first(octets), packets: first(packets) };
        (counts != Counts::default()).then_some(counts)
    }

    /// Who talks to whom, innermost: what a tenant's machine sent, where the record says both that
    /// and the tunnel around it.
    pub fn talk(&self) -> Option<Talk> {
        self.tenant_talk().or_else(|| self.outer_talk())
    }

    /// Who talks to whom by the plain elements, whatever else the record has.
    fn outer_talk(&self) -> Option<Talk> {
        let source = self.address(Column::SourceAddress4, WideColumn::SourceAddress6)?;
        let destination =
            self.address(Column::DestinationAddress4, WideColumn::DestinationAddress6)?;
        let protocol = self.get(Column::ProtocolIdentifier).map_or(0, low_byte);
        let ports = match self.icmp() {
            // Some have kind and code in the port of the destination as well; both say the same.
            Some(kind) if matches!(protocol, 1 | 58) => Ports { source: 0, destination: kind },
            _ => Ports {
                source: self.get(Column::SourcePort).map_or(0, low_short),
                destination: self.get(Column::DestinationPort).map_or(0, low_short),
            },
        };
        Some(Talk { source, destination, protocol, ports })
    }

    /// Who talks to whom by VMware's elements for what is in the tunnel.
    fn tenant_talk(&self) -> Option<Talk> {
        use Column as C;
        let source = self.address(C::TenantSourceAddress4, WideColumn::TenantSourceAddress6)?;
        let destination =
            self.address(C::TenantDestinationAddress4, WideColumn::TenantDestinationAddress6)?;
        // All zero where the template has room for a tunnel and the flow has none.
        if source.is_unspecified() && destination.is_unspecified() {
            return None;
        }
        let protocol = self.get(C::TenantProtocol).map_or(0, low_byte);
        let ports = Ports {
            source: self.get(C::TenantSourcePort).map_or(0, low_short),
            destination: self.get(C::TenantDestinationPort).map_or(0, low_short),
        };
        Some(Talk { source, destination, protocol, ports })
    }

    /// The ends of the tunnel that carried the flow, where the record names them.
    pub fn tunnel_ends(&self) -> Option<(IpAddr, IpAddr)> {
        if self.tenant_talk().is_some() {
            return self.outer_talk().map(|talk| (talk.source, talk.destination));
        }
        let end = |column| Some(IpAddr::from(low_word(self.get(column)?).to_be_bytes()));
        Some((end(Column::TunnelSourceAddress4)?, end(Column::TunnelDestinationAddress4)?))
    }

    /// The overlay network of the flow, where the record names one.
    pub fn vni(&self) -> Option<Vni> {
        // Kinds as Open vSwitch numbers them: 1 VXLAN, 7 GENEVE. The key of GRE is no VNI.
        if let (Some(1 | 7), Some(key)) =
            (self.get(Column::TunnelType), self.get(Column::TunnelKey))
        {
            return Vni::new(u32::try_from(key).ok()?);
        }
        // Element 351: the top byte names the kind, 1 is VXLAN; 0 is no overlay at all.
        let segment = self.get(Column::Layer2SegmentId)?;
        (segment >> 56 == 1).then(|| Vni::new(low_word(segment & 0xff_ffff)))?
    }

    /// The VLAN of the flow; `None` also for 0, which is none.
    pub fn vlan(&self) -> Option<VlanId> {
        let vlan = self.get(Column::Dot1qVlanId).or(self.get(Column::VlanId))?;
        VlanId::new(low_short(vlan)).filter(|vlan| vlan.value() != 0)
    }

    /// MAC addresses of sender and receiver, where the record has them.
    pub fn macs(&self) -> (Option<Mac>, Option<Mac>) {
        let mac = |columns: [Column; 2]| {
            let number = columns.iter().find_map(|column| self.get(*column))?;
            let [_, _, mac @ ..] = number.to_be_bytes();
            (number != 0).then_some(Mac(mac))
        };
        (
            mac([Column::SourceMac, Column::PostSourceMac]),
            mac([Column::DestinationMac, Column::PostDestinationMac]),
        )
    }

    /// Whether the flow was seen entering the observation point or leaving it (element 61).
    pub fn side(&self) -> Option<Side> {
        match self.get(Column::FlowDirection)? {
            0 => Some(Side::Ingress),
            1 => Some(Side::Egress),
            _ => None,
        }
    }

    /// Number of the interface, as the exporter numbers them.
    pub fn interface(&self, side: Side) -> Option<u32> {
        let column = match side {
            Side::Ingress => Column::IngressInterface,
            Side::Egress => Column::EgressInterface,
        };
        u32::try_from(self.get(column)?).ok()
    }

    /// Name of the interface, where the record has it.
    ///
    /// Element 82 stands twice in templates of Open vSwitch; which interface it names is said by
    /// the number before it.
    pub fn interface_name(&self, side: Side) -> Option<&'a str> {
        let mut about = Side::Ingress;
        for (element, value) in self.fields() {
            match (element.enterprise, element.number) {
                (0, 10) => about = Side::Ingress,
                (0, 14) => about = Side::Egress,
                (0, 82) if about == side => return text(value),
                _ => {}
            }
        }
        None
    }

    /// The first bytes of a packet of the flow, and its length where that is said: what
    /// element 315, or 104 of Cisco, holds.
    pub fn sampled_frame(&self) -> Option<(&'a [u8], Option<u64>)> {
        let bytes = self.field(Element::iana(315)).or_else(|| self.field(Element::iana(104)))?;
        Some((bytes, self.get(Column::DataLinkFrameSize)))
    }

    /// Every control bit of TCP that was seen, low byte.
    pub fn tcp_flags(&self) -> Option<u8> {
        self.get(Column::TcpControlBits).map(low_byte)
    }

    /// From when to when the flow was seen, by the exporter's clock.
    pub fn span(&self) -> Span {
        use Column as C;
        let pair = |start, end| Some((self.get(start)?, self.get(end)?));
        let nanos = |millis: u64| Timestamp::from_nanos(millis.saturating_mul(1_000_000));
        let exact = |start, end| Span::new(start, end, TimeBasis::Exporter);
        if let Some((start, end)) = pair(C::FlowStartMilliseconds, C::FlowEndMilliseconds) {
            return exact(nanos(start), nanos(end));
        }
        for (start, end) in [
            (C::FlowStartMicroseconds, C::FlowEndMicroseconds),
            (C::FlowStartNanoseconds, C::FlowEndNanoseconds),
        ] {
            if let Some((start, end)) = pair(start, end) {
                return exact(ntp(start), ntp(end));
            }
        }
        if let Some((start, end)) = pair(C::FlowStartDeltaMicroseconds, C::FlowEndDeltaMicroseconds)
        {
            // Microseconds before the export time (RFC 5102, section 5.9).
            let before =
                |delta| self.header.export_time.saturating_sub(Duration::from_micros(delta));
            return exact(before(start), before(end));
        }
        if let Some((start, end)) = pair(C::FlowStartSeconds, C::FlowEndSeconds) {
            return exact(Timestamp::from_parts(start, 0), Timestamp::from_parts(end, 0));
        }
        if let Some((start, end)) = pair(C::FlowStartUptime, C::FlowEndUptime) {
            return self.span_of_uptimes(low_word(start), low_word(end));
        }
        if let Some((start, millis)) = pair(C::FlowStartMilliseconds, C::FlowDurationMilliseconds) {
            return exact(nanos(start), nanos(start.saturating_add(millis)));
        }
        let time = self.header.export_time;
        Span { start: time, end: time, basis: TimeBasis::Export }
    }

    /// Elements 21 and 22 are milliseconds since the exporter was started, which the header knows,
    /// or an options record, or nobody.
    fn span_of_uptimes(&self, start: u32, end: u32) -> Span {
        let millis = |millis: u32| Duration::from_millis(u64::from(millis));
        let export = self.header.export_time;
        if let Some(uptime) = self.header.uptime_ms {
            // The counter wraps; what looks like the far future is the time before it did.
            let at = |time: u32| match uptime.wrapping_sub(time).cast_signed() {
                age if age >= 0 => export.saturating_sub(millis(age.unsigned_abs())),
                age => export.saturating_add(millis(age.unsigned_abs())),
            };
            return Span::new(at(start), at(end), TimeBasis::Exporter);
        }
        let init = self.get(Column::SystemInitMilliseconds).or(self.system_init_ms);
        let Some(init) = init else {
            let length = millis(end.wrapping_sub(start));
            return Span::new(export.saturating_sub(length), export, TimeBasis::Export);
        };
        let now_ms = export.as_nanos() / 1_000_000;
        let at = |time: u32| {
            // As many wraps as bring it next to the export time.
            let once = init.saturating_add(u64::from(time));
            let wraps = now_ms.saturating_sub(once).saturating_add(1 << 31) >> 32;
            Timestamp::from_nanos(once.saturating_add(wraps << 32).saturating_mul(1_000_000))
        };
        Span::new(at(start), at(end), TimeBasis::Exporter)
    }

    fn address(&self, v4: Column, v6: WideColumn) -> Option<IpAddr> {
        let v4 = self.get(v4).map(|bits| IpAddr::from(Ipv4Addr::from_bits(low_word(bits))));
        let v6 = self.get_wide(v6).map(|bytes| IpAddr::from(Ipv6Addr::from(bytes)));
        // Templates with room for both leave one of them zero.
        match (v4, v6) {
            (Some(v4), Some(v6)) => Some(if v4.is_unspecified() { v6 } else { v4 }),
            (v4, v6) => v4.or(v6),
        }
    }

    /// Kind and code of an ICMP message, kind in the high byte.
    fn icmp(&self) -> Option<u16> {
        use Column as C;
        let both = self.get(C::IcmpTypeCode4).or(self.get(C::IcmpTypeCode6)).map(low_short);
        let parts = |kind, code| {
            let kind = low_short(self.get(kind)?);
            Some(kind << 8 | self.get(code).map_or(0, low_short))
        };
        both.or_else(|| parts(C::IcmpType4, C::IcmpCode4))
            .or_else(|| parts(C::IcmpType6, C::IcmpCode6))
    }
}

/// Bytes and packets, where they are said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Bytes; of IP packets, with most exporters.
    pub octets: Option<u64>,
    /// Packets.
    pub packets: Option<u64>,
}

/// Who talks to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Talk {
    /// Who sent it.
    pub source: IpAddr,
    /// Who it is for.
    pub destination: IpAddr,
    /// IP protocol number; 0 where it is not said.
    pub protocol: u8,
    /// The ports; of ICMP the kind and code are the port of the destination, kind in the high
    /// byte.
    pub ports: Ports,
}

/// Entering or leaving an observation point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Entering.
    Ingress,
    /// Leaving.
    Egress,
}

/// From when to when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first packet.
    pub start: Timestamp,
    /// The last packet; never before `start`.
    pub end: Timestamp,
    /// Where both come from.
    pub basis: TimeBasis,
}

impl Span {
    /// What ends before it begins is put at its end and marked.
    fn new(start: Timestamp, end: Timestamp, basis: TimeBasis) -> Self {
        if start <= end {
            Self { start, end, basis }
        } else {
            Self { start: end, end, basis: TimeBasis::Reversed }
        }
    }
}

/// Where the times of a record come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeBasis {
    /// The record says them.
    Exporter,
    /// It says nothing that can be placed in time; they are guessed from when it was sent.
    Export,
    /// It says that the flow ended before it began.
    Reversed,
}

/// Text without the zeros it is padded with.
fn text(bytes: &[u8]) -> Option<&str> {
    Some(std::str::from_utf8(bytes).ok()?.trim_end_matches('\0'))
}

/// A time in the form of NTP: seconds since 1900 and their fraction (RFC 7011, section 6.1.9).
fn ntp(time: u64) -> Timestamp {
    let nanos = ((time & 0xffff_ffff) * 1_000_000_000) >> 32;
    let seconds = (time >> 32).saturating_sub(SECONDS_1900_TO_1970);
    Timestamp::from_parts(seconds, low_word(nanos))
}

const SECONDS_1900_TO_1970: u64 = 2_208_988_800;

#[expect(clippy::cast_possible_truncation, reason = "it is the low byte that is wanted")]
const fn low_byte(number: u64) -> u8 {
    number as u8
}

#[expect(clippy::cast_possible_truncation, reason = "it is the low bytes that are wanted")]
const fn low_short(number: u64) -> u16 {
    number as u16
}

#[expect(clippy::cast_possible_truncation, reason = "it is the low bytes that are wanted")]
const fn low_word(number: u64) -> u32 {
    number as u32
}
