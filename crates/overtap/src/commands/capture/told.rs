//! How a capture goes, for a program that runs it: `--tell`.

use super::said::{Listener, Shown};
use crate::watching::Said;

/// Writes everything that a terminal would show as one object a line on standard error.
pub(super) fn listener() -> Listener {
    Box::new(|shown| {
        let said = match shown {
            Shown::Beginning(text) => Said::Beginning(text.to_owned()),
            Shown::Line(text) => Said::Event(text.to_owned()),
            Shown::Progress(_, progress) => Said::Progress(progress),
        };
        if let Ok(line) = serde_json::to_string(&said) {
            eprintln!("{line}");
        }
    })
}
