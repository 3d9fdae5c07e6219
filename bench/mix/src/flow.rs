//! Conversations: who talks to whom, how, and where their packets are seen.

use crate::frame::{self, Inner, Shape};
use crate::random::Random;
use crate::site::{self, Carrier, GATEWAY_MAC, Network, Vm};

/// One conversation. Its packets all take the same way.
#[derive(Debug, Clone)]
pub struct Flow {
    /// Who begins.
    pub near: End,
    pub far: End,
    /// Network of `near`; `None` for what is nobody's.
    pub network: Option<Network>,
    pub path: Path,
    pub hash: u16,
    protocol: Protocol,
    is_ipv6: bool,
    ports: [u16; 2],
    /// Next sequence number of each side.
    sequence: [u32; 2],
    ip_id: [u16; 2],
}

/// A partner of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Vm(Vm),
    /// A physical machine.
    Server(u8),
    /// Everyone in the network.
    Group,
}

/// Where the packets of a flow are seen, and how they look there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// At one place only.
    Once(Shape),
    /// On the sender's vSwitch with a tag, then on its uplink in the tunnel.
    TapAndUplink,
    /// On the uplink, and mirrored to the tool.
    UplinkAndMirror(Shape),
    /// On both hosts' uplinks, with equal bytes.
    TwoUplinks,
    /// On both hosts' vSwitches, with equal bytes.
    TwoTaps,
    /// Tap, uplink, uplink, tap.
    FourPoints,
    /// Before and after the tenant's router: another network, other MACs, one hop less.
    Routed,
    /// As `UplinkAndMirror`, but the mirror is later than any sensible window: no duplicate.
    Late,
    /// The twins in another tenant exchange the same bytes a moment later: no duplicate.
    Twin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
    Icmp,
    Arp,
    Mdns,
    /// An ICMP error of the underlay that quotes the head of a VXLAN packet.
    Quote,
}

impl Flow {
    /// A conversation of `vm`. `has_points` says whether places are told apart by interface; where
    /// not, there are no copies that only the interface tells from a repetition.
    pub fn of_vm(vm: Vm, random: &mut Random, has_points: bool) -> Self {
        let network = vm.network();
        let mut flow = Self::new(End::Vm(vm), End::Server(0), Some(network), random);
        flow.protocol =
            [Protocol::Tcp, Protocol::Udp, Protocol::Icmp, Protocol::Arp, Protocol::Mdns]
                [random.weighted(&[65, 25, 5, 3, 2])];
        flow.far = match flow.protocol {
            Protocol::Mdns => End::Group,
            _ if random.per_mille(250) => End::Server(random.below(16) as u8),
            _ => End::Vm(other_vm(vm, random, |other| other.network() == network)),
        };
        flow.path = path(random);
        let kept_tag = Shape::Erspan2 { is_tag_kept: true };
        if flow.path == Path::Routed {
            if flow.is_local() || flow.protocol == Protocol::Icmp {
                flow.path = Path::TapAndUplink;
            } else {
                flow.far = End::Vm(other_vm(vm, random, |other| other.tenant() == vm.tenant()));
            }
        }
        flow.path = match flow.path {
            Path::TwoUplinks if !has_points => Path::Once(Shape::Carried),
            Path::TwoTaps if !has_points => Path::Once(Shape::Tagged),
            Path::FourPoints if !has_points => Path::TapAndUplink,
            // The twin's peer must be the peer's twin.
            Path::Twin if flow.is_local() => Path::UplinkAndMirror(kept_tag),
            Path::Once(Shape::Carried)
                if network.carrier() == Carrier::Vlan && random.per_mille(500) =>
            {
                Path::Once(Shape::VnTag)
            }
            path => path,
        };
        // One ARP packet is like the next: were its copy late, it could be that of another.
        if flow.protocol == Protocol::Arp
            && matches!(flow.path, Path::Late | Path::UplinkAndMirror(_))
        {
            flow.path = Path::TapAndUplink;
        }
        flow
    }

