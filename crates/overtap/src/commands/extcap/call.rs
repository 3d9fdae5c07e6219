//! What Wireshark says to an extcap, and the sentences it is answered with: extcap(4).

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Parser;

/// The words of one call.
///
/// What it names in `call=` of an argument comes back as one of them.
#[derive(Parser, Debug)]
#[command(name = "overtap", disable_help_flag = true)]
#[expect(clippy::struct_excessive_bools, reason = "they are Wireshark's")]
pub(super) struct Call {
    #[arg(long)]
    extcap_interfaces: bool,
    #[arg(long)]
    extcap_dlts: bool,
    #[arg(long)]
    extcap_config: bool,
    #[arg(long)]
    capture: bool,
    /// Of Wireshark: `4.4`. Only said when it asks for interfaces.
    #[arg(long)]
    pub(super) extcap_version: Option<String>,
    #[arg(long)]
    extcap_interface: Option<String>,
    #[arg(long)]
    extcap_reload_option: Option<String>,
    #[arg(long, allow_hyphen_values = true)]
    extcap_capture_filter: Option<String>,
    /// Where packets go.
    #[arg(long)]
    pub(super) fifo: Option<PathBuf>,
    /// What the toolbar says to us.
    #[arg(long)]
    pub(super) extcap_control_in: Option<PathBuf>,
    /// What we say to the toolbar.
    #[arg(long)]
    pub(super) extcap_control_out: Option<PathBuf>,

    /// The machine, where the interface is any.
    #[arg(long, allow_hyphen_values = true)]
    vm: Option<String>,
    #[arg(long, allow_hyphen_values = true)]
    point: Option<String>,
    #[arg(long)]
    snaplen: Option<String>,
    #[arg(long)]
    pub(super) strip: bool,
    #[arg(long)]
    last: Option<String>,
    #[arg(long, allow_hyphen_values = true)]
    recorder: Option<String>,
    #[arg(long, allow_hyphen_values = true)]
    reason: Option<String>,
}

/// What a call wants to know or have done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked<'a> {
    /// Which interfaces there are.
    Interfaces,
    /// Which link types an interface has.
    Links,
    /// What can be set for an interface, or the values of one such setting made anew.
    Settings {
        /// The setting.
        reloaded: Option<&'a str>,
    },
    /// Whether a capture filter is one.
    Filter(&'a str),
    /// Packets.
    Packets,
}

impl Call {
    pub(super) fn asked(&self) -> Asked<'_> {
        if self.capture {
            Asked::Packets
        } else if self.extcap_dlts {
            Asked::Links
        } else if self.extcap_config {
            Asked::Settings { reloaded: self.extcap_reload_option.as_deref() }
        } else if let (false, Some(filter)) = (self.extcap_interfaces, &self.extcap_capture_filter)
        {
            Asked::Filter(filter)
        } else {
            Asked::Interfaces
        }
    }

    /// The interface that is spoken of, as it was listed.
    pub(super) fn interface(&self) -> &str {
        self.extcap_interface.as_deref().unwrap_or_default()
    }

    /// The capture filter.
    pub(super) fn filter(&self) -> Option<&str> {
        told(self.extcap_capture_filter.as_ref())
    }

    /// The machine that was chosen in the settings.
    pub(super) fn vm(&self) -> Option<&str> {
        told(self.vm.as_ref())
    }

    /// What was set, as words of `overtap capture`.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let settings = [
            ("--point", &self.point),
            ("--snaplen", &self.snaplen),
            ("--last", &self.last),
            ("--recorder", &self.recorder),
            ("--reason", &self.reason),
        ];
        for (word, value) in settings {
            // The directory alone means nothing.
            let is_idle = word == "--recorder" && told(self.last.as_ref()).is_none();
            if let Some(value) = told(value.as_ref()).filter(|_| !is_idle) {
                words.push(format!("{word}={value}"));
            }
        }
        if self.strip {
            words.push("--strip".into());
        }
        words
    }
}

/// A field that was left empty says nothing.
fn told(value: Option<&String>) -> Option<&str> {
    value.map(String::as_str).filter(|text| !text.trim().is_empty())
}

/// Sentences to Wireshark.
#[derive(Debug, Default)]
pub(super) struct Sentences(String);

impl Sentences {
    /// Says one: `keyword {key=value}{key=value}`.
    pub(super) fn say(&mut self, keyword: &str, values: &[(&str, &str)]) {
        self.0.push_str(keyword);
        self.0.push(' ');
        for (key, value) in values {
            let _ = write!(self.0, "{{{key}={}}}", plain(value));
        }
        self.0.push('\n');
    }

    /// All of them.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A text that cannot end a value, or a sentence.
fn plain(text: &str) -> String {
    let plain = |c: char| match c {
        '{' => '(',
        '}' => ')',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(words: &str) -> Call {
        Call::try_parse_from(std::iter::once("overtap").chain(words.split(' '))).unwrap()
    }

    #[test]
    fn the_calls_of_wireshark_are_told_apart() {
        let list = call("--extcap-interfaces --extcap-version=4.4");
        assert_eq!(list.asked(), Asked::Interfaces);
        let links = call("--extcap-dlts --extcap-interface overtap_any");
        assert_eq!((links.asked(), links.interface()), (Asked::Links, "overtap_any"));
        let reload =
            call("--extcap-config --extcap-interface i --extcap-reload-option point --vm w");
        assert_eq!(reload.asked(), Asked::Settings { reloaded: Some("point") });
        assert_eq!(reload.vm(), Some("w"));
        let filter = call("--extcap-capture-filter udp --extcap-interface i");
        assert_eq!(filter.asked(), Asked::Filter("udp"));
        let packets = call("--capture --extcap-interface i --fifo /f --extcap-capture-filter udp");
        assert_eq!((packets.asked(), packets.filter()), (Asked::Packets, Some("udp")));
    }

    #[test]
    fn empty_fields_are_not_passed_on() {
        let words = ["overtap", "--capture", "--point", "", "--snaplen", "96", "--recorder", "/r"];
        let call = Call::try_parse_from(words).unwrap();
        assert_eq!(call.words(), ["--snaplen=96"]);
    }

    #[test]
    fn no_name_can_end_a_sentence() {
        let mut sentences = Sentences::default();
        sentences.say("interface", &[("value", "a"), ("display", "x}{y\nz")]);
        assert_eq!(sentences.0, "interface {value=a}{display=x)(y\u{fffd}z}\n");
    }
}
