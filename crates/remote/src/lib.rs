//! The program's side of a controller: who it is, what it is asked, and how the parts of a session
//! become one file on this machine.

mod capture;
mod connection;
mod fetch;
mod login;
mod output;
mod past;
mod receipt;

pub use capture::{Capture, Told, Wanted};
pub use connection::{Connection, RemoteError};
pub use login::{Login, LoginError};
pub use output::Output;
pub use receipt::{Clocked, Moved, PartReceipt, SessionReceipt, receipt_in};
