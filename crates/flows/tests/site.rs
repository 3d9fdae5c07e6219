//! Flows joined with an inventory, and counted once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail this way"
)]

use std::net::IpAddr;
use std::time::Duration;

use flows::{
    Application, By, ClientBasis, Counted, EndReason, Ends, Evidence, Flow, Held, Matrix, Network,
    Overlay, OverlayKind, Places, Point, Split, Summary, Way, count_once,
};
use inventory::History;
use wire::export::{Rate, RateOrigin, Ratio};
use wire::{Mac, PointId, Timestamp};

/// Two tenants that use the same addresses; `acme/web` moves from hv-1 to hv-2 at 22:20.
const SITE: &str = r#"
[[vms]]
name = "web"
tenant = "acme"
uuid = "00000000-0000-0000-0000-000000000001"
host = "hv-1"
until = 2026-11-21T22:20:00Z
[[vms.vnics]]
mac = "52:54:00:00:00:01"
ips = ["10.0.0.1"]
tap = "vnet1"
networks = [{ vxlan = 5001 }]

[[vms]]
name = "web"
tenant = "acme"
uuid = "00000000-0000-0000-0000-000000000001"
host = "hv-2"
since = 2026-11-21T22:20:00Z
[[vms.vnics]]
mac = "52:54:00:00:00:01"
ips = ["10.0.0.1"]
tap = "vnet7"
networks = [{ vxlan = 5001 }]

[[vms]]
name = "db"
tenant = "acme"
uuid = "00000000-0000-0000-0000-000000000002"
host = "hv-1"
[[vms.vnics]]
mac = "52:54:00:00:00:02"
ips = ["10.0.0.2"]
tap = "vnet2"
networks = [{ vxlan = 5001 }]

[[vms]]
name = "web"
tenant = "other"
uuid = "00000000-0000-0000-0000-000000000003"
host = "hv-1"
[[vms.vnics]]
mac = "52:54:00:00:00:03"
ips = ["10.0.0.1"]
tap = "vnet3"
networks = [{ vxlan = 5002 }]

[[vms]]
name = "cache"
tenant = "other"
uuid = "00000000-0000-0000-0000-000000000004"
host = "hv-2"
[[vms.vnics]]
mac = "52:54:00:00:00:04"
ips = ["10.0.0.2"]
tap = "vnet4"
networks = [{ vxlan = 5002 }]
"#;

/// An end: the last byte of its MAC, and its address.
type End = (u8, &'static str);
const WEB: End = (1, "10.0.0.1");
const DB: End = (2, "10.0.0.2");
const OTHER_WEB: End = (3, "10.0.0.1");
const CACHE: End = (4, "10.0.0.2");
/// Whoever is behind the router.
const fn behind_router(ip: &'static str) -> End {
    (99, ip)
}

/// So many seconds after 22:00 of the day of the site.
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_parts(1_795_298_400 + seconds, 0)
}

fn places() -> Places {
    Places::new(&History::parse(SITE).unwrap())
}

fn flow(point: u32, vni: u32, from: End, to: End, octets: u64) -> Flow {
    let way = Way { packets: octets / 100, octets, first: at(10), last: at(20), ..Way::default() };
    let mac = |last| if last == 0 { Mac::default() } else { Mac([0x52, 0x54, 0, 0, 0, last]) };
    let addresses = [from.1, to.1].map(|text| text.parse::<IpAddr>().unwrap());
    Flow {
        point: PointId(point),
        network: Network {
            overlay: (vni != 0).then_some(Overlay { kind: OverlayKind::Vxlan, number: vni }),
            vlan: None,
        },
        ends: Ends { addresses, ports: [50_000, 80], protocol: 6 },
        macs: [mac(from.0), mac(to.0)],
        there: way,
        back: Way::default(),
        client_basis: ClientBasis::Syn,
        tcp: None,
        server_rtt: None,
        client_rtt: None,
        application: Application::Port("http"),
        asked_for: None,
        rate: Flow::EVERY_PACKET,
        is_carrier: false,
        end: EndReason::Idle,
    }
}

