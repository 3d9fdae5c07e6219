//! An expression cut into words.

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
    Open,
    Close,
    And,
    Or,
    Not,
    /// A name in quotes, without them.
    Quoted(&'a str),
    /// A character that the language does not have, or not yet.
    Strange(char),
}

/// Cuts `text` into words. Blanks separate and mean nothing else.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut start = 0;
    while let Some(first) = rest.chars().next() {
        let (kind, bytes) = match first {
            blank if blank.is_whitespace() => {
                start += 1;
                rest = rest.strip_prefix(first).unwrap_or_default();
                continue;
            }
            '(' => (Kind::Open, 1),
            ')' => (Kind::Close, 1),
            '!' => (Kind::Not, 1),
            '"' => match rest.split('"').nth(1).filter(|name| name.len() + 1 < rest.len()) {
                Some(name) => (Kind::Quoted(name), name.len() + 2),
                None => (Kind::Strange('"'), 1),
            },
            '&' if rest.starts_with("&&") => (Kind::And, 2),
            '|' if rest.starts_with("||") => (Kind::Or, 2),
            c if is_in_word(c) => {
                let bytes = rest.find(|c| !is_in_word(c)).unwrap_or(rest.len());
                match rest.get(..bytes).unwrap_or(rest) {
                    "and" => (Kind::And, bytes),
                    "or" => (Kind::Or, bytes),
                    "not" => (Kind::Not, bytes),
                    word => (Kind::Word(word), bytes),
                }
            }
            strange => (Kind::Strange(strange), strange.len_utf8()),
        };
        let (taken, left) = rest.split_at_checked(bytes).unwrap_or((rest, ""));
        let width = taken.chars().count();
        tokens.push(Token { kind, start, width });
        start += width;
        rest = left;
    }
    tokens
}

/// `\` is how pcap-filter(7) says that a keyword is meant as a name: `ip proto \tcp`.
fn is_in_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | ':' | '/' | '-' | '_' | '\\')
}
