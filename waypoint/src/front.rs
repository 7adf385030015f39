//! A gateway's ports: opened and closed as its listeners come and go.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ambit_bootstrap::accept;
use ambit_lifecycle::Drain;
use ambit_net::{ListenOptions, Transparent, listen};
use ambit_tls::BufferedIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::connection::{Client, Connection};
use crate::context::{Context, Local};
use crate::io::{Io, Transport};
use crate::target::Target;
use crate::{serve, sni};

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Why a connection was not served.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("TLS: {0}")]
    Tls(#[from] std::io::Error),
    #[error("no listener of port {0} is for {1:?}")]
    NoListener(u16, Box<str>),
    #[error("the client did not complete the handshake within {HANDSHAKE:?}")]
    Timeout,
}

/// Listens to what the rules say, until the drain begins.
pub(crate) async fn follow(context: Arc<Context>, locals: Arc<[Arc<Local>]>, drain: Drain) {
    let mut changed = context.rules.changed();
    let mut open: BTreeMap<u16, CancellationToken> = BTreeMap::new();
    loop {
        changed.borrow_and_update();
        let fronts = context.rules.load().fronts.clone();
        open.retain(|port, closing| {
            let wanted = fronts.contains_key(port);
            if !wanted {
                tracing::info!(port, "listener closed");
                closing.cancel();
            }
            wanted
        });
        for port in fronts.keys() {
            if open.contains_key(port) {
                continue;
            }
            let closing = drain.closing.child_token();
            match serve_port(&context, &locals, &drain, (*port, &closing)) {
                Ok(()) => {
                    tracing::info!(port, "listening");
                    open.insert(*port, closing);
                }
                Err(error) => tracing::error!(port, %error, "cannot listen"),
            }
        }
        tokio::select! {
            ended = changed.changed() => if ended.is_err() { return },
            () = drain.closing.cancelled() => return,
        }
    }
}

fn serve_port(
    context: &Arc<Context>,
    locals: &Arc<[Arc<Local>]>,
    drain: &Drain,
    (port, closing): (u16, &CancellationToken),
) -> std::io::Result<()> {
    let address = SocketAddr::new(context.config.wildcard(), port);
    let options =
        ListenOptions { transparent: Transparent::Never, backlog: 1024, ..Default::default() };
    // All of them, or none.
    let listeners: Vec<_> =
        locals.iter().map(|_| listen(address, &options)).collect::<std::io::Result<_>>()?;
    for ((local, worker), listener) in locals.iter().zip(&context.workers).zip(listeners) {
        let (local, drain, closing) = (local.clone(), drain.clone(), closing.clone());
        let shortage = context.metrics.shortage.clone();
        let tasks = drain.tasks.clone();
        let accepting = async move {
            match listener.into_tokio() {
                Ok(listener) => {
                    let handle = |tcp, peer| {
                        drain.tasks.spawn(connection(
                            local.clone(),
                            drain.clone(),
                            port,
                            tcp,
                            peer,
                        ));
                    };
                    accept(listener, closing, &shortage, tokio::task::yield_now, handle).await;
                }
                Err(error) => tracing::error!(port, %error, "cannot listen"),
            }
        };
        tasks.spawn_on(accepting, &worker.handle);
    }
    Ok(())
}

async fn connection(local: Arc<Local>, drain: Drain, port: u16, tcp: TcpStream, peer: SocketAddr) {
    let opened = timeout(HANDSHAKE, open(&local, port, tcp)).await;
    match opened.unwrap_or(Err(Refused::Timeout)) {
        Ok((io, name)) => {
            let snapshot = local.context.state.snapshot();
            let network = &local.context.config.node.network;
            let workload = snapshot.workload_at(network, peer.ip());
            let client = Client { address: peer, identity: None, workload, baggage: None };
            let target = Target::Front { port, name };
            let connection = Connection::new(local, drain, client, target);
            serve::connection(Arc::new(connection), io).await;
        }
        Err(error) => {
            local.context.metrics.refused(error.reason());
            tracing::debug!(%peer, port, %error, "refused a connection");
        }
    }
}

/// The stream that is spoken on and, if TLS has ended here, the name that it was opened for; empty where the client
/// named none.
async fn open(
    local: &Local,
    port: u16,
    mut tcp: TcpStream,
) -> Result<(Io, Option<Box<str>>), Refused> {
    let front = local.context.rules.load().fronts.get(&port).cloned();
    let Some(front) = front else { return Err(Refused::NoListener(port, "".into())) };
    if !front.is_tls() {
        return Ok((tcp.into(), None));
    }
    let (name, read) = sni::read(&mut tcp).await?;
    let name = name.unwrap_or_default();
    let Some(listener) = front.listener(&name) else { return Err(Refused::NoListener(port, name)) };
    let Some(config) = listener.tls.clone() else { return Ok((Io::from(tcp).unread(read), None)) };
    let tls = TlsAcceptor::from(config).accept(BufferedIo::with_unread(tcp, &read)).await?;
    Ok((Io::new(Transport::Server(Box::new(tls))), Some(name)))
}

// === impl Refused ===

impl Refused {
    fn reason(&self) -> &'static str {
        match self {
            Self::Tls(_) => "tls",
            Self::NoListener(..) => "no_listener",
            Self::Timeout => "handshake_timeout",
        }
    }
}
