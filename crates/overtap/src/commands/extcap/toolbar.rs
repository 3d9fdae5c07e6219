//! Wireshark's interface toolbar: how the capture goes, and what happened.
//!
//! Messages both ways are `T`, a 24-bit length of what follows, the number of a control, a command
//! and its text (extcap(4)). tshark has no toolbar and passes no pipes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::thread;

use super::call::{Call, Sentences};
use crate::commands::capture::Shown;

/// The pipe to the toolbar.
pub(super) struct Toolbar {
    out: File,
}

/// Names the controls, behind the interfaces.
pub(super) fn describe(sentences: &mut Sentences) {
    let status = ("number", "0");
    sentences.say(
        "control",
        &[
            status,
            ("type", "string"),
            ("display", "overtap"),
            ("tooltip", "Packets and losses so far"),
            ("placeholder", "not capturing"),
        ],
    );
    sentences.say(
        "control",
        &[
            ("number", "1"),
            ("type", "button"),
            ("role", "logger"),
            ("display", "Log"),
            ("tooltip", "What happened: moves, gaps, changes"),
        ],
    );
}

impl Toolbar {
    /// Opens the pipes, if there are any.
    pub(super) fn open(call: &Call) -> Option<Self> {
        let (Some(theirs), Some(ours)) = (&call.extcap_control_in, &call.extcap_control_out) else {
            return None;
        };
        let theirs = theirs.clone();
        // Nothing it says asks for anything; but it waits until somebody reads.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            if let Ok(mut pipe) = File::open(theirs) {
                while pipe.read(&mut bytes).is_ok_and(|len| len > 0) {}
            }
        });
        Some(Self { out: File::options().write(true).open(ours).ok()? })
    }

    /// What a capture tells of itself, for the toolbar.
    pub(super) fn listener(mut self) -> Box<dyn FnMut(Shown<'_>)> {
        Box::new(move |shown| {
            // A toolbar that is gone has no need to know.
            let _ = match shown {
                Shown::Progress(text, _) => self.send(STATUS, SET, text),
                Shown::Beginning(text) | Shown::Line(text) => {
                    let text = text.trim();
                    self.send(LOG, ADD, &format!("{text}\n"))
                        .and_then(|()| self.send(STATUS, STATUS_BAR, text))
                }
            };
        })
    }

    fn send(&mut self, control: u8, command: u8, text: &str) -> io::Result<()> {
        self.out.write_all(&message(control, command, text))
    }
}

fn message(control: u8, command: u8, text: &str) -> Vec<u8> {
    let text = text.as_bytes().get(..MOST_BYTES).unwrap_or(text.as_bytes());
    let len = u32::try_from(text.len() + 2).unwrap_or_default().to_be_bytes();
    let [_, high, middle, low] = len;
    [&[b'T', high, middle, low, control, command], text].concat()
}

/// The controls.
const STATUS: u8 = 0;
const LOG: u8 = 1;

/// The commands.
const SET: u8 = 1;
const ADD: u8 = 2;
const STATUS_BAR: u8 = 6;

/// The longest text of a message.
const MOST_BYTES: usize = 65_533;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_length_without_the_first_four_bytes() {
        assert_eq!(message(0, 1, "hi"), b"T\0\0\x04\0\x01hi");
        assert_eq!(message(1, 2, &"x".repeat(70_000)).len(), 6 + MOST_BYTES);
    }
}
