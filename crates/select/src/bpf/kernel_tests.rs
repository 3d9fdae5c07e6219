//! The kernel's program never refuses what user space takes.

use proptest::prelude::*;
use wire::{Layers, LinkType, Packet, Timestamp};

use super::*;
use crate::bpf::{Auxiliary, run};
use crate::filter::tests::expressions;
use crate::frames;

fn matches(filter: &Filter, bytes: &[u8]) -> bool {
    let len = u32::try_from(bytes.len()).unwrap();
    let packet = Packet::new(Timestamp::ZERO, LinkType::ETHERNET, bytes, len);
    let layers = Layers::decode(packet.link, packet.data, &TunnelPorts::default());
    filter.matches(&packet, &layers)
}

fn kernel(text: &str, place: TagPlace, limit: usize) -> Kernel {
    let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{error}"));
    Kernel::new(&filter, &TunnelPorts::default(), 0, place, limit)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// DESIGN.md, rule 6, in a socket and on a file, whole and cut, however short the program.
    #[test]
    fn what_the_filter_takes_the_kernel_lets_through(
        text in expressions(),
        frame in frames::frames(),
        padding in 0_usize..70,
        kept in 0_usize..200,
        limit in prop_oneof![Just(4096_usize), 10_usize..400],
    ) {
        let filter = Filter::parse(&text).unwrap();
        let ports = TunnelPorts::default();
        let socket = Kernel::new(&filter, &ports, 0, TagPlace::MetadataOrBytes, limit).program;
        let file = Kernel::new(&filter, &ports, 0, TagPlace::Bytes, limit).program;
        prop_assert!(socket.len() <= limit && file.len() <= limit);
        let padded = |mut bytes: Vec<u8>| { bytes.extend(vec![0; padding]); bytes };
        let whole = padded(frame.bytes_with_all_tags());
        let in_socket = padded(frame.bytes());
        if matches(&filter, &whole) {
            prop_assert!(run(&socket, &in_socket, &frame.auxiliary()) > 0, "{text}\n{socket}");
            prop_assert!(run(&file, &whole, &Auxiliary::default()) > 0, "{text}\n{file}");
        }
        let cut = &whole[..kept.min(whole.len())];
        if matches(&filter, cut) {
            prop_assert!(run(&file, cut, &Auxiliary::default()) > 0, "{text}: {cut:x?}\n{file}");
        }
    }
}

/// What the program knows it decides: plain frames, one tag, VXLAN and GENEVE.
#[test]
fn known_shapes_are_decided_in_the_kernel() {
    use crate::filter::tests::carriers;
    for (carrier, bytes) in carriers() {
        let is_known = !matches!(carrier, "gre" | "erspan" | "qinq" | "vxlan in geneve");
        for text in [
            "tcp",
            "udp",
            "tcp port 443",
            "port 80",
            "host 10.0.0.1",
            "src host 192.0.2.1",
            "not tcp",
            "ether src 52:54:00:00:00:01",
            "ether dst 52:54:00:00:00:01",
            "vni 10",
            "vni 11-20",
            "vxlan",
            "geneve 10",
            "not vxlan and tcp",
            "vlan",
            "vlan 100",
            "vlan 7,200-300",
            "tcp[13] & 2 != 0",
            "tcp[13] & 16 != 0",
            "ip[2:2] + 4 > len - 20",
            "len < 64",
            "less 60",
            "outer (udp port 4789)",
            "outer (tcp)",
            "icmp or arp or ip6",
        ] {
            let filter = Filter::parse(text).unwrap();
            let kernel = kernel(text, TagPlace::Bytes, 4096);
            let passes = run(&kernel.program, &bytes, &Auxiliary::default()) > 0;
            if is_known || text.starts_with("outer") && carrier != "qinq" {
                assert_eq!(
                    passes,
                    matches(&filter, &bytes),
                    "{carrier}: {text}\n{}",
                    kernel.program
                );
            } else {
                assert!(passes, "{carrier}: {text}");
            }
        }
    }
}

#[test]
fn what_passes_too_much_is_named() {
    let passed = |text| {
        let kernel = kernel(text, TagPlace::MetadataOrBytes, 4096);
        kernel.passed.into_iter().collect::<Vec<_>>()
    };
    use Passed::{Chain, Direction, Fragments, OddHeaders, OtherTunnels, Tagged};
    assert_eq!(passed(""), []);
    assert_eq!(passed("inbound"), [Direction]);
    assert_eq!(passed("tcp"), [Tagged, OtherTunnels, OddHeaders, Fragments]);
    assert_eq!(passed("outer (tcp)"), [Tagged, OddHeaders, Fragments]);
    assert_eq!(passed("outer (ip)"), [Tagged]);
    assert_eq!(passed("outer (ether src 52:54:00:00:00:01)"), []);
    assert_eq!(passed("tcp and inbound"), [Tagged, OtherTunnels, OddHeaders, Fragments, Direction]);
    assert_eq!(passed("ip protochain 6"), [Tagged, OtherTunnels, OddHeaders, Fragments, Chain]);
    assert!(kernel("tcp or inbound", TagPlace::Bytes, 4096).program.is_empty());
    assert_eq!(kernel("tcp", TagPlace::Bytes, 5).passed, BTreeSet::from([Passed::TooLong]));
}

#[test]
fn programs_are_short() {
    let len = |text| kernel(text, TagPlace::MetadataOrBytes, 4096).program.len();
    let lens = ["tcp", "tcp port 443", "host 10.0.0.1 and not port 22", "vni 5001", "outer (udp)"];
    assert_eq!(lens.map(len), [388, 423, 500, 349, 100]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A program that says that it is exact is.
    #[test]
    fn an_exact_program_refuses_what_the_filter_refuses(
        asked in prop::collection::vec(prop::sample::select(EXACT.to_vec()), 1..4),
        is_and in any::<bool>(),
        frame in frames::frames(),
        padding in 0_usize..70,
    ) {
        let asked: Vec<_> = asked.iter().map(|part| format!("outer ({part})")).collect();
        let text = asked.join(if is_and { " and " } else { " or " });
        let filter = Filter::parse(&text).unwrap();
        let whole = [frame.bytes_with_all_tags(), vec![0; padding]].concat();
        let in_socket = [frame.bytes(), vec![0; padding]].concat();
        let socket = kernel(&text, TagPlace::MetadataOrBytes, 4096);
        let file = kernel(&text, TagPlace::Bytes, 4096);
        prop_assert!(socket.is_exact() && file.is_exact());
        let is_wanted = matches(&filter, &whole);
        prop_assert_eq!(run(&file.program, &whole, &Auxiliary::default()) > 0, is_wanted);
        prop_assert_eq!(run(&socket.program, &in_socket, &frame.auxiliary()) > 0, is_wanted);
    }
}

const EXACT: &[&str] = &[
    "ether src 52:54:00:00:00:01",
    "ether host 52:54:00:00:00:02",
    "not ether dst 52:54:00:00:00:03",
    "multicast",
    "broadcast",
    "less 80",
    "greater 70",
    "not (len > 90)",
];
