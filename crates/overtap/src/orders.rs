//! What users, tokens, grants and agents have in common: an order to the controller, and times
//! that lie ahead.

use anyhow::{Context, bail};
use control::admin::{Command, Made, Reply};
use control::ca::Certificate;
use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Timestamp, Zoned};
use remote::Login;

use crate::controller::Far;
use crate::exit::WrongUsage;

/// Has the controller carry out `command`.
pub(crate) fn order(command: &Command) -> anyhow::Result<Reply> {
    let far = Far::open()?;
    let json = far.wait(far.connection.administer(serde_json::to_string(command)?))?;
    serde_json::from_str(&json).context("the controller's answer makes no sense")
}

/// The token that was made.
pub(crate) fn made(reply: Reply) -> anyhow::Result<Made> {
    match reply {
        Reply::Made(made) => Ok(made),
        _ => unexpected(),
    }
}

/// The controller answered something else than was asked.
pub(crate) fn unexpected<T>() -> anyhow::Result<T> {
    bail!("the controller answered something else; it may be of another release")
}

/// What a user types to log in with a token at the controller of this login.
pub(crate) fn login_line(login: &Login, token: &str) -> anyhow::Result<String> {
    let ca = Certificate::from_pem(&login.controller.ca_pem)?.fingerprint();
    Ok(format!("overtap login {} --ca {ca} --token {token}", login.controller.address))
}

/// A time that is still to come: RFC 3339, a local date with or without a time, or so long from
/// now (`30d`, `8h`).
pub(crate) fn ahead(text: &str, now: &Zoned) -> anyhow::Result<Timestamp> {
    let zone = now.time_zone().clone();
    let local = |at: DateTime| at.to_zoned(zone.clone()).ok().map(|at| at.timestamp());
    let date = || text.parse::<Date>().ok().filter(|_| !text.contains([':', 'T']));
    let span = || text.parse::<jiff::Span>().ok().and_then(|span| now.checked_add(span).ok());
    let time = (text.parse().ok())
        .or_else(|| date().and_then(|date| local(date.at(0, 0, 0, 0))))
        .or_else(|| text.parse::<DateTime>().ok().and_then(local))
        .or_else(|| span().map(|at| at.timestamp()));
    match time {
        Some(time) if time > now.timestamp() => Ok(time),
        Some(_) => Err(WrongUsage(format!("`{text}` is over already")).into()),
        None => Err(WrongUsage(format!(
            "`{text}` is no time; use for example 30d, 8h, 2026-12-31, '2026-12-31 18:00' or \
             2026-12-31T18:00:00Z"
        ))
        .into()),
    }
}

/// A length of time, as `parse_duration` reads it.
pub(crate) fn parse_length(text: &str) -> Result<SignedDuration, String> {
    let length = crate::quantity::parse_duration(text)?;
    SignedDuration::try_from(length).map_err(|_| format!("`{text}` is too long"))
}

/// A time for reading, local; a dash where there is none.
pub(crate) fn shown(time: Option<Timestamp>) -> String {
    let local = |time: Timestamp| {
        let zone = jiff::tz::TimeZone::system();
        time.to_zoned(zone).strftime("%Y-%m-%d %H:%M").to_string()
    };
    time.map_or_else(|| "-".to_owned(), local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_ahead_is_a_date_a_time_or_so_long_from_now() {
        let now: Zoned = "2026-11-21T18:00:00[UTC]".parse().unwrap();
        let cases = [
            ("2026-12-31", "2026-12-31T00:00:00Z"),
            ("2026-12-31 18:00", "2026-12-31T18:00:00Z"),
            ("2026-12-31T18:00:00+01:00", "2026-12-31T17:00:00Z"),
            ("30d", "2026-12-21T18:00:00Z"),
            ("8h", "2026-11-22T02:00:00Z"),
            ("2 weeks", "2026-12-05T18:00:00Z"),
        ];
        for (text, expected) in cases {
            assert_eq!(ahead(text, &now).unwrap().to_string(), expected, "{text}");
        }
        for text in ["2026-11-21", "-3h", "2026-11-21T18:00:00Z"] {
            let error = ahead(text, &now).unwrap_err().to_string();
            assert_eq!(error, format!("`{text}` is over already"));
        }
        for text in ["", "soon", "30"] {
            assert!(ahead(text, &now).unwrap_err().to_string().contains("is no time"), "{text}");
        }
    }
}
