//! Whose packets an observation point shows: the answer of `plan`, the law of the guard.

use std::fmt;

use serde::{Deserialize, Serialize};
use wire::{Mac, VlanId, Vni};

/// Which packets at an observation point are the VM's. Made by `plan`, judged by the guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ownership {
    /// The point is the vNIC's own port: every frame there is the VM's.
    Whole,
    /// A wire shared with others: only frames with one of these identities are the VM's. Empty
    /// means that nothing there is.
    Shared(Vec<Identity>),
}

/// How a shared wire names a vNIC: its MAC within one network, never an IP address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct Identity {
    /// The guest's MAC.
    pub mac: Mac,
    /// The network in which the MAC means this vNIC. In another one it means somebody else.
    pub network: OnWire,
}

/// How a network's frames look on a shared wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnWire {
    /// A tunnel on the underlay carries them.
    Overlay {
        /// The number that the tunnel's header gives the network: the VNI, the whole key of GRE,
        /// the VSID of NVGRE, the session of ERSPAN, the virtual interface of a VN-Tag.
        vni: Vni,
        /// The tunnel's format.
        tunnel: Encapsulation,
        /// UDP destination port of VXLAN or GENEVE; `None` is the standard's own port. The same
        /// number at another port is another network.
        udp_port: Option<u16>,
        /// The VLAN the network has inside the tunnel, when several share one overlay number;
        /// frames may then be untagged or carry this tag first. `None`: the tags are the VM's.
        vlan: Option<VlanId>,
    },
    /// Frames with exactly this one VLAN tag.
    Vlan(VlanId),
    /// Frames without a VLAN tag.
    Untagged,
}

impl OnWire {
    /// The UDP destination port of the tunnel: the one given, else the standard's. `None` where
    /// there is no tunnel or it is not carried in UDP.
    pub const fn udp_port(self) -> Option<u16> {
        match self {
            Self::Overlay { tunnel, udp_port: None, .. } => tunnel.standard_port(),
            Self::Overlay { tunnel, udp_port, .. } if tunnel.is_in_udp() => udp_port,
            Self::Overlay { .. } | Self::Vlan(_) | Self::Untagged => None,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.mac, self.network)
    }
}

impl fmt::Display for OnWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlay { vni, tunnel: Encapsulation::Gre, .. } => write!(f, "GRE key {vni}"),
            Self::Overlay { vni, tunnel, .. } => {
                write!(f, "{tunnel} {vni}")?;
                match self.udp_port() {
                    port if port == tunnel.standard_port() => Ok(()),
                    Some(port) => write!(f, " (UDP port {port})"),
                    None => Ok(()),
                }
            }
            Self::Vlan(vlan) => write!(f, "VLAN {vlan}"),
            Self::Untagged => f.write_str("untagged frames"),
        }
    }
}

/// A tunnel format that carries overlay networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encapsulation {
    /// RFC 7348.
    Vxlan,
    /// RFC 8926.
    Geneve,
    /// RFC 2784 and 2890, Ethernet inside (protocol 0x6558), named by its key.
    Gre,
    /// RFC 7637: GRE whose key is a network of 24 bits and a hash of the flow of 8. Only who knows
    /// the site can tell it from [`Gre`](Self::Gre).
    Nvgre,
    /// A mirror's copies in ERSPAN type II or III, named by their session.
    Erspan,
    /// No tunnel but a tag: Cisco's VN-Tag, which names the vNIC itself.
    #[serde(rename = "vntag")]
    VnTag,
}

impl Encapsulation {
    /// The UDP destination port the standard gives it.
    pub const fn standard_port(self) -> Option<u16> {
        match self {
            Self::Vxlan => Some(4789),
            Self::Geneve => Some(6081),
            Self::Gre | Self::Nvgre | Self::Erspan | Self::VnTag => None,
        }
    }

    /// Whether it is carried in UDP.
    pub const fn is_in_udp(self) -> bool {
        self.standard_port().is_some()
    }
}

impl fmt::Display for Encapsulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vxlan => "VXLAN",
            Self::Geneve => "GENEVE",
            Self::Gre => "GRE",
            Self::Nvgre => "NVGRE",
            Self::Erspan => "ERSPAN",
            Self::VnTag => "VN-Tag",
        })
    }
}

/// An identity as it is written for other processes and for programs.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    mac: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tunnel: Option<Encapsulation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vni: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    udp_port: Option<u16>,
    /// Inside the tunnel, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    vlan: Option<u16>,
}

impl From<Identity> for Written {
    fn from(Identity { mac, network }: Identity) -> Self {
        let plain =
            |vlan| Self { mac: mac.to_string(), tunnel: None, vni: None, udp_port: None, vlan };
        match network {
            OnWire::Untagged => plain(None),
            OnWire::Vlan(vlan) => plain(Some(vlan.value())),
            OnWire::Overlay { vni, tunnel, udp_port, vlan } => Self {
                tunnel: Some(tunnel),
                vni: Some(vni.value()),
                udp_port,
                ..plain(vlan.map(VlanId::value))
            },
        }
    }
}

impl TryFrom<Written> for Identity {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let mac = written.mac.parse().map_err(|error| format!("{}: {error}", written.mac))?;
        let vlan = match written.vlan {
            Some(id) => Some(VlanId::new(id).ok_or_else(|| format!("VLAN {id} is above 4095"))?),
            None => None,
        };
        let network = match (written.tunnel, written.vni) {
            (None, None) if written.udp_port.is_some() => {
                return Err("a UDP port without a tunnel".into());
            }
            (None, None) => vlan.map_or(OnWire::Untagged, OnWire::Vlan),
            (Some(tunnel), Some(number)) => {
                let vni = Vni::new(number).ok_or_else(|| format!("VNI {number} is above 2^24"))?;
                OnWire::Overlay { vni, tunnel, udp_port: written.udp_port, vlan }
            }
            _ => return Err("a tunnel needs its number, a number its tunnel".into()),
        };
        Ok(Self { mac, network })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frames;

    proptest! {
        #[test]
        fn an_ownership_survives_its_own_json(identities in frames::identities()) {
            for ownership in [Ownership::Shared(identities), Ownership::Whole] {
                let json = serde_json::to_string(&ownership).unwrap();
                prop_assert_eq!(serde_json::from_str::<Ownership>(&json).unwrap(), ownership);
            }
        }
    }

    #[test]
    fn what_would_mean_another_network_is_not_read() {
        let plain = r#"{"mac":"52:54:00:00:00:01","vlan":7}"#;
        let network = OnWire::Vlan(frames::vlan(7));
        let expected = Identity { mac: frames::mac(1), network };
        assert_eq!(serde_json::from_str::<Identity>(plain).unwrap(), expected);
        for json in [
            r#"{"mac":"52:54:00:00:00:01","vlan":4096}"#,
            r#"{"mac":"52:54:00:00:00:01","vni":10}"#,
            r#"{"mac":"52:54:00:00:00:01","tunnel":"vxlan"}"#,
            r#"{"mac":"52:54:00:00:00:01","tunnel":"vxlan","vni":16777216}"#,
            r#"{"mac":"52:54:00:00:00:01","udp_port":4789}"#,
            r#"{"mac":"52:54:00:00:00:01","vid":7}"#,
            r#"{"mac":"web-01"}"#,
        ] {
            assert!(serde_json::from_str::<Identity>(json).is_err(), "{json}");
        }
    }
}
