//! Where a mirror goes, as a person writes it: `vxlan://10.0.0.9?vni=7`, `port:veth-ids`, `vlan:900`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use wire::VlanId;

/// Where the copies go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// SPAN: an interface of this host.
    Port(String),
    /// RSPAN: a VLAN that the network carries to whoever listens.
    Vlan(VlanId),
    /// An address, in a tunnel.
    Tunnel(Tunnel),
}

/// A tunnel to a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunnel {
    /// How the copies are wrapped.
    pub encapsulation: Encapsulation,
    /// The tool's address.
    pub remote: IpAddr,
    /// UDP port of the tool, where it is not the encapsulation's own.
    pub udp_port: Option<u16>,
    /// What tells this mirror from others there: VNI (24 bits), GRE key (32) or session (10).
    pub number: u32,
}

/// How copies are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encapsulation {
    /// RFC 7348.
    Vxlan,
    /// RFC 8926, without options.
    Geneve,
    /// Ethernet in GRE with a key (RFC 1701, RFC 2890), without sequence numbers.
    Gre,
    /// ERSPAN type II (draft-foschiano-erspan-03, section 4.2) with this 20-bit index.
    ErspanII {
        /// Tells ports of one session apart; ours to choose.
        index: u32,
    },
    /// ERSPAN type III (section 4.3): with a time stamp of 100 µs.
    ErspanIII {
        /// 6 bits that name the hardware; ours to choose.
        hardware: u32,
    },
}

/// Why a destination cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no place for a mirror: {reason}; write {}", FORMS)]
pub struct NoDestination {
    text: String,
    reason: String,
}

impl Tunnel {
    /// Bytes in front of the mirrored Ethernet frame on the underlay, its own IP header included
    /// and the underlay's Ethernet header not: what an MTU has to have room for.
    pub const fn overhead(&self) -> u32 {
        let ip = if self.remote.is_ipv4() { 20 } else { 40 };
        ip + match self.encapsulation {
            // UDP and a header of 8 bytes; GRE with key or sequence and ERSPAN's 8 bytes.
            Encapsulation::Vxlan | Encapsulation::Geneve | Encapsulation::ErspanII { .. } => 16,
            Encapsulation::Gre => 8,
            Encapsulation::ErspanIII { .. } => 20,
        }
    }
}

impl Encapsulation {
    /// The word in front of `://`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::Gre => "gre",
            Self::ErspanII { .. } | Self::ErspanIII { .. } => "erspan",
        }
    }

    /// What its number is called, and the most it can be.
    const fn number(self) -> (&'static str, u32) {
        match self {
            Self::Vxlan | Self::Geneve => ("vni", 0xff_ffff),
            Self::Gre => ("key", u32::MAX),
            Self::ErspanII { .. } | Self::ErspanIII { .. } => ("session", 0x3ff),
        }
    }

    const fn has_udp(self) -> bool {
        matches!(self, Self::Vxlan | Self::Geneve)
    }
}

impl FromStr for Destination {
    type Err = NoDestination;

    fn from_str(text: &str) -> Result<Self, NoDestination> {
        read(text).map_err(|reason| NoDestination { text: text.to_owned(), reason })
    }
}

impl fmt::Display for Destination {
    /// As it is read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tunnel = match self {
            Self::Port(name) => return write!(f, "port:{name}"),
            Self::Vlan(vlan) => return write!(f, "vlan:{vlan}"),
            Self::Tunnel(tunnel) => tunnel,
        };
        let Tunnel { encapsulation, remote, udp_port, number } = tunnel;
        match remote {
            IpAddr::V4(remote) => write!(f, "{}://{remote}", encapsulation.word())?,
            IpAddr::V6(remote) => write!(f, "{}://[{remote}]", encapsulation.word())?,
        }
        if let Some(port) = udp_port {
            write!(f, ":{port}")?;
        }
        write!(f, "?{}={number}", encapsulation.number().0)?;
        match encapsulation {
            Encapsulation::ErspanII { index: 0 } => Ok(()),
            Encapsulation::ErspanII { index } => write!(f, "&index={index}"),
            Encapsulation::ErspanIII { hardware: 0 } => f.write_str("&type=3"),
            Encapsulation::ErspanIII { hardware } => write!(f, "&type=3&hardware={hardware}"),
            _ => Ok(()),
        }
    }
}

