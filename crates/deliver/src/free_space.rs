//! The part of the file system that must stay free.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::fs::fstatvfs;
use wire::Timestamp;

/// Watches the free space, seldom: after every 16 MiB written and every second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FreeSpace {
    reserve: u64,
    /// Bytes that may be written before looking again.
    allowance: u64,
    checked: Timestamp,
}

impl FreeSpace {
    pub(crate) const fn new(reserve: u64) -> Self {
        Self { reserve, allowance: 0, checked: Timestamp::ZERO }
    }

    /// Whether `len` bytes more, with `waiting` bytes in buffers and `closing` bytes to come at
    /// the end, leave the reserve alone.
    pub(crate) fn take(
        &mut self,
        now: Timestamp,
        directory: BorrowedFd<'_>,
        len: u64,
        unwritten: u64,
    ) -> bool {
        let is_recent = now.since(self.checked) < CHECK_EVERY && now >= self.checked;
        if !is_recent || len > self.allowance {
            // A file system that does not say is not held against the capture.
            let Ok(status) = fstatvfs(directory) else { return true };
            let free = status.f_bavail.saturating_mul(status.f_frsize);
            let budget = free.saturating_sub(self.reserve).saturating_sub(unwritten);
            self.checked = now;
            self.allowance = budget.min(CHECK_BYTES);
        }
        match self.allowance.checked_sub(len) {
            Some(left) => {
                self.allowance = left;
                true
            }
            None => false,
        }
    }
}

impl FreeSpace {
    /// Of the bytes that may be written before looking again, at most `most` are given away, and
    /// until when.
    pub(crate) fn give(&mut self, most: u64) -> (u64, Timestamp) {
        let given = most.min(self.allowance);
        self.allowance -= given;
        (given, self.checked.saturating_add(CHECK_EVERY))
    }
}

const CHECK_EVERY: Duration = Duration::from_secs(1);
const CHECK_BYTES: u64 = 16 * 1024 * 1024;
