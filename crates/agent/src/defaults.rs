//! What a capture does when nobody says otherwise: where it stops, what its file is called.

use std::path::Path;
use std::time::Duration;

/// How long a capture into a file lasts.
pub const DEFAULT_DURATION: Duration = Duration::from_secs(3600);

/// Packets a capture into files writes.
pub const DEFAULT_PACKETS: u64 = 50_000_000;

/// Bytes of packets a capture into files writes.
pub const DEFAULT_BYTES: u64 = 10 << 30;

/// Bytes that stay free on the disk of `path`: 5 % of it, at most 2 GiB; 0 if there is no such
/// directory.
pub fn default_reserve(path: &Path) -> u64 {
    let Some(stat) = file_system(path) else { return 0 };
    (stat.f_blocks.saturating_mul(stat.f_frsize) / 20).min(2 << 30)
}

/// Bytes free on the disk of `path` for who has no privileges; `None` if there is no such directory.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let stat = file_system(path)?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn file_system(path: &Path) -> Option<rustix::fs::StatVfs> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    rustix::fs::statvfs(folder).ok()
}

/// A VM's name as a part of a file's name: nothing in it may be a path or an option.
pub fn file_name(vm: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '_' };
    vm.trim_start_matches(['-', '.']).chars().map(safe).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_neither_path_nor_option() {
        assert_eq!(file_name("web-01"), "web-01");
        assert_eq!(file_name("../../etc/passwd"), "_.._etc_passwd");
        assert_eq!(file_name("--force"), "force");
        assert_eq!(file_name("a b\n"), "a_b_");
        assert_eq!(file_name(&"x".repeat(300)).len(), 100);
    }

    #[test]
    fn the_reserve_is_never_more_than_two_gigabytes() {
        assert!(default_reserve(Path::new("here.pcapng")) <= 2 << 30);
        assert_eq!(default_reserve(Path::new("/no/such/directory/x.pcapng")), 0);
    }
}
