//! Pure crates have no files, sockets, threads, clock, environment, `unsafe` or async in them.

use crate::Fault;
use crate::tree::{File, Tree};

/// Lines of pure crates, tests excepted, that reach for the world outside.
pub(crate) fn faults(tree: &Tree) -> Vec<Fault> {
    tree.files
        .iter()
        .filter(|file| PURE.contains(&file.owner.as_str()))
        .flat_map(impure_lines)
        .chain(tree.crates.iter().filter(|c| PURE.contains(&c.name.as_str())).flat_map(|user| {
            let dependencies = user.manifest.get("dependencies").and_then(|d| d.as_table());
            dependencies
                .into_iter()
                .flat_map(|table| table.keys())
                .filter(|name| FOREIGN.contains(&name.as_str()))
                .map(|name| Fault {
                    place: format!("crates/{}/Cargo.toml", user.name),
                    what: format!("a pure crate may not use `{name}`"),
                })
                .collect::<Vec<_>>()
        }))
        .collect()
}

fn impure_lines(file: &File) -> Vec<Fault> {
    file.text
        .lines()
        .enumerate()
        // Tests stand at the end of a file (STYLE.md) and may read the corpus.
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .filter_map(|(number, line)| {
            let word = WORDS.iter().find(|word| line.contains(**word))?;
            Some(Fault {
                place: format!("{}:{}", file.path, number + 1),
                what: format!(
                    "a pure crate may not use `{word}`; pass what it gives as an argument"
                ),
            })
        })
        .collect()
}

const PURE: [&str; 8] =
    ["wire", "inventory", "select", "plan", "pipeline", "broker", "flows", "screen"];

const FOREIGN: [&str; 7] = ["libc", "rustix", "tokio", "netlink-sys", "nix", "mio", "async-std"];

const WORDS: [&str; 16] = [
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "std::sync::Mutex",
    "SystemTime",
    "Instant",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "stdin()",
    "stdout()",
    "async fn",
    "unsafe",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> File {
        File { path: "a.rs".into(), owner: "wire".into(), text: text.into() }
    }

    #[test]
    fn a_clock_in_a_pure_crate_is_found_with_its_line() {
        let faults = impure_lines(&file("//! x\n\nuse std::time::SystemTime;\n"));
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].place, "a.rs:3");
    }

    #[test]
    fn comments_and_tests_may_speak_of_anything() {
        let text = "// no SystemTime here\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        assert!(impure_lines(&file(text)).is_empty());
    }
}
