//! Traffic through a controller: what `overtap collect` keeps beside it, for whoever may see it.

use std::net::{IpAddr, Ipv4Addr};

use flows::{ClientBasis, EndReason, Network, Split, Way};
use flowstore::{CountedWay, End, Row, Store};
use serde_json::{Value, json};
use wire::export::{Rate, RateOrigin, Ratio};
use wire::{Mac, Timestamp};

use crate::controller::Controller;
use crate::http::Http;

/// 2026-11-21T10:00:00Z.
const BEGIN_S: u64 = 1_795_255_200;

/// A machine: tenant, name, host, last byte of its address.
type Machine = (Option<&'static str>, &'static str, Option<&'static str>, u8);

const WEB: Machine = (Some("acme"), "acme/web", Some("hv-1"), 1);
const DB: Machine = (Some("acme"), "acme/db", Some("hv-2"), 2);
const VAULT: Machine = (Some("other"), "other/vault", Some("hv-1"), 3);
const SPARE: Machine = (None, "spare", Some("hv-1"), 4);
const OUTSIDE: Machine = (None, "", None, 99);

/// A flow: client, server, port of the server, bytes to and fro, begin and end in seconds.
type Flow = (Machine, Machine, u16, [u64; 2], [u64; 2]);

/// Flows of two tenants, of a machine of none, and of others.
const FLOWS: [Flow; 6] = [
    (WEB, DB, 5432, [1_000, 9_000], [0, 30]),
    (WEB, OUTSIDE, 443, [300, 5_000], [60, 180]),
    (WEB, VAULT, 8200, [70, 700], [10, 11]),
    (VAULT, OUTSIDE, 443, [20_000, 40], [5, 50]),
    (SPARE, DB, 22, [10, 20], [100, 110]),
    (OUTSIDE, OUTSIDE, 53, [1, 2], [0, 1]),
];

fn end((tenant, vm, host, number): Machine, port: u16) -> End<'static> {
    End {
        ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)),
        port,
        mac: Mac([2, 0, 0, 0, 0, number]),
        vm: Some(vm).filter(|vm| !vm.is_empty()),
        tenant,
        host,
        port_group: host.map(|_| "prod"),
        is_ambiguous: false,
    }
}

fn row(number: usize) -> Row<'static> {
    let (client, server, port, octets, span) = FLOWS[number];
    let [start, end_time] = span.map(|second| Timestamp::from_parts(BEGIN_S + second, 0));
    let split = match (client.2, server.2) {
        (Some(one), Some(other)) if one == other => Split::IntraHost,
        (Some(_), Some(_)) => Split::InterHost,
        (None, None) => Split::Outside,
        _ => Split::VmToPhysical,
    };
    let counted = octets.map(|octets| CountedWay { octets, packets: octets / 10, copy_of: None });
    Row {
        start,
        end: end_time,
        point: "192.0.2.1 ipfix 0 in",
        network: Network::NONE,
        protocol: 6,
        ends: [end(client, 40_000), end(server, port)],
        split,
        ways: counted.map(|way| Way { octets: way.octets, packets: way.packets, ..Way::default() }),
        counted,
        is_carrier: false,
        rate: Rate { ratio: Ratio::ALL, origin: RateOrigin::Record },
        tcp: None,
        client_basis: ClientBasis::Port,
        rtts: [None; 2],
        app: if port == 443 { "tls".into() } else { format!("tcp/{port}").into() },
        is_app_seen: port == 443,
        asked_for: (port == 443).then_some("example.org"),
        end_reason: EndReason::Idle,
    }
}

