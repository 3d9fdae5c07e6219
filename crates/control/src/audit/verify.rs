//! Whether a chain is whole, and where it first is not.

use crate::audit::{Entry, Hash, Head};

/// What is first wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes of an entry are not those its hash was made of.
    #[error("entry {seq} was changed: its hash is {stored}, its text has {found}")]
    Changed {
        /// Which entry.
        seq: u64,
        /// The hash it is stored with.
        stored: Hash,
        /// The hash of what it says now.
        found: Hash,
    },
    /// The body of an entry is no entry of an audit log.
    #[error("entry {seq} cannot be read: {because}")]
    Unreadable {
        /// Which entry.
        seq: u64,
        /// Why.
        because: String,
    },
    /// Entries are missing before one.
    #[error("entries {first} to {last} are missing")]
    Removed {
        /// The first that is missing.
        first: u64,
        /// The last that is missing.
        last: u64,
    },
    /// An entry stands where an earlier or the same one stood already.
    #[error("entry {found} stands where entry {expected} belongs")]
    OutOfOrder {
        /// The number that belongs here.
        expected: u64,
        /// The number that is here.
        found: u64,
    },
    /// An entry names another predecessor than the one before it: one of the two was replaced by
    /// a new one with a hash of its own.
    #[error("entry {seq} does not continue the entry before it: one of the two was replaced")]
    Replaced {
        /// The later of the two.
        seq: u64,
    },
    /// The chain ends before a head that was kept.
    #[error("entries {} to {kept} are missing at the end", end + 1)]
    Truncated {
        /// The last entry there is.
        end: u64,
        /// The last entry there was.
        kept: u64,
    },
    /// The chain goes on as it should, but it is another one than the kept head is of.
    #[error("entry {seq} is not the one whose hash was kept: the log was made anew before it")]
    OtherChain {
        /// The entry the kept head is of.
        seq: u64,
    },
}

/// What was found to be whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// The head of the chain, worth keeping elsewhere.
    pub head: Head,
    /// The last entry that a kept head vouches for; 0 where there was none. Entries after it might
    /// have been rewritten by whoever can write the store.
    pub vouched: u64,
}

/// Verifies `entries`, from the first one on, against heads that were `kept` elsewhere.
pub fn verify<'a>(
    entries: impl IntoIterator<Item = &'a Entry>,
    kept: &[Head],
) -> Result<Verified, Fault> {
    let mut verifier = Verifier::new(kept.to_vec());
    entries.into_iter().try_for_each(|entry| verifier.take(entry))?;
    verifier.finish()
}

/// Verifies a chain that comes entry by entry, however long it is.
#[derive(Debug, Clone)]
pub struct Verifier {
    head: Head,
    kept: Vec<Head>,
}

impl Verifier {
    /// Begins before the first entry.
    pub const fn new(kept: Vec<Head>) -> Self {
        Self { head: Head::EMPTY, kept }
    }

    /// Takes the next entry.
    pub fn take(&mut self, entry: &Entry) -> Result<(), Fault> {
        let expected = self.head.seq + 1;
        let found = Hash::of(&entry.body);
        if found != entry.hash {
            return Err(Fault::Changed { seq: entry.seq, stored: entry.hash, found });
        }
        let link: Link = serde_json::from_str(&entry.body)
            .map_err(|error| Fault::Unreadable { seq: entry.seq, because: error.to_string() })?;
        // The number it was stored under is no part of the hash; the one in its body is.
        for found in [link.seq, entry.seq] {
            if found > expected {
                return Err(Fault::Removed { first: expected, last: found - 1 });
            }
            if found < expected {
                return Err(Fault::OutOfOrder { expected, found });
            }
        }
        if link.previous != self.head.hash {
            return Err(Fault::Replaced { seq: expected });
        }
        self.head = entry.head();
        if self.kept.iter().any(|kept| kept.seq == expected && kept.hash != entry.hash) {
            return Err(Fault::OtherChain { seq: expected });
        }
        Ok(())
    }

