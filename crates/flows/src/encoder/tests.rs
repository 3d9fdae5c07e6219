//! What is told comes back: the encoder against our own decoder.

use std::net::SocketAddr;

use wire::export::{Collector, Datagram, Event, Limits};
use wire::{Mac, PointId, VlanId};

use super::*;
use crate::application::Application;
use crate::flow::{ClientBasis, EndReason};
use crate::network::{Network, Overlay};

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos((1_795_255_380_000 + millis) * 1_000_000)
}

fn flow(addresses: [&str; 2], ports: [u16; 2], protocol: u8, network: Network) -> Flow {
    let addresses = addresses.map(|text| text.parse().unwrap());
    let way = |octets, first, last| Way {
        packets: octets / 100,
        octets,
        first: at(first),
        last: at(last),
        tcp_flags: 0x1b,
        ..Way::default()
    };
    Flow {
        point: PointId(0),
        network,
        ends: Ends { addresses, ports, protocol },
        macs: [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])],
        there: way(1000, 1, 500),
        back: way(70_000_000_000, 2, 499),
        client_basis: ClientBasis::Syn,
        tcp: None,
        server_rtt: None,
        client_rtt: None,
        application: Application::Unknown,
        asked_for: None,
        rate: Flow::EVERY_PACKET,
        is_carrier: false,
        end: EndReason::Idle,
    }
}

/// What comes out at the other end: flows of one direction each.
fn received(dialect: Dialect, flows: &[Flow]) -> (Vec<Flow>, Collector) {
    let mut encoder = Encoder::new(dialect, 7);
    let mut messages: Vec<Vec<u8>> = Vec::new();
    for flow in flows {
        encoder.add(flow, at(60_000), &mut |message| messages.push(message.to_vec()));
    }
    encoder.flush(at(60_000), &mut |message| messages.push(message.to_vec()));
    let mut collector = Collector::new(Limits::default());
    let mut got = Vec::new();
    for message in &messages {
        assert!(message.len() <= Encoder::LONGEST);
        let source = SocketAddr::from(([192, 0, 2, 1], 1));
        let datagram = Datagram { time: at(60_000), source, payload: message };
        assert!(collector.take(&datagram, |event| {
            if let Event::Flow(_, record) = event {
                got.push(Flow::of_record(&record, PointId(0)).unwrap());
            }
        }));
    }
    (got, collector)
}

#[test]
fn what_is_told_comes_back_whatever_is_spoken() {
    let vxlan = Network {
        overlay: Some(Overlay { kind: OverlayKind::Vxlan, number: 5001 }),
        vlan: VlanId::new(7),
    };
    let geneve =
        Network { overlay: Some(Overlay { kind: OverlayKind::Geneve, number: 9 }), vlan: None };
    let mut flows = vec![
        flow(["10.0.0.1", "10.0.0.2"], [50_000, 443], 6, vxlan),
        flow(["fd00::1", "fd00::2"], [50_000, 53], 17, Network::NONE),
        flow(["10.0.0.1", "10.0.0.2"], [8, 0], 1, Network::NONE),
    ];
    for dialect in [Dialect::Ipfix, Dialect::Netflow9] {
        if dialect == Dialect::Ipfix {
            flows.push(flow(["10.0.0.1", "10.0.0.2"], [50_000, 443], 6, geneve));
        } else {
            flows.pop();
        }
        let (got, collector) = received(dialect, &flows);
        assert_eq!(got.len(), flows.len() * 2);
        for (sent, got) in flows.iter().zip(got.chunks(2)) {
            let [there, back] = got else { panic!("two directions") };
            assert_eq!((there.ends, there.there), (sent.ends, sent.there));
            // The answer has the server's port in front, so it is told the other way round; of
            // ICMP nobody is known to be the client.
            let answer = if sent.ends.protocol == 1 { back.there } else { back.back };
            assert_eq!(answer, sent.back);
            assert_eq!((there.network, there.macs), (sent.network, sent.macs));
            assert_eq!(there.rate.ratio, sent.rate.ratio);
        }
        let account = &collector.exporters()[0].account;
        assert_eq!((account.malformed(), account.wrong_counts), (0, 0));
    }
}

#[test]
fn many_flows_are_many_messages_and_nothing_is_lost() {
    for dialect in [Dialect::Ipfix, Dialect::Netflow9] {
        let flows: Vec<Flow> = (0..500)
            .map(|port| match port % 3 {
                0 => flow(["fd00::1", "fd00::2"], [port, 53], 17, Network::NONE),
                _ => flow(["10.0.0.1", "10.0.0.2"], [port, 443], 6, Network::NONE),
            })
            .collect();
        let (got, collector) = received(dialect, &flows);
        assert_eq!(got.len(), 1000);
        assert_eq!(collector.exporters()[0].sequence().lost(), Some(0));
        assert_eq!(collector.exporters()[0].account.wrong_counts, 0);
    }
}
