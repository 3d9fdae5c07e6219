//! Values and what is said about them: `tcp dst port (80 or 443)`, `src net 10.0.0.0/8`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::Mac;

use super::super::expression::{Direction, Expression, Primitive, V4Family, ipv6_mask};
use super::super::names::{self, ETHER_TYPES, IP_PROTOCOLS, SERVICES};
use super::super::numbers::number;
use super::super::resolver::{Name, NameKind};
use super::words::{Protocol, Qualifiers, What, group, is_keyword, is_qualifier, is_value_too};
use super::{DEEPEST_NESTING, Kind, ParseError, Parsed, Parser, TOO_MANY_LEVELS, family};

impl Parser<'_> {
    /// Behind the name of a protocol: more about a value, or nothing.
    pub(super) fn after_protocol(
        &mut self,
        word: &str,
        protocol: Protocol,
    ) -> Result<Parsed, ParseError> {
        match (self.peek(), protocol) {
            (Some(Kind::Word(next)), _) if is_qualifier(next) => self.qualified(Some(protocol)),
            (Some(Kind::Word(next @ ("ra" | "ta" | "addr1" | "addr2" | "addr3" | "addr4"))), _)
                if protocol == Protocol::Ether =>
            {
                let message = format!(
                    "`{next}` is about frames of IEEE 802.11, which no VM sends; an Ethernet frame \
                     has `ether src` and `ether dst`"
                );
                Err(self.wrong(message, None))
            }
            (_, Protocol::Ether) => {
                let message = format!(
                    "expected `host`, `src`, `dst`, `proto`, `broadcast` or `multicast` behind \
                     `{word}`"
                );
                Err(self.wrong(message, None))
            }
            (Some(Kind::OpenIndex), _) => Err(self.unknown()),
            (Some(Kind::Word(next)), _) if !is_keyword(next) => {
                let what = if next.contains(['.', ':']) { "host" } else { "port" };
                if mac(next).is_none() && what == "port" && port(next).is_none() {
                    return Err(self.unknown());
                }
                let suggestion = Some(format!("{word} {what} {next}"));
                Err(self.wrong(format!("`{word}` needs a keyword before a value"), suggestion))
            }
            _ => {
                self.last = None;
                Ok(Parsed::is(protocol.alone()))
            }
        }
    }

    /// Direction, type and values, behind a protocol or not.
    pub(super) fn qualified(&mut self, protocol: Option<Protocol>) -> Result<Parsed, ParseError> {
        if let Some(Kind::Word(word @ ("broadcast" | "multicast"))) = self.peek() {
            let Some(primitive) = group(protocol, word) else {
                let message = format!("only `ether`, `ip` and, for multicast, `ip6` have {word}");
                return Err(self.wrong(message, None));
            };
            self.at += 1;
            self.last = None;
            return Ok(Parsed::is(primitive));
        }
        let direction = self.direction();
        let keyword = match self.peek() {
            Some(Kind::Word(word)) => What::named(word),
            _ => None,
        };
        let what = match keyword {
            Some(what) if what.is_protocol() && direction != Direction::Either => {
                return Err(self.wrong("a protocol has no direction", None));
            }
            Some(What::Named(kind)) if protocol.is_some() => {
                let name = protocol.map(Protocol::name).unwrap_or_default();
                let message = format!("`{name}` and `{kind}` are two questions");
                return Err(self.wrong(message, Some(format!("{name} and {kind}"))));
            }
            Some(what) => {
                self.at += 1;
                what
            }
            None => What::Host,
        };
        let qualifiers = Qualifiers { protocol, direction, what };
        self.last = Some(qualifiers);
        self.values(qualifiers)
    }

    /// `src`, `dst`, `src or dst`, `src and dst`, or nothing.
    fn direction(&mut self) -> Direction {
        let (other, alone) = match self.peek() {
            Some(Kind::Word("src")) => ("dst", Direction::Source),
            Some(Kind::Word("dst")) => ("src", Direction::Destination),
            _ => return Direction::Either,
        };
        self.at += 1;
        let is_pair = self.peek_at(1) == Some(Kind::Word(other));
        let both = match self.peek() {
            Some(Kind::Or) if is_pair => Direction::Either,
            Some(Kind::And) if is_pair => Direction::Both,
            _ => return alone,
        };
        self.at += 2;
        both
    }

    /// A value, or several in parentheses: `port (80 or 443)`.
    fn values(&mut self, qualifiers: Qualifiers) -> Result<Parsed, ParseError> {
        match self.peek() {
            Some(Kind::Not) => {
                self.at += 1;
                let inside = self.nested(|parser| parser.values(qualifiers))?;
                Ok(inside.wrap(|part| Expression::Not(Box::new(part))))
            }
            Some(Kind::Open) => {
                self.at += 1;
                self.nested(|parser| {
                    let mut left = parser.values(qualifiers)?;
                    while let Some(connective) = parser.connective() {
                        let right = parser.values(qualifiers)?;
                        left = left.join(connective, right);
                        if left.depth > DEEPEST_NESTING {
                            return Err(parser.wrong(TOO_MANY_LEVELS, None));
                        }
                    }
                    parser.close()?;
                    Ok(left)
                })
            }
            _ => self.value(qualifiers),
        }
    }

    pub(super) fn value(&mut self, qualifiers: Qualifiers) -> Result<Parsed, ParseError> {
        if let What::Named(kind) = qualifiers.what {
            return self.named(kind, qualifiers.direction);
        }
        let expected = qualifiers.what.expected(qualifiers.protocol);
        let word = match self.peek() {
            Some(Kind::Word(word)) => word,
            _ => return Err(self.wrong(format!("expected {expected}"), None)),
        };
        let is_name = qualifiers.what.is_protocol() || is_value_too(qualifiers, word);
        if is_keyword(word) && !is_name {
            return Err(self.wrong(format!("expected {expected}, not the keyword `{word}`"), None));
        }
        let parsed = match qualifiers.what {
            What::Host | What::Net => self.address(qualifiers, word)?,
            What::Port | What::PortRange => Parsed::is(self.ports(qualifiers, word)?),
            _ => Parsed::is(self.protocol_number(qualifiers, word)?),
        };
        self.at += 1;
        Ok(parsed)
    }

    /// A name of the inventory, and what it means.
    fn named(&mut self, kind: NameKind, direction: Direction) -> Result<Parsed, ParseError> {
        let text = match self.peek() {
            Some(Kind::Word(text)) => text.strip_prefix('\\').unwrap_or(text),
            Some(Kind::Quoted(text)) => text,
            Some(Kind::Strange('"')) => return Err(self.unknown()),
            _ => return Err(self.wrong(format!("expected a name behind `{kind}`"), None)),
        };
        let name = Name { kind, text: text.to_owned() };
        self.explain(&name)?;
        self.at += 1;
        Ok(Parsed::is(Primitive::Named { direction, name }))
    }

    fn address(&mut self, qualifiers: Qualifiers, word: &str) -> Result<Parsed, ParseError> {
        let Qualifiers { protocol, direction, what } = qualifiers;
        let is_address = matches!(
            protocol,
            None | Some(
                Protocol::Ether
                    | Protocol::Ip
                    | Protocol::Ip6
                    | Protocol::Arp
                    | Protocol::Rarp
                    | Protocol::DecNet
            )
        );
        if let Some(other) = protocol.filter(|_| !is_address) {
            let name = other.name();
            let suggestion = Some(format!("{name} and host {word}"));
            let message = match other {
                Protocol::Transport(_) => format!("`{name}` has ports, not addresses"),
                _ => format!("`{name}` has no addresses"),
            };
            return Err(self.wrong(message, suggestion));
        }
        if protocol == Some(Protocol::Ether) {
            return match mac(word) {
                Some(mac) if what == What::Host => {
                    Ok(Parsed::is(Primitive::Ether { direction, mac }))
                }
                _ => Err(self.wrong("expected a MAC address, as 52:54:00:12:34:56", None)),
            };
        }
        if protocol == Some(Protocol::DecNet) {
            return match decnet(word) {
                Some(address) if what == What::Host => {
                    Ok(Parsed::is(Primitive::DecNet { direction, address }))
                }
                _ => Err(self.wrong("expected an address of DECnet, as 1.13", None)),
            };
        }
        if mac(word).is_some() {
            let suggestion = Some(format!("ether {direction}host {word}"));
            return Err(self.wrong("a MAC address needs `ether` before it", suggestion));
        }
        if word.contains(':') {
            return self.ipv6(qualifiers, word).map(Parsed::is);
        }
        if what == What::Net {
            let family = self.v4_family(protocol)?;
            let (address, mask) = self.ipv4_network(word)?;
            return Ok(Parsed::is(Primitive::V4 { family, direction, address, mask }));
        }
        if let Some(address) = ipv4(word) {
            let family = self.v4_family(protocol)?;
            let mask = Ipv4Addr::BROADCAST;
            return Ok(Parsed::is(Primitive::V4 { family, direction, address, mask }));
        }
        if ipv4_parts(word.split_once('/').map_or(word, |(parts, _)| parts)).is_some() {
            let suggestion = Some(format!("net {word}"));
            return Err(self.wrong("a host has a whole address and no mask", suggestion));
        }
        self.host_name(qualifiers, word)
    }

    fn v4_family(&self, protocol: Option<Protocol>) -> Result<V4Family, ParseError> {
        Ok(match protocol {
            None => V4Family::Any,
            Some(Protocol::Arp) => V4Family::Arp,
            Some(Protocol::Rarp) => V4Family::Rarp,
            Some(Protocol::Ip6) => return Err(self.wrong("expected an IPv6 address", None)),
            Some(_) => V4Family::Ip,
        })
    }

    /// A host by its name: all of its addresses that the qualifiers allow.
    fn host_name(&self, qualifiers: Qualifiers, word: &str) -> Result<Parsed, ParseError> {
        let Qualifiers { protocol, direction, .. } = qualifiers;
        let addresses = match self.resolver.addresses(word.strip_prefix('\\').unwrap_or(word)) {
            Ok(addresses) => addresses,
            Err(unknown) => {
                let mut error = self.unknown_name(NameKind::Host, unknown);
                error.suggestion = error.suggestion.or_else(|| self.near_keyword(word));
                return Err(error);
            }
        };
        let expressions: Vec<_> = addresses
            .into_iter()
            .filter_map(|address| match address {
                IpAddr::V4(address) => {
                    let family = self.v4_family(protocol).ok()?;
                    let mask = Ipv4Addr::BROADCAST;
                    Some(Primitive::V4 { family, direction, address, mask })
                }
                IpAddr::V6(address) => matches!(protocol, None | Some(Protocol::Ip6))
                    .then_some(Primitive::V6 { direction, address, prefix_len: 128 }),
            })
            .map(Expression::Is)
            .collect();
        if expressions.is_empty() {
            return Err(self.wrong("no address of this host can be meant here", None));
        }
        Ok(Parsed::any(expressions))
    }

    /// `10.1`, `10.1.0.0/16`, `10.1.0.0 mask 255.255.0.0`.
    fn ipv4_network(&mut self, word: &str) -> Result<(Ipv4Addr, Ipv4Addr), ParseError> {
        let (parts, len) = match word.split_once('/') {
            Some((parts, len)) => (parts, Some(len)),
            None => (word, None),
        };
        let Some((bits, implied_len)) = ipv4_parts(parts) else {
            if parts.starts_with(char::is_alphabetic) {
                let message =
                    "a network is given by number, as 10.1.0.0/16: names are not looked up";
                return Err(self.wrong(message, None));
            }
            return Err(self.wrong("expected a network, as 10.1.0.0/16", None));
        };
        let has_mask = len.is_none() && self.peek_at(1) == Some(Kind::Word("mask"));
        let mask = if has_mask {
            self.at += 2;
            match self.peek() {
                Some(Kind::Word(mask)) => mask.parse().map(Ipv4Addr::to_bits).ok(),
                _ => None,
            }
        } else {
            let len = len.map_or(Some(u64::from(implied_len)), number);
            let len = len.and_then(|len| u32::try_from(len).ok()).filter(|len| *len <= 32);
            len.map(|len| !u32::MAX.checked_shr(len).unwrap_or(0))
        };
        let Some(mask) = mask else {
            return Err(self.wrong("expected 0 to 32 bits or a mask, as 255.255.0.0", None));
        };
        if bits & !mask != 0 {
            let network = Ipv4Addr::from_bits(bits & mask);
            let suggestion = match mask.leading_ones() {
                ones if mask.count_ones() == ones => format!("{network}/{ones}"),
                _ => network.to_string(),
            };
            return Err(self.wrong("has bits beyond its mask", Some(suggestion)));
        }
        Ok((Ipv4Addr::from_bits(bits), Ipv4Addr::from_bits(mask)))
    }

    fn ipv6(&self, qualifiers: Qualifiers, word: &str) -> Result<Primitive, ParseError> {
        if matches!(qualifiers.protocol, Some(protocol) if protocol != Protocol::Ip6) {
            let name = qualifiers.protocol.map(Protocol::name).unwrap_or_default();
            return Err(self.wrong(format!("`{name}` has no IPv6 addresses"), None));
        }
        let (address, len) = match word.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (word, None),
        };
        if len.is_some() && qualifiers.what == What::Host {
            let suggestion = Some(format!("net {word}"));
            return Err(self.wrong("a host has a whole address and no mask", suggestion));
        }
        let Ok(address) = address.parse::<Ipv6Addr>() else {
            return Err(self.wrong("not an IPv6 address", None));
        };
        let prefix_len = len.map_or(Some(128), number).and_then(|len| u8::try_from(len).ok());
        let Some(prefix_len) = prefix_len.filter(|len| *len <= 128) else {
            return Err(self.wrong("expected 0 to 128 bits", None));
        };
        let network = address.to_bits() & ipv6_mask(prefix_len);
        if network != address.to_bits() {
            let suggestion = Some(format!("{}/{prefix_len}", Ipv6Addr::from_bits(network)));
            return Err(self.wrong("has bits beyond its mask", suggestion));
        }
        Ok(Primitive::V6 { direction: qualifiers.direction, address, prefix_len })
    }

    fn ports(&self, qualifiers: Qualifiers, word: &str) -> Result<Primitive, ParseError> {
        let transport = match qualifiers.protocol {
            None => None,
            Some(Protocol::Transport(transport)) => Some(transport),
            Some(other) => {
                let message = format!("`{}` has no ports", other.name());
                return Err(self.wrong(message, Some(format!("{} and port {word}", other.name()))));
            }
        };
        let range = if let Some(port) = port(word) {
            Some((port, port))
        } else {
            // The name of a service may have hyphens too.
            word.match_indices('-').find_map(|(at, _)| {
                let (first, last) = word.split_at_checked(at)?;
                Some((port(first)?, port(last.strip_prefix('-')?)?))
            })
        };
        let Some((first, last)) = range else {
            if ipv4_parts(word).is_some_and(|_| word.contains('.')) || word.contains(':') {
                let suggestion = Some(format!("host {word}"));
                return Err(self.wrong("expected a port, not an address", suggestion));
            }
            if number(word).is_some() {
                return Err(self.wrong("ports end at 65535", None));
            }
            let near = names::nearest(word, SERVICES.iter().map(|(name, _)| *name));
            let message = "not a port, nor the name of a well-known one";
            return Err(self.wrong(message, near.map(ToOwned::to_owned)));
        };
        if first != last && qualifiers.what == What::Port {
            let suggestion = Some(format!("portrange {word}"));
            return Err(self.wrong("this is more than one port", suggestion));
        }
        let (first, last) = (first.min(last), first.max(last));
        Ok(Primitive::Port { transport, direction: qualifiers.direction, first, last })
    }

    fn protocol_number(&self, qualifiers: Qualifiers, word: &str) -> Result<Primitive, ParseError> {
        let name = word.strip_prefix('\\').unwrap_or(word);
        match qualifiers.protocol {
            Some(Protocol::Ether) => {
                let number = names::number(ETHER_TYPES, name)
                    .or_else(|| number(word).and_then(|n| u16::try_from(n).ok()));
                return number.map(Primitive::EtherType).ok_or_else(|| {
                    let near = names::nearest(name, ETHER_TYPES.iter().map(|(name, _)| *name));
                    self.wrong("not an EtherType", near.map(ToOwned::to_owned))
                });
            }
            Some(Protocol::Iso) => {
                let number = names::number(OSI_PROTOCOLS, name)
                    .or_else(|| number(word).and_then(|n| u8::try_from(n).ok()));
                return number
                    .map(Primitive::IsoProtocol)
                    .ok_or_else(|| self.wrong("not a protocol of OSI", None));
            }
            _ => {}
        }
        let Some(family) = family(qualifiers.protocol) else {
            let name = qualifiers.protocol.map(Protocol::name).unwrap_or_default();
            let message = format!("`{name}` does not carry another protocol");
            return Err(self.wrong(message, None));
        };
        let number = names::number(IP_PROTOCOLS, name)
            .or_else(|| number(word).and_then(|n| u8::try_from(n).ok()));
        let Some(number) = number.map(u32::from) else {
            let near = names::nearest(name, IP_PROTOCOLS.iter().map(|(name, _)| *name));
            return Err(self.wrong("not an IP protocol", near.map(ToOwned::to_owned)));
        };
        Ok(match qualifiers.what {
            What::ProtoChain => Primitive::ProtocolChain { family, number },
            _ => Primitive::IpProtocol { family, number },
        })
    }
}