    /// The same without ARP. No two flows may ask the same, or nobody could tell whether what is
    /// seen at two places is one packet or two.
    pub fn without_arp(mut self) -> Self {
        if self.protocol == Protocol::Arp {
            self.protocol = Protocol::Icmp;
        }
        self
    }

    /// Traffic of physical machines, without any tag. One in 20 has the MACs of VMs, one in 20
    /// quotes a tunnel: neither is a VM's.
    pub fn of_nobody(random: &mut Random) -> Self {
        let server = random.below(8) as u8;
        let mut flow = Self::new(End::Server(server), End::Server(server + 8), None, random);
        match random.below(20) {
            0 => flow.protocol = Protocol::Quote,
            1 => {
                let vm = Vm(random.below(u64::from(site::VMS)) as u16);
                flow.near = End::Vm(vm);
                flow.far = End::Vm(other_vm(vm, random, |other| other.network() == vm.network()));
            }
            _ => {}
        }
        flow
    }

    fn new(near: End, far: End, network: Option<Network>, random: &mut Random) -> Self {
        Self {
            near,
            far,
            network,
            path: Path::Once(Shape::Plain),
            hash: random.next() as u16,
            protocol: if random.per_mille(700) { Protocol::Tcp } else { Protocol::Udp },
            is_ipv6: random.per_mille(250),
            ports: [random.between(32768, 60999) as u16, server_port(random)],
            sequence: [random.next() as u32, random.next() as u32],
            ip_id: [random.next() as u16, random.next() as u16],
        }
    }

    /// Sender and receiver of a packet; `is_back` is the answer's direction.
    pub fn ends(&self, is_back: bool) -> (End, End) {
        if is_back { (self.far, self.near) } else { (self.near, self.far) }
    }

    /// Which way the next packet goes.
    pub fn direction(&self, random: &mut Random) -> bool {
        self.far != End::Group && random.per_mille(450)
    }

    /// The next packet. `id` marks it: it stands in its first eight bytes of payload.
    pub fn packet(&mut self, is_back: bool, id: u64, random: &mut Random) -> Inner {
        let (from, to) = self.ends(is_back);
        let source = mac(from);
        let destination = if self.path == Path::Routed { GATEWAY_MAC } else { mac(to) };
        if self.protocol == Protocol::Arp {
            return arp(from, to, is_back);
        }
        let (next_header, segment) = self.segment(is_back, id, random);
        let mut packet = Vec::with_capacity(segment.len() + 40);
        let side = usize::from(is_back);
        let ethertype = if self.is_ipv6 && self.protocol != Protocol::Quote {
            let (from, to) = (frame::v6(0, address(from)), group_v6(to));
            frame::put_ipv6(&mut packet, next_header, 64, segment.len(), from, to);
            frame::IPV6
        } else {
            self.ip_id[side] = self.ip_id[side].wrapping_add(1);
            let (from, to) = ([10, 0, 0, address(from)], group_v4(to));
            // Linux numbers what may not be fragmented with 0, except in TCP.
            let id = if next_header == TCP { self.ip_id[side] } else { 0 };
            frame::put_ipv4(&mut packet, next_header, 64, id, segment.len(), from, to);
            frame::IPV4
        };
        let addresses = if ethertype == frame::IPV6 { 8..40 } else { 12..20 };
        let mut sum = frame::sum(&packet[addresses]);
        if next_header != ICMP {
            sum += u64::from(next_header) + segment.len() as u64;
        }
        packet.extend(segment);
        set_checksum(&mut packet, if ethertype == frame::IPV6 { 40 } else { 20 }, next_header, sum);
        Inner { destination, source, ethertype, packet }
    }

