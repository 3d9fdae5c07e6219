//! The program's side of a controller: who it is, what it is asked, and how the parts of a session
//! become one file on this machine, or objects in a store and from there one file.

#[cfg(feature = "s3")]
mod bucket;
mod capture;
mod connection;
mod fetch;
#[cfg(feature = "s3")]
mod keep;
mod login;
mod output;
mod past;
mod receipt;
#[cfg(feature = "s3")]
mod stored;

#[cfg(feature = "s3")]
pub use bucket::{Access, Bucket, BucketAddress, BucketError};
pub use capture::{Capture, Keeper, Told, Wanted};
pub use connection::{Connection, RemoteError};
#[cfg(feature = "s3")]
pub use keep::{KeepError, Keeping, Kept};
pub use login::{Login, LoginError};
pub use output::Output;
pub use receipt::{Clocked, Moved, PartReceipt, SessionReceipt, receipt_in};
#[cfg(feature = "s3")]
pub use stored::StoredSession;
