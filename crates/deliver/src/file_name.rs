//! Names of ring files: `BASE_NNNNN_YYYYmmddHHMMSS.pcapng`, in UTC.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use wire::Timestamp;

/// The parts of the names that stay the same.
#[derive(Debug, Clone)]
pub(crate) struct RingName {
    base: OsString,
    extension: OsString,
}

impl RingName {
    /// From `dir/web` or `dir/web.pcapng`: base `web`, extension `pcapng`. `None` without a name.
    pub(crate) fn new(path: &Path) -> Option<Self> {
        let name = path.file_name()?;
        let extension = path.extension().filter(|end| *end == "pcapng" || *end == "ntar");
        let base = if extension.is_some() { path.file_stem()? } else { name };
        let extension = extension.unwrap_or(OsStr::new("pcapng"));
        Some(Self { base: base.to_owned(), extension: extension.to_owned() })
    }

    /// The name of file `number`, begun at `time`.
    pub(crate) fn of(&self, number: u64, time: Timestamp) -> OsString {
        let mut name = self.base.clone();
        name.push(format!("_{number:05}_{}.", compact_utc(time)));
        name.push(&self.extension);
        name
    }
}

/// `YYYYmmddHHMMSS` in UTC.
fn compact_utc(time: Timestamp) -> String {
    let (days, second) = (time.seconds() / 86_400, time.seconds() % 86_400);
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
}

/// Year, month and day of the Gregorian calendar, `days` after 1 January 1970.
///
/// Years are counted from March, so that the leap day is the last of its year, in eras of 400
/// years, which all have 146 097 days.
const fn civil_date(days: u64) -> (u64, u64, u64) {
    // 719 468 days lie between 1 March of year 0 and 1 January 1970.
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Five months from March on have 153 days.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // From `date -u -d @SECONDS +%Y%m%d%H%M%S`.
        for (seconds, text) in [
            (0, "19700101000000"),
            (951_782_399, "20000228235959"),
            (951_782_400, "20000229000000"),
            (951_868_800, "20000301000000"),
            (1_709_164_800, "20240229000000"),
            (1_735_689_599, "20241231235959"),
            (4_107_542_400, "21000301000000"),
            (4_107_542_399, "21000228235959"),
        ] {
            assert_eq!(compact_utc(Timestamp::from_parts(seconds, 0)), text);
        }
    }

    #[test]
    fn an_extension_is_kept_and_not_doubled() {
        let time = Timestamp::from_parts(951_782_400, 0);
        for base in ["dir/web", "dir/web.pcapng"] {
            let name = RingName::new(Path::new(base)).unwrap();
            assert_eq!(name.of(7, time), "web_00007_20000229000000.pcapng");
        }
        let name = RingName::new(Path::new("web-01.example.org")).unwrap();
        assert_eq!(name.of(100_000, time), "web-01.example.org_100000_20000229000000.pcapng");
        assert!(RingName::new(Path::new("/")).is_none());
    }
}
