//! An expression cut into words.

use super::arithmetic::{Compare, Operator};

/// A word, where it begins and how long it is, in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) start: usize,
    pub(super) width: usize,
}

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// A keyword, number, address or name.
    Word(&'a str),
    /// A name in quotes, without them.
    Quoted(&'a str),
    Open,
    Close,
    And,
    Or,
    Not,
    /// `[`
    OpenIndex,
    /// `]`
    CloseIndex,
    /// `:` within an index.
    Colon,
    /// Between two numbers: `+`, a single `&`.
    Operator(Operator),
    /// Between two numbers that are compared.
    Compare(Compare),
    /// A character that the language does not have.
    Strange(char),
}

/// Cuts `text` into words. Blanks separate and mean nothing else.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let mut rest = text;
    let (mut start, mut indices) = (0, 0_usize);
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            start += 1;
            rest = rest.strip_prefix(first).unwrap_or_default();
            continue;
        }
        let (kind, bytes) = match first {
            '"' => quoted(rest),
            ':' if indices > 0 => (Kind::Colon, 1),
            c if is_in_word(c) && !(c == '/' || c == '-' || c == ',' || c == ':') => {
                word(rest, indices > 0)
            }
            _ => sign(rest, first),
        };
        match kind {
            Kind::OpenIndex => indices += 1,
            Kind::CloseIndex => indices = indices.saturating_sub(1),
            _ => {}
        }
        let (taken, left) = rest.split_at_checked(bytes).unwrap_or((rest, ""));
        let width = taken.chars().count();
        tokens.push(Token { kind, start, width });
        start += width;
        rest = left;
    }
    tokens
}

fn quoted(rest: &str) -> (Kind<'_>, usize) {
    match rest.get(1..).and_then(|inside| inside.split_once('"')) {
        Some((name, _)) => (Kind::Quoted(name), name.len() + 2),
        None => (Kind::Strange('"'), 1),
    }
}

fn word(rest: &str, is_in_index: bool) -> (Kind<'_>, usize) {
    let is_number = rest.starts_with(|c: char| c.is_ascii_digit());
    // Between brackets `:` and the signs of arithmetic stand for themselves; `tcp-syn` is a word.
    let goes_on = |c: char| {
        let is_sign = matches!(c, ':' | '/' | ',' | '.') || (c == '-' && is_number);
        is_in_word(c) && !(is_in_index && is_sign)
    };
    let first = rest.chars().next().map_or(0, char::len_utf8);
    let behind = rest.get(first..).unwrap_or_default();
    let mut bytes = first + behind.find(|c| !goes_on(c)).unwrap_or(behind.len());
    // `len/2`: only addresses and numbers have a slash.
    if rest.starts_with("len/") {
        bytes = 3;
    }
    let kind = match rest.get(..bytes).unwrap_or(rest) {
        "and" => Kind::And,
        "or" => Kind::Or,
        "not" => Kind::Not,
        word => Kind::Word(word),
    };
    (kind, bytes)
}

fn sign(rest: &str, first: char) -> (Kind<'_>, usize) {
    for (text, kind) in SIGNS {
        if rest.starts_with(text) {
            return (*kind, text.len());
        }
    }
    // An address may begin with `::`.
    if first == ':' {
        let bytes = rest.find(|c| !is_in_word(c)).unwrap_or(rest.len());
        if let Some(word) = rest.get(..bytes).filter(|word| word.len() > 1) {
            return (Kind::Word(word), bytes);
        }
        return (Kind::Colon, 1);
    }
    (Kind::Strange(first), first.len_utf8())
}

/// `\` is how pcap-filter(7) says that a keyword is meant as a name: `ip proto \tcp`; `$` begins an
/// address of ARCnet.
fn is_in_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | ':' | '/' | '-' | '_' | '\\' | ',' | '$')
}

/// Longer signs first.
const SIGNS: &[(&str, Kind<'static>)] = &[
    ("&&", Kind::And),
    ("||", Kind::Or),
    ("!=", Kind::Compare(Compare::Unequal)),
    ("==", Kind::Compare(Compare::Equal)),
    (">=", Kind::Compare(Compare::AtLeast)),
    ("<=", Kind::Compare(Compare::AtMost)),
    ("<<", Kind::Operator(Operator::ShiftLeft)),
    (">>", Kind::Operator(Operator::ShiftRight)),
    ("=", Kind::Compare(Compare::Equal)),
    (">", Kind::Compare(Compare::Above)),
    ("<", Kind::Compare(Compare::Below)),
    ("(", Kind::Open),
    (")", Kind::Close),
    ("[", Kind::OpenIndex),
    ("]", Kind::CloseIndex),
    ("!", Kind::Not),
    ("+", Kind::Operator(Operator::Add)),
    ("-", Kind::Operator(Operator::Subtract)),
    ("*", Kind::Operator(Operator::Multiply)),
    ("/", Kind::Operator(Operator::Divide)),
    ("%", Kind::Operator(Operator::Remainder)),
    ("&", Kind::Operator(Operator::And)),
    ("|", Kind::Operator(Operator::Or)),
    ("^", Kind::Operator(Operator::Xor)),
];
