//! Serves the page to Prometheus: plain HTTP/1.1, `GET /metrics`, nothing else.
//!
//! Whoever can connect can read, so it listens only where it is told to. What a peer may hold of
//! us is bounded: connections, headers, and how long it may take to send them.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::metrics::Page;

/// A place where a page is to be had.
#[derive(Debug)]
pub struct Scrape {
    listener: TcpListener,
}

impl Scrape {
    /// Listens at `address`. Whoever comes is answered once [`Self::serve`] runs.
    ///
    /// # Errors
    /// When it is taken or not ours.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await? })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers for ever. `page` is asked each time, on a thread that may wait.
    pub async fn serve(self, page: impl Fn() -> Page + Send + Sync + 'static) {
        let page = Arc::new(page);
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(_) => {
                    // No file descriptor is left, or the peer is gone already.
                    tokio::time::sleep(AFTER_TROUBLE).await;
                    continue;
                }
            };
            let page = Arc::clone(&page);
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, Arc::clone(&page)));
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(PATIENCE)
                    .max_buf_size(MOST_HEADER_BYTES)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                // A reader that never reads would keep its place for ever.
                let _ = tokio::time::timeout(2 * PATIENCE, connection).await;
                drop(place);
            });
        }
    }
}

async fn answer<P>(
    request: Request<Incoming>,
    page: Arc<P>,
) -> Result<Response<Full<Bytes>>, Infallible>
where
    P: Fn() -> Page + Send + Sync + 'static,
{
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    Ok(match (is_read, request.uri().path()) {
        (true, "/metrics") => match tokio::task::spawn_blocking(move || page()).await {
            Ok(page) => response(StatusCode::OK, TEXT_FORMAT, page.into_text()),
            Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the figures cannot be read\n"),
        },
        (true, _) => plain(StatusCode::NOT_FOUND, "see /metrics\n"),
        (false, _) => {
            let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
            refusal.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET"));
            refusal
        }
    })
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", text.to_owned())
}

fn response(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
const MOST_CONNECTIONS: usize = 16;
const MOST_HEADER_BYTES: usize = 16 * 1024;
/// How long a peer may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);
const AFTER_TROUBLE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::metrics::Kind;

    async fn asked(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // One that is cut off in the middle is an answer, too.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_page_and_nothing_else_is_served() {
        let scrape = Scrape::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = scrape.address().unwrap();
        tokio::spawn(scrape.serve(|| {
            let mut page = Page::default();
            page.one("x", Kind::Gauge, "X.", 1_u64);
            page
        }));
        let good = asked(address, b"GET /metrics?a=b HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(good.starts_with("HTTP/1.1 200 OK\r\n"), "{good}");
        assert!(good.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
        assert!(good.ends_with("\r\n\r\n# HELP x X.\n# TYPE x gauge\nx 1\n"), "{good}");
        for (request, status) in [
            (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], "404"),
            (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "405"),
            (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", "400"),
        ] {
            let answer = asked(address, request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        }
        let mut endless = b"GET /metrics HTTP/1.1\r\nX: ".to_vec();
        endless.resize(64 * 1024, b'a');
        let answer = asked(address, &endless).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn peers_that_say_nothing_do_not_keep_others_out_for_ever() {
        let scrape = Scrape::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = scrape.address().unwrap();
        tokio::spawn(scrape.serve(Page::default));
        let mut silent = Vec::new();
        for _ in 0..MOST_CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let request = asked(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        let answer = tokio::time::timeout(3 * PATIENCE, request).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}
