//! Everything the checks do, in one command: `cargo xtask check`.
//!
//! Holds the tree to what ARCHITECTURE.md says: which crate may use which, which crates are pure,
//! one set of lints, a header in every file. Prints each fault with its place; exits 1 if there is
//! one.

mod arrows;
mod lints;
mod purity;
mod tree;

use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::tree::Tree;

/// A place where the tree is not as it should be.
struct Fault {
    /// File, with a line where there is one.
    place: String,
    /// What is wrong there and what to do.
    what: String,
}

fn main() -> ExitCode {
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(faults) => {
            eprintln!("{faults} faults");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<usize> {
    match std::env::args().nth(1).as_deref() {
        Some("check") => {}
        _ => bail!("usage: cargo xtask check"),
    }
    let tree = Tree::read().context("reading the tree")?;
    let mut faults = arrows::faults(&tree)?;
    faults.extend(purity::faults(&tree));
    faults.extend(lints::faults(&tree)?);
    faults.extend(tree.files_without_header());
    for Fault { place, what } in &faults {
        eprintln!("{place}: {what}");
    }
    if faults.is_empty() {
        println!(
            "xtask: {} crates and {} files are as ARCHITECTURE.md says",
            tree.crates.len(),
            tree.files.len()
        );
    }
    Ok(faults.len())
}
