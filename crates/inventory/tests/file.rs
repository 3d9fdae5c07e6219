//! Inventory files: what they say, and what is said about them when they are wrong.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::net::IpAddr;

use inventory::{Episode, History, Network, Period};
use wire::{Mac, Timestamp, VlanId, Vni};

/// 2026-11-21T10:00:00Z and this many minutes.
fn at(minutes: u64) -> Timestamp {
    Timestamp::from_parts(1_795_255_200 + 60 * minutes, 0)
}

fn network(tunnel: Option<&str>, vni: Option<u32>, vlan: Option<u16>) -> Network {
    Network {
        vlan: vlan.and_then(VlanId::new),
        vni: vni.and_then(Vni::new),
        tunnel: tunnel.map(str::to_owned),
        tunnel_port: None,
        remotes: Vec::new(),
        uplinks: Vec::new(),
        team: None,
    }
}

fn networks(episode: &Episode) -> &[Network] {
    &episode.machine.vnics[0].attachment.as_ref().unwrap().networks
}

const WHOLE: &str = r#"
version = 1

[[hosts]]
name = "hv-1"
site = "ams-1"

[[hosts]]
name = "hv-9"

[[vms]]
name = "web-01"
aliases = ["www"]
uuid = "3f2a8c1e-0b6d-4a57-9e21-7c5d1f0e9a01"
tenant = "acme"
host = "hv-1"

[[vms.vnics]]
name = "eth0"
mac = "52:54:00:12:34:56"
ips = ["10.0.7.12", "fd00::12"]
port_group = "VM Network"
switch = "br-int"
tap = "vnet3"
networks = [
  { vxlan = 5001 },
  { vxlan = 5001, udp_port = 8472, vlan = 7 },
  { geneve = 16777215 }, { gre = 77 }, { nvgre = 5001 }, { erspan = 100 }, { vntag = 12 },
  { vlan = 7 }, { untagged = true },
]
"#;

#[test]
fn everything_a_file_can_say_of_a_vm_is_read() {
    let history = History::parse(WHOLE).unwrap();
    assert_eq!(history.hosts().collect::<Vec<_>>(), ["hv-1", "hv-9"]);
    let [only] = history.episodes() else { panic!("{history:?}") };
    assert_eq!((only.host.name.as_str(), only.during), ("hv-1", Period::ALWAYS));
    let vm = &only.machine;
    assert_eq!(vm.id.to_string(), "uuid:3f2a8c1e-0b6d-4a57-9e21-7c5d1f0e9a01");
    assert_eq!((vm.name.as_str(), vm.tenant.as_deref()), ("web-01", Some("acme")));
    assert_eq!(vm.aliases, ["www"]);
    let vnic = &vm.vnics[0];
    assert_eq!(
        (vnic.name.as_str(), vnic.mac),
        ("eth0", Some(Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56])))
    );
    assert_eq!(
        vnic.ips.iter().map(|known| known.ip).collect::<Vec<_>>(),
        [IpAddr::from([10, 0, 7, 12]), "fd00::12".parse().unwrap(),]
    );
    let place = vnic.attachment.as_ref().unwrap();
    assert_eq!(place.port_group.as_deref(), Some("VM Network"));
    assert_eq!((place.switch.as_deref(), place.device.as_deref()), (Some("br-int"), Some("vnet3")));
    let other_port =
        Network { tunnel_port: Some(8472), ..network(Some("vxlan"), Some(5001), Some(7)) };
    assert_eq!(
        networks(only),
        [
            network(Some("vxlan"), Some(5001), None),
            other_port,
            network(Some("geneve"), Some(16_777_215), None),
            network(Some("gre"), Some(77), None),
            network(Some("nvgre"), Some(5001), None),
            network(Some("erspan"), Some(100), None),
            network(Some("vntag"), Some(12), None),
            network(None, None, Some(7)),
            network(None, None, None),
        ]
    );
}

#[test]
fn json_says_the_same_as_toml() {
    let value: toml::Value = toml::from_str(WHOLE).unwrap();
    let json = serde_json::to_string_pretty(&value).unwrap();
    assert_eq!(History::parse(&json).unwrap(), History::parse(WHOLE).unwrap());
    assert_eq!(History::parse(&format!("\u{feff}{json}")).unwrap(), History::parse(WHOLE).unwrap());
}

#[test]
fn an_empty_file_knows_nothing() {
    assert_eq!(History::parse("").unwrap(), History::default());
    assert_eq!(History::parse("{}").unwrap(), History::default());
}

