//! Peers that this process plays itself: sockets in pods' namespaces, certificates of the mesh's own CA.

mod caller;
mod server;

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ambit_identity::{CertificateSource, LocalCa, LocalSource};
use ambit_model::Identity;
use ambit_net::{ConnectError, ConnectOptions, ListenOptions, Transparent};
use ambit_sandbox::Room;
use ambit_tls::{Credential, Revocations};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::Mesh;
use crate::mesh::NAMESPACE;
use crate::wait::{DEADLINE, soon};

pub use caller::{Answer, Caller, Tunnel, connect_request};
pub use server::{Peer, Seen};

/// How long the certificates of played peers count.
const LIFETIME: Duration = Duration::from_secs(3600);

/// The identity of a service account of the mesh; every pod has one of its own name.
pub fn identity(account: &str) -> Identity {
    Identity::new("cluster.local", NAMESPACE, account)
}

/// Says `greeting` on a line of its own, then echoes until the other side ends.
///
/// # Errors
/// The connection breaks.
pub async fn greet<IO>(io: IO, greeting: &str) -> io::Result<()>
where
    IO: AsyncRead + AsyncWrite,
{
    let (mut read, mut write) = tokio::io::split(io);
    write.write_all(format!("{greeting}\n").as_bytes()).await?;
    tokio::io::copy(&mut read, &mut write).await?;
    write.shutdown().await
}

impl Mesh {
    /// A pod's IPv4 address with a port.
    ///
    /// # Panics
    /// There is no such pod.
    pub fn at(&self, pod: &str, port: u16) -> SocketAddr {
        SocketAddr::new(self.pod(pod).ip(), port)
    }

    /// A pod's IPv6 address with a port.
    ///
    /// # Panics
    /// There is no such pod, or it has none.
    pub fn at_v6(&self, pod: &str, port: u16) -> SocketAddr {
        let ip = self.pod(pod).ips().iter().copied().find(IpAddr::is_ipv6);
        SocketAddr::new(ip.expect("the pod has an IPv6 address"), port)
    }

    /// Connects from inside a pod, as one of its programs would.
    ///
    /// # Errors
    /// As for any TCP connect.
    pub async fn dial(&self, pod: &str, to: SocketAddr) -> Result<TcpStream, ConnectError> {
        let netns = Some(self.pod(pod).room().netns());
        let options = ConnectOptions { netns, timeout: DEADLINE, ..ConnectOptions::default() };
        ambit_net::connect(to, &options).await
    }

    /// Listens on every address of a pod.
    ///
    /// # Panics
    /// The port is taken.
    pub fn listen(&self, pod: &str, port: u16) -> TcpListener {
        self.listen_at(pod, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port))
    }

    /// Listens on one address of a pod.
    ///
    /// # Panics
    /// The port is taken.
    pub fn listen_at(&self, pod: &str, address: SocketAddr) -> TcpListener {
        listen_in(self.pod(pod).room(), address)
    }

    /// Listens on one address of a node.
    ///
    /// # Panics
    /// The port is taken.
    pub fn listen_on_node(&self, node: &str, address: SocketAddr) -> TcpListener {
        listen_in(self.node(node).room(), address)
    }

    /// Runs a program in a pod that [greets](greet) every connection with `<greeting> <client's address>`.
    pub fn greeter(&self, pod: &str, port: u16, greeting: &str) {
        let (listener, greeting) = (self.listen(pod, port), greeting.to_owned());
        tokio::spawn(async move {
            while let Ok((tcp, client)) = listener.accept().await {
                let greeting = format!("{greeting} {}", client.ip().to_canonical());
                tokio::spawn(async move { greet(tcp, &greeting).await });
            }
        });
    }

    /// Who answers when a pod dials `to`: the greeting, after a word has gone there and back; or `reset`, `closed` and
    /// the like.
    pub async fn ask(&self, pod: &str, to: SocketAddr) -> String {
        match soon(self.converse(pod, to)).await {
            Ok(greeting) => greeting,
            Err(error) => match error.kind() {
                io::ErrorKind::ConnectionReset => "reset".into(),
                io::ErrorKind::UnexpectedEof => "closed".into(),
                kind => format!("{kind:?}"),
            },
        }
    }

    async fn converse(&self, pod: &str, to: SocketAddr) -> io::Result<String> {
        let mut tcp = match self.dial(pod, to).await {
            Ok(tcp) => BufReader::new(tcp),
            // A tunnel that is quick resets before the connect has returned.
            Err(ConnectError::Refused(_)) => return Err(io::ErrorKind::ConnectionReset.into()),
            Err(error) => return Err(io::Error::other(error.to_string())),
        };
        let greeting = line(&mut tcp).await?;
        tcp.write_all(b"ping\n").await?;
        assert_eq!(line(&mut tcp).await?, "ping");
        Ok(greeting)
    }

    /// A certificate of the mesh's own CA, as node proxies have them.
    ///
    /// # Panics
    /// The CA does not sign.
    pub async fn credential(&self, identity: &Identity) -> Credential {
        let ca = LocalCa::open_or_create(&self.dir().join("ca"), SystemTime::now()).expect("a CA");
        sign(ca, identity).await
    }

    /// A certificate of a CA that nobody knows.
    ///
    /// # Panics
    /// There are no random numbers.
    pub async fn foreign_credential(&self, identity: &Identity) -> Credential {
        let dir = tempfile::tempdir().expect("a directory");
        sign(LocalCa::open_or_create(dir.path(), SystemTime::now()).expect("a CA"), identity).await
    }
}

fn listen_in(room: &Room, address: SocketAddr) -> TcpListener {
    let options = ListenOptions {
        transparent: Transparent::Never,
        reuse_port: false,
        ..ListenOptions::default()
    };
    let listener = room.netns().enter(|| ambit_net::listen(address, &options));
    let listener = listener.expect("a namespace").expect("the port is free");
    listener.into_tokio().expect("a runtime")
}

async fn sign(ca: LocalCa, identity: &Identity) -> Credential {
    let source = LocalSource::new(Arc::new(ca), LIFETIME);
    let pem = source.fetch(identity).await.expect("the CA signs");
    Credential::from_pem(pem, &Revocations::none()).expect("what the CA signs can be used")
}

/// The next line; an error of kind `UnexpectedEof` at the end.
async fn line(io: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    match io.read_line(&mut line).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}
