//! From words to a tree, as pcap-filter(7) reads them.
//!
//! `not` binds strongest; `and` and `or` bind equally, left to right. A value without a keyword
//! takes the qualifiers of the value before it: `port 80 or 443`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use wire::{Mac, VlanId, Vni};

use super::error::ParseError;
use super::expression::{Direction, Expression, IpFamily, Primitive, Scope, Transport, V4Family};
use super::members::Members;
use super::names::{self, ETHER_TYPES, IP_PROTOCOLS, SERVICES};
use super::resolver::{Name, NameKind, Resolver, UnknownName};
use super::token::{self, Kind, Token};

/// Understands a whole expression.
pub(super) fn parse(text: &str, resolver: &dyn Resolver) -> Result<Understood, ParseError> {
    let mut parser = Parser {
        text,
        tokens: token::tokens(text),
        at: 0,
        nesting: 0,
        last: None,
        resolver,
        members: BTreeMap::new(),
    };
    if text.chars().count() > LONGEST_EXPRESSION {
        let place = Place { start: LONGEST_EXPRESSION, width: 1 };
        let message = format!("more than {LONGEST_EXPRESSION} characters");
        return Err(parser.error(place, message, None));
    }
    if parser.tokens.is_empty() {
        return Ok(Understood { expression: Expression::EVERYTHING, members: BTreeMap::new() });
    }
    let Parsed { expression, .. } = parser.expression()?;
    match parser.peek() {
        None => Ok(Understood { expression, members: parser.members }),
        Some(Kind::Close) => Err(parser.wrong("this parenthesis closes nothing", None)),
        Some(Kind::Strange(_)) => Err(parser.unknown()),
        Some(_) => Err(parser.wrong("expected `and` or `or` here", None)),
    }
}

/// A whole expression, and what its names mean.
pub(super) struct Understood {
    pub(super) expression: Expression,
    pub(super) members: BTreeMap<Name, Members>,
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
    /// How many parentheses, scopes and negations are open.
    nesting: usize,
    /// What a value without a keyword is.
    last: Option<Qualifiers>,
    resolver: &'a dyn Resolver,
    /// The names explained so far.
    members: BTreeMap<Name, Members>,
}

/// A part of the tree and how many levels it has.
struct Parsed {
    expression: Expression,
    depth: usize,
}

/// What is said about a value before it.
#[derive(Debug, Clone, Copy)]
struct Qualifiers {
    protocol: Option<Protocol>,
    direction: Direction,
    what: What,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Host,
    Net,
    Port,
    PortRange,
    Proto,
    Named(NameKind),
}

/// A word that names a protocol and may stand alone or before a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Ether,
    Ip,
    Ip6,
    Arp,
    Rarp,
    Transport(Transport),
    /// May only stand alone.
    Other(IpFamily, u8),
}

/// Some characters of the expression.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: usize,
    width: usize,
}

/// Which of the two connecting words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connective {
    And,
    Or,
}

impl<'a> Parser<'a> {
    fn expression(&mut self) -> Result<Parsed, ParseError> {
        let mut left = self.term()?;
        while let Some(connective) = self.connective() {
            let place = self.place();
            let right = self.term()?;
            left = left.join(connective, right);
            if left.depth > DEEPEST_NESTING {
                return Err(self.error(place, TOO_MANY_LEVELS.to_owned(), None));
            }
        }
        Ok(left)
    }

    fn connective(&mut self) -> Option<Connective> {
        let connective = match self.peek()? {
            Kind::And => Connective::And,
            Kind::Or => Connective::Or,
            _ => return None,
        };
        self.at += 1;
        Some(connective)
    }

    fn term(&mut self) -> Result<Parsed, ParseError> {
        match self.peek() {
            Some(Kind::Not) => {
                self.at += 1;
                Ok(self.nested(Self::term)?.wrap(|part| Expression::Not(Box::new(part))))
            }
            Some(Kind::Open) => {
                self.at += 1;
                self.nested(|parser| {
                    let inside = parser.expression()?;
                    parser.close()?;
                    Ok(inside)
                })
            }
            Some(Kind::Word(word @ ("outer" | "any"))) => {
                let scope = if word == "any" { Scope::Any } else { Scope::Outer };
                self.at += 1;
                if self.peek() != Some(Kind::Open) {
                    let message = format!("expected a parenthesis behind `{word}`");
                    return Err(self.wrong(message, None));
                }
                let inside = self.nested(Self::term)?;
                Ok(inside.wrap(|part| Expression::Within(scope, Box::new(part))))
            }
            Some(Kind::Word(word)) => self.primitive(word),
            Some(Kind::Quoted(_)) if self.is_name_next() => {
                let Some(last) = self.last else { return Err(self.unknown()) };
                self.value(last)
            }
            Some(Kind::Quoted(_)) => {
                Err(self.wrong("a name needs a word before it, as `vm`", None))
            }
            Some(Kind::Close) => Err(self.wrong("expected an expression before `)`", None)),
            Some(Kind::And | Kind::Or) => Err(self.wrong("expected an expression before it", None)),
            Some(Kind::Strange(_)) => Err(self.unknown()),
            None => Err(self.wrong("expected an expression behind it", None)),
        }
    }