/// A controller with these flows; ann may capture acme's machines, bob their headers, and eve
/// nothing.
fn site() -> Controller {
    let folder = tempfile::tempdir().unwrap();
    let mut store =
        Store::open(&folder.path().join("flows"), &[], Timestamp::from_parts(BEGIN_S, 0)).unwrap();
    (0..FLOWS.len()).for_each(|number| store.add(&row(number)));
    assert_eq!(store.close().lost, 0);
    let controller =
        Controller::start_with(folder, &["--flows", "DIR/flows", "--exporters", "DIR/collect"]);
    controller.done("admin", &["grants", "add", "admin", "--machine", "all"]);
    for (name, role) in [("ann", "viewer"), ("bob", "operator"), ("eve", "operator")] {
        controller.add_user(name, role);
    }
    controller.done("admin", &["grants", "add", "ann", "--machine", "tenant:acme"]);
    let headers = ["grants", "add", "bob", "--machine", "vm:acme/web*", "--snaplen", "headers"];
    controller.done("admin", &headers);
    let other = ["grants", "add", "eve", "--machine", "all", "--purpose", "find"];
    controller.done("admin", &other);
    let reason = ["grants", "add", "eve", "--machine", "all", "--needs-reason"];
    controller.done("admin", &reason);
    controller
}

/// The names of a list with what each moves.
fn named(answer: &Value, fields: &[&str]) -> Vec<(String, u64)> {
    let rows = answer["items"].as_array().unwrap().iter();
    rows.map(|row| {
        let names: Vec<&str> = fields.iter().map(|field| row[*field].as_str().unwrap()).collect();
        (names.join(" "), row["octets"].as_u64().unwrap())
    })
    .collect()
}

fn is(found: &[(String, u64)], expected: &[(&str, u64)]) {
    let expected: Vec<_> = expected.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
    assert_eq!(found, expected);
}

#[test]
fn whoever_may_see_all_machines_sees_all_traffic() {
    let controller = site();
    let admin = Http::of(&controller, "admin");
    let top = admin.json("/api/v1/traffic/top");
    is(
        &named(&top, &["name"]),
        &[
            ("10.0.0.99", 25_346),
            ("other/vault", 20_810),
            ("acme/web", 16_070),
            ("acme/db", 10_030),
            ("spare", 30),
        ],
    );
    assert_eq!(top["totals"]["octets"], 36_143);
    let split = admin.json("/api/v1/traffic/split");
    assert_eq!(
        split["by_split"],
        json!({ "intra_host": 770, "inter_host": 10_030, "vm_to_physical": 25_340, "group": 0,
                "outside": 3, "unknown": 0 })
    );
    let pairs = admin.json("/api/v1/traffic/pairs?by=tenants&limit=2");
    is(&named(&pairs, &["one", "other"]), &[("- other", 20_040), ("acme acme", 10_000)]);
    let cursor = pairs["next"].as_str().unwrap();
    let more = admin.json(&format!("/api/v1/traffic/pairs?by=tenants&cursor={cursor}"));
    is(&named(&more, &["one", "other"]), &[("- acme", 5_330), ("acme other", 770), ("- -", 3)]);
    let apps = admin.json("/api/v1/traffic/top?by=apps&filter=vm%3Dacme%2Fweb");
    is(&named(&apps, &["name"]), &[("tcp/5432", 10_000), ("tls", 5_300), ("tcp/8200", 770)]);
    assert_eq!(admin.get("/api/v1/traffic/pairs?by=apps").status, 400);
    for bad in ["top?by=colours", "top?from=soon", "top?filter=colour%3Dred", "flows?cursor=eHl6"] {
        assert_eq!(admin.get(&format!("/api/v1/traffic/{bad}")).status, 400, "{bad}");
    }
}

#[test]
fn time_is_told_in_steps_that_add_up() {
    let controller = site();
    let admin = Http::of(&controller, "admin");
    let span = "from=2026-11-21T10:00:00Z&to=2026-11-21T10:05:00Z";
    let series = admin.json(&format!("/api/v1/traffic/series?{span}"));
    assert_eq!(series["step_s"], 60);
    let octets = |n: usize| series["items"][n]["octets"].as_u64().unwrap();
    assert_eq!(series["items"][1]["begin"], "2026-11-21T10:01:00.000000Z");
    // 10.0.0.99 gets half of its 5300 bytes in each of two minutes.
    assert_eq!([octets(0), octets(1), octets(2)], [30_813, 2_680, 2_650]);
    let minute = "from=2026-11-21T10:01:00Z&to=2026-11-21T10:02:00Z";
    let top = admin.json(&format!("/api/v1/traffic/top?{minute}"));
    assert_eq!(top["totals"]["octets"], 2_680);
    let hour = admin.json("/api/v1/traffic/series?step_s=3600");
    assert_eq!(hour["items"][0]["octets"], 36_143);
}