#[test]
fn times_nest_and_cut_a_vm_into_episodes() {
    let history = History::parse(
        r#"
        [[vms]]
        name = "web"
        until = 2026-11-21T11:00:00+01:00
        [[vms.vnics]]
        mac = "52:54:00:00:00:01"
        networks = [
          { vxlan = 5001, until = "2026-11-21T09:30:00Z" },
          { vxlan = 5002, since = 2026-11-21 09:30:00Z },
        ]
        "#,
    )
    .unwrap();
    let mut told: Vec<_> =
        history.episodes().iter().map(|e| (e.during, networks(e)[0].vni.map(Vni::value))).collect();
    told.sort();
    let half_past_nine = at(0).saturating_sub(std::time::Duration::from_secs(30 * 60));
    assert_eq!(
        told,
        [
            (Period { from: Timestamp::ZERO, until: Some(half_past_nine) }, Some(5001)),
            (Period { from: half_past_nine, until: Some(at(0)) }, Some(5002)),
        ]
    );
}

/// Each way of being wrong: the text, where it is said to be wrong, and a part of what is said.
const WRONG: &[(&str, (usize, usize), &str)] = &[
    ("[[vms]]\nname = \"a\nhost = 1\n", (2, 10), "invalid basic string"),
    ("[[vms]]\nhost = \"hv-1\"\n", (1, 1), "missing field `name`"),
    ("[[vms]]\nname = \"\"\n", (2, 8), "a name may not be empty"),
    ("[[vms]]\nname = \"a\\u001bb\"\n", (2, 8), "control character"),
    ("[[vms]]\nname = \"web\"\nvnic = []\n", (3, 1), "unknown field `vnic`, expected one of"),
    ("[[vms]]\nname = \"web\"\nsinc = 2026-11-21T10:00:00Z\n", (3, 1), "unknown field `sinc`"),
    ("version = 2\n", (1, 11), "version 2 of the inventory file is not known"),
    ("[[vms]]\nname = \"web\"\nuuid = \"3f2a\"\n", (3, 8), "`3f2a` is no UUID: expected 32"),
    (
        "[[vms]]\nname = \"web\"\nsince = 2026-11-21\n",
        (3, 9),
        "`2026-11-21` is no time with its zone",
    ),
    (
        "[[vms]]\nname = \"web\"\nsince = 2026-11-21T10:00:00\n",
        (3, 9),
        "write it as 2026-11-21T10:00:00Z",
    ),
    ("[[vms]]\nname = \"web\"\nsince = \"noon\"\n", (3, 9), "`noon` is no time"),
    ("[[vms]]\nname = \"web\"\nsince = 12\n", (3, 9), "expected a time as 2026-11-21T10:00:00Z"),
    ("[[vms]]\nname = \"web\"\nsince = 1969-12-31T00:00:00Z\n", (3, 9), "from 1970 on"),
    (
        "[[vms]]\nname = \"web\"\nsince = 2026-11-21T10:00:00Z\nuntil = 2026-11-21T10:00:00Z\n",
        (1, 1),
        "`until` is not after `since`",
    ),
    ("[[vms]]\nname = \"web\"\n[[vms.vnics]]\nips = []\n", (3, 1), "missing field `mac`"),
    (
        "[[vms]]\nname = \"web\"\nvnics = [{ mac = \"web\" }]\n",
        (3, 18),
        "`web` is not a MAC address",
    ),
    (
        "[[vms]]\nname = \"web\"\nvnics = [{ mac = \"ff:ff:ff:ff:ff:ff\" }]\n",
        (3, 18),
        "no card can have the MAC ff:ff:ff:ff:ff:ff",
    ),
    (
        "[[vms]]\nname = \"web\"\nvnics = [{ mac = \"52:54:00:00:00:01\", ips = [\"10.0.0\"] }]\n",
        (3, 46),
        "invalid IP address syntax",
    ),
    (
        "[[vms]]\nname = \"web\"\nuntil = 2026-11-21T10:00:00Z\n[[vms.vnics]]\n\
         mac = \"52:54:00:00:00:01\"\nsince = 2026-11-21T10:00:00Z\n",
        (1, 1),
        "vNIC 52:54:00:00:00:01 has no time in common with its VM web",
    ),
    (
        "[[vms]]\nname = \"web\"\n[[vms.vnics]]\nmac = \"52:54:00:00:00:01\"\n\
         until = 2026-11-21T10:00:00Z\n\
         networks = [{ vlan = 7, since = 2026-11-21T10:00:00Z }]\n",
        (1, 1),
        "VLAN 7 has no time in common with its vNIC",
    ),
];

