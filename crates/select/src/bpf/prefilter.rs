//! The kernel program of a shared wire: the VM's identities as jumps.
//!
//! What it cannot follow (a second tag, IPv6 extension headers, MPLS) it lets through, and every
//! fragment that may be of a tunnel packet: later ones, which show no network, and first ones of
//! others, without which theirs could be taken for the VM's. The order of its tests is for the
//! packet that is most common on an uplink: that of somebody else, in another overlay network or
//! with another MAC.

use std::collections::{BTreeMap, BTreeSet};

use super::assembler::{Assembler, Label, To};
use super::{ANCILLARY_VLAN_TAG, ANCILLARY_VLAN_TAG_PRESENT, MAX_INSTRUCTIONS, code};
use super::{Precision, Program};
use crate::{Encapsulation, Identity, OnWire, Ownership};

/// Where the outermost VLAN tag of a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TagPlace {
    /// A packet socket: the kernel takes it out of received frames and keeps it beside the bytes,
    /// frames that are sent may have it in the bytes.
    MetadataOrBytes,
    /// A capture file: always in the bytes.
    Bytes,
}

/// The shortest program that lets every packet of the VM through: exact or a superset, never less.
///
/// `snaplen` is how many bytes of a packet are wanted, 0 for all. The program keeps at least
/// [`MIN_KEPT_BYTES`], because guard and filter have to see the headers; whoever wants less slices
/// afterwards. For [`Ownership::Whole`] there is no program. An expression comes behind it in
/// [`PointProgram`](super::PointProgram).
pub fn prefilter(ownership: &Ownership, snaplen: u32, place: TagPlace) -> Program {
    prefilter_within(ownership, snaplen, place, MAX_INSTRUCTIONS)
}

/// As [`prefilter`], with at most `limit` instructions: a kernel with a small
/// `net.core.optmem_max` takes less than 4096.
///
/// When the exact program is longer, a shorter superset takes its place;
/// [`Program::precision`] says which.
pub fn prefilter_within(
    ownership: &Ownership,
    snaplen: u32,
    place: TagPlace,
    limit: usize,
) -> Program {
    let Some(identities) = told_apart(ownership) else { return Program::NONE };
    for precision in Precision::TOLD {
        let mut asm = Assembler::default();
        let (accept, reject) = (asm.label(), asm.label());
        write_guard(&mut asm, identities, precision, place, accept, reject);
        asm.verdicts(accept, reject, kept_bytes(snaplen));
        if let Some(instructions) = asm.assemble(limit.min(MAX_INSTRUCTIONS)) {
            return Program { instructions, precision };
        }
    }
    Program::NONE
}

/// The identities that a program can look for; `None` where it has to let every packet pass.
pub(super) fn told_apart(ownership: &Ownership) -> Option<&[Identity]> {
    let Ownership::Shared(identities) = ownership else { return None };
    // What names these is not where the program looks; the guard does.
    let is_seen = |identity: &Identity| {
        !matches!(
            identity.network,
            OnWire::Overlay {
                tunnel: Encapsulation::Nvgre | Encapsulation::Erspan | Encapsulation::VnTag,
                ..
            }
        )
    };
    identities.iter().all(is_seen).then_some(identities)
}

/// Writes the jumps that lead the packets of these identities to `accept`, others to `reject`. Both
/// have to be placed behind it.
pub(super) fn write_guard(
    asm: &mut Assembler,
    identities: &[Identity],
    precision: Precision,
    place: TagPlace,
    accept: Label,
    reject: Label,
) {
    Writer { asm, place, accept, reject }.write(&Wanted::new(identities, precision));
}

/// How many bytes of a packet the kernel keeps where `snaplen` are wanted, 0 for all.
pub(super) fn kept_bytes(snaplen: u32) -> u32 {
    if snaplen == 0 { WHOLE_PACKET } else { snaplen.max(MIN_KEPT_BYTES) }
}

/// However short the snaplen, the kernel keeps this much: the headers of a frame in a tunnel with
/// all options, and those inside, so that the guard can decide.
pub const MIN_KEPT_BYTES: u32 = 512;

/// What tcpdump returns for "all of it".
pub(super) const WHOLE_PACKET: u32 = 262_144;

/// The identities in the order in which a packet shows them.
#[derive(Default)]
struct Wanted {
    /// By VLAN, 0 for none.
    vlans: Keyed,
    /// By UDP destination port, then VNI.
    udp: BTreeMap<(u16, Encapsulation), Keyed>,
    /// By key.
    gre: Keyed,
}

