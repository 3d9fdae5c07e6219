//! Times as people type and read them.

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Zoned};
use wire::Timestamp;

/// The time now.
pub(super) fn now() -> Timestamp {
    let nanos = u64::try_from(jiff::Timestamp::now().as_nanosecond());
    nanos.map_or(Timestamp::ZERO, Timestamp::from_nanos)
}

/// Reads a time: RFC 3339, a local date and time, a time of day (the last one that was), or so
/// long ago.
pub(super) fn parse(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let text = text.trim();
    let wrong = || {
        format!(
            "`{text}` is no time; use for example 2026-11-21T10:03:00Z, '2026-11-21 10:03', \
             10:03 or '10 minutes ago'"
        )
    };
    let time = read(text, now).ok_or_else(wrong)?;
    if time > now.timestamp() {
        return Err(format!("`{text}` is in the future"));
    }
    u64::try_from(time.as_nanosecond()).map(Timestamp::from_nanos).map_err(|_| wrong())
}

fn read(text: &str, now: &Zoned) -> Option<jiff::Timestamp> {
    if text == "now" {
        return Some(now.timestamp());
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time);
    }
    // The date first: jiff takes the time of day out of a date and time as well.
    if let Ok(local) = text.parse::<DateTime>() {
        return Some(local.to_zoned(now.time_zone().clone()).ok()?.timestamp());
    }
    // `9:03:07` alone would be a span of nine hours to jiff.
    let is_short = text.find(':') == Some(1);
    if let Ok(time) = format!("{}{text}", if is_short { "0" } else { "" }).parse::<Time>() {
        let today = now.with().time(time).build().ok()?;
        let day = if today > *now { today.checked_sub(Span::new().days(1)).ok()? } else { today };
        return Some(day.timestamp());
    }
    let span: Span = text.parse().ok()?;
    // `10 minutes` can only mean `10 minutes ago` here.
    let back = if span.is_negative() { span } else { -span };
    Some(now.checked_add(back).ok()?.timestamp())
}

/// A time for reading: without the date if it is today's.
pub(super) fn show(time: Timestamp, zone: &TimeZone) -> String {
    let Some(time) = zoned(time, zone) else { return "an impossible time".to_owned() };
    let is_today = time.date() == Zoned::now().with_time_zone(zone.clone()).date();
    time.strftime(if is_today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" }).to_string()
}

/// A time to the millisecond, for lines that follow each other.
pub(super) fn show_exact(time: Timestamp, zone: &TimeZone) -> String {
    let time = zoned(time, zone);
    time.map(|t| t.strftime("%H:%M:%S%.3f").to_string()).unwrap_or_default()
}

/// RFC 3339 in UTC.
pub(super) fn rfc3339(time: Timestamp) -> String {
    zoned(time, &TimeZone::UTC).map(|t| t.timestamp().to_string()).unwrap_or_default()
}

fn zoned(time: Timestamp, zone: &TimeZone) -> Option<Zoned> {
    let time = jiff::Timestamp::from_nanosecond(time.as_nanos().into()).ok()?;
    Some(time.to_zoned(zone.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, String> {
        let now: Zoned = "2026-11-21T10:00:00[UTC]".parse().unwrap();
        parse(text, &now).map(rfc3339)
    }

    #[test]
    fn times_are_read_as_people_mean_them() {
        for (text, time) in [
            ("2026-11-21T09:03:00Z", "2026-11-21T09:03:00Z"),
            ("2026-11-21T09:03:00+02:00", "2026-11-21T07:03:00Z"),
            ("2026-11-20 23:15", "2026-11-20T23:15:00Z"),
            ("09:03", "2026-11-21T09:03:00Z"),
            ("9:03:07", "2026-11-21T09:03:07Z"),
            // Not yet ten past ten today, so yesterday's.
            ("10:10", "2026-11-20T10:10:00Z"),
            ("10 minutes ago", "2026-11-21T09:50:00Z"),
            ("10m", "2026-11-21T09:50:00Z"),
            ("2h 30m ago", "2026-11-21T07:30:00Z"),
            ("now", "2026-11-21T10:00:00Z"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(time), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_or_not_yet_is_refused() {
        assert!(parsed("soon").unwrap_err().starts_with("`soon` is no time"));
        assert!(parsed("").is_err());
        assert_eq!(parsed("2027-01-01 00:00").unwrap_err(), "`2027-01-01 00:00` is in the future");
    }
}
