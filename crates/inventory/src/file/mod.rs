//! The inventory file: what somebody wrote down, or `overtap find --output json` printed, about
//! where VMs are and were.
//!
//! Text in, a [`History`] out; opening the file is somebody else's. TOML and JSON have one schema
//! (`written`), in which an unknown key is an error: a misspelt `until` must not become "for ever".
//! The listings of `find` are JSON with a schema of their own (`listing`). The reference is
//! `docs/reference/inventory-file.md`.

mod listing;
mod value;
mod written;

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use self::listing::{Listing, PastListing};
use self::written::Document;
use crate::history::History;

impl History {
    /// Reads the text of an inventory file: TOML, JSON, or what `overtap find --output json`
    /// prints, with or without `--at`.
    ///
    /// # Errors
    /// The first thing that is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // No TOML begins so.
        if !text.trim_start().starts_with('{') {
            return toml::from_str::<Document>(text)
                .map(Document::into_history)
                .map_err(|error| FileError::from_toml(&error, text));
        }
        let shape: Shape = from_json(text)?;
        match shape {
            Shape { machines: None, .. } => from_json(text).map(Document::into_history),
            Shape { first_look: None, .. } => from_json(text).map(Listing::into_history),
            _ => from_json(text).map(PastListing::into_history),
        }
    }
}

/// What tells the kinds of JSON from each other.
#[derive(Deserialize)]
struct Shape {
    #[serde(default, deserialize_with = "present")]
    machines: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    first_look: Option<IgnoredAny>,
}

/// A key that is there, also with `null`.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<IgnoredAny>, D::Error> {
    IgnoredAny::deserialize(from).map(Some)
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, FileError> {
    serde_json::from_str(text).map_err(|error| FileError::from_json(&error))
}

/// What is wrong with an inventory file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1. In JSON, where what is wrong ends; in TOML, where it begins.
    pub column: usize,
    /// What is wrong and what to do, in a sentence.
    pub problem: String,
}

impl FileError {
    fn from_toml(error: &toml::de::Error, text: &str) -> Self {
        let Range { start, .. } = error.span().unwrap_or_default();
        let before = text.get(..start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let in_line = before.get(line_start..).unwrap_or_default();
        Self {
            line: before.matches('\n').count() + 1,
            column: in_line.chars().count() + 1,
            problem: one_line(error.message()),
        }
    }

    fn from_json(error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        let place = format!(" at line {line} column {column}");
        let problem = one_line(text.strip_suffix(&place).unwrap_or(&text));
        Self { line: line.max(1), column: column.max(1), problem }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.problem)
    }
}

impl std::error::Error for FileError {}

fn one_line(message: &str) -> String {
    message.lines().map(str::trim).collect::<Vec<_>>().join(", ")
}
