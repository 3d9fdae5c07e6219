//! Random expressions and frames that have something to do with each other: few addresses, few
//! ports, every kind of header, broken and cut ones too.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use std::fmt;

/// A source of numbers that are the same for the same seed.
pub(crate) struct Random(u64);

/// What stands between Ethernet and its payload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tags {
    None,
    /// One VLAN tag, or none.
    OneVlan,
    /// One to three VLAN tags.
    Some,
}

/// A frame, and the same frame without its tags.
pub(crate) struct Frame {
    pub(crate) bytes: Vec<u8>,
    pub(crate) without_tags: Vec<u8>,
    len: usize,
}

impl Frame {
    pub(crate) fn wire_len(&self) -> u32 {
        u32::try_from(self.len).unwrap()
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.bytes.len() < self.len
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}: ", self.bytes.len(), self.len)?;
        self.bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    /// An expression of words that need no tunnel.
    pub(crate) fn expression(&mut self, depth: usize) -> String {
        self.tree(depth, &mut Self::primitive)
    }

    /// An expression that asks nothing of the Ethernet header's bytes and the frame's length.
    pub(crate) fn expression_about_payload(&mut self, depth: usize) -> String {
        self.tree(depth, &mut Self::primitive_about_payload)
    }

    pub(crate) fn expression_of_one_tag(&mut self) -> String {
        self.of(&["vlan", "vlan 5", "vlan 6", "vlan 0"]).to_owned()
    }

    fn tree(&mut self, depth: usize, leaf: &mut impl FnMut(&mut Self) -> String) -> String {
        if depth == 0 || self.one_in(3) {
            return leaf(self);
        }
        let left = self.tree(depth - 1, leaf);
        match self.below(7) {
            0 => format!("not ({left})"),
            1 => format!("({left}) && ({})", self.tree(depth - 1, leaf)),
            2 | 3 => format!("{left} and {}", self.tree(depth - 1, leaf)),
            _ => format!("{left} or {}", self.tree(depth - 1, leaf)),
        }
    }

    fn primitive(&mut self) -> String {
        match self.below(8) {
            0 => self.of(LINK_WORDS).to_owned(),
            1 => {
                let relation = self.of(&["=", "!=", ">", "<", ">=", "<="]);
                let offset = self.below(20);
                let width = self.of(&["", ":1", ":2", ":4"]);
                format!("ether[{offset}{width}] {relation} {}", self.value())
            }
            2 => {
                let relation = self.of(&["=", "!=", ">", "<", ">=", "<="]);
                format!("len {relation} {}", 40 + self.below(60))
            }
            _ => self.primitive_about_payload(),
        }
    }

    fn primitive_about_payload(&mut self) -> String {
        let direction = self.of(&["", "", "src ", "dst ", "src or dst ", "src and dst "]);
        let number = |random: &mut Self| random.of(PORTS).to_owned();
        match self.below(14) {
            0 | 1 => self.of(WORDS).to_owned(),
            2 => {
                let family = self.of(&["", "", "ip ", "arp ", "rarp "]);
                format!("{family}{direction}host {}", self.of(HOSTS))
            }
            3 => format!("{direction}net {}", self.of(NETS)),
            4 => format!("ip6 {direction}host {}", self.of(HOSTS6)),
            5 => format!("{direction}net {}", self.of(NETS6)),
            6 | 7 => {
                let transport = self.of(&["", "tcp ", "udp ", "sctp "]);
                format!("{transport}{direction}port {}", number(self))
            }
            8 => {
                let transport = self.of(&["", "tcp ", "udp ", "sctp "]);
                let (first, last) = (self.below(500), self.below(50_000));
                format!("{transport}{direction}portrange {first}-{last}")
            }
            9 => {
                let family = self.of(&["", "ip ", "ip6 "]);
                format!("{family}proto {}", self.of(&["1", "2", "6", "17", "44", "58", "132", "0"]))
            }
            10 => format!("ether {direction}host {}", self.of(MACS)),
            _ => self.relation(),
        }
    }

    fn relation(&mut self) -> String {
        let relation = self.of(&["=", "==", "!=", ">", "<", ">=", "<="]);
        let left = self.calculation(2);
        let right = if self.one_in(4) { self.calculation(1) } else { self.value() };
        if self.one_in(6) {
            format!("{right} {relation} {left}")
        } else {
            format!("{left} {relation} {right}")
        }
    }

