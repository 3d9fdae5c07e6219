//! sFlow version 5: samples of packets, with the beginning of each, and samples of counters.
//!
//! The layout is that of sflow_version_5.txt; discarded packets are those of sflow_drops.txt.
//! Everything says its length, so what is unknown is stepped over.

use std::net::{IpAddr, Ipv4Addr};

use super::account::Fault;
use super::collector::{Collector, Datagram, Event};
use super::exporter::{Exporter, ExporterKey};
use super::protocol::Protocol;
use super::record::MessageHeader;
use super::sampling::{Rate, RateOrigin, Ratio};
use super::sequence::Units;
use crate::header::Ports;
use crate::{Cursor, LinkType, Timestamp, VlanId, Vni};

/// Takes a datagram; `false` if it is not to be believed to be sFlow.
pub(super) fn take(
    collector: &mut Collector,
    datagram: &Datagram<'_>,
    each: &mut impl FnMut(Event<'_>),
) -> bool {
    let mut cursor = Cursor::new(datagram.payload);
    let head = read_head(&mut cursor, datagram.time);
    // Without a head nobody knows which agent it was; who sent it is the next best.
    let (agent, sub_agent) = head
        .as_ref()
        .map_or((datagram.source.ip(), 0), |(agent, header, _)| (*agent, header.domain));
    let key = ExporterKey { address: agent, port: 0, protocol: Protocol::Sflow, domain: sub_agent };
    let Some(number) = collector.exporter(key, datagram) else { return false };
    let Some(exporter) = collector.exporter_mut(number) else { return false };
    exporter.account.datagrams += 1;
    exporter.account.bytes += datagram.payload.len() as u64;
    let Some((_, header, samples)) = head else {
        exporter.account.fault(Fault::HeaderCut);
        return true;
    };
    exporter.see(&header, datagram.time);
    exporter.count(&header, Some(Units::Messages));
    let mut taken = 0;
    for _ in 0..samples {
        let Some((format, body)) = tagged(&mut cursor) else {
            exporter.account.fault(Fault::SampleCut);
            break;
        };
        taken += 1;
        if sample(exporter, &header, format, body, each).is_none() {
            exporter.account.fault(Fault::SampleCut);
        }
    }
    if taken == samples && !cursor.ahead().is_empty() {
        exporter.account.wrong_counts += 1;
    }
    true
}

/// version | agent | sub-agent | sequence | uptime | samples
fn read_head(cursor: &mut Cursor<'_>, now: Timestamp) -> Option<(IpAddr, MessageHeader, u32)> {
    cursor.pass::<4>()?;
    let agent = address(cursor)?;
    let domain = word(cursor)?;
    let sequence = word(cursor)?;
    let uptime_ms = Some(word(cursor)?);
    let header = MessageHeader {
        protocol: Protocol::Sflow,
        // A datagram has no time of its own, only how long the agent has run.
        export_time: now,
        uptime_ms,
        sequence,
        domain,
        rate: None,
    };
    Some((agent, header, word(cursor)?))
}

/// Shows one sample; `None` if it goes beyond its own length.
fn sample(
    exporter: &mut Exporter,
    header: &MessageHeader,
    format: u32,
    body: &[u8],
    each: &mut impl FnMut(Event<'_>),
) -> Option<()> {
    let mut cursor = Cursor::new(body);
    match format {
        FLOW_SAMPLE | EXPANDED_FLOW_SAMPLE => {
            let sample = FlowSample::read(&mut cursor, header, format == EXPANDED_FLOW_SAMPLE)?;
            exporter.account.flow_samples += 1;
            exporter.count_sample(&sample);
            each(Event::Sample(exporter, sample));
        }
        COUNTER_SAMPLE | EXPANDED_COUNTER_SAMPLE => {
            let sample =
                CounterSample::read(&mut cursor, header, format == EXPANDED_COUNTER_SAMPLE)?;
            exporter.account.counter_samples += 1;
            each(Event::Counters(exporter, sample));
        }
        DISCARD_SAMPLE => {
            let sample = DiscardSample::read(&mut cursor, header)?;
            exporter.account.discard_samples += 1;
            each(Event::Discard(exporter, sample));
        }
        _ => exporter.account.unknown_samples += 1,
    }
    Some(())
}

/// A sampled packet.
#[derive(Debug, Clone, Copy)]
pub struct FlowSample<'a> {
    /// When the datagram came.
    pub time: Timestamp,
    /// Kind and index of the data source; kind 0 is an interface.
    pub source: (u32, u32),
    /// Number of the sample at its source.
    pub sequence: u32,
    /// One in so many packets is sampled.
    pub interval: u32,
    /// Packets that could have been sampled so far; wraps.
    pub pool: u32,
    /// Samples of this source that the agent lost so far.
    pub drops: u32,
    /// Where the packet came in.
    pub input: Interface,
    /// Where it went out.
    pub output: Interface,
    records: &'a [u8],
    count: u32,
}

impl<'a> FlowSample<'a> {
    fn read(cursor: &mut Cursor<'a>, header: &MessageHeader, is_expanded: bool) -> Option<Self> {
        let sequence = word(cursor)?;
        let source = data_source(cursor, is_expanded)?;
        let (interval, pool, drops) = (word(cursor)?, word(cursor)?, word(cursor)?);
        let interface = |cursor: &mut _| match is_expanded {
            true => Interface::expanded(word(cursor)?, word(cursor)?),
            false => Interface::packed(word(cursor)?),
        };
        let (input, output) = (interface(cursor)?, interface(cursor)?);
        let count = word(cursor)?;
        let records = cursor.ahead();
        let sample = Self {
            time: header.export_time,
            source,
            sequence,
            interval,
            pool,
            drops,
            input,
            output,
            records,
            count,
        };
        is_whole(records, count).then_some(sample)
    }

    /// The rate the sample states.
    pub fn rate(&self) -> Rate {
        match Ratio::one_in(u64::from(self.interval)) {
            Some(ratio) => Rate { ratio, origin: RateOrigin::Record },
            None => Rate::UNKNOWN,
        }
    }

    /// Its records: format (enterprise << 12 | number) and bytes.
    pub fn records(&self) -> impl Iterator<Item = (u32, &'a [u8])> + use<'a> {
        records(self.records, self.count)
    }

    /// The beginning of the packet.
    pub fn header(&self) -> Option<SampledHeader<'a>> {
        let (_, bytes) = self.records().find(|(format, _)| *format == RAW_HEADER)?;
        let cursor = &mut Cursor::new(bytes);
        let (protocol, frame_len, stripped) = (word(cursor)?, word(cursor)?, word(cursor)?);
        let len = usize::try_from(word(cursor)?).ok()?;
        let bytes = cursor.ahead();
        // Agents that sample less than they say do exist.
        let bytes = bytes.get(..len).unwrap_or(bytes);
        let link = match protocol {
            1 => LinkType::ETHERNET,
            7 => LinkType::PPP,
            11 | 12 => LinkType::RAW,
            13 => LinkType::MPLS,
            _ => LinkType(u16::MAX),
        };
        Some(SampledHeader { protocol, link, frame_len, stripped, bytes })
    }

    /// Addresses and ports as the switch read them, of agents that send no header (records 3).
    pub fn sampled_ipv4(&self) -> Option<SampledIpv4> {
        let (_, bytes) = self.records().find(|(format, _)| *format == SAMPLED_IPV4)?;
        SampledIpv4::read(bytes)
    }

    /// VLANs in which the packet came in and went out, where the switch says them.
    pub fn vlans(&self) -> Option<(VlanId, VlanId)> {
        let (_, bytes) = self.records().find(|(format, _)| *format == EXTENDED_SWITCH)?;
        let cursor = &mut Cursor::new(bytes);
        let mut vlan = || {
            let vlan = VlanId::new(u16::try_from(word(cursor)?).ok()?);
            word(cursor)?;
            vlan
        };
        Some((vlan()?, vlan()?))
    }

    /// The tunnel the packet came out of (`true`) or went into: its ends and VNI, where the switch
    /// says them.
    pub fn tunnel(&self, is_ingress: bool) -> Option<SampledTunnel> {
        let (ends, vni) = match is_ingress {
            true => (TUNNEL_INGRESS, VNI_INGRESS),
            false => (TUNNEL_EGRESS, VNI_EGRESS),
        };
        let mut tunnel = SampledTunnel { ends: None, vni: None };
        for (format, bytes) in self.records() {
            if format == ends {
                tunnel.ends = SampledIpv4::read(bytes).map(|ip| (ip.source, ip.destination));
            } else if format == vni {
                tunnel.vni = word(&mut Cursor::new(bytes)).and_then(Vni::new);
            }
        }
        (tunnel.ends.is_some() || tunnel.vni.is_some()).then_some(tunnel)
    }
}

/// The beginning of a sampled packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampledHeader<'a> {
    /// What it begins with, as sFlow numbers it: 1 Ethernet, 11 IPv4, 12 IPv6.
    pub protocol: u32,
    /// The same as a link type; one that nobody has for kinds that are not decoded.
    pub link: LinkType,
    /// Bytes of the whole frame.
    pub frame_len: u32,
    /// Bytes that were taken off before, at either end.
    pub stripped: u32,
    /// What there is of it.
    pub bytes: &'a [u8],
}