/// The same for networks, which are in line 4 from column 13 on.
const WRONG_NETWORK: &[(&str, usize, &str)] = &[
    ("{ }", 13, "a network needs one of vxlan, geneve"),
    ("{ untagged = false }", 13, "a network needs one of vxlan, geneve"),
    ("{ vni = 5001 }", 15, "unknown field `vni`, expected one of `vxlan`"),
    ("{ vxlan = \"5001\" }", 23, "invalid type: string \"5001\""),
    ("{ vxlan = -1 }", 23, "invalid value: integer `-1`"),
    ("{ vxlan = 16777216 }", 13, "vxlan 16777216 is too large; at most 16777215"),
    ("{ erspan = 1024 }", 13, "erspan 1024 is too large; at most 1023"),
    ("{ vntag = 16384 }", 13, "vntag 16384 is too large; at most 16383"),
    ("{ vxlan = 1, geneve = 1 }", 13, "in one tunnel, not in `vxlan` and `geneve`"),
    ("{ vlan = 0 }", 13, "VLAN 0 does not exist; they are 1 to 4094"),
    ("{ vlan = 4095 }", 13, "VLAN 4095 does not exist"),
    ("{ vlan = 7, untagged = true }", 13, "`untagged` stands alone"),
    ("{ vxlan = 7, udp_port = 0 }", 13, "a UDP port is 1 to 65535"),
    ("{ gre = 7, udp_port = 9 }", 13, "only vxlan and geneve have a `udp_port`"),
    ("{ vlan = 7, vlan = 8 }", 25, "duplicate key"),
];

#[test]
fn each_way_of_being_wrong_is_one_sentence_with_its_place() {
    let mut wrong: Vec<(String, (usize, usize), &str)> =
        WRONG.iter().map(|(text, place, said)| ((*text).to_owned(), *place, *said)).collect();
    for (network, column, said) in WRONG_NETWORK {
        let text = format!(
            "[[vms]]\nname = \"web\"\nvnics = [{{ mac = \"52:54:00:00:00:01\", networks = [\n            {network},\n]}}]\n"
        );
        wrong.push((text, (4, *column), said));
    }
    let mut faults = Vec::new();
    for (text, place, said) in wrong {
        let error = History::parse(&text).expect_err(&text);
        if (error.line, error.column) != place
            || !error.problem.contains(said)
            || error.problem.contains('\n')
        {
            faults.push(format!("{text}\n  said: {error}\n  not {place:?}: {said}\n"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_mistake_in_json_has_its_place_too() {
    let wrong = [
        ("{\"vms\": [\n{\"name\": \"web\",}\n]}", (2, 16), "key must be a string"),
        ("{\"vms\": [\n{\"name\": \"web\", \"vnic\": []}\n]}", (2, 22), "unknown field `vnic`"),
        (
            "{\"vms\": [\n{\"name\": \"web\", \"vnics\": [{\"mac\": \"x\"}]}\n]}",
            (2, 38),
            "`x` is not a MAC",
        ),
        (
            "{\"host\": \"hv-1\", \"machines\": [\n{\"id\": 7}]}",
            (2, 8),
            "invalid type: integer `7`",
        ),
        ("{\"vms\": [", (1, 9), "EOF while parsing a list"),
    ];
    for (text, place, said) in wrong {
        let error = History::parse(text).expect_err(text);
        assert_eq!((error.line, error.column), place, "{text}: {error}");
        assert!(error.problem.contains(said), "{text}: {error}");
    }
}

#[test]
fn a_vm_that_changes_too_often_in_one_entry_is_refused() {
    let mut text =
        "[[vms]]\nname = \"web\"\nvnics = [{ mac = \"52:54:00:00:00:01\", networks = [".to_owned();
    for second in 0..1001 {
        text += &format!(
            "{{ vlan = 7, since = 2026-11-21T{:02}:{:02}:{:02}Z }},",
            second / 3600,
            second / 60 % 60,
            second % 60
        );
    }
    let error = History::parse(&(text + "] }]\n")).unwrap_err();
    assert!(error.problem.contains("web changes 1001 times within one entry"), "{error}");
}
