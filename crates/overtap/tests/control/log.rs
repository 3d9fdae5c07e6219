//! The log of the roles, as programs and as systemd read it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A controller, its standard error being `errors`.
fn serve(folder: &Path, words: &[&str], errors: Stdio, journal: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overtap"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--dir"]).arg(folder).args(words);
    command.env("JOURNAL_STREAM", journal).stdin(Stdio::null()).stderr(errors).spawn().unwrap()
}

#[test]
fn for_programs_every_line_is_an_object_and_the_first_login_is_in_no_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = serve(folder.path(), &["--log", "json"], Stdio::piped(), "");
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut events: Vec<Value> = Vec::new();
    for line in lines {
        assert!(!line.contains("ovtu_"), "{line}");
        events.push(serde_json::from_str(&line).unwrap());
        if line.contains("listening on") {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for event in &events {
        event["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert!(["info", "warn", "error"].contains(&event["level"].as_str().unwrap()), "{event}");
        assert!(event["message"].is_string(), "{event}");
    }
    let login = folder.path().join("first-login");
    assert!(events[0]["message"].as_str().unwrap().contains(login.to_str().unwrap()));
    assert_eq!(login.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let login = fs::read_to_string(login).unwrap();
    assert!(login.starts_with("overtap login ") && login.contains("ovtu_"), "{login}");
}

#[test]
fn in_the_journal_lines_have_its_level_and_neither_time_nor_colour() {
    let folder = tempfile::tempdir().unwrap();
    // The journal is known by device and inode of what it gave as standard error.
    let path = folder.path().join("log");
    let file = fs::File::create(&path).unwrap();
    let found = file.metadata().unwrap();
    let journal = format!("{}:{}", found.dev(), found.ino());
    let mut child = serve(&folder.path().join("controller"), &[], file.into(), &journal);
    let text = loop {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(child.try_wait().unwrap(), None, "{text}");
        if text.contains("listening on") {
            break text;
        }
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(text.starts_with("<4>the first administrator was made; "), "{text}");
    assert!(text.lines().last().unwrap().starts_with("<6>listening on 127.0.0.1:"), "{text}");
    assert!(!text.contains("ovtu_") && !text.contains('\x1b'), "{text}");
}