    /// A TCP segment once more: the same, but for the number in its IPv4 header.
    pub fn renumbered(&mut self, inner: &Inner, is_back: bool) -> Option<Inner> {
        if inner.ethertype != frame::IPV4 || self.protocol != Protocol::Tcp {
            return None;
        }
        let side = usize::from(is_back);
        self.ip_id[side] = self.ip_id[side].wrapping_add(1);
        let mut again = inner.clone();
        again.packet[4..6].copy_from_slice(&self.ip_id[side].to_be_bytes());
        // The checksum is made anew by the same means as after a router, one hop more and less.
        again.packet[8] += 1;
        Some(again.routed(inner.destination, inner.source))
    }

    /// Whether its packets stay within one link.
    fn is_local(&self) -> bool {
        !matches!((self.protocol, self.far), (Protocol::Tcp | Protocol::Udp, End::Vm(_)))
    }

    /// What follows the IP header, with a checksum of 0.
    fn segment(&mut self, is_back: bool, id: u64, random: &mut Random) -> (u8, Vec<u8>) {
        let side = usize::from(is_back);
        let (source, destination) = (self.ports[side], self.ports[1 - side]);
        let len = payload_len(self.protocol, is_back, random);
        let mut bytes = Vec::with_capacity(len + 40);
        let protocol = match self.protocol {
            Protocol::Tcp => {
                bytes.extend(source.to_be_bytes());
                bytes.extend(destination.to_be_bytes());
                bytes.extend(self.sequence[side].to_be_bytes());
                bytes.extend(self.sequence[1 - side].to_be_bytes());
                bytes.extend([0x80, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
                // Two NOPs and a time stamp, which is what makes one ACK differ from the next.
                bytes.extend([1, 1, 8, 10]);
                bytes.extend((id as u32).to_be_bytes());
                bytes.extend([0, 0, 0, 1]);
                self.sequence[side] = self.sequence[side].wrapping_add(len as u32);
                TCP
            }
            Protocol::Udp | Protocol::Mdns => {
                let is_mdns = self.protocol == Protocol::Mdns;
                let ports = if is_mdns { [5353, 5353] } else { [source, destination] };
                for word in [ports[0], ports[1], len as u16 + 8, 0] {
                    bytes.extend(word.to_be_bytes());
                }
                UDP
            }
            Protocol::Icmp | Protocol::Arp | Protocol::Quote => {
                let kind = match (self.protocol, self.is_ipv6) {
                    (Protocol::Quote, _) => 3,
                    (_, true) => 128 + side as u8,
                    (_, false) => 8 * (1 - side as u8),
                };
                bytes.extend([kind, 0, 0, 0]);
                bytes.extend([(self.hash >> 8) as u8, self.hash as u8]);
                bytes.extend((id as u16).to_be_bytes());
                if self.is_ipv6 && self.protocol != Protocol::Quote { ICMPV6 } else { ICMP }
            }
        };
        if self.protocol == Protocol::Quote {
            quote(&mut bytes);
        } else {
            put_payload(&mut bytes, len, id);
        }
        (protocol, bytes)
    }
}

/// How often a flow takes which path.
fn path(random: &mut Random) -> Path {
    let is_tag_kept = random.per_mille(500);
    let (second, third) = (Shape::Erspan2 { is_tag_kept }, Shape::Erspan3 { is_tag_kept });
    let paths = [
        (68, Path::Once(Shape::Carried)),
        (5, Path::Once(Shape::Tagged)),
        (6, Path::Once(second)),
        (4, Path::Once(third)),
        (5, Path::TapAndUplink),
        (2, Path::UplinkAndMirror(second)),
        (1, Path::UplinkAndMirror(third)),
        (1, Path::TwoUplinks),
        (1, Path::TwoTaps),
        (1, Path::FourPoints),
        (3, Path::Routed),
        (1, Path::Late),
        (2, Path::Twin),
    ];
    paths[random.weighted(&paths.map(|(weight, _)| weight))].1
}

fn other_vm(vm: Vm, random: &mut Random, is_wanted: impl Fn(Vm) -> bool) -> Vm {
    loop {
        let other = Vm(random.below(u64::from(site::VMS)) as u16);
        if other != vm && is_wanted(other) {
            return other;
        }
    }
}

fn payload_len(protocol: Protocol, is_back: bool, random: &mut Random) -> usize {
    let small = random.between(12, 110) as usize;
    match protocol {
        Protocol::Tcp if is_back => {
            if random.per_mille(800) {
                0
            } else {
                small
            }
        }
        Protocol::Tcp | Protocol::Udp => match random.weighted(&[47, 26, 27]) {
            0 => small,
            1 => random.between(111, 600) as usize,
            _ => 1378,
        },
        _ => 56,
    }
}

fn put_payload(bytes: &mut Vec<u8>, len: usize, id: u64) {
    let Some(rest) = len.checked_sub(8) else { return };
    bytes.extend(id.to_be_bytes());
    // Cheap, and different enough between packets that nothing compresses or hashes too well.
    let mut word = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for _ in 0..rest.div_ceil(8) {
        word = word.wrapping_mul(0xd129_0ddb_53c4_3e49).rotate_left(17);
        bytes.extend(word.to_le_bytes());
    }
    bytes.truncate(bytes.len() - (rest.next_multiple_of(8) - rest));
}

/// The head of a VXLAN packet between the hosts, with an inner frame of VM 0.
fn quote(bytes: &mut Vec<u8>) {
    frame::put_ipv4(bytes, UDP, 64, 7, 1400, [192, 168, 0, 11], [192, 168, 0, 12]);
    for word in [49152u16, 4789, 1400, 0] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend([8, 0, 0, 0, 0, 0x13, 0x89, 0]);
    bytes.extend(Vm(0).mac());
    bytes.extend(Vm(5).mac());
    bytes.extend(frame::IPV4.to_be_bytes());
}

fn arp(from: End, to: End, is_answer: bool) -> Inner {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1 + u8::from(is_answer)];
    packet.extend(mac(from));
    packet.extend([10, 0, 0, address(from)]);
    packet.extend(if is_answer { mac(to) } else { [0; 6] });
    packet.extend([10, 0, 0, address(to)]);
    let destination = if is_answer { mac(to) } else { [0xff; 6] };
    Inner { destination, source: mac(from), ethertype: frame::ARP, packet }
}

pub fn mac(end: End) -> [u8; 6] {
    match end {
        End::Vm(vm) => vm.mac(),
        End::Server(server) => site::physical_mac(server),
        End::Group => [0x01, 0x00, 0x5e, 0x00, 0x00, 0xfb],
    }
}

fn address(end: End) -> u8 {
    match end {
        End::Vm(vm) => vm.address(),
        End::Server(server) => site::physical_address(server),
        End::Group => 0,
    }
}

fn group_v4(end: End) -> [u8; 4] {
    if end == End::Group { [224, 0, 0, 251] } else { [10, 0, 0, address(end)] }
}

fn group_v6(end: End) -> [u8; 16] {
    let mut group = [0; 16];
    (group[0], group[1], group[15]) = (0xff, 0x02, 0xfb);
    if end == End::Group { group } else { frame::v6(0, address(end)) }
}

fn set_checksum(packet: &mut [u8], start: usize, protocol: u8, pseudo_header: u64) {
    let at = start
        + match protocol {
            TCP => 16,
            UDP => 6,
            _ => 2,
        };
    let pseudo_header = if protocol == ICMP { 0 } else { pseudo_header };
    let sum = !frame::folded(pseudo_header + frame::sum(&packet[start..]));
    let sum = if sum == 0 && protocol == UDP { 0xffff } else { sum };
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn server_port(random: &mut Random) -> u16 {
    [443, 80, 5432, 6379, 22, 8080, 9092, 3306][random.below(8) as usize]
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
