//! Tells the shapes of packets apart: tag or none, tunnel or none, and everything else, which
//! passes.
//!
//! User space may see a tunnel where a port or a protocol number names one, and no tunnel where a
//! length or a flag is wrong. So a packet counts as plain only if nothing in it can be a tunnel,
//! and as VXLAN or GENEVE only if nothing is wrong with it.

use wire::UdpTunnel;

use super::super::assembler::{Label, To};
use super::super::{ANCILLARY_VLAN_TAG_PRESENT, TagPlace, code};
use super::{Node, Passed, Start, Tag, Where, Writer};
use super::{SLOT_START, SLOT_TUNNEL, SLOT_VNI, TUNNEL_GENEVE, TUNNEL_VXLAN};
use super::{asks_for_tag, is_about_any_frame, looks_inside, tells_fragments_apart};

impl Writer<'_> {
    /// Every shape and its verdict.
    pub(super) fn shapes(&mut self, node: &Node) {
        let accept = self.accept;
        let is_about_any_frame = is_about_any_frame(node);
        if !is_about_any_frame {
            // Nothing of a frame without a whole header can be told.
            self.asm.step(code::LD_LEN, 0);
            self.asm.test(code::JGE_K, ETHERNET_LEN, To::Next, accept);
        }
        let tag_matters = asks_for_tag(node);
        let frame = |writer: &mut Self, tag| match is_about_any_frame {
            true => writer.verdict(node, Where::outermost(ETHERNET_LEN, tag)),
            false => writer.frame(node, ETHERNET_LEN, tag),
        };
        let mut untagged = Tag::Whichever;
        if tag_matters && self.place == TagPlace::MetadataOrBytes {
            let none = self.asm.label();
            self.asm.step(code::LD_B_ABS, ANCILLARY_VLAN_TAG_PRESENT);
            self.asm.test(code::JEQ_K, 0, none, To::Next);
            frame(self, Tag::Metadata);
            self.asm.here(none);
        }
        if tag_matters {
            untagged = Tag::None;
        }
        frame(self, untagged);
    }

    /// A frame whose payload begins at `payload`.
    fn frame(&mut self, node: &Node, payload: u32, tag: Tag) {
        let accept = self.accept;
        let place = Where::outermost(payload, tag);
        let tagged = self.asm.label();
        let may_be_tagged = payload == ETHERNET_LEN && self.detail.has_tags;
        // The kernel's tag and one in the bytes are two, which is another shape.
        let behind_tag = (may_be_tagged && tag != Tag::Metadata).then_some(tagged);
        self.asm.step(code::LD_H_ABS, payload - 2);
        for number in TAGS {
            let to = behind_tag.unwrap_or(accept);
            self.asm.test(code::JEQ_K, number, to, To::Next);
        }
        if behind_tag.is_none() {
            self.passed.insert(if may_be_tagged || payload > ETHERNET_LEN {
                Passed::Tagged
            } else {
                Passed::Vlan
            });
        }
        if looks_inside(node) {
            self.payload(node, place);
        } else {
            let plain = self.asm.label();
            self.passed.insert(Passed::Tagged);
            if tells_fragments_apart(node) {
                let [ipv4, ipv6] = std::array::from_fn(|_| self.asm.label());
                self.ether_type(place, plain, ipv4, ipv6);
                self.asm.here(ipv4);
                self.long_enough(place, place.payload + 8);
                self.pass_fragments(place);
                self.asm.goto(plain);
                self.asm.here(ipv6);
                self.long_enough(place, place.payload + 7);
                self.byte(place, place.payload + 6);
                for number in EXTENSIONS {
                    self.asm.test(code::JEQ_K, number, accept, To::Next);
                }
                self.passed.insert(Passed::OddHeaders);
            } else {
                self.ether_type(place, plain, plain, plain);
            }
            self.asm.here(plain);
            self.verdict(node, place);
        }
        if behind_tag.is_some() {
            self.asm.here(tagged);
            self.asm.step(code::LD_LEN, 0);
            self.asm.test(code::JGE_K, ETHERNET_LEN + TAG_LEN, To::Next, accept);
            self.frame(node, payload + TAG_LEN, if tag == Tag::None { Tag::Bytes } else { tag });
        }
    }

    /// What a frame carries: another frame, or nothing that could be one. Its EtherType is in A.
    fn payload(&mut self, node: &Node, place: Where) {
        let [plain, ipv4, ipv6, transport] = std::array::from_fn(|_| self.asm.label());
        // Tunnels are looked for where nearly all are: not behind a tag in the bytes, not in others.
        let may_carry =
            self.detail.has_tunnels && place.start == Start::Zero && place.payload == ETHERNET_LEN;
        let tunnels = may_carry.then(|| [self.asm.label(), self.asm.label()]);
        self.passed.extend([Passed::Tagged, Passed::OddHeaders]);
        self.passed.insert(match self.detail.has_tunnels {
            true => Passed::OtherTunnels,
            false => Passed::Tunnels,
        });
        self.ether_type(place, plain, ipv4, ipv6);
        self.asm.here(ipv4);
        self.ipv4(place, transport);
        self.asm.here(ipv6);
        self.ipv6(place);
        self.asm.here(transport);
        self.transport(place, plain, tunnels);
        self.asm.here(plain);
        self.verdict(node, place);
        if let Some(tunnels) = tunnels {
            self.tunnel(place, tunnels);
            let inner = Where { start: Start::Slot, payload: ETHERNET_LEN, ..place };
            self.asm.step(code::LDX_MEM, SLOT_START);
            self.asm.step(code::LD_H_IND, ETHERNET_LEN - 2);
            self.payload(node, inner);
        }
    }

    /// For an EtherType in A: IP, something that carries nobody's frame, or not known.
    fn ether_type(&mut self, place: Where, plain: Label, ipv4: Label, ipv6: Label) {
        let accept = self.accept;
        self.asm.test(code::JEQ_K, 0x0800, ipv4, To::Next);
        self.asm.test(code::JEQ_K, 0x86dd, ipv6, To::Next);
        for number in NEVER_A_TUNNEL {
            self.asm.test(code::JEQ_K, number, plain, To::Next);
        }
        // LLC, but for SNAP and IP, which may carry more.
        self.asm.test(code::JGT_K, LAST_LENGTH, accept, To::Next);
        self.long_enough(place, place.payload + 1);
        self.byte(place, place.payload);
        self.asm.test(code::JEQ_K, 0xaa, accept, To::Next);
        self.asm.test(code::JEQ_K, 0x06, accept, plain);
    }

    /// Goes to `transport` with the protocol in A and the place of its header, without the offset
    /// of the payload, in [`SLOT_TRANSPORT`].
    fn ipv4(&mut self, place: Where, transport: Label) {
        let p = place.payload;
        self.long_enough(place, p + 20);
        self.pass_fragments(place);
        self.byte(place, p);
        self.asm.step(code::AND_K, 0x0f);
        self.asm.step(code::LSH_K, 2);
        self.add_start(place);
        self.asm.step(code::ST, SLOT_TRANSPORT);
        self.byte(place, p + 9);
        self.asm.goto(transport);
    }

    /// Accepts a fragment of an IPv4 packet. Only the first one has ports and tunnels; user space
    /// gives its verdict to the others, so it has to see them all.
    fn pass_fragments(&mut self, place: Where) {
        let accept = self.accept;
        self.passed.insert(Passed::Fragments);
        self.half(place, place.payload + 6);
        self.asm.test(code::JSET_K, MORE_OR_OFFSET, accept, To::Next);
    }

    /// As `ipv4`, but what follows is the transport.
    fn ipv6(&mut self, place: Where) {
        let p = place.payload;
        self.long_enough(place, p + 40);
        self.asm.step(code::LD_IMM, 40);
        self.add_start(place);
        self.asm.step(code::ST, SLOT_TRANSPORT);
        self.byte(place, p + 6);
    }

    /// Behind IP, by the protocol number in A.
    fn transport(&mut self, place: Where, plain: Label, tunnels: Option<[Label; 2]>) {
        let (p, accept) = (place.payload, self.accept);
        let [udp, tcp, udp_ports] = std::array::from_fn(|_| self.asm.label());
        self.asm.test(code::JEQ_K, TCP, tcp, To::Next);
        self.asm.test(code::JEQ_K, UDP, udp, To::Next);
        let [leaves @ .., last] = LEAVES;
        for number in leaves {
            self.asm.test(code::JEQ_K, number, plain, To::Next);
        }
        self.asm.test(code::JEQ_K, last, plain, accept);

        self.asm.here(tcp);
        self.has_ports(p);
        self.asm.step(code::LD_H_IND, p + 2);
        self.asm.test(code::JEQ_K, u32::from(self.ports.stt()), accept, plain);

        self.asm.here(udp);
        self.has_ports(p);
        self.asm.step(code::LD_H_IND, p + 2);
        let mut keys: Vec<(u32, Label)> = self
            .ports
            .iter()
            .map(|(port, tunnel)| {
                let to = match (tunnel, tunnels) {
                    (UdpTunnel::Vxlan, Some([vxlan, _])) => vxlan,
                    (UdpTunnel::Geneve, Some([_, geneve])) => geneve,
                    _ => accept,
                };
                (u32::from(port), to)
            })
            .collect();
        keys.sort_unstable_by_key(|(port, _)| *port);
        self.asm.search(&keys, udp_ports);
        self.asm.here(udp_ports);
        self.asm.step(code::LD_H_IND, p);
        let either = self.ports.iter().map(|(port, _)| port);
        let mut either: Vec<(u32, Label)> = either
            .filter(|port| self.ports.find(*port, 0).is_some())
            .map(|port| (u32::from(port), accept))
            .collect();
        either.sort_unstable_by_key(|(port, _)| *port);
        self.asm.search(&either, plain);
    }

    /// Accepts a packet that ends before the ports; leaves X on the transport.
    fn has_ports(&mut self, payload: u32) {
        let accept = self.accept;
        self.asm.step(code::LD_MEM, SLOT_TRANSPORT);
        self.asm.step(code::ADD_K, payload + 4);
        self.asm.step(code::TAX, 0);
        self.asm.step(code::LD_LEN, 0);
        self.asm.test(code::JGE_X, 0, To::Next, accept);
        self.asm.step(code::LDX_MEM, SLOT_TRANSPORT);
    }

    /// From UDP at X + payload to the inner Ethernet header, which has to be there.
    fn tunnel(&mut self, place: Where, [vxlan, geneve]: [Label; 2]) {
        let (p, accept) = (place.payload, self.accept);
        let [common, options] = std::array::from_fn(|_| self.asm.label());
        self.asm.here(vxlan);
        self.asm.step(code::LD_IMM, TUNNEL_VXLAN);
        self.asm.goto(common);
        self.asm.here(geneve);
        self.asm.step(code::LD_IMM, TUNNEL_GENEVE);
        self.asm.here(common);
        self.asm.step(code::ST, SLOT_TUNNEL);
        // The lengths of IP and UDP leave room for it, and the packet has the bytes.
        let [ipv4, ipv6, udp] = std::array::from_fn(|_| self.asm.label());
        self.asm.step(code::LD_B_ABS, p);
        self.asm.step(code::RSH_K, 4);
        self.asm.test(code::JEQ_K, 4, ipv4, To::Next);
        self.asm.test(code::JEQ_K, 6, ipv6, accept);
        self.asm.here(ipv4);
        self.asm.step(code::LD_B_ABS, p);
        self.asm.step(code::AND_K, 0x0f);
        self.asm.test(code::JGE_K, 5, To::Next, accept);
        self.asm.step(code::LD_H_ABS, p + 2);
        self.asm.test(code::JGE_X, 0, To::Next, accept);
        self.asm.step(code::SUB_X, 0);
        self.asm.goto(udp);
        self.asm.here(ipv6);
        self.asm.step(code::LD_H_ABS, p + 4);
        self.asm.here(udp);
        // A: the bytes that IP has for UDP.
        self.asm.step(code::ST, SLOT_ROOM);
        self.asm.step(code::TXA, 0);
        self.asm.step(code::ADD_K, p + UDP_LEN + TUNNEL_LEN);
        self.asm.step(code::TAX, 0);
        self.asm.step(code::LD_LEN, 0);
        self.asm.test(code::JGE_X, 0, To::Next, accept);
        self.asm.step(code::LDX_MEM, SLOT_TRANSPORT);
        self.asm.step(code::LD_H_IND, p + 4);
        self.asm.step(code::TAX, 0);
        self.asm.step(code::LD_MEM, SLOT_ROOM);
        self.asm.test(code::JGE_X, 0, To::Next, accept);
        self.asm.step(code::STX, SLOT_ROOM);
        self.asm.step(code::LDX_MEM, SLOT_TRANSPORT);
        let is_geneve = self.asm.label();
        self.asm.step(code::LD_MEM, SLOT_TUNNEL);
        self.asm.test(code::JEQ_K, TUNNEL_GENEVE, is_geneve, To::Next);
        // RFC 7348, section 5: without the I flag there is no VXLAN.
        self.asm.step(code::LD_B_IND, p + UDP_LEN);
        self.asm.test(code::JSET_K, 0x08, To::Next, accept);
        self.asm.step(code::LD_IMM, 0);
        self.asm.goto(options);
        // RFC 8926, section 3.4: version 0, options in words, Ethernet inside.
        self.asm.here(is_geneve);
        self.asm.step(code::LD_B_IND, p + UDP_LEN);
        self.asm.test(code::JSET_K, 0xc0, accept, To::Next);
        self.asm.step(code::LD_H_IND, p + UDP_LEN + 2);
        self.asm.test(code::JEQ_K, 0x6558, To::Next, accept);
        self.asm.step(code::LD_B_IND, p + UDP_LEN);
        self.asm.step(code::AND_K, 0x3f);
        self.asm.step(code::LSH_K, 2);
        self.asm.here(options);
        // A: the bytes of options.
        self.asm.step(code::ADD_K, UDP_LEN + TUNNEL_LEN + ETHERNET_LEN);
        self.asm.step(code::ST, SLOT_START);
        self.asm.step(code::LDX_MEM, SLOT_ROOM);
        self.asm.test(code::JGT_X, 0, accept, To::Next);
        self.asm.step(code::LDX_MEM, SLOT_TRANSPORT);
        self.asm.step(code::LD_W_IND, p + UDP_LEN + 4);
        self.asm.step(code::RSH_K, 8);
        self.asm.step(code::ST, SLOT_VNI);
        self.asm.step(code::LD_MEM, SLOT_START);
        self.asm.step(code::ADD_X, 0);
        self.asm.step(code::ADD_K, p);
        self.asm.step(code::TAX, 0);
        self.asm.step(code::LD_LEN, 0);
        self.asm.test(code::JGE_X, 0, To::Next, accept);
        self.asm.step(code::TXA, 0);
        self.asm.step(code::SUB_K, ETHERNET_LEN);
        self.asm.step(code::ST, SLOT_START);
    }

    /// Accepts a packet that has fewer than `len` bytes from the frame's first on.
    fn long_enough(&mut self, place: Where, len: u32) {
        let accept = self.accept;
        match place.start {
            Start::Zero => {
                self.asm.step(code::LD_LEN, 0);
                self.asm.test(code::JGE_K, len, To::Next, accept);
            }
            Start::Slot => {
                // The inner Ethernet header is there, so this does not go below 0.
                self.asm.step(code::LDX_MEM, SLOT_START);
                self.asm.step(code::LD_LEN, 0);
                self.asm.step(code::SUB_X, 0);
                self.asm.test(code::JGE_K, len, To::Next, accept);
            }
        }
    }

    fn byte(&mut self, place: Where, at: u32) {
        self.load(place, super::Base::Frame, at, super::Width::One);
    }

    fn half(&mut self, place: Where, at: u32) {
        self.load(place, super::Base::Frame, at, super::Width::Two);
    }

    /// Adds the frame's first byte to A.
    fn add_start(&mut self, place: Where) {
        if place.start == Start::Slot {
            self.asm.step(code::LDX_MEM, SLOT_START);
            self.asm.step(code::ADD_X, 0);
        }
    }
}