fn during(mut flow: Flow, from: u64, to: u64) -> Flow {
    (flow.there.first, flow.there.last) = (at(from), at(to));
    flow
}

fn sampled(mut flow: Flow, one_in: u64) -> Flow {
    let ratio = Ratio::one_in(one_in).unwrap();
    flow.rate = Rate { ratio, origin: RateOrigin::Record };
    flow.there.octets /= one_in;
    flow.there.packets /= one_in;
    flow
}

fn points() -> Vec<Point> {
    ["acme/web/net0 @ hv-1:vnet1", "uplink @ hv-1:eth0", "uplink @ hv-2:eth0", "x @ hv-2:vnet4"]
        .map(Point::named)
        .into()
}

fn octets(counted: &[[Counted; 2]]) -> Vec<u64> {
    counted.iter().map(|[there, _]| there.octets).collect()
}

fn split(flow: &Flow) -> Split {
    let places = places();
    let ends = places.ends(flow, flow.start());
    places.split(flow, &ends, flow.start())
}

#[test]
fn a_flow_is_within_a_host_or_between_hosts_or_to_what_is_no_machine() {
    assert_eq!(split(&flow(0, 5001, WEB, DB, 100)), Split::IntraHost);
    assert_eq!(split(&flow(0, 5002, OTHER_WEB, CACHE, 100)), Split::InterHost);
    assert_eq!(split(&flow(0, 5001, WEB, behind_router("192.0.2.7"), 100)), Split::VmToPhysical);
    assert_eq!(split(&flow(0, 5001, WEB, behind_router("239.1.1.1"), 100)), Split::Group);
    let outside = flow(0, 0, behind_router("192.0.2.7"), (98, "192.0.2.8"), 100);
    assert_eq!(split(&outside), Split::Outside);
}

#[test]
fn where_a_machine_was_is_asked_as_of_the_flow() {
    assert_eq!(split(&during(flow(0, 5001, WEB, DB, 100), 0, 5)), Split::IntraHost);
    assert_eq!(split(&during(flow(0, 5001, WEB, DB, 100), 1200, 1205)), Split::InterHost);
    assert_eq!(places().moves(), [at(1200)]);
}

#[test]
fn addresses_that_two_tenants_use_are_told_apart_by_network_and_else_not_guessed() {
    // As records of NetFlow have it: no MACs.
    let of = |vni| flow(0, vni, (0, "10.0.0.1"), (0, "10.0.0.2"), 100);
    assert_eq!(split(&of(5001)), Split::IntraHost);
    assert_eq!(split(&of(5002)), Split::InterHost);
    assert_eq!(split(&of(0)), Split::Unknown, "both tenants may be meant");
}

#[test]
fn behind_a_router_an_address_is_looked_for_in_the_tenant_at_the_near_end() {
    let places = places();
    let routed = flow(0, 0, DB, behind_router("10.0.0.1"), 100);
    let [_, far] = places.ends(&routed, at(10));
    let machine = places.machine(far.place().unwrap().machine).unwrap();
    assert_eq!(machine.label, "acme/web");
}

#[test]
fn four_points_that_saw_one_flow_count_it_once_and_the_best_is_nearest_to_the_sender() {
    let seen = [
        flow(2, 5001, WEB, DB, 10_000),
        flow(1, 5001, WEB, DB, 10_000),
        flow(0, 0, WEB, DB, 10_000),
        flow(3, 0, WEB, DB, 9_900),
    ];
    let counted = count_once(&seen, &points(), &places());
    assert_eq!(octets(&counted), [0, 0, 10_000, 0]);
    for (number, [there, _]) in counted.iter().enumerate() {
        assert_eq!(there.copy_of, (number != 2).then_some(PointId(0)), "{number}");
    }
}

#[test]
fn equal_addresses_in_two_networks_are_never_copies() {
    for places in [&places(), &Places::default()] {
        let ends = (behind_router("10.9.0.1"), (98, "10.9.0.2"));
        let seen = [flow(1, 5001, ends.0, ends.1, 100), flow(2, 5002, ends.0, ends.1, 100)];
        assert_eq!(octets(&count_once(&seen, &points(), places)), [100, 100]);
    }
}

