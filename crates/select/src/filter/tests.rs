//! What the language understands, and what it says when it does not.

use proptest::prelude::*;

use wire::{Layers, LinkType, Packet, Timestamp, TunnelPorts};

use super::Filter;

fn normal(text: &str) -> String {
    match Filter::parse(text) {
        Ok(filter) => filter.to_string(),
        Err(error) => panic!("{error}"),
    }
}

fn error(text: &str) -> String {
    match Filter::parse(text) {
        Ok(filter) => panic!("`{text}` was understood as `{filter}`"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_primitive_has_a_normal_form() {
    for (text, expected) in [
        ("", ""),
        ("tcp", "tcp"),
        ("ip6", "ip6"),
        ("ether proto \\ip", "ip"),
        ("ether proto 0x88cc", "ether proto 0x88cc"),
        ("ether proto lldp", "ether proto 0x88cc"),
        ("proto 6", "tcp"),
        ("ip proto \\icmp", "icmp"),
        ("ip proto tcp", "ip proto 6"),
        ("ip6 proto 0", "ip6 proto 0"),
        ("host 10.0.0.1", "host 10.0.0.1"),
        ("host 0x0a000001", "host 10.0.0.1"),
        ("src 10.0.0.1", "src host 10.0.0.1"),
        ("src or dst host 10.0.0.1", "host 10.0.0.1"),
        ("dst && src host 10.0.0.1", "src and dst host 10.0.0.1"),
        ("ip host 10.0.0.1", "ip host 10.0.0.1"),
        ("arp dst 10.0.0.1", "arp dst host 10.0.0.1"),
        ("10.0.0.1", "host 10.0.0.1"),
        ("10.0.0.0/8", "net 10.0.0.0/8"),
        ("net 10", "net 10.0.0.0/8"),
        ("net 10.1", "net 10.1.0.0/16"),
        ("net 10.1.2.3", "host 10.1.2.3"),
        ("net 10.0.1.0 mask 255.0.255.0", "net 10.0.1.0 mask 255.0.255.0"),
        ("net 0.0.0.0/0", "net 0.0.0.0/0"),
        ("ip6 host 2001:db8::1", "host 2001:db8::1"),
        ("dst net 2001:db8::/32", "dst net 2001:db8::/32"),
        ("net ::/0", "net ::/0"),
        ("port https", "port 443"),
        ("port vxlan", "port 4789"),
        ("port 0x50", "port 80"),
        ("port 010", "port 8"),
        ("tcp src port 80", "tcp src port 80"),
        ("udp portrange 9000-6000", "udp portrange 6000-9000"),
        ("portrange ftp-data-ftp", "portrange 20-21"),
        ("portrange 80", "port 80"),
        ("ether host 52:54:00:00:00:01", "ether host 52:54:00:00:00:01"),
        ("ether src 5254.0000.0001", "ether src host 52:54:00:00:00:01"),
        ("link dst 525400000001", "ether dst host 52:54:00:00:00:01"),
        ("broadcast", "ether broadcast"),
        ("ip multicast", "ip multicast"),
        ("less 0x40", "less 64"),
        ("vlan", "vlan"),
        ("vlan 100 and mpls 3", "vlan 100 and mpls 3"),
        ("vni 5001", "vni 5001"),
        ("vxlan 5001 or geneve", "vxlan 5001 or geneve"),
        ("gre key 77", "gre key 77"),
        ("erspan session 5", "erspan session 5"),
        ("nvgre vsid 7 or nvgre", "nvgre vsid 7 or nvgre"),
        ("vntag or vntag vif 5 or vntag src vif 5", "vntag or vntag vif 5 or vntag src vif 5"),
        ("etag 77 and gtpu and gtpu 5", "etag 77 and gtpu and gtpu teid 5"),
        ("qinq and pppoed and pppoes 0x3b", "qinq and pppoed and pppoes 59"),
        ("vlan 5,7-9,6", "vlan 5-9"),
        ("vni 5000-5010,6000", "vni 5000-5010,6000"),
        ("tcp[13] & 2 != 0", "tcp[13] & 2 != 0"),
        ("tcp[tcpflags] & (tcp-syn|tcp-ack) == 0x12", "tcp[13] & (2 | 16) = 18"),
        ("(ip[0] & 0xf) << 2 > 20", "(ip[0] & 15) << 2 > 20"),
        ("not (ip[6:2] & 0x1fff) = 0", "not (ip[6:2] & 8191 = 0)"),
        ("(tcp[13]) = 2 or ((len) > 5)", "tcp[13] = 2 or len > 5"),
        ("(udp[4:2] - 8)*2 >= len/2", "(udp[4:2] - 8) * 2 >= len / 2"),
        ("1 + 2 * 3 = len", "1 + (2 * 3) = len"),
        ("ip[0] % 3 + 1 = 2", "ip[0] % (3 + 1) = 2"),
        ("ip[tcp[0]:2] = -1", "ip[tcp[0]:2] = -1"),
        ("icmp[icmptype] = icmp-echo", "icmp[0] = 8"),
        ("icmp6[icmp6type]=icmp6-echoreply", "icmp6[0] = 129"),
        ("6 = 6", "6 = 6"),
        ("inbound or outbound", "inbound or outbound"),
        ("llc or llc rnr or stp or iso", "llc or llc rnr or stp or iso"),
        ("isis and l1 and clnp", "isis and l1 and clnp"),
        ("atalk or ipx or decnet", "atalk or ipx or decnet"),
        ("decnet src 1.13", "decnet src host 1.13"),
        ("ip protochain \\tcp or protochain 51", "ip protochain 6 or protochain 51"),
        ("decnet dst not 1.1", "not decnet dst host 1.1"),
        ("outer (udp) and any (vni 7 and tcp)", "outer (udp) and any (vni 7 and tcp)"),
    ] {
        assert_eq!(normal(text), expected, "{text}");
    }
}

#[test]
fn and_and_or_bind_equally_from_left_to_right_and_not_binds_stronger() {
    assert_eq!(normal("tcp or udp and port 80"), "(tcp or udp) and port 80");
    assert_eq!(normal("tcp and udp or arp"), "(tcp and udp) or arp");
    assert_eq!(normal("not tcp and udp"), "not tcp and udp");
    assert_eq!(normal("!(tcp and udp)||arp"), "not (tcp and udp) or arp");
    assert_eq!(normal("tcp and (udp and arp)"), "tcp and udp and arp");
    assert_eq!(normal("not not tcp"), "not not tcp");
}

#[test]
fn a_value_without_keyword_takes_that_of_the_value_before() {
    assert_eq!(normal("port 80 or 443"), "port 80 or port 443");
    assert_eq!(normal("tcp dst port 80 or 443"), "tcp dst port 80 or tcp dst port 443");
    assert_eq!(normal("host 10.0.0.1 and not 10.0.0.2"), "host 10.0.0.1 and not host 10.0.0.2");
    assert_eq!(normal("port (80 or 443)"), "port 80 or port 443");
    assert_eq!(
        normal("src net (10 or 11) and tcp"),
        "(src net 10.0.0.0/8 or src net 11.0.0.0/8) and tcp"
    );
    assert_eq!(normal("port http or https"), "port 80 or port 443");
    assert_eq!(normal("ip proto 6 or 17"), "ip proto 6 or ip proto 17");
    assert_eq!(normal("host 10.0.0.1 or udp"), "host 10.0.0.1 or udp");
}

#[test]
fn an_error_marks_the_place_and_proposes_the_nearest_word() {
    assert_eq!(
        error("tcp prt 443"),
        "filter, column 5: not a word of the filter language\n  \
         tcp prt 443\n      \
         ^^^ did you mean `port`?"
    );
}

#[test]
fn errors_say_what_was_expected() {
    for (text, column, message, suggestion) in [
        ("hots 10.0.0.1", 1, "not a word of the filter language", Some("host")),
        ("host", 5, "expected an address", None),
        ("host tcp", 6, "expected an address, not the keyword `tcp`", None),
        (
            "host web",
            6,
            "not an address: a host is given by address, names are not looked up",
            None,
        ),
        ("host 10.0.0.0/8", 6, "a host has a whole address and no mask", Some("net 10.0.0.0/8")),
        ("host 10.1", 6, "a host has a whole address and no mask", Some("net 10.1")),
        ("net 10.0.0.1/8", 5, "has bits beyond its mask", Some("10.0.0.0/8")),
        ("net 2001:db8::1/32", 5, "has bits beyond its mask", Some("2001:db8::/32")),
        ("net 10/33", 5, "expected 0 to 32 bits or a mask, as 255.255.0.0", None),
        ("port 99999", 6, "ports end at 65535", None),
        ("port 80-90", 6, "this is more than one port", Some("portrange 80-90")),
        ("port htpt", 6, "not a port, nor the name of a well-known one", Some("http")),
        ("port 080", 6, "not a port, nor the name of a well-known one", None),
        ("port 80 or 10.0.0.1", 12, "expected a port, not an address", Some("host 10.0.0.1")),
        ("tcp 80", 5, "`tcp` needs a keyword before a value", Some("tcp port 80")),
        ("tcp host 10.0.0.1", 10, "`tcp` has ports, not addresses", Some("tcp and host 10.0.0.1")),
        ("ip port 80", 9, "`ip` has no ports", Some("ip and port 80")),
        (
            "host 0:1:2:3:4:5",
            6,
            "a MAC address needs `ether` before it",
            Some("ether host 0:1:2:3:4:5"),
        ),
        ("80", 1, "a number alone says nothing", Some("port 80")),
        ("tcp udp", 5, "expected `and` or `or` here", None),
        ("tcp and", 8, "expected an expression behind it", None),
        ("(tcp", 5, "expected `)`", None),
        ("tcp)", 4, "this parenthesis closes nothing", None),
        ("()", 2, "expected an expression before `)`", None),
        ("tcp & udp", 5, "a single `&`", Some("&&")),
        ("tcp[13] & 2", 12, "expected a comparison: `=`, `!=`, `<`, `>`, `<=` or `>=`", None),
        ("tpc[13] = 2", 1, "not a word of the filter language", Some("tcp")),
        ("ether[0:3] = 1", 9, "expected 1, 2 or 4 bytes", None),
        ("ip[8 = 1", 6, "expected `]`, or `:` and how many bytes", None),
        ("ip[8] / 0 = 1", 7, "a division by zero", None),
        ("ip[8] << 32 = 1", 7, "a shift by more than 31 bits", None),
        ("ip[8] = 4294967296", 9, "numbers end at 4294967295", None),
        (
            "tcp[13] = tcp-sym",
            11,
            "expected a number, `len` or bytes of a header, as `ip[8]`",
            Some("tcp-syn"),
        ),
        ("esp[0] = 1", 4, "bytes are taken from a header, as `ip[8]`, `tcp[13]`, `ether[0]`", None),
        ("tcp = 5", 5, "only numbers can be compared, as `ip[8] < 5`", None),
        ("decnet host 64.1", 13, "expected an address of DECnet, as 1.13", None),
        ("vlan 100-5000", 6, "expected a VLAN, a number up to 4095", None),
        ("gre key", 8, "expected a key, a number up to 4294967295", None),
        ("tcp vm web", 5, "`tcp` and `vm` are two questions", Some("tcp and vm")),
        ("\"web\"", 1, "a name needs a word before it, as `vm`", None),
        ("vm \"web", 4, "this quotation mark has no second one", None),
        ("vlan 5000", 6, "expected a VLAN, a number up to 4095", None),
        ("vni", 4, "expected an overlay number, a number up to 16777215", None),
        ("outer tcp", 7, "expected a parenthesis behind `outer`", None),
        ("arp multicast", 5, "only `ether`, `ip` and, for multicast, `ip6` have multicast", None),
        ("src proto 6", 5, "a protocol has no direction", None),
        ("vm web-01", 4, "`vm` needs an inventory, and there is none here", None),
        ("vm", 3, "expected a name behind `vm`", None),
        (
            "gateway router",
            1,
            "`gateway` needs the MAC and the addresses of a host by name; say both: \
             `ether host MAC and not host ADDRESS`",
            None,
        ),
        ("vpi 5", 1, "`vpi` is about ATM, which no VM is connected to", None),
        ("tcp and \u{1b}[2J", 9, "not understood", None),
    ] {
        let error = Filter::parse(text).expect_err(text);
        assert_eq!(error.message, message, "{text}");
        assert_eq!(error.column, column, "{text}: {error}");
        assert_eq!(error.suggestion.as_deref(), suggestion, "{text}");
    }
}

#[test]
fn an_error_never_gives_control_characters_back_to_the_terminal() {
    let text = error("host \u{1b}[2J");
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}

#[test]
fn depth_and_length_are_bounded() {
    let deep = |n: usize| format!("{}tcp{}", "(".repeat(n), ")".repeat(n));
    assert_eq!(normal(&deep(64)), "tcp");
    assert!(Filter::parse(&deep(65)).is_err());
    assert!(Filter::parse(&deep(30_000)).is_err());
    assert!(Filter::parse(&"not ".repeat(10_000)).is_err());
    assert!(Filter::parse(&format!("port {}1{}", "(".repeat(9000), ")".repeat(9000))).is_err());
    let alternating: Vec<_> =
        (0..5000).map(|n| if n % 2 == 0 { "tcp or" } else { "tcp and" }).collect();
    assert!(Filter::parse(&format!("{} tcp", alternating.join(" "))).is_err());
    let hosts: Vec<_> = (0..3000).map(|n| format!("10.0.{}.{}", n / 250, n % 250)).collect();
    assert!(Filter::parse(&format!("host {}", hosts.join(" or "))).is_ok());
    assert!(Filter::parse(&"x".repeat(70_000)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,60}") {
        let _ = Filter::parse(&text);
    }

    #[test]
    fn no_words_make_the_parser_panic_and_what_is_understood_survives_its_own_text(
        words in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..12)
    ) {
        match Filter::parse(&words.join(" ")) {
            Ok(filter) => prop_assert_eq!(Filter::parse(&filter.to_string()), Ok(filter)),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn every_expression_survives_its_own_text(text in expressions()) {
        let filter = Filter::parse(&text);
        prop_assert!(filter.is_ok(), "{}", filter.unwrap_err());
        prop_assert_eq!(Filter::parse(&filter.clone().unwrap().to_string()), filter);
    }
}

const WORDS: &[&str] = &[
    "and",
    "or",
    "not",
    "(",
    ")",
    "src",
    "dst",
    "host",
    "net",
    "port",
    "portrange",
    "proto",
    "tcp",
    "udp",
    "ip",
    "ip6",
    "arp",
    "ether",
    "10.0.0.1",
    "10.0.0.0/8",
    "mask",
    "255.0.0.0",
    "80",
    "80-90",
    "http",
    "52:54:00:00:00:01",
    "::1",
    "fe80::/10",
    "vlan",
    "vni",
    "vxlan",
    "gre",
    "key",
    "erspan",
    "session",
    "outer",
    "any",
    "less",
    "broadcast",
    "multicast",
    "mpls",
    "77",
    "\\tcp",
];

/// Texts of the language.
pub(crate) fn expressions() -> impl Strategy<Value = String> {
    let primitive = prop::sample::select(vec![
        "tcp",
        "udp",
        "ip",
        "ip6",
        "arp",
        "icmp",
        "icmp6",
        "sctp",
        "igmp",
        "ip proto 47",
        "proto 89",
        "ether proto 0x8100",
        "host 10.0.0.1",
        "src host 10.0.0.2",
        "net 10.0.0.0/24",
        "dst net 10.0.0.2/31",
        "net 2001:db8::/32",
        "host fe80::1",
        "port 80",
        "tcp dst port 443",
        "udp portrange 1000-5000",
        "ether host 52:54:00:00:00:01",
        "ether src 52:54:00:00:00:02",
        "broadcast",
        "multicast",
        "ip multicast",
        "ip6 multicast",
        "less 100",
        "greater 100",
        "vlan",
        "vlan 2",
        "mpls",
        "vni 10",
        "vxlan",
        "vxlan 11",
        "geneve 10",
        "gre",
        "gre key 10",
        "erspan",
        "erspan session 3",
        "arp host 10.0.0.1",
        "src and dst port 53",
        "tcp[13] & 2 != 0",
        "ip[2:2] - 20 > len / 2",
        "ether[12:2] = 0x800",
        "ether[16] & 1 = 1",
        "ether[10:4] > 5",
        "len > 80",
        "udp[4:2] >= 8",
        "ip6[6] = 58",
        "ip[ip[0] & 3] = 0x45",
        "llc",
        "inbound",
        "vlan 1-3",
        "qinq",
        "vni 9-11",
        "nvgre",
        "pppoed",
        "ip protochain 6",
    ]);
    let leaf = primitive.prop_map(ToOwned::to_owned);
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} and {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) or ({b})")),
            inner.clone().prop_map(|a| format!("not ({a})")),
            inner.clone().prop_map(|a| format!("outer ({a})")),
            inner.prop_map(|a| format!("any ({a})")),
        ]
    })
}

