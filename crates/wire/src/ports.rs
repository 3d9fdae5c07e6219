//! Which UDP ports are taken for which tunnel, and how a person says so.

use std::fmt;
use std::str::FromStr;

use crate::Layer;

/// A tunnel that is recognised by a UDP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UdpTunnel {
    /// VXLAN, by destination port.
    Vxlan,
    /// VXLAN with generic protocol extension, by destination port.
    VxlanGpe,
    /// GENEVE, by destination port.
    Geneve,
    /// GTP-U, by either port: the answer to an echo goes to the port it came from.
    Gtpu,
    /// GTP-C, by either port: control, which carries nobody's packet.
    Gtpc,
    /// Teredo, by either port: a client has any port.
    Teredo,
    /// L2TP, by either port (RFC 2661, section 8.1: the responder may pick any port).
    L2tp,
    /// CAPWAP data, by either port: an access point has any port.
    Capwap,
    /// MPLS in UDP (RFC 7510), by destination port.
    Mpls,
    /// GRE in UDP (RFC 8086), by destination port.
    Gre,
    /// Generic UDP encapsulation, by destination port.
    Gue,
    /// LISP data, by destination port.
    Lisp,
    /// TZSP, by destination port.
    Tzsp,
}

impl UdpTunnel {
    /// The header that stands behind UDP.
    pub const fn layer(self) -> Layer {
        match self {
            Self::Vxlan => Layer::Vxlan,
            Self::VxlanGpe => Layer::VxlanGpe,
            Self::Geneve => Layer::Geneve,
            Self::Gtpu => Layer::Gtpu,
            Self::Gtpc => Layer::Gtpc,
            Self::Teredo => Layer::Teredo,
            Self::L2tp => Layer::L2tp,
            Self::Capwap => Layer::Capwap,
            Self::Mpls => Layer::Mpls,
            Self::Gre => Layer::Gre,
            Self::Gue => Layer::Gue,
            Self::Lisp => Layer::Lisp,
            Self::Tzsp => Layer::Tzsp,
        }
    }

    /// Whether the source port may be the one that names the tunnel.
    const fn has_either_port(self) -> bool {
        matches!(self, Self::Gtpu | Self::Gtpc | Self::Teredo | Self::L2tp | Self::Capwap)
    }
}

/// Which UDP ports are taken for which tunnel.
///
/// Most tunnels are named by their destination port alone: the source port is a hash of the inner
/// flow, which may be any number.
#[derive(Debug, Clone)]
pub struct TunnelPorts {
    /// One bit for each port number modulo [`BUCKETS`]: nearly every port of nearly every packet
    /// is no tunnel, and that is known after one load.
    maybe: [u64; BUCKETS / 64],
    tunnels: Vec<Named>,
    /// The TCP port of STT.
    stt: u16,
}

impl TunnelPorts {
    /// No port is taken for a tunnel.
    pub const fn none() -> Self {
        Self { maybe: [0; BUCKETS / 64], tunnels: Vec::new(), stt: 0 }
    }

    /// Takes UDP packets of `port` for `tunnel` from now on, instead of what it was taken for.
    pub fn add(&mut self, port: u16, tunnel: UdpTunnel) {
        self.name(Named { port, tunnel, is_shared: false });
    }

    fn name(&mut self, named: Named) {
        let port = named.port;
        self.tunnels.retain(|other| other.port != port);
        self.tunnels.push(named);
        let (word, bit) = bucket(port);
        if let Some(word) = self.maybe.get_mut(word) {
            *word |= bit;
        }
    }

    /// Takes what looks like TCP to `port` for STT from now on; 0 takes nothing for it.
    pub const fn set_stt(&mut self, port: u16) {
        self.stt = port;
    }

    /// The TCP port that STT segments go to; 0 if none are looked for.
    #[inline]
    pub const fn stt(&self) -> u16 {
        self.stt
    }

    /// Whether `port` may be taken for a tunnel; if not, it certainly is not.
    #[inline]
    pub(crate) fn may_name(&self, port: u16) -> bool {
        let (word, bit) = bucket(port);
        self.maybe.get(word).is_some_and(|word| word & bit != 0)
    }

