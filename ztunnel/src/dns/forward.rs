//! Forwards queries to the pod's resolvers, from the pod's own network namespace.
//!
//! Each attempt has a socket and a random id of its own, the socket takes packets of that server alone, and what does
//! not answer the question is ignored: a forged answer has to guess port and id at once.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ambit_net::{ConnectError, ConnectOptions, ListenOptions, NetNs, Transparent, bind_udp};
use hickory_proto::op::{Query, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::message::{MAX_UDP, Received, ResponseHead, check_response, with_id};
use super::metrics::Metrics;

/// How long one server has for one attempt.
const ATTEMPT: Duration = Duration::from_millis(1500);
/// How long all attempts together may take: less than the 5 s that resolver libraries wait for us.
const TOTAL: Duration = Duration::from_millis(4500);
/// How often every server is asked.
const ROUNDS: usize = 3;

/// Sends queries to a pod's resolvers.
pub(super) struct Forwarder {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) netns: Option<NetNs>,
    pub(super) mark: Option<u32>,
    pub(super) metrics: Metrics,
}

/// Why no resolver answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForwardError {
    #[error("no name server is known: check resolv.conf of the pod and of this proxy")]
    NoServers,
    #[error(
        "no answer from {0}: check that it runs and that no NetworkPolicy drops the pod's queries"
    )]
    TimedOut(SocketAddr),
    #[error("cannot ask {server}: {source}")]
    Udp { server: SocketAddr, source: io::Error },
    #[error("cannot ask over TCP: {0}")]
    Connect(#[from] ConnectError),
    #[error("{server} ended the connection: {source}")]
    Tcp { server: SocketAddr, source: io::Error },
    #[error("{0} did not answer the question over TCP")]
    Mismatch(SocketAddr),
}

impl ForwardError {
    /// A stable word for the log.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NoServers => "no name server",
            Self::TimedOut(_) => "timeout",
            Self::Udp { .. } => "udp error",
            Self::Connect(_) | Self::Tcp { .. } => "tcp error",
            Self::Mismatch(_) => "mismatch",
        }
    }
}

// === impl Forwarder ===

impl Forwarder {
    /// The response of the first server that has one, or that of a server that refused, under an id of our own.
    pub(super) async fn forward(&self, query: &Received) -> Result<Vec<u8>, ForwardError> {
        let question = query.question().ok_or(ForwardError::NoServers)?;
        let end = Instant::now() + TOTAL;
        let mut refused: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
        let mut error = ForwardError::NoServers;
        for server in std::iter::repeat_n(&self.servers, ROUNDS).flatten().copied() {
            if refused.iter().any(|(by, _)| *by == server) {
                continue;
            }
            let attempt_ends = end.min(Instant::now() + ATTEMPT);
            if attempt_ends <= Instant::now() {
                break;
            }
            let asking = self.ask(server, &query.bytes, question);
            match timeout_at(attempt_ends, asking).await {
                Ok(Ok((response, head))) if is_final(head.code) => return Ok(response),
                Ok(Ok((response, _))) => refused.push((server, response)),
                Ok(Err(failed)) => error = failed,
                Err(_) => error = ForwardError::TimedOut(server),
            }
            debug!(target: "dns", %server, "name server did not answer, asking the next");
        }
        refused.pop().map(|(_, response)| response).ok_or(error)
    }

    /// Asks one server once, over TCP if the answer is too long for a datagram.
    async fn ask(
        &self,
        server: SocketAddr,
        query: &[u8],
        question: &Query,
    ) -> Result<(Vec<u8>, ResponseHead), ForwardError> {
        let asked = self.ask_udp(server, query, question).await;
        match asked.map_err(|source| ForwardError::Udp { server, source })? {
            (_, head) if head.truncated => self.ask_tcp(server, query, question).await,
            answer => Ok(answer),
        }
    }

    async fn ask_udp(
        &self,
        server: SocketAddr,
        query: &[u8],
        question: &Query,
    ) -> io::Result<(Vec<u8>, ResponseHead)> {
        let socket = self.udp_socket(server).await?;
        let id = rand::random();
        let query = with_id(query, id).ok_or(io::ErrorKind::InvalidInput)?;
        socket.send(&query).await?;
        // One byte more than is taken, to notice what was cut.
        let mut buffer = vec![0; usize::from(MAX_UDP) + 1];
        loop {
            let length = socket.recv(&mut buffer).await?;
            let packet = buffer.get(..length).unwrap_or_default();
            if let Some(mut head) = check_response(packet, id, question) {
                head.truncated |= length == buffer.len();
                return Ok((packet.to_vec(), head));
            }
            self.metrics.malformed_from_server();
        }
    }

    async fn udp_socket(&self, server: SocketAddr) -> io::Result<UdpSocket> {
        let any = match server.ip() {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let options = ListenOptions {
            mark: self.mark,
            transparent: Transparent::Never,
            reuse_port: false,
            ..ListenOptions::default()
        };
        let bind = || bind_udp(SocketAddr::new(any, 0), &options);
        let socket = match &self.netns {
            Some(netns) => netns.enter(bind)??,
            None => bind()?,
        };
        let socket = UdpSocket::from_std(socket)?;
        socket.connect(server).await?;
        Ok(socket)
    }

    async fn ask_tcp(
        &self,
        server: SocketAddr,
        query: &[u8],
        question: &Query,
    ) -> Result<(Vec<u8>, ResponseHead), ForwardError> {
        let options = ConnectOptions {
            netns: self.netns.as_ref(),
            mark: self.mark,
            timeout: ATTEMPT,
            ..ConnectOptions::default()
        };
        let mut stream = ambit_net::connect(server, &options).await?;
        let id = rand::random();
        let exchange = async {
            let query = with_id(query, id).ok_or(io::ErrorKind::InvalidInput)?;
            let length = u16::try_from(query.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
            stream.write_all(&[&length.to_be_bytes(), query.as_slice()].concat()).await?;
            let mut response = vec![0; stream.read_u16().await?.into()];
            stream.read_exact(&mut response).await?;
            io::Result::Ok(response)
        };
        let response = exchange.await.map_err(|source| ForwardError::Tcp { server, source })?;
        let Some(head) = check_response(&response, id, question) else {
            self.metrics.malformed_from_server();
            return Err(ForwardError::Mismatch(server));
        };
        Ok((response, head))
    }
}

/// Whether another server would not say better.
fn is_final(code: ResponseCode) -> bool {
    use ResponseCode::{FormErr, NotImp, Refused, ServFail};
    !matches!(code, FormErr | NotImp | Refused | ServFail)
}
