//! What every question needs: the way to the controller, and who is logged in.

use std::sync::Arc;

use api::document::Wish;
use api::within::Passage;
use tokio::sync::Semaphore;

use crate::invitation::Invitation;
use crate::logins::Logins;

/// The door, shared by all who ask.
pub(crate) struct Door {
    /// The way to the controller.
    pub(crate) passage: Passage,
    /// Browsers that are logged in.
    pub(crate) logins: Logins,
    /// Whether it speaks TLS, so that cookies need not travel without.
    pub(crate) is_tls: bool,
    /// What a capture is where nobody says otherwise.
    pub(crate) defaults: Wish,
    /// The program, for the files that are written.
    pub(crate) application: String,
    /// What logs a browser in that comes by a link.
    pub(crate) invitation: Option<Invitation>,
    /// Places for those who read captures.
    pub(crate) readers: Arc<Semaphore>,
}
