//! Mirrors that end on this host: how a person names one, and the observation point it makes.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;

use broker::Tls;
use inventory::{Machine, MachineId, MachineKind, MachineState, Site};
use plan::{Interface, Point, PointKind, Side};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use select::{Filter, Ownership};
use wire::VlanId;
use wire::mirror::MirrorForm;

use crate::calls::Connection;
use crate::orders::{MirrorOrder, StreamOrder};

/// A mirror that ends on this host: what it puts around frames, and where they come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorSource {
    text: String,
    form: Option<MirrorForm>,
    place: MirrorPlace,
    udp_port: Option<u16>,
    session: Option<u32>,
}

/// Where a mirror's packets come.
#[derive(Debug, Clone, PartialEq, Eq)]
enum MirrorPlace {
    /// At an address of this host, by the interface that has it.
    Address(IpAddr),
    /// By this interface, whatever address they are for.
    Interface(String),
    /// From somebody we connect to.
    Sender(Box<Sender>),
}

/// Somebody who sends a capture to whoever connects.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sender {
    /// A name or an address.
    host: String,
    port: u16,
    tls: Option<Tls>,
    /// Whether the capture ends with the connection, instead of connecting again.
    ends: bool,
}

/// What is wrong with the name of a mirror.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAMirror {
    /// It does not begin with a kind.
    #[error(
        "`{0}` is no mirror; write erspan://, gre://, vmware://, vxlan://, geneve:// or tzsp:// \
             and an address of this host or an interface, rspan://IFACE?vlan=N, span://IFACE or \
             pcap-over-ip://HOST:PORT"
    )]
    Kind(String),
    /// Nothing says where.
    #[error("`{0}` does not say where: write an address of this host, or an interface")]
    Nowhere(String),
    /// A sender of captures without its port.
    #[error("`{0}` needs a host and a port: pcap-over-ip://10.0.0.1:57012")]
    NoPort(String),
    /// TLS by half.
    #[error("`{0}`: TLS needs tls-ca=FILE, and tls-certificate=FILE and tls-key=FILE go together")]
    HalfTls(String),
    /// An RSPAN without a VLAN.
    #[error("`{0}` needs its VLAN: rspan://IFACE?vlan=999")]
    NoVlan(String),
    /// A word behind `?` that means nothing there.
    #[error("`{word}` means nothing to {kind}; there is {known}")]
    Word {
        /// The word.
        word: String,
        /// The kind of mirror.
        kind: String,
        /// What there is.
        known: &'static str,
    },
}

/// Why nothing can be received.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// No interface has the address.
    #[error(
        "{mirror}: no interface of this host has the address {address}; name the interface \
             instead of it, or give the host the address"
    )]
    NoAddress {
        /// The mirror, as it was named.
        mirror: String,
        /// The address.
        address: IpAddr,
    },
    /// The interfaces cannot be read.
    #[error("{mirror}: cannot read the interfaces of this host: {source}")]
    Interfaces {
        /// The mirror, as it was named.
        mirror: String,
        /// Why.
        source: io::Error,
    },
}

impl MirrorSource {
    /// What comes there before anything is taken out of it, as an expression for the kernel.
    pub(crate) fn expression(&self) -> Option<Filter> {
        let to = match self.place {
            MirrorPlace::Address(address) => format!("dst host {address} and "),
            MirrorPlace::Interface(_) | MirrorPlace::Sender(_) => String::new(),
        };
        let port = |standard: u16| self.udp_port.unwrap_or(standard);
        let text = match self.form? {
            MirrorForm::Any => return None,
            MirrorForm::Erspan | MirrorForm::Gre | MirrorForm::Vmware => {
                format!("outer ({to}proto 47)")
            }
            MirrorForm::Vxlan => format!("outer ({to}udp dst port {})", port(4789)),
            MirrorForm::Geneve => format!("outer ({to}udp dst port {})", port(6081)),
            MirrorForm::Tzsp => format!("outer ({to}udp dst port {})", port(37008)),
            MirrorForm::Rspan(vlan) => format!("outer (vlan {vlan})"),
        };
        Filter::parse(&text).ok()
    }

    /// What the engine has to know.
    pub(crate) fn order(&self) -> MirrorOrder {
        let address = match self.place {
            MirrorPlace::Address(address) => Some(address),
            MirrorPlace::Interface(_) | MirrorPlace::Sender(_) => None,
        };
        let stream = match &self.place {
            MirrorPlace::Sender(sender) => Some(StreamOrder { ends: sender.ends }),
            _ => None,
        };
        let Self { form, session, udp_port, .. } = *self;
        MirrorOrder { form, address, session, udp_port, stream }
    }