#[test]
fn without_an_inventory_a_frame_without_a_tunnel_is_in_the_one_network_that_has_its_like() {
    let ends = (behind_router("10.9.0.1"), (98, "10.9.0.2"));
    let seen = [flow(0, 0, ends.0, ends.1, 100), flow(1, 5001, ends.0, ends.1, 100)];
    let nobody = Places::default();
    assert_eq!(octets(&count_once(&seen, &points(), &nobody)).iter().sum::<u64>(), 100);
    // In two networks nobody knows which one it is in.
    let more = [seen[0].clone(), seen[1].clone(), flow(2, 5002, ends.0, ends.1, 100)];
    assert_eq!(octets(&count_once(&more, &points(), &nobody)).iter().sum::<u64>(), 300);
}

#[test]
fn what_was_not_sampled_beats_what_was_and_they_are_never_added() {
    let seen = [sampled(flow(0, 0, WEB, DB, 12_000), 10), flow(1, 5001, WEB, DB, 10_000)];
    assert_eq!(octets(&count_once(&seen, &points(), &places())), [0, 10_000]);
    // Alone it stands for all.
    assert_eq!(octets(&count_once(&seen[..1], &points(), &places())), [12_000]);
}

#[test]
fn a_point_that_was_silent_in_the_middle_is_filled_by_another() {
    let seen = [
        during(flow(0, 0, WEB, DB, 1000), 0, 60),
        during(flow(0, 0, WEB, DB, 1000), 180, 240),
        during(flow(1, 5001, WEB, DB, 1000), 0, 60),
        during(flow(1, 5001, WEB, DB, 1000), 90, 150),
        during(flow(1, 5001, WEB, DB, 1000), 180, 240),
    ];
    // The uplink saw more, but the port is nearer to who sent it.
    assert_eq!(octets(&count_once(&seen, &points(), &places())), [1000, 1000, 0, 1000, 0]);
}

#[test]
fn of_a_long_record_the_part_counts_that_nobody_else_saw() {
    let seen =
        [during(flow(0, 0, WEB, DB, 1000), 0, 300), during(flow(1, 5001, WEB, DB, 6000), 0, 1800)];
    assert_eq!(octets(&count_once(&seen, &points(), &places())), [1000, 5000]);
}

/// Counts what came at a time; says of what counts, and of how many flows wait.
fn told(
    evidence: &mut Evidence,
    held: &mut Vec<Held>,
    now: Option<u64>,
    came: &[Flow],
) -> (Vec<u64>, usize) {
    let since = at(now.unwrap_or_default());
    held.extend(came.iter().map(|flow| Held { flow: flow.clone(), since }));
    let (_, counted) = evidence.count(held, &points(), &places(), now.map(at));
    (octets(&counted), held.len())
}

#[test]
fn what_is_told_late_does_not_count_again() {
    let (mut evidence, mut held) = (Evidence::default(), Vec::new());
    let mut told = |now, came: &[Flow]| told(&mut evidence, &mut held, now, came);
    let piece = |from, to| during(flow(1, 5001, WEB, DB, 1000), from, to);
    assert_eq!(told(Some(125), &[piece(0, 60), piece(60, 120)]), (vec![1000, 1000], 0));
    assert_eq!(told(Some(185), &[piece(120, 180)]), (vec![1000], 0));
    // Another point tells of the same when the flow is over; that it is a better one helps no more.
    let whole = during(flow(0, 0, WEB, DB, 6000), 0, 180);
    assert_eq!(told(Some(190), &[whole]), (vec![0], 0));
}

#[test]
fn where_a_better_point_takes_over_nothing_falls_between() {
    let (mut evidence, mut held) = (Evidence::default(), Vec::new());
    let mut told = |now, came: &[Flow]| told(&mut evidence, &mut held, now, came);
    let blind = Flow { macs: [Mac::default(); 2], ..flow(2, 5001, WEB, DB, 800) };
    assert_eq!(told(Some(5), &[during(blind, 0, 8)]), (vec![800], 0));
    // It names the MACs, and told of the first eight of these thirty seconds as well.
    assert_eq!(told(Some(31), &[during(flow(3, 5001, WEB, DB, 3000), 0, 30)]), (vec![2200], 0));
}

