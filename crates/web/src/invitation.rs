//! A word that logs one browser in, once: for whoever started the controller on this computer and
//! shall not have to paste a token.
//!
//! The word is for a link, behind its `#`, so that it is in no request but the one that hands it
//! in. What it stands for never leaves this process.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use data_encoding::BASE64URL_NOPAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

/// Who is told the next word, when the one before was used.
type Teller = Box<dyn Fn(&str) + Send + Sync>;

/// A word for a browser, and after it the next one.
pub struct Invitation {
    /// The token that a browser gets a cookie for.
    token: String,
    /// The digest of the word that is good now.
    open: Mutex<Vec<u8>>,
    tell: Teller,
}

impl Invitation {
    /// Stands for `token`. When the door opens `tell` is told the first word, and whenever one was
    /// used the next.
    pub fn new(token: String, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { token, open: Mutex::new(Vec::new()), tell: Box::new(tell) }
    }

    /// Makes a word and tells it; the one before is good no more. Without randomness there is none.
    pub(crate) fn open(&self) {
        let mut secret = [0; 18];
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clear();
        if SystemRandom::new().fill(&mut secret).is_ok() {
            let word = BASE64URL_NOPAD.encode(&secret);
            *open = key(&word);
            drop(open);
            (self.tell)(&word);
        }
    }

    /// The token for a word, if it is the one that is good; then it is no more.
    pub(crate) fn redeem(&self, word: &str) -> Option<String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // Digests are compared: how long it takes says nothing of the word.
        if open.is_empty() || *open != key(word.trim()) {
            return None;
        }
        open.clear();
        drop(open);
        self.open();
        Some(self.token.clone())
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation").finish_non_exhaustive()
    }
}

fn key(word: &str) -> Vec<u8> {
    digest(&SHA256, word.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_word_is_good_once_and_another_takes_its_place() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let invitation = Invitation::new("ovtu_1".into(), {
            let told = Arc::clone(&told);
            move |word| told.lock().unwrap().push(word.to_owned())
        });
        assert_eq!(invitation.redeem(""), None, "nothing is good before there is a word");
        invitation.open();
        let first = told.lock().unwrap()[0].clone();
        assert_eq!(first.len(), 24);
        assert_eq!(invitation.redeem("guessed"), None);
        assert_eq!(invitation.redeem(&format!(" {first}\n")), Some("ovtu_1".into()));
        assert_eq!(invitation.redeem(&first), None);
        let words = told.lock().unwrap().clone();
        assert_eq!(words.len(), 2);
        assert_ne!(words[0], words[1]);
        assert_eq!(invitation.redeem(&words[1]), Some("ovtu_1".into()));
    }
}