/// Who talked to whom, as a switch read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampledIpv4 {
    /// Bytes of the IP packet.
    pub len: u32,
    /// IP protocol.
    pub protocol: u32,
    /// Who sent it.
    pub source: Ipv4Addr,
    /// Who it is for.
    pub destination: Ipv4Addr,
    /// The ports.
    pub ports: Ports,
}

impl SampledIpv4 {
    fn read(bytes: &[u8]) -> Option<Self> {
        let cursor = &mut Cursor::new(bytes);
        let (len, protocol) = (word(cursor)?, word(cursor)?);
        let source = Ipv4Addr::from_bits(word(cursor)?);
        let destination = Ipv4Addr::from_bits(word(cursor)?);
        let mut port = || u16::try_from(word(cursor)?).ok();
        let ports = Ports { source: port()?, destination: port()? };
        Some(Self { len, protocol, source, destination, ports })
    }
}

/// A tunnel that a switch put a packet into, or took it out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampledTunnel {
    /// Its ends, sender first.
    pub ends: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Its network.
    pub vni: Option<Vni>,
}

/// Counters of a data source.
#[derive(Debug, Clone, Copy)]
pub struct CounterSample<'a> {
    /// When the datagram came.
    pub time: Timestamp,
    /// Kind and index of the data source.
    pub source: (u32, u32),
    /// Number of the sample at its source.
    pub sequence: u32,
    records: &'a [u8],
    count: u32,
}

