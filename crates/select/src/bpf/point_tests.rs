//! The program of a point never refuses what guard and filter take together.

use proptest::prelude::*;
use wire::{Layers, LinkType, Packet, Timestamp};

use super::*;
use crate::bpf::{Auxiliary, MIN_KEPT_BYTES, Program, prefilter, run};
use crate::filter::tests::{carriers, expressions};
use crate::{Encapsulation, Guard, Identity, OnWire, frames};

/// Whether guard and filter take the first `kept` bytes of a frame.
fn is_taken(ownership: &Ownership, filter: &Filter, bytes: &[u8], kept: usize) -> bool {
    let len = u32::try_from(bytes.len()).unwrap();
    let data = bytes.get(..kept).unwrap_or(bytes);
    let mut packet = Packet::new(Timestamp::ZERO, LinkType::ETHERNET, data, len);
    let layers = Layers::decode(packet.link, packet.data, &ports(ownership));
    let cleared = Guard::new(ownership).clear(&mut packet, &layers);
    cleared.is_ok_and(|cleared| filter.matches(cleared.packet(), &layers))
}

fn ports(ownership: &Ownership) -> TunnelPorts {
    let mut ports = TunnelPorts::default();
    ownership.add_tunnel_ports(&mut ports);
    ports
}

fn at(ownership: &Ownership, filter: &Filter, place: TagPlace, limit: usize) -> PointProgram {
    PointProgram::new(ownership, Some(filter), &ports(ownership), 0, place, limit)
}

