//! Which UDP ports are taken for which tunnel.

/// A tunnel that is recognised by a UDP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UdpTunnel {
    /// VXLAN, by destination port.
    Vxlan,
    /// VXLAN where a port is used for micro-BFD too (RFC 7130); told apart by the first byte.
    VxlanOrBfd,
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
    /// Whether a packet that the destination port names must look like the tunnel too, because
    /// clients pick such ports for themselves, or another protocol has the port.
    pub(crate) const fn is_doubtful(self, other_port: u16) -> bool {
        match self {
            Self::VxlanOrBfd | Self::Tzsp | Self::Mpls => true,
            Self::Vxlan | Self::VxlanGpe | Self::Geneve => false,
            // The answer of a service to a client that has a tunnel's port.
            _ => other_port < 1024,
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
    tunnels: Vec<(u16, UdpTunnel)>,
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
        self.tunnels.retain(|&(other, _)| other != port);
        self.tunnels.push((port, tunnel));
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
        if !self.may_name(port) {
            return None;
        }
        self.tunnels.iter().find(|&&(other, _)| other == port).map(|&(_, tunnel)| tunnel)
    }

    /// The tunnel that a UDP packet from `source` to `destination` belongs to.
    #[inline]
    pub fn find(&self, source: u16, destination: u16) -> Option<UdpTunnel> {
        self.at(destination).or_else(|| self.at(source).filter(|tunnel| tunnel.has_either_port()))
    }

    /// All ports that are taken for tunnels, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (u16, UdpTunnel)> {
        self.tunnels.iter().copied()
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
        ports
    }
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
    (6784, UdpTunnel::VxlanOrBfd),
    (4790, UdpTunnel::VxlanGpe),
    (2152, UdpTunnel::Gtpu),
    (2123, UdpTunnel::Gtpc),
    (3544, UdpTunnel::Teredo),
    (1701, UdpTunnel::L2tp),
    (5247, UdpTunnel::Capwap),
    (6635, UdpTunnel::Mpls),
    (51234, UdpTunnel::Mpls),
    (4754, UdpTunnel::Gre),
    (6080, UdpTunnel::Gue),
    (4341, UdpTunnel::Lisp),
    (37008, UdpTunnel::Tzsp),
];

#[cfg(test)]
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
}
