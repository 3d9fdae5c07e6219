//! What Ctrl-C and its like mean to a command that runs until somebody stops it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ctrl-C, SIGTERM and the hang-up: they end the program before and long after the capture, and the capture
/// in between.
pub(in crate::commands) struct Signals {
    has_come: Arc<AtomicBool>,
    is_deadly: Arc<AtomicBool>,
}

impl Signals {
    /// From now on a signal is ours to judge; it still ends the program.
    pub(in crate::commands) fn take() -> std::io::Result<Self> {
        let has_come = Arc::new(AtomicBool::new(false));
        let is_deadly = Arc::new(AtomicBool::new(true));
        let mut signals = vec![signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM];
        // A terminal that closes ends a capture as Ctrl-C does; nohup means that it shall go on.
        if !agent::is_hangup_ignored() {
            signals.push(signal_hook::consts::SIGHUP);
        }
        for signal in signals {
            signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&is_deadly))?;
            signal_hook::flag::register(signal, Arc::clone(&has_come))?;
        }
        Ok(Self { has_come, is_deadly })
    }

    /// The next signal asks for the end, and for the receipt.
    pub(in crate::commands) fn keep_alive(&self) {
        self.is_deadly.store(false, Ordering::Relaxed);
    }

    /// The next signal comes from somebody who waits no longer.
    pub(in crate::commands) fn give_up(&self) {
        self.is_deadly.store(true, Ordering::Relaxed);
    }

    pub(in crate::commands) fn have_come(&self) -> bool {
        self.has_come.load(Ordering::Relaxed)
    }
}
