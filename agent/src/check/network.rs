//! Facts about the network, as an ordinary pod finds them: listeners answer with the address that they see.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ambit_model::Finding;
use ambit_redirect::HBONE_PORT;
use anyhow::Context as _;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use super::verdict;

/// How long one connection may take.
const LIMIT: Duration = Duration::from_secs(3);
/// How long services and routes of new pods may take to come into force.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many connections are made at once.
const AT_ONCE: usize = 50;
/// A name that every cluster's DNS knows.
const NAME: &str = "kubernetes.default.svc";

/// A pod of another node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Peer {
    node: String,
    ip: IpAddr,
}

// === impl Peer ===

impl Peer {
    /// Reads `node=address`.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let (node, ip) =
            text.split_once('=').with_context(|| format!("{text:?} is not NODE=IP"))?;
        let ip = ip.parse().with_context(|| format!("{text:?} is not NODE=IP"))?;
        Ok(Self { node: node.to_owned(), ip })
    }
}

/// Answers each connection to the tunnel's port with the address that it comes from, for ever.
pub(super) async fn listen() -> anyhow::Result<()> {
    let port = HBONE_PORT;
    let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
            .await
            .with_context(|| format!("port {port}"))?,
    };
    serve(listener).await
}

async fn serve(listener: TcpListener) -> anyhow::Result<()> {
    loop {
        let (mut connection, peer) = listener.accept().await?;
        tokio::spawn(async move {
            let answer = peer.ip().to_canonical().to_string();
            // Who does not wait for the answer has no use for it.
            let _ = connection.write_all(answer.as_bytes()).await;
        });
    }
}

/// Looks at the way to `peers`, to this pod itself through its service, and to the cluster's DNS.
pub(super) async fn look(service: IpAddr, peers: Vec<Peer>) -> Vec<Finding> {
    let all = peers.len();
    let ask = |peer: Peer| async move {
        ask_patiently(peer.ip).await.err().map(|problem| (peer.node, problem))
    };
    let unreached: Vec<_> = stream::iter(peers)
        .map(ask)
        .buffered(AT_ONCE)
        .filter_map(|one| async { one })
        .collect()
        .await;
    vec![
        verdict::tunnel_port(all, &unreached),
        verdict::hairpin(ask_patiently(service).await.map(drop)),
        verdict::dns(NAME, resolve().await),
    ]
}

/// Asks the listener at `ip` what address it sees.
pub(super) async fn ask(ip: IpAddr, limit: Duration) -> Result<IpAddr, String> {
    ask_at(SocketAddr::new(ip, HBONE_PORT), limit).await
}

async fn ask_at(address: SocketAddr, limit: Duration) -> Result<IpAddr, String> {
    let asked = timeout(limit, async {
        let mut answer = String::new();
        let mut connection = TcpStream::connect(address).await?;
        connection.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    });
    match asked.await {
        Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(answer)) => answer.parse().map_err(|_| "somebody else answers".to_owned()),
    }
}

async fn ask_patiently(ip: IpAddr) -> Result<IpAddr, String> {
    patiently(|| ask(ip, LIMIT)).await
}

async fn resolve() -> Result<Vec<IpAddr>, String> {
    patiently(|| async {
        let found = timeout(LIMIT, lookup_host((NAME, 443))).await;
        let found = found.map_err(|_| format!("no answer within {} s", LIMIT.as_secs()))?;
        Ok(found.map_err(|error| error.to_string())?.map(|address| address.ip()).collect())
    })
    .await
}

/// Tries until it works or patience ends.
async fn patiently<T, F: Future<Output = Result<T, String>>>(
    mut attempt: impl FnMut() -> F,
) -> Result<T, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Err(_) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(200)).await
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn listeners_say_whom_they_see() {
        let listener = TcpListener::bind("[::]:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(serve(listener));
        for ip in ["127.0.0.1", "::1"] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(ask_at(SocketAddr::new(ip, port), LIMIT).await, Ok(ip));
        }
        serving.abort();
        assert!(serving.await.is_err_and(|error| error.is_cancelled()));
        let gone = ask_at(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port), LIMIT).await;
        assert!(gone.as_ref().is_err_and(|problem| problem.contains("refused")), "{gone:?}");
    }

    #[test]
    fn peers_have_a_node_and_an_address() {
        let peer = Peer::parse("a.b=fd00::1").unwrap();
        assert_eq!(peer, Peer { node: "a.b".into(), ip: "fd00::1".parse().unwrap() });
        for wrong in ["", "a", "a=", "a=b", "10.0.0.1"] {
            assert!(Peer::parse(wrong).is_err(), "{wrong}");
        }
    }
}