/// A whole address, also as one number.
fn ipv4(word: &str) -> Option<Ipv4Addr> {
    let bits = || number(word).and_then(|n| u32::try_from(n).ok()).map(Ipv4Addr::from_bits);
    word.parse().ok().or_else(bits)
}

/// Area and node of DECnet phase IV: 6 and 10 bits.
fn decnet(word: &str) -> Option<u16> {
    let (area, node) = word.split_once('.')?;
    let (area, node) = (number(area)?, number(node)?);
    u16::try_from(area << 10 | node).ok().filter(|_| area < 64 && node < 1024)
}

fn port(word: &str) -> Option<u16> {
    names::number(SERVICES, word.strip_prefix('\\').unwrap_or(word))
        .or_else(|| number(word).and_then(|n| u16::try_from(n).ok()))
}

/// One to four numbers below 256, as the high bits of an address, and how many bits they are.
fn ipv4_parts(word: &str) -> Option<(u32, u32)> {
    let mut bits = 0_u32;
    let mut len = 0;
    for part in word.split('.') {
        let octet = part.parse::<u8>().ok().filter(|_| part.bytes().all(|b| b.is_ascii_digit()))?;
        if len == 32 {
            return None;
        }
        bits |= u32::from(octet) << (24 - len);
        len += 8;
    }
    Some((bits, len))
}

/// A MAC in any of the usual spellings: 52:54:00:12:34:56, with `-` or `.`, 5254.0012.3456,
/// 525400123456.
fn mac(word: &str) -> Option<Mac> {
    if let Ok(mac) = word.replace('.', ":").parse() {
        return Some(mac);
    }
    let is_cisco = word.split('.').count() == 3 && word.split('.').all(|part| part.len() == 4);
    if !is_cisco && word.len() != 12 {
        return None;
    }
    let digits = word.replace('.', "");
    if digits.len() != 12 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let [_, _, octets @ ..] = u64::from_str_radix(&digits, 16).ok()?.to_be_bytes();
    Some(Mac(octets))
}

/// The words behind `iso proto`.
const OSI_PROTOCOLS: &[(&str, u8)] =
    &[("clnp", 0x81), ("esis", 0x82), ("es-is", 0x82), ("isis", 0x83), ("is-is", 0x83)];
