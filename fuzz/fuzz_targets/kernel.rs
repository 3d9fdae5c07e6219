//! Any frame, any expression: what guard and filter take, the kernel's program lets through as
//! well, with the tag in the bytes and beside them, whole and sliced, however short it has to be;
//! and one that says that it is exact lets nothing else through.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run kernel -- -max_len=1024`
#![no_main]

use libfuzzer_sys::fuzz_target;
use select::bpf::{Auxiliary, InKernel, Kernel, MIN_KEPT_BYTES, PointProgram, TagPlace, run};
use select::{Encapsulation, Filter, Guard, Identity, OnWire, Ownership};
use wire::{Layers, LinkType, Packet, Timestamp, TunnelPorts, VlanId, Vni};

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (choice, limit, bytes) = input;
    let Some((len, bytes)) = bytes.split_first() else { return };
    let (words, frame) = bytes.split_at(usize::from(len % 32).min(bytes.len()));
    let Ok(filter) = Filter::parse(&expression(words)) else { return };
    let ownership = ownership(choice, frame);
    let mut ports = TunnelPorts::default();
    ownership.add_tunnel_ports(&mut ports);
    // Most programs are as long as they like.
    let limit = if limit & 3 == 0 { usize::from(limit) % 1000 } else { 4096 };
    let program = |place| PointProgram::new(&ownership, Some(&filter), &ports, 0, place, limit);
    let (file, socket) = (program(TagPlace::Bytes), program(TagPlace::MetadataOrBytes));
    let in_socket = beside_its_bytes(frame);
    for kept in [frame.len(), MIN_KEPT_BYTES as usize] {
        let data = frame.get(..kept).unwrap_or(frame);
        let mut packet = Packet::new(Timestamp::ZERO, LinkType::ETHERNET, data, frame.len() as u32);
        let layers = Layers::decode(packet.link, data, &ports);
        let is_taken = Guard::new(&ownership)
            .clear(&mut packet, &layers)
            .is_ok_and(|cleared| filter.matches(cleared.packet(), &layers));
        if is_taken {
            let passes = run(&file.program, frame, &Auxiliary::default()) > 0;
            assert!(passes, "{filter}: refused in a file\n{}", file.program);
            if let Some((tag, bytes)) = &in_socket {
                let auxiliary = Auxiliary { tag: Some(*tag), wire_len: None };
                let passes = run(&socket.program, bytes, &auxiliary) > 0;
                assert!(passes, "{filter}: refused in a socket\n{}", socket.program);
            }
        } else if kept == frame.len() && file.expression == InKernel::Attached([].into()) {
            // The guard's half says by itself how much it lets through.
            let kernel = Kernel::new(&filter, &ports, 0, TagPlace::Bytes, limit);
            let wants = filter.matches(&packet, &layers);
            let passes = run(&kernel.program, frame, &Auxiliary::default()) > 0;
            assert_eq!(passes, wants, "{filter}: not exact\n{}", kernel.program);
        }
    }
});

/// An expression out of any bytes: words are put down, connecting words take up what lies there.
fn expression(bytes: &[u8]) -> String {
    let mut parts: Vec<String> = Vec::new();
    for byte in bytes {
        let number = usize::from(*byte);
        if let Some(word) = WORDS.get(number) {
            parts.push((*word).to_owned());
            continue;
        }
        let Some(last) = parts.pop() else { continue };
        let scope = |word: &str| format!("{word} ({last})");
        let with_other = |parts: &mut Vec<String>, word: &str| match parts.pop() {
            Some(other) => format!("({other}) {word} ({last})"),
            None => last.clone(),
        };
        let joined = match number % 5 {
            0 => scope("not"),
            1 => scope("outer"),
            2 => scope("any"),
            3 => with_other(&mut parts, "and"),
            _ => with_other(&mut parts, "or"),
        };
        parts.push(joined);
    }
    parts.join(" and ")
}

