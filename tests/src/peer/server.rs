//! Plays a node proxy, a waypoint or a gateway: takes HBONE in a pod and remembers what came.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ambit_hbone::{Config, Connect, Refusal, Server};
use ambit_model::Identity;
use ambit_net::canonical;
use ambit_tls::{Credential, TlsError, peer_identity};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{greet, identity};
use crate::Mesh;

/// The port on which HBONE is taken.
const PORT: u16 = 15008;

/// A played peer. It serves until the test's runtime ends.
#[derive(Clone, Default)]
pub struct Peer {
    seen: Arc<Mutex<Vec<Seen>>>,
    failed: Arc<Mutex<Vec<TlsError>>>,
    connections: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

/// One CONNECT as the peer saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which TLS connection it came on, counted from 1.
    pub connection: usize,
    /// The address that was dialled.
    pub destination: SocketAddr,
    /// The address that dialled.
    pub source: SocketAddr,
    /// What the client's certificate says.
    pub client: Option<Identity>,
    /// The `:authority`.
    pub authority: String,
    /// All other headers.
    pub headers: HeaderMap,
}

// === impl Seen ===

impl Seen {
    /// A header as text; empty if it is absent.
    ///
    /// # Panics
    /// It is no text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header is text"))
    }
}

// === impl Peer ===

impl Peer {
    /// Plays the proxy of a pod: [greets](greet) with the pod's name.
    pub async fn of(mesh: &Mesh, pod: &str) -> Self {
        let credential = mesh.credential(&identity(pod)).await;
        let name = pod.to_owned();
        Self::start(mesh, pod, credential, Config::default(), move |connect| {
            let name = name.clone();
            async move {
                if let Ok(stream) = connect.accept(None) {
                    // A client may leave whenever it likes.
                    let _ = greet(stream.into_io(), &name).await;
                }
            }
        })
    }

    /// Plays a proxy that answers every CONNECT with a refusal.
    pub async fn refusing(mesh: &Mesh, pod: &str, refusal: Refusal) -> Self {
        let credential = mesh.credential(&identity(pod)).await;
        Self::start(mesh, pod, credential, Config::default(), move |connect| async move {
            connect.refuse(refusal);
        })
    }

    /// Plays any proxy: `serve` gets every CONNECT on port 15008 of `pod`.
    pub fn start<F>(
        mesh: &Mesh,
        pod: &str,
        credential: Credential,
        config: Config,
        serve: impl Fn(Connect) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let peer = Self::default();
        let (listener, accepting) = (mesh.listen(pod, PORT), peer.clone());
        let credential = Arc::new(credential);
        tokio::spawn(async move {
            while let Ok((tcp, source)) = listener.accept().await {
                let ends = (canonical(source), own_address(&tcp));
                let (peer, credential) = (accepting.clone(), credential.clone());
                let (config, serve) = (config.clone(), serve.clone());
                tokio::spawn(
                    async move { peer.serve(tcp, ends, &credential, &config, serve).await },
                );
            }
        });
        peer
    }

    /// Serves one connection, which may itself be a tunnel, to its end. `ends` are its source and its destination.
    pub async fn serve<IO, F>(
        &self,
        io: IO,
        ends: (SocketAddr, SocketAddr),
        credential: &Credential,
        config: &Config,
        serve: impl Fn(Connect) -> F,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin,
        F: Future<Output = ()> + Send + 'static,
    {
        let tls = match ambit_tls::accept(credential, io).await {
            Ok(tls) => tls,
            Err(error) => return self.failed.lock().expect("no panic").push(error),
        };
        let (source, destination) = ends;
        let seen = Seen {
            connection: self.connections.fetch_add(1, Ordering::SeqCst) + 1,
            destination,
            source,
            client: peer_identity(tls.get_ref().1),
            authority: String::new(),
            headers: HeaderMap::new(),
        };
        if let Ok(server) = Server::handshake(tls, config).await {
            self.requests(server, &seen, serve).await;
        }
        self.ended.fetch_add(1, Ordering::SeqCst);
    }

    async fn requests<IO, F>(&self, mut server: Server<IO>, of: &Seen, serve: impl Fn(Connect) -> F)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        F: Future<Output = ()> + Send + 'static,
    {
        while let Some(Ok(connect)) = server.next().await {
            let authority = connect.authority().map_or_else(|e| e.to_string(), |a| a.to_string());
            let seen = Seen { authority, headers: connect.headers().clone(), ..of.clone() };
            self.seen.lock().expect("no panic").push(seen);
            tokio::spawn(serve(connect));
        }
    }

    /// Every CONNECT since the last call.
    ///
    /// # Panics
    /// Another test thread has.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().expect("no panic"))
    }

    /// The one CONNECT since the last call.
    ///
    /// # Panics
    /// There was none, or more than one.
    pub fn seen_one(&self) -> Seen {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:#?}");
        seen.remove(0)
    }

    /// Every handshake that failed since the last call.
    ///
    /// # Panics
    /// Another test thread has.
    pub fn failed(&self) -> Vec<TlsError> {
        std::mem::take(&mut self.failed.lock().expect("no panic"))
    }

    /// How many TLS connections there have been.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many of them have ended.
    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }
}

fn own_address(tcp: &TcpStream) -> SocketAddr {
    canonical(tcp.local_addr().expect("a connection has addresses"))
}
