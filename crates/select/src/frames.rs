//! Frames for tests: described in words, made into bytes, and judged from the words alone.

use proptest::prelude::*;
use wire::{Mac, VlanId, Vni};

use crate::bpf::Auxiliary;
use crate::{Encapsulation, Identity, OnWire};

/// A frame on a shared wire.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) macs: Macs,
    /// A tag the kernel took out of the bytes: TPID, TCI.
    pub(crate) metadata: Option<(u16, u16)>,
    /// Tags in the bytes.
    pub(crate) tags: Vec<(u16, u16)>,
    pub(crate) payload: Payload,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Macs {
    pub(crate) destination: Mac,
    pub(crate) source: Mac,
}

#[derive(Debug, Clone)]
pub(crate) enum Payload {
    /// An EtherType and bytes that hold nothing.
    Other(u16),
    Ip {
        header: Ip,
        transport: Transport,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum Ip {
    V4 {
        option_words: u8,
        fragment_offset: u16,
        has_more: bool,
    },
    /// Next headers in front of the transport: 0, 60 or 43.
    V6 {
        extensions: Vec<u8>,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum Transport {
    Tcp,
    Udp { port: u16, tunnel: UdpTunnel },
    Gre { flags: u16, protocol: u16, key: u32, inner: Inner },
}

#[derive(Debug, Clone)]
pub(crate) enum UdpTunnel {
    None,
    Vxlan { flags: u8, vni: u32, inner: Inner },
    Geneve { option_words: u8, protocol: u16, vni: u32, inner: Inner },
}

/// An Ethernet frame in a tunnel.
#[derive(Debug, Clone)]
pub(crate) struct Inner {
    pub(crate) macs: Macs,
    pub(crate) tags: Vec<(u16, u16)>,
}

impl Frame {
    /// The bytes a packet socket would give.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.macs.bytes();
        put_tags(&mut bytes, &self.tags);
        match &self.payload {
            Payload::Other(ether_type) => {
                bytes.extend(ether_type.to_be_bytes());
                bytes.extend([0; 46]);
            }
            Payload::Ip { header, transport } => {
                bytes.extend(header.ether_type().to_be_bytes());
                bytes.extend(header.bytes(transport));
            }
        }
        bytes
    }

    /// The bytes a capture file would hold: all tags in them.
    pub(crate) fn bytes_with_all_tags(&self) -> Vec<u8> {
        let mut frame = self.clone();
        frame.tags.splice(..0, frame.metadata.take());
        frame.bytes()
    }

    pub(crate) fn auxiliary(&self) -> Auxiliary {
        Auxiliary { tag: self.metadata, wire_len: None }
    }

    /// Whether the frame belongs to one of `identities`; `None` for a later fragment, of which
    /// nobody can know.
    pub(crate) fn belongs_to(&self, identities: &[Identity]) -> Option<bool> {
        let mut is_open = false;
        for identity in identities {
            let inner = match identity.network {
                OnWire::Overlay { vni, tunnel, vlan, .. } => {
                    is_open |= self.is_later_fragment(tunnel);
                    self.carried_in(tunnel, identity.network.udp_port(), vni.value())
                        .filter(|inner| {
                            vlan.is_none() || matches!(named(&inner.tags)[..], [] | [_])
                        })
                        .filter(|inner| {
                            vlan.is_none_or(|v| named(&inner.tags).iter().all(|t| *t == v.value()))
                        })
                        .map(|inner| inner.macs)
                }
                OnWire::Vlan(vlan) => (self.vlans() == [vlan.value()]).then_some(self.macs),
                OnWire::Untagged => self.vlans().is_empty().then_some(self.macs),
            };
            if inner.is_some_and(|macs| macs.concern(identity.mac)) {
                return Some(true);
            }
        }
        if is_open { None } else { Some(false) }
    }

    fn vlans(&self) -> Vec<u16> {
        let all: Vec<_> = self.metadata.iter().chain(&self.tags).copied().collect();
        named(&all)
    }

    fn is_later_fragment(&self, tunnel: Encapsulation) -> bool {
        let Payload::Ip { header: Ip::V4 { fragment_offset, .. }, transport } = &self.payload
        else {
            return false;
        };
        let is_gre = matches!(transport, Transport::Gre { .. });
        let is_udp = matches!(transport, Transport::Udp { .. });
        *fragment_offset > 0 && if tunnel == Encapsulation::Gre { is_gre } else { is_udp }
    }

    fn carried_in(&self, tunnel: Encapsulation, udp: Option<u16>, number: u32) -> Option<&Inner> {
        if self.is_later_fragment(tunnel) {
            return None;
        }
        let Payload::Ip { transport, .. } = &self.payload else { return None };
        let (inner, is_it) = match transport {
            Transport::Gre { flags, protocol: 0x6558, key, inner } if flags & 0x2000 != 0 => {
                (inner, tunnel == Encapsulation::Gre && *key == number)
            }
            Transport::Udp { port, tunnel: UdpTunnel::Vxlan { flags, vni, inner } } => (
                inner,
                tunnel == Encapsulation::Vxlan
                    && Some(*port) == udp
                    && flags & 8 != 0
                    && *vni == number,
            ),
            Transport::Udp {
                port,
                tunnel: UdpTunnel::Geneve { protocol: 0x6558, vni, inner, .. },
            } => (inner, tunnel == Encapsulation::Geneve && Some(*port) == udp && *vni == number),
            _ => return None,
        };
        is_it.then_some(inner)
    }
}

impl Macs {
    fn bytes(self) -> Vec<u8> {
        [self.destination.0, self.source.0].concat()
    }

    fn concern(self, mac: Mac) -> bool {
        self.destination == mac || self.source == mac || self.destination.is_group()
    }
}

impl Ip {
    fn ether_type(&self) -> u16 {
        match self {
            Self::V4 { .. } => 0x0800,
            Self::V6 { .. } => 0x86dd,
        }
    }

    fn bytes(&self, transport: &Transport) -> Vec<u8> {
        let payload = transport.bytes();
        match self {
            Self::V4 { option_words, fragment_offset, has_more } => {
                let header_len = 20 + 4 * usize::from(*option_words);
                let total = u16::try_from(header_len + payload.len()).unwrap();
                let fragment = fragment_offset & 0x1fff | if *has_more { 0x2000 } else { 0 };
                let mut bytes = vec![0x45 + option_words, 0];
                bytes.extend(total.to_be_bytes());
                bytes.extend([0, 7]);
                bytes.extend(fragment.to_be_bytes());
                bytes.extend([64, transport.number(), 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
                bytes.extend(vec![1; 4 * usize::from(*option_words)]);
                bytes.extend(payload);
                bytes
            }
            Self::V6 { extensions } => {
                let mut headers = Vec::new();
                for next in extensions.iter().skip(1).copied().chain([transport.number()]) {
                    headers.extend([next, 0, 1, 4, 0, 0, 0, 0]);
                }
                if extensions.is_empty() {
                    headers.clear();
                }
                let len = u16::try_from(headers.len() + payload.len()).unwrap();
                let first = extensions.first().copied().unwrap_or(transport.number());
                let mut bytes = vec![0x60, 0, 0, 0];
                bytes.extend(len.to_be_bytes());
                bytes.extend([first, 64]);
                bytes.extend([0x20; 32]);
                bytes.extend(headers);
                bytes.extend(payload);
                bytes
            }
        }
    }
}

impl Transport {
    fn number(&self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp { .. } => 17,
            Self::Gre { .. } => 47,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Tcp => {
                let mut bytes = vec![0, 80, 0x12, 0xb5, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10];
                bytes.resize(20, 0);
                bytes
            }
            Self::Udp { port, tunnel } => {
                let payload = tunnel.bytes();
                let mut bytes = vec![0xc0, 1];
                bytes.extend(port.to_be_bytes());
                bytes.extend(u16::try_from(payload.len() + 8).unwrap().to_be_bytes());
                bytes.extend([0, 0]);
                bytes.extend(payload);
                bytes
            }
            Self::Gre { flags, protocol, key, inner } => {
                let mut bytes = flags.to_be_bytes().to_vec();
                bytes.extend(protocol.to_be_bytes());
                if flags & 0xc000 != 0 {
                    bytes.extend([0; 4]);
                }
                if flags & 0x2000 != 0 {
                    bytes.extend(key.to_be_bytes());
                }
                if flags & 0x1000 != 0 {
                    bytes.extend([0, 0, 0, 9]);
                }
                bytes.extend(inner.bytes());
                bytes
            }
        }
    }
}

impl UdpTunnel {
    fn bytes(&self) -> Vec<u8> {
        let shifted = |vni: u32| (vni << 8).to_be_bytes();
        match self {
            Self::None => vec![0; 12],
            Self::Vxlan { flags, vni, inner } => {
                [&[*flags, 0, 0, 0][..], &shifted(*vni), &inner.bytes()].concat()
            }
            Self::Geneve { option_words, protocol, vni, inner } => {
                let mut bytes = vec![*option_words, 0];
                bytes.extend(protocol.to_be_bytes());
                bytes.extend(shifted(*vni));
                for _ in 0..*option_words {
                    // An option of no bytes.
                    bytes.extend([0x01, 0x02, 0x80, 0]);
                }
                bytes.extend(inner.bytes());
                bytes
            }
        }
    }
}

impl Inner {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.macs.bytes();
        put_tags(&mut bytes, &self.tags);
        bytes.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
        bytes.extend([0; 20]);
        bytes
    }
}

fn put_tags(bytes: &mut Vec<u8>, tags: &[(u16, u16)]) {
    for (tpid, tci) in tags {
        bytes.extend(tpid.to_be_bytes());
        bytes.extend(tci.to_be_bytes());
    }
}

/// The VLANs that tags name; a priority tag names none.
fn named(tags: &[(u16, u16)]) -> Vec<u16> {
    tags.iter().map(|(_, tci)| tci & 0xfff).filter(|vlan| *vlan != 0).collect()
}

pub(crate) fn mac(last: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, last])
}

pub(crate) fn vlan(id: u16) -> VlanId {
    VlanId::new(id).unwrap()
}

pub(crate) fn overlay(vni: u32, tunnel: Encapsulation) -> OnWire {
    OnWire::Overlay { vni: Vni::new(vni).unwrap(), tunnel, udp_port: None, vlan: None }
}

/// Frames that are nearly what a test looks for: few MACs, few networks, every way to be odd.
pub(crate) fn frames() -> impl Strategy<Value = Frame> {
    (macs(), prop::option::weighted(0.3, tag()), prop::collection::vec(tag(), 0..3), payload())
        .prop_map(|(macs, metadata, tags, payload)| Frame { macs, metadata, tags, payload })
}

/// Identities that such frames may have.
pub(crate) fn identities() -> impl Strategy<Value = Vec<Identity>> {
    let tunnel = prop::sample::select(vec![
        (Encapsulation::Vxlan, None),
        (Encapsulation::Vxlan, Some(8472)),
        (Encapsulation::Geneve, None),
        (Encapsulation::Gre, None),
    ]);
    let network = prop_oneof![
        4 => (vni(), tunnel, prop::option::weighted(0.2, 1_u16..3)).prop_map(
            |(vni, (tunnel, udp_port), vlan)| OnWire::Overlay {
                vni: Vni::new(vni).unwrap(),
                tunnel,
                udp_port,
                vlan: vlan.and_then(VlanId::new),
            }
        ),
        1 => (1_u16..3).prop_map(|id| OnWire::Vlan(vlan(id))),
        1 => Just(OnWire::Untagged),
    ];
    let identity =
        (0_u8..4, network).prop_map(|(last, network)| Identity { mac: mac(last), network });
    prop::collection::vec(identity, 0..6)
}

fn vni() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![10_u32, 11, 0xab_cdef])
}

