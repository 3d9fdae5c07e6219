//! The controller as a server: one port, TLS, three services.
//!
//! [`desk`] is what they share: the store, the fleet, the sessions. Each service checks who speaks
//! before anything else: [`enrolment`] a token, [`agents`] a certificate, [`people`] a user token.
//! Packets pass through [`relay`] as bytes that nobody here looks into.

mod agents;
mod audit;
mod desk;
mod enrolment;
mod metrics;
mod people;
mod relay;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::MAX_MESSAGE_BYTES;
use api::proto::agents_server::AgentsServer;
use api::proto::enrolment_server::EnrolmentServer;
use api::proto::people_server::PeopleServer;
use api::tls::CONTROLLER_NAME;
use jiff::Timestamp;
use telemetry::Log;
use telemetry::scrape::Scrape;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use crate::ca::{Ca, CaError};
use crate::store::{Store, StoreError};

use self::agents::AgentsService;
use self::desk::Desk;
use self::enrolment::EnrolmentService;
use self::people::PeopleService;

/// How a controller is run.
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its authority.
    pub ca: Ca,
    /// Its memory.
    pub store: Box<dyn Store>,
    /// Version of the program.
    pub version: String,
    /// Where it says what happens.
    pub log: Log,
    /// Where Prometheus may ask how it is; nowhere if `None`.
    pub metrics: Option<SocketAddr>,
}

/// Why a controller cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The place to listen at.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Its own certificate.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// Its memory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server.
    #[error("the server: {0}")]
    Server(#[from] tonic::transport::Error),
    /// The host.
    #[error("the host: {0}")]
    Io(#[from] std::io::Error),
}

/// Serves until `until` comes. `ready` is told where it listens, once it does.
///
/// # Errors
/// When it cannot begin, or cannot go on.
pub async fn serve(
    settings: Settings,
    ready: impl FnOnce(SocketAddr),
    until: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let address = settings.listen;
    let listen = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let local = listener.local_addr().map_err(listen)?;
    let (certificate, key) =
        settings.ca.issue_server(&[CONTROLLER_NAME.to_owned()], Timestamp::now())?;
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(settings.ca.chain_pem(&certificate), key))
        .client_ca_root(Certificate::from_pem(settings.ca.certificate().pem()))
        // People come with a token, and new agents with an invitation.
        .client_auth_optional(true);
    let desk = Arc::new(Desk::open(settings.ca, settings.store, settings.version, settings.log)?);
    if let Some(address) = settings.metrics {
        let listen = |source| ServeError::Listen { address, source };
        let scrape = Scrape::bind(address).await.map_err(listen)?;
        desk.serve_metrics(scrape, &certificate).map_err(listen)?;
    }
    let watch = tokio::spawn(Arc::clone(&desk).watch());
    ready(local);
    let (agents, people) = (AgentsService(Arc::clone(&desk)), PeopleService(Arc::clone(&desk)));
    let server = Server::builder()
        .tls_config(tls)?
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(8 << 20)
        .max_concurrent_streams(1024)
        .add_service(EnrolmentServer::new(EnrolmentService(Arc::clone(&desk))))
        .add_service(
            AgentsServer::new(agents)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
        )
        .add_service(PeopleServer::new(people).max_encoding_message_size(usize::MAX));
    let stopping = Arc::clone(&desk);
    let stopped = async move {
        until.await;
        // Lines that are open would keep the server from ending.
        stopping.close();
    };
    let incoming = TcpListenerStream::new(listener);
    server.serve_with_incoming_shutdown(incoming, stopped).await?;
    watch.abort();
    Ok(())
}
