//! Why a packet socket could not be opened, and what a person can do about it.

use std::io;
use std::path::PathBuf;

/// Why a packet socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel does not let us have packet sockets.
    #[error(
        "cannot capture on {name}: no cap_net_raw; run as root or grant it: \
         setcap cap_net_raw+ep $(command -v overtap)"
    )]
    NotPermitted {
        /// The interface.
        name: String,
    },
    /// The interface does not exist (any more).
    #[error("cannot capture on {name}: there is no such interface now; see: overtap find")]
    NoInterface {
        /// The interface.
        name: String,
    },
    /// The interface exists but is down.
    #[error("cannot capture on {name}: the interface is down; bring it up: ip link set {name} up")]
    Down {
        /// The interface.
        name: String,
    },
    /// The namespace of the interface could not be entered.
    #[error(
        "cannot enter the network namespace {path} of {name}: {source}; \
         run as root or grant cap_sys_admin"
    )]
    Namespace {
        /// The interface.
        name: String,
        /// The namespace.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The kernel has no memory for the ring.
    #[error(
        "cannot capture on {name}: the kernel gave no ring of {bytes} bytes ({source}); \
         ask for less with --buffer"
    )]
    Ring {
        /// The interface.
        name: String,
        /// What was asked for.
        bytes: u64,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The kernel refused the filter program.
    #[error(
        "cannot capture on {name}: the kernel refused the filter of {instructions} instructions \
         ({source}); raise net.core.optmem_max"
    )]
    Filter {
        /// The interface.
        name: String,
        /// Length of the program.
        instructions: usize,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Anything else the kernel said.
    #[error("cannot capture on {name}: {source}")]
    Socket {
        /// The interface.
        name: String,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl OpenError {
    /// Turns the kernel's error into the sentence that fits it.
    pub(crate) fn socket(name: &str, source: io::Error) -> Self {
        let name = name.to_owned();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted { name },
            Some(libc::ENODEV | libc::ENXIO) => Self::NoInterface { name },
            Some(libc::ENETDOWN) => Self::Down { name },
            _ => Self::Socket { name, source },
        }
    }
}
