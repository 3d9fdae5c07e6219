//! The tree as text: crates with their manifests, Rust files with their lines.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::Fault;

/// The workspace, read once.
pub(crate) struct Tree {
    pub(crate) crates: Vec<Crate>,
    pub(crate) files: Vec<File>,
    pub(crate) architecture: String,
    pub(crate) manifest: toml::Table,
}

/// One crate of the workspace.
pub(crate) struct Crate {
    pub(crate) name: String,
    pub(crate) manifest: toml::Table,
}

/// One Rust file.
pub(crate) struct File {
    /// Path from the root of the tree.
    pub(crate) path: String,
    /// The crate it belongs to.
    pub(crate) owner: String,
    pub(crate) text: String,
}

impl Tree {
    pub(crate) fn read() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no root")?;
        let mut tree = Self {
            crates: Vec::new(),
            files: Vec::new(),
            architecture: read(&root.join("ARCHITECTURE.md"))?,
            manifest: read(&root.join("Cargo.toml"))?.parse()?,
        };
        let folder = root.join("crates");
        let mut folders: Vec<PathBuf> = std::fs::read_dir(&folder)?
            .map(|entry| Ok(entry?.path()))
            .collect::<anyhow::Result<_>>()?;
        folders.sort();
        for folder in folders {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let manifest = read(&folder.join("Cargo.toml"))?.parse()?;
            tree.read_files(root, &folder.join("src"), &name)?;
            tree.crates.push(Crate { name, manifest });
        }
        Ok(tree)
    }

    /// Files that do not say what they are before anything else.
    pub(crate) fn files_without_header(&self) -> Vec<Fault> {
        self.files
            .iter()
            .filter(|file| !file.text.starts_with("//!"))
            .map(|file| Fault {
                place: file.path.clone(),
                what: "opens without a //! header: what it is, why it exists".into(),
            })
            .collect()
    }

    fn read_files(&mut self, root: &Path, folder: &Path, owner: &str) -> anyhow::Result<()> {
        for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                self.read_files(root, &path, owner)?;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                self.files.push(File {
                    path: path.strip_prefix(root)?.display().to_string(),
                    owner: owner.to_owned(),
                    text: read(&path)?,
                });
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}