    fn calculation(&mut self, depth: usize) -> String {
        let header = self
            .of(&["ip", "ip", "tcp", "tcp", "udp", "icmp", "ip6", "icmp6", "arp", "sctp", "igmp"]);
        let width = self.of(&["", "", ":2", ":4"]);
        let bytes = match self.below(12) {
            0 => "tcp[tcpflags]".to_owned(),
            1 => "icmp[icmptype]".to_owned(),
            2 => "ip[6:2]".to_owned(),
            3 => format!("{header}[ip[0] & 3{width}]"),
            _ => format!("{header}[{}{width}]", self.below(26)),
        };
        if depth == 0 || self.one_in(2) {
            return bytes;
        }
        let operator = self.of(&["&", "|", "^", "+", "-", "*", "/", "%", "<<", ">>"]);
        let operand = match operator {
            "<<" | ">>" => format!("{}", self.below(31) + 1),
            _ if self.one_in(4) => self.calculation(depth - 1),
            _ => self.value(),
        };
        match self.below(3) {
            0 => format!("({bytes} {operator} {operand})"),
            1 => format!("{bytes} {operator} {operand} & 0xff"),
            _ => format!("{bytes} {operator} {operand}"),
        }
    }

    fn value(&mut self) -> String {
        match self.below(4) {
            0 => self
                .of(&["tcp-syn", "tcp-ack", "icmp-echo", "(tcp-syn|tcp-fin)", "0x1fff", "0x45"])
                .to_owned(),
            1 => format!("{}", self.below(8) + 1),
            2 => format!("{:#x}", self.below(256) + 1),
            _ => format!("{}", self.below(70_000) + 1),
        }
    }

    pub(crate) fn frame(&mut self, tags: Tags) -> Frame {
        let macs = [mac(self.of(MACS)), mac(self.of(MACS))].concat();
        let (ether_type, payload) = self.payload();
        let count = match tags {
            Tags::None => 0,
            Tags::OneVlan => self.below(2),
            Tags::Some => self.below(3) + 1,
        };
        let mut between = Vec::new();
        for _ in 0..count {
            let tpid = self.of(&["8100", "8100", "88a8", "9100"]);
            between.extend(u16::from_str_radix(tpid, 16).unwrap().to_be_bytes());
            between.extend([self.byte() & 0xe0, [0, 5, 6, 7][self.below(4)]]);
        }
        let rest = [&ether_type.to_be_bytes()[..], &payload].concat();
        let whole = [&macs[..], &between, &rest].concat();
        let without = [&macs[..], &rest].concat();
        let kept = if self.one_in(10) { self.below(whole.len() + 1) } else { whole.len() };
        // What is cut within the tags is cut behind the MACs without them.
        let kept_without = kept.saturating_sub(between.len()).max(kept.min(12));
        let is_within_tags = kept < 12 + between.len() + 2 && !between.is_empty();
        let kept = if is_within_tags { whole.len() } else { kept };
        let kept_without = if is_within_tags { without.len() } else { kept_without };
        Frame {
            bytes: whole[..kept].to_vec(),
            without_tags: without[..kept_without].to_vec(),
            len: whole.len(),
        }
    }

    fn payload(&mut self) -> (u16, Vec<u8>) {
        match self.below(16) {
            0 => (0x0806, self.arp()),
            1 => (0x8035, self.arp()),
            2 => {
                let other = self.of(&["88b5", "6003", "809b", "8137", "88cc", "0600", "05dd"]);
                (u16::from_str_radix(other, 16).unwrap(), self.noise(60))
            }
            3 => {
                let starts: [&[u8]; 8] = [
                    &[0x42, 0x42, 3],
                    &[0xfe, 0xfe, 3, 0x83],
                    &[0xf0, 0xf0, 0x7f],
                    &[0xe0, 0xe0, 3],
                    &[0xff, 0xff],
                    &[0xaa, 0xaa, 3, 0, 0, 0, 0x81, 0x37],
                    &[0xaa, 0xaa, 3, 8, 0, 7, 0x80, 0x9b],
                    &[0xaa, 0xaa, 3, 0, 0, 0, 0x80, 0xf3],
                ];
                let start = starts[self.below(8)];
                (60, [start, &self.noise(57)].concat())
            }
            4..=7 => (0x86dd, self.ipv6()),
            _ => (0x0800, self.ipv4()),
        }
    }

