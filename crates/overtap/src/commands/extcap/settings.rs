//! Which machines are listed first on a large site: those somebody favours, those captured lately.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::controller::login_path;

/// What is remembered for one user.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Settings {
    /// Names, and `tenant:NAME`; the oldest first.
    pub(super) favourites: Vec<String>,
    /// The same; the last captured first.
    pub(super) recent: Vec<String>,
    #[serde(skip)]
    path: PathBuf,
}

impl Settings {
    /// Reads them; there are none at first.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub(super) fn open() -> anyhow::Result<Self> {
        let path = login_path()?.with_file_name("extcap.json");
        let mut settings: Self = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{} is damaged; delete it", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        settings.path = path;
        Ok(settings)
    }

    /// Always lists `name`.
    pub(super) fn favour(&mut self, name: &str) {
        if !self.favourites.iter().any(|known| known == name) {
            self.favourites.push(name.to_owned());
        }
    }

    /// Lists `name` as any other.
    pub(super) fn unfavour(&mut self, name: &str) -> anyhow::Result<()> {
        let before = self.favourites.len();
        self.favourites.retain(|known| known != name);
        if self.favourites.len() == before {
            bail!("{name} is no favourite; these are: {}", self.favourites.join(", "));
        }
        Ok(())
    }

    /// Notes that `name` is captured.
    pub(super) fn used(&mut self, name: &str) {
        self.recent.retain(|known| known != name);
        self.recent.insert(0, name.to_owned());
        self.recent.truncate(MOST_RECENT);
    }

    /// Writes them.
    pub(super) fn keep(&self) -> anyhow::Result<()> {
        write_private(&self.path, &serde_json::to_vec_pretty(self)?)
    }
}

/// Replaces a file that is nobody else's business, all at once.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&new).and_then(|mut file| file.write_all(bytes));
    let kept = written.and_then(|()| fs::rename(&new, path));
    if kept.is_err() {
        let _ = fs::remove_file(&new);
    }
    kept.with_context(|| path.display().to_string())
}

const MOST_RECENT: usize = 10;
