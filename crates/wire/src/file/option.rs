//! Options: the list of codes and values at the end of most pcapng blocks.
//!
//! ```text
//!  code u16 | length u16 without padding | value | padding to a multiple of 4
//! ```

use std::borrow::Cow;
use std::fmt;

use super::block::code;
use super::order::{ByteOrder, Fields, padded};

/// The options of one block, in the file's order, up to their end or to the first bad one.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    bytes: &'a [u8],
    order: ByteOrder,
}

impl<'a> Options<'a> {
    pub(crate) const fn new(bytes: &'a [u8], order: ByteOrder) -> Self {
        Self { bytes, order }
    }

    /// No options, as records of classic pcap have.
    pub const fn none() -> Self {
        Self::new(&[], ByteOrder::NATIVE)
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes they have in the file.
    pub(crate) const fn byte_len(self) -> usize {
        self.bytes.len()
    }

    pub(crate) const fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) const fn order(self) -> ByteOrder {
        self.order
    }

    /// All comments, in order.
    pub fn comments(self) -> impl Iterator<Item = Text<'a>> {
        self.filter(|option| option.code == code::COMMENT).map(|option| Text::new(option.value))
    }

    /// The first option with this code, if it is there.
    pub fn value_of(mut self, code: u16) -> Option<&'a [u8]> {
        self.find(|option| option.code == code).map(|option| option.value)
    }

    pub(crate) fn text(self, code: u16) -> Option<Text<'a>> {
        self.value_of(code).map(Text::new)
    }

    pub(crate) fn u64(self, code: u16) -> Option<u64> {
        Some(self.order.u64(self.value_of(code)?.try_into().ok()?))
    }

    /// The code of the first option that is longer than its block, or not as long as
    /// `length_of` its code; one that cannot even tell its code has the code 0xffff.
    pub(crate) fn first_bad(mut self, length_of: impl Fn(u16) -> Option<usize>) -> Option<u16> {
        let wrong = self.find(|option| {
            length_of(option.code).is_some_and(|length| length != option.value.len())
        });
        wrong.map(|option| option.code).or_else(|| self.unread_code())
    }

    /// The code of the option that could not be shown, once all before it were: none if the list
    /// came to its end.
    pub(crate) fn unread_code(&self) -> Option<u16> {
        if self.bytes.is_empty() {
            return None;
        }
        Some(Fields::new(self.bytes, self.order).u16().unwrap_or(u16::MAX))
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = FileOption<'a>;

    fn next(&mut self) -> Option<FileOption<'a>> {
        let mut fields = Fields::new(self.bytes, self.order);
        let code = fields.u16()?;
        let length = usize::from(fields.u16()?);
        if code == code::END {
            self.bytes = &[];
            return None;
        }
        let value = fields.bytes(length)?;
        // The padding of the last option may be missing; that harms nobody.
        self.bytes = fields.rest().get(padded(length) - length..).unwrap_or_default();
        Some(FileOption { code, value })
    }
}

/// One option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileOption<'a> {
    /// What it means, for this kind of block.
    pub code: u16,
    /// Its value without padding.
    pub value: &'a [u8],
}

/// Text from a capture file: said to be UTF-8, never trusted to be.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// The bytes up to the first NUL, which some writers add against the standard.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.split(|&byte| byte == 0).next().unwrap_or_default())
    }

    /// The bytes as they are in the file.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The text, with U+FFFD where it is not UTF-8.
    pub fn to_str(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.0)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_str())
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_str())
    }
}
