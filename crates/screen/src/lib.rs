//! Full-screen views of a terminal: what they know, which keys they take, how they are drawn.
//!
//! Each view is a value: told what was seen, given keys, and drawn into whatever buffer it is
//! handed. No terminal, no clock and no packets here; the program has those. So a test looks at
//! the very characters a person sees.

mod amount;
mod cursor;
mod key;
mod look;
mod parts;
mod sort;
mod tally;
mod top;
mod watch;

pub use amount::{bits, bytes, count};
pub use key::Key;
pub use look::Look;
pub use sort::Sort;
pub use tally::{End, MachineSums, Snapshot, Talk, TalkKey, Tally, Traffic};
pub use top::{Fault, Of, Top, TopAct};
pub use watch::{Leave, PointLine, Subject, VnicLine, Watch};
