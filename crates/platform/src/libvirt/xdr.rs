//! External data representation, as far as libvirt uses it (RFC 4506): big-endian words, and
//! text padded to them.

/// Writes values one after the other.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// An unsigned word.
    #[must_use]
    pub(super) fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// A signed word.
    #[must_use]
    pub(super) fn i32(mut self, value: i32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Bytes whose number both sides know.
    #[must_use]
    pub(super) fn fixed(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// Text with its length.
    #[must_use]
    pub(super) fn string(self, text: &str) -> Self {
        let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
        self.u32(len).fixed(text.as_bytes())
    }

    /// All that was written.
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// Reads values one after the other; `None` where they are cut or too long.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// From the first byte of `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// An unsigned word.
    pub(super) fn u32(&mut self) -> Option<u32> {
        let (word, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*word))
    }

    /// A signed word.
    pub(super) fn i32(&mut self) -> Option<i32> {
        self.u32().map(u32::cast_signed)
    }

    /// Bytes whose number both sides know.
    pub(super) fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    /// Text of at most `max` bytes; what is not UTF-8 in it is replaced.
    pub(super) fn string(&mut self, max: usize) -> Option<String> {
        let len = usize::try_from(self.u32()?).ok().filter(|len| *len <= max)?;
        Some(String::from_utf8_lossy(self.bytes(len)?).into_owned())
    }

    /// What is read by `read` if it is there at all.
    pub(super) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.u32()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    /// A list of at most `max` elements. The number in the message is not trusted with memory.
    pub(super) fn list<T>(
        &mut self,
        max: usize,
        mut read: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let len = usize::try_from(self.u32()?).ok().filter(|len| *len <= max)?;
        let mut elements = Vec::new();
        for _ in 0..len {
            elements.push(read(self)?);
        }
        Some(elements)
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let bytes = self.0.get(..len)?;
        self.0 = self.0.get(len.checked_next_multiple_of(4)?..)?;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_padded_to_a_word() {
        let bytes = Writer::default().u32(1).string("qemu:").i32(-1).finish();
        let expected = [
            0, 0, 0, 1, // optional value is there
            0, 0, 0, 5, b'q', b'e', b'm', b'u', b':', 0, 0, 0, // five bytes, padded to eight
            0xff, 0xff, 0xff, 0xff, // -1
        ];
        assert_eq!(bytes, expected);
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.option(|r| r.string(5)), Some(Some("qemu:".to_owned())));
        assert_eq!(reader.i32(), Some(-1));
        assert_eq!(reader.u32(), None);
    }

    #[test]
    fn more_than_allowed_is_not_read() {
        let bytes = Writer::default().string("too long").finish();
        assert_eq!(Reader::new(&bytes).string(7), None);
        assert_eq!(Reader::new(&[0xff; 8]).list(16384, Reader::u32), None);
        // The padding is missing.
        assert_eq!(Reader::new(&[0, 0, 0, 1, b'x']).string(9), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text in any::<String>(), number in any::<i32>(), id in any::<[u8; 16]>()) {
            let bytes = Writer::default().string(&text).i32(number).fixed(&id).finish();
            prop_assert_eq!(bytes.len() % 4, 0);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.string(1 << 20), Some(text));
            prop_assert_eq!(reader.i32(), Some(number));
            prop_assert_eq!(reader.fixed(), Some(id));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut reader = Reader::new(&bytes);
            let _ = reader.list(100, |r| r.string(100));
            let _ = reader.option(Reader::u32);
            let _ = reader.fixed::<16>();
        }
    }
}
