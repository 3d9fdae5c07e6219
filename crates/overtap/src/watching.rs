//! What the full-screen views look at: packets that are metered as they come, and what happens.
//!
//! Packets come from a capture that runs beside us, as `overtap capture` does it with everything it
//! has: plan, following, guard and sandbox, on this host or through the controller. It writes into
//! a pipe the first bytes of each packet, which are counted and forgotten.

mod feed;
mod metering;
mod surroundings;
mod terminal;

pub(crate) use feed::{Feed, Said, TELL, Told, with_time};
pub(crate) use metering::Seen;
pub(crate) use surroundings::{Surroundings, Where};
pub(crate) use terminal::{Input, Terminal, look, needs_terminal};
