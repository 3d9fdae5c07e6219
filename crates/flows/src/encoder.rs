//! Flows told to other collectors: as IPFIX (RFC 7011) or NetFlow version 9 (RFC 3954).
//!
//! Each direction of a flow that has packets is a record of its own, which every collector
//! understands. Counts are those of the flow, with its sampling rate beside them. Templates come
//! first and again every minute, as datagrams are lost.

use std::net::IpAddr;
use std::time::Duration;

use wire::Timestamp;

use crate::flow::{Flow, Way};
use crate::key::{Ends, icmp_answer};
use crate::network::OverlayKind;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// IPFIX.
    Ipfix,
    /// NetFlow version 9.
    Netflow9,
}

/// Makes messages of flows, each at most [`Encoder::LONGEST`] bytes.
#[derive(Debug)]
pub struct Encoder {
    dialect: Dialect,
    /// Observation domain, or source id.
    domain: u32,
    /// Of IPFIX the records sent so far, of NetFlow the messages.
    sequence: u32,
    /// When our uptime was zero, in milliseconds since 1970; NetFlow tells times by it.
    boot_ms: u64,
    /// When templates were last said.
    said_templates: Option<Timestamp>,
    /// The message, with room for its header; empty while there is none.
    message: Vec<u8>,
    /// Where the set of data in it begins, and its template.
    set: Option<(usize, Layout)>,
    /// Records of data in the message.
    records: u16,
    /// Templates in the message.
    templates: u16,
}

/// Which fields a record has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    is_ipv6: bool,
    /// With the kind and number of an overlay as Open vSwitch tells them: element 351 knows no
    /// GENEVE.
    has_tunnel: bool,
}

/// An element: enterprise number, number and length in bytes.
type Element = (u32, u16, u16);

impl Encoder {
    /// The longest message, in bytes: with its headers it fits an Ethernet frame.
    pub const LONGEST: usize = 1400;
    const REPEAT: Duration = Duration::from_secs(60);

    /// One that has said nothing yet.
    pub fn new(dialect: Dialect, domain: u32) -> Self {
        Self {
            dialect,
            domain,
            sequence: 0,
            boot_ms: 0,
            said_templates: None,
            message: Vec::with_capacity(Self::LONGEST),
            set: None,
            records: 0,
            templates: 0,
        }
    }

    /// Takes a flow; messages that are full go to `send`. `now` is the time of the export.
    pub fn add(&mut self, flow: &Flow, now: Timestamp, send: &mut impl FnMut(&[u8])) {
        for (way, is_back) in [(&flow.there, false), (&flow.back, true)] {
            if way.packets > 0 || way.octets > 0 {
                self.add_way(flow, way, is_back, now, send);
            }
        }
    }

    /// Sends what is left.
    pub fn flush(&mut self, now: Timestamp, send: &mut impl FnMut(&[u8])) {
        if self.message.is_empty() {
            return;
        }
        self.close_set();
        self.write_header(now);
        send(&self.message);
        self.sequence = self.sequence.wrapping_add(match self.dialect {
            Dialect::Ipfix => u32::from(self.records),
            Dialect::Netflow9 => 1,
        });
        self.message.clear();
        (self.records, self.templates) = (0, 0);
    }

    fn add_way(
        &mut self,
        flow: &Flow,
        way: &Way,
        is_back: bool,
        now: Timestamp,
        send: &mut impl FnMut(&[u8]),
    ) {
        let [address, _] = flow.ends.addresses;
        let is_geneve = flow.network.overlay.is_some_and(|o| o.kind == OverlayKind::Geneve);
        let layout = Layout {
            is_ipv6: address.is_ipv6(),
            has_tunnel: is_geneve && self.dialect == Dialect::Ipfix,
        };
        // A record, the header of its set, and what pads it.
        let needed = usize::from(layout.record_len(self.dialect)) + 8;
        if self.message.len() + needed > Self::LONGEST {
            self.flush(now, send);
        }
        if self.message.is_empty() {
            self.begin(now);
        }
        if self.set.is_none_or(|(_, open)| open != layout) {
            self.close_set();
            self.set = Some((self.message.len(), layout));
            self.put(&layout.template().to_be_bytes());
            self.put(&[0; 2]);
        }
        self.write_record(flow, way, is_back, layout);
        self.records += 1;
    }