/// The MACs of each network; `None` where every MAC passes.
type Macs = Option<BTreeSet<u32>>;

/// Networks by their number.
#[derive(Default)]
struct Keyed {
    /// Whether every number passes, whatever `networks` says.
    is_any: bool,
    networks: BTreeMap<u32, Macs>,
}

impl Keyed {
    fn is_empty(&self) -> bool {
        !self.is_any && self.networks.is_empty()
    }

    fn add(&mut self, number: u32, identity: &Identity, precision: Precision) {
        // The last four octets: the first two name the maker, which one site's VMs share.
        let [_, _, tail @ ..] = identity.mac.0;
        match precision {
            Precision::Identity => {
                let macs = self.networks.entry(number).or_insert_with(|| Some(BTreeSet::new()));
                if let Some(macs) = macs {
                    macs.insert(u32::from_be_bytes(tail));
                }
            }
            Precision::Network => {
                self.networks.insert(number, None);
            }
            Precision::Shape | Precision::Everything => self.is_any = true,
        }
    }
}

impl Wanted {
    fn new(identities: &[Identity], precision: Precision) -> Self {
        let mut wanted = Self::default();
        for identity in identities {
            match identity.network {
                OnWire::Untagged => wanted.vlans.add(0, identity, precision),
                OnWire::Vlan(vlan) => {
                    wanted.vlans.add(u32::from(vlan.value()), identity, precision);
                }
                OnWire::Overlay { vni, tunnel: Encapsulation::Gre, .. } => {
                    wanted.gre.add(vni.value(), identity, precision);
                }
                OnWire::Overlay { vni, tunnel, .. } => {
                    let Some(port) = identity.network.udp_port() else { continue };
                    let networks = wanted.udp.entry((port, tunnel)).or_default();
                    networks.add(vni.value(), identity, precision);
                }
            }
        }
        wanted
    }
}

/// Writes the program.
struct Writer<'a> {
    asm: &'a mut Assembler,
    place: TagPlace,
    accept: Label,
    reject: Label,
}

/// How far the IP header is behind its place in an untagged frame.
#[derive(Clone, Copy)]
enum Shift {
    None = 0,
    OneTag = 4,
}