    /// Says what was found after the last entry.
    pub fn finish(self) -> Result<Verified, Fault> {
        let kept = self.kept.iter().map(|kept| kept.seq).max().unwrap_or(0);
        let end = self.head.seq;
        if kept > end {
            return Err(Fault::Truncated { end, kept });
        }
        Ok(Verified { head: self.head, vouched: kept })
    }
}

/// What the chain needs of a body.
#[derive(serde::Deserialize)]
struct Link {
    seq: u64,
    previous: Hash,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::{Action, Answer, Draft, Who};

    fn draft(number: usize) -> Draft {
        Draft {
            at: jiff::Timestamp::from_second(number.try_into().unwrap()).unwrap(),
            who: Who::User("ann".parse().unwrap()),
            from: "10.0.0.9:51000".to_owned(),
            action: Action::Capture,
            subject: format!("tcp port {number}"),
            machines: vec![],
            answer: Answer::Granted,
            reason: "line\nbreak \"quoted\" ü".to_owned(),
        }
    }

    fn chain(len: usize) -> Vec<Entry> {
        let mut head = Head::EMPTY;
        let mut next = |number| {
            let entry = draft(number).chain(head).unwrap();
            head = entry.head();
            entry
        };
        (0..len).map(&mut next).collect()
    }

    /// What someone who may write the store does to hide a change: all hashes from `from` on anew.
    fn relink(entries: &mut [Entry], from: usize) {
        let mut head = match from {
            0 => Head::EMPTY,
            _ => entries[from - 1].head(),
        };
        for entry in &mut entries[from..] {
            let mut body: serde_json::Value = serde_json::from_str(&entry.body).unwrap();
            body["seq"] = (head.seq + 1).into();
            body["previous"] = head.hash.to_string().into();
            let body = body.to_string();
            *entry = Entry { seq: head.seq + 1, hash: Hash::of(&body), body };
            head = entry.head();
        }
    }

    #[test]
    fn a_whole_chain_gives_its_head() {
        let entries = chain(3);
        let found = verify(&entries, &[entries[1].head()]).unwrap();
        assert_eq!(found, Verified { head: entries[2].head(), vouched: 2 });
        assert_eq!(verify(&[], &[]), Ok(Verified { head: Head::EMPTY, vouched: 0 }));
    }

    #[test]
    fn the_first_body_is_these_bytes() {
        let entry = &chain(1)[0];
        let body = concat!(
            r#"{"seq":1,"previous":"#,
            r#""0000000000000000000000000000000000000000000000000000000000000000","#,
            r#""at":"1970-01-01T00:00:00Z","who":{"user":"ann"},"from":"10.0.0.9:51000","#,
            r#""action":"capture","subject":"tcp port 0","machines":[],"more_machines":0,"#,
            r#""answer":"granted","reason":"line\nbreak \"quoted\" ü"}"#,
        );
        assert_eq!(entry.body, body);
        let hash = "fe9c0bc226ce7b40983c15d4c7803af2b37aef8aed54029eb9594424cf1cf114";
        assert_eq!(entry.hash.to_string(), hash, "printf %s BODY | sha256sum");
    }

    #[test]
    fn a_changed_entry_is_the_first_fault() {
        let mut entries = chain(4);
        entries[2].body = entries[2].body.replace("capture", "find");
        entries[3].body.clear();
        let found = verify(&entries, &[]);
        assert!(matches!(found, Err(Fault::Changed { seq: 3, .. })), "{found:?}");
    }

    #[test]
    fn a_changed_entry_with_a_new_hash_breaks_the_link() {
        let mut entries = chain(4);
        entries[1].body = entries[1].body.replace("capture", "find");
        entries[1].hash = Hash::of(&entries[1].body);
        assert_eq!(verify(&entries, &[]), Err(Fault::Replaced { seq: 3 }));
    }

