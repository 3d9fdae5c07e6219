//! The golden frames, read from `captures/`.
#![allow(dead_code, reason = "not every test asks for everything")]

use std::fs;
use std::path::{Path, PathBuf};

use wire::LinkType;

/// A frame written down byte by byte, and what its text says it is.
pub(crate) struct Golden {
    pub(crate) name: String,
    pub(crate) link: LinkType,
    pub(crate) stack: String,
    pub(crate) levels: Vec<String>,
    pub(crate) stop: String,
    pub(crate) bytes: Vec<u8>,
}

/// All of them, and the regressions.
pub(crate) fn golden_frames() -> Vec<Golden> {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../captures");
    let mut paths: Vec<PathBuf> = ["frames", "regressions"]
        .iter()
        .filter_map(|folder| fs::read_dir(captures.join(folder)).ok())
        .flat_map(|entries| entries.map(|entry| entry.unwrap().path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 30, "the golden frames are missing: {}", captures.display());
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Golden {
    let text = fs::read_to_string(path).unwrap();
    let (head, body) = text.split_once("\n\n").unwrap();
    let field = |name: &str| -> Vec<String> {
        let lines = head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(":"));
        lines.map(|value| value.trim().to_owned()).collect()
    };
    let bytes = body
        .lines()
        .flat_map(|line| line.split('#').next().unwrap().split_whitespace())
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect();
    Golden {
        name: path.file_stem().unwrap().to_string_lossy().into_owned(),
        link: LinkType(field("link")[0].parse().unwrap()),
        stack: field("stack")[0].clone(),
        levels: field("level"),
        stop: field("stop")[0].clone(),
        bytes,
    }
}