    /// Whether it comes over a connection that we make.
    pub(crate) const fn is_stream(&self) -> bool {
        matches!(self.place, MirrorPlace::Sender(_))
    }

    /// Connects to its sender.
    ///
    /// # Errors
    /// What the system says, or why the sender is not believed.
    pub(crate) fn connect(&self) -> io::Result<Connection> {
        let MirrorPlace::Sender(sender) = &self.place else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let (fd, relay) = deliver::call(&sender.host, sender.port, sender.tls.as_ref())?;
        Ok(Connection::new(fd, relay))
    }

    /// Whether the card has to take frames that are for others.
    pub(crate) const fn takes_all(&self) -> bool {
        !self.is_stream() && matches!(self.form, None | Some(MirrorForm::Rspan(_)))
    }

    /// A socket that makes this host an end of the tunnel, so that it does not answer each packet
    /// that nobody waits for; it is never read. `None` if somebody else is the end already.
    pub(crate) fn hold_open(&self) -> Option<OwnedFd> {
        let MirrorPlace::Address(address) = self.place else { return None };
        let standard = match self.form? {
            MirrorForm::Erspan | MirrorForm::Gre | MirrorForm::Vmware => {
                return raw_gre(address).ok();
            }
            MirrorForm::Vxlan => 4789,
            MirrorForm::Geneve => 6081,
            MirrorForm::Tzsp => 37008,
            MirrorForm::Any | MirrorForm::Rspan(_) => return None,
        };
        let port = self.udp_port.unwrap_or(standard);
        let socket = UdpSocket::bind(SocketAddr::new(address, port)).ok()?;
        capture::deafen(socket.as_fd()).ok()?;
        Some(socket.into())
    }

    fn interface(&self) -> Result<String, MirrorError> {
        let address = match &self.place {
            MirrorPlace::Interface(name) => return Ok(name.clone()),
            MirrorPlace::Sender(sender) => return Ok(sender.host.clone()),
            MirrorPlace::Address(address) => *address,
        };
        let mirror = self.to_string();
        match capture::interface_with(address) {
            Ok(Some(name)) => Ok(name),
            Ok(None) => Err(MirrorError::NoAddress { mirror, address }),
            Err(source) => Err(MirrorError::Interfaces { mirror, source }),
        }
    }
}

impl FromStr for MirrorSource {
    type Err = NotAMirror;

    fn from_str(text: &str) -> Result<Self, NotAMirror> {
        let no_kind = || NotAMirror::Kind(text.to_owned());
        let (kind, rest) = text.split_once("://").ok_or_else(no_kind)?;
        let (place, words) = rest.split_once('?').unwrap_or((rest, ""));
        if kind == "pcap-over-ip" {
            let place = MirrorPlace::Sender(Box::new(Sender::parse(text, place, words)?));
            // What else is behind it is nobody's to read in a label.
            let text = text.split_once('?').map_or(text, |(text, _)| text).to_owned();
            return Ok(Self { text, form: None, place, udp_port: None, session: None });
        }
        let mut form = match kind {
            "erspan" => Some(MirrorForm::Erspan),
            "gre" => Some(MirrorForm::Gre),
            "vmware" => Some(MirrorForm::Vmware),
            "vxlan" => Some(MirrorForm::Vxlan),
            "geneve" => Some(MirrorForm::Geneve),
            "tzsp" => Some(MirrorForm::Tzsp),
            "rspan" | "span" => None,
            _ => return Err(no_kind()),
        };
        let known = match kind {
            "erspan" => "session=N",
            "gre" => "key=N",
            "vxlan" | "geneve" => "vni=N",
            "rspan" => "vlan=N",
            _ => "nothing",
        };
        let mut session = None;
        for word in words.split('&').filter(|word| !word.is_empty()) {
            let wrong = || NotAMirror::Word { word: word.to_owned(), kind: kind.to_owned(), known };
            let (name, number) = word.split_once('=').ok_or_else(wrong)?;
            if known.strip_suffix("=N").is_none_or(|known| known != name) {
                return Err(wrong());
            }
            session = Some(number.parse::<u32>().map_err(|_| wrong())?);
        }
        if kind == "rspan" {
            let vlan = session.and_then(|n| u16::try_from(n).ok()).and_then(VlanId::new);
            form =
                Some(MirrorForm::Rspan(vlan.ok_or_else(|| NotAMirror::NoVlan(text.to_owned()))?));
            session = None;
        }
        let is_in_udp = matches!(kind, "vxlan" | "geneve" | "tzsp");
        let (place, udp_port) = place_of(place, is_in_udp);
        let is_port = matches!(kind, "rspan" | "span");
        let place = match place.parse() {
            Ok(address) if !is_port => MirrorPlace::Address(address),
            _ if place.is_empty() => return Err(NotAMirror::Nowhere(text.to_owned())),
            _ => MirrorPlace::Interface(place.to_owned()),
        };
        Ok(Self { text: text.to_owned(), form, place, udp_port, session })
    }
}