    /// What `port` alone is taken for.
    #[inline]
    pub fn at(&self, port: u16) -> Option<UdpTunnel> {
        self.named(port).map(|named| named.tunnel)
    }

    /// What is known of `port`.
    #[inline]
    pub(crate) fn named(&self, port: u16) -> Option<Named> {
        if !self.may_name(port) {
            return None;
        }
        self.tunnels.iter().find(|named| named.port == port).copied()
    }

    /// The tunnel that a UDP packet from `source` to `destination` belongs to.
    #[inline]
    pub fn find(&self, source: u16, destination: u16) -> Option<UdpTunnel> {
        self.at(destination).or_else(|| self.at(source).filter(|tunnel| tunnel.has_either_port()))
    }

    /// All ports that are taken for tunnels, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (u16, UdpTunnel)> {
        self.tunnels.iter().map(|named| (named.port, named.tunnel))
    }
}

impl Default for TunnelPorts {
    /// The registered ports, and those the field uses: 8472 (Linux before it had a number) and
    /// 6784 (Weave) for VXLAN, 51234 (Contrail) for MPLS; STT at TCP port 7471.
    fn default() -> Self {
        let mut ports = Self::none();
        ports.set_stt(7471);
        for &(port, tunnel) in DEFAULT {
            ports.add(port, tunnel);
        }
        for &(port, tunnel) in SHARED {
            ports.name(Named { port, tunnel, is_shared: true });
        }
        ports
    }
}

/// A port to be taken for a tunnel, as a person writes it: `vxlan=4790`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelPort {
    port: u16,
    /// `None` is STT, whose port is TCP's.
    tunnel: Option<UdpTunnel>,
}

impl TunnelPort {
    /// Takes the port for the tunnel from now on.
    pub fn add_to(self, ports: &mut TunnelPorts) {
        match self.tunnel {
            Some(tunnel) => ports.add(self.port, tunnel),
            None => ports.set_stt(self.port),
        }
    }
}

impl FromStr for TunnelPort {
    type Err = NotATunnelPort;

    fn from_str(text: &str) -> Result<Self, NotATunnelPort> {
        let (kind, port) = text.split_once('=').ok_or(NotATunnelPort::NoPort)?;
        let known = KINDS.iter().find(|(known, _)| *known == kind);
        let (_, tunnel) = known.ok_or_else(|| NotATunnelPort::Kind(kind.to_owned()))?;
        let number = port.parse().ok().filter(|port| *port != 0);
        let port = number.ok_or_else(|| NotATunnelPort::Port(port.to_owned()))?;
        Ok(Self { port, tunnel: *tunnel })
    }
}

/// What is wrong with the text of a [`TunnelPort`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotATunnelPort {
    /// There is no `=`.
    NoPort,
    /// No tunnel is called so.
    Kind(String),
    /// This is no port number.
    Port(String),
}

impl fmt::Display for NotATunnelPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPort => f.write_str("expected KIND=PORT, as in vxlan=4790"),
            Self::Kind(kind) => {
                write!(f, "no tunnel is called '{kind}'; known are")?;
                let mut separator = ' ';
                for (known, _) in KINDS {
                    write!(f, "{separator}{known}")?;
                    separator = ',';
                }
                Ok(())
            }
            Self::Port(port) => write!(f, "'{port}' is no port number, which is 1 to 65535"),
        }
    }
}

impl std::error::Error for NotATunnelPort {}

/// The words for tunnels.
const KINDS: &[(&str, Option<UdpTunnel>)] = &[
    ("vxlan", Some(UdpTunnel::Vxlan)),
    ("vxlan-gpe", Some(UdpTunnel::VxlanGpe)),
    ("geneve", Some(UdpTunnel::Geneve)),
    ("gtpu", Some(UdpTunnel::Gtpu)),
    ("teredo", Some(UdpTunnel::Teredo)),
    ("l2tp", Some(UdpTunnel::L2tp)),
    ("capwap", Some(UdpTunnel::Capwap)),
    ("mpls", Some(UdpTunnel::Mpls)),
    ("gre", Some(UdpTunnel::Gre)),
    ("gue", Some(UdpTunnel::Gue)),
    ("lisp", Some(UdpTunnel::Lisp)),
    ("tzsp", Some(UdpTunnel::Tzsp)),
    ("stt", None),
];