impl<'a> CounterSample<'a> {
    fn read(cursor: &mut Cursor<'a>, header: &MessageHeader, is_expanded: bool) -> Option<Self> {
        let sequence = word(cursor)?;
        let source = data_source(cursor, is_expanded)?;
        let count = word(cursor)?;
        let records = cursor.ahead();
        let sample = Self { time: header.export_time, source, sequence, records, count };
        is_whole(records, count).then_some(sample)
    }

    /// Its records: format (enterprise << 12 | number) and bytes.
    pub fn records(&self) -> impl Iterator<Item = (u32, &'a [u8])> + use<'a> {
        records(self.records, self.count)
    }

    /// Name of the port (format 1005, of Open vSwitch and others).
    pub fn port_name(&self) -> Option<&'a str> {
        let (_, bytes) = self.records().find(|(format, _)| *format == PORT_NAME)?;
        let cursor = &mut Cursor::new(bytes);
        let len = usize::try_from(word(cursor)?).ok()?;
        std::str::from_utf8(cursor.ahead().get(..len)?).ok()
    }

    /// Bytes in and out of the interface (format 1, if_counters).
    pub fn octets(&self) -> Option<(u64, u64)> {
        let (_, bytes) = self.records().find(|(format, _)| *format == IF_COUNTERS)?;
        let number =
            |offset: usize| Some(u64::from_be_bytes(*bytes.get(offset..)?.first_chunk::<8>()?));
        // index, type | speed | direction, status | in octets ... | out octets.
        Some((number(24)?, number(56)?))
    }
}

/// A packet that a switch dropped.
#[derive(Debug, Clone, Copy)]
pub struct DiscardSample<'a> {
    /// When the datagram came.
    pub time: Timestamp,
    /// Kind and index of the data source.
    pub source: (u32, u32),
    /// Number of the sample at its source.
    pub sequence: u32,
    /// Dropped packets that were not sampled so far.
    pub drops: u32,
    /// Where the packet came in; 0 is not known.
    pub input: u32,
    /// Where it was to go; 0 is not known.
    pub output: u32,
    /// Why, in the numbers of sFlow (256 and more, or codes of ICMP).
    pub reason: u32,
    records: &'a [u8],
    count: u32,
}

