//! How values that are not ours are written in JSON: as their text, or as a plain number.
//!
//! Modules for `#[serde(with = ...)]`.

/// A value as its text: MACs, UUIDs, addresses.
pub(crate) mod word {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<T: Display, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// As [`word`], or null.
pub(crate) mod optional_word {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(crate) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().map(ToString::to_string).serialize(to)
    }

    pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = Option::<String>::deserialize(from)?;
        text.map(|t| t.parse().map_err(de::Error::custom)).transpose()
    }
}

/// A VLAN or VNI as its number, or null.
pub(crate) mod optional_number {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
    use wire::{VlanId, Vni};

    pub(crate) trait Number: Copy {
        fn number(self) -> u32;
        fn checked(number: u32) -> Option<Self>;
    }

    impl Number for VlanId {
        fn number(self) -> u32 {
            self.value().into()
        }

        fn checked(number: u32) -> Option<Self> {
            u16::try_from(number).ok().and_then(Self::new)
        }
    }

    impl Number for Vni {
        fn number(self) -> u32 {
            self.value()
        }

        fn checked(number: u32) -> Option<Self> {
            Self::new(number)
        }
    }

    pub(crate) fn serialize<T: Number, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(Number::number).serialize(to)
    }

    pub(crate) fn deserialize<'de, T: Number, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        let number = Option::<u32>::deserialize(from)?;
        number
            .map(|n| T::checked(n).ok_or_else(|| de::Error::custom("number out of range")))
            .transpose()
    }
}

/// A time as RFC 3339 in UTC, to the nanosecond.
pub(crate) mod time {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use wire::Timestamp;

    pub(crate) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&written(*time))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        read(&String::deserialize(from)?).ok_or_else(|| de::Error::custom("not an RFC 3339 time"))
    }

    pub(crate) fn written(time: Timestamp) -> String {
        // The year 2554 is far below the year 9999 where jiff ends.
        let time = jiff::Timestamp::from_nanosecond(time.as_nanos().into());
        time.map(|t| t.to_string()).unwrap_or_default()
    }

    pub(crate) fn read(text: &str) -> Option<Timestamp> {
        let time: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(time.as_nanosecond()).ok().map(Timestamp::from_nanos)
    }
}

/// As [`time`], or null.
pub(crate) mod optional_time {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
    use wire::Timestamp;

    use super::time;

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(time::written).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|t| time::read(&t).ok_or_else(|| de::Error::custom("not an RFC 3339 time")))
            .transpose()
    }
}