/// A port that names a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named {
    port: u16,
    pub(crate) tunnel: UdpTunnel,
    /// Whether others use the port too, so that a packet must look like the tunnel as well.
    pub(crate) is_shared: bool,
}

/// The word and the bit within it that stand for `port`.
#[inline]
fn bucket(port: u16) -> (usize, u64) {
    let bucket = usize::from(port) % BUCKETS;
    (bucket / 64, 1 << (bucket % 64))
}

const BUCKETS: usize = 1024;

const DEFAULT: &[(u16, UdpTunnel)] = &[
    (4789, UdpTunnel::Vxlan),
    (6081, UdpTunnel::Geneve),
    (8472, UdpTunnel::Vxlan),
    (4790, UdpTunnel::VxlanGpe),
    (2152, UdpTunnel::Gtpu),
    (3544, UdpTunnel::Teredo),
    (1701, UdpTunnel::L2tp),
    (5247, UdpTunnel::Capwap),
    (6635, UdpTunnel::Mpls),
    (4754, UdpTunnel::Gre),
    (6080, UdpTunnel::Gue),
    (4341, UdpTunnel::Lisp),
];

/// 2123 is also that of GTP-C version 2 (3GPP TS 29.274), which has another header; 6784 is also
/// micro-BFD's (RFC 7130, section 2.2); the others any client may have picked.
const SHARED: &[(u16, UdpTunnel)] = &[
    (2123, UdpTunnel::Gtpc),
    (6784, UdpTunnel::Vxlan),
    (51234, UdpTunnel::Mpls),
    (37008, UdpTunnel::Tzsp),
];

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail this way")]
mod tests {
    use super::*;

    #[test]
    fn vxlan_is_named_by_the_destination_port_only() {
        let ports = TunnelPorts::default();
        assert_eq!(ports.find(1234, 4789), Some(UdpTunnel::Vxlan));
        assert_eq!(ports.find(4789, 53), None);
        assert_eq!(ports.find(2152, 40000), Some(UdpTunnel::Gtpu));
    }

    #[test]
    fn ports_that_share_a_bucket_are_told_apart() {
        let ports = TunnelPorts::default();
        for port in (4789 % 1024..u16::MAX).step_by(1024) {
            assert_eq!(ports.at(port).is_some(), port == 4789, "{port}");
        }
    }

    #[test]
    fn an_added_port_replaces_what_it_was_taken_for() {
        let mut ports = TunnelPorts::default();
        ports.add(6081, UdpTunnel::Vxlan);
        ports.add(12345, UdpTunnel::Geneve);
        assert_eq!(ports.at(6081), Some(UdpTunnel::Vxlan));
        assert_eq!(ports.at(12345), Some(UdpTunnel::Geneve));
        assert_eq!(TunnelPorts::none().find(4789, 4789), None);
    }

    #[test]
    fn a_port_is_read_as_a_person_writes_it() {
        let mut ports = TunnelPorts::default();
        for text in ["vxlan=5000", "stt=5001"] {
            text.parse::<TunnelPort>().unwrap().add_to(&mut ports);
        }
        assert_eq!((ports.at(5000), ports.stt()), (Some(UdpTunnel::Vxlan), 5001));
    }

    #[test]
    fn what_is_no_tunnel_port_is_told_why() {
        let said = |text: &str| text.parse::<TunnelPort>().map_err(|error| error.to_string());
        assert!(said("vxlan").is_err_and(|text| text.contains("KIND=PORT")));
        assert!(said("wxlan=1").is_err_and(|text| text.contains("known are vxlan,vxlan-gpe,")));
        for port in ["vxlan=0", "vxlan=65536", "vxlan=", "vxlan=x"] {
            assert!(said(port).is_err_and(|text| text.contains("1 to 65535")), "{port}");
        }
    }
}
