//! A way to the controller's services within its own process, for doors that speak something else.
//!
//! Nothing here is on a network: no TLS, and whoever holds a [`Passage`] says for whom it asks.
//! Everybody still shows a token with each call.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tonic::codegen::{Service, http::Uri};
use tonic::transport::server::{Connected, TcpConnectInfo};
use tonic::transport::{Channel, Endpoint};

/// Opens lines to the services.
#[derive(Debug, Clone)]
pub struct Passage(mpsc::Sender<Result<Line, Infallible>>);

/// A line, as the services see it: a connection of whoever is asked for.
#[derive(Debug)]
pub struct Line {
    stream: DuplexStream,
    from: SocketAddr,
}

/// A passage, and where its lines come out.
pub fn passage() -> (Passage, mpsc::Receiver<Result<Line, Infallible>>) {
    let (to, lines) = mpsc::channel(WAITING);
    (Passage(to), lines)
}

impl Passage {
    /// A channel on which everything comes from `from`, for the audit log. The line is made when
    /// it is first used, and again whenever it has to.
    pub fn channel(&self, from: SocketAddr) -> Channel {
        // The name is nowhere looked up; a URI has to have one.
        Endpoint::from_static("http://controller")
            .connect_with_connector_lazy(Opener { passage: self.clone(), from })
    }
}

/// Opens the line of a channel.
#[derive(Debug, Clone)]
struct Opener {
    passage: Passage,
    from: SocketAddr,
}

impl Service<Uri> for Opener {
    type Response = TokioIo<DuplexStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { passage: Passage(to), from } = self.clone();
        Box::pin(async move {
            let (ours, stream) = tokio::io::duplex(BUFFER_BYTES);
            let sent = to.send(Ok(Line { stream, from })).await;
            sent.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            Ok(TokioIo::new(ours))
        })
    }
}

impl Connected for Line {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo { local_addr: None, remote_addr: Some(self.from) }
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Line {
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
}

/// Lines that were asked for and not taken up yet.
const WAITING: usize = 64;

/// Bytes on their way in a line, each way.
const BUFFER_BYTES: usize = 256 << 10;