    /// A question of one word or several, beginning with `word`.
    fn primitive(&mut self, word: &'a str) -> Result<Parsed, ParseError> {
        if let Some(protocol) = Protocol::named(word) {
            self.at += 1;
            return self.after_protocol(word, protocol);
        }
        if is_qualifier(word) {
            return self.qualified(None);
        }
        let start = self.at;
        self.at += 1;
        let primitive = match word {
            "less" => Primitive::Less(self.number_up_to("a length", u32::MAX)?),
            "greater" => Primitive::Greater(self.number_up_to("a length", u32::MAX)?),
            "vlan" => Primitive::Vlan(
                self.optional_number("a VLAN", 0xfff)?
                    .and_then(|id| VlanId::new(u16::try_from(id).ok()?)),
            ),
            "mpls" => Primitive::Mpls(self.optional_number("a label", 0xf_ffff)?),
            "vni" => {
                let number = self.number_up_to("an overlay number", MAX_VNI)?;
                match Vni::new(number) {
                    Some(vni) => Primitive::Vni(vni),
                    None => return Err(self.unknown()),
                }
            }
            "vxlan" => Primitive::Vxlan(self.optional_vni()?),
            "geneve" => Primitive::Geneve(self.optional_vni()?),
            "gre" => {
                let has_key = self.takes("key");
                let key = has_key.then(|| self.number_up_to("a key", u32::MAX)).transpose()?;
                Primitive::Gre { key }
            }
            "erspan" => {
                let has_session = self.takes("session");
                let session =
                    has_session.then(|| self.number_up_to("a session", 0x3ff)).transpose()?;
                Primitive::Erspan { session: session.and_then(|id| u16::try_from(id).ok()) }
            }
            value => {
                self.at = start;
                return self.bare_value(value);
            }
        };
        self.last = None;
        Ok(Parsed::is(primitive))
    }

    fn is_name_next(&self) -> bool {
        self.last.is_some_and(|last| matches!(last.what, What::Named(_)))
    }

    /// A value without a keyword of its own.
    fn bare_value(&mut self, word: &str) -> Result<Parsed, ParseError> {
        let is_value = word.starts_with(|c: char| c.is_ascii_digit())
            || word.contains([':', '.'])
            || self.last.is_some_and(|last| last.what != What::Host);
        match self.last {
            Some(last) if is_value => self.value(last),
            // pcap-filter(7) calls this a syntax error; an address can only mean one thing.
            None if word.contains('.') || word.contains(':') => self.value(Qualifiers {
                protocol: None,
                direction: Direction::Either,
                what: if word.contains('/') { What::Net } else { What::Host },
            }),
            None if is_value => {
                let suggestion = number(word).map(|_| format!("port {word}"));
                Err(self.wrong("a number alone says nothing", suggestion))
            }
            _ => Err(self.unknown()),
        }
    }