fn macs() -> impl Strategy<Value = Macs> {
    let any = prop_oneof![
        8 => (0_u8..5).prop_map(mac),
        1 => Just(Mac::BROADCAST),
        1 => Just(Mac([0x33, 0x33, 0, 0, 0, 1])),
    ];
    (any, (0_u8..5).prop_map(mac)).prop_map(|(destination, source)| Macs { destination, source })
}

fn tag() -> impl Strategy<Value = (u16, u16)> {
    (prop::sample::select(vec![0x8100_u16, 0x88a8]), 0_u16..4, 0_u16..8)
        .prop_map(|(tpid, id, pcp)| (tpid, id | pcp << 13))
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        1 => prop::sample::select(vec![0x0806_u16, 0x8035, 0x88cc, 0x88b5, 0x0026])
            .prop_map(Payload::Other),
        9 => (ip(), transport())
            .prop_map(|(header, transport)| Payload::Ip { header, transport }),
    ]
}

fn ip() -> impl Strategy<Value = Ip> {
    let offset = prop_oneof![4 => Just(0_u16), 1 => 1_u16..0x1fff];
    prop_oneof![
        3 => (prop_oneof![2 => Just(0_u8), 1 => 1_u8..11], offset, any::<bool>()).prop_map(
            |(option_words, fragment_offset, has_more)| Ip::V4 {
                option_words, fragment_offset, has_more
            }
        ),
        1 => prop::collection::vec(prop::sample::select(vec![0_u8, 60]), 0..2)
            .prop_map(|extensions| Ip::V6 { extensions }),
    ]
}

