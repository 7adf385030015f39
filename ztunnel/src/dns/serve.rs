//! Takes queries from a pod's sockets and sends the answers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::PodSockets;
use super::message::{MAX_UDP, Transport};
use super::query::{PodResolver, Step};

/// TCP connections of one pod at a time; more wait in the listen queue.
const MAX_CONNECTIONS: usize = 64;
/// How long a TCP client may be silent, take to send a message, or take to read one.
const IDLE: Duration = Duration::from_secs(10);
/// How long queries that have arrived may take once the pod is leaving.
const FINISH: Duration = Duration::from_secs(5);
/// How long no datagram must have come before the socket is closed, and how many are waited for at most.
const QUIET: Duration = Duration::from_millis(2);
const MAX_QUEUED: usize = 1024;
/// How long to wait after a socket reported an error that is not the client's.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// What the tasks of one pod share.
#[derive(Clone)]
struct Server {
    resolver: Arc<PodResolver>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

/// Serves until `closing` is cancelled and what had arrived is answered.
pub(super) async fn run(
    resolver: Arc<PodResolver>,
    sockets: PodSockets,
    closing: CancellationToken,
) -> io::Result<()> {
    let mut udp = Vec::new();
    for socket in sockets.udp {
        socket.set_nonblocking(true)?;
        udp.push(UdpSocket::from_std(socket)?);
    }
    let mut tcp = Vec::new();
    for listener in sockets.tcp {
        listener.set_nonblocking(true)?;
        tcp.push(TcpListener::from_std(listener)?);
    }
    let server = Server { resolver, closing, tasks: TaskTracker::new() };
    for socket in udp {
        server.tasks.spawn(server.clone().serve_udp(Arc::new(socket)));
    }
    for listener in tcp {
        server.tasks.spawn(server.clone().serve_tcp(listener));
    }
    server.closing.cancelled().await;
    server.tasks.close();
    if timeout(FINISH, server.tasks.wait()).await.is_err() {
        debug!(target: "dns", "queries were still under way when their pod left");
    }
    Ok(())
}

// === impl Server ===

impl Server {
    async fn serve_udp(self, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0; usize::from(MAX_UDP)];
        loop {
            let received = tokio::select! {
                received = socket.recv_from(&mut buffer) => received,
                () = self.closing.cancelled() => break,
            };
            match received {
                Ok((length, peer)) => self.take(&socket, buffer.get(..length), peer).await,
                Err(error) => {
                    warn!(target: "dns", %error, "cannot receive queries");
                    sleep(ERROR_PAUSE).await;
                }
            }
        }
        // What is queued would be lost with the socket. A flood does not keep it open.
        for _ in 0..MAX_QUEUED {
            let Ok(Ok((length, peer))) = timeout(QUIET, socket.recv_from(&mut buffer)).await else {
                return;
            };
            self.take(&socket, buffer.get(..length), peer).await;
        }
    }

    async fn take(&self, socket: &Arc<UdpSocket>, packet: Option<&[u8]>, peer: SocketAddr) {
        match self.resolver.begin(packet.unwrap_or_default(), Transport::Udp) {
            Step::Done(reply) => send(socket, reply, peer).await,
            Step::Later(pending) => {
                let (resolver, socket) = (Arc::clone(&self.resolver), Arc::clone(socket));
                self.tasks.spawn(async move {
                    send(&socket, resolver.finish(pending).await, peer).await;
                });
            }
        }
    }

    async fn serve_tcp(self, listener: TcpListener) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = async {
                    let permit = Arc::clone(&permits).acquire_owned().await.ok();
                    (listener.accept().await, permit)
                } => accepted,
                () = self.closing.cancelled() => return,
            };
            match accepted {
                (Ok((stream, _)), permit) => {
                    let server = self.clone();
                    self.tasks.spawn(async move {
                        if let Err(error) = server.serve_connection(stream).await {
                            debug!(target: "dns", %error, "connection ended");
                        }
                        drop(permit);
                    });
                }
                (Err(error), _) => {
                    warn!(target: "dns", %error, "cannot accept connections");
                    sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    /// One message after the other, each behind its length (RFC 1035 4.2.2).
    async fn serve_connection(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        loop {
            let message = tokio::select! {
                message = timeout(IDLE, read_message(&mut stream)) => message??,
                () = self.closing.cancelled() => return Ok(()),
            };
            let Some(message) = message else { return Ok(()) };
            let reply = match self.resolver.begin(&message, Transport::Tcp) {
                Step::Done(reply) => reply,
                Step::Later(pending) => self.resolver.finish(pending).await,
            };
            let Some(reply) = reply else { return Ok(()) };
            timeout(IDLE, write_message(&mut stream, &reply)).await??;
        }
    }
}

/// A client that does not get its answer asks again.
async fn send(socket: &UdpSocket, reply: Option<Vec<u8>>, peer: SocketAddr) {
    let Some(reply) = reply else { return };
    if let Err(error) = socket.send_to(&reply, peer).await {
        debug!(target: "dns", %error, "cannot send an answer");
    }
}

/// The next message; none at the end of the connection.
async fn read_message(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}
