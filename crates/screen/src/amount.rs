//! Numbers that change every second, in few columns: three digits and a unit.

/// A rate in bits for each second, of bytes for each second: `1.2 Mbit/s`.
pub fn bits(bytes_per_s: f64) -> String {
    let (number, unit) =
        scaled(bytes_per_s * 8.0, 1000.0, &["bit/s", "kbit/s", "Mbit/s", "Gbit/s"]);
    format!("{number} {unit}")
}

/// Bytes in binary units: `980 B`, `1.5 MiB`.
pub fn bytes(bytes: u64) -> String {
    let (number, unit) = scaled(float(bytes), 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"]);
    format!("{number} {unit}")
}

/// A count, every digit of it: `1 234 567`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (number, digit) in digits.chars().enumerate() {
        if number > 0 && (digits.len() - number).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Something for each second: `0`, `3.7`, `12`, `45.1k`.
pub(crate) fn per_second(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 {
        return format!("{rate:.1}");
    }
    let (number, unit) = scaled(rate, 1000.0, &["", "k", "M", "G"]);
    format!("{number}{unit}")
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub(crate) const fn float(count: u64) -> f64 {
    count as f64
}

fn scaled(mut number: f64, step: f64, units: &[&'static str]) -> (String, &'static str) {
    let mut units = units.iter();
    let first = units.next().copied().unwrap_or_default();
    // 999.6 would be shown as 1000.
    if number < step - 0.5 {
        return (format!("{number:.0}"), first);
    }
    let mut unit = first;
    for larger in units {
        if number < step - 0.5 {
            break;
        }
        number /= step;
        unit = larger;
    }
    let decimals = usize::from(number < 99.95);
    (format!("{number:.decimals$}"), unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_three_digits_and_a_unit() {
        assert_eq!(bits(0.0), "0 bit/s");
        assert_eq!(bits(124.9), "999 bit/s");
        assert_eq!(bits(125.0), "1.0 kbit/s");
        assert_eq!(bits(1.25e6), "10.0 Mbit/s");
        assert_eq!(bits(1.25e10), "100 Gbit/s");
        assert_eq!(per_second(0.0), "0");
        assert_eq!(per_second(3.66), "3.7");
        assert_eq!(per_second(45_100.0), "45.1k");
    }

    #[test]
    fn bytes_have_binary_units_and_counts_every_digit() {
        assert_eq!(bytes(980), "980 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(3 << 19), "1.5 MiB");
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1 234 567");
    }
}
