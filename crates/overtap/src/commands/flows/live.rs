//! `overtap flows --live`: the packets of a VM, captured as `overtap capture` does it, into a pipe.

use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// A capture that runs beside us, with everything it has: plan, following, guard and sandbox.
pub(super) struct Capture {
    child: Child,
}

impl Capture {
    /// Captures `vm`; ended by [`end_with`](Self::end_with).
    pub(super) fn begin(vm: &str, expression: &[String]) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["capture", "--quiet", "--snaplen", SNAPLEN, "--write", "-", vm]);
        command.args(expression).stdin(Stdio::null()).stdout(Stdio::piped());
        Ok(Self { child: command.spawn()? })
    }

    /// What it writes, as a file to be read.
    pub(super) fn path(&self) -> PathBuf {
        let number = self.child.stdout.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        PathBuf::from(format!("/proc/self/fd/{number}"))
    }

    /// Closes our own end: now only whoever opened the path reads.
    pub(super) fn release(&mut self) {
        self.child.stdout = None;
    }

    /// Ends the capture when `stop` is set; what it has seen by then still comes.
    pub(super) fn end_with(&self, stop: &Arc<AtomicBool>) {
        let stop = Arc::clone(stop);
        let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return };
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(50));
            }
            // It may have had the signal from the terminal as well, and be gone.
            let _ = kill_process(pid, Signal::INT);
        });
    }

    /// Waits for its end; whether it was a good one.
    pub(super) fn finish(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.wait()?.success())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Headers, and what names an application.
const SNAPLEN: &str = "2048";