/// A point of a VM that such a frame may be of.
fn ownership(choice: u8, frame: &[u8]) -> Ownership {
    let octets = |at: usize| frame.get(at..at + 6).and_then(|mac| mac.first_chunk::<6>().copied());
    let mac = if choice & 0x40 == 0 { octets(6) } else { octets(56).or(octets(70)) };
    let number = frame.get(46..49).map_or(5, |n| u32::from_be_bytes([0, n[0], n[1], n[2]]));
    let tunnel = |tunnel, udp_port| OnWire::Overlay {
        vni: Vni::new(number).expect("24 bits"),
        tunnel,
        udp_port,
        vlan: (choice & 0x80 != 0).then_some(VlanId::from_tci(5)),
    };
    let network = match choice % 8 {
        0 => OnWire::Untagged,
        1 => OnWire::Vlan(VlanId::from_tci(5)),
        2 => tunnel(Encapsulation::Vxlan, None),
        3 => tunnel(Encapsulation::Geneve, None),
        4 => tunnel(Encapsulation::Gre, None),
        5 => tunnel(Encapsulation::Vxlan, Some(9999)),
        _ => return Ownership::Whole,
    };
    Ownership::Shared(vec![Identity { mac: wire::Mac(mac.unwrap_or_default()), network }])
}

/// A frame as a packet socket gives it: its first tag apart, if it has one.
fn beside_its_bytes(frame: &[u8]) -> Option<((u16, u16), Vec<u8>)> {
    let [a, b, c, d] = *frame.get(12..)?.first_chunk::<4>()?;
    let (tpid, tci) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let is_tag = matches!(tpid, 0x8100 | 0x88a8);
    is_tag.then(|| ((tpid, tci), [&frame[..12], &frame[16..]].concat()))
}

const WORDS: &[&str] = &[
    "tcp",
    "udp",
    "ip",
    "ip6",
    "arp",
    "rarp",
    "icmp",
    "icmp6",
    "sctp",
    "igmp",
    "ip proto 47",
    "proto 89",
    "ether proto 0x8100",
    "ether proto 0x88cc",
    "host 10.0.0.1",
    "src host 10.0.0.2",
    "net 10.0.0.0/24",
    "dst net 0.0.0.0/1",
    "net 2001:db8::/32",
    "host fe80::1",
    "port 80",
    "src port 53",
    "tcp dst port 443",
    "udp portrange 1000-5000",
    "portrange 0-30000",
    "ether host 52:54:00:00:00:01",
    "ether src 52:54:00:00:00:02",
    "broadcast",
    "multicast",
    "ip multicast",
    "ip broadcast",
    "ip6 multicast",
    "less 100",
    "greater 100",
    "len > 60",
    "len < 512",
    "vlan",
    "vlan 2",
    "vlan 0-2000",
    "qinq",
    "mpls",
    "mpls 0-500000",
    "vni 10",
    "vni 0-8000000",
    "vxlan",
    "vxlan 11",
    "geneve",
    "geneve 10",
    "gre",
    "gre key 10",
    "nvgre",
    "erspan",
    "erspan session 3",
    "gtpu",
    "vntag",
    "etag",
    "pppoed",
    "pppoes",
    "arp host 10.0.0.1",
    "tcp[13] & 2 != 0",
    "tcp[0:2] > tcp[2:2]",
    "udp[4:2] >= 8",
    "udp[8:4] & 0x8000000 = 0",
    "icmp[icmptype] = icmp-echo",
    "icmp6[0] = 128",
    "ip[2:2] - 20 > len / 2",
    "ip[8] < 64",
    "ip[6:2] & 0x1fff = 0",
    "ip6[6] = 58",
    "ip6[40:4] != 0",
    "ip[ip[0] & 3] = 0x45",
    "ether[12:2] = 0x800",
    "ether[16] & 1 = 1",
    "ether[10:4] > 5",
    "ether[600] = 0",
    "ether[0] & 1 = 0",
    "ip[500] != 1",
    "-len = 4294967236",
    "ip[0] * ip[1] % 7 = 3",
    "arp[7] = 1",
    "llc",
    "llc ui",
    "stp",
    "ipx",
    "iso",
    "inbound",
    "outbound",
    "protochain 6",
    "ip6 protochain 17",
];
