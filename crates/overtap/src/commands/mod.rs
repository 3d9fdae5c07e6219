//! One module for each word a person types after `overtap`.

pub(crate) mod agent;
pub(crate) mod agents;
pub(crate) mod audit;
pub(crate) mod capture;
pub(crate) mod collect;
pub(crate) mod decode;
pub(crate) mod every_port;
pub(crate) mod exporters;
pub(crate) mod extcap;
pub(crate) mod extract;
pub(crate) mod filter;
pub(crate) mod find;
pub(crate) mod flows;
pub(crate) mod grants;
pub(crate) mod login;
pub(crate) mod mirror;
pub(crate) mod plan;
pub(crate) mod receipt;
pub(crate) mod record;
pub(crate) mod recorder;
pub(crate) mod serve;
pub(crate) mod sessions;
pub(crate) mod stat;
pub(crate) mod status;
#[cfg(feature = "flow-store")]
pub(crate) mod store;
#[cfg(not(feature = "flow-store"))]
#[path = "store_absent.rs"]
pub(crate) mod store;
pub(crate) mod tokens;
pub(crate) mod tools;
pub(crate) mod top;
pub(crate) mod users;
pub(crate) mod watch;

/// Prints to standard output. A reader that has seen enough and closed the pipe is no error.
pub(crate) fn print_out(text: &[u8]) -> anyhow::Result<()> {
    use std::io::{ErrorKind, Write};

    match std::io::stdout().lock().write_all(text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
