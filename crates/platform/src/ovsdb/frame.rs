//! JSON-RPC 1.0 on a stream: objects follow each other without a separator (RFC 7047,
//! section 4).
//!
//! The end of each object is found here and not by a reading deserializer, which would never
//! recover from a read that had to wait.

use std::ops::Range;

/// Finds whole JSON objects in bytes that arrive in pieces.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    bytes: Vec<u8>,
    /// How many of them have been looked at.
    scanned: usize,
    depth: u32,
    is_in_string: bool,
    is_escaped: bool,
}

/// Why the stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unframed {
    /// Something else than an object between objects.
    #[error("the peer does not speak JSON-RPC: byte {0:#04x} where an object should begin")]
    NotAnObject(u8),
    /// An object that does not end within [`MESSAGE_MAX`].
    #[error("a message is longer than {} MiB", MESSAGE_MAX >> 20)]
    TooLong,
}

impl Framer {
    /// Where to append what arrives.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Takes the next whole object, if there is one.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, Unframed> {
        if self.depth == 0 {
            let is_space = |byte: &u8| byte.is_ascii_whitespace();
            let spaces = self.bytes.iter().take_while(|byte| is_space(byte)).count();
            self.discard(0..spaces);
            if let Some(byte) = self.bytes.first().filter(|byte| **byte != b'{') {
                return Err(Unframed::NotAnObject(*byte));
            }
        }
        while let Some(byte) = self.bytes.get(self.scanned).copied() {
            self.scanned += 1;
            if self.is_in_string {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.is_in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.is_in_string = true,
                b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            if self.depth == 0 {
                return Ok(Some(self.discard(0..self.scanned)));
            }
        }
        if self.bytes.len() > MESSAGE_MAX { Err(Unframed::TooLong) } else { Ok(None) }
    }

    /// Removes bytes from the front; what follows has not been looked at.
    fn discard(&mut self, range: Range<usize>) -> Vec<u8> {
        self.scanned = 0;
        self.bytes.drain(range).collect()
    }
}

/// The whole database of a host with thousands of ports is a few MiB.
pub(crate) const MESSAGE_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn objects(framer: &mut Framer) -> Result<Vec<String>, Unframed> {
        let mut all = Vec::new();
        while let Some(object) = framer.next()? {
            all.push(String::from_utf8(object).unwrap());
        }
        Ok(all)
    }

    #[test]
    fn objects_follow_each_other_without_separator() {
        let mut framer = Framer::default();
        framer.bytes().extend_from_slice(br#"{"a":"}{\""}{"b":[{}]} {"#);
        assert_eq!(objects(&mut framer).unwrap(), [r#"{"a":"}{\""}"#, r#"{"b":[{}]}"#]);
        framer.bytes().extend_from_slice(b"}");
        assert_eq!(objects(&mut framer).unwrap(), ["{}"]);
    }

    #[test]
    fn what_is_no_object_ends_the_stream() {
        let mut framer = Framer::default();
        framer.bytes().extend_from_slice(b"{}\nHTTP/1.1 400");
        assert_eq!(framer.next(), Ok(Some(b"{}".to_vec())));
        assert_eq!(framer.next(), Err(Unframed::NotAnObject(b'H')));
    }

    #[test]
    fn a_message_without_end_is_refused() {
        let mut framer = Framer::default();
        framer.bytes().push(b'{');
        framer.bytes().resize(MESSAGE_MAX + 1, b' ');
        assert_eq!(framer.next(), Err(Unframed::TooLong));
    }

    proptest! {
        #[test]
        fn objects_come_out_whole_however_they_are_cut(
            texts in proptest::collection::vec(any::<String>(), 1..5), cut in 1_usize..40,
        ) {
            let sent: Vec<String> =
                texts.iter().map(|t| serde_json::json!({ "t": [t, {}] }).to_string()).collect();
            let mut framer = Framer::default();
            let mut received = Vec::new();
            for piece in sent.concat().as_bytes().chunks(cut) {
                framer.bytes().extend_from_slice(piece);
                received.extend(objects(&mut framer).unwrap());
            }
            prop_assert_eq!(received, sent);
        }
    }
}
