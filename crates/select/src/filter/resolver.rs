//! Names of the inventory in an expression: `vm web-01`, `tenant acme`, `host-of hv-3`,
//! `portgroup "VM Network"`.
//!
//! The language never knows the inventory. It hands each name to a [`Resolver`] before a matcher is
//! made; what comes back is a set of MACs, each in its network and for its time. Where expression
//! and inventory are in different processes, [`Resolved`] carries the answers over.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use wire::{Mac, Timestamp};

use super::{Filter, ParseError};
use crate::OnWire;

/// A word of an expression that only the inventory can explain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Name {
    /// What it names.
    pub kind: NameKind,
    /// The name, as it was typed, without quotes.
    pub text: String,
}

/// What a name of the inventory names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NameKind {
    /// One VM: `vm web-01`.
    Vm,
    /// All VMs of a tenant: `tenant acme`.
    Tenant,
    /// All VMs that run on a host: `host-of hv-3`.
    HostOf,
    /// All vNICs of a port group: `portgroup "VM Network"`.
    PortGroup,
    /// A host by its DNS name: `host www.example.org`. Answered with addresses, not members.
    Host,
}

/// One vNIC that a name means, within one network and for some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The vNIC's MAC.
    pub mac: Mac,
    /// How frames of the network look in which the MAC means this vNIC, as for
    /// [`Identity`](crate::Identity); `None` where the MAC means it in whatever network, as at the
    /// vNIC's own port.
    #[serde(with = "network", default, skip_serializing_if = "Option::is_none")]
    pub network: Option<OnWire>,
    /// The first moment at which this holds, in packet time.
    pub from: Timestamp,
    /// The first moment at which it does not hold any more; `None` while no end is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Explains names; implemented beside the inventory.
///
/// Asked once for each name, before the matcher is made, never for a packet.
pub trait Resolver {
    /// Every vNIC that `name` means, with every network and time in which it does. Overlapping and
    /// repeated members are allowed, an empty answer means that the name is known and names no
    /// vNIC. Never asked for [`NameKind::Host`].
    ///
    /// # Errors
    /// There is no such name.
    fn members(&self, name: &Name) -> Result<Vec<Member>, UnknownName>;

    /// The addresses of the host with this DNS name. Whoever does not override this refuses.
    ///
    /// # Errors
    /// There is no such host, or nobody to ask.
    fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, UnknownName> {
        let _ = host;
        Err(UnknownName::because(
            "not an address: a host is given by address, names are not looked up",
        ))
    }
}

/// Why a name could not be explained.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnknownName {
    /// What is wrong, in a sentence without its point, if not just that the name is not known.
    pub reason: Option<String>,
    /// Known names of the same kind that look like it, nearest first.
    pub nearest: Vec<String>,
}

impl UnknownName {
    /// The name is not known; these are.
    pub fn nearest(nearest: Vec<String>) -> Self {
        Self { reason: None, nearest }
    }

    /// The name cannot be explained at all.
    pub fn because(reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), nearest: Vec::new() }
    }
}

/// Knows no names: for expressions that are asked without an inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NoNames;

impl Resolver for NoNames {
    fn members(&self, name: &Name) -> Result<Vec<Member>, UnknownName> {
        Err(UnknownName::because(format!(
            "`{}` needs an inventory, and there is none here",
            name.kind
        )))
    }
}

/// The answers to all names of one expression, to be taken where the inventory is not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolved {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    names: Vec<Answer>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    hosts: BTreeMap<String, Vec<IpAddr>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    name: Name,
    members: Vec<Member>,
}

impl Resolved {
    /// Asks `resolver` about every name of `expression`.
    ///
    /// # Errors
    /// The expression is not understood or has a name that is not known.
    pub fn of(expression: &str, resolver: &dyn Resolver) -> Result<Self, ParseError> {
        let asked = Asked { resolver, answers: std::cell::RefCell::default() };
        Filter::parse_with(expression, &asked)?;
        Ok(asked.answers.into_inner())
    }

    /// Whether there was no name to explain.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.hosts.is_empty()
    }
}

impl Resolver for Resolved {
    fn members(&self, name: &Name) -> Result<Vec<Member>, UnknownName> {
        let answer = self.names.iter().find(|answer| answer.name == *name);
        answer.map(|answer| answer.members.clone()).ok_or_else(UnknownName::default)
    }

    fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, UnknownName> {
        self.hosts.get(host).cloned().ok_or_else(UnknownName::default)
    }
}

/// Passes questions on and keeps the answers.
struct Asked<'a> {
    resolver: &'a dyn Resolver,
    answers: std::cell::RefCell<Resolved>,
}

impl Resolver for Asked<'_> {
    fn members(&self, name: &Name) -> Result<Vec<Member>, UnknownName> {
        let members = self.resolver.members(name)?;
        let answer = Answer { name: name.clone(), members: members.clone() };
        self.answers.borrow_mut().names.push(answer);
        Ok(members)
    }

    fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, UnknownName> {
        let addresses = self.resolver.addresses(host)?;
        self.answers.borrow_mut().hosts.insert(host.to_owned(), addresses.clone());
        Ok(addresses)
    }
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vm => "vm",
            Self::Tenant => "tenant",
            Self::HostOf => "host-of",
            Self::PortGroup => "portgroup",
            Self::Host => "host",
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_plain = self.text.chars().all(is_word)
            && self.text.starts_with(char::is_alphabetic)
            && !super::parser::is_keyword(&self.text);
        if is_plain {
            write!(f, "{} {}", self.kind, self.text)
        } else {
            write!(f, "{} \"{}\"", self.kind, self.text)
        }
    }
}

/// A network as an [`Identity`](crate::Identity) is written, without the MAC.
mod network {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use wire::Mac;

    use crate::{Identity, OnWire};

    pub(super) fn serialize<S: Serializer>(
        network: &Option<OnWire>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        network.map(|network| Identity { mac: Mac::default(), network }).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<OnWire>, D::Error> {
        let identity = Option::<Identity>::deserialize(deserializer)?;
        Ok(identity.map(|identity| identity.network))
    }
}
