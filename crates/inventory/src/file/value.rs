//! The values of an inventory file: each is checked where it is read, so that the error has the
//! place of the value.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use wire::{Mac, Timestamp};

use crate::facts::Uuid;
use crate::text;

/// A table that is read as `W` and then checked as a whole.
///
/// As `#[serde(try_from)]`, but what is wrong has the place of this table and not of the one around
/// it.
pub(super) fn checked<'de, W, T, D>(from: D) -> Result<T, D::Error>
where
    W: Deserialize<'de>,
    T: TryFrom<W, Error = String>,
    D: Deserializer<'de>,
{
    struct OfTable<W, T>(PhantomData<(W, T)>);

    impl<'de, W, T> Visitor<'de> for OfTable<W, T>
    where
        W: Deserialize<'de>,
        T: TryFrom<W, Error = String>,
    {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table of keys and values")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            W::deserialize(MapAccessDeserializer::new(map))?.try_into().map_err(de::Error::custom)
        }
    }

    from.deserialize_map(OfTable(PhantomData))
}

/// RFC 3339, as text or as TOML's own date and time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time(pub(super) Timestamp);

impl Time {
    fn parse<E: de::Error>(text: &str) -> Result<Self, E> {
        text::time::read(text).map(Self).ok_or_else(|| {
            E::custom(format_args!(
                "`{text}` is no time with its zone from 1970 on; write it as 2026-11-21T10:00:00Z"
            ))
        })
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OfTime;

        impl<'de> Visitor<'de> for OfTime {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time as 2026-11-21T10:00:00Z")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                Time::parse(text)
            }

            /// How the toml crate hands over its dates.
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Time, A::Error> {
                let date = toml::value::Datetime::deserialize(MapAccessDeserializer::new(map))?;
                Time::parse(&date.to_string())
            }
        }

        from.deserialize_any(OfTime)
    }
}

/// A name that is not empty and holds nothing that could move a terminal's cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word(pub(super) String);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text.trim().is_empty() {
            return Err(de::Error::custom("a name may not be empty; leave the key out"));
        }
        if text.contains(char::is_control) {
            return Err(de::Error::custom(format_args!(
                "the name {text:?} has a control character in it"
            )));
        }
        Ok(Self(text))
    }
}

/// The MAC of one card: neither a group's nor zero.
pub(super) fn mac<'de, D: Deserializer<'de>>(from: D) -> Result<Mac, D::Error> {
    let text = String::deserialize(from)?;
    let mac: Mac =
        text.parse().map_err(|error| de::Error::custom(format_args!("`{text}` is {error}")))?;
    if mac.is_group() || mac.is_zero() {
        return Err(de::Error::custom(format_args!("no card can have the MAC {mac}")));
    }
    Ok(mac)
}

/// A UUID, or nothing.
pub(super) fn uuid<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Uuid>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
    let uuid = text.parse().map_err(|_| {
        de::Error::custom(format_args!(
            "`{text}` is no UUID: expected 32 hexadecimal digits, in groups of 8-4-4-4-12"
        ))
    })?;
    Ok(Some(uuid))
}
