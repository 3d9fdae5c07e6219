//! Numbers as they are asked for: one, a range, a list of both, or any.

use std::fmt;

/// Which numbers are meant. Without a range every number is, and its absence too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Numbers(Vec<Range>);

/// First and last of some numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Range {
    pub(crate) first: u32,
    pub(crate) last: u32,
}

impl Numbers {
    /// Every number.
    pub(crate) const ANY: Self = Self(Vec::new());

    /// `5`, `5-9` or `1,5-9,12`, each at most `max`; `None` if it is not that.
    pub(crate) fn parse(text: &str, max: u32) -> Option<Self> {
        let ranges: Option<Vec<Range>> = text.split(',').map(|part| range(part, max)).collect();
        let mut ranges = ranges?;
        ranges.sort_unstable();
        // What touches becomes one, so that every list has one form.
        let mut joined: Vec<Range> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match joined.last_mut() {
                Some(last) if range.first <= last.last.saturating_add(1) => {
                    last.last = last.last.max(range.last);
                }
                _ => joined.push(range),
            }
        }
        Some(Self(joined))
    }

    /// Whether every number is meant.
    pub(crate) fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `number` is meant.
    pub(crate) fn has(&self, number: u32) -> bool {
        self.is_any() || self.0.iter().any(|range| (range.first..=range.last).contains(&number))
    }

    /// The same for a number that may be missing.
    pub(crate) fn may_be(&self, number: Option<u32>) -> bool {
        self.is_any() || number.is_some_and(|number| self.has(number))
    }

    /// The ranges, ascending, with gaps between them.
    pub(crate) fn ranges(&self) -> &[Range] {
        &self.0
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Range { first, last }) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str(",")?;
            }
            write!(f, "{first}")?;
            if last != first {
                write!(f, "-{last}")?;
            }
        }
        Ok(())
    }
}

fn range(text: &str, max: u32) -> Option<Range> {
    let one = |text| number(text).and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= max);
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (one(first)?, one(last)?),
        None => (one(text)?, one(text)?),
    };
    Some(Range { first: first.min(last), last: first.max(last) })
}

/// A number: decimal, `0x` hexadecimal or, with a leading zero, octal.
pub(crate) fn number(word: &str) -> Option<u64> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_one_form() {
        let form = |text| Numbers::parse(text, 100).map(|numbers| numbers.to_string());
        assert_eq!(form("7"), Some("7".into()));
        assert_eq!(form("9-7,1"), Some("1,7-9".into()));
        assert_eq!(form("1,2,3,0x5"), Some("1-3,5".into()));
        assert_eq!(form("101"), None);
        assert_eq!(form("1,"), None);
        assert_eq!(form("1-2-3"), None);
        let some = Numbers::parse("1,7-9", 100).unwrap();
        assert_eq!(
            [0, 1, 2, 7, 9, 10].map(|n| some.has(n)),
            [false, true, false, true, true, false]
        );
        assert!(Numbers::ANY.has(5) && Numbers::ANY.may_be(None) && !some.may_be(None));
    }
}
