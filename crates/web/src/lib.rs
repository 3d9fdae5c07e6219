//! The HTTP door of a controller: the JSON API, and the page that uses it.
//!
//! A gateway: whatever is asked is put to the controller's people's service in the same process,
//! with the token of whoever asks, and their address. What they may see and do is decided there
//! and nowhere here, and so it is in the audit log. Packets are woven as for
//! `overtap sessions fetch`. Decision 0015 says why.

mod door;
mod invitation;
mod list;
mod logins;
mod page;
mod person;
mod problem;
mod routes;
mod serve;
mod view;
mod woven;

use std::net::SocketAddr;
use std::sync::Arc;

use api::document::Wish;
use api::within::Passage;
use telemetry::Log;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use self::door::Door;
use self::logins::Logins;

pub use self::invitation::Invitation;
pub use self::routes::openapi;
pub use self::serve::{Certified, WebError};

/// How the door is opened.
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What it shows as TLS server; `None` for plain HTTP, on loopback alone.
    pub certified: Option<Certified>,
    /// The way to the controller.
    pub passage: Passage,
    /// What a capture is where whoever asks for one does not say otherwise.
    pub defaults: Wish,
    /// The program, for the files that are written.
    pub application: String,
    /// What logs a browser in that comes by a link.
    pub invitation: Option<Invitation>,
    /// Where it says what happens.
    pub log: Log,
}

/// Opens the door, and answers until it is dropped. `ready` is told where it listens, once it does.
///
/// # Errors
/// When it cannot be opened.
pub async fn serve(settings: Settings, ready: impl FnOnce(SocketAddr)) -> Result<(), WebError> {
    let address = settings.listen;
    if settings.certified.is_none() && !address.ip().is_loopback() {
        return Err(WebError::Plain(address));
    }
    let tls = settings.certified.as_ref().map(Certified::acceptor).transpose()?;
    let listen = |source| WebError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    ready(listener.local_addr().map_err(listen)?);
    if let Some(invitation) = &settings.invitation {
        invitation.open();
    }
    let door = Arc::new(Door {
        passage: settings.passage,
        logins: Logins::default(),
        is_tls: tls.is_some(),
        defaults: settings.defaults,
        application: settings.application,
        invitation: settings.invitation,
        readers: Arc::new(Semaphore::new(MOST_READERS)),
    });
    serve::answer(listener, tls, routes::routes(door), settings.log).await;
    Ok(())
}

/// Captures that are read at the same time: each has a thread.
const MOST_READERS: usize = 64;
