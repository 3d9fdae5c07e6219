//! Where every VM is, and was.
//!
//! Sources report what they see as plain facts ([`facts`]); the resolver makes one [`Site`] of
//! them and can say why it believes what it says. Pure: no files, sockets, threads or clock.

mod change;
pub mod facts;
mod file;
mod history;
mod meaning;
mod query;
mod resolver;
mod site;
mod text;
mod timeline;

pub use change::{Change, What, changes};
pub use file::FileError;
pub use history::{Episode, History, Period};
pub use meaning::{Card, Meaning, Unclear, Wording};
pub use query::{Found, Match, MatchedBy, Query, Unfound};
pub use resolver::Resolver;
pub use site::{
    Attachment, Evidence, Host, KnownIp, Machine, MachineId, MachineKind, MachineState, Network,
    Site, SourceState, SwitchKind, Uplink, UplinkChoice, Vnic,
};
pub use timeline::{Look, Past, Since, Timeline};
