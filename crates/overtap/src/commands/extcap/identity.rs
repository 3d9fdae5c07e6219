//! What an interface is called: the same name each time, because Wireshark keeps its settings by it.
//!
//! Wireshark keeps them with every character that is no letter, digit or `_` made a `_`, and without
//! regard to case, so a name of a machine is written in a way that survives this.

use std::fmt::Write as _;

/// What is captured at an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// A VM, by its UUID in its usual form.
    Uuid(String),
    /// A machine without one, by its name.
    Named(String),
    /// All machines of a tenant.
    Tenant(String),
    /// What the settings say.
    Any,
}

impl Identity {
    /// What a listed interface stands for; `None` if it is none of ours.
    pub(super) fn parse(interface: &str) -> Option<Self> {
        let rest = interface.strip_prefix(PREFIX)?;
        match rest.split_once('_') {
            Some(("v", digits)) => hyphened(digits).map(Self::Uuid),
            Some(("n", name)) => decode(name).map(Self::Named),
            Some(("t", name)) => decode(name).map(Self::Tenant),
            None if rest == "any" => Some(Self::Any),
            _ => None,
        }
    }

    /// How `overtap capture` calls it; `None` for any.
    pub(super) fn word(&self) -> Option<String> {
        match self {
            Self::Uuid(word) | Self::Named(word) => Some(word.clone()),
            Self::Tenant(name) => Some(format!("tenant:{name}")),
            Self::Any => None,
        }
    }

    /// What it is listed as.
    pub(super) fn interface(&self) -> String {
        match self {
            Self::Uuid(uuid) => format!("{PREFIX}v_{}", uuid.replace('-', "").to_lowercase()),
            Self::Named(name) => format!("{PREFIX}n_{}", encode(name)),
            Self::Tenant(name) => format!("{PREFIX}t_{}", encode(name)),
            Self::Any => format!("{PREFIX}any"),
        }
    }
}

/// Small letters and digits stay; every other byte is `_` and two hexadecimal digits.
fn encode(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_lowercase() || byte.is_ascii_digit() {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "_{byte:02x}");
        }
    }
    text
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'_' {
            let digits = [rest.next()?, rest.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok().filter(|name| !name.is_empty())
}

fn hyphened(digits: &str) -> Option<String> {
    let is_uuid = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let part = |range| digits.get(range).filter(|_| is_uuid);
    let parts = [part(0..8)?, part(8..12)?, part(12..16)?, part(16..20)?, part(20..32)?];
    Some(parts.join("-"))
}

const PREFIX: &str = "overtap_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_says_what_it_is_and_no_two_share_a_name() {
        let uuid = "3f2a0b1c-0000-4000-8000-00000000abcd".to_owned();
        let names = ["web-01", "web_01", "WEB-01", "ä {x}", "v_1"];
        let named = names.map(|name| Identity::Named(name.into()));
        let tenants = names.map(|name| Identity::Tenant(name.into()));
        let all =
            [vec![Identity::Uuid(uuid), Identity::Any], named.into(), tenants.into()].concat();
        let mut seen = std::collections::BTreeSet::new();
        for identity in all {
            let interface = identity.interface();
            assert!(
                interface.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()),
                "{interface}"
            );
            assert_eq!(Identity::parse(&interface), Some(identity));
            assert!(seen.insert(interface.to_lowercase()), "{interface} twice");
        }
    }

    #[test]
    fn what_is_none_of_ours_is_nothing() {
        for interface in ["", "eth0", "overtap_", "overtap_v_12", "overtap_n_", "overtap_n__zz"] {
            assert_eq!(Identity::parse(interface), None, "{interface}");
        }
    }
}
