//! The tools of this host, as they are kept: `tools.toml` in the directory of the program's state.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use broker::{Registry, Tool};

use crate::exit::WrongUsage;
use crate::state;

/// The tools as they are now; none if none was ever added.
pub(crate) fn read() -> anyhow::Result<Registry> {
    read_from(&path()?)
}

/// The tools with these names, separated by commas, each once.
pub(crate) fn named(names: &str) -> anyhow::Result<Vec<Tool>> {
    let registry = read()?;
    let mut tools: Vec<Tool> = Vec::new();
    for name in names.split(',').map(str::trim) {
        let tool = registry.one(name).map_err(|error| WrongUsage(error.to_string()))?;
        if !tools.contains(tool) {
            tools.push(tool.clone());
        }
    }
    Ok(tools)
}

/// Changes the tools. Two runs at the same time do it one after the other, and a reader sees them
/// before or after, never in between.
pub(crate) fn change<T>(
    change: impl FnOnce(&mut Registry) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let path = path()?;
    let cannot = || format!("cannot write {}", path.display());
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(cannot)?;
    }
    let lock = File::create(path.with_extension("lock")).with_context(cannot)?;
    lock.lock().with_context(cannot)?;
    let mut registry = read_from(&path)?;
    let done = change(&mut registry)?;
    let text = registry.text()?;
    let new = path.with_extension("new");
    // Only its owner may read and change where packets go.
    let open = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new);
    let mut file = open.with_context(cannot)?;
    file.write_all(text.as_bytes()).with_context(cannot)?;
    file.sync_all().with_context(cannot)?;
    fs::rename(&new, &path).with_context(cannot)?;
    Ok(done)
}

fn read_from(path: &Path) -> anyhow::Result<Registry> {
    match fs::read_to_string(path) {
        Ok(text) => {
            Registry::parse(&text).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Registry::default()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn path() -> anyhow::Result<PathBuf> {
    let directory = state::directory();
    let directory =
        directory.context("neither HOME nor OVERTAP_STATE_DIR is set, so there are no tools")?;
    Ok(directory.join("tools.toml"))
}
