//! What a flow is used for: by its first bytes where they say it, else by the port of its server.
//!
//! DNS, TLS, HTTP, QUIC and SSH are recognised wherever they run, and the first three name what is
//! asked for. Nothing is put together from several packets: a name that is cut is no name.

mod dns;
mod http;
mod tls;

use std::borrow::Cow;

/// What a flow is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Application {
    /// Recognised by its first bytes.
    Seen(&'static str),
    /// As the registry says of the port of the server.
    Port(&'static str),
    /// Nobody knows; a port without a name, or a protocol without ports.
    Unknown,
}

impl Application {
    /// What it is called: a word, or the number of the port.
    pub fn name(self, protocol: u8, server_port: u16) -> Cow<'static, str> {
        match (self, protocol) {
            (Self::Seen(name) | Self::Port(name), _) => name.into(),
            (Self::Unknown, 1 | 58) => "icmp".into(),
            (Self::Unknown, 6) => format!("tcp/{server_port}").into(),
            (Self::Unknown, 17) => format!("udp/{server_port}").into(),
            (Self::Unknown, protocol) => format!("ip/{protocol}").into(),
        }
    }

    /// By the port of the server.
    pub fn of_port(protocol: u8, port: u16) -> Self {
        if !matches!(protocol, 6 | 17 | 132) {
            return Self::Unknown;
        }
        match PORTS.binary_search_by_key(&port, |entry| entry.0) {
            Ok(found) => PORTS.get(found).map_or(Self::Unknown, |entry| Self::Port(entry.1)),
            Err(_) => Self::Unknown,
        }
    }

    /// By the first bytes that one side sent, and what they ask for.
    pub(crate) fn seen(protocol: u8, ports: [u16; 2], payload: &[u8]) -> Option<Seen> {
        let seen = |application, name: Option<Cow<'_, str>>| {
            Some(Seen { application, name: name.map(Into::into) })
        };
        match (protocol, payload) {
            // Handshake of TLS 1.0 and later, in a record (RFC 8446, section 5.1).
            (6, [22, 3, 0..=4, _, _, kind, ..]) => {
                let name = if *kind == 1 { tls::server_name(payload) } else { None };
                seen("tls", name)
            }
            (6, [b'S', b'S', b'H', b'-', ..]) => seen("ssh", None),
            (6, payload) if http::is_request(payload) => seen("http", http::host(payload)),
            (6, [b'H', b'T', b'T', b'P', b'/', b'1', b'.', ..]) => seen("http", None),
            (6, payload) if ports.contains(&53) => {
                // Behind two bytes of length (RFC 1035, section 4.2.2).
                seen("dns", dns::question(payload.get(2..)?))
            }
            (17, payload) if ports.iter().any(|port| matches!(port, 53 | 5353 | 5355)) => {
                seen("dns", dns::question(payload))
            }
            // The long header: form and fixed bit, then a version (RFC 9000, section 17.2).
            (17, [first, 0, 0, 0, 1, ..] | [first, 0x6b, 0x33, 0x43, 0xcf, ..])
                if first & 0xc0 == 0xc0 && payload.len() >= 20 =>
            {
                seen("quic", None)
            }
            _ => None,
        }
    }
}

/// What the first bytes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) application: &'static str,
    /// The name that is asked for.
    pub(crate) name: Option<Box<str>>,
}

/// Of two ports the one that is the server's: one that has a name, else the lower one.
pub fn server_port(protocol: u8, [source, destination]: [u16; 2]) -> u16 {
    let is_named = |port| Application::of_port(protocol, port) != Application::Unknown;
    match (is_named(source), is_named(destination)) {
        (true, false) => source,
        (false, true) => destination,
        _ => source.min(destination),
    }
}

/// A name as it may be printed: letters, digits and what names have, up to 255.
fn printable(bytes: &[u8]) -> Option<&str> {
    let is_good = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:[]*".contains(byte);
    let is_name = !bytes.is_empty() && bytes.len() <= 255 && bytes.iter().all(is_good);
    std::str::from_utf8(bytes).ok().filter(|_| is_name)
}