impl Writer<'_> {
    fn write(mut self, wanted: &Wanted) {
        if !wanted.vlans.is_empty() {
            let no = self.asm.label();
            self.vlans(&wanted.vlans, no);
            self.asm.here(no);
        }
        if wanted.udp.is_empty() && wanted.gre.is_empty() {
            self.asm.goto(self.reject);
        } else {
            self.overlays(wanted);
        }
    }

    /// Frames without a tunnel, by their outermost tag and MACs.
    fn vlans(&mut self, wanted: &Keyed, no: Label) {
        if wanted.is_any {
            return self.asm.goto(self.accept);
        }
        let [tagged, untagged, in_bytes, by_number] = std::array::from_fn(|_| self.asm.label());
        if self.place == TagPlace::MetadataOrBytes {
            self.asm.step(code::LD_B_ABS, ANCILLARY_VLAN_TAG_PRESENT);
            self.asm.test(code::JEQ_K, 0, in_bytes, To::Next);
            self.asm.step(code::LD_H_ABS, ANCILLARY_VLAN_TAG);
            self.asm.goto(by_number);
        }
        self.asm.here(in_bytes);
        self.asm.step(code::LD_H_ABS, 12);
        self.is_tag(tagged, untagged);
        self.asm.here(untagged);
        match wanted.networks.get(&0) {
            Some(macs) => self.macs(macs, Frame::Outermost, no),
            None => self.asm.goto(no),
        }

        self.asm.here(tagged);
        self.asm.step(code::LD_H_ABS, 14);
        self.asm.here(by_number);
        self.asm.step(code::AND_K, 0x0fff);
        // A priority tag, number 0, names no network: the frame may be of any of them.
        let mut networks = wanted.networks.clone();
        networks.insert(0, union(wanted.networks.values()));
        self.search(&networks, no, |writer, macs| writer.macs(macs, Frame::Outermost, no));
    }

    /// Ethernet frames in tunnels over IPv4 or IPv6, directly or behind one tag.
    fn overlays(&mut self, wanted: &Wanted) {
        let [ipv4, ipv6, tagged, other] = std::array::from_fn(|_| self.asm.label());
        let [ipv4_tagged, ipv6_tagged, ipv6_other, udp, gre] =
            std::array::from_fn(|_| self.asm.label());
        let udp = if wanted.udp.is_empty() { None } else { Some(udp) };
        let gre = if wanted.gre.is_empty() { None } else { Some(gre) };

        if let Some(networks) = every_network(&wanted.udp) {
            self.reject_other_networks(&networks);
        }
        self.asm.step(code::LD_H_ABS, 12);
        self.asm.test(code::JEQ_K, IPV4, ipv4, To::Next);
        self.asm.test(code::JEQ_K, IPV6, ipv6, To::Next);
        self.is_tag(tagged, other);
        self.asm.here(tagged);
        self.asm.step(code::LD_H_ABS, 16);
        self.asm.test(code::JEQ_K, IPV4, ipv4_tagged, To::Next);
        self.asm.test(code::JEQ_K, IPV6, ipv6_tagged, other);

        // What never holds a tunnel is rejected, everything else (a second tag, MPLS, length
        // fields, ...) is for user space.
        self.asm.here(other);
        for ether_type in NEVER_A_TUNNEL {
            self.asm.test(code::JEQ_K, ether_type, self.reject, To::Next);
        }
        self.asm.goto(self.accept);

        self.asm.here(ipv6_tagged);
        self.ipv6(Shift::OneTag, udp, gre, ipv6_other);
        self.asm.here(ipv6);
        self.ipv6(Shift::None, udp, gre, ipv6_other);
        self.asm.here(ipv6_other);
        for extension in IPV6_EXTENSIONS {
            self.asm.test(code::JEQ_K, extension, self.accept, To::Next);
        }
        self.asm.goto(self.reject);

        self.asm.here(ipv4_tagged);
        self.ipv4(Shift::OneTag, udp, gre);
        self.asm.here(ipv4);
        self.ipv4(Shift::None, udp, gre);
        if let Some(gre) = gre {
            self.asm.here(gre);
            self.gre(&wanted.gre);
        }
        if let Some(udp) = udp {
            self.asm.here(udp);
            self.udp(&wanted.udp);
        }
    }

    /// The short way out for the most common packet of an uplink: UDP in IPv4 without tag, options
    /// or fragments, where the number of every tunnel's network would be in one place, but is not
    /// there. Three loads; everything else takes the long way.
    fn reject_other_networks(&mut self, networks: &BTreeMap<u32, Macs>) {
        let long_way = self.asm.label();
        self.asm.step(code::LD_W_ABS, 12);
        self.asm.step(code::RSH_K, 8);
        self.asm.test(code::JEQ_K, IPV4 << 8 | IPV4_WITHOUT_OPTIONS, To::Next, long_way);
        self.asm.step(code::LD_W_ABS, 20);
        self.asm.test(code::JSET_K, FRAGMENT << 16, long_way, To::Next);
        self.asm.step(code::AND_K, 0xff);
        self.asm.test(code::JEQ_K, UDP, To::Next, long_way);
        self.asm.step(code::LD_W_ABS, 46);
        self.asm.step(code::RSH_K, 8);
        let keys: Vec<_> = networks.keys().map(|number| (*number, long_way)).collect();
        self.asm.search(&keys, self.reject);
        self.asm.here(long_way);
    }

    /// For an EtherType in A.
    fn is_tag(&mut self, yes: Label, no: Label) {
        let [others @ .., last] = TAGS;
        for tag in others {
            self.asm.test(code::JEQ_K, tag, yes, To::Next);
        }
        self.asm.test(code::JEQ_K, last, yes, no);
    }

    /// Leaves the distance from byte 14 to the transport header in X.
    fn ipv4(&mut self, shift: Shift, udp: Option<Label>, gre: Option<Label>) {
        let shift = shift as u32;
        self.asm.step(code::LD_B_ABS, 23 + shift);
        let mut rest: Vec<_> =
            [(UDP, udp), (GRE, gre)].into_iter().filter_map(|(n, to)| Some((n, to?))).collect();
        while let Some((protocol, transport)) = rest.pop() {
            let other = self.asm.label();
            let no = if rest.is_empty() { self.reject } else { other };
            self.asm.test(code::JEQ_K, protocol, To::Next, no);
            // Later fragments have no transport header; they are told apart in user space, which
            // for that has to see the first ones of others as well.
            self.asm.step(code::LD_H_ABS, 20 + shift);
            self.asm.test(code::JSET_K, FRAGMENT, self.accept, To::Next);
            self.asm.step(code::LDX_MSH, 14 + shift);
            if shift > 0 {
                self.asm.step(code::TXA, 0);
                self.asm.step(code::ADD_K, shift);
                self.asm.step(code::TAX, 0);
            }
            self.asm.goto(transport);
            self.asm.here(other);
        }
    }

    /// Leaves the distance from byte 14 to the transport header in X; goes to `other` with any
    /// other next header in A.
    fn ipv6(&mut self, shift: Shift, udp: Option<Label>, gre: Option<Label>, other: Label) {
        let shift = shift as u32;
        self.asm.step(code::LDX_IMM, 40 + shift);
        self.asm.step(code::LD_B_ABS, 20 + shift);
        for (protocol, transport) in [(UDP, udp), (GRE, gre)] {
            if let Some(transport) = transport {
                self.asm.test(code::JEQ_K, protocol, transport, To::Next);
            }
        }
        self.asm.goto(other);
    }

    /// UDP header at byte 14 + X.
    fn udp(&mut self, wanted: &BTreeMap<(u16, Encapsulation), Keyed>) {
        self.asm.step(code::LD_H_IND, 16);
        let mut tunnels = Vec::new();
        for ((port, tunnel), networks) in wanted {
            let label = self.asm.label();
            self.asm.test(code::JEQ_K, u32::from(*port), label, To::Next);
            tunnels.push((label, tunnel, networks));
        }
        self.asm.goto(self.reject);
        for (label, tunnel, networks) in tunnels {
            self.asm.here(label);
            if networks.is_any {
                self.asm.goto(self.accept);
                continue;
            }
            // The VNI is in the same place in VXLAN and GENEVE, followed by a byte of nothing.
            self.asm.step(code::LD_W_IND, 26);
            self.asm.step(code::RSH_K, 8);
            let reject = self.reject;
            self.search(&networks.networks, reject, |writer, macs| {
                match tunnel {
                    Encapsulation::Vxlan => {
                        writer.asm.step(code::LD_B_IND, 22);
                        writer.asm.test(code::JSET_K, VXLAN_VNI_VALID, To::Next, reject);
                    }
                    Encapsulation::Geneve => writer.skip_geneve_options(),
                    _ => {}
                }
                writer.macs(macs, Frame::InTunnel, reject);
            });
        }
    }

    /// Adds the length of the options to X; only Ethernet inside has MACs.
    fn skip_geneve_options(&mut self) {
        self.asm.step(code::LD_H_IND, 24);
        self.asm.test(code::JEQ_K, ETHERNET_IN_IT, To::Next, self.reject);
        self.asm.step(code::LD_B_IND, 22);
        self.asm.step(code::AND_K, 0x3f);
        self.asm.step(code::LSH_K, 2);
        self.asm.step(code::ADD_X, 0);
        self.asm.step(code::TAX, 0);
    }

    /// GRE header at byte 14 + X. Checksum, key and sequence number follow in this order, each
    /// where its flag is set (RFC 2890, section 2).
    fn gre(&mut self, wanted: &Keyed) {
        self.asm.step(code::LD_H_IND, 16);
        self.asm.test(code::JEQ_K, ETHERNET_IN_IT, To::Next, self.reject);
        self.asm.step(code::LD_H_IND, 14);
        self.asm.test(code::JSET_K, GRE_ODD, self.accept, To::Next);
        self.asm.test(code::JSET_K, GRE_KEY, To::Next, self.reject);
        if wanted.is_any {
            return self.asm.goto(self.accept);
        }
        let no_checksum = self.asm.label();
        self.asm.step(code::ST, 0);
        self.asm.test(code::JSET_K, GRE_CHECKSUM, To::Next, no_checksum);
        self.asm.step(code::TXA, 0);
        self.asm.step(code::ADD_K, 4);
        self.asm.step(code::TAX, 0);
        self.asm.here(no_checksum);
        self.asm.step(code::LD_W_IND, 18);
        self.asm.step(code::ST, 1);
        // X so that the inner frame is where it is in VXLAN; the S flag, 0x1000, becomes 4.
        self.asm.step(code::LD_MEM, 0);
        self.asm.step(code::AND_K, GRE_SEQUENCE);
        self.asm.step(code::RSH_K, 10);
        self.asm.step(code::ADD_X, 0);
        self.asm.step(code::SUB_K, 8);
        self.asm.step(code::TAX, 0);
        self.asm.step(code::LD_MEM, 1);
        let reject = self.reject;
        self.search(&wanted.networks, reject, |writer, macs| {
            writer.macs(macs, Frame::InTunnel, reject);
        });
    }

    /// For a number in A: goes on with `each` for the network that has it.
    fn search(
        &mut self,
        networks: &BTreeMap<u32, Macs>,
        none: Label,
        mut each: impl FnMut(&mut Self, &Macs),
    ) {
        let keys: Vec<_> = networks.keys().map(|number| (*number, self.asm.label())).collect();
        self.asm.search(&keys, none);
        for ((_, label), macs) in keys.iter().zip(networks.values()) {
            self.asm.here(*label);
            each(self, macs);
        }
    }

    /// Accepts a frame to a group, to one of the MACs or from one of them.
    fn macs(&mut self, macs: &Macs, frame: Frame, none: Label) {
        let Some(macs) = macs else {
            return self.asm.goto(self.accept);
        };
        let (byte, word, start) = match frame {
            Frame::Outermost => (code::LD_B_ABS, code::LD_W_ABS, 0),
            Frame::InTunnel => (code::LD_B_IND, code::LD_W_IND, 30),
        };
        let keys: Vec<_> = macs.iter().map(|tail| (*tail, self.accept)).collect();
        let source = self.asm.label();
        self.asm.step(byte, start);
        self.asm.test(code::JSET_K, GROUP, self.accept, To::Next);
        self.asm.step(word, start + 2);
        self.asm.search(&keys, source);
        self.asm.here(source);
        self.asm.step(word, start + 8);
        self.asm.search(&keys, none);
    }
}

