//! What a person types: files and expression, times; and Ctrl-C.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use select::{Filter, Resolver};
use wire::Timestamp;

use crate::exit::WrongUsage;

/// The files and the expression: it begins with the first word, but the very first, that names no
/// file.
pub(crate) fn split(words: &[String]) -> Result<(Vec<PathBuf>, String), WrongUsage> {
    let is_file = |word: &String| word == "-" || Path::new(word).exists();
    let files = words.iter().take_while(|word| is_file(word)).count().max(1);
    let (files, expression) = words.split_at_checked(files).unwrap_or((words, &[]));
    if files.iter().filter(|word| *word == "-").count() > 1 {
        return Err(WrongUsage("standard input can be read only once".into()));
    }
    let late = expression.iter().find(|word| {
        word.contains(['/', '.']) && Path::new(word).is_file() && Filter::parse(word).is_err()
    });
    if let (Some(late), Some(first)) = (late, expression.first()) {
        return Err(WrongUsage(format!(
            "`{first}` is no file, so the expression begins there, but {late} is one; \
             name files first, and check the name of the one before it"
        )));
    }
    Ok((files.iter().map(PathBuf::from).collect(), expression.join(" ")))
}

/// The expression as a filter; none if it is empty.
pub(crate) fn parse_filter(
    expression: &str,
    names: &dyn Resolver,
) -> Result<Option<Filter>, WrongUsage> {
    if expression.trim().is_empty() {
        return Ok(None);
    }
    Filter::parse_with(expression, names).map(Some).map_err(|error| {
        WrongUsage(format!("no such file, and cannot understand it as a filter\n{error}"))
    })
}

/// A time: RFC 3339, a local date and time, or seconds since 1970.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    let wrong = || {
        format!(
            "`{text}` is no time; use for example 2026-11-21T10:03:00Z, '2026-11-21 10:03' or \
             1795255380.5"
        )
    };
    if let Some(time) = seconds(text) {
        return Ok(time);
    }
    let time = match text.parse::<jiff::Timestamp>() {
        Ok(time) => time,
        Err(_) => {
            let local = text.parse::<DateTime>().map_err(|_| wrong())?;
            local.to_zoned(TimeZone::system()).map_err(|_| wrong())?.timestamp()
        }
    };
    u64::try_from(time.as_nanosecond()).map(Timestamp::from_nanos).map_err(|_| wrong())
}

/// Seconds since 1970, to the nanosecond.
fn seconds(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if seconds.is_empty() || !is_number(seconds) || !is_number(fraction) {
        return None;
    }
    let nanos = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(Timestamp::from_parts(seconds.parse().ok()?, nanos))
}

/// The first signal asks for the end and for complete files, the second ends at once.
pub(crate) fn on_signals(stop: &Arc<AtomicBool>) -> std::io::Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(stop))?;
        signal_hook::flag::register(signal, Arc::clone(stop))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_or_seconds() {
        let time = Timestamp::from_nanos(1_795_255_380_500_000_000);
        assert_eq!(parse_time("1795255380.5"), Ok(time));
        assert_eq!(parse_time("2026-11-21T10:03:00.5Z"), Ok(time));
        assert_eq!(parse_time("0"), Ok(Timestamp::ZERO));
        for wrong in ["", "soon", "12:", "1.2.3", "-5"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_expression_begins_with_the_first_word_that_is_no_file() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (files, expression) = split(&words("- tcp port 443")).unwrap();
        assert_eq!((files, expression.as_str()), (vec![PathBuf::from("-")], "tcp port 443"));
        let (files, expression) = split(&words("no-such-file")).unwrap();
        assert_eq!((files.len(), expression.as_str()), (1, ""), "it is told when it is opened");
    }
}
