//! A small HTTP/1.1 server for the endpoints of a process: bounded in connections, header size and time.
//!
//! Bodies of requests are never read: everything these endpoints need is in the path and the query.

mod router;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::drain::Drain;

pub use router::{Handler, Parts, ReadHandler, Router, WholeResponse, query_value, text};

/// Connections served at a time; more wait in the listen queue.
const MAX_CONNECTIONS: usize = 128;
/// How long a client may take for a request's head, and stay silent between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// The head's largest size, in bytes; hyper's smallest limit is 8 KiB.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// How long a handler may take.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a connection may last at all, so that a client that does not read its answer is let go.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);
/// How long to wait after `accept` failed, e.g. for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening server of one component.
#[derive(Debug)]
pub struct HttpServer {
    name: &'static str,
    listeners: Vec<TcpListener>,
    router: Arc<Router>,
    permits: Arc<Semaphore>,
}

/// Listens on loopback only: on 127.0.0.1, and on ::1 where there is one. Port 0 takes a free one for the first.
///
/// # Errors
/// If 127.0.0.1 cannot be listened on, e.g. because another process has the port.
pub fn bind_loopback(port: u16) -> io::Result<Vec<StdListener>> {
    let v4 = listen((Ipv4Addr::LOCALHOST, port).into())?;
    let port = v4.local_addr()?.port();
    let v6 = listen((Ipv6Addr::LOCALHOST, port).into()).ok();
    Ok([Some(v4), v6].into_iter().flatten().collect())
}

/// Listens on every address of both families, or of IPv4 where there is no IPv6.
///
/// # Errors
/// If the port cannot be listened on.
pub fn bind_wildcard(port: u16) -> io::Result<Vec<StdListener>> {
    match listen((Ipv6Addr::UNSPECIFIED, port).into()) {
        Ok(listener) => Ok(vec![listener]),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        Err(_) => Ok(vec![listen((Ipv4Addr::UNSPECIFIED, port).into())?]),
    }
}

fn listen(address: SocketAddr) -> io::Result<StdListener> {
    let listener = StdListener::bind(address).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

// === impl HttpServer ===

impl HttpServer {
    /// A server of `router` on `listeners`; `name` is for the log. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// If a listener cannot be registered with the runtime.
    pub fn new(
        name: &'static str,
        listeners: Vec<StdListener>,
        router: Router,
    ) -> io::Result<Self> {
        let listeners = listeners
            .into_iter()
            .map(|listener| {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)
            })
            .collect::<io::Result<Vec<_>>>()?;
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        Ok(Self { name, listeners, router: Arc::new(router), permits })
    }

    /// The addresses it listens on.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Serves, in tasks of `drain`, until that closes. Connections finish the answer to what they were asked.
    pub fn serve(self, drain: &Drain) {
        let addresses = self.local_addrs();
        info!(server = self.name, ?addresses, "listening");
        for listener in self.listeners {
            let acceptor = Acceptor {
                name: self.name,
                listener,
                router: Arc::clone(&self.router),
                permits: Arc::clone(&self.permits),
            };
            drain.spawn(acceptor.run(drain.clone()));
        }
    }
}

/// One listener's accept loop.
struct Acceptor {
    name: &'static str,
    listener: TcpListener,
    router: Arc<Router>,
    permits: Arc<Semaphore>,
}

impl Acceptor {
    async fn run(self, drain: Drain) {
        tokio::select! {
            () = drain.closing.cancelled() => {}
            () = self.accept(&drain) => {}
        }
    }

    async fn accept(&self, drain: &Drain) {
        let mut failing = false;
        // The semaphore is never closed.
        while let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    failing = false;
                    let connection =
                        serve_connection(stream, Arc::clone(&self.router), drain.closing.clone());
                    drain.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        warn!(server = self.name, %error, "cannot accept connections, trying again");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Arc<Router>, closing: CancellationToken) {
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let router = Arc::clone(&router);
        async move {
            let (parts, _body) = request.into_parts();
            let answer = timeout(HANDLER_TIMEOUT, router.answer(parts)).await;
            Ok::<_, std::convert::Infallible>(answer.unwrap_or_else(|_| {
                text(http::StatusCode::GATEWAY_TIMEOUT, "the answer took too long\n")
            }))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let serving = async {
        tokio::select! {
            result = connection.as_mut() => return result,
            () = closing.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    };
    match timeout(CONNECTION_TIMEOUT, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "connection ended"),
        Err(_) => debug!("connection lasted too long"),
    }
}

#[cfg(test)]
mod tests;
