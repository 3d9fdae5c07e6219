//! A tool: a named destination for analysis, the encapsulation it understands, whose packets it
//! may have.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use wire::{Timestamp, VlanId, Vni};

use crate::Policy;

/// A named destination for analysis: an IDS, a recorder, a colleague's Wireshark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// What it is called in commands and receipts.
    pub name: ToolName,
    /// Whose packets it may have.
    #[serde(default)]
    pub grant: Grant,
    /// The largest IP packet the way to it takes, in bytes; `None` asks the kernel when it is
    /// opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Mtu>,
    /// Where and in what encapsulation it gets its packets.
    pub outlet: Outlet,
    /// Which of the packets it may have, and what is done to them before.
    #[serde(default)]
    pub policy: Policy,
}

/// The encapsulation of a tool's packets and where they go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "encapsulation", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outlet {
    /// VXLAN in UDP (RFC 7348).
    Vxlan {
        /// Where the tunnel ends.
        target: IpAddr,
        /// UDP destination port.
        #[serde(default = "vxlan_port")]
        port: u16,
        /// The network number on the wire.
        #[serde(with = "vni")]
        vni: Vni,
    },
    /// GENEVE in UDP (RFC 8926), without options.
    Geneve {
        /// Where the tunnel ends.
        target: IpAddr,
        /// UDP destination port.
        #[serde(default = "geneve_port")]
        port: u16,
        /// The network number on the wire.
        #[serde(with = "vni")]
        vni: Vni,
    },
    /// Ethernet in GRE with sequence numbers (RFC 2784 and 2890).
    Gre {
        /// Where the tunnel ends.
        target: IpAddr,
        /// The key, where the tool wants one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<u32>,
    },
    /// ERSPAN type II in GRE with sequence numbers (draft-foschiano-erspan-03, section 4.2).
    #[serde(rename = "erspan-2")]
    Erspan2 {
        /// Where the tunnel ends.
        target: IpAddr,
        /// The mirror session.
        session: SessionId,
    },
    /// ERSPAN type III in GRE with sequence numbers, times and directions (section 4.3).
    #[serde(rename = "erspan-3")]
    Erspan3 {
        /// Where the tunnel ends.
        target: IpAddr,
        /// The mirror session.
        session: SessionId,
    },
    /// TaZmen sniffer protocol in UDP.
    Tzsp {
        /// Where it is received.
        target: IpAddr,
        /// UDP destination port.
        #[serde(default = "tzsp_port")]
        port: u16,
    },
    /// A VLAN of an interface of this host that a switch carries to the tool.
    Rspan {
        /// The interface.
        interface: String,
        /// The mirror's own VLAN.
        #[serde(with = "vlan")]
        vlan: VlanId,
    },
    /// pcapng over TCP, to a tool that waits for us.
    #[serde(rename = "pcap-over-ip")]
    PcapOverIp {
        /// Where the tool listens.
        target: SocketAddr,
        /// How TLS is spoken with it; `None` for plain TCP.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tls: Option<Tls>,
    },
    /// pcapng over TCP, to tools that call us.
    #[serde(rename = "pcap-over-ip-listen")]
    PcapOverIpListen {
        /// Where we listen.
        listen: SocketAddr,
        /// How TLS is spoken with those who call; `None` for plain TCP.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tls: Option<Tls>,
    },
    /// A pcapng file on this host.
    File {
        /// The file; it must not exist.
        path: PathBuf,
    },
    /// pcapng into a unix stream socket that the tool listens on.
    Unix {
        /// The socket.
        path: PathBuf,
    },
    /// pcapng on standard output.
    Stdout,
}

