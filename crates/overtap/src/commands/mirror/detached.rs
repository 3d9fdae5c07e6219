//! `--detach`: the same command once more, without a terminal; this one waits until it mirrors.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use platform::mirror::Register;

use crate::Output;
use crate::exit::Exit;

/// Starts it, and prints the id of the mirror it makes.
pub(super) fn start(register: &Register, output: Output) -> anyhow::Result<Exit> {
    let directory = register.directory();
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let path = directory.join(format!("starting-{}.log", std::process::id()));
    let log = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path);
    let log = log.with_context(|| format!("cannot write {}", path.display()))?;
    let program = std::env::current_exe().context("cannot find the program itself")?;
    let words = std::env::args_os().skip(1).filter(|word| word != "--detach");
    let words: Vec<_> = words.collect();
    // In front of everything that could stand behind `--`.
    let (first, rest) = words.split_first().context("no command")?;
    let mut command = Command::new(program);
    command.arg(first).arg("--is-detached").args(rest);
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut child = command.spawn().context("cannot start the watcher of the mirror")?;
    let mut id = String::new();
    if let Some(said) = child.stdout.take() {
        BufReader::new(said).read_line(&mut id)?;
    }
    let id = id.trim();
    if id.is_empty() {
        let status = child.wait()?;
        let said = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(&path);
        let said = said.trim_end().trim_start_matches("overtap: ").to_owned();
        if status.code() == Some(2) {
            return Err(crate::exit::WrongUsage(said).into());
        }
        bail!("{said}");
    }
    let _ = fs::rename(&path, directory.join(format!("{id}.log")));
    let text = match output {
        Output::Json => serde_json::json!({ "id": id }).to_string() + "\n",
        Output::Text => format!("{id}\n"),
    };
    crate::commands::print_out(text.as_bytes()).map(|()| Exit::Done)
}
