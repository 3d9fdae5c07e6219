//! The captures of others that lie beside the project and are not part of it.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

/// Where they are; `None`, and loudly, if they are missing.
pub(crate) fn corpus() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if path.is_dir() {
        return Some(path);
    }
    #[expect(clippy::explicit_write, reason = "`eprintln` is shown for failed tests only")]
    writeln!(std::io::stderr(), "NOT TESTED: no shared corpus at {}", path.display()).unwrap();
    None
}

/// The bytes of a file, unpacked if it is packed.
pub(crate) fn unpacked(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes;
    }
    let mut plain = Vec::new();
    MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain).unwrap();
    plain
}