#[test]
fn a_better_point_whose_clock_is_off_does_not_count_what_was_counted() {
    let (mut evidence, mut held) = (Evidence::default(), Vec::new());
    let mut told = |now, came: &[Flow]| told(&mut evidence, &mut held, now, came);
    let blind = |from, to| {
        let seen = Flow { macs: [Mac::default(); 2], ..flow(2, 5001, WEB, DB, 800) };
        during(seen, from, to)
    };
    assert_eq!(told(Some(5), &[blind(11, 16)]), (vec![800], 0));
    // It tells whole seconds, so that its flow begins and ends a second too early.
    assert_eq!(told(Some(6), &[during(flow(3, 5001, WEB, DB, 800), 10, 15)]), (vec![0], 0));
}

#[test]
fn what_is_told_at_about_the_same_time_is_compared_whoever_was_quicker() {
    let (mut evidence, mut held) = (Evidence::new(Duration::from_secs(2)), Vec::new());
    let mut told = |now, came: &[Flow]| told(&mut evidence, &mut held, now, came);
    // With the bytes of a tunnel, which the better one leaves out.
    let quick = Flow { macs: [Mac::default(); 2], ..flow(2, 5001, WEB, DB, 1050) };
    assert_eq!(told(Some(6), &[during(quick, 0, 5)]), (vec![], 1));
    assert_eq!(told(Some(7), &[during(flow(3, 5001, WEB, DB, 1000), 0, 5)]), (vec![], 2));
    assert_eq!(told(Some(8), &[]), (vec![0, 1000], 0), "the younger one goes along");
}

#[test]
fn of_the_time_of_which_the_better_one_has_not_yet_told_the_quick_one_does_not_count() {
    let (mut evidence, mut held) = (Evidence::new(Duration::from_secs(2)), Vec::new());
    let mut told = |now, came: &[Flow]| told(&mut evidence, &mut held, now, came);
    // As NetFlow of Open vSwitch: the second piece claims the time of the first one, too.
    let quick = |octets, to| {
        let seen = Flow { macs: [Mac::default(); 2], ..flow(2, 5001, WEB, DB, octets) };
        during(seen, 0, to)
    };
    let good = |octets, from, to| during(flow(3, 5001, WEB, DB, octets), from, to);
    let first = [good(900, 0, 30), quick(950, 32), quick(550, 50)];
    assert_eq!(told(Some(51), &first), (vec![], 3));
    // Nobody has counted it before; all the same the better one leads.
    assert_eq!(told(Some(53), &[]), (vec![900], 2));
    assert_eq!(told(Some(54), &[good(600, 30, 50)]), (vec![0, 0, 600], 0));
}

#[test]
fn whoever_counts_a_flow_goes_on_counting_it_and_others_wait() {
    let (mut evidence, mut held) = (Evidence::default(), Vec::new());
    let mut told = |now, came: &[Flow]| told(&mut evidence, &mut held, now, came);
    let seen = |point, from, to| during(flow(point, 5001, WEB, DB, 1000), from, to);
    let [first, other] = [2, 3];
    assert_eq!(told(Some(6), &[seen(first, 0, 5)]), (vec![1000], 0));
    assert_eq!(told(Some(11), &[seen(other, 0, 10)]), (vec![], 1));
    // Now the first one has spoken of that time as well.
    assert_eq!(told(Some(12), &[seen(first, 5, 10)]), (vec![0, 1000], 0));
    // When it says nothing for long, or nothing comes any more, the other one counts.
    assert_eq!(told(Some(21), &[seen(other, 12, 20)]), (vec![], 1));
    assert_eq!(told(Some(40), &[]), (vec![], 1));
    assert_eq!(told(Some(42), &[]), (vec![1000], 0));
    assert_eq!(told(Some(51), &[seen(first, 40, 50)]), (vec![], 1), "now the other one counts");
    assert_eq!(told(None, &[]), (vec![1000], 0));
}

