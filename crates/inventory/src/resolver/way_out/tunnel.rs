//! Which tunnels there are, and what tells their networks apart.

use wire::Vni;

use super::super::world::option;
use crate::facts::OvsInterface;

/// What a port of Open vSwitch writes into its tunnel's header, or expects there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TunnelKey {
    Number(Vni),
    /// GRE has 32 bits.
    Large(u32),
    /// OpenFlow rules decide.
    Flow,
}

/// The keys of a tunnel port: one, or one for each way where they differ (ovs-vswitchd.conf.db(5),
/// table Interface, "Tunnel Options"). Without a key VXLAN and GENEVE use number 0, GRE has none.
pub(super) fn ovs_keys(interface: &OvsInterface) -> Vec<Option<TunnelKey>> {
    let key = |way: &str| match option(interface, way).or_else(|| option(interface, "key")) {
        Some("flow") => Some(TunnelKey::Flow),
        // Anything that is no number is 0 to the switch, as it is with strtoull(3).
        Some(text) => {
            let number = c_number(text);
            Vni::new(number).map_or(Some(TunnelKey::Large(number)), |v| Some(TunnelKey::Number(v)))
        }
        None if matches!(interface.kind.as_str(), "vxlan" | "geneve") => {
            Vni::new(0).map(TunnelKey::Number)
        }
        None => None,
    };
    let (out, back) = (key("out_key"), key("in_key"));
    if out == back { vec![out] } else { vec![out, back] }
}

/// A number as C writes it: decimal, `0x` hexadecimal, `0` octal.
fn c_number(text: &str) -> u32 {
    let number = match (text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")), text) {
        (Some(digits), _) => u32::from_str_radix(digits, 16),
        (None, octal) if octal.len() > 1 && octal.starts_with('0') => u32::from_str_radix(octal, 8),
        (None, decimal) => decimal.parse(),
    };
    number.unwrap_or(0)
}

pub(super) fn is_tunnel(kind: &str) -> bool {
    matches!(kind, "vxlan" | "geneve" | "gre" | "ip6gre" | "stt" | "lisp" | "gtpu" | "bareudp")
}

pub(super) fn standard_port(kind: &str) -> Option<u16> {
    match kind {
        "vxlan" => Some(4789),
        "geneve" => Some(6081),
        "stt" => Some(7471),
        "lisp" => Some(4341),
        "gtpu" => Some(2152),
        _ => None,
    }
}
