//! Teredo: IPv6 carried in UDP through address translation.

use crate::{Cursor, Layer, Stop};

/// What may stand between UDP and the IPv6 packet (RFC 4380, section 5.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Teredo {
    /// Bytes of the authentication and origin indications; 0 is usual.
    pub len: usize,
}

impl Teredo {
    /// Reads the indications at `cursor` and leaves `cursor` on the IPv6 header.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let start = cursor.offset();
            if cursor.ahead().starts_with(&AUTHENTICATION) {
                let [_, _, id_len, value_len] = *cursor.take::<4>(Layer::Teredo)?;
                // Behind identifier and value a nonce of 8 bytes and a confirmation byte follow.
                let rest = usize::from(id_len) + usize::from(value_len) + 9;
                cursor.take_slice(Layer::Teredo, rest)?;
            }
            if cursor.ahead().starts_with(&ORIGIN) {
                cursor.take::<8>(Layer::Teredo)?;
            }
            Ok(Self { len: cursor.offset() - start })
        })
    }
}

const AUTHENTICATION: [u8; 2] = [0, 1];
const ORIGIN: [u8; 2] = [0, 0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_indications_are_passed_over() {
        let bytes = [
            0, 1, 0, 4, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0,
            0, // authentication, value of 4 bytes
            0, 0, 1, 2, 3, 4, 5, 6, // origin
            0x60,
        ];
        assert_eq!(Teredo::decode(&mut Cursor::new(&bytes)), Ok(Teredo { len: 25 }));
        assert_eq!(Teredo::decode(&mut Cursor::new(&[0x60])), Ok(Teredo { len: 0 }));
    }
}
