//! Where a controller is reached.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The port of a controller where none is named.
pub const DEFAULT_PORT: u16 = 7443;

/// A controller's host and port: `control.example.com:7443`, `10.0.0.5`, `[2001:db8::1]:7443`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ControllerAddress {
    host: String,
    port: u16,
}

impl ControllerAddress {
    /// A DNS name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port, never 0.
    pub const fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn from_parts(host: &str, port: u16) -> Result<Self, AddressError> {
        if port == 0 {
            return Err(AddressError::Port);
        }
        let is_label = |label: &str| {
            matches!(label.len(), 1..=63)
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        let is_name = host.len() <= 253 && host.split('.').all(is_label);
        if !is_name && host.parse::<IpAddr>().is_err() {
            return Err(AddressError::Host);
        }
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }
}

impl fmt::Display for ControllerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for ControllerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.parse::<Ipv6Addr>().is_ok() {
            return Self::from_parts(text, DEFAULT_PORT);
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or(AddressError::Host)?,
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| AddressError::Port)?,
            None if port.is_empty() => DEFAULT_PORT,
            None => return Err(AddressError::Host),
        };
        Self::from_parts(host, port)
    }
}

/// A text that names no place a controller could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The host part.
    #[error(
        "not the address of a controller; write HOST or HOST:PORT, and IPv6 as [2001:db8::1]:PORT"
    )]
    Host,
    /// The port part.
    #[error("the controller's port is a number from 1 to 65535")]
    Port,
}

impl TryFrom<String> for ControllerAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<ControllerAddress> for String {
    fn from(address: ControllerAddress) -> String {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_read_with_and_without_port() {
        let cases = [
            ("Control.example.com", "control.example.com:7443"),
            ("control:1", "control:1"),
            ("10.0.0.5:65535", "10.0.0.5:65535"),
            ("2001:db8::1", "[2001:db8::1]:7443"),
            ("[2001:db8::1]", "[2001:db8::1]:7443"),
            ("[::1]:80", "[::1]:80"),
        ];
        for (text, shown) in cases {
            let address: ControllerAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse(), Ok(address));
        }
    }

    #[test]
    fn what_is_no_place_is_said() {
        for bad in ["", ":1", "a b", "https://x", "[::1", "[::1]x", "x/y", "a..b", "[]:1"] {
            assert!(bad.parse::<ControllerAddress>().is_err(), "{bad}");
        }
        for bad in ["x:0", "x:65536", "x:", "x:1:2", "x:http"] {
            assert_eq!(bad.parse::<ControllerAddress>(), Err(AddressError::Port), "{bad}");
        }
    }
}
