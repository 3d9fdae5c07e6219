//! Where every VM is, and was.
//!
//! Sources report what they see as plain facts ([`facts`]); the resolver makes one [`Site`] of
//! them and can say why it believes what it says. Pure: no files, sockets, threads or clock.

pub mod facts;
mod resolver;
mod site;

pub use resolver::Resolver;
pub use site::{
    Attachment, Evidence, Host, KnownIp, Machine, MachineId, MachineKind, MachineState, Network,
    Site, SourceState, SwitchKind, Uplink, UplinkChoice, Vnic,
};