impl<'a> DiscardSample<'a> {
    fn read(cursor: &mut Cursor<'a>, header: &MessageHeader) -> Option<Self> {
        let sequence = word(cursor)?;
        let source = data_source(cursor, true)?;
        let (drops, input, output) = (word(cursor)?, word(cursor)?, word(cursor)?);
        let (reason, count) = (word(cursor)?, word(cursor)?);
        let records = cursor.ahead();
        let time = header.export_time;
        let sample = Self { time, source, sequence, drops, input, output, reason, records, count };
        is_whole(records, count).then_some(sample)
    }

    /// Its records: format (enterprise << 12 | number) and bytes.
    pub fn records(&self) -> impl Iterator<Item = (u32, &'a [u8])> + use<'a> {
        records(self.records, self.count)
    }
}

/// An interface as sFlow names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interface {
    /// One, by its ifIndex; 0 is not known.
    Index(u32),
    /// The device itself.
    Local,
    /// None: the packet was dropped, for this reason.
    Dropped(u32),
    /// Several, so many; 0 is a number not known.
    Several(u32),
}

impl Interface {
    /// The two top bits are the form.
    fn packed(value: u32) -> Option<Self> {
        Self::expanded(value >> 30, value & LOCAL)
    }

    fn expanded(format: u32, value: u32) -> Option<Self> {
        Some(match (format, value) {
            (0, LOCAL) => Self::Local,
            (0, index) => Self::Index(index),
            (1, reason) => Self::Dropped(reason),
            (2, count) => Self::Several(count),
            // Not assigned; the sample is good all the same.
            (_, _) => Self::Index(0),
        })
    }

    /// The ifIndex, if it is one interface that is known.
    pub const fn index(self) -> Option<u32> {
        match self {
            Self::Index(index) if index != 0 => Some(index),
            _ => None,
        }
    }
}

/// The value that is the device itself.
const LOCAL: u32 = 0x3fff_ffff;

#[inline]
fn word(cursor: &mut Cursor<'_>) -> Option<u32> {
    Some(u32::from_be_bytes(*cursor.pass::<4>()?))
}

/// Format, length and bytes of something.
#[inline]
fn tagged<'a>(cursor: &mut Cursor<'a>) -> Option<(u32, &'a [u8])> {
    let start = *cursor;
    let (format, len) = (word(cursor)?, word(cursor)?);
    let bytes = cursor.pass_slice(usize::try_from(len).ok()?);
    if bytes.is_none() {
        *cursor = start;
    }
    Some((format, bytes?))
}

/// Kind and index of a data source.
fn data_source(cursor: &mut Cursor<'_>, is_expanded: bool) -> Option<(u32, u32)> {
    let first = word(cursor)?;
    if is_expanded { Some((first, word(cursor)?)) } else { Some((first >> 24, first & 0xff_ffff)) }
}

/// An address: kind, then 4 or 16 bytes.
fn address(cursor: &mut Cursor<'_>) -> Option<IpAddr> {
    match word(cursor)? {
        1 => Some(IpAddr::from(*cursor.pass::<4>()?)),
        2 => Some(IpAddr::from(*cursor.pass::<16>()?)),
        _ => None,
    }
}

fn records(bytes: &[u8], count: u32) -> impl Iterator<Item = (u32, &[u8])> {
    let mut cursor = Cursor::new(bytes);
    (0..count).map_while(move |_| tagged(&mut cursor))
}

/// Whether all records that are counted are there.
fn is_whole(bytes: &[u8], count: u32) -> bool {
    // No record is shorter than what says its length.
    let is_possible = u64::from(count) * 8 <= bytes.len() as u64;
    is_possible && records(bytes, count).count() as u64 == u64::from(count)
}

const FLOW_SAMPLE: u32 = 1;
const COUNTER_SAMPLE: u32 = 2;
const EXPANDED_FLOW_SAMPLE: u32 = 3;
const EXPANDED_COUNTER_SAMPLE: u32 = 4;
const DISCARD_SAMPLE: u32 = 5;

const RAW_HEADER: u32 = 1;
const SAMPLED_IPV4: u32 = 3;
const EXTENDED_SWITCH: u32 = 1001;
const TUNNEL_EGRESS: u32 = 1023;
const TUNNEL_INGRESS: u32 = 1024;
const VNI_EGRESS: u32 = 1029;
const VNI_INGRESS: u32 = 1030;

const IF_COUNTERS: u32 = 1;
const PORT_NAME: u32 = 1005;