impl Outlet {
    /// The word that names the encapsulation.
    pub const fn encapsulation(&self) -> &'static str {
        match self {
            Self::Vxlan { .. } => "vxlan",
            Self::Geneve { .. } => "geneve",
            Self::Gre { .. } => "gre",
            Self::Erspan2 { .. } => "erspan-2",
            Self::Erspan3 { .. } => "erspan-3",
            Self::Tzsp { .. } => "tzsp",
            Self::Rspan { .. } => "rspan",
            Self::PcapOverIp { .. } => "pcap-over-ip",
            Self::PcapOverIpListen { .. } => "pcap-over-ip-listen",
            Self::File { .. } => "file",
            Self::Unix { .. } => "unix",
            Self::Stdout => "stdout",
        }
    }

    /// Where tunnels to it end; `None` where no IP tunnel carries its packets.
    pub const fn tunnel_target(&self) -> Option<IpAddr> {
        match self {
            Self::Vxlan { target, .. }
            | Self::Geneve { target, .. }
            | Self::Gre { target, .. }
            | Self::Erspan2 { target, .. }
            | Self::Erspan3 { target, .. }
            | Self::Tzsp { target, .. } => Some(*target),
            _ => None,
        }
    }

    /// Whether each packet goes out in one datagram or frame of its own, whose size is limited.
    pub const fn is_datagrams(&self) -> bool {
        self.tunnel_target().is_some() || matches!(self, Self::Rspan { .. })
    }
}

impl fmt::Display for Outlet {
    /// The encapsulation and where it goes, as `vxlan 10.0.0.9 vni 42`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.encapsulation();
        let at_port = |port: u16, own: u16| match port == own {
            true => String::new(),
            false => format!(" port {port}"),
        };
        match self {
            Self::Vxlan { target, port, vni } => {
                write!(f, "{word} {target}{} vni {vni}", at_port(*port, vxlan_port()))
            }
            Self::Geneve { target, port, vni } => {
                write!(f, "{word} {target}{} vni {vni}", at_port(*port, geneve_port()))
            }
            Self::Gre { target, key: None } => write!(f, "{word} {target}"),
            Self::Gre { target, key: Some(key) } => write!(f, "{word} {target} key {key}"),
            Self::Erspan2 { target, session } | Self::Erspan3 { target, session } => {
                write!(f, "{word} {target} session {}", session.value())
            }
            Self::Tzsp { target, port } => {
                write!(f, "{word} {target}{}", at_port(*port, tzsp_port()))
            }
            Self::Rspan { interface, vlan } => write!(f, "{word} {interface} vlan {vlan}"),
            Self::PcapOverIp { target: end, tls } | Self::PcapOverIpListen { listen: end, tls } => {
                write!(f, "{word} {end}{}", if tls.is_some() { " tls" } else { "" })
            }
            Self::File { path } | Self::Unix { path } => write!(f, "{word} {}", path.display()),
            Self::Stdout => f.write_str(word),
        }
    }
}

/// How TLS is spoken with a peer: who it must be, and who we are. Files in PEM, read when a
/// connection is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The authorities of which one must have signed the peer's certificate. There is no TLS with a
    /// peer that is not verified.
    pub ca: PathBuf,
    /// Our certificate, with those between it and its authority; `None` shows none, which only who
    /// calls may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The name that must be in the peer's certificate; `None` for its address. Of those who call
    /// no name is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Whose packets a tool may have. Without a word it is those of nobody's tenant only: a VM that
/// belongs to a tenant needs the tenant's name here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The tenants; empty for VMs that have none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tenants: BTreeSet<String>,
    /// Every VM, whosever it is.
    #[serde(default, skip_serializing_if = "is_false")]
    pub everyone: bool,
    /// The first packet time at which it does not hold any more, in nanoseconds since 1970; `None`
    /// while no end is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ns: Option<Timestamp>,
}

impl Grant {
    /// Whether it allows packets of a VM of this tenant, while it holds.
    pub fn allows(&self, tenant: Option<&str>) -> bool {
        self.everyone
            || match tenant {
                Some(tenant) => self.tenants.contains(tenant),
                None => self.tenants.is_empty(),
            }
    }
}

/// Whose packets a capture takes, as far as grants are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// Those of VMs of this tenant; `None` for VMs that belong to none.
    Tenant(Option<String>),
    /// Anybody's: whose they are is not told apart.
    Anybody,
}