/// What `text` says of a frame.
fn holds(text: &str, bytes: &[u8]) -> bool {
    let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{error}"));
    let len = u32::try_from(bytes.len()).unwrap();
    let packet = Packet::new(Timestamp::ZERO, LinkType::ETHERNET, bytes, len);
    let layers = Layers::decode(packet.link, packet.data, &TunnelPorts::default());
    filter.matches(&packet, &layers)
}

/// A frame from 10.0.0.1:40000 to 10.0.0.2:443 over TCP.
fn from_vm() -> Vec<u8> {
    let mut frame = vec![
        0x52, 0x54, 0, 0, 0, 2, 0x52, 0x54, 0, 0, 0, 1, 8, 0, // Ethernet
        0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
        0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0, 0, 0, 0, 0, 0, // TCP
    ];
    frame.extend([0; 6]);
    frame
}

/// `inner` behind `header` in an IPv4 packet with `protocol` from 192.0.2.1 to 192.0.2.2.
fn in_ip(protocol: u8, header: &[u8], inner: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(20 + header.len() + inner.len()).unwrap().to_be_bytes();
    let ethernet = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    let ip = [0x45, 0, high, low, 0, 1, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    [&ethernet[..], &ip, header, inner].concat()
}

fn in_udp(port: u16, header: &[u8], inner: &[u8]) -> Vec<u8> {
    let [p, q] = port.to_be_bytes();
    let [high, low] = u16::try_from(8 + header.len() + inner.len()).unwrap().to_be_bytes();
    in_ip(17, &[&[0xc0, 0, p, q, high, low, 0, 0], header].concat(), inner)
}

/// The VM's frame, bare and in everything that can carry it.
pub(crate) fn carriers() -> Vec<(&'static str, Vec<u8>)> {
    let bare = from_vm();
    let vxlan = |inner: &[u8]| in_udp(4789, &[8, 0, 0, 0, 0, 0, 10, 0], inner);
    let geneve = in_udp(6081, &[0, 0, 0x65, 0x58, 0, 0, 10, 0], &bare);
    let gre = in_ip(47, &[0x20, 0, 0x65, 0x58, 0, 0, 0, 77], &bare);
    let erspan = in_ip(47, &[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0, 0, 5, 0, 0, 0, 3], &bare);
    let tagged = [&bare[..12], &[0x81, 0, 0xe0, 100], &bare[12..]].concat();
    let qinq = [&bare[..12], &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 100], &bare[12..]].concat();
    vec![
        ("vxlan in geneve", in_udp(6081, &[0, 0, 0x65, 0x58, 0, 0, 9, 0], &vxlan(&bare))),
        ("vxlan", vxlan(&bare)),
        ("bare", bare),
        ("geneve", geneve),
        ("gre", gre),
        ("erspan", erspan),
        ("vlan", tagged),
        ("qinq", qinq),
    ]
}