#[test]
fn flows_behind_a_number_come_page_by_page() {
    let controller = site();
    let admin = Http::of(&controller, "admin");
    let (mut servers, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = admin.json(&format!("/api/v1/traffic/flows?limit=2{cursor}"));
        for flow in page["items"].as_array().unwrap() {
            servers.push(flow["server_port"].as_u64().unwrap());
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(servers, [443, 5432, 443, 8200, 22, 53]);
    let flow =
        &admin.json("/api/v1/traffic/flows?filter=port%3D5432%20and%20vm%3Dacme%2Fdb")["items"];
    assert_eq!(flow.as_array().unwrap().len(), 1);
    assert_eq!(
        (&flow[0]["client_vm"], &flow[0]["split"]),
        (&"acme/web".into(), &"inter-host".into())
    );
    assert!(flow[0]["community_id"].as_str().unwrap().starts_with("1:"));
}

#[test]
fn a_tenant_sees_its_own_flows_and_no_name_of_another() {
    let controller = site();
    let ann = Http::of(&controller, "ann");
    let top = ann.json("/api/v1/traffic/top");
    is(
        &named(&top, &["name"]),
        &[
            ("acme/web", 16_070),
            ("acme/db", 10_030),
            ("10.0.0.99", 5_300),
            ("10.0.0.3", 770),
            ("10.0.0.4", 30),
        ],
    );
    assert_eq!(top["totals"]["octets"], 16_100);
    let split = ann.json("/api/v1/traffic/split");
    assert_eq!(
        split["by_split"],
        json!({ "intra_host": 0, "inter_host": 10_000, "vm_to_physical": 5_300, "group": 0,
                "outside": 0, "unknown": 800 })
    );
    let tenants = ann.json("/api/v1/traffic/top?by=tenants");
    is(&named(&tenants, &["name"]), &[("acme", 26_100), ("-", 6_100)]);
    for path in ["flows", "top", "pairs", "top?by=hosts", "pairs?by=hosts"] {
        let text = ann.get(&format!("/api/v1/traffic/{path}")).text();
        assert!(!text.contains("vault") && !text.contains(":\"other\""), "{path}: {text}");
        assert!(!text.contains("spare"), "{path}: {text}");
    }
    for guess in ["vm%3Dother%2Fvault", "tenant%3Dother", "server%3Dother%2Fvault", "vm%3Dspare"] {
        let flows = ann.json(&format!("/api/v1/traffic/flows?filter={guess}"));
        assert_eq!(flows["items"], json!([]), "{guess}");
        let top = ann.json(&format!("/api/v1/traffic/top?filter={guess}"));
        assert_eq!(top["totals"]["octets"], 0, "{guess}");
    }
    let to_vault = &ann.json("/api/v1/traffic/flows?filter=port%3D8200")["items"][0];
    for (field, value) in [
        ("server_vm", Value::Null),
        ("server_host", Value::Null),
        ("server_port_group", Value::Null),
        ("server_ip", "10.0.0.3".into()),
        ("client_host", "hv-1".into()),
        ("split", "unknown".into()),
        ("point", "-".into()),
    ] {
        assert_eq!(to_vault[field], value, "{field}");
    }
    let series = ann.json("/api/v1/traffic/series?step_s=3600");
    assert_eq!(series["items"][0]["octets"], 16_100);
}

#[test]
fn a_grant_for_headers_hides_what_was_asked_for() {
    let controller = site();
    let asked = |user: &str| {
        let flows = Http::of(&controller, user).json("/api/v1/traffic/flows?filter=port%3D443");
        let flows = flows["items"].as_array().unwrap().clone();
        flows.iter().map(|flow| flow["asked_for"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(asked("ann"), ["example.org"]);
    assert_eq!(asked("bob"), [Value::Null]);
    assert_eq!(asked("admin").len(), 2);
}

#[test]
fn who_has_no_grant_for_it_is_refused_and_all_of_it_is_logged() {
    let controller = site();
    let before = controller.log().len();
    let eve = Http::of(&controller, "eve");
    for path in ["top", "pairs", "split", "series", "flows"] {
        let answer = eve.get(&format!("/api/v1/traffic/{path}"));
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.detail().contains("no grant shows you traffic"), "{}", answer.detail());
    }
    let ann = Http::of(&controller, "ann");
    let exporters = ann.get("/api/v1/exporters");
    assert_eq!(exporters.status, 403);
    assert!(exporters.detail().contains("all machines"), "{}", exporters.detail());
    for hour in 1..4 {
        ann.json(&format!("/api/v1/traffic/top?from=2026-11-21T0{hour}:00:00Z"));
    }
    ann.json("/api/v1/traffic/top?filter=vm%3Dacme%2Fweb");
    let mut log = controller.log().split_off(before);
    assert_eq!(log.pop().unwrap().0, "read", "this reading of it");
    let expected = [
        ("top vms", false),
        ("pairs of vms", false),
        ("top hosts", false),
        ("sums over time", false),
        ("flows", false),
        ("exporters", false),
        ("top vms", true),
        ("top vms vm=acme/web", true),
    ];
    assert_eq!(log, expected.map(|(what, is_granted)| (what.to_owned(), is_granted)));
}

#[test]
fn a_controller_without_flows_says_what_to_do() {
    let controller = Controller::start();
    controller.done("admin", &["grants", "add", "admin", "--machine", "all"]);
    let admin = Http::of(&controller, "admin");
    for (path, word) in [("traffic/top", "--flows DIR"), ("exporters", "--exporters DIR")] {
        let answer = admin.get(&format!("/api/v1/{path}"));
        assert_eq!(answer.status, 404);
        assert!(answer.detail().contains(word), "{}", answer.detail());
    }
}

#[test]
fn exporters_are_those_that_the_collector_remembers() {
    let controller = site();
    let admin = Http::of(&controller, "admin");
    let none = admin.json("/api/v1/exporters");
    assert_eq!((&none["items"], &none["written"]), (&json!([]), &Value::Null));
}

#[test]
fn the_words_of_a_store_ask_the_controller_where_none_is_named() {
    let controller = site();
    let store = controller.path("flows");
    let store = store.to_str().unwrap();
    for words in [
        &["top", "vms"][..],
        &["top", "apps", "--output", "json"],
        &["top", "tenants", "--since", "2026-11-21T10:01:00Z", "--until", "2026-11-21T10:02:00Z"],
        &["pairs", "--by", "hosts", "--output", "csv"],
        &["matrix", "--by", "tenants", "--where", "tenant=acme"],
        &["flows"],
        &["flows", "--where", "vm=acme/web", "--where", "port=443", "--output", "json"],
    ] {
        let here = controller.done("admin", &[words, &["--store", store]].concat());
        assert_eq!(controller.done("admin", words), here, "{words:?}");
        assert!(here.lines().count() > 1 || here.starts_with('{'), "{here}");
    }
    let own = controller.done("ann", &["top", "vms"]);
    assert!(own.contains("acme/web") && !own.contains("vault"), "{own}");
    assert!(controller.refused("eve", &["top", "vms"]).contains("no grant shows you traffic"));
    let mixed = controller.overtap("admin", &["top", "vms", "a.pcap", "--last", "1h"]);
    assert_eq!(mixed.status.code(), Some(2));
    let nobody = controller.overtap("nobody", &["top", "vms"]);
    assert_eq!(nobody.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("overtap login"));
}