/// Where the transport header is kept, without the offset of the payload.
const SLOT_TRANSPORT: u32 = 2;
/// How many bytes a header leaves for what it carries.
const SLOT_ROOM: u32 = 3;

/// 802.1Q, 802.1ad, and the numbers that came before 802.1ad.
const TAGS: [u32; 4] = [0x8100, 0x88a8, 0x9100, 0x9200];
/// ARP, RARP, PPPoE discovery, slow protocols, LLDP.
const NEVER_A_TUNNEL: [u32; 5] = [0x0806, 0x8035, 0x8863, 0x8809, 0x88cc];
/// ICMP, IGMP, ESP, ICMPv6, OSPF, PIM, VRRP, SCTP.
const LEAVES: [u32; 8] = [1, 2, 50, 58, 89, 103, 112, 132];
/// Hop-by-hop, routing, fragment, AH, destination options, mobility, HIP, Shim6: behind each of
/// them IPv6 may say that the packet is a fragment.
const EXTENSIONS: [u32; 8] = [0, 43, 44, 51, 60, 135, 139, 140];
/// Of the two bytes of IPv4 with flags and fragment offset, what only fragments have.
const MORE_OR_OFFSET: u32 = 0x3fff;
const TCP: u32 = 6;
const UDP: u32 = 17;
const ETHERNET_LEN: u32 = 14;
const TAG_LEN: u32 = 4;
const UDP_LEN: u32 = 8;
/// VXLAN's header, and GENEVE's without options.
const TUNNEL_LEN: u32 = 8;
const LAST_LENGTH: u32 = 1500;