#[test]
fn b3_the_same_packet_has_the_same_verdict_whatever_carries_it() {
    for (carrier, bytes) in carriers() {
        for text in [
            "tcp",
            "ip",
            "tcp port 443",
            "src host 10.0.0.1",
            "dst net 10.0.0.0/24",
            "ether src 52:54:00:00:00:01",
            "tcp src port 40000 and dst port 443",
            "not (udp or arp or ip6)",
            "not host 192.0.2.1",
            "not port 4789",
            "not ether broadcast",
        ] {
            assert!(holds(text, &bytes), "{carrier}: {text}");
            assert!(!holds(&format!("not ({text})"), &bytes), "{carrier}: not ({text})");
        }
        // 60 bytes as the VM sent it; a tag is part of its frame.
        let is_tagged = carrier == "vlan" || carrier == "qinq";
        assert_eq!(holds("less 60", &bytes), !is_tagged, "{carrier}");
    }
}

#[test]
fn a_tunnel_is_a_predicate_on_any_level_and_scopes_say_where_else_to_look() {
    let carriers = carriers();
    let of = |wanted: &str| &carriers.iter().find(|(name, _)| *name == wanted).unwrap().1;
    for (carrier, text, expected) in [
        ("vxlan", "vni 10", true),
        ("vxlan", "vxlan 10 and tcp", true),
        ("vxlan", "vni 11", false),
        ("vxlan", "geneve", false),
        ("geneve", "geneve 10 and not vxlan", true),
        ("gre", "gre key 77", true),
        ("gre", "gre key 78", false),
        ("erspan", "erspan session 5", true),
        ("erspan", "erspan session 6", false),
        ("erspan", "gre", true),
        ("vlan", "vlan 100 and not vlan 7", true),
        ("qinq", "vlan 100 and vlan 7", true),
        ("bare", "vxlan or geneve or gre or erspan or vlan or mpls", false),
        ("vxlan in geneve", "vni 9 and vni 10", true),
        ("vxlan in geneve", "any (vni 9 and vni 10)", false),
        ("vxlan in geneve", "any (vni 9 and udp port 4789)", true),
        ("vxlan in geneve", "any (vni 10 and tcp)", true),
        ("vxlan in geneve", "any (vni 9 and tcp)", false),
        ("vxlan", "outer (udp port 4789 and host 192.0.2.1)", true),
        ("vxlan", "outer (tcp)", false),
        ("vxlan", "outer (vni 10)", false),
        ("vxlan", "outer (udp) and tcp", true),
        ("vxlan", "any (host 192.0.2.1 and tcp)", false),
        ("vxlan", "any (host 192.0.2.1) and any (tcp)", true),
        ("bare", "outer (tcp) and any (tcp)", true),
    ] {
        assert_eq!(holds(text, of(carrier)), expected, "{carrier}: {text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// B4: `and`, `or` and `not` are those of Boole, whatever stands beside them, as long as no
    /// byte is missing: what asks for one that is missing refuses the packet, as in libpcap.
    #[test]
    fn b4_the_order_of_operands_changes_nothing(
        a in expressions(), b in expressions(), frame in crate::frames::frames(),
    ) {
        let bytes = [frame.bytes_with_all_tags(), vec![0; 80]].concat();
        // A tunnel of which nothing can be read lacks every byte.
        let layers = Layers::decode(LinkType::ETHERNET, &bytes, &TunnelPorts::default());
        prop_assume!(!layers.innermost(&bytes).headers().is_empty());
        let same = |left: String, right: String| {
            prop_assert_eq!(holds(&left, &bytes), holds(&right, &bytes), "{} / {}", left, right);
            Ok(())
        };
        same(format!("({a}) and ({b})"), format!("({b}) and ({a})"))?;
        same(format!("({a}) or ({b})"), format!("({b}) or ({a})"))?;
        same(format!("not (({a}) and ({b}))"), format!("not ({a}) or not ({b})"))?;
        same(format!("not (({a}) or ({b}))"), format!("not ({a}) and not ({b})"))?;
        prop_assert_ne!(holds(&a, &bytes), holds(&format!("not ({a})"), &bytes));
    }
}
