//! Comments on a capture that wait to be written.
//!
//! They are written with the next packet, so that a reader meets them where they belong.

use wire::file::comment_len;

/// Comments that wait for the next packet.
#[derive(Debug, Default)]
pub(crate) struct Comments {
    texts: Vec<String>,
    /// What they take in the file.
    bytes: usize,
    left_out: u64,
}

impl Comments {
    pub(crate) fn add(&mut self, mut text: String) {
        text.truncate(text.floor_char_boundary(MAX_ONE_COMMENT_BYTES));
        let bytes = self.bytes + comment_len(&text);
        if bytes > MAX_COMMENT_BYTES - LEFT_OUT_BYTES {
            self.left_out += 1;
        } else {
            self.bytes = bytes;
            self.texts.push(text);
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    pub(crate) fn all(&self) -> Vec<String> {
        let mut texts = self.texts.clone();
        if self.left_out > 0 {
            texts.push(format!("{} more comments were left out", self.left_out));
        }
        texts
    }
}

/// What comments waiting for a packet may take in a file; every file keeps room for them.
pub(crate) const MAX_COMMENT_BYTES: usize = 4096;
const MAX_ONE_COMMENT_BYTES: usize = 1024;
/// Room for the word about comments left out.
const LEFT_OUT_BYTES: usize = 64;
