//! Texts that occur again and again, each kept once and called by a number.

use std::fmt::Display;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use arrow_array::StringArray;
use arrow_array::builder::StringBuilder;
use hashbrown::HashMap;
use wire::Mac;

/// The number of a text; nothing is [`NO_TEXT`].
pub(crate) type TextNumber = u32;

/// The number of no text.
pub(crate) const NO_TEXT: TextNumber = u32::MAX;

/// A table with room for keys that come from the wire: the hash is seeded for each process.
pub(crate) type Table<K, V> = HashMap<K, V, ahash::RandomState>;

/// Each text once.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    numbers: Table<Box<str>, TextNumber>,
    /// Addresses are looked up as numbers: writing them costs more than finding them.
    addresses: Table<IpAddr, TextNumber>,
    macs: Table<Mac, TextNumber>,
    texts: StringBuilder,
    bytes: usize,
}

impl Texts {
    /// The number of a text.
    pub(crate) fn number(&mut self, text: &str) -> TextNumber {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(self.numbers.len()).unwrap_or(NO_TEXT);
        self.numbers.insert(text.into(), number);
        self.texts.append_value(text);
        self.bytes += 2 * text.len() + 32;
        number
    }

    /// The number of an address as text.
    pub(crate) fn address(&mut self, address: IpAddr) -> TextNumber {
        match self.addresses.get(&address) {
            Some(number) => *number,
            None => {
                let number = self.number(&address.to_string());
                remember(&mut self.addresses, address, number)
            }
        }
    }

    /// The number of a MAC address as text; none for zeros.
    pub(crate) fn mac(&mut self, mac: Mac) -> TextNumber {
        if mac.is_zero() {
            return NO_TEXT;
        }
        match self.macs.get(&mac) {
            Some(number) => *number,
            None => {
                let number = self.number(&mac.to_string());
                remember(&mut self.macs, mac, number)
            }
        }
    }

    /// All texts by their numbers.
    pub(crate) fn array(&self) -> Arc<StringArray> {
        Arc::new(self.texts.finish_cloned())
    }

    /// About how much memory they take.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

fn remember<K: Hash + Eq + Display>(
    table: &mut Table<K, TextNumber>,
    key: K,
    number: TextNumber,
) -> TextNumber {
    table.insert(key, number);
    number
}
