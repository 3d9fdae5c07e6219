//! What the program tells the shell when it ends.

use std::fmt;
use std::process::{ExitCode, Termination};

/// How a run ended; the numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: done.
    Done,
    /// 1: failed.
    Failed,
    /// 2: wrong usage.
    Usage,
    /// 3: finished, but packets were lost.
    Lost,
}

impl Exit {
    /// The exit that belongs to an error: wrong usage if it is a [`WrongUsage`], else failed.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if error.is::<WrongUsage>() { Self::Usage } else { Self::Failed }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Lost => 3,
        })
    }
}

/// An error in what was typed, not in what was found.
#[derive(Debug)]
pub(crate) struct WrongUsage(pub(crate) String);

impl fmt::Display for WrongUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongUsage {}
