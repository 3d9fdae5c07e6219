//! The doors of the three services: who speaks is settled before a byte of what they say is read.
//!
//! Agents and people are known by what comes with the call, so strangers are refused at once.
//! Whoever enrols is known only by what they say; so they must say it shortly, and few at a time
//! are heard. Connections are counted and must get on with it as well.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use api::tls::AUTHORITY_HEADER;
use data_encoding::BASE64;
use telemetry::{Event, Log};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::service::Interceptor;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tonic::{Request, Status};

use crate::ca::{Authority, Fingerprint};
use crate::names::AgentId;

use super::desk::{Asker, Desk};
use super::hello::Hello;
use super::threshold::{Standing, Threshold};

/// Lets people in that show a good token; the service finds an [`Asker`] with the request.
#[derive(Clone)]
pub(super) struct PeopleDoor(pub(super) Arc<Desk>);

impl Interceptor for PeopleDoor {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let asker = self.0.let_in_user(&request)?;
        let_in(&self.0, &request);
        request.extensions_mut().insert(asker);
        Ok(request)
    }
}

/// Lets agents in by their certificate; the service finds an [`AgentId`] with the request.
#[derive(Clone)]
pub(super) struct AgentsDoor(pub(super) Arc<Desk>);

impl Interceptor for AgentsDoor {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let (agent, issuer) = self.0.let_in_agent(&request)?;
        let_in(&self.0, &request);
        request.extensions_mut().insert(agent);
        request.extensions_mut().insert(issuer);
        Ok(request)
    }
}

/// The connection may stay.
fn let_in(desk: &Desk, request: &Request<()>) {
    if let Some(peer) = request.remote_addr() {
        desk.threshold.let_in(peer);
    }
}

/// Who asks, as the door found out.
pub(super) fn asker<T>(request: &Request<T>) -> Result<Asker, Status> {
    let asker = request.extensions().get::<Asker>().cloned();
    asker.ok_or_else(|| Status::unauthenticated("no token was shown; see overtap login"))
}

/// Which agent speaks, as the door found out.
pub(super) fn agent<T>(request: &Request<T>) -> Result<AgentId, Status> {
    let agent = request.extensions().get::<AgentId>().cloned();
    agent.ok_or_else(|| Status::unauthenticated("no certificate was shown"))
}

/// The authority that signed the certificate of the agent that speaks, as the door found out.
pub(super) fn issuer<T>(request: &Request<T>) -> Result<Fingerprint, Status> {
    let issuer = request.extensions().get::<Fingerprint>().copied();
    issuer.ok_or_else(|| Status::unauthenticated("no certificate was shown"))
}

/// A service whose answers carry the authority's certificate while it is a new one, so that who
/// knows the one before learns of it by a line that the one before vouches for.
#[derive(Clone)]
pub(super) struct Announcing<S> {
    inner: S,
    authority: Arc<Authority>,
}

impl<S> Announcing<S> {
    pub(super) const fn new(inner: S, authority: Arc<Authority>) -> Self {
        Self { inner, authority }
    }
}

impl<S: NamedService> NamedService for Announcing<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Announcing<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.inner.call(request);
        let authority = Arc::clone(&self.authority);
        Box::pin(async move {
            let mut answer = answer.await?;
            let standing = authority.now();
            if standing.before.is_some() {
                let certificate = BASE64.encode(standing.ca.certificate().der());
                if let Ok(certificate) = certificate.parse() {
                    answer.headers_mut().insert(AUTHORITY_HEADER, certificate);
                }
            }
            Ok(answer)
        })
    }
}

/// A service that hears few callers at a time, each for a short time.
#[derive(Clone)]
pub(super) struct Brief<S> {
    inner: S,
    places: Arc<Semaphore>,
}

impl<S> Brief<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, places: Arc::new(Semaphore::new(MOST_BRIEF)) }
    }
}

impl<S: NamedService> NamedService for Brief<S> {
    const NAME: &'static str = S::NAME;
}

type Answer<E> = Pin<Box<dyn Future<Output = Result<http::Response<Body>, E>> + Send>>;

impl<S> Service<http::Request<Body>> for Brief<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let busy = Status::resource_exhausted("too many enrol at once; try again in a moment");
            return Box::pin(std::future::ready(Ok(busy.into_http())));
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = tokio::time::timeout(BRIEFLY, answer).await;
            drop(place);
            answer.unwrap_or_else(|_| {
                Ok(Status::deadline_exceeded("it took too long to say it").into_http())
            })
        })
    }
}

/// The connections of a listener once TLS is spoken on them: so many at once, the others wait.
pub(super) fn connections(
    listener: TcpListener,
    mut hello: Hello,
    threshold: Threshold,
    log: Log,
) -> ReceiverStream<io::Result<TlsStream<Counted>>> {
    let (to, connections) = mpsc::channel(1);
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    tokio::spawn(async move {
        let mut is_told = false;
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let at_threshold = tokio::select! {
                place = threshold.place() => place,
                () = to.closed() => None,
            };
            let Some(at_threshold) = at_threshold else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = to.closed() => return,
            };
            match accepted.and_then(|(stream, peer)| Ok((stream, peer, hello.acceptor()?))) {
                Ok((stream, peer, acceptor)) => {
                    is_told = false;
                    let Some(standing) = threshold.arrive(peer, at_threshold) else { continue };
                    // One that sends at once what it has; if it cannot be, it is only slower.
                    let _ = stream.set_nodelay(true);
                    let greeting = acceptor.accept(Counted { stream, standing, _place: place });
                    let to = to.clone();
                    tokio::spawn(async move {
                        // Who does not say who it is, or says what nobody believes, is gone.
                        if let Ok(Ok(greeted)) = tokio::time::timeout(HANDSHAKE, greeting).await {
                            // The server ends: so does the connection.
                            let _ = to.send(Ok(greeted)).await;
                        }
                    });
                }
                // No file left, mostly: that passes, or somebody must see it.
                Err(error) => {
                    if !std::mem::replace(&mut is_told, true) {
                        log.say(Event::error(format!("a connection cannot be accepted: {error}")));
                    }
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    });
    ReceiverStream::new(connections)
}

/// A connection that has a place as long as it lasts, and ends if nobody on it is let in.
pub(super) struct Counted {
    stream: TcpStream,
    standing: Standing,
    _place: OwnedSemaphorePermit,
}

impl Connected for Counted {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.standing.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Who enrol at the same time, and how long each may take.
const MOST_BRIEF: usize = 64;
const BRIEFLY: Duration = Duration::from_secs(10);

/// Connections at the same time: every agent has one, and one more for each part it sends.
const MOST_CONNECTIONS: usize = 16_000;

/// How long a peer may take to say who it is.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long to wait where no connection can be accepted.
const BREATH: Duration = Duration::from_millis(200);
