//! Names that stand for numbers, and the nearest of them to what was typed.

/// Names of IP protocols (IANA protocol-numbers).
pub(super) const IP_PROTOCOLS: &[(&str, u8)] = &[
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("igrp", 9),
    ("udp", 17),
    ("ipv6", 41),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmp6", 58),
    ("ipv6-icmp", 58),
    ("eigrp", 88),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("l2tp", 115),
    ("sctp", 132),
];

/// Names of what a frame carries, as pcap-filter(7) and the field use them: EtherTypes and, below
/// 1536, LLC service access points.
pub(super) const ETHER_TYPES: &[(&str, u16)] = &[
    ("ip", 0x0800),
    ("arp", 0x0806),
    ("rarp", 0x8035),
    ("ip6", 0x86dd),
    ("atalk", 0x809b),
    ("aarp", 0x80f3),
    ("decnet", 0x6003),
    ("lat", 0x6004),
    ("moprc", 0x6002),
    ("mopdl", 0x6001),
    ("iso", 0xfe),
    ("stp", 0x42),
    ("ipx", 0xe0),
    ("netbeui", 0xf0),
    ("sca", 0x6007),
    ("loopback", 0x9000),
    ("slow", 0x8809),
    ("lldp", 0x88cc),
    ("ptp", 0x88f7),
];

/// Whether this name of an EtherType is also a word of its own.
pub(super) fn is_word(name: &str) -> bool {
    !matches!(name, "sca" | "loopback" | "slow" | "lldp" | "ptp")
}

/// Names of ports (IANA service-names-port-numbers). A name stands for its number, whatever the
/// transport.
pub(super) const SERVICES: &[(&str, u16)] = &[
    ("amqp", 5672),
    ("bfd", 3784),
    ("bgp", 179),
    ("bootpc", 68),
    ("bootps", 67),
    ("dhcpv6-client", 546),
    ("dhcpv6-server", 547),
    ("domain", 53),
    ("ftp", 21),
    ("ftp-data", 20),
    ("geneve", 6081),
    ("gtp-user", 2152),
    ("http", 80),
    ("http-alt", 8080),
    ("https", 443),
    ("imap", 143),
    ("imaps", 993),
    ("ipfix", 4739),
    ("isakmp", 500),
    ("iscsi-target", 3260),
    ("kerberos", 88),
    ("l2tp", 1701),
    ("ldap", 389),
    ("ldaps", 636),
    ("mdns", 5353),
    ("microsoft-ds", 445),
    ("ms-sql-s", 1433),
    ("ms-wbt-server", 3389),
    ("mysql", 3306),
    ("netbios-ns", 137),
    ("netconf-ssh", 830),
    ("nfs", 2049),
    ("ntp", 123),
    ("pop3", 110),
    ("postgresql", 5432),
    ("radius", 1812),
    ("redis", 6379),
    ("sflow", 6343),
    ("sip", 5060),
    ("sips", 5061),
    ("smtp", 25),
    ("snmp", 161),
    ("snmptrap", 162),
    ("ssh", 22),
    ("submission", 587),
    ("sunrpc", 111),
    ("syslog", 514),
    ("telnet", 23),
    ("tftp", 69),
    ("vxlan", 4789),
];

/// The number `name` stands for in `table`.
pub(super) fn number<N: Copy>(table: &[(&str, N)], name: &str) -> Option<N> {
    table.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The name that stands for `number` in `table`.
pub(super) fn name<N: PartialEq>(table: &[(&'static str, N)], number: &N) -> Option<&'static str> {
    table.iter().find(|(_, known)| known == number).map(|(name, _)| *name)
}

/// The word of `known` nearest to `typed`, if one is near enough to have been meant.
pub(super) fn nearest<'a>(
    typed: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let len = typed.chars().count();
    if len > LONGEST_GUESSED {
        return None;
    }
    known
        .into_iter()
        .map(|word| (distance(&typed, word), word))
        .filter(|(distance, word)| *distance <= (len.max(word.len()) / 3).max(1) && *distance < len)
        .min()
        .map(|(_, word)| word)
}

/// How many letters have to be put in, taken out, replaced or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    let mut previous = None;
    for (row, l) in left.chars().enumerate() {
        let mut current = vec![row + 1];
        for (column, r) in right.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX);
            let replaced = at(&above, column) + usize::from(l != *r);
            let mut best = replaced.min(at(&above, column + 1) + 1).min(at(&current, column) + 1);
            let is_swapped = column
                .checked_sub(1)
                .is_some_and(|left_of| previous == Some(*r) && right.get(left_of) == Some(&l));
            if is_swapped {
                best = best.min(at(&before, column - 1).saturating_add(1));
            }
            current.push(best);
        }
        previous = Some(l);
        before = std::mem::replace(&mut above, current);
    }
    above.last().copied().unwrap_or(0)
}

/// A longer word is no slip of the finger.
const LONGEST_GUESSED: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let known = ["port", "portrange", "proto", "host", "udp"];
        assert_eq!(nearest("prot", known), Some("port"));
        assert_eq!(nearest("hots", known), Some("host"));
        assert_eq!(nearest("portragne", known), Some("portrange"));
        assert_eq!(nearest("upd", known), Some("udp"));
        assert_eq!(nearest("elephant", known), None);
        assert_eq!(nearest("x", known), None);
    }
}