    /// Behind the name of a protocol: more about a value, or nothing.
    fn after_protocol(&mut self, word: &str, protocol: Protocol) -> Result<Parsed, ParseError> {
        match (self.peek(), protocol) {
            (Some(Kind::Word(next)), _) if is_qualifier(next) => self.qualified(Some(protocol)),
            (_, Protocol::Ether) => {
                let message = format!(
                    "expected `host`, `src`, `dst`, `proto`, `broadcast` or `multicast` behind \
                     `{word}`"
                );
                Err(self.wrong(message, None))
            }
            (Some(Kind::Strange('[')), _) => Err(self.unknown()),
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
    fn qualified(&mut self, protocol: Option<Protocol>) -> Result<Parsed, ParseError> {
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
            Some(What::Proto) if direction != Direction::Either => {
                return Err(self.wrong("a protocol has no direction", None));
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
        let (this, other, alone) = match self.peek() {
            Some(Kind::Word("src")) => ("src", "dst", Direction::Source),
            Some(Kind::Word("dst")) => ("dst", "src", Direction::Destination),
            _ => return Direction::Either,
        };
        debug_assert_ne!(this, other);
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

    fn value(&mut self, qualifiers: Qualifiers) -> Result<Parsed, ParseError> {
        if let What::Named(kind) = qualifiers.what {
            return self.named(kind, qualifiers.direction);
        }
        let expected = qualifiers.what.expected(qualifiers.protocol.as_ref());
        let word = match self.peek() {
            Some(Kind::Word(word)) => word,
            _ => return Err(self.wrong(format!("expected {expected}"), None)),
        };
        if qualifiers.what != What::Proto && is_keyword(word) && !is_value_too(qualifiers, word) {
            return Err(self.wrong(format!("expected {expected}, not the keyword `{word}`"), None));
        }
        let primitive = match qualifiers.what {
            What::Host | What::Net => self.address(qualifiers, word),
            What::Port | What::PortRange => self.ports(qualifiers, word),
            _ => self.protocol_number(qualifiers, word),
        }?;
        self.at += 1;
        Ok(Parsed::is(primitive))
    }

    /// A name of the inventory, and what it means.
    fn named(&mut self, kind: NameKind, direction: Direction) -> Result<Parsed, ParseError> {
        let text = match self.peek() {
            Some(Kind::Word(text)) => text.strip_prefix('\\').unwrap_or(text),
            Some(Kind::Quoted(text)) => text,
            _ => return Err(self.wrong(format!("expected a name behind `{kind}`"), None)),
        };
        let name = Name { kind, text: text.to_owned() };
        if !self.members.contains_key(&name) {
            match self.resolver.members(&name) {
                Ok(members) => self.members.insert(name.clone(), Members::new(&members)),
                Err(UnknownName { reason, nearest }) => {
                    let message = reason.unwrap_or_else(|| format!("no {kind} of this name"));
                    return Err(self.wrong(message, nearest.into_iter().next()));
                }
            };
        }
        self.at += 1;
        Ok(Parsed::is(Primitive::Named { direction, name }))
    }

    fn address(&mut self, qualifiers: Qualifiers, word: &str) -> Result<Primitive, ParseError> {
        let Qualifiers { protocol, direction, what } = qualifiers;
        if let Some(Protocol::Transport(_) | Protocol::Other(..)) = protocol {
            let name = protocol.map(Protocol::name).unwrap_or_default();
            let suggestion = Some(format!("{name} and host {word}"));
            return Err(self.wrong(format!("`{name}` has ports, not addresses"), suggestion));
        }
        if protocol == Some(Protocol::Ether) {
            return match mac(word) {
                Some(mac) if what == What::Host => Ok(Primitive::Ether { direction, mac }),
                _ => Err(self.wrong("expected a MAC address, as 52:54:00:12:34:56", None)),
            };
        }
        if mac(word).is_some() {
            let suggestion = Some(format!("ether {direction}host {word}"));
            return Err(self.wrong("a MAC address needs `ether` before it", suggestion));
        }
        if word.contains(':') {
            return self.ipv6(qualifiers, word);
        }
        let family = match protocol {
            None => V4Family::Any,
            Some(Protocol::Arp) => V4Family::Arp,
            Some(Protocol::Rarp) => V4Family::Rarp,
            Some(Protocol::Ip6) => return Err(self.wrong("expected an IPv6 address", None)),
            Some(_) => V4Family::Ip,
        };
        let (address, mask) = if what == What::Net {
            self.ipv4_network(word)?
        } else {
            (self.ipv4_host(word)?, Ipv4Addr::BROADCAST)
        };
        Ok(Primitive::V4 { family, direction, address, mask })
    }

    fn ipv4_host(&self, word: &str) -> Result<Ipv4Addr, ParseError> {
        if let Ok(address) = word.parse() {
            return Ok(address);
        }
        if let Some(bits) = number(word).and_then(|n| u32::try_from(n).ok()) {
            return Ok(Ipv4Addr::from_bits(bits));
        }
        if ipv4_parts(word.split_once('/').map_or(word, |(parts, _)| parts)).is_some() {
            let suggestion = Some(format!("net {word}"));
            return Err(self.wrong("a host has a whole address and no mask", suggestion));
        }
        let message = "not an address: a host is given by address, names are not looked up";
        Err(self.wrong(message, self.near_keyword(word)))
    }

    /// `10.1`, `10.1.0.0/16`, `10.1.0.0 mask 255.255.0.0`.
    fn ipv4_network(&mut self, word: &str) -> Result<(Ipv4Addr, Ipv4Addr), ParseError> {
        let (parts, len) = match word.split_once('/') {
            Some((parts, len)) => (parts, Some(len)),
            None => (word, None),
        };
        let Some((bits, implied_len)) = ipv4_parts(parts) else {
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
            return Err(self.wrong("not a port", near.map(ToOwned::to_owned)));
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
        let family = match qualifiers.protocol {
            Some(Protocol::Ether) => {
                let number = names::number(ETHER_TYPES, name)
                    .or_else(|| number(word).and_then(|n| u16::try_from(n).ok()));
                return number.map(Primitive::EtherType).ok_or_else(|| {
                    let near = names::nearest(name, ETHER_TYPES.iter().map(|(name, _)| *name));
                    self.wrong("not an EtherType", near.map(ToOwned::to_owned))
                });
            }
            None => IpFamily::Any,
            Some(Protocol::Ip) => IpFamily::V4,
            Some(Protocol::Ip6) => IpFamily::V6,
            Some(other) => {
                let message = format!("`{}` does not carry another protocol", other.name());
                return Err(self.wrong(message, None));
            }
        };
        let number = names::number(IP_PROTOCOLS, name)
            .or_else(|| number(word).and_then(|n| u8::try_from(n).ok()));
        number.map(|number| Primitive::IpProtocol { family, number }).ok_or_else(|| {
            let near = names::nearest(name, IP_PROTOCOLS.iter().map(|(name, _)| *name));
            self.wrong("not an IP protocol", near.map(ToOwned::to_owned))
        })
    }

    fn optional_vni(&mut self) -> Result<Option<Vni>, ParseError> {
        Ok(self.optional_number("an overlay number", MAX_VNI)?.and_then(Vni::new))
    }

    /// A number, if the next word begins like one.
    fn optional_number(&mut self, what: &str, max: u32) -> Result<Option<u32>, ParseError> {
        match self.peek() {
            Some(Kind::Word(word)) if word.starts_with(|c: char| c.is_ascii_digit()) => {
                self.number_up_to(what, max).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn number_up_to(&mut self, what: &str, max: u32) -> Result<u32, ParseError> {
        let word = match self.peek() {
            Some(Kind::Word(word)) => word,
            _ => return Err(self.wrong(format!("expected {what}, a number up to {max}"), None)),
        };
        match number(word).and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= max) {
            Some(number) => {
                self.at += 1;
                Ok(number)
            }
            None => Err(self.wrong(format!("expected {what}, a number up to {max}"), None)),
        }
    }

    /// Runs `inside` one level deeper.
    fn nested(
        &mut self,
        inside: impl FnOnce(&mut Self) -> Result<Parsed, ParseError>,
    ) -> Result<Parsed, ParseError> {
        if self.nesting == DEEPEST_NESTING {
            return Err(self.wrong(format!("nested more than {DEEPEST_NESTING} levels"), None));
        }
        self.nesting += 1;
        let parsed = inside(self)?;
        self.nesting -= 1;
        if parsed.depth >= DEEPEST_NESTING {
            return Err(self.wrong(format!("nested more than {DEEPEST_NESTING} levels"), None));
        }
        Ok(parsed)
    }

    fn close(&mut self) -> Result<(), ParseError> {
        if self.peek() == Some(Kind::Close) {
            self.at += 1;
            return Ok(());
        }
        match self.peek() {
            Some(Kind::Strange(_)) => Err(self.unknown()),
            Some(_) => Err(self.wrong("expected `and`, `or` or `)` here", None)),
            None => Err(self.wrong("expected `)`", None)),
        }
    }

    fn takes(&mut self, word: &str) -> bool {
        let is_next = self.peek() == Some(Kind::Word(word));
        self.at += usize::from(is_next);
        is_next
    }

    fn peek(&self) -> Option<Kind<'a>> {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> Option<Kind<'a>> {
        self.tokens.get(self.at + ahead).map(|token| token.kind)
    }

    /// Where the next word is, or the place behind the last one.
    fn place(&self) -> Place {
        match self.tokens.get(self.at) {
            Some(token) => Place { start: token.start, width: token.width },
            None => {
                let end = self.tokens.last().map_or(0, |token| token.start + token.width);
                Place { start: end, width: 1 }
            }
        }
    }

    /// The next word is not in the language.
    fn unknown(&self) -> ParseError {
        match self.peek() {
            Some(Kind::Strange('[')) => self.wrong("byte access is not understood yet", None),
            Some(Kind::Strange(c)) if "<>=+-*%^~".contains(c) => {
                self.wrong("comparisons are not understood yet", None)
            }
            Some(Kind::Strange('&')) => self.wrong("a single `&`", Some("&&".into())),
            Some(Kind::Strange('|')) => self.wrong("a single `|`", Some("||".into())),
            Some(Kind::Word(word)) if NOT_YET.contains(&word) => {
                self.wrong(format!("`{word}` is not understood yet"), None)
            }
            Some(Kind::Word(word)) => {
                self.wrong("not a word of the filter language", self.near_keyword(word))
            }
            _ => self.wrong("not understood", None),
        }
    }

    fn near_keyword(&self, word: &str) -> Option<String> {
        names::nearest(word, KEYWORDS.iter().copied()).map(ToOwned::to_owned)
    }

    /// Something is wrong with the next word.
    fn wrong(&self, message: impl Into<String>, suggestion: Option<String>) -> ParseError {
        self.error(self.place(), message.into(), suggestion)
    }

    fn error(&self, place: Place, message: String, suggestion: Option<String>) -> ParseError {
        ParseError {
            expression: printable(self.text.to_owned()),
            column: place.start + 1,
            width: place.width,
            message: printable(message),
            suggestion: suggestion.map(printable),
        }
    }
}

impl Parsed {
    fn is(primitive: Primitive) -> Self {
        Self { expression: Expression::Is(primitive), depth: 1 }
    }

    fn wrap(self, outer: impl FnOnce(Expression) -> Expression) -> Self {
        Self { expression: outer(self.expression), depth: self.depth + 1 }
    }

    /// Both with `connective` between them; what has the same one already is not nested again.
    fn join(self, connective: Connective, other: Self) -> Self {
        let mut depth = 0;
        let mut parts = Vec::new();
        for side in [self, other] {
            match (connective, side.expression) {
                (Connective::And, Expression::All(same))
                | (Connective::Or, Expression::Any(same)) => {
                    depth = depth.max(side.depth);
                    if parts.is_empty() {
                        parts = same;
                    } else {
                        parts.extend(same);
                    }
                }
                (_, different) => {
                    depth = depth.max(side.depth + 1);
                    parts.push(different);
                }
            }
        }
        let expression = match connective {
            Connective::And => Expression::All(parts),
            Connective::Or => Expression::Any(parts),
        };
        Self { expression, depth }
    }
}

impl What {
    fn named(word: &str) -> Option<Self> {
        Some(match word {
            "host" => Self::Host,
            "net" => Self::Net,
            "port" => Self::Port,
            "portrange" => Self::PortRange,
            "proto" => Self::Proto,
            "vm" => Self::Named(NameKind::Vm),
            "tenant" => Self::Named(NameKind::Tenant),
            "host-of" => Self::Named(NameKind::HostOf),
            "portgroup" => Self::Named(NameKind::PortGroup),
            _ => return None,
        })
    }

    fn expected(self, protocol: Option<&Protocol>) -> &'static str {
        match self {
            Self::Host if protocol == Some(&Protocol::Ether) => "a MAC address",
            Self::Host => "an address",
            Self::Net => "a network, as 10.1.0.0/16",
            Self::Port => "a port",
            Self::PortRange => "two ports, as 6000-6008",
            Self::Proto => "a protocol",
            Self::Named(_) => "a name of the inventory",
        }
    }
}

impl Protocol {
    fn named(word: &str) -> Option<Self> {
        let ip = |family, number| Self::Other(family, number);
        Some(match word {
            "ether" | "link" => Self::Ether,
            "ip" => Self::Ip,
            "ip6" => Self::Ip6,
            "arp" => Self::Arp,
            "rarp" => Self::Rarp,
            "tcp" => Self::Transport(Transport::Tcp),
            "udp" => Self::Transport(Transport::Udp),
            "sctp" => Self::Transport(Transport::Sctp),
            "icmp" => ip(IpFamily::V4, 1),
            "igmp" => ip(IpFamily::V4, 2),
            "igrp" => ip(IpFamily::V4, 9),
            "vrrp" | "carp" => ip(IpFamily::V4, 112),
            "icmp6" => ip(IpFamily::V6, 58),
            "esp" => ip(IpFamily::Any, 50),
            "ah" => ip(IpFamily::Any, 51),
            "pim" => ip(IpFamily::Any, 103),
            _ => return None,
        })
    }

    fn name(self) -> String {
        match self {
            Self::Ether => "ether".to_owned(),
            other => other.alone().to_string(),
        }
    }

    /// What it asks when nothing follows it.
    fn alone(self) -> Primitive {
        match self {
            Self::Ether => Primitive::Greater(0),
            Self::Ip => Primitive::EtherType(0x0800),
            Self::Ip6 => Primitive::EtherType(0x86dd),
            Self::Arp => Primitive::EtherType(0x0806),
            Self::Rarp => Primitive::EtherType(0x8035),
            Self::Transport(transport) => {
                Primitive::IpProtocol { family: IpFamily::Any, number: transport.number() }
            }
            Self::Other(family, number) => Primitive::IpProtocol { family, number },
        }
    }
}

fn group(protocol: Option<Protocol>, word: &str) -> Option<Primitive> {
    Some(match (protocol, word) {
        (None | Some(Protocol::Ether), "broadcast") => Primitive::EtherBroadcast,
        (None | Some(Protocol::Ether), _) => Primitive::EtherMulticast,
        (Some(Protocol::Ip), "broadcast") => Primitive::IpBroadcast,
        (Some(Protocol::Ip), _) => Primitive::IpMulticast,
        (Some(Protocol::Ip6), "multicast") => Primitive::Ip6Multicast,
        _ => return None,
    })
}

/// Whether `word` says something about the value behind it.
fn is_qualifier(word: &str) -> bool {
    matches!(word, "src" | "dst" | "broadcast" | "multicast") || What::named(word).is_some()
}

/// What a person typed goes back to a terminal: nothing in it may move the cursor.
fn printable(text: String) -> String {
    if text.contains(char::is_control) { text.replace(char::is_control, "\u{fffd}") } else { text }
}

pub(super) fn is_keyword(word: &str) -> bool {
    KEYWORDS.contains(&word)
}

/// `port vxlan`: a keyword that is a service too.
fn is_value_too(qualifiers: Qualifiers, word: &str) -> bool {
    matches!(qualifiers.what, What::Port | What::PortRange)
        && names::number(SERVICES, word).is_some()
}

/// A number: decimal, `0x` hexadecimal or, with a leading zero, octal.
fn number(word: &str) -> Option<u64> {
    let (digits, radix) = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if word.len() > 1 && word.starts_with('0') => (word, 8),
        None => (word, 10),
    };
    // `from_str_radix` would take a sign.
    if digits.chars().all(|c| c.is_digit(radix)) {
        u64::from_str_radix(digits, radix).ok()
    } else {
        None
    }
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

/// The high `prefix_len` bits, at most 128.
pub(super) fn ipv6_mask(prefix_len: u8) -> u128 {
    !u128::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0)
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

/// More parentheses or changes between `and` and `or` than this are an accident or an attack.
const DEEPEST_NESTING: usize = 64;
const TOO_MANY_LEVELS: &str = "too many changes between `and` and `or`";
/// Room for some thousand addresses.
const LONGEST_EXPRESSION: usize = 65_536;
const MAX_VNI: u32 = 0xff_ffff;

/// Every word that means something by itself.
const KEYWORDS: &[&str] = &[
    "ah",
    "any",
    "arp",
    "broadcast",
    "carp",
    "dst",
    "erspan",
    "esp",
    "ether",
    "geneve",
    "gre",
    "greater",
    "host",
    "host-of",
    "icmp",
    "icmp6",
    "igmp",
    "igrp",
    "ip",
    "ip6",
    "less",
    "link",
    "mpls",
    "multicast",
    "net",
    "outer",
    "pim",
    "port",
    "portgroup",
    "portrange",
    "proto",
    "rarp",
    "sctp",
    "src",
    "tcp",
    "tenant",
    "udp",
    "vlan",
    "vm",
    "vni",
    "vrrp",
    "vxlan",
];

/// Words of pcap-filter(7) and of ours that will come.
const NOT_YET: &[&str] = &[
    "aarp",
    "atalk",
    "decnet",
    "etag",
    "gateway",
    "gtpu",
    "ifindex",
    "ifname",
    "inbound",
    "ipx",
    "iso",
    "len",
    "llc",
    "netbeui",
    "nvgre",
    "outbound",
    "pppoed",
    "pppoes",
    "protochain",
    "qinq",
    "stp",
    "vntag",
    "wlan",
];
