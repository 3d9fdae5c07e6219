//! Makes mirrors: has a switch or the kernel copy a VM's packets to a tool.
//!
//! The only part of this crate that changes anything on the host. What it changes is written down
//! first ([`Register`]), read back after, watched while it lasts, and removed by its exact handle: by
//! its watcher, or, if that was killed, by whoever asks the register next. Nothing that is not
//! certainly our own is ever removed.

mod ovs;
mod register;
mod session;
mod tap;
mod underlay;

use std::io;

pub use self::ovs::{Address, OvnHandle, OvsHandle};
pub use self::register::{Counts, Handle, Listed, Reaped, Record, Register, Slot, State};
pub use self::session::{Followed, Mirroring, Order, Oversize, Removal};
pub use self::tap::{DeviceHandle, FilterHandle};

/// Why a mirror was not made, or not removed.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// It would not work, or do harm; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// A VM's port is in another network than it was: whoever asked for the mirror asked for
    /// another's packets. Nothing was changed.
    #[error("{0}")]
    OtherNetwork(String),
    /// The means was asked and did not do it; what was begun is undone.
    #[error("{0}")]
    Failed(String),
    /// What is to be changed could not be written down, so it was not changed.
    #[error("cannot write down what is mirrored in {directory}: {error}")]
    State {
        /// Where.
        directory: String,
        /// Why not.
        error: io::Error,
    },
}

/// An instruction of classic BPF: operation, jumps if true and if false, operand.
pub type Instruction = (u16, u8, u8, u32);

/// The network namespace of the calling thread, as `BOOT:INODE`: what it holds does not outlive it.
fn network_namespace() -> io::Result<String> {
    use std::os::unix::fs::MetadataExt;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let inode = std::fs::metadata("/proc/thread-self/ns/net")?.ino();
    Ok(format!("{}:{inode}", boot.trim()))
}

/// Bytes nobody can guess, in hexadecimal.
fn random_hex(bytes: usize) -> io::Result<String> {
    use std::io::Read;
    let mut random = vec![0; bytes];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
