//! Receives exports of flows: NetFlow and sFlow by UDP, IPFIX by UDP, TCP and TLS.
//!
//! A thread takes what arrives from all sockets into batches, so that nothing waits in the kernel
//! while somebody decodes; [`Receiver`] hands them out. [`Flowing`] makes settled flows of what a
//! decoder shows, [`Memory`] keeps what the decoder learnt on disk. Decoding itself is
//! [`wire::export`]'s.

mod batch;
mod flowing;
mod kernel;
mod listen;
mod memory;
mod receiver;
mod stream;
mod tls;

pub use batch::{Arrival, Batch};
pub use flowing::Flowing;
pub use listen::{Address, ListenError, Listener, Transport};
pub use memory::{Damage, Memory, MemoryError, Remembered};
pub use receiver::{Counters, Receiver};
pub use tls::{TlsError, TlsFiles, server_config};
