//! Sizes and times as people type them.

use std::time::Duration;

/// Bytes: a number with an optional unit, decimal (`MB`) or binary (`MiB`, `M`).
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    match parse_bytes_or_none(text)? {
        0 => Err("must be more than 0".into()),
        bytes => Ok(bytes),
    }
}

/// Bytes of kernel memory for one ring.
pub(crate) fn parse_buffer(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text)?;
    match capture::RingSize::MOST_BYTES {
        most if bytes > most => Err(format!("a ring has at most {}", show_bytes(most))),
        _ => Ok(bytes),
    }
}

/// The same, where 0 has a meaning.
pub(crate) fn parse_bytes_or_none(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return Err(format!("`{unit}` is no unit of size; use B, kB, MB, GB, KiB, MiB, GiB")),
    };
    let bytes = if number.contains('.') {
        let number: f64 = number.parse().map_err(|_| format!("`{number}` is not a number"))?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "saturates, and nobody needs the byte after a decimal point"
        )]
        Some((number * factor as f64) as u64)
    } else {
        let number: u64 =
            number.parse().map_err(|_| format!("`{text}` does not begin with a number"))?;
        number.checked_mul(factor)
    };
    bytes.ok_or_else(|| format!("`{text}` is too much"))
}

/// Bytes for people, in binary units: `10 GiB`, `1.5 MiB`, `1 208 bytes`.
pub(crate) fn show_bytes(bytes: u64) -> String {
    let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB")];
    let Some((size, unit)) = units.into_iter().find(|(size, _)| bytes >= *size) else {
        return format!("{} bytes", agent::grouped(bytes));
    };
    match u128::from(bytes) * 10 / u128::from(size) {
        tenths if tenths % 10 == 0 => format!("{} {unit}", tenths / 10),
        tenths => format!("{}.{} {unit}", tenths / 10, tenths % 10),
    }
}

/// A time: seconds, or with units: `90s`, `5m`, `1h30m`, `500ms`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => text
            .parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|duration| Duration::try_from(duration).ok()),
    };
    match duration {
        Some(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(format!("`{text}` is no time; use for example 90s, 5m or 1h30m")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        assert_eq!(parse_bytes("100"), Ok(100));
        assert_eq!(parse_bytes("100MB"), Ok(100_000_000));
        assert_eq!(parse_bytes("64MiB"), Ok(64 << 20));
        assert_eq!(parse_bytes("1.5k"), Ok(1536));
        assert!(parse_bytes("0").is_err());
        assert_eq!(parse_buffer("2GiB"), Ok(2 << 30));
        assert!(parse_buffer("2049MiB").unwrap_err().contains("2 GiB"));
        assert_eq!(parse_bytes_or_none("0"), Ok(0));
        for wrong in ["", "MB", "1 parsec", "0", "99999999999999999999", "18446744073709551615k"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit_that_fits() {
        assert_eq!(show_bytes(0), "0 bytes");
        assert_eq!(show_bytes(1208), "1 208 bytes");
        assert_eq!(show_bytes(10 << 30), "10 GiB");
        assert_eq!(show_bytes((3 << 20) / 2), "1.5 MiB");
        assert_eq!(show_bytes(u64::MAX), "16777215.9 TiB");
    }

    #[test]
    fn times_are_seconds_unless_they_say_otherwise() {
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "0", "-5", "soon", "5 parsecs", "nan"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
