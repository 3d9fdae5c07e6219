//! What is said of a store as a whole: its version, and how long what is kept.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::column::SCHEMA_VERSION;
use crate::error::StoreError;
use crate::file::write_whole;
use crate::rollup::{Grain, Rollup};

/// How long and how much is kept of one kind of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// Files whose hour is older than this, counted back from the newest row, go.
    pub age_s: u64,
    /// Of more bytes than this, the oldest go.
    pub bytes: u64,
}

/// The kinds of files that are kept each for its own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    /// Rows.
    Flows,
    /// Sums.
    Sums(Rollup, Grain),
}

impl Kept {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let sums = Rollup::ALL.into_iter();
        let sums = sums.flat_map(|rollup| Grain::ALL.map(|grain| Self::Sums(rollup, grain)));
        std::iter::once(Self::Flows).chain(sums)
    }

    /// Its name: `flows`, `vms/minute`.
    pub fn name(self) -> String {
        match self {
            Self::Flows => "flows".into(),
            Self::Sums(rollup, grain) => format!("{}/{}", rollup.name(), grain.name()),
        }
    }

    /// What is kept unless told otherwise.
    pub const fn default_keep(self) -> Keep {
        let (days, gib) = match self {
            Self::Flows => (30, 50),
            Self::Sums(_, Grain::Minute) => (14, 2),
            Self::Sums(_, Grain::Hour) => (400, 2),
        };
        Keep { age_s: days * 86_400, bytes: gib << 30 }
    }
}

impl Kept {
    /// Those a word means: `flows`, one sum as `vms/minute`, all of `minute` or `hour`.
    pub fn named(word: &str) -> Result<Vec<Self>, String> {
        let of = |grain: Grain| {
            Self::all().filter(move |k| matches!(k, Self::Sums(_, g) if *g == grain))
        };
        match Grain::ALL.into_iter().find(|grain| grain.name() == word) {
            Some(grain) => Ok(of(grain).collect()),
            None => Ok(vec![word.parse()?]),
        }
    }
}

impl FromStr for Kept {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::all().find(|kept| kept.name() == text).ok_or_else(|| {
            let names: Vec<String> = Self::all().map(Self::name).collect();
            format!("a store keeps no `{text}`; it keeps minute, hour, {}", names.join(", "))
        })
    }
}

/// The settings of a store, in its file `store.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    format: String,
    version: u32,
    /// What was told, by the name of what is kept.
    #[serde(default)]
    keep: BTreeMap<String, Keep>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { format: FORMAT.into(), version: SCHEMA_VERSION, keep: BTreeMap::new() }
    }
}

impl Settings {
    /// Those of the store in a folder; `None` if there is no store.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, StoreError> {
        let path = folder.join(FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(StoreError::io("read", &path))?,
        };
        let foreign = |what: String| StoreError::Foreign { path: path.clone(), what };
        // The version first: what a newer one says need not be understood.
        let said: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| foreign(error.to_string()))?;
        if said.get("format").and_then(|format| format.as_str()) != Some(FORMAT) {
            return Err(foreign(format!("its format is not `{FORMAT}`")));
        }
        let version = said.get("version").and_then(serde_json::Value::as_u64).unwrap_or(u64::MAX);
        match u32::try_from(version) {
            Ok(found) if found <= SCHEMA_VERSION => {}
            found => {
                let found = found.unwrap_or(u32::MAX);
                return Err(StoreError::Newer { path, found, known: SCHEMA_VERSION });
            }
        }
        serde_json::from_value(said).map(Some).map_err(|error| foreign(error.to_string()))
    }

    /// Writes them.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), StoreError> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        write_whole(folder, FILE, text.as_bytes())
    }

    /// Changes what is kept.
    pub(crate) fn set(&mut self, kept: Kept, keep: Keep) {
        self.keep.insert(kept.name(), keep);
    }

    /// What is kept of this.
    pub(crate) fn keep(&self, kept: Kept) -> Keep {
        self.keep.get(&kept.name()).copied().unwrap_or_else(|| kept.default_keep())
    }
}

impl Keep {
    /// For how long, counted back from the newest row.
    pub const fn age(self) -> Duration {
        Duration::from_secs(self.age_s)
    }
}

const FORMAT: &str = "overtap flow store";
/// The file with the settings of a store.
pub(crate) const FILE: &str = "store.json";
