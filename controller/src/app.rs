//! The composition: source → index → publisher → server, and the admin port.

mod foundation;
mod source;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit_lifecycle::{
    Drain, HttpServer, Ready, Shutdown, bind_loopback, endpoints, metrics as process_metrics,
};
use ambit_telemetry::LogHandle;
use futures_util::future::BoxFuture;
use prometheus_client::registry::Registry;

use crate::admin::Admin;
use crate::cluster::{ClusterError, Election};
use crate::config::Config;
use crate::diagnostics::Diagnostics;
use crate::index::Index;
use crate::serve::{
    Certificates, Clients, Discovery, FilesError, ListenError, Listener, Metrics, Publisher,
    Security, Services, TokensError, Wholes,
};
use crate::watch::DirectoryError;

use foundation::Foundation;
use source::Source;

/// How long connections get to end.
const GRACE: Duration = Duration::from_secs(5);

/// A controller that has read its objects and listens.
pub struct Controller {
    listener: Listener,
    services: Services,
    source: Source,
    keepers: Vec<BoxFuture<'static, ()>>,
    election: Option<Election>,
    admin: Admin,
    listeners: Vec<TcpListener>,
    status: Vec<TcpListener>,
    drain: Drain,
}

/// Why the controller cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The objects cannot be read.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The tokens cannot be read.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// There is no certificate authority.
    #[error(transparent)]
    Authority(#[from] FilesError),
    /// There is no cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The port cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The admin port cannot be listened on.
    #[error("--admin-port: {0}; stop the other controller or choose another port")]
    Admin(#[source] io::Error),
    /// The port of metrics and readiness cannot be listened on.
    #[error("--status-port: {0}; stop the other process or choose another port")]
    Status(#[source] io::Error),
    /// A socket cannot be served.
    #[error("cannot serve: {0}")]
    Serve(#[source] io::Error),
}

// === impl Controller ===

impl Controller {
    /// Reads everything and listens. What cannot go on ends here, with the reason; a cluster that cannot be reached is
    /// waited for.
    ///
    /// # Errors
    /// The option at fault and the next step.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let mut registry = Registry::default();
        let runtimes = vec![tokio::runtime::Handle::current()];
        process_metrics::register_process(&mut registry, "controller", None, runtimes);
        let metrics = Metrics::register(&mut registry);
        let listeners = bind_loopback(config.admin_port).map_err(StartError::Admin)?;
        let foundation =
            Foundation::lay(config.source, config.server_names, &metrics, &mut registry).await?;
        let Foundation {
            origin,
            first,
            tokens,
            pods,
            authority,
            keepers,
            statuses,
            election,
            status,
        } = foundation;
        let security =
            if config.plaintext { Security::Plaintext } else { Security::Tls(authority.clone()) };
        let listener = Listener::bind(config.listen, security).await?;

        let ready = Ready::new();
        let trust_domain = config.index.trust_domain.clone();
        let mut source = Source {
            origin,
            pods,
            index: Index::new(config.index),
            publisher: Publisher::new(Instant::now()),
            clients: Clients::default(),
            diagnostics: Diagnostics::default(),
            metrics: metrics.clone(),
            statuses,
            starting: Some(ready.register("objects")),
        };
        if let Some(first) = first {
            source.take(first, Instant::now());
        }
        let drain = Drain::default();
        let discovery = Discovery {
            tokens: tokens.clone(),
            published: source.publisher.subscribe(),
            wholes: Wholes::default(),
            clients: source.clients.clone(),
            metrics: metrics.clone(),
            closing: drain.closing.clone(),
        };
        let roots = authority.roots();
        let certificates = Certificates {
            authority,
            tokens,
            published: source.publisher.subscribe(),
            trust_domain,
            default_ttl: config.leaf_ttl,
            metrics,
        };
        let admin = Admin {
            diagnostics: source.diagnostics.clone(),
            clients: source.clients.clone(),
            published: source.publisher.subscribe(),
            roots,
            ready,
            registry: Arc::new(registry),
        };
        let services = Services::new(discovery, certificates);
        Ok(Self { listener, services, source, keepers, election, admin, listeners, status, drain })
    }

    /// Where xDS and certificates are served.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.address()
    }

    /// Where the admin port is.
    ///
    /// # Errors
    /// The system does not say.
    pub fn admin_address(&self) -> io::Result<SocketAddr> {
        let first = self.listeners.first().ok_or(io::ErrorKind::NotConnected)?;
        first.local_addr()
    }

    /// Where metrics and readiness are served to others, in a cluster.
    ///
    /// # Errors
    /// The system does not say, or there is no such port.
    pub fn status_address(&self) -> io::Result<SocketAddr> {
        let first = self.status.first().ok_or(io::ErrorKind::NotConnected)?;
        first.local_addr()
    }

    /// Serves until `shutdown`.
    ///
    /// # Errors
    /// A socket cannot be served.
    pub async fn run(self, mut shutdown: Shutdown, logs: LogHandle) -> Result<(), StartError> {
        if !self.status.is_empty() {
            let status = HttpServer::new("status", self.status, self.admin.status());
            status.map_err(StartError::Serve)?.serve(&self.drain);
        }
        let router = endpoints::admin(self.admin.router(), logs, shutdown.trigger());
        let server = HttpServer::new("admin", self.listeners, router).map_err(StartError::Serve)?;
        let address = self.listener.address().map_err(StartError::Serve)?;
        tracing::info!(%address, "serving xDS and certificates");
        server.serve(&self.drain);
        self.drain.spawn(self.listener.serve(self.services, self.drain.clone()));
        if let Some(election) = self.election {
            self.drain.spawn(election.run(self.drain.closing.clone()));
        }
        let mut tasks = vec![tokio::spawn(self.source.follow())];
        tasks.extend(self.keepers.into_iter().map(tokio::spawn));
        let reason = shutdown.wait().await;
        tracing::info!(%reason, "ending");
        let finished = self.drain.finish((Instant::now() + GRACE).into()).await;
        tracing::info!(finished, "ended");
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        Ok(())
    }
}