    /// Leaves room for the header, and says templates if it is time.
    fn begin(&mut self, now: Timestamp) {
        let now_ms = millis(now);
        // Uptime has 32 bits: after 40 days it begins anew.
        if self.boot_ms == 0 || now_ms.saturating_sub(self.boot_ms) > 40 * DAY_MS {
            self.boot_ms = now_ms.saturating_sub(DAY_MS);
        }
        let header = if self.dialect == Dialect::Ipfix { 16 } else { 20 };
        self.message.resize(header, 0);
        let is_time =
            self.said_templates.is_none_or(|said| now.since(said) >= Self::REPEAT || now < said);
        if !is_time {
            return;
        }
        self.said_templates = Some(now);
        let start = self.message.len();
        self.put(&(if self.dialect == Dialect::Ipfix { 2_u16 } else { 0 }).to_be_bytes());
        self.put(&[0; 2]);
        for layout in Layout::all(self.dialect) {
            let fields = layout.fields(self.dialect);
            self.put(&layout.template().to_be_bytes());
            self.put(&u16::try_from(fields.len()).unwrap_or_default().to_be_bytes());
            for (enterprise, number, len) in fields {
                let marked = if enterprise == 0 { number } else { number | 0x8000 };
                self.put(&marked.to_be_bytes());
                self.put(&len.to_be_bytes());
                if enterprise != 0 {
                    self.put(&enterprise.to_be_bytes());
                }
            }
            self.templates += 1;
        }
        self.set_len(start);
    }

    fn write_record(&mut self, flow: &Flow, way: &Way, is_back: bool, layout: Layout) {
        let [mut from, mut to] = flow.ends.addresses;
        let [mut from_mac, mut to_mac] = flow.macs;
        if is_back {
            std::mem::swap(&mut from, &mut to);
            std::mem::swap(&mut from_mac, &mut to_mac);
        }
        let ([from_port, to_port], icmp) = ports(&flow.ends, is_back);
        let (rate, scale) = rate(flow);
        self.put_address(from);
        self.put_address(to);
        self.put(&from_port.to_be_bytes());
        self.put(&to_port.to_be_bytes());
        self.put(&[flow.ends.protocol]);
        self.put(&scale(way.octets).to_be_bytes());
        self.put(&scale(way.packets).to_be_bytes());
        match self.dialect {
            Dialect::Ipfix => {
                self.put(&[0, way.tcp_flags]);
                self.put(&millis(way.first).to_be_bytes());
                self.put(&millis(way.last).to_be_bytes());
            }
            Dialect::Netflow9 => {
                self.put(&[way.tcp_flags]);
                self.put(&self.uptime(way.first).to_be_bytes());
                self.put(&self.uptime(way.last).to_be_bytes());
            }
        }
        self.put(&from_mac.0);
        self.put(&to_mac.0);
        self.put(&flow.network.vlan.map_or(0, wire::VlanId::value).to_be_bytes());
        self.put(&segment(flow).to_be_bytes());
        self.put(&[flow.end.ipfix()]);
        self.put(&rate.to_be_bytes());
        self.put(&icmp.to_be_bytes());
        if layout.has_tunnel {
            let [_, number @ ..] = flow.network.overlay.map_or(0, |o| o.number).to_be_bytes();
            self.put(&[TUNNEL_GENEVE]);
            self.put(&number);
        }
    }

    fn write_header(&mut self, now: Timestamp) {
        let seconds = low(now.seconds()).to_be_bytes();
        let mut header = Vec::with_capacity(20);
        match self.dialect {
            Dialect::Ipfix => {
                header.extend([0, 10]);
                header.extend(len(self.message.len()));
                header.extend(seconds);
            }
            Dialect::Netflow9 => {
                header.extend([0, 9]);
                header.extend((self.records + self.templates).to_be_bytes());
                // Whoever reads it takes the uptime from the whole seconds behind it.
                header.extend(self.uptime(Timestamp::from_parts(now.seconds(), 0)).to_be_bytes());
                header.extend(seconds);
            }
        }
        header.extend(self.sequence.to_be_bytes());
        header.extend(self.domain.to_be_bytes());
        if let Some(place) = self.message.get_mut(..header.len()) {
            place.copy_from_slice(&header);
        }
    }

    /// Ends the set of data, padded to four bytes.
    fn close_set(&mut self) {
        if let Some((start, _)) = self.set.take() {
            while !(self.message.len() - start).is_multiple_of(4) {
                self.message.push(0);
            }
            self.set_len(start);
        }
    }

    /// Writes the length of the set that begins at `start` and ends here.
    fn set_len(&mut self, start: usize) {
        let bytes = len(self.message.len() - start);
        if let Some(place) = self.message.get_mut(start + 2..start + 4) {
            place.copy_from_slice(&bytes);
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.message.extend_from_slice(bytes);
    }

    fn put_address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.put(&address.octets()),
            IpAddr::V6(address) => self.put(&address.octets()),
        }
    }

    fn uptime(&self, time: Timestamp) -> u32 {
        low(millis(time).saturating_sub(self.boot_ms))
    }
}

