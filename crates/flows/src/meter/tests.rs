//! Packets made by hand, and the flows they must become.

use std::time::Duration;

use wire::{LinkType, Packet, Timestamp, TunnelPorts};

use super::*;
use crate::flow::ClientBasis;
use crate::tcp::TcpState;

/// An IPv4 packet without link layer.
fn ipv4(source: [u8; 4], destination: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len()).unwrap();
    let mut bytes = vec![0x45, 0];
    bytes.extend(len.to_be_bytes());
    bytes.extend([0, 7, 0, 0, 64, protocol, 0, 0]);
    bytes.extend(source);
    bytes.extend(destination);
    bytes.extend(payload);
    bytes
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).unwrap();
    let mut bytes = [source, destination, len, 0].map(u16::to_be_bytes).concat();
    bytes.extend(payload);
    bytes
}

fn tcp(ports: [u16; 2], sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ports.map(u16::to_be_bytes).concat();
    bytes.extend(sequence.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

/// A frame in VXLAN.
fn vxlan(vni: u32, packet: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = vni.to_be_bytes();
    let mut payload = vec![8, 0, 0, 0, high, middle, low, 0];
    payload.extend([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
    payload.extend(packet);
    ipv4([192, 0, 2, 1], [192, 0, 2, 2], 17, &udp(40_000, 4789, &payload))
}

struct Bed {
    /// Whether no packet waits for others.
    is_hasty: bool,
    meter: Meter,
    flows: Vec<Flow>,
}

impl Bed {
    fn new(timeouts: Timeouts) -> Self {
        Self {
            is_hasty: true,
            meter: Meter::new(timeouts, NvgreSubnets::default()),
            flows: Vec::new(),
        }
    }

    fn take(&mut self, millis: u64, bytes: &[u8]) {
        let time = START.saturating_add(Duration::from_millis(millis));
        let len = u32::try_from(bytes.len()).unwrap();
        let packet = Packet::new(time, LinkType::RAW, bytes, len);
        let layers = Layers::decode(packet.link, bytes, &TunnelPorts::default());
        self.meter.take(&packet, &layers, &mut |flow| self.flows.push(flow));
        if self.is_hasty {
            self.meter.settle(&mut |flow| self.flows.push(flow));
        }
    }

    fn finish(mut self) -> Vec<Flow> {
        self.meter.finish(EndReason::Stopped, &mut |flow| self.flows.push(flow));
        let told: u64 = self.meter.counters().ended.iter().sum();
        assert_eq!(told, self.flows.len() as u64);
        let counters = self.meter.counters();
        assert_eq!(counters.packets, counters.metered + counters.not_ip + counters.hidden);
        assert!(self.meter.is_empty());
        self.flows
    }
}

const START: Timestamp = Timestamp::from_parts(1_795_255_380, 0);
const A: [u8; 4] = [10, 0, 0, 9];
const B: [u8; 4] = [10, 0, 0, 1];

#[test]
fn a_connection_is_one_flow_with_client_state_and_round_trips() {
    let mut bed = Bed::new(Timeouts::default());
    bed.take(0, &ipv4(A, B, 6, &tcp([50_000, 80], 100, 0x02, b"")));
    bed.take(20, &ipv4(B, A, 6, &tcp([80, 50_000], 500, 0x12, b"")));
    bed.take(25, &ipv4(A, B, 6, &tcp([50_000, 80], 101, 0x10, b"")));
    let request = b"GET / HTTP/1.1\r\nHost: web.lan\r\n\r\n";
    bed.take(30, &ipv4(A, B, 6, &tcp([50_000, 80], 101, 0x18, request)));
    bed.take(31, &ipv4(A, B, 6, &tcp([50_000, 80], 101, 0x18, request)));
    bed.take(50, &ipv4(B, A, 6, &tcp([80, 50_000], 501, 0x11, b"hi")));
    bed.take(55, &ipv4(A, B, 6, &tcp([50_000, 80], 135, 0x11, b"")));
    let flows = bed.finish();
    let [flow] = &flows[..] else { panic!("{flows:?}") };
    assert_eq!(flow.ends.addresses, [A, B].map(std::net::IpAddr::from));
    assert_eq!(flow.ends.ports, [50_000, 80]);
    assert_eq!((flow.there.packets, flow.back.packets), (5, 2));
    assert_eq!(flow.there.octets, 5 * 40 + 2 * request.len() as u64);
    assert_eq!((flow.there.retransmitted, flow.back.retransmitted), (1, 0));
    assert_eq!(flow.client_basis, ClientBasis::Syn);
    assert_eq!(flow.tcp, Some(TcpState::Closed));
    assert_eq!(flow.server_rtt, Some(Duration::from_millis(20)));
    assert_eq!(flow.client_rtt, Some(Duration::from_millis(5)));
    assert_eq!(flow.asked_for.as_deref(), Some("web.lan"));
    assert_eq!((flow.start(), flow.last().since(START).as_millis()), (START, 55));
}

#[test]
fn equal_addresses_in_two_networks_are_two_flows() {
    let mut bed = Bed::new(Timeouts::default());
    let packet = ipv4(A, B, 17, &udp(1000, 2000, b"x"));
    for vni in [5001, 5002, 5001] {
        bed.take(0, &vxlan(vni, &packet));
    }
    bed.take(0, &packet);
    let mut flows = bed.finish();
    flows.sort_by_key(|flow| flow.network);
    let seen: Vec<_> =
        flows.iter().map(|flow| (flow.network.to_string(), flow.there.packets)).collect();
    let wanted = [("-", 1), ("vxlan 5001", 2), ("vxlan 5002", 1)];
    assert_eq!(seen, wanted.map(|(name, packets)| (name.to_owned(), packets)));
    assert!(flows.iter().all(|flow| flow.there.octets == flow.there.packets * 29));
}

#[test]
fn silence_and_long_life_end_flows_and_nothing_is_lost_between() {
    let timeouts = Timeouts {
        idle: Duration::from_secs(10),
        active: Duration::from_secs(60),
        ..Timeouts::default()
    };
    let mut bed = Bed::new(timeouts);
    for second in 0..200 {
        bed.take(second * 1000, &ipv4(A, B, 17, &udp(1000, 2000, b"x")));
        if second == 0 {
            bed.take(0, &ipv4(A, B, 17, &udp(1001, 2000, b"x")));
        }
    }
    let flows = bed.finish();
    let packets: u64 = flows.iter().map(|flow| flow.there.packets).sum();
    assert_eq!(packets, 201);
    let of = |reason| flows.iter().filter(|flow| flow.end == reason).count();
    assert_eq!((of(EndReason::Idle), of(EndReason::Active), of(EndReason::Stopped)), (1, 3, 1));
}

#[test]
fn a_full_cache_tells_old_flows_and_stays_within_its_bound() {
    let mut bed = Bed::new(Timeouts { flows: 100, ..Timeouts::default() });
    for number in 0..10_000_u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let packet = ipv4([10, 1, high, low], B, 17, &udp(1000, 2000, b"x"));
        bed.take(u64::from(number), &packet);
        assert!(bed.meter.len() <= 100);
    }
    assert_eq!(bed.meter.counters().ended(EndReason::CacheFull), 9900);
    let flows = bed.finish();
    assert_eq!(flows.len(), 10_000);
    assert!(flows.iter().all(|flow| flow.there.packets == 1));
}

#[test]
fn a_clock_set_back_makes_no_negative_time() {
    let mut bed = Bed::new(Timeouts::default());
    bed.take(5000, &ipv4(A, B, 17, &udp(1000, 2000, b"x")));
    bed.take(1000, &ipv4(A, B, 17, &udp(1000, 2000, b"x")));
    assert_eq!(bed.meter.counters().out_of_order, 1);
    let flows = bed.finish();
    assert_eq!(flows.len(), 1);
    assert_eq!(flows[0].last().since(flows[0].start()), Duration::from_secs(4));
}

#[test]
fn ports_that_are_used_again_are_another_connection() {
    let mut bed = Bed::new(Timeouts::default());
    bed.take(0, &ipv4(A, B, 6, &tcp([50_000, 80], 100, 0x02, b"")));
    bed.take(1, &ipv4(B, A, 6, &tcp([80, 50_000], 0, 0x14, b"")));
    bed.take(900, &ipv4(A, B, 6, &tcp([50_000, 80], 900, 0x02, b"")));
    let flows = bed.finish();
    assert_eq!(flows.len(), 2);
    assert_eq!(flows[0].tcp, Some(TcpState::Refused));
    assert_eq!(flows[1].tcp, Some(TcpState::Attempted));
}

#[test]
fn later_fragments_belong_to_the_flow_of_their_first() {
    let mut bed = Bed::new(Timeouts::default());
    let mut first = ipv4(A, B, 17, &udp(1000, 2000, &[0; 16]));
    first[6] = 0x20; // more fragments
    let mut later = ipv4(A, B, 17, &[0; 24]);
    later[7] = 3; // 24 bytes in
    let mut stranger = later.clone();
    stranger[5] = 99;
    bed.take(0, &first);
    bed.take(0, &later);
    bed.take(0, &stranger);
    assert_eq!(bed.meter.counters().fragments_without_first, 1);
    let mut flows = bed.finish();
    flows.sort_by_key(|flow| flow.there.packets);
    assert_eq!(flows.iter().map(|flow| flow.there.packets).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(flows[1].ends.ports, [1000, 2000]);
}

#[test]
fn packets_that_wait_for_each_other_make_the_same_flows() {
    let made = |is_hasty| {
        let mut bed = Bed::new(Timeouts { flows: 5, ..Timeouts::default() });
        bed.is_hasty = is_hasty;
        for number in 0..500_u16 {
            let flags = if number % 7 == 0 { 0x02 } else { 0x11 };
            let ports = [1000 + number % 9, 80];
            bed.take(u64::from(number) * 700, &ipv4(A, B, 6, &tcp(ports, 1, flags, b"SSH-2")));
        }
        bed.finish()
    };
    assert_eq!(made(true), made(false));
}
