//! From words to a tree, as pcap-filter(7) reads them.
//!
//! `not` binds strongest; `and` and `or` bind equally, left to right. A value without a keyword
//! takes the qualifiers of the value before it: `port 80 or 443`.

mod calculation;
mod carriers;
mod values;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::arithmetic::{ACCESSORS, CONSTANTS};
use super::error::ParseError;
use super::expression::{Expression, ISIS_TYPES, IpFamily, LLC_KINDS, Primitive, Scope, Way};
use super::lower::Meanings;
use super::members::Members;
use super::names;
use super::numbers::number;
use super::resolver::{Name, NameKind, Resolver, UnknownName};
use super::token::{self, Kind, Token};
use words::{Protocol, Qualifiers, What, is_qualifier};

pub(super) use words::is_keyword;

/// A whole expression, and what its names mean.
pub(super) struct Understood {
    pub(super) expression: Expression,
    pub(super) meanings: Meanings,
}

/// Understands a whole expression.
pub(super) fn parse(text: &str, resolver: &dyn Resolver) -> Result<Understood, ParseError> {
    let mut parser = Parser {
        text,
        tokens: token::tokens(text),
        ends: Vec::new(),
        at: 0,
        nesting: 0,
        last: None,
        resolver,
        meanings: BTreeMap::new(),
    };
    if text.chars().count() > LONGEST_EXPRESSION {
        let place = Place { start: LONGEST_EXPRESSION, width: 1 };
        let message = format!("more than {LONGEST_EXPRESSION} characters");
        return Err(parser.error(place, message, None));
    }
    parser.ends = ends(&parser.tokens);
    if parser.tokens.is_empty() {
        return Ok(Understood { expression: Expression::EVERYTHING, meanings: BTreeMap::new() });
    }
    let Parsed { expression, .. } = parser.expression()?;
    match parser.peek() {
        None => Ok(Understood { expression, meanings: parser.meanings }),
        Some(Kind::Close) => Err(parser.wrong("this parenthesis closes nothing", None)),
        Some(_) => Err(parser.no_connective("expected `and` or `or` here")),
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    /// For each token that opens a parenthesis, the one that closes it.
    ends: Vec<usize>,
    at: usize,
    /// How many parentheses, scopes and negations are open.
    nesting: usize,
    /// What a value without a keyword is.
    last: Option<Qualifiers>,
    resolver: &'a dyn Resolver,
    /// The names explained so far.
    meanings: Meanings,
}

/// A part of the tree and how many levels it has.
struct Parsed {
    expression: Expression,
    depth: usize,
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
        if self.is_calculation() {
            self.last = None;
            return self.relation();
        }
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
            Some(Kind::Quoted(_)) => match self.last {
                Some(last @ Qualifiers { what: What::Named(_), .. }) => self.value(last),
                _ => Err(self.wrong("a name needs a word before it, as `vm`", None)),
            },
            Some(Kind::Close) => Err(self.wrong("expected an expression before `)`", None)),
            Some(Kind::And | Kind::Or) => Err(self.wrong("expected an expression before it", None)),
            Some(_) => Err(self.unknown()),
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
        if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == word) {
            return Err(self.wrong(*reason, None));
        }
        let start = self.at;
        self.at += 1;
        let primitive = match word {
            "less" => Primitive::Less(self.number_up_to("a length", u32::MAX)?),
            "greater" => Primitive::Greater(self.number_up_to("a length", u32::MAX)?),
            "inbound" => Primitive::Goes(Way::In),
            "outbound" => Primitive::Goes(Way::Out),
            "llc" => Primitive::Llc(self.llc_kind()),
            "clnp" => Primitive::IsoProtocol(0x81),
            "esis" | "es-is" => Primitive::IsoProtocol(0x82),
            "isis" | "is-is" => Primitive::IsoProtocol(0x83),
            _ => {
                let isis = ISIS_TYPES.iter().find(|(known, _)| *known == word);
                match (isis, self.carrier(word)?) {
                    (Some((known, _)), _) => Primitive::IsIs(known),
                    (None, Some(carrier)) => Primitive::Carrier(carrier),
                    (None, None) => {
                        self.at = start;
                        return self.bare_value(word);
                    }
                }
            }
        };
        self.last = None;
        Ok(Parsed::is(primitive))
    }

    fn llc_kind(&mut self) -> Option<super::expression::LlcKind> {
        let Some(Kind::Word(word)) = self.peek() else { return None };
        let kind = LLC_KINDS.iter().find(|kind| kind.name == word)?;
        self.at += 1;
        Some(*kind)
    }

    /// A value without a keyword of its own.
    fn bare_value(&mut self, word: &str) -> Result<Parsed, ParseError> {
        let is_value = word.starts_with(|c: char| c.is_ascii_digit())
            || word.contains([':', '.'])
            || self.last.is_some_and(|last| last.what != What::Host);
        match self.last {
            Some(last) if is_value => self.value(last),
            // pcap-filter(7) calls this a syntax error; an address can only mean one thing.
            None if word.contains('.') || word.contains(':') => {
                let what = if word.contains('/') { What::Net } else { What::Host };
                self.value(Qualifiers::of(what))
            }
            None if is_value => {
                let suggestion = number(word).map(|_| format!("port {word}"));
                Err(self.wrong("a number alone says nothing", suggestion))
            }
            _ => Err(self.unknown()),
        }
    }

    fn number_up_to(&mut self, what: &str, max: u32) -> Result<u32, ParseError> {
        let found = match self.peek() {
            Some(Kind::Word(word)) => number(word).and_then(|n| u32::try_from(n).ok()),
            _ => None,
        };
        match found.filter(|n| *n <= max) {
            Some(number) => {
                self.at += 1;
                Ok(number)
            }
            None => Err(self.wrong(format!("expected {what}, a number up to {max}"), None)),
        }
    }

    /// What the inventory says about `name`; an error marks the next word.
    fn explain(&mut self, name: &Name) -> Result<(), ParseError> {
        if self.meanings.contains_key(name) {
            return Ok(());
        }
        match self.resolver.members(name) {
            Ok(members) => {
                self.meanings.insert(name.clone(), Arc::new(Members::new(&members)));
                Ok(())
            }
            Err(unknown) => Err(self.unknown_name(name.kind, unknown)),
        }
    }

    fn unknown_name(
        &self,
        kind: NameKind,
        UnknownName { reason, nearest }: UnknownName,
    ) -> ParseError {
        let message = reason.unwrap_or_else(|| format!("no {kind} of this name"));
        self.wrong(message, nearest.into_iter().next())
    }

    /// Runs `inside` one level deeper.
    fn nested<T: Deep>(
        &mut self,
        inside: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        if self.nesting == DEEPEST_NESTING {
            return Err(self.wrong(format!("nested more than {DEEPEST_NESTING} levels"), None));
        }
        self.nesting += 1;
        let parsed = inside(self)?;
        self.nesting -= 1;
        if parsed.depth() >= DEEPEST_NESTING {
            return Err(self.wrong(format!("nested more than {DEEPEST_NESTING} levels"), None));
        }
        Ok(parsed)
    }

    fn close(&mut self) -> Result<(), ParseError> {
        match self.peek() {
            Some(Kind::Close) => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(self.no_connective("expected `and`, `or` or `)` here")),
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

    /// Two expressions stand beside each other.
    fn no_connective(&self, message: &str) -> ParseError {
        match self.peek() {
            Some(Kind::Operator(_) | Kind::Strange(_)) => self.unknown(),
            Some(Kind::Compare(_)) => {
                self.wrong("only numbers can be compared, as `ip[8] < 5`", None)
            }
            _ => self.wrong(message, None),
        }
    }

    /// The next word is not in the language.
    fn unknown(&self) -> ParseError {
        use super::arithmetic::Operator;

        match self.peek() {
            Some(Kind::Operator(Operator::And)) => self.wrong("a single `&`", Some("&&".into())),
            Some(Kind::Operator(Operator::Or)) => self.wrong("a single `|`", Some("||".into())),
            Some(Kind::Strange('"')) => self.wrong("this quotation mark has no second one", None),
            Some(Kind::OpenIndex) => {
                let known = ACCESSORS.iter().map(|(name, _)| *name);
                let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
                let near = match before.map(|token| token.kind) {
                    Some(Kind::Word(word)) => names::nearest(word, known),
                    _ => None,
                };
                let message = "bytes are taken from a header, as `ip[8]`, `tcp[13]`, `ether[0]`";
                self.wrong(message, near.map(|near| format!("{near}[")))
            }
            Some(Kind::Word(word)) => {
                self.wrong("not a word of the filter language", self.near_keyword(word))
            }
            _ => self.wrong("not understood", None),
        }
    }

    fn near_keyword(&self, word: &str) -> Option<String> {
        names::nearest(word, words::KEYWORDS.iter().copied()).map(ToOwned::to_owned)
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

/// A part of the tree that knows how deep it is.
trait Deep {
    fn depth(&self) -> usize;
}

impl Deep for Parsed {
    fn depth(&self) -> usize {
        self.depth
    }
}

impl Parsed {
    fn is(primitive: Primitive) -> Self {
        Self { expression: Expression::Is(primitive), depth: 1 }
    }

    fn wrap(self, outer: impl FnOnce(Expression) -> Expression) -> Self {
        Self { expression: outer(self.expression), depth: self.depth + 1 }
    }

    /// All of `expressions`, or any of them; there is at least one.
    fn any(mut expressions: Vec<Expression>) -> Self {
        match expressions.pop() {
            Some(only) if expressions.is_empty() => Self { expression: only, depth: 1 },
            Some(last) => {
                expressions.push(last);
                Self { expression: Expression::Any(expressions), depth: 2 }
            }
            None => Self { expression: Expression::Any(expressions), depth: 2 },
        }
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

/// For each token that opens a parenthesis, the one that closes it; for the others, and without
/// one, a number beyond all tokens.
fn ends(tokens: &[Token<'_>]) -> Vec<usize> {
    let mut ends = vec![usize::MAX; tokens.len()];
    let mut open = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open => open.push(at),
            Kind::Close => {
                if let Some(end) = open.pop().and_then(|start| ends.get_mut(start)) {
                    *end = at;
                }
            }
            _ => {}
        }
    }
    ends
}

/// Whether a word stands for a number in a calculation.
fn constant(word: &str) -> Option<u64> {
    names::number(CONSTANTS, word).map(u64::from).or_else(|| number(word))
}

/// The kind of IP that a protocol word before `proto` means.
fn family(protocol: Option<Protocol>) -> Option<IpFamily> {
    match protocol {
        None => Some(IpFamily::Any),
        Some(Protocol::Ip) => Some(IpFamily::V4),
        Some(Protocol::Ip6) => Some(IpFamily::V6),
        Some(_) => None,
    }
}

/// What a person typed goes back to a terminal: nothing in it may move the cursor.
fn printable(text: String) -> String {
    if text.contains(char::is_control) { text.replace(char::is_control, "\u{fffd}") } else { text }
}

/// More parentheses or changes between `and` and `or` than this are an accident or an attack.
const DEEPEST_NESTING: usize = 64;
const TOO_MANY_LEVELS: &str = "too many changes between `and` and `or`";
/// Room for some thousand addresses.
const LONGEST_EXPRESSION: usize = 65_536;

/// Words of pcap-filter(7) that are refused, and why.
const REFUSED: &[(&str, &str)] = &[
    (
        "gateway",
        "`gateway` needs the MAC and the addresses of a host by name; say both: \
         `ether host MAC and not host ADDRESS`",
    ),
    ("ifname", "`ifname` is known to the firewall of BSD only; choose the interface by --point"),
    ("ifindex", "`ifindex` is not in a packet; choose the interface by --point"),
    ("on", "`on` is known to the firewall of BSD only; choose the interface by --point"),
    ("rnr", "`rnr` is known to the firewall of BSD only; of LLC it is `llc rnr`"),
    ("rulenum", "`rulenum` is known to the firewall of BSD only"),
    ("reason", "`reason` is known to the firewall of BSD only"),
    ("rset", "`rset` is known to the firewall of BSD only"),
    ("ruleset", "`ruleset` is known to the firewall of BSD only"),
    ("srnr", "`srnr` is known to the firewall of BSD only"),
    ("subrulenum", "`subrulenum` is known to the firewall of BSD only"),
    ("action", "`action` is known to the firewall of BSD only"),
    ("type", "`type` is about frames of IEEE 802.11, which no VM sends"),
    ("subtype", "`subtype` is about frames of IEEE 802.11, which no VM sends"),
    ("dir", "`dir` is about frames of IEEE 802.11; which way a packet goes is `inbound`"),
    ("vpi", "`vpi` is about ATM, which no VM is connected to"),
    ("vci", "`vci` is about ATM, which no VM is connected to"),
    ("lane", "`lane` is about ATM, which no VM is connected to"),
    ("oamf4s", "`oamf4s` is about ATM, which no VM is connected to"),
    ("oamf4e", "`oamf4e` is about ATM, which no VM is connected to"),
    ("oam", "`oam` is about ATM, which no VM is connected to"),
    ("oamf4", "`oamf4` is about ATM, which no VM is connected to"),
    ("metac", "`metac` is about ATM, which no VM is connected to"),
    ("bcc", "`bcc` is about ATM, which no VM is connected to"),
    ("sc", "`sc` is about ATM, which no VM is connected to"),
    ("ilmic", "`ilmic` is about ATM, which no VM is connected to"),
    ("connectmsg", "`connectmsg` is about ATM, which no VM is connected to"),
    ("metaconnect", "`metaconnect` is about ATM, which no VM is connected to"),
    ("sio", "`sio` is about telephone signalling (SS7), which no VM is connected to"),
    ("opc", "`opc` is about telephone signalling (SS7), which no VM is connected to"),
    ("dpc", "`dpc` is about telephone signalling (SS7), which no VM is connected to"),
    ("sls", "`sls` is about telephone signalling (SS7), which no VM is connected to"),
    ("fisu", "`fisu` is about telephone signalling (SS7), which no VM is connected to"),
    ("lssu", "`lssu` is about telephone signalling (SS7), which no VM is connected to"),
    ("msu", "`msu` is about telephone signalling (SS7), which no VM is connected to"),
    ("hsio", "`hsio` is about telephone signalling (SS7), which no VM is connected to"),
    ("hopc", "`hopc` is about telephone signalling (SS7), which no VM is connected to"),
    ("hdpc", "`hdpc` is about telephone signalling (SS7), which no VM is connected to"),
    ("hsls", "`hsls` is about telephone signalling (SS7), which no VM is connected to"),
    ("hfisu", "`hfisu` is about telephone signalling (SS7), which no VM is connected to"),
    ("hlssu", "`hlssu` is about telephone signalling (SS7), which no VM is connected to"),
    ("hmsu", "`hmsu` is about telephone signalling (SS7), which no VM is connected to"),
    ("radio", "`radio` is about what is put before frames of IEEE 802.11, which no VM sends"),
];
