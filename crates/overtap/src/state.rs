//! Where the program keeps what it must remember between two runs.

use std::path::PathBuf;

/// `$OVERTAP_STATE_DIR`, or else `/var/lib/overtap` for root and `$XDG_STATE_HOME/overtap` for
/// others; `None` for somebody without a home.
pub(crate) fn directory() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    variable("OVERTAP_STATE_DIR")
        .or_else(|| rustix::process::geteuid().is_root().then(|| "/var/lib/overtap".into()))
        .or_else(|| Some(variable("XDG_STATE_HOME")?.join("overtap")))
        .or_else(|| Some(variable("HOME")?.join(".local/state/overtap")))
}
