//! Connections: TLS or, on loopback, none; so many at once, and each must get on with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::places::Places;
use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use telemetry::{Event, Log};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tonic::codegen::Service;

use crate::person::Peer;

/// Why the door does not open.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The place to listen at.
    #[error("cannot listen at {address} for the page: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// A certificate is needed and there is none.
    #[error("{0} is no loopback address: there the page needs a certificate")]
    Plain(SocketAddr),
    /// The certificate or its key.
    #[error("the page's certificate or key cannot be used: {0}")]
    Certificate(String),
}

/// A certificate with those above it, and its key; PEM.
pub struct Certified {
    /// The certificate, then those above it.
    pub chain_pem: String,
    /// The key.
    pub key_pem: String,
}

impl Certified {
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, WebError> {
        let failed = |error: String| WebError::Certificate(error);
        let chain = CertificateDer::pem_slice_iter(self.chain_pem.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|e| failed(e.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes());
        let key = key.map_err(|error| failed(error.to_string()))?;
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(chain, key);
        let mut config = config.map_err(|error| failed(error.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Answers everybody who connects, for ever.
pub(crate) async fn answer(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    routes: Router,
    log: Log,
) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let of_one = Places::new(MOST_OF_ONE);
    // Those that are open end with us.
    let mut open = JoinSet::new();
    let mut is_told = false;
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while open.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, peer)) => {
                is_told = false;
                // Those on this host come through ssh, or a proxy, on behalf of many.
                let theirs = match peer.ip().to_canonical().is_loopback() {
                    true => None,
                    false => match of_one.take(peer.ip()) {
                        Some(theirs) => Some(theirs),
                        None => continue,
                    },
                };
                let (tls, routes) = (tls.clone(), routes.clone());
                open.spawn(async move {
                    connection(stream, peer, tls, routes).await;
                    drop((place, theirs));
                });
            }
            // No file left, mostly: that passes, or somebody must see it.
            Err(error) => {
                if !std::mem::replace(&mut is_told, true) {
                    log.say(Event::error(format!("a browser cannot be accepted: {error}")));
                }
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>, routes: Router) {
    // One that sends at once what it has; if it cannot be, it is only slower.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return speak(stream, peer, routes).await };
    if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
        speak(stream, peer, routes).await;
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    routes: Router,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        routes.clone().call(request)
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_headers(64);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(16 << 10)
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(PATIENCE);
    // Whoever breaks off has no more to hear.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

/// How long somebody may take to say what they want.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections at the same time; the others wait. A browser has six at most, or one.
const MOST_CONNECTIONS: usize = 1_000;

/// Of one address; more are turned away.
const MOST_OF_ONE: usize = 250;

/// Questions at the same time on one connection.
const MOST_STREAMS: u32 = 100;

/// How long to wait where no connection can be accepted.
const BREATH: Duration = Duration::from_millis(200);
