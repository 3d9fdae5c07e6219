//! Which controller this user speaks to, and with which token.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use api::tls::Controller;
use serde::{Deserialize, Serialize};

/// A controller and a token for it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Login {
    /// The controller.
    pub controller: Controller,
    /// The user's token. Secret.
    pub token: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("controller", &self.controller).finish_non_exhaustive()
    }
}

/// A login cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct LoginError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl Login {
    /// The one kept in `path`; `None` if there is none that this user may read.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path) -> Result<Option<Self>, LoginError> {
        let failed = |source| LoginError { path: path.to_owned(), source };
        let text = match fs::read(path) {
            // Somebody else's, as after sudo with a HOME that stayed: not this user's login.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) =>
            {
                return Ok(None);
            }
            text => text.map_err(failed)?,
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| failed(io::Error::other(error)))
    }

    /// Keeps it, readable for its owner alone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), LoginError> {
        let failed = |source| LoginError { path: path.to_owned(), source };
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other).map_err(failed)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let new = path.with_extension("new");
        let write = || {
            let _ = fs::remove_file(&new);
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(&text)?;
            fs::rename(&new, path)
        };
        write().map_err(failed)
    }
}