fn ownerships() -> impl Strategy<Value = Ownership> {
    prop_oneof![
        1 => Just(Ownership::Whole),
        4 => frames::identities().prop_map(Ownership::Shared),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// DESIGN.md, rule 6, for both halves together: with the tag beside the bytes and in them,
    /// sliced by the kernel or not, and however short the program has to be.
    #[test]
    fn what_guard_and_filter_take_the_kernel_lets_through(
        text in expressions(),
        ownership in ownerships(),
        frame in frames::frames(),
        padding in prop_oneof![0_usize..70, 400_usize..1500],
        limit in prop_oneof![2 => Just(4096_usize), 1 => 20_usize..900],
    ) {
        let filter = Filter::parse(&text).unwrap();
        let padded = |mut bytes: Vec<u8>| { bytes.extend(vec![0; padding]); bytes };
        let (whole, in_socket) = (padded(frame.bytes_with_all_tags()), padded(frame.bytes()));
        let socket = at(&ownership, &filter, TagPlace::MetadataOrBytes, limit).program;
        let file = at(&ownership, &filter, TagPlace::Bytes, limit).program;
        prop_assert!(socket.len() <= limit && file.len() <= limit);
        for kept in [whole.len(), MIN_KEPT_BYTES as usize] {
            if is_taken(&ownership, &filter, &whole, kept) {
                prop_assert!(run(&socket, &in_socket, &frame.auxiliary()) > 0, "{text}\n{socket}");
                prop_assert!(run(&file, &whole, &Auxiliary::default()) > 0, "{text}\n{file}");
            }
        }
    }

    /// Neither half lets a packet through that the other one refuses: neighbours cost no ring
    /// space because of an expression, nor the VM's packets that it refuses.
    #[test]
    fn both_halves_have_to_agree(
        text in expressions(), ownership in ownerships(), frame in frames::frames(),
    ) {
        let filter = Filter::parse(&text).unwrap();
        let bytes = [frame.bytes(), vec![0; 60]].concat();
        let verdict = |program: &Program| run(program, &bytes, &frame.auxiliary()) > 0;
        let place = TagPlace::MetadataOrBytes;
        let together = verdict(&at(&ownership, &filter, place, 4096).program);
        let guard = verdict(&prefilter(&ownership, 0, place));
        let alone = verdict(&Kernel::new(&filter, &ports(&ownership), 0, place, 4096).program);
        prop_assert_eq!(together, guard && alone, "{}", text);
    }

    /// The table of user space has to see every fragment: whatever the first one says holds for
    /// all. Only what looks at nothing but the outermost frame may say more.
    #[test]
    fn every_fragment_passes(text in expressions(), which in 0_usize..4, later in any::<bool>()) {
        if text.contains("outer") {
            return Ok(());
        }
        let filter = Filter::parse(&text).unwrap();
        let wanted = ["bare", "vlan", "vxlan", "geneve"][which];
        let (_, mut bytes) = carriers().into_iter().find(|(name, _)| *name == wanted).unwrap();
        let inner = bytes.windows(4).position(|header| header == [0x45, 0, 0, 40]).unwrap();
        bytes[inner + 6] = 0x20;
        bytes[inner + 7] = u8::from(later);
        let program = at(&Ownership::Whole, &filter, TagPlace::Bytes, 4096).program;
        prop_assert!(run(&program, &bytes, &Auxiliary::default()) > 0, "{text}\n{program}");
    }
}

#[test]
fn fragments_of_a_tunnel_packet_pass_and_are_named() {
    let (_, tunnel) = carriers().into_iter().find(|(name, _)| *name == "vxlan").unwrap();
    for text in ["tcp port 1", "host 10.9.9.9", "arp", "vni 99", "outer (tcp)", "less 20"] {
        let filter = Filter::parse(text).unwrap();
        let found = at(&Ownership::Whole, &filter, TagPlace::Bytes, 4096);
        let InKernel::Attached(passed) = &found.expression else { panic!("{text}") };
        assert!(passed.contains(&Passed::Fragments), "{text}");
        let verdict = |bytes: &[u8]| run(&found.program, bytes, &Auxiliary::default()) > 0;
        assert!(!verdict(&tunnel), "{text}");
        for flags in [[0x20, 0], [0x20, 9], [0, 9]] {
            let mut fragment = tunnel.clone();
            fragment[20..22].copy_from_slice(&flags);
            assert!(verdict(&fragment), "{text}: {flags:x?}");
        }
    }
}

#[test]
fn what_cannot_be_asked_is_left_to_user_space_and_said() {
    let place = TagPlace::MetadataOrBytes;
    let expression = |text: &str, limit| {
        let filter = Filter::parse(text).unwrap();
        at(&Ownership::Whole, &filter, place, limit).expression
    };
    assert_eq!(expression("", 4096), InKernel::Nothing);
    assert_eq!(expression("inbound", 4096), InKernel::Left([Passed::Direction].into()));
    assert_eq!(expression("tcp", 5), InKernel::Left([Passed::TooLong].into()));
    assert!(matches!(expression("tcp", 4096), InKernel::Attached(_)));
}

/// Neighbours first: when both are too long together, the expression gives way.
#[test]
fn an_expression_does_not_shorten_the_guard() {
    let mac = |n: u16| {
        let [high, low] = n.to_be_bytes();
        wire::Mac([0x52, 0x54, 0, 0, high, low])
    };
    let network = frames::overlay(10, Encapsulation::Vxlan);
    let many = (0..900).map(|n| Identity { mac: mac(n), network }).collect();
    let ownership = Ownership::Shared(many);
    let filter = Filter::parse("tcp port 443").unwrap();
    let place = TagPlace::MetadataOrBytes;
    let guard = prefilter(&ownership, 0, place);
    let found = at(&ownership, &filter, place, guard.len() + 20);
    assert_eq!(found.program, guard);
    assert_eq!(found.expression, InKernel::Left([Passed::TooLong].into()));
    let found = at(&ownership, &filter, place, 4096);
    assert_eq!(found.program.precision(), guard.precision());
    assert!(matches!(found.expression, InKernel::Attached(_)));
}

#[test]
fn where_only_user_space_tells_vms_apart_the_expression_still_runs_in_the_kernel() {
    let network = OnWire::Overlay {
        vni: wire::Vni::new(5).unwrap(),
        tunnel: Encapsulation::Nvgre,
        udp_port: None,
        vlan: None,
    };
    let ownership = Ownership::Shared(vec![Identity { mac: frames::mac(1), network }]);
    let filter = Filter::parse("arp").unwrap();
    let found = at(&ownership, &filter, TagPlace::MetadataOrBytes, 4096);
    assert!(matches!(found.expression, InKernel::Attached(_)));
    assert_eq!(found.precision(&ownership), Precision::Everything);
}