impl Owner {
    /// Whether a grant allows these packets, while it holds.
    pub fn is_allowed_by(&self, grant: &Grant) -> bool {
        match self {
            Self::Tenant(tenant) => grant.allows(tenant.as_deref()),
            Self::Anybody => grant.everyone,
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.everyone {
            return f.write_str("everyone");
        }
        if self.tenants.is_empty() {
            return f.write_str("VMs without a tenant");
        }
        let names: Vec<&str> = self.tenants.iter().map(String::as_str).collect();
        f.write_str(&names.join(","))
    }
}

/// The name of a tool: 1 to 63 letters, digits, `.`, `_` and `-`, a letter or digit first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ToolName(String);

impl ToolName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ToolName {
    type Err = NotAToolName;

    fn from_str(text: &str) -> Result<Self, NotAToolName> {
        let is_part = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        let is_name = text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.len() <= 63
            && text.bytes().all(is_part);
        is_name.then(|| Self(text.to_owned())).ok_or(NotAToolName)
    }
}

impl TryFrom<String> for ToolName {
    type Error = NotAToolName;

    fn try_from(text: String) -> Result<Self, NotAToolName> {
        text.parse()
    }
}

impl From<ToolName> for String {
    fn from(name: ToolName) -> Self {
        name.0
    }
}

impl fmt::Display for ToolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text cannot be the name of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAToolName;

impl fmt::Display for NotAToolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a tool's name: expected 1 to 63 letters, digits, `.`, `_` and `-`, a letter or \
             digit first",
        )
    }
}

impl std::error::Error for NotAToolName {}

/// The number of an ERSPAN session: 10 bits on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u16", try_from = "u16")]
pub struct SessionId(u16);

impl SessionId {
    /// The number, at most 1023.
    pub const fn value(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for SessionId {
    type Error = String;

    fn try_from(value: u16) -> Result<Self, String> {
        if value < 1 << 10 {
            Ok(Self(value))
        } else {
            Err(format!("{value} is no ERSPAN session: they go from 0 to 1023"))
        }
    }
}

impl From<SessionId> for u16 {
    fn from(session: SessionId) -> Self {
        session.0
    }
}

/// The largest IP packet that a way takes, in bytes: 576 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u16", try_from = "u16")]
pub struct Mtu(u16);

impl Mtu {
    /// What Ethernet takes.
    pub const ETHERNET: Self = Self(1500);

    /// The number of bytes.
    pub const fn bytes(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for Mtu {
    type Error = String;

    fn try_from(value: u16) -> Result<Self, String> {
        // RFC 791, section 3.2: every host takes 576 bytes.
        if value >= 576 {
            Ok(Self(value))
        } else {
            Err(format!("an MTU of {value} is too small: it goes from 576 to 65535"))
        }
    }
}

impl From<Mtu> for u16 {
    fn from(mtu: Mtu) -> Self {
        mtu.0
    }
}

const fn vxlan_port() -> u16 {
    4789
}

const fn geneve_port() -> u16 {
    6081
}

const fn tzsp_port() -> u16 {
    37008
}

// serde hands a reference to `skip_serializing_if`.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !value
}

/// A VNI as its number.
mod vni {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use wire::Vni;

    pub(super) fn serialize<S: Serializer>(vni: &Vni, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32(vni.value())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vni, D::Error> {
        let value = u32::deserialize(from)?;
        Vni::new(value).ok_or_else(|| D::Error::custom(format!("VNI {value} needs over 24 bits")))
    }
}

/// A VLAN as its number.
mod vlan {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use wire::VlanId;

    pub(super) fn serialize<S: Serializer>(vlan: &VlanId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u16(vlan.value())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<VlanId, D::Error> {
        let value = u16::deserialize(from)?;
        // IEEE 802.1Q-2022, table 9-2: 0 and 4095 name no VLAN.
        VlanId::new(value)
            .filter(|_| (1..4095).contains(&value))
            .ok_or_else(|| D::Error::custom(format!("{value} is no VLAN: they go from 1 to 4094")))
    }
}
