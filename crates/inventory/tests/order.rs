//! The order, repetition and merging of reports never show in a site (pitfall C3).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod bed;

use bed::{Bed, HOST, claimed, mac, neighbour, port, port_of, route, uuid, vxlan};
use inventory::facts::{DomainState, LinkKind, NamespaceId, Report, Source};
use inventory::{Resolver, Site};

/// Three states of one host: a VM is renamed, moved to another tap and loses a neighbour, which
/// is deleted together with its namespace.
fn history() -> Vec<Vec<Report>> {
    let mut bed = Bed::new();
    bed.physical(2, "eth0", None);
    bed.bridge(5, "br0");
    bed.link(6, "vx42", vxlan(42, "10.9.0.7", None)).master = Some(5);
    bed.network(HOST).routes = vec![route("0.0.0.0", 0, 2)];
    bed.tap(10, "t0", Some(5));
    bed.tap(11, "vnet0", None);
    bed.qemu(700, "web", Some(1), &[("52:54:00:00:00:01", "t0")]);
    bed.qemu(701, "db", Some(2), &[("52:54:00:00:00:02", "vnet0")]);
    bed.domain("web", 1, DomainState::Running, &[("52:54:00:00:00:01", "t0")]);
    let db = claimed("vnet0", Some(7), "52:54:00:00:00:02", &uuid(2).to_string(), "port-2");
    let patch = port_of("p", None, "patch", &[("peer", "q")]);
    bed.ovs_bridge("br-int", vec![db, patch, port("eth0", None)]);
    bed.namespace(9000, "probe");
    bed.cable((20, "probe-h"), 9000, (2, "p0", "52:54:00:00:00:09"));
    bed.network(HOST).links.last_mut().unwrap().master = Some(5);
    bed.network(NamespaceId(9000)).neighbours = vec![neighbour("52:54:00:00:00:01", "10.1.0.1", 2)];
    let mut reports = vec![bed.reports(1)];

    bed.libvirt.as_mut().unwrap().domains[0].name = "web-new".into();
    bed.network(HOST).links.retain(|l| l.name != "t0");
    bed.tap(12, "t9", Some(5));
    bed.processes.qemus[0].nics[0].tap = Some("t9".into());
    reports.push(bed.reports(2));

    bed.processes.namespaces.clear();
    bed.network(HOST).links.retain(|l| l.name != "probe-h");
    bed.networks.retain(|n| n.namespace == HOST);
    bed.link(30, "late", LinkKind::Physical).mac = Some(mac("02:00:00:00:00:01"));
    reports.push(bed.reports(3));
    reports
}

fn resolve(reports: &[Report]) -> Site {
    let mut resolver = Resolver::new();
    for report in reports {
        resolver.apply(report.clone());
    }
    resolver.site()
}

/// xorshift64: the same orders in every run.
fn shuffle(reports: &mut [Report], seed: &mut u64) {
    for i in (1..reports.len()).rev() {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        reports.swap(i, usize::try_from(*seed % (i as u64 + 1)).unwrap());
    }
}

#[test]
fn any_order_and_repetition_of_reports_ends_in_the_same_site() {
    let history = history();
    let all: Vec<Report> = history.concat();
    let expected = resolve(&all);
    assert_eq!(expected.machines.len(), 2);
    assert_eq!(expected, resolve(&history[2]), "what was before does not show");
    let mut seed = 0x9e37_79b9_7f4a_7c15;
    for round in 0..500 {
        let mut reports = [all.clone(), all.clone()].concat();
        shuffle(&mut reports, &mut seed);
        assert_eq!(resolve(&reports), expected, "round {round}");
    }
}

#[test]
fn the_order_of_rows_in_a_report_does_not_show() {
    let mut bed = Bed::new();
    bed.physical(2, "eth0", Some(5));
    bed.physical(3, "eth1", Some(5));
    bed.bridge(5, "br0");
    bed.tap(10, "t0", Some(5));
    bed.tap(11, "t1", None);
    bed.qemu(700, "a", Some(1), &[("52:54:00:00:00:01", "t0")]);
    bed.qemu(701, "b", Some(2), &[("52:54:00:00:00:02", "t1")]);
    bed.ovs_bridge("br-int", vec![port("t1", Some(5)), port("x", None), port("y", None)]);
    let expected = bed.site();
    bed.network(HOST).links.reverse();
    bed.processes.qemus.reverse();
    bed.ovs.as_mut().unwrap().bridges[0].ports.reverse();
    assert_eq!(bed.site(), expected);
}

#[test]
fn a_report_older_than_the_one_known_is_not_news() {
    let history = history();
    let mut resolver = Resolver::new();
    for report in history[2].iter().chain(&history[0]) {
        resolver.apply(report.clone());
    }
    let site = resolver.site();
    assert_eq!(site.machines[1].name, "web-new");
    assert!(site.sources.iter().all(|s| s.source != Source::Netlink(NamespaceId(9000))));
}
