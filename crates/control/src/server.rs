//! The controller as a server: one port, TLS, three services.
//!
//! [`desk`] is what they share: the store, the fleet, the sessions. Who speaks is settled at the
//! [`gate`] before anything else is read: for [`agents`] by a certificate, for [`people`] by a user
//! token; [`enrolment`] is told it in the first words.
//! Doors that speak something else come to the same people's service from within the process.
//! What is known of [`traffic`] is read where a collector writes it.
//! Packets pass through [`relay`] as bytes that nobody here looks into.

mod agents;
mod alerts;
mod audit;
mod desk;
mod enrolment;
mod gate;
mod hello;
mod metrics;
mod people;
mod relay;
mod sight;
mod telling;
mod threshold;
mod traffic;
mod watch;
mod whereabouts;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::MAX_MESSAGE_BYTES;
use api::proto::agents_server::AgentsServer;
use api::proto::enrolment_server::EnrolmentServer;
use api::proto::people_server::PeopleServer;
use api::within::Line;
use telemetry::scrape::Scrape;
use telemetry::{Event, Log};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;

use crate::alerts::Alert;
use crate::ca::Authority;
use crate::store::{Store, StoreError};

use self::agents::AgentsService;
use self::desk::Desk;
use self::enrolment::EnrolmentService;
use self::gate::{AgentsDoor, Announcing, Brief, PeopleDoor, connections};
use self::hello::Hello;
use self::people::PeopleService;

pub use self::traffic::Traffic;

/// How a controller is run.
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its authority.
    pub authority: Authority,
    /// Its memory.
    pub store: Box<dyn Store>,
    /// Version of the program.
    pub version: String,
    /// Where it says what happens.
    pub log: Log,
    /// Where Prometheus may ask how it is; nowhere if `None`.
    pub metrics: Option<SocketAddr>,
    /// Where what is known of traffic is.
    pub traffic: Traffic,
    /// What somebody wants to be told of.
    pub alerts: Vec<Alert>,
    /// Where lines from within this process come out, if there are any.
    pub within: Option<mpsc::Receiver<Result<Line, Infallible>>>,
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
    let authority = Arc::new(settings.authority);
    let hello = Hello::new(Arc::clone(&authority))?;
    let log = settings.log.clone();
    let desk = Arc::new(Desk::open(
        authority,
        settings.store,
        settings.version,
        settings.log,
        settings.traffic,
    )?);
    if let Some(address) = settings.metrics {
        let listen = |source| ServeError::Listen { address, source };
        let scrape = Scrape::bind(address).await.map_err(listen)?;
        desk.serve_metrics(scrape).map_err(listen)?;
    }
    let watch = tokio::spawn(Arc::clone(&desk).watch());
    let alerts = tokio::spawn(alerts::watch(Arc::clone(&desk), settings.alerts));
    ready(local);
    let agents = AgentsService(Arc::clone(&desk));
    let within = settings.within.map(|lines| tokio::spawn(from_within(Arc::clone(&desk), lines)));
    let server = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_concurrent_streams(MOST_STREAMS)
        .http2_max_header_list_size(16 << 10)
        .add_service(Brief::new(
            EnrolmentServer::new(EnrolmentService(Arc::clone(&desk)))
                .max_decoding_message_size(MOST_OF_STRANGERS),
        ))
        .add_service(InterceptedService::new(
            AgentsServer::new(agents)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            AgentsDoor(Arc::clone(&desk)),
        ))
        .add_service(people(&desk));
    let stopping = Arc::clone(&desk);
    let stopped = async move {
        until.await;
        // Lines that are open would keep the server from ending.
        stopping.close();
    };
    let connections = connections(listener, hello, desk.threshold.clone(), log);
    server.serve_with_incoming_shutdown(connections, stopped).await?;
    watch.abort();
    alerts.abort();
    if let Some(within) = within {
        within.abort();
    }
    desk.keep_changed();
    Ok(())
}

/// The people's service behind its door.
fn people(desk: &Arc<Desk>) -> InterceptedService<Announced, PeopleDoor> {
    let service = PeopleServer::new(PeopleService(Arc::clone(desk)))
        .max_decoding_message_size(MOST_OF_PEOPLE)
        .max_encoding_message_size(usize::MAX);
    let service = Announcing::new(service, Arc::clone(&desk.authority));
    InterceptedService::new(service, PeopleDoor(Arc::clone(desk)))
}

type Announced = Announcing<PeopleServer<PeopleService>>;

/// Serves people whose questions come from within this process.
async fn from_within(desk: Arc<Desk>, lines: mpsc::Receiver<Result<Line, Infallible>>) {
    let server = Server::builder()
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .add_service(people(&desk));
    if let Err(error) = server.serve_with_incoming(ReceiverStream::new(lines)).await {
        desk.log.say(Event::error(format!("the doors within this process are closed: {error}")));
    }
}

/// Calls at the same time on one connection.
const MOST_STREAMS: u32 = 256;

/// Bytes of a message from somebody who is not known yet: a token and a request for a certificate.
const MOST_OF_STRANGERS: usize = 64 << 10;

/// Bytes of a message from a user: what somebody typed.
const MOST_OF_PEOPLE: usize = 256 << 10;