impl Sender {
    fn parse(text: &str, place: &str, words: &str) -> Result<Self, NotAMirror> {
        let (host, port) = place_of(place, true);
        let port = port.filter(|port| *port != 0 && !host.is_empty());
        let port = port.ok_or_else(|| NotAMirror::NoPort(text.to_owned()))?;
        let (mut ca, mut certificate, mut key, mut name, mut ends) =
            (None, None, None, None, false);
        for word in words.split('&').filter(|word| !word.is_empty()) {
            match word.split_once('=') {
                Some(("tls-ca", file)) => ca = Some(file.into()),
                Some(("tls-certificate", file)) => certificate = Some(file.into()),
                Some(("tls-key", file)) => key = Some(file.into()),
                Some(("tls-name", text)) => name = Some(text.to_owned()),
                Some(("reconnect", "no")) => ends = true,
                Some(("reconnect", "yes")) => ends = false,
                _ => {
                    let (word, kind) = (word.to_owned(), "pcap-over-ip".to_owned());
                    let known = "tls-ca, tls-certificate, tls-key, tls-name and reconnect=no";
                    return Err(NotAMirror::Word { word, kind, known });
                }
            }
        }
        let is_half = certificate.is_some() != key.is_some();
        let is_tls = certificate.is_some() || key.is_some() || name.is_some();
        let tls = match ca {
            _ if is_half => return Err(NotAMirror::HalfTls(text.to_owned())),
            None if is_tls => return Err(NotAMirror::HalfTls(text.to_owned())),
            None => None,
            Some(ca) => Some(Tls { ca, certificate, key, name }),
        };
        Ok(Self { host: host.to_owned(), port, tls, ends })
    }
}

impl fmt::Display for MirrorSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The observation point where these mirrors' packets come. What of it is `machine`'s is told by its
/// MACs in its networks; without a machine everything is taken.
///
/// # Errors
/// When this host is not where a mirror ends.
pub fn mirror_point(
    sources: &[MirrorSource],
    site: &Site,
    machine: Option<&Machine>,
) -> Result<Point, MirrorError> {
    let ownership = machine.map_or(Ownership::Whole, |machine| plan::mirrored(site, machine));
    let mut interfaces = Vec::new();
    for source in sources {
        let name = source.interface()?;
        let (place, description) = match source.is_stream() {
            true => (site.host.name.clone(), format!("What {source} sends.")),
            false => {
                let place = format!("{}:{name}", site.host.name);
                (place, format!("Where the mirror {source} ends."))
            }
        };
        interfaces.push(Interface {
            label: format!("{source} @ {place}"),
            description,
            name,
            ifindex: None,
            namespace_path: None,
            vnic: String::new(),
            mac: None,
            ownership: ownership.clone(),
            side: Side::Shared,
            choice: None,
        });
    }
    Ok(Point {
        kind: PointKind::Mirror,
        refusal: None,
        vnics: Vec::new(),
        interfaces,
        sees: "what mirrors send to this host".to_owned(),
        misses: Vec::new(),
        costs: "a kernel program for each frame of the interface; ring memory for each".to_owned(),
        disturbs: "nobody".to_owned(),
    })
}

/// What stands for the machine in the receipt of a mirror of which everything is taken.
pub fn every_machine() -> Machine {
    Machine {
        id: MachineId::Written(EVERY_MACHINE.to_owned()),
        name: "all".to_owned(),
        aliases: Vec::new(),
        kind: MachineKind::Vm,
        state: MachineState::Running,
        tenant: None,
        vnics: Vec::new(),
        pid: None,
        namespace_path: None,
        since: None,
        evidence: Vec::new(),
    }
}

/// Whether it stands for whoever's frames a mirror has.
pub(crate) fn is_every_machine(machine: &Machine) -> bool {
    matches!(&machine.id, MachineId::Written(id) if id == EVERY_MACHINE)
}

/// Which of a mirror's frames are a machine's.
pub(crate) fn ownership_of(site: &Site, machine: &Machine) -> Ownership {
    plan::mirrored(site, machine)
}