/// The numbers of all networks in UDP tunnels; `None` without any, and where any number passes.
fn every_network(udp: &BTreeMap<(u16, Encapsulation), Keyed>) -> Option<BTreeMap<u32, Macs>> {
    if udp.is_empty() || udp.values().any(|networks| networks.is_any) {
        return None;
    }
    Some(udp.values().flat_map(|networks| networks.networks.clone()).collect())
}

/// Where the Ethernet header is whose MACs count.
#[derive(Clone, Copy)]
enum Frame {
    /// At the first byte.
    Outermost,
    /// At byte 30 + X.
    InTunnel,
}

fn union<'a>(all: impl Iterator<Item = &'a Macs>) -> Macs {
    all.cloned().reduce(|left, right| Some(left?.into_iter().chain(right?).collect())).flatten()
}

/// More fragments follow, or the offset of this one (RFC 791, section 3.1).
const FRAGMENT: u32 = 0x3fff;
/// Version 4 and five words of header.
const IPV4_WITHOUT_OPTIONS: u32 = 0x45;
const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;
/// 802.1Q, 802.1ad, and the numbers that came before 802.1ad.
const TAGS: [u32; 4] = [0x8100, 0x88a8, 0x9100, 0x9200];
/// ARP, RARP, slow protocols (LACP), LLDP, FCoE and its initialisation, RoCE.
const NEVER_A_TUNNEL: [u32; 7] = [0x0806, 0x8035, 0x8809, 0x88cc, 0x8906, 0x8914, 0x8915];
const UDP: u32 = 17;
const GRE: u32 = 47;
/// Hop-by-hop, routing, fragment, AH, destination options, mobility, HIP, Shim6.
const IPV6_EXTENSIONS: [u32; 8] = [0, 43, 44, 51, 60, 135, 139, 140];
/// RFC 7348, section 5: the I flag.
const VXLAN_VNI_VALID: u32 = 0x08;
/// Transparent Ethernet bridging, the protocol type of an Ethernet frame in GENEVE and GRE.
const ETHERNET_IN_IT: u32 = 0x6558;
const GRE_CHECKSUM: u32 = 0x8000;
/// Source routing, which has no fixed length, and any version but 0.
const GRE_ODD: u32 = 0x4007;
const GRE_KEY: u32 = 0x2000;
const GRE_SEQUENCE: u32 = 0x1000;
/// The bit of a destination MAC that makes it a group.
const GROUP: u32 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bpf::{Auxiliary, run};
    use crate::frames::{self, mac, overlay, vlan};

    fn program(identities: &[Identity], place: TagPlace) -> Program {
        prefilter(&Ownership::Shared(identities.to_vec()), 0, place)
    }

    fn one(network: OnWire) -> [Identity; 1] {
        [Identity { mac: mac(1), network }]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1500))]

        /// DESIGN.md, rule 6: more perhaps, never less; in the socket and in the file, and however
        /// short the program had to become.
        #[test]
        fn what_is_the_vms_or_undecidable_passes(
            frame in frames::frames(),
            identities in frames::identities(),
            limit in prop_oneof![Just(4096_usize), 20_usize..120],
        ) {
            let ownership = Ownership::Shared(identities.clone());
            let must_pass = frame.belongs_to(&identities) != Some(false);
            let socket = prefilter_within(&ownership, 0, TagPlace::MetadataOrBytes, limit);
            let file = prefilter_within(&ownership, 0, TagPlace::Bytes, limit);
            let in_socket = run(&socket, &frame.bytes(), &frame.auxiliary());
            let in_file = run(&file, &frame.bytes_with_all_tags(), &Auxiliary::default());
            prop_assert!(!must_pass || in_socket > 0, "socket:\n{socket}");
            prop_assert!(!must_pass || in_file > 0, "file:\n{file}");
            prop_assert!(socket.len() <= limit && file.len() <= limit);
        }

        /// Where nothing is beyond it, the program is exact, so it is worth its price.
        #[test]
        fn what_is_foreign_in_a_plain_tunnel_is_rejected(
            vni in 0_u32..20, source in 0_u8..4, destination in 0_u8..4,
        ) {
            use frames::{Frame, Inner, Ip, Macs, Payload, Transport, UdpTunnel};
            let macs = Macs { destination: mac(destination), source: mac(source) };
            let inner = Inner { macs, tags: vec![] };
            let frame = Frame {
                macs: Macs { destination: mac(9), source: mac(8) },
                metadata: None,
                tags: vec![],
                payload: Payload::Ip {
                    header: Ip::V4 { option_words: 0, fragment_offset: 0, has_more: false },
                    transport: Transport::Udp {
                        port: 4789,
                        tunnel: UdpTunnel::Vxlan { flags: 8, vni, inner },
                    },
                },
            };
            let identities = one(overlay(10, Encapsulation::Vxlan));
            let program = program(&identities, TagPlace::MetadataOrBytes);
            let is_kept = run(&program, &frame.bytes(), &Auxiliary::default()) > 0;
            prop_assert_eq!(Some(is_kept), frame.belongs_to(&identities));
        }
    }

    #[test]
    fn a_whole_port_needs_no_program() {
        let program = prefilter(&Ownership::Whole, 96, TagPlace::MetadataOrBytes);
        assert!(program.is_empty());
        assert_eq!(run(&program, &[], &Auxiliary::default()), u32::MAX);
    }

    #[test]
    fn without_an_identity_nothing_passes() {
        let program = program(&[], TagPlace::MetadataOrBytes);
        assert_eq!(run(&program, &[0; 100], &Auxiliary::default()), 0);
        assert_eq!(program.len(), 2);
    }

    #[test]
    fn a_short_snaplen_still_leaves_the_headers_for_the_guard() {
        for (snaplen, kept) in [(0, 262_144), (64, 512), (1000, 1000)] {
            let ownership = Ownership::Shared(one(OnWire::Untagged).to_vec());
            let program = prefilter(&ownership, snaplen, TagPlace::Bytes);
            assert_eq!(run(&program, &[0xff; 64], &Auxiliary::default()), kept);
        }
    }

    #[test]
    fn programs_are_short() {
        let sizes = [
            overlay(10, Encapsulation::Vxlan),
            overlay(10, Encapsulation::Geneve),
            overlay(10, Encapsulation::Gre),
            OnWire::Vlan(vlan(100)),
            OnWire::Untagged,
        ]
        .map(|network| program(&one(network), TagPlace::MetadataOrBytes).len());
        assert_eq!(sizes, [74, 79, 76, 28, 26]);
    }

    #[test]
    fn a_thousand_vms_fit_and_two_thousand_fall_back_to_their_networks() {
        let many = |count: u16| {
            let identities = (0..count).map(|n| {
                let [high, low] = n.to_be_bytes();
                let network = overlay(10 + u32::from(n % 8), Encapsulation::Vxlan);
                Identity { mac: wire::Mac([0x52, 0x54, 0, 0, high, low]), network }
            });
            program(&identities.collect::<Vec<_>>(), TagPlace::MetadataOrBytes)
        };
        assert_eq!(many(1000).precision(), Precision::Identity);
        assert_eq!(many(2000).precision(), Precision::Network);
    }
}
