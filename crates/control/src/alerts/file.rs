//! The file of alerts; docs/reference/alerts.md has its words.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;

use super::{Alert, Talker, When};

/// Why a file of alerts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is no such file.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// An alert makes no sense.
    #[error("alert `{name}`: {what}")]
    Alert {
        /// Which.
        name: String,
        /// What is wrong with it.
        what: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    alerts: Vec<Written>,
}

/// An alert as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    when: String,
    to: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(rename = "for")]
    lasting: Option<String>,
    more_than: Option<u64>,
    within: Option<String>,
    unseen: Option<String>,
}

impl Alert {
    /// Reads a file of alerts.
    ///
    /// # Errors
    /// When it is not TOML, or an alert in it makes no sense.
    pub fn read(text: &str) -> Result<Vec<Self>, FileError> {
        let file: File = toml::from_str(text)?;
        let mut alerts: Vec<Self> = Vec::new();
        for written in file.alerts {
            let name = written.name.clone();
            let alert = written.alert().and_then(|alert| {
                let is_taken = alerts.iter().any(|other| other.name == alert.name);
                if is_taken { Err("there is another one of this name".into()) } else { Ok(alert) }
            });
            alerts.push(alert.map_err(|what| FileError::Alert { name, what })?);
        }
        Ok(alerts)
    }
}

impl Written {
    fn alert(self) -> Result<Alert, String> {
        if self.name.is_empty() {
            return Err("it needs a name".into());
        }
        let is_url = ["http://", "https://"].iter().any(|scheme| self.to.starts_with(scheme));
        if !is_url {
            return Err(format!("`{}` is no URL to send it to: https://…", self.to));
        }
        let when = self.when()?;
        let headers = self.headers.into_iter().collect();
        Ok(Alert { name: self.name, when, to: self.to, headers })
    }

    fn when(&self) -> Result<When, String> {
        let lasting = duration("for", self.lasting.as_deref());
        let within = duration("within", self.within.as_deref());
        let unseen = duration("unseen", self.unseen.as_deref());
        let (when, words): (_, &[&str]) = match self.when.as_str() {
            "agent-gone" => (When::AgentGone(lasting?.unwrap_or(AGENT_GONE)), &["for"]),
            "exporter-silent" => (When::ExporterSilent(lasting?.unwrap_or(SILENT)), &["for"]),
            "drops" => (When::Drops(self.more_than.unwrap_or(0)), &["more_than"]),
            "exporter-loss" => (When::ExporterLoss(self.more_than.unwrap_or(0)), &["more_than"]),
            "new-talker" => {
                let talker = Talker {
                    more_than: self.more_than.unwrap_or(MUCH),
                    within: within?.unwrap_or(WITHIN),
                    unseen: unseen?.unwrap_or(UNSEEN),
                };
                (When::NewTalker(talker), &["more_than", "within", "unseen"])
            }
            "uplink" | "utilisation" => {
                return Err("how full uplinks are is not known: SNMP is not polled yet".into());
            }
            other => {
                return Err(format!(
                    "`{other}` is never so; write agent-gone, exporter-silent, exporter-loss, \
                     drops or new-talker"
                ));
            }
        };
        let said = [
            ("for", self.lasting.is_some()),
            ("more_than", self.more_than.is_some()),
            ("within", self.within.is_some()),
            ("unseen", self.unseen.is_some()),
        ];
        match said.iter().find(|(word, is_said)| *is_said && !words.contains(word)) {
            Some((word, _)) => Err(format!("`{word}` is not for {}", self.when)),
            None => Ok(when),
        }
    }
}

/// `90s`, `5m`, `24h`, `7d`, `1h 30m`.
fn duration(word: &str, text: Option<&str>) -> Result<Option<Duration>, String> {
    let Some(text) = text else { return Ok(None) };
    let days = text.strip_suffix('d').and_then(|days| days.trim().parse::<i64>().ok());
    let read = match days {
        Some(days) => days.checked_mul(24).map(SignedDuration::from_hours),
        None => text.parse::<SignedDuration>().ok(),
    };
    let read = read.and_then(|read| Duration::try_from(read).ok()).filter(|read| !read.is_zero());
    read.map(Some).ok_or_else(|| format!("`{word} = \"{text}\"` is no time; write 90s, 5m or 7d"))
}

const AGENT_GONE: Duration = Duration::from_secs(60);
const SILENT: Duration = Duration::from_secs(300);
const MUCH: u64 = 10_000_000;
const WITHIN: Duration = Duration::from_secs(600);
const UNSEEN: Duration = Duration::from_secs(7 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        Alert::read(text).unwrap_err().to_string()
    }

    #[test]
    fn a_file_says_what_to_tell_whom() {
        let alerts = Alert::read(
            r#"
            [[alerts]]
            name = "agents"
            when = "agent-gone"
            for = "2m"
            to = "https://hooks.example/x"
            headers = { Authorization = "Bearer y" }
            [[alerts]]
            name = "talkers"
            when = "new-talker"
            more_than = 5
            unseen = "30d"
            to = "http://127.0.0.1:9/"
            "#,
        );
        let [agents, talkers] = alerts.unwrap().try_into().unwrap();
        assert_eq!(agents.when, When::AgentGone(Duration::from_secs(120)));
        assert_eq!(agents.headers, [("Authorization".to_owned(), "Bearer y".to_owned())]);
        let talker =
            Talker { more_than: 5, within: WITHIN, unseen: Duration::from_secs(30 * 86_400) };
        assert_eq!(talkers.when, When::NewTalker(talker));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let of = |rest: &str| format!("[[alerts]]\nname = \"a\"\nto = \"http://x/\"\n{rest}");
        assert!(fault(&of("when = \"full-moon\"")).contains("`full-moon` is never so"));
        assert!(fault(&of("when = \"uplink\"")).contains("SNMP"));
        assert!(fault(&of("when = \"drops\"\nfor = \"1m\"")).contains("`for` is not for drops"));
        assert!(fault(&of("when = \"agent-gone\"\nfor = \"soon\"")).contains("is no time"));
        assert!(fault(&of("when = \"agent-gone\"\nevery = 1")).contains("unknown field"));
        let twice = of("when = \"drops\"\n").repeat(2);
        assert!(fault(&twice).contains("another one of this name"));
        let nowhere = "[[alerts]]\nname = \"a\"\nto = \"hooks\"\nwhen = \"drops\"";
        assert!(fault(nowhere).contains("is no URL"));
    }
}