/// The address or interface, and the port behind its colon.
fn place_of(text: &str, has_port: bool) -> (&str, Option<u16>) {
    if let Some(rest) = text.strip_prefix('[')
        && let Some((address, port)) = rest.split_once(']')
    {
        return (address, port.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match text.rsplit_once(':') {
        Some((place, port)) if has_port && !place.contains(':') => {
            port.parse().map_or((text, None), |port| (place, Some(port)))
        }
        _ => (text, None),
    }
}

/// With a socket for GRE the kernel does not answer that it has no such protocol.
fn raw_gre(address: IpAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let gre = std::num::NonZeroU32::new(GRE).map(rustix::net::Protocol::from_raw);
    let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, gre)?;
    rustix::net::bind(&socket, &SocketAddr::new(address, 0))?;
    // Full, it would not count as somebody who listens (recent kernels).
    capture::deafen(socket.as_fd())?;
    Ok(socket)
}

const GRE: u32 = 47;
/// A machine of that name in an inventory file is taken for it, which allows less.
const EVERY_MACHINE: &str = "all";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> MirrorSource {
        text.parse().unwrap()
    }

    #[test]
    fn a_mirror_is_named_by_its_kind_and_where_it_ends() {
        let source = parse("vxlan://10.0.0.9:8472?vni=4242");
        assert_eq!(source.form, Some(MirrorForm::Vxlan));
        assert_eq!(source.place, MirrorPlace::Address([10, 0, 0, 9].into()));
        assert_eq!((source.udp_port, source.session), (Some(8472), Some(4242)));
        let source = parse("erspan://fd00::9");
        assert_eq!(source.place, MirrorPlace::Address("fd00::9".parse().unwrap()));
        let source = parse("geneve://[fd00::9]:6082");
        assert_eq!(source.place, MirrorPlace::Address("fd00::9".parse().unwrap()));
        assert_eq!(source.udp_port, Some(6082));
        assert_eq!(parse("span://eth1").place, MirrorPlace::Interface("eth1".into()));
        let vlan = VlanId::new(999).unwrap();
        assert_eq!(parse("rspan://eth1?vlan=999").form, Some(MirrorForm::Rspan(vlan)));
    }

    #[test]
    fn a_sender_of_captures_is_named_by_host_and_port() {
        let sender = |text: &str| match parse(text).place {
            MirrorPlace::Sender(sender) => *sender,
            place => panic!("{place:?}"),
        };
        let plain = sender("pcap-over-ip://ids.example:57012");
        assert_eq!((plain.host.as_str(), plain.port, plain.ends), ("ids.example", 57012, false));
        assert_eq!(plain.tls, None);
        assert_eq!(sender("pcap-over-ip://[fd00::9]:57012?reconnect=no").host, "fd00::9");
        let text = "pcap-over-ip://10.0.0.1:57012?tls-ca=/ca.pem&tls-certificate=/c&tls-key=/k";
        let tls = sender(text).tls.unwrap();
        assert_eq!((tls.ca, tls.certificate), ("/ca.pem".into(), Some("/c".into())));
        assert_eq!(parse(text).to_string(), "pcap-over-ip://10.0.0.1:57012");
        assert!(parse(text).expression().is_none() && !parse(text).takes_all());
    }

    #[test]
    fn what_names_no_mirror_is_told_why() {
        let said = |text: &str| text.parse::<MirrorSource>().unwrap_err().to_string();
        assert!(said("10.0.0.9").starts_with("`10.0.0.9` is no mirror; write erspan://"));
        assert!(said("netflow://10.0.0.9").contains("is no mirror"));
        assert!(said("gre://").contains("does not say where"));
        assert!(said("pcap-over-ip://10.0.0.1").contains("needs a host and a port"));
        assert!(said("pcap-over-ip://h:1?tls-key=/k").contains("TLS needs tls-ca=FILE"));
        assert!(said("pcap-over-ip://h:1?vni=1").contains("`vni=1` means nothing"));
        assert!(said("rspan://eth1").contains("rspan://IFACE?vlan=999"));
        assert!(said("rspan://eth1?vlan=5000").contains("rspan://IFACE?vlan=999"));
        assert!(said("vxlan://10.0.0.9?key=1").contains("`key=1` means nothing to vxlan"));
    }

    #[test]
    fn every_mirror_has_an_expression_for_the_kernel_but_a_span() {
        for text in [
            "erspan://10.0.0.9",
            "gre://fd00::9",
            "vmware://eth0",
            "vxlan://10.0.0.9:8472",
            "geneve://eth0",
            "tzsp://10.0.0.9",
            "rspan://eth0?vlan=999",
        ] {
            assert!(parse(text).expression().is_some(), "{text}");
        }
        assert!(parse("span://eth0").expression().is_none());
    }
}