impl Layout {
    fn all(dialect: Dialect) -> impl Iterator<Item = Self> {
        let tunnels: &[bool] = if dialect == Dialect::Ipfix { &[false, true] } else { &[false] };
        tunnels.iter().flat_map(|has_tunnel| {
            [false, true].map(|is_ipv6| Self { is_ipv6, has_tunnel: *has_tunnel })
        })
    }

    /// Its number.
    fn template(self) -> u16 {
        256 + u16::from(self.is_ipv6) + 2 * u16::from(self.has_tunnel)
    }

    fn fields(self, dialect: Dialect) -> Vec<Element> {
        let (source, destination, address) = if self.is_ipv6 { (27, 28, 16) } else { (8, 12, 4) };
        let icmp = if self.is_ipv6 { 139 } else { 32 };
        let mut fields = vec![
            (0, source, address),
            (0, destination, address),
            (0, 7, 2),
            (0, 11, 2),
            (0, 4, 1),
            (0, 1, 8),
            (0, 2, 8),
        ];
        fields.extend::<[Element; 3]>(match dialect {
            Dialect::Ipfix => [(0, 6, 2), (0, 152, 8), (0, 153, 8)],
            Dialect::Netflow9 => [(0, 6, 1), (0, 22, 4), (0, 21, 4)],
        });
        fields.extend([
            (0, 56, 6),  // source MAC
            (0, 80, 6),  // destination MAC
            (0, 58, 2),  // VLAN
            (0, 351, 8), // layer 2 segment: VXLAN or NVGRE
            (0, 136, 1), // why it is told
            (0, 34, 4),  // sampling
            (0, icmp, 2),
        ]);
        if self.has_tunnel {
            fields.extend([
                (wire::export::Element::VMWARE, 891, 1),
                (wire::export::Element::VMWARE, 892, 3),
            ]);
        }
        fields
    }

    fn record_len(self, dialect: Dialect) -> u16 {
        self.fields(dialect).iter().map(|(_, _, len)| len).sum()
    }
}

/// Ports as exporters tell them, and kind and code of ICMP, which stand in the destination port as
/// well.
fn ports(ends: &Ends, is_back: bool) -> ([u16; 2], u16) {
    let [p, q] = ends.ports;
    if !matches!(ends.protocol, 1 | 58) {
        return (if is_back { [q, p] } else { [p, q] }, 0);
    }
    let kind = |port: u16| u8::try_from(port).unwrap_or_default();
    let (kind, code) = match (icmp_answer(ends.protocol, kind(p)), is_back) {
        (Some(_), true) => (kind(q), 0),
        (Some(_), false) => (kind(p), 0),
        (None, _) => (kind(p), kind(q)),
    };
    let both = u16::from_be_bytes([kind, code]);
    ([0, both], both)
}

/// The rate as one in so many, and what makes counts of those that go with it.
fn rate(flow: &Flow) -> (u32, impl Fn(u64) -> u64) {
    let ratio = flow.rate.ratio;
    let is_whole = ratio.population.is_multiple_of(ratio.taken);
    let rate = if is_whole { ratio.population / ratio.taken } else { 1 };
    (rate, move |count| if is_whole { count } else { ratio.scale(count) })
}

/// Element 351: the top byte names the kind (IANA's registry: 1 VXLAN, 2 NVGRE); 0 is none.
fn segment(flow: &Flow) -> u64 {
    let Some(overlay) = flow.network.overlay else { return 0 };
    match overlay.kind {
        OverlayKind::Vxlan | OverlayKind::Unsaid => 1 << 56 | u64::from(overlay.number),
        OverlayKind::Nvgre => 2 << 56 | u64::from(overlay.number),
        OverlayKind::Geneve | OverlayKind::Gre | OverlayKind::Erspan => 0,
    }
}

const fn millis(time: Timestamp) -> u64 {
    time.as_nanos() / 1_000_000
}

fn len(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

/// The low 32 bits; times of exports wrap.
const fn low(value: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "wrapping is what the format means")]
    let low = value as u32;
    low
}

const DAY_MS: u64 = 24 * 3600 * 1000;
/// The kind of a tunnel as Open vSwitch numbers it (lib/odp-util and ofproto-dpif-ipfix).
const TUNNEL_GENEVE: u8 = 7;

#[cfg(test)]
mod tests;