    #[test]
    fn removed_moved_and_doubled_entries_are_named() {
        let whole = chain(5);
        let of = |order: &[usize]| {
            let entries: Vec<Entry> = order.iter().map(|at| whole[*at].clone()).collect();
            verify(&entries, &[]).unwrap_err()
        };
        assert_eq!(of(&[0, 3, 4]), Fault::Removed { first: 2, last: 3 });
        assert_eq!(of(&[1, 2]), Fault::Removed { first: 1, last: 1 });
        assert_eq!(of(&[0, 2, 1, 3]), Fault::Removed { first: 2, last: 2 });
        assert_eq!(of(&[0, 1, 1, 2]), Fault::OutOfOrder { expected: 3, found: 2 });
    }

    #[test]
    fn a_removed_entry_whose_place_was_taken_by_the_next_is_found() {
        let mut entries = chain(4);
        entries.remove(1);
        // Only the numbers they are stored under: their bodies know better.
        entries[1].seq = 2;
        entries[2].seq = 3;
        assert_eq!(verify(&entries, &[]), Err(Fault::Removed { first: 2, last: 2 }));
    }

    #[test]
    fn a_cut_end_is_seen_with_a_head_that_was_kept_and_only_then() {
        let entries = chain(4);
        let kept = entries[3].head();
        assert!(verify(&entries[..2], &[]).is_ok());
        assert_eq!(verify(&entries[..2], &[kept]), Err(Fault::Truncated { end: 2, kept: 4 }));
    }

    #[test]
    fn a_log_made_anew_is_seen_with_a_head_that_was_kept_and_only_then() {
        let mut entries = chain(5);
        let kept = entries[3].head();
        entries.remove(1);
        relink(&mut entries, 1);
        assert!(verify(&entries, &[]).is_ok());
        assert_eq!(verify(&entries, &[kept]), Err(Fault::OtherChain { seq: 4 }));
    }

    #[test]
    fn endless_words_are_cut() {
        let long = "ä".repeat(100_000);
        let machine = crate::grants::MachineFacts {
            id: "written:x".parse().unwrap(),
            name: long.clone(),
            tenant: Some(long.clone()),
        };
        let draft = Draft {
            subject: long.clone(),
            reason: long.clone(),
            who: Who::Unknown(long),
            machines: vec![machine; 1000],
            ..draft(0)
        };
        let entry = draft.chain(Head::EMPTY).unwrap();
        let body = entry.read().unwrap();
        assert_eq!((body.machines.len(), body.more_machines), (256, 744));
        assert_eq!(body.reason.chars().count(), 1001);
        assert!(entry.body.len() < 256 * 4200, "{}", entry.body.len());
    }

    #[test]
    fn an_entry_of_a_later_release_still_counts() {
        let body = chain(1)[0].body.replace("\"capture\"", "\"teleport\",\"news\":7");
        let entry = Entry { seq: 1, hash: Hash::of(&body), body };
        assert!(verify([&entry], &[]).is_ok());
        assert_eq!(entry.read().unwrap().action, Action::Other);
    }

    proptest! {
        /// Whatever is done to the stored bytes of one entry, it is found there or at the next.
        #[test]
        fn no_byte_can_be_changed(len in 1..6_usize, which in any::<proptest::sample::Index>(),
            place in any::<proptest::sample::Index>(), letter in "[ -~]", rehash in any::<bool>())
        {
            let mut entries = chain(len);
            let kept = entries[len - 1].head();
            let which = which.index(len);
            let body = &mut entries[which].body;
            let at = place.index(body.len());
            prop_assume!(body.is_char_boundary(at) && body.is_char_boundary(at + 1));
            prop_assume!(body[at..=at] != letter);
            body.replace_range(at..=at, &letter);
            if rehash {
                entries[which].hash = Hash::of(&entries[which].body);
            }
            prop_assert!(verify(&entries, &[kept]).is_err());
        }
    }
}
