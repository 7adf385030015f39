//! UDP and TCP sockets in a node's namespace.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{MAX_SIZE, Zone};
use crate::room::Room;
use crate::services::{DNS_V4, DNS_V6};

/// How long a TCP connection may be idle.
const IDLE: Duration = Duration::from_secs(10);
/// How many TCP connections a node serves at a time.
const CONNECTIONS: usize = 64;

/// A node's server; it stops when dropped.
#[derive(Debug)]
pub(crate) struct DnsServer {
    _tasks: JoinSet<()>,
}

// === impl DnsServer ===

impl DnsServer {
    /// Serves `zone`, as it is at each moment, on the cluster's DNS addresses in a node.
    pub(crate) fn start(node: &Room, ipv6: bool, zone: Arc<RwLock<Arc<Zone>>>) -> io::Result<Self> {
        let mut addresses = vec![SocketAddr::from((DNS_V4, 53))];
        addresses.extend(ipv6.then_some(SocketAddr::from((DNS_V6, 53))));
        let mut tasks = JoinSet::new();
        for address in addresses {
            let (udp, tcp) = node.run(move || {
                let udp = std::net::UdpSocket::bind(address)?;
                let tcp = std::net::TcpListener::bind(address)?;
                udp.set_nonblocking(true)?;
                tcp.set_nonblocking(true)?;
                Ok::<_, io::Error>((udp, tcp))
            })??;
            tasks.spawn(serve_udp(UdpSocket::from_std(udp)?, zone.clone()));
            tasks.spawn(serve_tcp(TcpListener::from_std(tcp)?, zone.clone()));
        }
        Ok(Self { _tasks: tasks })
    }
}

async fn serve_udp(socket: UdpSocket, zone: Arc<RwLock<Arc<Zone>>>) {
    let mut buffer = vec![0; MAX_SIZE.into()];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let zone = zone.read().clone();
        if let Some(answer) = zone.answer(buffer.get(..length).unwrap_or_default(), true) {
            let _ = socket.send_to(&answer, peer).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<RwLock<Arc<Zone>>>) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(connections.spawn(serve_stream(stream, zone.clone()))),
            // Out of descriptors: the oldest waiting client is not served sooner by asking again at once.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
    }
}

/// Answers requests, each behind its length in two bytes, until the client is done.
async fn serve_stream(mut stream: TcpStream, zone: Arc<RwLock<Arc<Zone>>>) {
    let mut request = Vec::new();
    while let Ok(Ok(length)) = timeout(IDLE, stream.read_u16()).await {
        request.resize(length.into(), 0);
        if !matches!(timeout(IDLE, stream.read_exact(&mut request)).await, Ok(Ok(_))) {
            return;
        }
        let zone = zone.read().clone();
        let Some(answer) = zone.answer(&request, false) else {
            return;
        };
        let Ok(length) = u16::try_from(answer.len()) else {
            return;
        };
        let framed = [&length.to_be_bytes(), answer.as_slice()].concat();
        if !matches!(timeout(IDLE, stream.write_all(&framed)).await, Ok(Ok(()))) {
            return;
        }
    }
}