fn read(text: &str) -> Result<Destination, String> {
    if let Some(name) = text.strip_prefix("port:") {
        // What the kernel takes as an interface's name: at most 15 bytes, no blank, no slash.
        let is_name = !name.is_empty()
            && name.len() <= 15
            && !name.contains(|c: char| c.is_whitespace() || c == '/');
        return match is_name {
            true => Ok(Destination::Port(name.to_owned())),
            false => Err(format!("`{name}` is no interface's name")),
        };
    }
    if let Some(number) = text.strip_prefix("vlan:") {
        let vlan = number
            .parse()
            .ok()
            .and_then(VlanId::new)
            .filter(|vlan| (1..4095).contains(&vlan.value()));
        return vlan.map(Destination::Vlan).ok_or("a VLAN is a number from 1 to 4094".into());
    }
    let (word, rest) = text.split_once("://").ok_or("it has none of the known forms")?;
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let mut given = Parameters::read(parameters)?;
    let encapsulation = match word {
        "vxlan" => Encapsulation::Vxlan,
        "geneve" => Encapsulation::Geneve,
        "gre" => Encapsulation::Gre,
        "erspan" => erspan(&mut given)?,
        _ => return Err(format!("`{word}` is no encapsulation that a mirror can have here")),
    };
    let (remote, udp_port) = address(place.trim_end_matches('/'), encapsulation)?;
    let (name, most) = encapsulation.number();
    let number = given.take(name, most)?.ok_or_else(|| {
        format!("the {name} is missing, by which the tool knows this mirror: ?{name}=7")
    })?;
    given.is_used_up()?;
    Ok(Destination::Tunnel(Tunnel { encapsulation, remote, udp_port, number }))
}

fn erspan(given: &mut Parameters<'_>) -> Result<Encapsulation, String> {
    match given.take("type", 3)? {
        None | Some(2) => {
            Ok(Encapsulation::ErspanII { index: given.take("index", 0xf_ffff)?.unwrap_or(0) })
        }
        Some(3) => {
            Ok(Encapsulation::ErspanIII { hardware: given.take("hardware", 0x3f)?.unwrap_or(0) })
        }
        Some(other) => Err(format!("ERSPAN type {other} cannot be made, only 2 and 3")),
    }
}

fn address(place: &str, encapsulation: Encapsulation) -> Result<(IpAddr, Option<u16>), String> {
    let wrong = || format!("`{place}` is no IP address");
    let (ip, port) = if let Some(rest) = place.strip_prefix('[') {
        let (ip, port) = rest.split_once(']').ok_or_else(wrong)?;
        (ip.parse::<Ipv6Addr>().map_err(|_| wrong())?.into(), port.strip_prefix(':'))
    } else if let Ok(ip) = place.parse::<IpAddr>() {
        (ip, None)
    } else {
        let (ip, port) = place.split_once(':').ok_or_else(wrong)?;
        (ip.parse().map_err(|_| wrong())?, Some(port))
    };
    if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() {
        return Err(format!("{ip} is no tool's address"));
    }
    match port {
        None => Ok((ip, None)),
        Some(_) if !encapsulation.has_udp() => {
            Err(format!("{} has no port", encapsulation.word().to_uppercase()))
        }
        Some(port) => match port.parse() {
            Ok(port) if port > 0 => Ok((ip, Some(port))),
            _ => Err(format!("`{port}` is no UDP port")),
        },
    }
}