    fn arp(&mut self) -> Vec<u8> {
        let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, 1 + self.byte() % 4];
        for _ in 0..2 {
            bytes.extend(mac(self.of(MACS)));
            bytes.extend(self.host());
        }
        bytes.extend(self.noise(18));
        bytes
    }

    fn host(&mut self) -> [u8; 4] {
        self.of(HOSTS).parse::<std::net::Ipv4Addr>().unwrap().octets()
    }

    fn ipv4(&mut self) -> Vec<u8> {
        let words = if self.one_in(4) { 5 + self.byte() % 6 } else { 5 };
        let protocol = self.protocol();
        let transport = self.transport(protocol);
        let len = u16::try_from(usize::from(words) * 4 + transport.len()).unwrap().to_be_bytes();
        let fragment = match self.below(8) {
            0 => [0x20, 0],
            1 => [0x20, 5],
            2 => [0, 9],
            3 => [0x40, 0],
            _ => [0, 0],
        };
        let first = if self.one_in(40) { self.byte() } else { 0x40 | words };
        let mut bytes = vec![first, self.byte() & 0xfc, len[0], len[1], 0, 7];
        bytes.extend(fragment);
        bytes.extend([self.byte(), protocol, 0, 0]);
        bytes.extend(self.host());
        bytes.extend(self.host());
        for _ in 5..words {
            bytes.extend([1, 1, 1, 0]);
        }
        bytes.extend(transport);
        bytes
    }

    fn ipv6(&mut self) -> Vec<u8> {
        let protocol = self.protocol();
        let mut payload = self.transport(protocol);
        let mut next = protocol;
        match self.below(6) {
            0 => {
                let offset = [0, 0, 0, 1, 0x08, 0x09][self.below(6)];
                payload = [&[next, 0, 0, offset, 0, 0, 0, 9][..], &payload].concat();
                next = 44;
            }
            1 => {
                payload = [&[next, 0, 1, 4, 0, 0, 0, 0][..], &payload].concat();
                next = [0, 60, 43][self.below(3)];
            }
            _ => {}
        }
        let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![0x60, 0, 0, 0, len[0], len[1], next, self.byte()];
        for _ in 0..2 {
            bytes.extend(self.of(HOSTS6).parse::<std::net::Ipv6Addr>().unwrap().octets());
        }
        bytes.extend(payload);
        bytes
    }

    fn protocol(&mut self) -> u8 {
        [6, 6, 6, 17, 17, 17, 1, 58, 132, 2, 103, 112, 50, 9, 89][self.below(15)]
    }

    fn transport(&mut self, protocol: u8) -> Vec<u8> {
        let mut bytes = self.noise(40);
        match protocol {
            6 | 17 | 132 => {
                for at in [0, 2] {
                    let port: u16 = self.of(PORTS).parse().unwrap();
                    bytes[at..at + 2].copy_from_slice(&port.to_be_bytes());
                }
                if protocol == 17 {
                    bytes[4..6].copy_from_slice(&40_u16.to_be_bytes());
                }
                if protocol == 6 {
                    bytes[12] = 0x50;
                    bytes[13] &= 0x3f;
                }
            }
            1 => bytes[0] = [0, 8, 3, 11][self.below(4)],
            58 => bytes[0] = [128, 129, 135, 1][self.below(4)],
            _ => {}
        }
        bytes
    }

    fn noise(&mut self, len: usize) -> Vec<u8> {
        let most = if self.one_in(2) { 255 } else { 7 };
        (0..len).map(|_| self.byte() & most).collect()
    }
}

fn mac(text: &str) -> [u8; 6] {
    let octets: Vec<u8> = text.split(':').map(|o| u8::from_str_radix(o, 16).unwrap()).collect();
    octets.try_into().unwrap()
}

const MACS: &[&str] = &[
    "52:54:00:00:00:01",
    "52:54:00:00:00:02",
    "52:54:00:00:00:03",
    "ff:ff:ff:ff:ff:ff",
    "01:00:5e:00:00:01",
    "33:33:00:00:00:01",
];
const HOSTS: &[&str] = &["10.0.0.1", "10.0.0.2", "10.1.0.1", "192.168.0.1", "224.0.0.5", "0.0.0.0"];
const NETS: &[&str] = &[
    "10.0.0.0/8",
    "10",
    "10.0.0",
    "192.168",
    "10.0.0.0/31",
    "0.0.0.0/0",
    "10.0.0.0 mask 255.0.0.255",
];
const HOSTS6: &[&str] = &["2001:db8::1", "2001:db8::2", "fe80::1", "ff02::1", "::"];
const NETS6: &[&str] = &["2001:db8::/32", "fe80::/10", "::/0", "2001:db8::2/127", "ff00::/8"];
const PORTS: &[&str] = &["22", "53", "80", "443", "3389", "40000"];
const LINK_WORDS: &[&str] = &[
    "less 60",
    "greater 80",
    "ether proto 0x0800",
    "ether proto 5",
    "ether proto 0x42",
    "ether proto 0x88b5",
    "llc",
    "llc u",
    "llc ui",
    "llc i",
    "llc s",
    "stp",
    "iso",
    "isis",
    "l1",
    "ipx",
    "netbeui",
    "atalk",
    "aarp",
    "decnet",
    "decnet src 1.1",
];
const WORDS: &[&str] = &[
    "ip",
    "ip6",
    "arp",
    "rarp",
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmp6",
    "igmp",
    "igrp",
    "pim",
    "vrrp",
    "esp",
    "ah",
    "broadcast",
    "multicast",
    "ip broadcast",
    "ip multicast",
    "ip6 multicast",
    "ether broadcast",
    "port 80 or 443",
    "host 10.0.0.1 or 10.0.0.2",
];