fn transport() -> impl Strategy<Value = Transport> {
    let flags = prop::sample::select(vec![0x2000_u16, 0x3000, 0xa000, 0xb000, 0, 0x1000]);
    let protocol = prop_oneof![6 => Just(0x6558_u16), 1 => Just(0x0800_u16)];
    let port = |common: u16| prop_oneof![4 => Just(common), 1 => Just(8472_u16), 1 => Just(53)];
    let vxlan = (prop_oneof![4 => Just(8_u8), 1 => any::<u8>()], vni(), inner())
        .prop_map(|(flags, vni, inner)| UdpTunnel::Vxlan { flags, vni, inner });
    let geneve = (prop_oneof![Just(0_u8), Just(2), 0_u8..64], protocol.clone(), vni(), inner())
        .prop_map(|(option_words, protocol, vni, inner)| UdpTunnel::Geneve {
            option_words,
            protocol,
            vni,
            inner,
        });
    prop_oneof![
        1 => Just(Transport::Tcp),
        1 => (1_u16..1024).prop_map(|port| Transport::Udp { port, tunnel: UdpTunnel::None }),
        6 => (port(4789), vxlan).prop_map(|(port, tunnel)| Transport::Udp { port, tunnel }),
        // 8472 is VXLAN's.
        3 => (prop_oneof![4 => Just(6081_u16), 1 => Just(53)], geneve)
            .prop_map(|(port, tunnel)| Transport::Udp { port, tunnel }),
        3 => (flags, protocol, vni(), inner())
            .prop_map(|(flags, protocol, key, inner)| Transport::Gre { flags, protocol, key, inner }),
    ]
}

fn inner() -> impl Strategy<Value = Inner> {
    (macs(), prop::collection::vec(tag(), 0..2)).prop_map(|(macs, tags)| Inner { macs, tags })
}
