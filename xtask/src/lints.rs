//! One set of lints for all crates; `capture` alone may allow `unsafe`, in `sys.rs`.

use anyhow::Context;

use crate::Fault;
use crate::tree::Tree;

/// Crates whose lints are not the workspace's, and files that allow `unsafe` without being the one.
pub(crate) fn faults(tree: &Tree) -> anyhow::Result<Vec<Fault>> {
    let workspace = tree
        .manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("lints"))
        .and_then(toml::Value::as_table)
        .context("Cargo.toml has no workspace lints")?;
    let mut expected = workspace.clone();
    if let Some(rust) = expected.get_mut("rust").and_then(toml::Value::as_table_mut) {
        rust.insert("unsafe_code".into(), "deny".into());
    }
    let inherited: toml::Table = "workspace = true".parse()?;
    let mut faults = Vec::new();
    for user in &tree.crates {
        let wanted = if user.name == "capture" { &expected } else { &inherited };
        if user.manifest.get("lints").and_then(toml::Value::as_table) != Some(wanted) {
            faults.push(Fault {
                place: format!("crates/{}/Cargo.toml", user.name),
                what: "its lints are not the workspace's".into(),
            });
        }
    }
    for file in &tree.files {
        if file.path != "crates/capture/src/sys.rs" && file.text.contains("allow(unsafe_code)") {
            faults.push(Fault {
                place: file.path.clone(),
                what: "`unsafe` lives in crates/capture/src/sys.rs only".into(),
            });
        }
    }
    Ok(faults)
}
