//! The composition: source → index → publisher → server, and the admin port.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ambit_lifecycle::{Drain, HttpServer, Ready, Shutdown, bind_loopback, endpoints, metrics};
use ambit_telemetry::LogHandle;
use ambit_xds::ResourceType;
use prometheus_client::registry::Registry;

use crate::admin::Admin;
use crate::config::Config;
use crate::diagnostics::{Diagnostics, remarks};
use crate::index::Index;
use crate::serve::{
    Authority, AuthorityError, AuthorityFiles, Certificates, Clients, Discovery, ListenError,
    Listener, Metrics, Publisher, Security, Services, Tokens, TokensError,
};
use crate::watch::{Directory, DirectoryError, Kind, Update};

/// How long connections get to end.
const GRACE: Duration = Duration::from_secs(5);

/// A controller that has read its objects and listens.
pub struct Controller {
    listener: Listener,
    services: Services,
    source: Source,
    authority: Arc<Authority>,
    admin: Admin,
    listeners: Vec<std::net::TcpListener>,
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
    Authority(#[from] AuthorityError),
    /// The port cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The admin port cannot be listened on.
    #[error("--admin-port: {0}; stop the other controller or choose another port")]
    Admin(#[source] io::Error),
    /// A socket cannot be served.
    #[error("cannot serve: {0}")]
    Serve(#[source] io::Error),
}

/// Follows the directory and publishes what comes of it.
struct Source {
    directory: Directory,
    index: Index,
    publisher: Publisher,
    clients: Clients,
    diagnostics: Diagnostics,
    metrics: Metrics,
}

// === impl Controller ===

impl Controller {
    /// Reads everything and listens. What cannot go on ends here, with the reason.
    ///
    /// # Errors
    /// The option at fault and the next step.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let mut registry = Registry::default();
        let runtimes = vec![tokio::runtime::Handle::current()];
        metrics::register_process(&mut registry, "controller", None, runtimes);
        let metrics = Metrics::register(&mut registry);

        let files = AuthorityFiles {
            dir: config.ca_dir,
            root_out: config.root_cert_out,
            names: config.server_names,
        };
        let authority = Arc::new(Authority::open(files, SystemTime::now())?);
        let tokens = Tokens::follow(&config.node_tokens)?;
        let security =
            if config.plaintext { Security::Plaintext } else { Security::Tls(authority.clone()) };
        let listener = Listener::bind(config.listen, security).await?;
        let listeners = bind_loopback(config.admin_port).map_err(StartError::Admin)?;

        let seen = Instant::now();
        let (directory, update) = Directory::open(&config.from_dir)?;
        let trust_domain = config.index.trust_domain.clone();
        let mut source = Source {
            directory,
            index: Index::new(config.index),
            publisher: Publisher::new(seen),
            clients: Clients::default(),
            diagnostics: Diagnostics::default(),
            metrics: metrics.clone(),
        };
        source.take(update, seen, true);

        let drain = Drain::default();
        let discovery = Discovery {
            tokens: tokens.clone(),
            published: source.publisher.subscribe(),
            clients: source.clients.clone(),
            metrics: metrics.clone(),
            closing: drain.closing.clone(),
        };
        let certificates = Certificates {
            authority: authority.clone(),
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
            ready: Ready::new(),
            registry: Arc::new(registry),
        };
        let services = Services::new(discovery, certificates);
        Ok(Self { listener, services, source, authority, admin, listeners, drain })
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

    /// Serves until `shutdown`.
    ///
    /// # Errors
    /// A socket cannot be served.
    pub async fn run(self, mut shutdown: Shutdown, logs: LogHandle) -> Result<(), StartError> {
        let router = endpoints::admin(self.admin.router(), logs, shutdown.trigger());
        let server = HttpServer::new("admin", self.listeners, router).map_err(StartError::Serve)?;
        let address = self.listener.address().map_err(StartError::Serve)?;
        let metrics = self.source.metrics.clone();
        tracing::info!(%address, "serving xDS and certificates");
        server.serve(&self.drain);
        self.drain.spawn(self.listener.serve(self.services, self.drain.clone()));
        let tasks =
            [tokio::spawn(self.source.follow()), tokio::spawn(keep(self.authority, metrics))];
        let reason = shutdown.wait().await;
        tracing::info!(%reason, "ending");
        let finished = self.drain.finish((Instant::now() + GRACE).into()).await;
        tracing::info!(finished, "ended");
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        Ok(())
    }
}

async fn keep(authority: Arc<Authority>, metrics: Metrics) {
    if let Err(error) = authority.keep(metrics).await {
        tracing::error!(%error, "changes of the certificate authority will not be noticed");
    }
}

// === impl Source ===

impl Source {
    async fn follow(mut self) {
        loop {
            let update = self.directory.next().await;
            self.take(update, Instant::now(), false);
        }
    }

    fn take(&mut self, update: Update, seen: Instant, first: bool) {
        let changes = update.changes.len();
        let changed = self.index.apply(update.changes);
        if changed || first {
            let snapshot = self.index.snapshot().clone();
            let generation = self.publisher.publish(snapshot, seen);
            self.clients.published(generation, seen);
            tracing::info!(changes, generation, "published");
        }
        let remarks = remarks(&update.reports, self.directory.files(), &self.index);
        self.metrics.objects_refused(remarks.len());
        self.diagnostics.replace(remarks);
        for kind in Kind::ALL {
            self.metrics.objects(kind.as_str(), self.index.count(kind));
        }
        for kind in ResourceType::ALL {
            self.metrics.resources(kind, self.index.snapshot().of(kind).len());
        }
    }
}