#[test]
fn the_same_talk_later_is_another_flow() {
    let seen =
        [during(flow(0, 0, WEB, DB, 1000), 0, 60), during(flow(1, 5001, WEB, DB, 1000), 100, 160)];
    assert_eq!(octets(&count_once(&seen, &points(), &places())), [1000, 1000]);
}

#[test]
fn a_clock_that_is_a_little_off_makes_no_second_flow() {
    let mut late = flow(1, 5001, WEB, DB, 1000);
    late.there.first = late.there.first.saturating_add(Duration::from_millis(700));
    late.there.last = late.there.last.saturating_add(Duration::from_millis(700));
    let seen = [flow(0, 0, WEB, DB, 1000), late];
    assert_eq!(octets(&count_once(&seen, &points(), &places())), [1000, 0]);
}

#[test]
fn sums_add_up_whatever_they_are_by() {
    let places = places();
    let mut carrier = flow(2, 0, behind_router("192.0.2.1"), (98, "192.0.2.2"), 11_000);
    carrier.is_carrier = true;
    let mut answered = flow(0, 0, WEB, DB, 10_000);
    answered.back = Way { octets: 500, packets: 5, first: at(10), last: at(19), ..Way::default() };
    let seen = [
        answered,
        flow(1, 5001, WEB, DB, 10_000),
        flow(1, 5002, OTHER_WEB, CACHE, 300),
        flow(1, 5001, DB, behind_router("192.0.2.7"), 20),
        carrier,
    ];
    let counted = count_once(&seen, &points(), &places);
    for by in [By::Vms, By::Hosts, By::Tenants, By::Apps, By::Ports] {
        let mut summary = Summary::new(by);
        seen.iter().zip(&counted).for_each(|(flow, counted)| summary.add(flow, counted, &places));
        let (rows, others) = summary.rows();
        let sum = rows.iter().map(|(_, sums)| sums.octets()).sum::<u64>() + others.octets();
        let times = if matches!(by, By::Vms | By::Hosts | By::Tenants) { 2 } else { 1 };
        assert_eq!(sum, times * 10_820, "{by:?}");
        let totals = summary.totals();
        assert_eq!((totals.octets, totals.copied, totals.carried), (10_820, 10_000, 11_000));
        assert_eq!(totals.by_split[Split::IntraHost as usize], 10_500);
    }
    let mut vms = Summary::new(By::Vms);
    let mut matrix = Matrix::new(By::Vms);
    for (flow, counted) in seen.iter().zip(&counted) {
        vms.add(flow, counted, &places);
        matrix.add(flow, counted, &places);
    }
    let (rows, _) = vms.rows();
    let names: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
    let wanted = ["acme/db", "acme/web", "other/cache", "other/web", "192.0.2.7 in vxlan 5001"];
    assert_eq!(names, wanted);
    assert_eq!((rows[0].1.sent, rows[0].1.received), (520, 10_000));
    let (pairs, _) = matrix.pairs();
    assert_eq!(pairs[0].0, ["acme/db", "acme/web"]);
    assert_eq!(pairs[0].1.octets, [500, 10_000]);
}

#[test]
fn the_name_of_an_interface_says_host_and_device() {
    let point = Point::named("acme/web/net0 @ hv-1:vnet1");
    assert_eq!((point.host.as_deref(), point.device.as_deref()), (Some("hv-1"), Some("vnet1")));
    assert_eq!(Point::named("eth0").host, None);
}

#[test]
fn a_port_of_one_network_names_what_its_frames_do_not() {
    let places = places();
    let vni = |number| Overlay { kind: OverlayKind::Vxlan, number };
    let network = |number| Network { overlay: Some(vni(number)), vlan: None };
    assert_eq!(places.network_at("hv-1", "vnet1"), Some(network(5001)));
    assert_eq!(places.network_at("hv-1", "vnet3"), Some(network(5002)), "of the other tenant");
    assert_eq!(places.network_at("hv-2", "vnet1"), None, "that is another host");
    assert_eq!(places.network_at("hv-1", "vnet99"), None);
}
