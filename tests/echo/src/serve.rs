//! The servers.

mod dns;
mod grpc;
mod http;
mod tcp;
mod tls;
mod websocket;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::seen::{Seen, Tls};

use dns::Record;

/// What to serve, and as whom. An address is a port (of both families) or `ip:port`; port 0 takes a free one.
#[derive(Args)]
pub(crate) struct Options {
    /// The instance's name; $HOSTNAME, or the host's own.
    #[arg(long, env = "HOSTNAME", default_value = "echo")]
    name: String,
    /// HTTP/1.1, HTTP/2 with prior knowledge, and WebSocket, all on one port.
    #[arg(long, value_name = "ADDRESS")]
    http: Vec<String>,
    /// The same over TLS with a certificate made at start.
    #[arg(long, value_name = "ADDRESS")]
    tls: Vec<String>,
    /// gRPC: ambit.echo.v1.Echo.
    #[arg(long, value_name = "ADDRESS")]
    grpc: Vec<String>,
    /// Bytes: after the client's first, a line of JSON, then everything back.
    #[arg(long, value_name = "ADDRESS")]
    tcp: Vec<String>,
    /// Bytes, where the server speaks first: the line of JSON, then everything back.
    #[arg(long, value_name = "ADDRESS")]
    tcp_banner: Vec<String>,
    /// A DNS responder over UDP; answers what --dns-record says and NXDOMAIN otherwise.
    #[arg(long, value_name = "ADDRESS")]
    udp_dns: Vec<String>,
    /// An A or AAAA record of the DNS responder; may be repeated.
    #[arg(long, value_name = "NAME=IP")]
    dns_record: Vec<Record>,
}

/// One accepted connection, as far as it is known.
#[derive(Clone)]
pub(crate) struct Connection {
    name: Arc<str>,
    peer: SocketAddr,
    local: SocketAddr,
    tls: Option<Tls>,
}

/// What a signal brings to an end: nothing new is accepted, and requests of HTTP are answered.
#[derive(Clone, Default)]
struct Ending {
    closing: CancellationToken,
    running: TaskTracker,
}

/// How long requests may take after a signal.
const GRACE: Duration = Duration::from_secs(10);
/// How long to wait after `accept` failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves everything that `options` name until a signal.
pub(crate) async fn run(options: Options) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let ending = Ending::default();
    let addresses = start(options, &ending).await?;
    println!("{}", serde_json::json!({ "listening": addresses }));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    ending.closing.cancel();
    ending.running.close();
    // What takes longer is cut off.
    let _ = tokio::time::timeout(GRACE, ending.running.wait()).await;
    Ok(())
}

/// The addresses of the running servers by protocol.
type Addresses = BTreeMap<&'static str, Vec<SocketAddr>>;

async fn start(options: Options, ending: &Ending) -> Result<Addresses> {
    let name: Arc<str> = options.name.into();
    let mut addresses = Addresses::new();
    let mut note = |protocol, address| addresses.entry(protocol).or_default().push(address);

    for address in &options.http {
        let (running, closing) = (ending.running.clone(), ending.closing.clone());
        let serve = move |stream: TcpStream, connection| {
            let closing = closing.clone();
            running.track_future(async move {
                // What has not been asked yet is not ended by a signal.
                stream.peek(&mut [0]).await?;
                http::serve(stream, connection, closing).await
            })
        };
        note("http", accept(address, &name, ending, serve).await?);
    }
    if !options.tls.is_empty() {
        let (acceptor, all) = (tls::acceptor(&name)?, ending.clone());
        for address in &options.tls {
            let (acceptor, ending) = (acceptor.clone(), ending.clone());
            let serve = move |stream, connection| {
                let closing = ending.closing.clone();
                ending.running.track_future(tls::serve(
                    acceptor.clone(),
                    stream,
                    connection,
                    closing,
                ))
            };
            note("tls", accept(address, &name, &all, serve).await?);
        }
    }
    for address in &options.grpc {
        note("grpc", accept(address, &name, ending, grpc::serve).await?);
    }
    for address in &options.tcp {
        note("tcp", accept(address, &name, ending, tcp::client_first).await?);
    }
    for address in &options.tcp_banner {
        note("tcpBanner", accept(address, &name, ending, tcp::server_first).await?);
    }
    let records: Arc<[Record]> = options.dns_record.into();
    for address in &options.udp_dns {
        let address = parse_address(address)?;
        let socket = UdpSocket::bind(address)
            .await
            .with_context(|| format!("listening on {address}/udp"))?;
        note("udpDns", socket.local_addr()?);
        tokio::spawn(dns::serve(socket, Arc::clone(&records)));
    }
    anyhow::ensure!(
        !addresses.is_empty(),
        "nothing to serve: name a protocol, for example --http 8080"
    );
    Ok(addresses)
}

/// Listens on `address` and serves each connection in a task of its own, until the end; then those that wait already.
async fn accept<S, F>(
    address: &str,
    name: &Arc<str>,
    ending: &Ending,
    serve: S,
) -> Result<SocketAddr>
where
    S: Fn(TcpStream, Connection) -> F + Send + 'static,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let listener = listen(address).await?;
    let address = listener.local_addr()?;
    let (name, closing) = (Arc::clone(name), ending.closing.clone());
    let start = move |stream: TcpStream, peer| {
        let Ok(local) = stream.local_addr() else { return };
        let _ = stream.set_nodelay(true);
        let connection = Connection { name: Arc::clone(&name), peer, local, tls: None };
        let serving = serve(stream, connection);
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                eprintln!("{peer}: {error:#}");
            }
        });
    };
    ending.running.spawn(async move {
        while let Some(accepted) = closing.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, peer)) => start(stream, peer),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
        let Ok(listener) = listener.into_std() else { return };
        while let Ok((stream, peer)) = listener.accept() {
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            stream.into_iter().for_each(|stream| start(stream, peer));
        }
    });
    Ok(address)
}

async fn listen(address: &str) -> Result<TcpListener> {
    let address = parse_address(address)?;
    TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))
}

/// A port alone means both families where there is IPv6.
fn parse_address(text: &str) -> Result<SocketAddr> {
    if let Ok(port) = text.parse::<u16>() {
        let v6 = std::net::UdpSocket::bind("[::]:0").is_ok();
        let any = if v6 { "[::]" } else { "0.0.0.0" };
        return Ok(format!("{any}:{port}").parse()?);
    }
    text.parse().with_context(|| format!("{text:?} is neither a port nor ip:port"))
}

impl Connection {
    fn seen(&self, protocol: impl Into<String>) -> Seen {
        Seen {
            name: self.name.to_string(),
            protocol: protocol.into(),
            peer: canonical(self.peer),
            local: canonical(self.local),
            tls: self.tls.clone(),
            request: None,
        }
    }
}

/// IPv4 clients of an IPv6 socket are told as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
