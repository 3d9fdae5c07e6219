//! The log as text: one line for each entry, its hash and its body.

use std::fmt;
use std::str::FromStr;

use crate::audit::{Entry, Hash};

impl fmt::Display for Entry {
    /// The line without its line break. A body holds none: JSON escapes them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.hash, self.body)
    }
}

impl FromStr for Entry {
    type Err = ExportError;

    /// Reads a line; whether hash and body belong together is for `verify` to say.
    fn from_str(line: &str) -> Result<Self, ExportError> {
        let (hash, body) = line.split_once(' ').ok_or(ExportError)?;
        let hash: Hash = hash.parse().map_err(|_| ExportError)?;
        let number: Number = serde_json::from_str(body).map_err(|_| ExportError)?;
        Ok(Self { seq: number.seq, hash, body: body.to_owned() })
    }
}

/// A line that is none of an exported audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a line of an audit log: a hash, a space and an object with `seq`")]
pub struct ExportError;

#[derive(serde::Deserialize)]
struct Number {
    seq: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back_to_the_byte() {
        let body = r#"{"seq":7,  "x": "y z"}"#.to_owned();
        let entry = Entry { seq: 7, hash: Hash::of(&body), body };
        assert_eq!(entry.to_string().parse(), Ok(entry));
        for bad in
            ["", "abc", "00 {}", &format!("{} x", Hash::ZERO), &format!("{} {{}}", Hash::ZERO)]
        {
            assert_eq!(bad.parse::<Entry>(), Err(ExportError), "{bad}");
        }
    }
}