/// What stands behind the `?`.
struct Parameters<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Parameters<'a> {
    fn read(text: &'a str) -> Result<Self, String> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').ok_or(format!("`{pair}` has no value")));
        Ok(Self(pairs.collect::<Result<_, _>>()?))
    }

    fn take(&mut self, name: &str, most: u32) -> Result<Option<u32>, String> {
        let Some(at) = self.0.iter().position(|(known, _)| *known == name) else { return Ok(None) };
        let (_, value) = self.0.remove(at);
        match value.parse() {
            Ok(number) if number <= most => Ok(Some(number)),
            _ => Err(format!("{name} is a number from 0 to {most}, not `{value}`")),
        }
    }

    fn is_used_up(&self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!("`{name}` means nothing here, or is given twice")),
        }
    }
}

const FORMS: &str = "port:IFACE, vlan:N, vxlan://IP[:PORT]?vni=N, geneve://IP[:PORT]?vni=N, \
                     gre://IP?key=N, erspan://IP?session=N[&index=N] or \
                     erspan://IP?session=N&type=3[&hardware=N]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_written_as_it_is_read() {
        for text in [
            "port:veth-ids",
            "vlan:900",
            "vxlan://10.0.0.9?vni=7",
            "vxlan://10.0.0.9:8472?vni=16777215",
            "geneve://[fd00::9]:6082?vni=0",
            "gre://10.0.0.9?key=4294967295",
            "erspan://10.0.0.9?session=1023",
            "erspan://10.0.0.9?session=5&index=102",
            "erspan://fd00::9?session=5&type=3&hardware=4",
            "erspan://10.0.0.9?session=5&type=3",
        ] {
            let read: Destination = text.parse().unwrap();
            let canonical = text.replace("fd00::9?", "[fd00::9]?");
            assert_eq!(read.to_string(), canonical);
            assert_eq!(canonical.parse(), Ok(read));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, reason) in [
            ("ids-1", "none of the known forms"),
            ("port:", "no interface's name"),
            ("port:a/b", "no interface's name"),
            ("vlan:4095", "1 to 4094"),
            ("vlan:0", "1 to 4094"),
            ("vxlan://10.0.0.9", "the vni is missing"),
            ("vxlan://10.0.0.9?vni=16777216", "0 to 16777215"),
            ("vxlan://10.0.0.9?vni=7&key=1", "`key` means nothing"),
            ("vxlan://10.0.0.9?vni=7&vni=8", "given twice"),
            ("vxlan://10.0.0.9:0?vni=7", "no UDP port"),
            ("vxlan://0.0.0.0?vni=7", "no tool's address"),
            ("vxlan://224.0.0.1?vni=7", "no tool's address"),
            ("vxlan://ids?vni=7", "no IP address"),
            ("gre://10.0.0.9:47?key=1", "GRE has no port"),
            ("erspan://10.0.0.9?session=1024", "0 to 1023"),
            ("erspan://10.0.0.9?session=1&type=1", "type 1 cannot be made"),
            ("erspan://10.0.0.9?session=1&type=3&index=1", "`index` means nothing"),
            ("tzsp://10.0.0.9?x=1", "no encapsulation"),
        ] {
            let error = text.parse::<Destination>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn the_overhead_is_what_open_vswitch_puts_on_the_wire() {
        let overhead = |text: &str| match text.parse() {
            Ok(Destination::Tunnel(tunnel)) => tunnel.overhead(),
            other => panic!("{other:?}"),
        };
        // Measured with an underlay's Ethernet header of 14 bytes: 50, 50, 42, 50, 54.
        assert_eq!(overhead("vxlan://10.0.0.9?vni=1"), 36);
        assert_eq!(overhead("geneve://10.0.0.9?vni=1"), 36);
        assert_eq!(overhead("gre://10.0.0.9?key=1"), 28);
        assert_eq!(overhead("erspan://10.0.0.9?session=1"), 36);
        assert_eq!(overhead("erspan://10.0.0.9?session=1&type=3"), 40);
        assert_eq!(overhead("vxlan://[fd00::9]?vni=1"), 56);
    }
}
