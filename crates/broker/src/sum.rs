//! The Internet checksum (RFC 1071), and its change when bytes become zero (RFC 1624).

/// A sum of 16-bit words in ones' complement, not folded yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum(u64);

impl Sum {
    /// Adds bytes that begin at an even offset of what is summed; of an odd end the low byte is 0.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let (words, last) = bytes.as_chunks::<2>();
        for word in words {
            self.0 += u64::from(u16::from_be_bytes(*word));
        }
        if let [last] = last {
            self.0 += u64::from(*last) << 8;
        }
    }

    /// Adds bytes that begin at `offset` of what is summed, odd or even.
    pub(crate) fn add_at(&mut self, offset: usize, bytes: &[u8]) {
        if offset.is_multiple_of(2) {
            return self.add(bytes);
        }
        if let [first, rest @ ..] = bytes {
            self.0 += u64::from(*first);
            self.add(rest);
        }
    }

    /// Adds one word.
    pub(crate) const fn add_word(&mut self, word: u16) {
        self.0 += word as u64;
    }

    /// Adds another sum.
    pub(crate) const fn add_sum(&mut self, other: Self) {
        self.0 += other.folded() as u64;
    }

    /// Subtracts another sum.
    pub(crate) const fn subtract(&mut self, other: Self) {
        self.0 += !other.folded() as u64;
    }

    /// The sum in 16 bits.
    #[allow(clippy::cast_possible_truncation)]
    pub(crate) const fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// The checksum of what was added.
    pub(crate) const fn checksum(self) -> u16 {
        !self.folded()
    }
}

/// What the checksum at `at` becomes when words that it covers, whose sum is `gone`, become zero:
/// right if it was right, and else as wrong as it was.
pub(crate) fn without(data: &mut [u8], at: usize, gone: Sum) {
    if let Some(field) = data.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<2>) {
        // RFC 1624, equation 3, with m' = 0: HC' = ~(~HC + ~m) = HC + m.
        let mut sum = gone;
        sum.add_word(u16::from_be_bytes(*field));
        *field = sum.folded().to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroed_words_leave_a_right_checksum_right() {
        let mut data = [0x45, 0, 0, 20, 0x12, 0x34, 0, 0, 64, 17, 0, 0, 10, 1, 2, 3, 10, 4, 5, 6];
        let mut sum = Sum::default();
        sum.add(&data);
        data[10..12].copy_from_slice(&sum.checksum().to_be_bytes());
        let mut gone = Sum::default();
        gone.add(&data[12..20]);
        without(&mut data, 10, gone);
        data[12..20].fill(0);
        let mut sum = Sum::default();
        sum.add(&data);
        assert_eq!(sum.checksum(), 0);
    }
}
