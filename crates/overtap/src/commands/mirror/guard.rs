//! The guard of a mirror: a process that does nothing but notice that the watcher has died, and
//! then removes the mirror. A switch would go on copying for ever.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::register;
use crate::exit::Exit;

/// The guard, as its watcher has it. With it the pipe closes, and the guard looks whether there is
/// something to remove; nobody waits for that.
pub(super) struct Guard {
    id: String,
    child: Child,
}

impl Guard {
    /// Starts one.
    pub(super) fn start(id: &str) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find the program itself")?;
        let mut command = Command::new(program);
        command.args(["mirror", "guard", id]);
        // What ends the watcher's group, as Ctrl-C does, must not end its guard first.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("cannot start the guard of a mirror")?;
        Ok(Self { id: id.to_owned(), child })
    }

    /// Starts another if it has died. Says whether it had.
    pub(super) fn revive(&mut self) -> anyhow::Result<bool> {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            return Ok(false);
        }
        *self = Self::start(&self.id.clone())?;
        Ok(true)
    }
}

/// Runs the guard: nothing is ever written to its standard input, which closes with the watcher.
pub(super) fn run(id: &str) -> anyhow::Result<Exit> {
    let mut nothing = [0; 64];
    while std::io::stdin().read(&mut nothing).is_ok_and(|len| len > 0) {}
    let register = register()?;
    let deadline = Instant::now() + GIVE_UP;
    loop {
        // A watcher that has just died may hold its lock for a moment.
        let reaped = register.reap(Some(id))?;
        let is_there = || register.list().is_ok_and(|all| all.iter().any(|it| it.record.id == id));
        if reaped.iter().any(|mirror| mirror.problem.is_none()) || !is_there() {
            return Ok(Exit::Done);
        }
        if Instant::now() > deadline {
            return Ok(Exit::Failed);
        }
        std::thread::sleep(if reaped.is_empty() { SOON } else { LATER });
    }
}

const SOON: Duration = Duration::from_millis(5);
/// A switch that does not answer may be restarting.
const LATER: Duration = Duration::from_millis(500);
const GIVE_UP: Duration = Duration::from_secs(60);
