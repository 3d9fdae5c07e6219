//! The controller's half of the recorder's key over a restart of the agent: in the host's memory, so
//! that an agent whose controller is away goes on recording, and never on a disk, where it would
//! open what is recorded there.
//!
//! A start of the host ends it. `docs/decisions/0014-recorder-in-a-fleet.md`.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use recorder::KeptHalf;

/// Where one agent keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Kept(PathBuf);

impl Kept {
    /// Of the agent of this name.
    pub(crate) fn of(agent: &str) -> Self {
        Self(Path::new(FOLDER).join(format!("agent-{agent}.half")))
    }

    /// The half that was kept, if the host was not started since.
    pub(crate) fn read(&self) -> Option<KeptHalf> {
        let found = self.0.symlink_metadata().ok()?;
        let is_ours = found.is_file() && found.uid() == rustix::process::geteuid().as_raw();
        if !is_ours || found.mode() & 0o077 != 0 || !is_in_memory(&self.0) {
            return None;
        }
        fs::read(&self.0).ok()?.try_into().ok().map(KeptHalf::new)
    }

    /// Keeps it in place of any before.
    ///
    /// # Errors
    /// When it cannot be kept in memory; there is none then.
    pub(crate) fn write(&self, half: &KeptHalf) -> io::Result<()> {
        let folder = Path::new(FOLDER);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.and_then(|()| self.remove())?;
        if !is_in_memory(folder) {
            return Err(io::Error::other(format!("{FOLDER} is not in memory (tmpfs)")));
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.0)?;
        file.write_all(half.bytes())
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Forgets it.
    ///
    /// # Errors
    /// When it is there all the same.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn is_in_memory(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type == TMPFS)
}

const FOLDER: &str = "/run/overtap";

/// `TMPFS_MAGIC` of linux/magic.h.
const TMPFS: i64 = 0x0102_1994;