/// Well-known ports, in the words people use for them (IANA's registry, and habit).
const PORTS: &[(u16, &str)] = &[
    (20, "ftp-data"),
    (21, "ftp"),
    (22, "ssh"),
    (23, "telnet"),
    (25, "smtp"),
    (53, "dns"),
    (67, "dhcp"),
    (68, "dhcp"),
    (69, "tftp"),
    (80, "http"),
    (88, "kerberos"),
    (110, "pop3"),
    (111, "rpcbind"),
    (123, "ntp"),
    (137, "netbios"),
    (138, "netbios"),
    (139, "netbios"),
    (143, "imap"),
    (161, "snmp"),
    (162, "snmp"),
    (179, "bgp"),
    (389, "ldap"),
    (443, "https"),
    (445, "smb"),
    (465, "smtps"),
    (500, "ike"),
    (514, "syslog"),
    (546, "dhcp"),
    (547, "dhcp"),
    (587, "smtp"),
    (631, "ipp"),
    (636, "ldaps"),
    (873, "rsync"),
    (902, "vmware"),
    (989, "ftps"),
    (990, "ftps"),
    (993, "imaps"),
    (995, "pop3s"),
    (1194, "openvpn"),
    (1433, "mssql"),
    (1521, "oracle"),
    (1701, "l2tp"),
    (1812, "radius"),
    (1813, "radius"),
    (1883, "mqtt"),
    (2049, "nfs"),
    (2055, "netflow"),
    (2152, "gtpu"),
    (2181, "zookeeper"),
    (2379, "etcd"),
    (2380, "etcd"),
    (3128, "proxy"),
    (3260, "iscsi"),
    (3268, "ldap"),
    (3306, "mysql"),
    (3389, "rdp"),
    (4500, "ike"),
    (4739, "ipfix"),
    (4789, "vxlan"),
    (5060, "sip"),
    (5061, "sip"),
    (5201, "iperf3"),
    (5353, "mdns"),
    (5355, "llmnr"),
    (5432, "postgresql"),
    (5671, "amqp"),
    (5672, "amqp"),
    (5900, "vnc"),
    (5985, "winrm"),
    (5986, "winrm"),
    (6081, "geneve"),
    (6343, "sflow"),
    (6379, "redis"),
    (6443, "kubernetes"),
    (6640, "ovsdb"),
    (6653, "openflow"),
    (8080, "http"),
    (8443, "https"),
    (8472, "vxlan"),
    (9000, "minio"),
    (9090, "prometheus"),
    (9092, "kafka"),
    (9100, "metrics"),
    (9200, "elasticsearch"),
    (10250, "kubelet"),
    (11211, "memcached"),
    (16509, "libvirt"),
    (16514, "libvirt"),
    (27017, "mongodb"),
    (49152, "qemu-migration"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_in_order_so_that_they_can_be_searched() {
        assert!(PORTS.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(Application::of_port(6, 443), Application::Port("https"));
        assert_eq!(Application::of_port(1, 443), Application::Unknown);
        assert_eq!(Application::Unknown.name(6, 7777), "tcp/7777");
    }

    #[test]
    fn the_server_has_the_port_with_a_name_or_the_lower_one() {
        assert_eq!(server_port(6, [443, 50_000]), 443);
        assert_eq!(server_port(6, [1025, 8080]), 8080);
        assert_eq!(server_port(6, [40_000, 30_000]), 30_000);
    }

    #[test]
    fn first_bytes_are_recognised_at_any_port() {
        let seen = |protocol, ports, payload: &'static [u8]| {
            Application::seen(protocol, ports, payload).map(|seen| seen.application)
        };
        assert_eq!(seen(6, [1, 2], b"SSH-2.0-OpenSSH_9.2\r\n"), Some("ssh"));
        assert_eq!(seen(6, [1, 2], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Some("http"));
        assert_eq!(seen(6, [1, 2], b"HTTP/1.1 200 OK\r\n"), Some("http"));
        assert_eq!(
            seen(17, [1, 443], &[0xc3, 0, 0, 0, 1, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            Some("quic")
        );
        assert_eq!(seen(17, [1, 2], b"hello"), None);
    }
}
